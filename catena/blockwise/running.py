"""A worker's note of the block it is working on, which outlives the worker."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

_IDLE = -1
_WIDTH = 20


class RunningNote:
    """Note in ``FOLDER/running/WORKER`` of one worker: absent before it is set up, then its block or none.

    Parameters
    ----------
    folder
        The stage's folder.
    worker_id
        Number of the worker in this run.
    """

    def __init__(self, folder: Path, worker_id: int) -> None:
        self._path = folder / "running" / str(worker_id)
        self._file: int | None = None

    def ready(self) -> None:
        """Note that the worker is set up."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        self.working_on(None)

    def working_on(self, block: int | None) -> None:
        """Note the block that the worker begins, or that it has none."""
        if self._file is not None:
            os.pwrite(self._file, f"{_IDLE if block is None else block:>{_WIDTH}}".encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def clear_notes(folder: Path) -> None:
    """Remove the notes of an earlier run."""
    shutil.rmtree(folder / "running", ignore_errors=True)


def any_ready(folder: Path) -> bool:
    """Tell whether any worker of this run got as far as being set up."""
    return (folder / "running").exists() and any((folder / "running").iterdir())


def block_of(folder: Path, worker_id: int) -> int | None:
    """Return the block that a worker had begun and not ended; None if there was none."""
    path = folder / "running" / str(worker_id)
    text = path.read_text() if path.exists() else ""
    return int(text) if text.strip() and int(text) != _IDLE else None
