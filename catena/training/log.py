"""What training leaves to look at: a table of losses, and TensorBoard."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from catena.errors import OutputError
from catena.training.dataset import Batch

LOSSES = "losses.csv"


class TrainingLog:
    """Writes ``losses.csv`` (a row per iteration) and ``tensorboard/`` below `folder`.

    Rows after `start`, left by a run that was killed after its last checkpoint, are dropped, so the
    table is that of an unbroken run.

    Parameters
    ----------
    folder
        Folder of the experiment.
    heads
        Names of the losses.
    start
        Number of iterations already done.
    """

    def __init__(self, folder: Path, heads: list[str], start: int):
        # Slow to import, and only needed here.
        from torch.utils.tensorboard.writer import SummaryWriter

        self.path = folder / LOSSES
        self._columns = ["iteration", "learning_rate", "loss", *(f"loss_{head}" for head in heads)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            truncate_losses(self.path, self._columns, start)
            self._file = self.path.open("a", newline="")
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error}") from error
        self._rows = csv.writer(self._file)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()

    def losses(self, iteration: int, learning_rate: float, total: float, per_head: Mapping[str, float]) -> None:
        """Note the losses of an iteration (counted from 1)."""
        self._rows.writerow([iteration, repr(learning_rate), repr(total), *(repr(each) for each in per_head.values())])
        self._scalars(iteration, {"loss/total": total, "learning_rate": learning_rate})
        self._scalars(iteration, {f"loss/{head}": value for head, value in per_head.items()})

    def rates(self, iteration: int, per_second: float, waiting: float) -> None:
        """Note iterations per second, and the fraction of time spent waiting for data."""
        self._scalars(iteration, {"time/iterations_per_second": per_second, "time/waiting_for_data": waiting})

    def metrics(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Note what validation found."""
        self._scalars(iteration, {f"validation/{name}": value for name, value in metrics.items()})

    def images(self, iteration: int, batch: Batch, predictions: Mapping[str, Tensor]) -> None:
        """Show the middle section of the first crop: raw, and per head target beside prediction."""
        self._image("raw", iteration, as_rgb((batch.raw[0, :1] + 1) / 2))
        for head, target in batch.targets.items():
            pair = torch.cat((target[0, :3], predictions[head][0, :3].float()), dim=-1)
            self._image(f"{head}_target_and_prediction", iteration, as_rgb(pair))

    def flush(self) -> None:
        """Bring everything to the disk: what a checkpoint covers must not be lost."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def _scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, iteration)

    def _image(self, name: str, iteration: int, image: NDArray[np.uint8]) -> None:
        self._board.add_image(name, image, iteration, dataformats="HWC")


class NoLog:
    """What a process writes that does not lead: nothing."""

    def losses(self, iteration: int, learning_rate: float, total: float, per_head: Mapping[str, float]) -> None:
        """Write nothing."""

    def rates(self, iteration: int, per_second: float, waiting: float) -> None:
        """Write nothing."""

    def metrics(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Write nothing."""

    def images(self, iteration: int, batch: Batch, predictions: Mapping[str, Tensor]) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Write nothing."""


def opened_log(folder: Path, heads: list[str], start: int, leads: bool) -> AbstractContextManager[TrainingLog | NoLog]:
    """Open what a process writes while it trains."""
    return TrainingLog(folder, heads, start) if leads else nullcontext(NoLog())


def as_rgb(values: Tensor) -> NDArray[np.uint8]:
    """Return the middle section of ``(c, z, y, x)`` in [0, 1] as ``(y, x, 3)`` uint8; one channel becomes grey."""
    section = values[:, values.shape[1] // 2].detach().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    rgb = np.zeros((3, *section.shape[1:]), np.uint8)
    rgb[: len(section)] = section
    if len(section) == 1:
        rgb[:] = section
    return np.moveaxis(rgb, 0, -1)


def truncate_losses(path: Path, columns: list[str], iterations: int) -> None:
    """Leave `path` with its header and the rows of at most `iterations` iterations, atomically."""
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= iterations]
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *kept])
    os.replace(partial, path)
