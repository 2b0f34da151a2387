"""What a launcher does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from catena.blockwise.execution import ExecutionConfig

_SIGNALS = range(128 + 1, 128 + 65)


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended.

    Attributes
    ----------
    code
        Its exit code, negative for a signal as in :mod:`subprocess`.
    log
        File with all it has printed.
    """

    code: int
    log: Path

    @classmethod
    def of_shell(cls, code: int, log: Path) -> WorkerExit:
        """Return how a worker ended whose exit code is a shell's: 128 and the number of the signal that killed it."""
        return cls(128 - code if code in _SIGNALS else code, log)


class Launcher(Protocol):
    """Starts worker processes for one run of one stage, and sees to it that none outlives the run."""

    spans_hosts: ClassVar[bool]
    """Whether workers may run on other machines (then an SQLite store is refused)."""

    programs: ClassVar[tuple[str, ...]]
    """Programs that must be on PATH."""

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None: ...

    @property
    def host(self) -> str:
        """Address at which workers find the scheduler."""
        ...

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Start a worker, wait until it has ended, and tell how; called in a thread per worker.

        Parameters
        ----------
        worker_id
            Number of the worker in this run; it grows with restarts.
        context
            What the worker needs in ``DAISY_CONTEXT`` to connect.
        """
        ...

    def stop(self, patience_s: float = 0.0) -> None:
        """Start no more workers, give those that run `patience_s` to end by themselves, and end the rest."""
        ...
