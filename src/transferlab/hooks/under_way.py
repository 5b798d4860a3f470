"""The run under way: what it has made, and how to go on with what it has not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from transferlab.console.commands import command
from transferlab.datasets.atomic import WholeDataset
from transferlab.datasets.folders import UnfinishedTrials
from transferlab.datasets.gathered import each_dataset
from transferlab.datasets.runs import Run


@dataclass
class UnderWay:
    """What the hooks remember of a run.

    Attributes:
        pipeline: what it is to do.
        catalog: what it reads and writes.
        run_id: the version that it saves.
        env: the experiment's name.
        saved: names of the datasets that it has saved.
        mark: that it is under way, on disk.
        loading: the dataset that is being loaded.
        has_said_data: whether the numbers of classes and images were said.
    """

    pipeline: Pipeline = field(default_factory=lambda: Pipeline([]))
    catalog: DataCatalog = field(default_factory=DataCatalog)
    run_id: str = ""
    env: str = ""
    saved: set[str] = field(default_factory=set)
    mark: Run | None = None
    loading: str = ""
    has_said_data: bool = False

    def has_made(self, name: str) -> bool:
        """Check whether it has saved a dataset, in this process or in a worker's."""
        dataset = self.catalog.get(name)
        if name in self.saved or not isinstance(dataset, WholeDataset):
            return name in self.saved
        return dataset.exists() and dataset.resolve_load_version() == self.run_id

    def maker(self) -> str:
        """Name the command that makes the dataset again which the run could not load."""
        from kedro.framework.project import pipelines

        whole = pipelines.get("__default__", self.pipeline)
        makers = [node.name for node in (*self.pipeline.nodes, *whole.nodes) if self.loading in node.outputs]
        return f"\nTo make it: {command('run', f'--env={self.env}', f'--nodes={makers[0]}')}" if makers else ""

    def how_to_go_on(self) -> str:
        """Say what to add to the command so that it does what the run has not done, and where training goes on."""
        pipeline, catalog = self.pipeline, self.catalog
        saved = {name for name in self.saved if not isinstance(catalog.get(name), MemoryDataset)}
        todo = {node for node in pipeline.nodes if not set(node.outputs) <= saved}
        first = sorted(node.name for node in todo if not pipeline.node_dependencies[node] & todo)
        begun = ", ".join(where for node in sorted(todo) if (where := self._begun(node)))
        how = f"add --from-nodes={','.join(first)}" if saved and first else "run it again" if begun else ""
        training = f": training goes on after {begun}" if begun else ""
        return f"\nTo go on from there, {how}{training}" if how else ""

    def _begun(self, node: Node) -> str:
        """Say how far a training node has come, such as `epoch 3 of trial 2 (scratch)`; empty where it has no state."""
        for name in node.confirms:
            dataset = self.catalog.get(name)
            if isinstance(dataset, UnfinishedTrials) and (at := dataset.progress()):
                return f"epoch {at.epoch} of trial {at.trial + 1} ({name.rpartition('.')[0]})"
        return ""


def stored(names: Iterable[str], catalog: DataCatalog) -> list[WholeDataset[Any, Any]]:
    """Return the datasets that are on disk, of gathered ones their parts, in the order of their names."""
    found = dict(pair for name in names for pair in each_dataset(name, catalog.get(name)))
    return [found[name] for name in sorted(found) if isinstance(found[name], WholeDataset)]
