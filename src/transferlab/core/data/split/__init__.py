"""Settles which images are for training, validation and test: the only place where splits are decided.

`names` reads the split that the data give, `config` what the experiment asks for, `sampling` draws, `plan` puts them
together and `index` writes them down. A `SplitPlan` is a pure function of images, config and the trial's number. The
data pipeline, the listing (for `names`) and the experiment's schema (for `config`) import this package.
"""
