"""A folder of checkpoints, each written at once or not at all."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from catena.errors import ArrayNotFoundError, DataError, OutputError

KEYS = ("network_config", "network", "optimiser", "iteration", "random_states", "user_config", "metrics")
_NAME = re.compile(r"iteration_(\d{8})\.pt")
BEST = "best.pt"


class Checkpoints:
    """The checkpoints of one training run.

    ``iteration_<n>.pt`` is the state after n iterations, ``best.pt`` another name of the one that
    validated best. SIGKILL at any moment leaves complete files only, besides an ignored ``*.partial``.

    Parameters
    ----------
    folder
        Made if it is not there.
    keep
        Number of latest checkpoints to keep; the best is always kept.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder = Path(folder)
        self.keep = keep
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for partial in self.folder.glob("*.partial"):
                partial.unlink()
        except OSError as error:
            raise OutputError(f"cannot write checkpoints to {self.folder}: {error}") from error

    def path(self, iteration: int) -> Path:
        """Return where the checkpoint after `iteration` iterations is."""
        return self.folder / f"iteration_{iteration:08d}.pt"

    @property
    def best_path(self) -> Path:
        """Where the checkpoint that validated best is."""
        return self.folder / BEST

    def iterations(self) -> list[int]:
        """Return the iterations there are checkpoints of, ascending."""
        found = (_NAME.fullmatch(each.name) for each in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def latest(self) -> dict[str, Any] | None:
        """Load the checkpoint to go on from, or None if there is none yet."""
        iterations = self.iterations()
        return load_checkpoint(self.path(iterations[-1])) if iterations else None

    def save(self, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint after ``state["iteration"]`` iterations; keys as in ``KEYS``.

        Raises
        ------
        OutputError
            If it cannot be written; earlier checkpoints stay.
        """
        path = self.path(state["iteration"])
        write_atomically(path, state)
        return path

    def mark_best(self, iteration: int) -> None:
        """Give the checkpoint of `iteration` the name ``best.pt`` as well.

        Raises
        ------
        OutputError
            If that cannot be written.
        """
        if self.best_path.exists() and self.best_path.samefile(self.path(iteration)):
            return  # renaming one of two links to the other does nothing
        partial = self.folder / f"{BEST}.partial"
        try:
            partial.unlink(missing_ok=True)
            _link_or_copy(self.path(iteration), partial)
            os.replace(partial, self.best_path)
        except OSError as error:
            raise OutputError(f"cannot write {self.best_path}: {error}") from error

    def prune(self, best: int | None) -> None:
        """Remove all but the latest checkpoints and that of iteration `best`."""
        for iteration in self.iterations()[: -self.keep]:
            if iteration != best:
                self.path(iteration).unlink()


def _link_or_copy(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, other)


def write_atomically(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` to a temporary file, flush it to the disk, and rename it to `path`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            torch.save(_canonical(dict(state)), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise OutputError(f"cannot write the checkpoint {path}: {error}; earlier checkpoints are kept") from error


def _canonical(value: Any) -> Any:
    """Return plain values in which equal strings are one object, as they are not after loading.

    Pickle writes an object once and refers to it later: without this a training that was killed and went on
    would leave another file than an unbroken one.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_canonical(key): _canonical(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_canonical(each) for each in value)
    return value


def load_checkpoint(path: str | Path, device: str = "cpu") -> dict[str, Any]:
    """Load a checkpoint without executing anything in it.

    Raises
    ------
    ArrayNotFoundError
        If there is no such file.
    DataError
        If it is not a checkpoint of Catena.
    """
    path = Path(path)
    if not path.is_file():
        raise ArrayNotFoundError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # pickle, zip and torch errors alike
        raise DataError(f"{path} is not a checkpoint that can be loaded safely: {error}") from error
    missing = [key for key in KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise DataError(f"{path} is not a checkpoint of Catena: it has no {', '.join(missing)}")
    return dict(state)
