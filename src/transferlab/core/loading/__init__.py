"""Makes what a network is fed: batches of views, or cached features of its frozen prefix.

Training, evaluation, inference, pipelines and the schema import it.
"""
