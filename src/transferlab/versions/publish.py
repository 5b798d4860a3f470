"""Publishes finished versions of an experiment to a URL."""

from __future__ import annotations

from collections.abc import Collection

from transferlab.console.commands import command
from transferlab.core.files.remote import Remote
from transferlab.core.validation import did_you_mean
from transferlab.versions.catalogue import Versions
from transferlab.versions.published import LIST, Listing, PublishError, files_in, listing_at, named

_FINISHED = ("complete", "stale")


def publish(versions: Versions, url: str, version: str | None = None) -> list[str]:
    """Publish a finished version, with those that it refers to; return the URLs of those that were not there yet.

    Args:
        versions: of the experiment.
        url: of the folder that is to have them.
        version: by default the newest that is finished and has models, or metrics of those of another version.

    Raises:
        PublishError: the version is not there or not finished, there is none with a model, or other files of it are
            published.
        RemoteError: the URL cannot be written.
    """
    finished = [one for one in versions.folders if versions.state(one) in _FINISHED]
    version = version or next((one for one in finished if _has_models(versions, one, finished)), None)
    if version is None:
        run = command("run", f"--env={versions.experiment}", "--pipeline=transfer")
        raise PublishError(
            f"{versions.experiment} has no finished version with a model to publish: train one with `{run}`, or name "
            f"a version without with --version; finished are {named(finished)}"
        )
    if version not in finished:
        state = versions.state(version) if version in versions.folders else "not there"
        near = did_you_mean(version, finished) or f"; finished are {named(finished)}"
        raise PublishError(f"the version {version!r} is {state}, so it cannot be published{near}")
    others = _others(versions, version, finished)
    folder = Remote(url) / versions.experiment
    return [(folder / one).url for one in [*others, version] if _publish(versions, one, folder / one)]


def _others(versions: Versions, version: str, finished: Collection[str]) -> list[str]:
    """Return the finished versions that a version refers to."""
    return sorted((versions.references.get(version, set()) - {version}) & set(finished))


def _has_models(versions: Versions, version: str, finished: Collection[str]) -> bool:
    """Tell whether a version, or one that goes with it, has the checkpoints of any strategy."""
    return any(
        versions.has(one, f"{strategy}.checkpoints")
        for one in (version, *_others(versions, version, finished))
        for strategy in versions.strategies
    )


def _publish(versions: Versions, version: str, place: Remote) -> bool:
    """Publish one version; tell whether it was not there yet."""
    folders = versions.folders[version]
    files = {name: files_in(folder) for name, folder in folders.items()}
    refers_to = tuple(sorted(versions.references.get(version, set()) - {version}))
    there = listing_at(place)
    if there is not None and there.files != files:
        raise PublishError(f"{place.url} holds other files of this version, and nothing is replaced: take another URL")
    if there is not None:
        return False
    if (place / LIST).exists():  # a torn one, which is no version
        (place / LIST).remove()
    for name, inside in files.items():
        for path in inside:
            (place / name / path).upload(folders[name] / path)
    (place / LIST).create(Listing(versions.experiment, version, files, refers_to).to_bytes())
    return True
