"""The machine a process runs on: device, memory, seeds, signals and progress.

Every package above may import it; it imports only errors and validation.
"""
