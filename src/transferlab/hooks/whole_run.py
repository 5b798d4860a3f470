"""What the last whole run was made from. One that would make the same again has nothing to do.

Trials know by themselves what they depend on; this is about everything: images, parameters, weights, code, packages and
machine. What is compared is what the run itself computes with, such as the content of every image file.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline

import transferlab
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.console.errors import UserError
from transferlab.core.data.store_builder import cpus, file_hashes
from transferlab.core.errors import MendableError
from transferlab.core.files.hashing import sha256_of, sha256_of_json
from transferlab.core.models.backbones.weights_file import is_file, locate
from transferlab.core.runtime.processor import processor
from transferlab.datasets.document import CONTENTS, JSONDataset, checked
from transferlab.datasets.parameters import used
from transferlab.hooks.under_way import stored

if TYPE_CHECKING:
    import pandas as pd

    from transferlab.config.context import ExperimentContext

logger = logging.getLogger(__name__)
DATASET = "whole_run"
# What else decides with what a run computes.
_ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def begun(context: ExperimentContext, pipeline: Pipeline, run_params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a run that begins is made from, but for the images; None for one that does not make everything anew.

    Weights or code that are changed while it runs are not what it was made from.
    """
    from kedro.framework.project import pipelines

    makes_all = pipeline.all_outputs() == pipelines["__default__"].all_outputs()
    if not makes_all or run_params["load_versions"] or run_params["only_missing_outputs"]:
        return None
    return _made_from(context.config_loader)


def keep(made_from: Mapping[str, Any], outputs: Iterable[str], catalog: DataCatalog, project: Path) -> None:
    """Keep what a whole run was made from, and what it has made. Where that cannot be, the next run works again."""
    record = catalog.get(DATASET)
    if not isinstance(record, JSONDataset):
        return
    try:
        files = next(iter(catalog.load("image_store").values())).header["files"]
        images = _images(catalog.load("listing"), catalog.load("ignored"), [each["file_sha256"] for each in files])
        saved = [dataset.load_path.relative_to(project).as_posix() for dataset in stored(outputs, catalog)]
        run_id, content = catalog.load("run_id"), _content(project, saved)
        record.save({"run_id": run_id, "saved": saved, "content": content, "images": images, **made_from})
    except (OSError, MendableError, DatasetError) as error:
        logger.warning("the run is whole, but if nothing changes the next one will not know that: %s", error)


def unchanged(context: ExperimentContext) -> str | None:
    """Return the id of the last whole run, if one now would be made from the same and all it saved is there."""
    loader = context.config_loader
    if loader.experiment.training.fresh:
        return None
    try:
        text = (context.project_path / loader["catalog"][DATASET]["filepath"]).read_text("utf-8")
        record = checked(CONTENTS[DATASET], json.loads(text))
        if (
            all(record[key] == value for key, value in _made_from(loader).items())
            and all(_is_latest(context.project_path / path, record["run_id"]) for path in record["saved"])
            and record["content"] == _content(context.project_path, record["saved"])
            and record["images"] == _images_now(context)
        ):
            return str(record["run_id"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, OSError, MendableError, DatasetError, UserError) as error:
        logger.debug("the run itself will tell: %s", error)
    return None


def _made_from(loader: ExperimentConfigLoader) -> dict[str, Any]:
    """Return what a run is made from, but for the images."""
    parameters = used(loader["parameters"], {})
    parameters["training"] = {key: value for key, value in (parameters.get("training") or {}).items() if key != "fresh"}
    weights = {strategy.model.weights for strategy in loader.experiment.strategies.values()}
    return {
        "parameters": _digest(parameters),
        "catalog": _digest(loader["catalog"]),
        "weights": {name: sha256_of(locate(name)) for name in sorted(filter(None, weights)) if is_file(name)},
        "code": _digest([[file.name, sha256_of(file)] for file in _code()]),
        "packages": dict(_packages()),
        "machine": [processor(), cpus(), *map(os.environ.get, _ENVIRONMENT)],
    }


def _code() -> list[Path]:
    """List this package's files, without what Python makes of them."""
    folder = Path(transferlab.__file__).parent
    return [file for file in sorted(folder.rglob("*.*")) if file.parent.name != "__pycache__" and file.is_file()]


def _packages() -> Iterator[tuple[str, str]]:
    """Yield Python and the packages that this one is used with, with their versions."""
    yield "python", platform.python_version()
    try:
        names = {re.split(r"[^\w.-]", one)[0] for one in requires("transferlab") or ()}
    except PackageNotFoundError:  # sources that are not installed: nobody says which packages are theirs
        names = {each.name for each in distributions()}
    for each in sorted(names):
        try:
            yield each, version(each)
        except PackageNotFoundError:  # of an extra that is not installed
            continue


def _is_latest(path: Path, run_id: str) -> bool:
    """Check that no later run than that of a saved version has begun to save another."""
    versions = path.parent.parent.glob("[!.]*") if path.parent.name == run_id else ()
    return all(version.name <= run_id for version in versions)


def _content(folder: Path, saved: Iterable[str]) -> str:
    """Return a digest of all files of what was saved; one that is not there, or cannot be read, makes another."""
    paths = [folder / path for path in saved]
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return _digest([[file.relative_to(folder).as_posix() for file in files], file_hashes(files, cpus())])


def _images_now(context: ExperimentContext) -> str:
    """Look at the images as the pipeline does, without its warnings: a run that follows says them."""
    from transferlab.pipelines.data import nodes

    dataset, catalog = context.config_loader.experiment.dataset, context.catalog
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        acquired = nodes.acquire(dataset, catalog.load("downloads"))
        extracted = nodes.extract_archive(acquired, catalog.load("extracted_archives"))
        listing, ignored = nodes.list_images(extracted, dataset)
    finally:
        logging.disable(before)
    files = [Path(extracted["path"]) / path for path in listing["path"]]
    return _images(listing, ignored, file_hashes(files, cpus()))


def _images(listing: pd.DataFrame, ignored: pd.DataFrame, sha256: Sequence[str | None]) -> str:
    tables = [table.astype(object).where(table.notna(), None).to_dict("list") for table in (listing, ignored)]
    return _digest([*tables, list(sha256)])


def _digest(value: Any) -> str:
    return sha256_of_json(json.loads(json.dumps(value, default=str)))
