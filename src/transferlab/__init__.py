"""Compare ways of transferring a pretrained network to your own images."""

import os

# Read by OpenMP when torch loads. Threads that wait by spinning take the cores from those that work: two trainings on
# two cores made each other five to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"
