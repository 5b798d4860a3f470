"""Carries what workers tell while they train, progress and log, to the process that launched them.

Ray lets no worker call the launching process, so an actor stands between them. Its process imports neither torch nor
timm: it is there in a second.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cache
from typing import Any

from transferlab.core.launch.channel import packed, unpacked
from transferlab.core.runtime.progress import Progress

# What single steps tell is sent so often at most.
SECONDS_BETWEEN_STEPS = 0.25
_PATIENCE_SECONDS = 10.0


class Mailbox:
    """An actor beside the launching process, which keeps what workers post until that takes it."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._begun: dict[str, list[str]] = {}  # jobs of each launch
        self._stopped: set[str] = set()  # launches

    def begin(self, launch: str, job: str) -> bool:
        """Write down that a job begins; return whether it may."""
        self._begun.setdefault(launch, []).append(job)
        return launch not in self._stopped

    def stop(self, launch: str) -> list[str]:
        """Let no more jobs of a launch begin; return those that have begun."""
        self._stopped.add(launch)
        return self._begun.get(launch, [])

    def put(self, message: bytes) -> None:
        """Keep a message."""
        self._messages.append(message)

    def take(self) -> list[bytes]:
        """Return all messages, in the order in which they came."""
        taken, self._messages = self._messages, []
        return taken


def mailbox() -> Any:
    """Return the mailbox of this process, which all launches share: starting it takes a process."""
    import ray

    connection = ray.get_runtime_context()
    return _mailbox(connection.gcs_address, connection.get_job_id())


@cache
def _mailbox(_cluster: str, _job: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside this process: on another node it could be lost with that.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor: Any = ray.remote(Mailbox).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
    return actor.remote()


class Sender:
    """A worker's way to the mailbox; that the mailbox is lost with its node does not stop a trial.

    Args:
        mailbox: see there.
        of: the launch, and the strategy, whose messages they are.
    """

    def __init__(self, mailbox: Any, of: tuple[str, str]) -> None:
        self._mailbox, self._of, self._sent = mailbox, of, 0.0
        self._last: Any = None

    def put_nowait(self, message: object) -> None:
        """Send a message; of those about single steps, some."""
        now = time.monotonic()
        is_step = isinstance(message, Progress) and message.loss is None
        if is_step and now - self._sent < SECONDS_BETWEEN_STEPS:
            return
        self._sent = now if is_step else self._sent
        self._last = self._mailbox.put.remote(packed((*self._of, message)))

    def flush(self) -> None:
        """Wait until all is in the mailbox: a result may overtake it."""
        import ray

        with suppress(ray.exceptions.RayError):
            if self._last is not None:
                ray.get(self._last, timeout=_PATIENCE_SECONDS)


def may_begin(mailbox: Any, launch: str, job: str) -> bool:
    """Return whether a job may begin: its launch is not stopped, as far as is known."""
    import ray

    with suppress(ray.exceptions.RayError):  # no trial stops because the mailbox is lost
        return bool(ray.get(mailbox.begin.remote(launch, job), timeout=_PATIENCE_SECONDS))
    return True


def begun(mailbox: Any, launch: str) -> set[str] | None:
    """Let no more jobs of a launch begin; return those that have begun, or None if nobody knows."""
    import ray

    with suppress(ray.exceptions.RayError):
        return set(ray.get(mailbox.stop.remote(launch), timeout=_PATIENCE_SECONDS))
    return None


def taken(mailbox: Any) -> list[tuple[str, str, Any]]:
    """Return the messages that have come since, each with its launch and strategy."""
    import ray

    with suppress(ray.exceptions.RayActorError):  # it is being started again
        return [unpacked(message) for message in ray.get(mailbox.take.remote())]
    return []
