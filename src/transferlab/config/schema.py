"""The typed root of an experiment's parameters: composes the core's dataclasses and says all that is wrong at once."""

from __future__ import annotations

from math import inf
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from transferlab.core.calibration.conformal import LEVEL, Method
from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.decoding.decode import MAX_PIXELS
from transferlab.core.data.decoding.levels import Percentiles
from transferlab.core.data.listing.config import ClassFolders, Layout
from transferlab.core.data.sources import Source
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.evaluation.sequential import SequentialTrials
from transferlab.core.files.remote import is_url
from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.metrics import Metric
from transferlab.core.runtime.compute import Compute
from transferlab.core.strategies.strategy import Strategy


class Strict(BaseModel):
    """A model that takes no unknown key and converts no type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _listed(value: Any) -> Any:
    """Take a single value for a list of one: what `--params=dataset.mirror=FOLDER` can give."""
    return (value,) if isinstance(value, str | int) else tuple(value) if isinstance(value, list) else value


def _rising(values: tuple[float, float]) -> tuple[float, float]:
    """Check that black is below white."""
    if not -inf < values[0] < values[1] < inf:
        raise ValueError("must be two numbers, that of black below that of white")
    return values


def _one_or_three(channels: tuple[int, ...]) -> tuple[int, ...]:
    """Check that channels can be grey, or red, green and blue."""
    if len(channels) not in (1, 3) or min(channels) < 1:
        raise ValueError("must be one or three numbers of channels, counted from 1, such as [3, 2, 1]")
    return channels


def _is_url(text: str) -> str:
    """Check that it is a URL."""
    if not is_url(text):
        raise ValueError("must be a URL, such as s3://bucket/models or file:///srv/models")
    return text


_Values = Annotated[tuple[float, float], AfterValidator(_rising)]


class Dataset(Strict):
    """The source of the images, and how they are split."""

    source: Source
    layout: Layout = Field(default_factory=ClassFolders)
    split: SplitConfig = Field(default_factory=SplitConfig)
    duplicates: Literal["report", "exclude"] = "report"
    """Treatment of an image that another split has too: `exclude` leaves it out of training (where validation or
    test has it) and of validation (where test has it); the test split keeps all its images."""
    mirror: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Folders or base URLs to look in before a source's own URL: one, or a list."""
    subsets: dict[str, str] = Field(default_factory=dict)
    """Parts of the test split that are also measured alone: a name and a pattern of paths, such as `*/ILSVRC2012_*`."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes that decode images; null is one per core."""
    range: Literal["dataset", "file"] | _Values | Percentiles = "dataset"
    """What is black and white of grey values of more than 8 bits: from the smallest to the largest value of the data
    set or of each file, two values, or percentiles (`{of: dataset, low: 0.1, high: 99.9}`)."""
    channels: Annotated[tuple[int, ...], BeforeValidator(_listed), AfterValidator(_one_or_three)] | None = None
    """Of TIFFs with several channels, the one that is grey or the three that are red, green and blue, counted from 1;
    null where they have no more than three."""
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    """An image with more pixels is quarantined, before memory is taken for it."""
    licence: str | None = None
    seen_in_pretraining: bool = False
    """True if the weights were pretrained on these very images; the report says so."""
    seen_in_pretraining_note: str | None = None

    @property
    def decoding(self) -> Decoding:
        """How its images are decoded."""
        return Decoding(workers=self.workers, range=self.range, max_pixels=self.max_pixels, channels=self.channels)


class Training(Strict):
    """Settings that all strategies share."""

    trials: Annotated[int, Field(ge=1)] | SequentialTrials = 3
    """How many, or `{at_least: 3, at_most: 10, stop: sequential}`: rounds until the best strategy is known."""
    seed: Annotated[int, Field(ge=0)] = 0
    compute: Compute = Field(default_factory=Compute)
    features: FeatureCacheConfig = Field(default_factory=FeatureCacheConfig)
    fresh: bool = False
    """Train anew what an earlier run finished or left unfinished; by default it is reused, or gone on with."""
    test_curve: bool = False
    """Record the test split's curve while training; allowed only where nothing is decided by a held-out split."""

    @property
    def most_trials(self) -> int:
        """The number of trials, or the largest that there may be."""
        return self.trials.at_most if isinstance(self.trials, SequentialTrials) else self.trials

    @property
    def least_trials(self) -> int:
        """The number of trials, or the smallest that there may be."""
        return self.trials.at_least if isinstance(self.trials, SequentialTrials) else self.trials


RESERVED = ("data", "report", "learning_curve", "recommended")


class Published(Strict):
    """A figure somebody published for a strategy, shown beside ours."""

    strategy: str
    metric: Metric | Literal["ece"] = "accuracy"
    value: float
    source: str
    selection: str | None = None


class ReferenceLine(Strict):
    """Somebody's figure for the same data, drawn as a line."""

    label: str
    value: float


class Report(Strict):
    """Texts and figures that the report adds to the tables."""

    title: str
    description: str = ""
    metric: Metric = "accuracy"
    """The metric that decides: between strategies on the test images, and within one, where `select: best`, a plateau
    schedule or patience decide, on the validation images."""
    margin: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far behind the best a strategy may be and still be good enough: 0.01 is one point of accuracy. The
    recommended strategy is then the cheapest that is surely within it."""
    published: tuple[Published, ...] = ()
    reference_lines: tuple[ReferenceLine, ...] = ()
    publish: Annotated[str, AfterValidator(_is_url)] | None = None
    """Where a whole run is published when it has ended, such as `s3://bucket/models`."""


class LearningCurve(Strict):
    """What `kedro run --pipeline=learning_curve` trains: parts of the training images, each half of the next."""

    strategies: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Which strategies: one, or a list; by default all that train."""
    draws: Annotated[int, Field(ge=3, le=1000)] = 3
    """How often each size is drawn and trained on."""
    halvings: Annotated[int, Field(ge=1, le=20)] = 4
    """How often the training images are halved: 4 begins with a sixteenth of them. Curves are fitted from there on."""


class Predict(Strict):
    """Images to predict with `kedro run --pipeline=predict`."""

    source: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Image files, folders, globs or CSV tables with a column `path`: one, or a list."""
    model: str = "recommended"
    """`recommended`, a strategy, `<strategy>@<version>`, either with `/trial_1`, a checkpoint file, or a URL."""
    top_k: Annotated[int, Field(ge=1)] = 3
    """How many classes to name for each image."""
    level: Annotated[float, Field(gt=0, lt=1)] = LEVEL
    """The probability with which a prediction set holds the true class; the report measures it on the test images."""
    sets: Method = "lac"
    """How prediction sets are made: `lac` gives the smallest on average, `raps` larger ones for difficult images."""


class Tracking(Strict):
    """Where a whole run is logged when it has ended."""

    mlflow: str
    """MLflow's tracking URI, such as `http://localhost:5000` or `sqlite:///mlflow.db`."""
    experiment: str | None = None
    """MLflow's experiment; null is that of the same name as ours."""
    checkpoints: bool = True
    """Log the checkpoints too."""


class Experiment(Strict):
    """All parameters of an experiment: the keys of `conf/<experiment>/parameters.yml`."""

    dataset: Dataset
    training: Training = Field(default_factory=Training)
    strategies: dict[str, Strategy] = Field(min_length=1)
    report: Report
    predict: Predict = Field(default_factory=Predict)
    tracking: Tracking | None = None
    learning_curve: LearningCurve = Field(default_factory=LearningCurve)
