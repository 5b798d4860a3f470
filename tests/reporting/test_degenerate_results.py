"""Whatever came out of a run, by whichever metric decides, it is compared, told and drawn without a warning."""

import warnings

import numpy as np
import pandas as pd
import pytest
from simulated_training import simulate_cost

from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import METRICS, Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.metrics import LOWER_IS_BETTER, scores
from transferlab.reporting.figures import cost, paired_differences, uncertainty
from transferlab.reporting.page import results
from transferlab.reporting.page import uncertainty as uncertainty_table
from transferlab.reporting.run_table import comparison_table
from transferlab.reporting.verdict import verdict


def said(trials=3, images=40, classes=2, skill=(1.0, 2.0), absent=False, seed=0):
    """What strategies said, (S, T, N, K), and the truth; `skill` is each one's mean margin."""
    rng = np.random.default_rng(seed)
    truth_N = np.arange(images) % (classes - absent)
    logits = rng.normal(size=(len(skill), trials, images, classes))
    logits[..., np.arange(images), truth_N] += np.array(skill)[:, None, None]
    p_STNK = np.exp(logits)
    return p_STNK / p_STNK.sum(axis=-1, keepdims=True), truth_N


def all_the_same():
    p_STNK, truth_N = said()
    return np.broadcast_to(p_STNK[:1, :1], p_STNK.shape).copy(), truth_N


def always_one_class():
    p_STNK, truth_N = said()
    return np.broadcast_to([0.7, 0.3], p_STNK.shape).copy(), truth_N


def always_right():
    p_STNK, truth_N = said()
    return np.broadcast_to(np.eye(2)[truth_N], p_STNK.shape).copy(), truth_N


CASES = {
    "usual": said,
    "one trial": lambda: said(trials=1),
    "two trials": lambda: said(trials=2),
    "two images": lambda: said(images=2),
    "a class without test images": lambda: said(classes=3, absent=True),
    "all the same": all_the_same,
    "always one class": always_one_class,
    "always right": always_right,
    "always wrong": lambda: said(skill=(-99.0, -99.0)),
    "500 classes": lambda: said(images=600, classes=500, skill=(4.0, 5.0)),
    "one strategy": lambda: said(skill=(1.0,)),
}
DRAWN = ("one trial", "a class without test images", "always right")  # the others differ in numbers only


def tables_of(p_STNK, truth_N, metric):
    """The tables that the report is made of."""
    names, trials = [f"strategy_{s}" for s in range(len(p_STNK))], tuple(range(p_STNK.shape[1]))
    paths = tuple(f"{n:04}.jpg" for n in range(len(truth_N)))
    outcomes = [Outcomes(name, trials, paths, truth_N, p_TNK) for name, p_TNK in zip(names, p_STNK, strict=True)]
    measured = pd.DataFrame(
        {"strategy": name, "trial": trial, "metric": key, "value": value, "selection": "last epoch"}
        for name, p_TNK in zip(names, p_STNK, strict=True)
        for trial, p_NK in enumerate(p_TNK)
        for key, value in scores(p_NK, truth_N).items()
    )
    design = Design(metric, margin=0.02)
    costs = simulate_cost(np.random.default_rng(0), dict.fromkeys(names, 0.5), len(trials))
    return comparison.compare(measured, outcomes, design), comparison.differences(outcomes, design), costs


@pytest.mark.parametrize(
    ("case", "metric"),
    [(case, metric) for case in CASES for metric in METRICS if metric == "auroc" or case != "500 classes"],
)
def test_every_result_is_told_and_drawn(case, metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compared, differing, costs = tables_of(*CASES[case](), metric)
        answer = verdict(compared, differing, costs)
        assert "nan" not in " ".join((answer.headline, *answer.sentences)).lower()
        comparison_table(compared, differing, costs)
        grids = [results.comparison(compared, costs), results.differences(differing)]
        grids.append(uncertainty_table.uncertainty(differing, compared) if len(differing) else None)
        assert not any("nan" in str(each).lower() for each in grids if each)
        if case in DRAWN:
            figures = [cost.accuracy_against_cost(compared, costs)]
            drawing = (paired_differences.that_decide, paired_differences.beside, uncertainty.sources_of_uncertainty)
            figures += [draw(differing, compared) for draw in drawing]
            for figure in figures:
                figure.draw_without_rendering()


@pytest.mark.parametrize("metric", METRICS)
def test_the_metric_that_decides_is_drawn_and_comes_first(metric):
    compared, differing, costs = tables_of(*said(images=300, skill=(0.5, 2.5)), metric)
    answer = verdict(compared, differing, costs)
    assert (answer.leader, answer.clear) == ("strategy_1", True)
    table = results.comparison(compared, costs)
    assert table.columns[0].lower().startswith(metric.split("_")[0])
    assert table.rows[0][0] == "Strategy 1"
    ax = cost.accuracy_against_cost(compared, costs).axes[0]
    values = sorted(line.get_ydata()[0] for line in ax.get_lines())
    means = compared[compared["decides"]].set_index("strategy")["mean"]
    scale = 100 if "accuracy" in metric else 1
    assert values == pytest.approx(sorted(scale * means))
    top, bottom = ax.get_ylim()[1], ax.get_ylim()[0]
    assert (top < bottom) == (metric in LOWER_IS_BETTER)
    words = " ".join(text.get_text() for text in paired_differences.that_decide(differing, compared).axes[0].texts)
    assert ("points" in words) == ("accuracy" in metric)
