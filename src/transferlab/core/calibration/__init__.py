"""Says what a trained network may know of an image: prediction sets, and whether the image is unfamiliar.

Evaluation, inference, serving, versions and the experiment's schema import it. It knows probabilities and features
alone, no network.
"""
