"""Everything that is drawn or said: made again from stored tables, without training."""
