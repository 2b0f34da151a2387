"""What a worker process is told: which function to run on which grid, as a JSON file."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from catena.blockwise.blocks import Block, BlockGrid
from catena.errors import OutputError, StageError

ProcessBlock = Callable[[Block], None]
"""Works on one block; may also be a context manager, which the worker then enters and leaves."""

MakeProcess = Callable[[Mapping[str, Any]], ProcessBlock]
"""Sets a worker up from JSON arguments: opens arrays, loads a network, connects to a store."""


@dataclass(frozen=True)
class WorkerSpec:
    """The work of a blockwise stage, by name, so that any process on any host can do it.

    Parameters
    ----------
    entry
        ``package.module:function``, importable in a fresh Python. Called once per worker with
        `arguments`, it returns the function that is called with every :class:`~catena.blockwise.Block`.
    arguments
        JSON values: paths, settings; no arrays.
    """

    entry: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def require_importable(self) -> None:
        """Refuse an entry that a worker could not import, before any is started.

        Raises
        ------
        StageError
            If there is no such module, or it is a script's ``__main__``.
        """
        module, separator, function = self.entry.partition(":")
        if not (separator and function and module) or module == "__main__":
            raise StageError(f"worker entry {self.entry!r} is not of the form 'package.module:function'")
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError as error:
            raise StageError(f"worker entry {self.entry!r} cannot be imported: {error}") from None
        if found is None:
            raise StageError(f"worker entry {self.entry!r}: there is no module {module!r}; is its package installed?")

    def load(self) -> MakeProcess:
        """Import and return the entry.

        Raises
        ------
        StageError
            If the module has no such function.
        """
        module, _, function = self.entry.partition(":")
        found = getattr(importlib.import_module(module), function, None)
        if not callable(found):
            raise StageError(f"worker entry {self.entry!r}: {module!r} has no function {function!r}")
        make: MakeProcess = found
        return make


@dataclass(frozen=True)
class WorkerJob:
    """A stage's worker, grid and folder: the content of ``job.json``."""

    name: str
    worker: WorkerSpec
    grid: BlockGrid
    folder: Path

    @property
    def stage(self) -> str:
        """Last part of the name (``fragments`` of ``medulla.fragments``), with which fault points begin."""
        return self.name.rpartition(".")[2]

    def write(self) -> Path:
        """Write ``job.json`` into the folder and return its path."""
        values = {
            "name": self.name,
            "entry": self.worker.entry,
            "arguments": dict(self.worker.arguments),
            "grid": self.grid.to_json(),
        }
        path = self.folder / "job.json"
        write_json(path, values)
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the job that :meth:`write` wrote.

        Raises
        ------
        StageError
            If the file is missing or no job.
        """
        try:
            values = json.loads(path.read_text())
            worker = WorkerSpec(values["entry"], values["arguments"])
            return cls(values["name"], worker, BlockGrid.from_json(values["grid"]), path.parent)
        except (OSError, ValueError, KeyError) as error:
            raise StageError(f"{path} is not a worker's job: {error!r}") from error


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write `values` to `path` so that a reader sees the old file or the new one, never a part.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values))
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; check the permissions and the space of its folder") from error
