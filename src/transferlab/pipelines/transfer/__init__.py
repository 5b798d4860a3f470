"""One strategy, from its initial model to its metrics: drawn once, instantiated for each strategy as a namespace."""
