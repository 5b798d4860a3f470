"""Several datasets of the catalog as one, so that one box of Kedro-Viz stands for them; files and names stay theirs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, CatalogProtocol
from kedro_datasets._typing import ImagePreview, TablePreview

if TYPE_CHECKING:
    from transferlab.datasets.table import TableDataset

EARLIER = "earlier_trials"
FIGURES = ("errors", "confusion", "reliability", "grid")
RESULTS = (
    "summary", "checkpoints", "fingerprints", "history", "steps", "cost", "predictions", "metrics", "per_class",
    "confusion", "coverage", "together", "references", "figures",
)  # fmt: skip


class GatheredDataset(AbstractDataset[Mapping[str, Any], Mapping[str, Any]]):
    """Loads as a mapping that reads each part when it is asked for; saves the parts that it is given."""

    def __init__(self, catalog: CatalogProtocol[Any, Any], names: Mapping[str, str], layer: str) -> None:
        """Take the parts from a catalog, which has a name for each, and say where Kedro-Viz shows them."""
        self._names = dict(names)
        self.parts: dict[str, AbstractDataset[Any, Any]] = {
            name: part for name in names.values() if (part := catalog.get(name)) is not None
        }
        self.metadata = {"kedro-viz": {"layer": layer}}

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy, such as another process's, needs: the parts, and not the catalog that Kedro remembers."""
        return {**self.__dict__, "_init_args": None}

    def load(self) -> Mapping[str, Any]:
        """Return the parts, not yet read."""
        return _Parts({short: self.parts[name] for short, name in self._names.items() if name in self.parts})

    def save(self, data: Mapping[str, Any]) -> None:
        """Save parts, each by itself."""
        for short, value in data.items():
            self.parts[self._names[short]].save(value)

    def _exists(self) -> bool:
        return all(part.exists() for part in self.parts.values())

    def _describe(self) -> dict[str, Any]:
        return {"parts": list(self._names.values())}


class FiguresDataset(GatheredDataset):
    """The figures of a strategy."""

    def preview(self) -> ImagePreview:
        """Show them in Kedro-Viz, two in a row."""
        from PIL import Image

        pictures = [Image.open(BytesIO(png)) for png in self.load().values()]
        rows = [pictures[place : place + 2] for place in range(0, len(pictures), 2)]
        heights = [max(picture.height for picture in row) for row in rows]
        width = max(picture.width for picture in pictures)
        sheet = Image.new("RGB", (2 * width, sum(heights)), "white")
        for number, row in enumerate(rows):
            for column, picture in enumerate(row):
                sheet.paste(picture, (column * width, sum(heights[:number])))
        file = BytesIO()
        sheet.save(file, "PNG")
        return ImagePreview(base64.b64encode(file.getvalue()).decode())


class ResultsDataset(GatheredDataset):
    """All that the runs of a strategy have made."""

    def preview(self) -> TablePreview:
        """Show the metrics in Kedro-Viz."""
        metrics: TableDataset = self.parts[self._names["metrics"]]  # type: ignore[assignment]
        return metrics.preview()


class _Parts(Mapping[str, Any]):
    """Values by name, each loaded when asked for."""

    def __init__(self, parts: Mapping[str, AbstractDataset[Any, Any]]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Any:
        return self._parts[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def add_gathered(catalog: CatalogProtocol[Any, Any], strategies: Iterable[str]) -> None:
    """Add the gathered datasets of an experiment to its catalog.

    These are the figures and the results of each strategy, and what earlier runs left of all trainings.
    """
    earlier: dict[str, str] = {}
    for name in strategies:
        figures = {kind: f"{name}.figure_{kind}" for kind in FIGURES}
        catalog[f"{name}.figures"] = FiguresDataset(catalog, figures, "reporting")
        catalog[f"{name}.results"] = ResultsDataset(catalog, {kind: f"{name}.{kind}" for kind in RESULTS}, "reporting")
        earlier |= {f"{name}.{kind}": f"{name}.{kind}" for kind in ("unfinished_trials", "finished_trials")}
    catalog[EARLIER] = GatheredDataset(catalog, earlier, "models")


def each_dataset(name: str, dataset: AbstractDataset[Any, Any] | None) -> Iterator[tuple[str, Any]]:
    """Yield a dataset with its name; of a gathered one, its parts."""
    if isinstance(dataset, GatheredDataset):
        for part, inner in dataset.parts.items():
            yield from each_dataset(part, inner)
    else:
        yield name, dataset
