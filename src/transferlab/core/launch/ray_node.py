"""Runs on each node of a Ray cluster: reports what it runs, what machine it is, and which files it does not see."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import transferlab
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import Machine, resolve

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "ray")
_LOOKS, _SECONDS_BETWEEN_LOOKS = 10, 0.5  # network file systems show a new file late


@dataclass(frozen=True)
class NodeReport:
    """What a node reports.

    Attributes:
        versions: of what trials depend on, by name.
        machine: what the compute settings resolve to there.
        unseen: files that it does not see, or whose folder it may not write to.
    """

    versions: dict[str, str]
    machine: Machine
    unseen: tuple[Path, ...] = ()


def report_of(compute: Compute, tokens: Sequence[Path] = (), files: Sequence[Path] = ()) -> NodeReport:
    """Report on this node.

    Args:
        compute: the settings of a trial.
        tokens: new files in folders that trials write to.
        files: that trials read.

    Raises:
        DeviceError: the device asked for is not there.
    """
    unseen = [path for path in (*tokens, *files) if not _sees(path)]
    unwritable = [path.parent for path in tokens if path not in unseen and not os.access(path.parent, os.W_OK)]
    return NodeReport(versions(), resolve(compute), (*unseen, *unwritable))


@cache
def versions() -> dict[str, str]:
    """Return the versions that this process runs: equal ones train to the same bits on equal machines."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    sources = hashlib.sha256()
    core = Path(transferlab.__file__).parent / "core"
    for file in sorted(core.rglob("*.py")):
        sources.update(file.relative_to(core).as_posix().encode() + file.read_bytes())
    ours = f"{transferlab.__version__} (sources {sources.hexdigest()[:12]})"
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **found, "transferlab": ours}


def _sees(path: Path) -> bool:
    """Look for a file in its folder's listing, which a network file system refreshes, some times."""
    for look in range(_LOOKS):
        if look:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        try:
            if path in path.parent.iterdir():
                return True
        except FileNotFoundError:
            continue
        except OSError:
            break
    return False
