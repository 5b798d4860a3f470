"""Would more labels help? Trains the strategies on parts of the training images, and extrapolates."""
