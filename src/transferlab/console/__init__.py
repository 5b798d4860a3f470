"""Everything a user sees in the terminal: error messages, progress bars and the console that both share.

Imports the core and nothing else of the project. Every layer above may use it; the core may not.
"""
