"""Lists the test images that are wrong most often and most surely, over all trials of all strategies."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def mistakes(predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """List every test image that any trial got wrong.

    Args:
        predictions: the predictions table of each strategy.

    Returns:
        One row per image, the most often and then the most surely wrong first: path, truth, prediction (the most
        frequent wrong one), wrong and trials (counts over all strategies), confidence (mean probability of the wrong
        predictions), and `wrong_<strategy>` and `trials_<strategy>`, the counts of each. An image counts in the trials
        that tested it, which need not be all where trials have splits of their own.
    """
    every = pd.concat([_confident(table) for table in predictions], ignore_index=True)
    wrong = every[every["truth"] != every["prediction"]]
    keys = ["path", "truth", "prediction"]
    said = wrong.groupby(keys).size().rename("times").reset_index()
    said = said.sort_values(["times", "prediction"], ascending=[False, True]).drop_duplicates("path").set_index("path")
    table = said[["truth", "prediction"]].assign(
        wrong=wrong.groupby("path").size().reindex(said.index),
        trials=every.groupby("path").size().reindex(said.index),
        confidence=wrong.groupby("path")["confidence"].mean().reindex(said.index),
    )
    for name in dict.fromkeys(every["strategy"]):
        for column, of in (("wrong", wrong), ("trials", every)):
            own = of[of["strategy"] == name].groupby("path").size()
            table[f"{column}_{name}"] = own.reindex(table.index, fill_value=0)
    return table.reset_index().sort_values(
        ["wrong", "confidence", "path"], ascending=[False, False, True], ignore_index=True
    )


def _confident(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep what identifies a prediction, with its confidence in place of the probabilities."""
    confidence = predictions.filter(regex="^p_").max(axis=1)
    return predictions[["strategy", "trial", "path", "truth", "prediction"]].assign(confidence=confidence)
