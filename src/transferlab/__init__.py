"""Compare ways of transferring a pretrained network to your own images."""

import os

# GNU's OpenMP reads this when torch loads. Threads that wait by spinning take the cores from those that work: two
# trainings beside each other then run at less than half their speed. With this many turns, a training alone on the
# machine is as fast, and one beside others much faster: docs/speed.md.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
