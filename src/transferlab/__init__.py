"""Compare ways of transferring a pretrained network to your own images."""

import os

# Read by OpenMP when torch loads. Threads that wait by spinning take the cores from those that work: two trainings beside
# each other get a quarter of their speed. This many turns of GNU's OpenMP are as fast on an idle machine, and lose little
# on a busy one; see docs/speed.md.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
