"""Would more labels help? The learning curves in words, which claim no more than their intervals do."""

from __future__ import annotations

import math

import pandas as pd

from transferlab.reporting.wording import (
    LOWER_IS_BETTER,
    about,
    capital,
    count,
    difference,
    enumerate_words,
    number,
    signed_interval,
    title,
)

LITTLE = 0.01  # a gain that is surely smaller is not worth twice the labels
_NOTICED = 0.0005  # a gain that is printed as 0.0 points or less is none


def sentences(fits: pd.DataFrame, crossings: pd.DataFrame) -> list[str]:
    """Say for each strategy what doubling the labels should bring, and where one strategy overtakes another.

    Args:
        fits: the table `learning_curve_fits`.
        crossings: the table `learning_curve_crossings`.
    """
    said = [sentence(row) for _, row in fits.iterrows()]
    said += [_left_out(row) for _, row in fits.iterrows() if row["diverged"] and pd.notna(row["gain"])]
    return said + [_overtaking(row, fits["images"].max()) for _, row in crossings.iterrows()]


def _left_out(fit: pd.Series) -> str:
    """Say how much a curve lacks because trainings diverged; a refusal says it itself."""
    diverged = f"{fit['diverged']} of {count(fit['trainings'], 'training')} diverged"
    return (
        f"{capital(title(fit['strategy']))}: {diverged}; a size at which all did is left out, and so is a draw that "
        "lacks another size."
    )


def sentence(fit: pd.Series) -> str:
    """Say what doubling the labels should bring to one strategy, or why nobody can say."""
    name = capital(title(fit["strategy"]))
    if isinstance(fit["refused"], str) and fit["refused"]:
        return f"{name}: no curve can be fitted, because {fit['refused']}."
    metric, doubled = str(fit["metric"]), count(2 * fit["images"], "image")
    gain, low, high = fit["gain"], fit["gain_low"], fit["gain_high"]
    ends = f"{difference(gain, metric)} {signed_interval(low, high, metric)}"
    least, most = (-high, -low) if metric in LOWER_IS_BETTER else (low, high)
    if least > _NOTICED:
        return f"{name}: doubling the labels, to {doubled}, should bring {ends}, to {number(fit['doubled'], metric)}."
    if most < LITTLE:
        return f"{name}: doubling the labels, to {doubled}, should bring little: {ends}."
    return f"{name}: these images cannot tell whether more labels help; doubling them may bring {ends}."


def _overtaking(row: pd.Series, images: float) -> str:
    few, many = title(row["few"]), title(row["many"])
    low, high = row["low"], row["high"]
    if math.isinf(low):
        ends = "or never"
    else:
        ends = f"at {about(low)} or more, or never" if math.isinf(high) else f"between {about(low)} and {about(high)}"
    verb = "overtakes" if row["images"] <= images else "should overtake"
    where = f"about {about(row['images'])} training images"
    return f"{capital(many)} {verb} {few} at {where} ({ends}, {row['level']:.0%})."


def headline(fits: pd.DataFrame) -> str:
    """Answer in one sentence, for the strategy that is best with all images."""
    fitted = fits[fits["gain"].notna()]
    if fitted.empty:
        return "Nobody can say whether more labels would help."
    metric = str(fitted["metric"].iloc[0])
    order = fitted["now"].sort_values(ascending=metric in LOWER_IS_BETTER, kind="stable").index
    return sentence(fitted.loc[order[0]])


def formula(fit: pd.Series) -> str:
    """Write the fitted curve of the loss: `0.031 (n / 1,890)^-0.52 + 0.12`."""
    return f"{fit['a']:.3g} (n / {count(fit['images'])})^\N{MINUS SIGN}{fit['b']:.2f} + {fit['c']:.3g}"


def explained(points: pd.DataFrame, fits: pd.DataFrame) -> list[str]:
    """Explain what the curves are of, and what their intervals count."""
    first = points.iloc[0]
    names = enumerate_words([title(name) for name in dict.fromkeys(points["strategy"])])
    level = fits["level"].dropna()
    said = [
        f"Each size was drawn {count(first['draws'], 'time')} from the training images, nested and stratified, and "
        f"trained on by the same recipe: {names}. Fewer images mean fewer steps, too. All were tested on the same "
        f"{count(first['test_images'], 'test image')}."
    ]
    if len(level):
        said.append(
            "The curve is a power law of the loss, a n^\N{MINUS SIGN}b + c, fitted from a sixteenth of the images on. "
            f"Its interval ({level.iloc[0]:.0%}) counts seeds, the training images that happened to be drawn, and the "
            "test images; that of what doubling brings counts the luck of the new images, too. It presumes that more "
            "images would be like these, and that the curve goes on as it has begun."
        )
    return said
