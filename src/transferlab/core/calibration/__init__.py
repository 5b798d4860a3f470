"""Says what a trained network may know of an image: prediction sets, and whether the image is unfamiliar.

Evaluation and inference import it; it knows probabilities and features alone, no network.
"""
