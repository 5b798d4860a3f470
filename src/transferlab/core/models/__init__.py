"""Networks: backbones and their weights, which parts are frozen, where the frozen prefix ends, and checkpoints.

Loading, strategies and everything above may import it.
"""
