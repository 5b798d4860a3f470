"""The typed root of an experiment's parameters: composes the core's dataclasses and says all that is wrong at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from transferlab.config_errors import problems_in
from transferlab.core import network
from transferlab.core.device import Compute
from transferlab.core.features import Keeping
from transferlab.core.label_table import LabelTable
from transferlab.core.layout import ClassFolders, Layout
from transferlab.core.problems import FieldProblems, Problem, did_you_mean
from transferlab.core.sources import FolderSource, Source
from transferlab.core.split import SplitConfig
from transferlab.core.strategy import Strategy
from transferlab.errors import UserError

T = TypeVar("T")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _listed(value: Any) -> Any:
    """A single string as a list of one: what `--params=dataset.mirror=FOLDER` can give."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Dataset(_Strict):
    """Where the images come from and how they are split."""

    source: Source
    layout: Layout = Field(default_factory=ClassFolders)
    split: SplitConfig = Field(default_factory=SplitConfig)
    duplicates: Literal["report", "exclude"] = "report"
    """What to do with an image that another split has too: `exclude` leaves it out of training (where validation or
    test has it) and of validation (where test has it); the test split keeps all its images."""
    mirror: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Folders or base URLs to look in before a source's own URL: one, or a list."""
    subsets: dict[str, str] = Field(default_factory=dict)
    """Parts of the test split that are also measured alone: a name and a pattern of paths, such as `*/ILSVRC2012_*`."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes that decode images; null is one per core."""
    licence: str | None = None
    seen_in_pretraining: bool = False
    """Whether the weights' pretraining saw these very images; the report flags it."""
    seen_in_pretraining_note: str | None = None


class Training(_Strict):
    """What all strategies share."""

    trials: Annotated[int, Field(ge=1)] = 3
    seed: Annotated[int, Field(ge=0)] = 0
    compute: Compute = Field(default_factory=Compute)
    features: Keeping = Field(default_factory=Keeping)
    test_curve: bool = False
    """Record the test split's curve while training; allowed only where nothing is decided by a held-out split."""


RESERVED = ("report",)


class Published(_Strict):
    """A figure somebody published for a strategy, shown beside ours."""

    strategy: str
    metric: Literal["accuracy", "macro_f1", "log_loss", "auroc", "ece"] = "accuracy"
    value: float
    source: str
    selection: str | None = None


class ReferenceLine(_Strict):
    """Somebody's figure for the same data, drawn as a line."""

    label: str
    value: float


class Report(_Strict):
    """What the report says beyond the tables."""

    title: str
    description: str = ""
    published: tuple[Published, ...] = ()
    reference_lines: tuple[ReferenceLine, ...] = ()


class Experiment(_Strict):
    """All parameters of an experiment: the keys of `conf/<experiment>/parameters.yml`."""

    dataset: Dataset
    training: Training = Field(default_factory=Training)
    strategies: dict[str, Strategy] = Field(min_length=1)
    report: Report


class _Box(_Strict, Generic[T]):
    """Any type as a field: so a dataclass of the core is parsed by the rules of the models it stands in."""

    value: T


class ConfigError(UserError):
    """Parameters that cannot be run; the message lists every problem as `dotted.key: value - what to do`."""


def read(kind: type[T], value: Any, at: str = "") -> T:
    """Parse a block of parameters, given as YAML gave it, into its type.

    Args:
        kind: a model of this module or a dataclass of the core.
        value: the block.
        at: its dotted key, for messages.

    Raises:
        ConfigError: something is wrong with it.
    """
    # Through JSON, since a strict tuple takes no Python list, but every JSON array.
    text = json.dumps({"value": value}, default=str)
    value = json.loads(text)["value"]
    try:
        return _Box[kind].model_validate_json(text).value  # type: ignore[valid-type]
    except ValidationError as error:
        raise ConfigError(render(at, problems_in(kind, value, error))) from None


def read_experiment(parameters: Mapping[str, Any], environment: str, deep: bool = False) -> Experiment:
    """Parse and check an experiment.

    Args:
        parameters: the merged parameters of the environment; keys that begin with `_` are for YAML interpolation only.
        environment: its name, for messages.
        deep: also make every network (without memory) and try its policies and input size on it.

    Raises:
        ConfigError: with all problems found.
    """
    where = f"conf/{environment}/parameters.yml"
    public = {key: value for key, value in parameters.items() if not str(key).startswith("_")}
    experiment = read(Experiment, public, where)
    problems = [*_conflicts(experiment), *(_misfits(experiment) if deep else ())]
    if problems:
        raise ConfigError(render(where, problems))
    return experiment


def _conflicts(experiment: Experiment) -> Iterator[Problem]:
    """What is wrong between blocks that are each right."""
    can_validate = _can_validate(experiment.dataset)
    for name, strategy in experiment.strategies.items():
        if name in RESERVED:
            yield Problem(f"strategies.{name}", name, "is taken: the report's own namespace; choose another name")
        if not name.isidentifier():
            yield Problem(f"strategies.{name}", name, "must be a plain name (letters, digits, _): it names a namespace")
        if strategy.decides and experiment.training.test_curve:
            yield Problem(
                "training.test_curve",
                True,
                f"but strategies.{name} decides by validation figures; set it to "
                "false, or give that strategy `select: last` and no plateau schedule",
            )
        if strategy.decides and not can_validate:
            yield Problem(
                "dataset.split.validation",
                experiment.dataset.split.validation,
                f"but strategies.{name} decides by a validation split (select: best or a plateau schedule); "
                "give it a part of the images, e.g. 0.15",
            )
    for number, row in enumerate(experiment.report.published):
        if row.strategy not in experiment.strategies:
            yield Problem(
                f"report.published.{number}.strategy",
                row.strategy,
                "is no strategy of this experiment" + did_you_mean(row.strategy, experiment.strategies),
            )


def _can_validate(dataset: Dataset) -> bool:
    """Whether there will be a validation split, as far as it can be known before the images are there."""
    if dataset.split.validation > 0:
        return True
    if isinstance(dataset.layout, LabelTable):
        return dataset.layout.split is not None
    if isinstance(dataset.source, FolderSource) and Path(dataset.source.path).expanduser().is_dir():
        folders = {folder.name.lower() for folder in Path(dataset.source.path).expanduser().iterdir()}
        return "test" in folders and bool(folders & {"val", "valid", "validation"})
    return True


def _misfits(experiment: Experiment) -> Iterator[Problem]:
    for name, strategy in experiment.strategies.items():
        try:
            network.check(strategy)
        except FieldProblems as error:
            for problem in error.problems:
                yield dataclasses.replace(problem, field=f"strategies.{name}.{problem.field}")


def render(where: str, problems: list[Problem]) -> str:
    """The message of a `ConfigError`."""
    count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"  {p.field}: {_shown(p.value)} - {p.message}" for p in problems]
    return "\n".join([f"{where}: {count}", *lines])


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
