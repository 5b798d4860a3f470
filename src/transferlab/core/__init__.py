"""Training, evaluation and everything below them, in PyTorch and without Kedro.

This is what a worker process on another machine imports. Layers, high to low: launch; training, evaluation, inference,
ranking; strategies, loading, calibration; models; transforms; data; runtime, files, metrics; validation; errors. A
package imports from lower layers only.
"""
