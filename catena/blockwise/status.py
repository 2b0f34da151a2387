"""How far a blockwise stage is, read from its folder by any process at any time."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from catena.blockwise.failures import BlockFailure, read_failures
from catena.blockwise.job import WorkerJob, write_json
from catena.blockwise.marks import BlockMarks
from catena.errors import StageError

State = Literal["running", "finished", "failed", "stopped", "dead"]

TRACKING = "blocks"
SILENT_AFTER_S = 30.0
_SLOWEST = 5


@dataclass(frozen=True)
class BlockwiseStatus:
    """A snapshot of one stage.

    Attributes
    ----------
    state
        ``"running"``; ``"finished"``, ``"failed"`` or ``"stopped"`` (by a signal) when the last run
        ended so; ``"dead"`` when it ended without a word.
    total, done, failed, skipped, left
        Numbers of blocks.
    seconds
        Duration of the last run so far.
    blocks_per_s, mvoxel_per_s, seconds_left
        From the blocks done in the last run; None as long as there is none.
    failures
        The failed blocks, with error and log.
    peak_memory_bytes
        Largest memory of any worker.
    slowest
        The slowest blocks with their seconds, slowest first.
    """

    name: str
    state: State
    total: int
    done: int
    failed: int
    skipped: int
    left: int
    seconds: float
    blocks_per_s: float | None
    mvoxel_per_s: float | None
    seconds_left: float | None
    failures: tuple[BlockFailure, ...]
    peak_memory_bytes: int
    slowest: tuple[tuple[int, float], ...]


class ProgressFile:
    """The master's note of a run, ``progress.json``, replaced as a whole at most every `interval_s`."""

    def __init__(self, folder: Path, name: str, skipped: int, resumed: int, interval_s: float = 1.0) -> None:
        self._path = folder / "progress.json"
        self._interval_s = interval_s
        self._written = 0.0
        self._values: dict[str, Any] = {"name": name, "skipped": skipped, "resumed": resumed, "failed": 0}
        self._values |= {"began": time.time(), "host": socket.gethostname(), "pid": os.getpid()}

    def write(self, state: State, failed: int) -> None:
        """Note the state; a running one only if the last note is old enough."""
        if state == "running" and time.monotonic() - self._written < self._interval_s:
            return
        self._written = time.monotonic()
        self._values |= {"state": state, "failed": failed, "updated": time.time()}
        write_json(self._path, self._values)


def read_status(folder: str | Path) -> BlockwiseStatus | None:
    """Return how far the stage in `folder` is; None if it has not begun.

    Parameters
    ----------
    folder
        The folder given to :func:`~catena.blockwise.run_blockwise`.
    """
    folder = Path(folder)
    try:
        job = WorkerJob.read(folder / "job.json")
        noted = json.loads((folder / "progress.json").read_text())
    except (StageError, FileNotFoundError):
        return None
    marks = BlockMarks(folder / TRACKING, job.grid.shape)
    done = marks.done().reshape(-1)
    total, ended = len(job.grid), int(done.sum())
    rate = _rate(ended - noted["resumed"], noted["updated"] - noted["began"])
    left = total - ended - noted["skipped"] - noted["failed"]
    return BlockwiseStatus(
        name=noted["name"],
        state="finished" if left == 0 and not noted["failed"] else _state(noted),
        total=total,
        done=ended,
        failed=noted["failed"],
        skipped=noted["skipped"],
        left=left,
        seconds=noted["updated"] - noted["began"],
        blocks_per_s=rate,
        mvoxel_per_s=None if rate is None else rate * job.grid.voxels / total / 1e6,
        seconds_left=None if rate is None else left / rate,
        failures=tuple(failure for failure in read_failures(folder) if not done[failure.block]),
        peak_memory_bytes=marks.peak_memory_bytes(),
        slowest=_slowest(marks),
    )


def _state(noted: dict[str, Any]) -> State:
    state: State = noted["state"]
    silent = time.time() - noted["updated"] > SILENT_AFTER_S
    return "dead" if state == "running" and silent else state


def _rate(blocks: int, seconds: float) -> float | None:
    return blocks / seconds if blocks > 0 and seconds > 0 else None


def _slowest(marks: BlockMarks) -> tuple[tuple[int, float], ...]:
    seconds = marks.seconds().reshape(-1)
    order = np.argsort(-seconds, kind="stable")[:_SLOWEST]
    return tuple((int(index), float(seconds[index])) for index in order if seconds[index] > 0)
