"""Settles which images are for training, validation and test: the only place where splits are decided.

`names` reads the split that the data give, `config` what the experiment asks for, `sampling` draws, `plan` puts them
together, `index` writes them down and `training_subsets` takes parts for a learning curve. A `SplitPlan` is a pure
function of images, config and the trial's number. The data pipeline, the listing (for `names`), the learning curve and
the experiment's schema (for `config`) import this package.
"""
