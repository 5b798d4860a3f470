"""Fetches published versions into an experiment, and finds models in them without doing so."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kedro.io import AbstractDataset, DataCatalog, Version
from kedro.pipeline import Pipeline, node

from transferlab.core.files.atomic import temporary
from transferlab.core.files.remote import Remote
from transferlab.core.validation import did_you_mean
from transferlab.datasets.atomic import WholeDataset
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.references import ReferencesDataset
from transferlab.datasets.runs import RunsDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.catalogue import Versions
from transferlab.versions.published import (
    Files,
    Listing,
    PublishError,
    download,
    files_in,
    listing_at,
    named,
    published_in,
)

logger = logging.getLogger(__name__)


def fetch(versions: Versions, url: str, version: str | None = None) -> list[str]:
    """Fetch a published version, with those that it refers to; return the versions that were not here yet.

    Args:
        versions: of the experiment.
        url: what was published to, or the URL of the version itself.
        version: by default the newest that is published with models, or with metrics of those of another version.

    Raises:
        PublishError: there is none, or none with a model, it is another experiment's, a file is damaged, or other files
            of it are here.
        RemoteError: the URL cannot be read.
    """
    place, listing = _find(Remote(url), versions.experiment, version)
    wanted = {}
    for other in listing.refers_to:
        if (found := listing_at(place.parent / other)) is None:
            logger.warning("%s refers to the version %s, which is not published there", place.url, other)
        else:
            wanted[other] = found
    wanted[listing.version] = listing
    return [name for name, one in wanted.items() if _fetch(versions, place.parent / name, one)]


def _find(place: Remote, experiment: str, version: str | None) -> tuple[Remote, Listing]:
    """Return the place of a published version of an experiment, and its list."""
    if version is None and (listing := listing_at(place)) is not None:
        if listing.experiment != experiment:
            raise PublishError(f"{place.url} is a version of {listing.experiment}: add --env={listing.experiment}")
        return place, listing
    folder = place / experiment
    there = {listing.version: listing for listing in published_in(folder)}
    if not version and not there:
        raise PublishError(f"{folder.url} has no finished version: publish one, or correct the URL")
    chosen = version or next((one for one in there if _has_models(one, there)), None)
    if chosen is None:
        raise PublishError(
            f"{folder.url} has no finished version with a model: publish one, or name a version without with "
            f"--version; published are {named(there)}"
        )
    if chosen not in there:
        near = did_you_mean(chosen, there) or f"; published are {named(there)}"
        raise PublishError(f"{folder.url} has no finished version {chosen!r}{near}")
    return folder / chosen, there[chosen]


def _has_models(version: str, there: Mapping[str, Listing]) -> bool:
    """Tell whether a published version, or one that it refers to, has the checkpoints of any strategy."""
    found = [there[one] for one in (version, *there[version].refers_to) if one in there]
    return any(name.endswith(".checkpoints") for listing in found for name in listing.files)


def _fetch(versions: Versions, place: Remote, listing: Listing) -> bool:
    """Fetch a version: first all files, then each dataset gets its name. Tell whether any was not here yet."""
    version = listing.version
    if not isinstance(versions.runs, RunsDataset):
        raise PublishError(f"the catalog of {versions.experiment} has no dataset `runs`, so nothing can be fetched")
    if versions.not_ended.get(version):
        raise PublishError(f"the run {version} is under way here: wait until it has ended, or stop it")
    for name in listing.files.keys() - versions.datasets.keys():
        logger.warning("%s is left out: conf/%s has no such dataset", name, versions.experiment)
    targets = {
        name: versions.datasets[name].path_of(version).parent
        for name in listing.files.keys() & versions.datasets.keys()
    }
    missing = {name: target for name, target in targets.items() if not _is_here(target, listing.files[name])}
    if not missing:
        return False
    with versions.alone(), temporary(versions.runs.load(), Path.mkdir) as staged:
        try:
            for name in missing:
                download(place, listing.files[name], name, staged / name)
            _put_in_place(versions.runs, version, {staged / name: target for name, target in missing.items()})
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return True


def _put_in_place(runs: RunsDataset, version: str, folders: dict[Path, Path]) -> None:
    """Give folders their names; until all have them, the version counts as unfinished."""
    runs.forget(version)  # a fetch that was killed left its mark
    mark, is_whole = runs.begin(version), False
    try:
        for staged, target in folders.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)
        is_whole = True
    finally:
        mark.end(is_whole)


def _is_here(folder: Path, files: Files) -> bool:
    """Tell whether a dataset of a version is here.

    Raises:
        PublishError: other files are.
    """
    if not folder.exists():
        return False
    if files_in(folder) != files:
        raise PublishError(
            f"{folder} holds other files than the published version, and nothing is replaced: move it away"
        )
    return True


@contextmanager
def models_at(url: str) -> Iterator[tuple[Versions, str, str]]:
    """Give the models of a published version, while open: as versions, the experiment's name, and which one is meant.

    Args:
        url: of the version, maybe with `/STRATEGY`, maybe with `/trial_1` after that.

    Raises:
        PublishError: no version is published there, or a file is damaged.
        RemoteError: the URL cannot be read.
    """
    place, listing, below = _above(url)
    strategy, _, trial = below.partition("/")
    if strategy and f"{strategy}.checkpoints" not in listing.files:
        known = [name.removesuffix(".checkpoints") for name in listing.files if name.endswith(".checkpoints")]
        near = did_you_mean(strategy, known) or f"; it has {named(known)}"
        raise PublishError(f"{place.url} has no strategy {strategy!r}{near}")
    wanted = f"{strategy}@{listing.version}{f'/{trial}' if trial else ''}" if strategy else "recommended"
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        datasets: dict[str, AbstractDataset[Any, Any]] = {}
        for name, files in listing.files.items():
            if _is_needed(name, strategy):
                path = Path(folder, name, next(iter(files)).partition("/")[0])
                download(place, files, name, path / listing.version)
                datasets[name] = _dataset(name, path)
        nodes = [node(_made_elsewhere, None, name, name=name) for name in datasets]
        yield Versions(DataCatalog(datasets), Pipeline(nodes)), listing.experiment, wanted


def _above(url: str) -> tuple[Remote, Listing, str]:
    """Return the version that a URL is of or lies in, its list, and what of the URL is below it."""
    place, below = Remote(url), ""
    for _ in range(3):
        if (listing := listing_at(place)) is not None:
            return place, listing, below
        place, below = place.parent, f"{place.name}/{below}".rstrip("/")
        if "://" not in place.url:
            break
    raise PublishError(
        f"{url}: no version is published there. A model is at URL/EXPERIMENT/VERSION, maybe with /STRATEGY, maybe "
        "with /trial_1 after that; `kedro transferlab publish` says it"
    )


def _is_needed(name: str, strategy: str) -> bool:
    """Tell whether a model is found, its accuracy known, or its predictions calibrated, by a dataset."""
    of, _, kind = name.rpartition(".")
    if not of:
        return not strategy and kind in ("comparison", "cost")
    return of == (strategy or of) and kind in ("checkpoints", "metrics", "predictions", "references")


def _dataset(name: str, path: Path) -> WholeDataset[Any, Any]:
    of, _, kind = name.rpartition(".")
    any_version = Version(None, None)
    if kind == "checkpoints":
        return TrialsDataset(filepath=str(path), strategy=of, version=any_version)
    kept = ReferencesDataset if kind == "references" else TableDataset
    return kept(filepath=str(path), version=any_version)


def _made_elsewhere() -> None:
    """Stand for the node that made a published dataset."""
