"""What runs of a tiny project leave in a folder, written without running anything."""

from pathlib import Path

import pandas as pd
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import node, pipeline

from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.document import PageDataset
from transferlab.datasets.runs import RunsDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.catalogue import Versions
from transferlab.versions.prune import Rules, remove_versions, staying

STRATEGIES = ("a", "b")
PIPELINE = pipeline(
    [
        node(lambda x: x, "photos", "index", name="split", tags="data"),
        *(node(lambda x: x, "index", f"{s}.checkpoints", name=f"{s}_train", tags="transfer") for s in STRATEGIES),
        *(node(lambda x: x, f"{s}.checkpoints", f"{s}.metrics", name=f"{s}_eval", tags="transfer") for s in STRATEGIES),
        node(lambda *x: x, [f"{s}.metrics" for s in STRATEGIES], "metrics", name="gather", tags="report"),
        node(lambda x: x, "metrics", "report", name="write", tags="report"),
    ]
)
KINDS = {"index": TableDataset, "metrics": TableDataset, "report": PageDataset}
KINDS |= {f"{s}.checkpoints": TrialsDataset for s in STRATEGIES} | {f"{s}.metrics": TableDataset for s in STRATEGIES}
FILES = {"index": "index.parquet", "report": "report.html"}


def day(number: int) -> str:
    return f"2026-01-{number:02d}T00.00.00.000Z"


class Experiment:
    """What runs have left in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metric = "accuracy"  # that decides now
        self.latest = {}  # of each dataset

    def filepath(self, name: str) -> Path:
        return self.root / FILES.get(name, name.replace(".", "/") + (".csv" if "metrics" in name else ""))

    def versions(self) -> Versions:
        named = {
            name: kind(filepath=str(self.filepath(name)), version=Version(None, None)) for name, kind in KINDS.items()
        }
        named["runs"] = RunsDataset(filepath=str(self.root / "runs"))
        return Versions(DataCatalog({**named, "params:report.metric": MemoryDataset(self.metric)}), PIPELINE)

    def write(self, name: str, version: str, content: str = "x") -> None:
        path = self.filepath(name) / version / self.filepath(name).name
        if KINDS[name] is TrialsDataset:
            path = path / "trial_0.safetensors"
        path.parent.mkdir(parents=True)
        path.write_text(content)
        self.latest[name] = version

    def train(self, strategy: str, version: str) -> None:
        self.write(f"{strategy}.checkpoints", version)

    def evaluate(self, strategy: str, version: str, accuracies=(0.5, 0.7), **others: float) -> None:
        if checkpoints := self.latest.get(f"{strategy}.checkpoints"):
            rows = [("test", "accuracy", value) for value in accuracies] + [
                ("test/part", "accuracy", 0),
                ("test", "ece", 0),
                *(("test", metric, value) for metric, value in others.items()),
            ]
            table = pd.DataFrame(rows, columns=["split", "metric", "value"])
            table = table.assign(run_id=version, checkpoint_version=checkpoints)
            self.write(f"{strategy}.metrics", version, table.to_csv(index=False))

    def report(self, version: str) -> None:
        parts = [
            self.filepath(f"{s}.metrics") / self.latest.get(f"{s}.metrics", "") / "metrics.csv" for s in STRATEGIES
        ]
        if all(part.is_file() for part in parts):
            self.write("metrics", version, pd.concat(pd.read_csv(part) for part in parts).to_csv(index=False))
            self.write("report", version)

    def whole(self, version: str, accuracies=(0.5, 0.7), **others: float) -> None:
        self.write("index", version)
        for strategy in STRATEGIES:
            self.train(strategy, version)
            self.evaluate(strategy, version, accuracies, **others)
        self.report(version)

    def happen(self, event: str, version: str, accuracy: float) -> None:
        what, _, strategy = event.partition(" ")
        if what == "whole":
            self.whole(version, (accuracy, accuracy))
        elif what == "data":
            self.write("index", version)
        elif what == "train":
            self.train(strategy, version)
        elif what == "evaluate":
            self.evaluate(strategy, version, (accuracy, accuracy))
        else:
            self.report(version)

    def prune(self, **rules) -> list[str]:
        """The days of the versions that are removed."""
        versions = self.versions()
        leaving = [version for version in versions.folders if version not in staying(versions, Rules(**rules))]
        remove_versions(versions, leaving)
        assert list(self.versions().folders) == [version for version in versions.folders if version not in leaving]
        return sorted(int(version[8:10]) for version in leaving)
