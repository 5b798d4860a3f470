"""Joins a Ray cluster, and checks before any trial that its nodes are alike and see the folders that trials share."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from transferlab.core.files.atomic import temporary
from transferlab.core.launch import ray_mailbox
from transferlab.core.launch.ray_check import ClusterError, Node, ask, first_line, the_same
from transferlab.core.launch.ray_node import NodeReport
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import Machine, resolve

LOCAL = "local"
ENVIRONMENT = {  # read when ray is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without it, workers print a warning
    # Else a run that `uv run` began is copied to every node, and an environment is resolved and installed anew there:
    # minutes, gigabytes, and other versions than those of this process.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
_SECONDS_TO_CONNECT = 10.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process has joined.

    Attributes:
        needs: CPUs and GPUs of a trial, by the names of Ray's options.
        report: what every node reported, all of them the same.
    """

    needs: dict[str, int]
    report: NodeReport


def compute_of_each(compute: Compute) -> Compute:
    """Return the compute settings of one trial, with its number of threads: Ray gives it as many CPUs.

    How many trials there are at a time is then Ray's to say.
    """
    threads = compute.threads or max(1, torch.get_num_threads() // compute.parallel_trials)
    return replace(compute, threads=threads, parallel_trials=1)


def machine_of(compute: Compute) -> Machine:
    """Return what the compute settings of a trial resolve to where the trials will run.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
        DeviceError: the device asked for is not there.
    """
    return resolve(compute) if compute.address == LOCAL else _reported(compute)


@cache
def _reported(compute: Compute) -> Machine:
    """Ask the cluster once: every trial compares its node with the others anyway."""
    return join(compute).report.machine


def join(compute: Compute, folders: Sequence[Path] = (), files: Sequence[Path] = ()) -> Cluster:
    """Join the cluster at `compute.address`, and ask every node that is large enough whether it is fit to train.

    Args:
        compute: of each trial.
        folders: that all nodes must share with this process.
        files: that all nodes must see.

    Raises:
        ClusterError: the cluster cannot be joined, no node is large enough, or one is not fit; says what differs.
    """
    _connect(compute.address)
    nodes = _nodes()
    needs = _needs(compute, nodes)
    able = [node for node in nodes if node.cpus >= needs["num_cpus"] and node.gpus >= needs["num_gpus"]]
    if not able:
        has = "; ".join(f"{node.name} has {node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes)
        raise ClusterError(
            f"training.compute: a trial needs {needs['num_cpus']} CPUs (threads x devices) and {needs['num_gpus']} "
            f"GPUs of one node, and no node has them ({has}): set fewer threads or devices"
        )
    with ExitStack() as held:
        tokens = [held.enter_context(_token(folder.absolute())) for folder in folders]
        reports = ask(able, needs, (compute, tokens, [file.absolute() for file in files]))
    return Cluster(needs, the_same(reports))


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Give this process back the signal handlers that it had: `ray.init` replaces that of SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _connect(address: str) -> None:
    """Join the cluster, once in a process, which leaves it when it exits."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "training.compute.launcher: ray needs the package ray: install the extra `cluster`, e.g. "
            "`uv sync --extra cluster` or `pip install 'transferlab[cluster]'`"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if address == LOCAL:
        # Ray turns 127.0.0.1 into this machine's address unless it is told to have no clusters. An own cluster listens
        # on this machine alone: whoever reaches a cluster's ports can run code on it.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)  # it warns of ports that listen on this machine alone
    _check_reachable(address)
    own: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == LOCAL else {}
    with _handlers_kept():
        try:
            ray.init(address=address, **own, **_QUIET)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise _no_cluster(address, error) from error
    ray_mailbox.mailbox()  # before any task: else it would take the process of one, which has imported torch


def _check_reachable(address: str) -> None:
    """Check that something listens at an address: Ray itself would try for minutes.

    Raises:
        ClusterError: nothing does.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    try:
        if separator:
            socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: no port, no host
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"training.compute.address: {address!r}: no Ray cluster can be joined there ({first_line(error)}): start one "
        "with `ray start --head`, or set 'local' for this machine alone. If it has a token, set RAY_AUTH_MODE=token in "
        "the environment"
    )


def _nodes() -> list[Node]:
    import ray

    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            has = node["Resources"]
            found.append(Node(node["NodeID"], name, has.get("CPU", 0.0), has.get("GPU", 0.0)))
    return sorted(found, key=lambda node: (node.name, node.id))


def _needs(compute: Compute, nodes: Iterable[Node]) -> dict[str, int]:
    on_gpus = compute.device == "cuda" or (compute.device == "auto" and any(node.gpus for node in nodes))
    return {"num_cpus": (compute.threads or 1) * compute.devices, "num_gpus": compute.devices if on_gpus else 0}


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """Give a new file in a folder, for others to look for."""
    folder.mkdir(parents=True, exist_ok=True)
    with temporary(folder, Path.touch) as token:
        try:
            yield token
        finally:
            token.unlink(missing_ok=True)
