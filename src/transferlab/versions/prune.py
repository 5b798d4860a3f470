"""Decides which versions of an experiment may be removed: by rules, and by what the other versions need."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from transferlab.core.files.folders import remove
from transferlab.core.metrics import signed
from transferlab.datasets.runs import RunsDataset
from transferlab.versions.catalogue import Measured, Versions

Reasons = dict[str, str]  # by version


@dataclass(frozen=True)
class Rules:
    """Rules for keeping versions; a version that any rule keeps stays.

    Attributes:
        newest: so many of the newest, those that are unfinished not counted.
        best: of each strategy, so many that are best on the test images by the mean of the metric that decides, and the
            metrics that say so.
        since: those from this time (UTC) on.
    """

    newest: int | None = None
    best: int | None = None
    since: datetime | None = None


def staying(versions: Versions, rules: Rules) -> Reasons:
    """Return the versions that stay, with the reason. A version stays whole or goes whole.

    Whatever the rules say these stay: the newest of every dataset, what a run under way has saved or may read, what
    the metrics of a version that stays were measured on, and the newest metrics of the checkpoints in it. Without the
    last, a removal would bring older metrics back, and with them another order of the best.
    """
    reasons = {**_newest(versions), **_by_rule(versions, rules), **_under_way(versions)}
    new = list(reasons)
    while new:
        version = new.pop()
        needed = dict.fromkeys(versions.references.get(version, ()), f"metrics of {version} refer to it")
        needed |= dict.fromkeys(_metrics_of(versions, version), f"the newest metrics of {version}")
        others = {one: why for one, why in needed.items() if one in versions.folders and one not in reasons}
        reasons |= others
        new += others
    return reasons


def _metrics_of(versions: Versions, version: str) -> Iterable[str]:
    """Return the versions with the newest metrics of the checkpoints that a version holds."""
    newest = {one.strategy: one.metrics for one in reversed(versions.measured) if one.checkpoints == version}
    return newest.values()


def remove_versions(versions: Versions, leaving: Iterable[str]) -> None:
    """Remove versions, of each what was made last first: after a kill nothing refers to what is gone."""
    for version in leaving:
        for folder in reversed(versions.folders[version].values()):
            remove(folder)
    if isinstance(versions.runs, RunsDataset):
        for run, is_under_way in versions.not_ended.items():
            if not is_under_way and not any(folder.exists() for folder in versions.folders.get(run, {}).values()):
                versions.runs.forget(run)


def _newest(versions: Versions, before: str | None = None) -> Reasons:
    """Return the newest version of every dataset, of those before a version."""
    reasons: Reasons = {}
    for name in versions.datasets:
        whole = [version for version in versions.folders if versions.has(version, name)]
        for version in [version for version in whole if before is None or version < before][:1]:
            reasons.setdefault(version, f"newest of {name}")
    return reasons


def _by_rule(versions: Versions, rules: Rules) -> Reasons:
    finished = [version for version in versions.folders if versions.state(version) in ("complete", "stale")]
    reasons = dict.fromkeys(finished[: rules.newest or 0], f"--keep {rules.newest}")
    for strategy in versions.strategies if rules.best else ():
        for one in _best(versions, strategy)[: rules.best]:
            reasons |= dict.fromkeys((one.metrics, one.checkpoints), f"--keep-best {rules.best}: {strategy}")
    if rules.since:
        since = rules.since.strftime("%Y-%m-%dT%H.%M.%S")
        reasons |= {
            version: f"--since {rules.since:%Y-%m-%d %H:%M}" for version in versions.folders if version >= since
        }
    return {version: reason for version, reason in reasons.items() if version in versions.folders}


def _best(versions: Versions, strategy: str) -> list[Measured]:
    """Return the newest measurement of each of a strategy's checkpoints that are there, the best first and NaN last."""
    there = [version for version in versions.folders if versions.has(version, f"{strategy}.checkpoints")]
    newest = {one.checkpoints: one for one in reversed(versions.measured) if one.strategy == strategy}

    def rank(one: Measured) -> tuple[bool, float]:
        return math.isnan(one.mean), -signed(versions.metric, one.mean)

    return sorted((newest[version] for version in there if version in newest), key=rank)


def _under_way(versions: Versions) -> Reasons:
    """Return what a run under way saves or may have read: all since it began, and the newest before."""
    begun = min((run for run, is_under_way in versions.not_ended.items() if is_under_way), default=None)
    if begun is None:
        return {}
    needed = [*_newest(versions, before=begun), *(version for version in versions.folders if version >= begun)]
    return dict.fromkeys(needed, "a run is under way")
