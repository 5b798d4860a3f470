"""Asks the nodes of a Ray cluster whether they are fit to train: alike, and with the folders that trials share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferlab.core.errors import MendableError
from transferlab.core.launch import ray_node
from transferlab.core.launch.ray_node import NodeReport

logger = logging.getLogger(__name__)
# A node's first task starts a process that imports torch; from a shared disk that may take a minute.
_PATIENCE_SECONDS = 180.0


class ClusterError(MendableError):
    """A cluster that cannot be joined, or whose nodes cannot train the trials."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster that is alive: Ray's id of it, its name, and what it has in all."""

    id: str
    name: str
    cpus: float
    gpus: float


def task(function: Callable[..., Any], **options: Any) -> Any:
    """Return a function as a task of Ray, which is never done twice.

    Where it has GPUs it has a process of its own, since CUDA goes on with the GPU that a process has seen first. Ray
    does that for options that it is given here, and not for those of `.options()`.
    """
    import ray

    return ray.remote(max_retries=0, **options)(function)


def ask(nodes: Sequence[Node], needs: Mapping[str, int], arguments: tuple[Any, ...]) -> dict[str, NodeReport]:
    """Return what each node reports, by its name.

    Raises:
        ClusterError: one does not answer, or sees something not.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        # Without CPUs of its own it need not wait for other work to end.
        look = task(ray_node.report_of, num_cpus=0, num_gpus=needs["num_gpus"], scheduling_strategy=there)
        asked[look.remote(*arguments)] = node
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_SECONDS)
    for ref in silent:
        ray.cancel(ref)
    if silent:
        raise ClusterError(
            f"training.compute.address: {', '.join(asked[ref].name for ref in silent)} did not answer within "
            f"{_PATIENCE_SECONDS:g} s: wait until other work has left it, or stop that node (`ray stop`)"
        )
    reports: dict[str, NodeReport] = {}
    for ref in answered:
        name = asked[ref].name
        try:
            report = ray.get(ref)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError) as error:
            logger.warning("%s is lost, and left out (%s)", name, first_line(error))
            continue
        except ray.exceptions.RayError as error:
            raise ClusterError(_unlike(name, first_line(getattr(error, "cause", None) or error))) from error
        if report.unseen:
            raise ClusterError(
                f"training.compute.address: {name} does not see, or may not write, "
                f"{', '.join(map(str, report.unseen))}: all nodes must share the project's `data` with this process, "
                "at the same path. Put the project on a file system that all have, or stop that node (`ray stop`)"
            )
        reports[f"{name}, node {asked[ref].id[:6]}"] = report
    if not reports:
        raise ClusterError("training.compute.address: every node of the cluster is lost: start some (`ray start`)")
    return reports


def the_same(reports: Mapping[str, NodeReport]) -> NodeReport:
    """Return what every node reports.

    Raises:
        ClusterError: one runs other versions than this process, or is another machine than the first.
    """
    here, (first, one) = ray_node.versions(), next(iter(reports.items()))
    for name, report in reports.items():
        if told := _differences(report.versions, here, "this process"):
            raise ClusterError(_unlike(name, told))
        if told := _differences(report.machine.numerics(), one.machine.numerics(), first):
            raise ClusterError(_unlike(name, f"{told} (the last bits of a trial depend on it)"))
    return one


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], where: str) -> str:
    other = [key for key in here if there.get(key) != here[key]]
    return "; ".join(f"{key} {there.get(key)}, where {where} has {here[key]}" for key in other)


def _unlike(node: str, what: str) -> str:
    return (
        f"training.compute.address: the nodes of a cluster must be alike, and {node} is not: {what}. Install the same "
        "there, or stop that node (`ray stop`)"
    )


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
