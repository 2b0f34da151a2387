"""Crops for torch: batch i is a pure function of (seed, i), whoever prepares it."""

from __future__ import annotations

import ctypes
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from catena.errors import CatenaError, StageError


@dataclass(frozen=True)
class Crop:
    """One training example.

    Attributes
    ----------
    raw
        ``(c, z, y, x)`` float32, network input in [-1, 1].
    targets
        Per head ``(channels, z, y, x)`` float32 in [0, 1], of the network's output shape.
    weights
        Per head, broadcastable to the target; 0 where nothing is known.
    labels
        ``(z, y, x)`` integers by name, for the heads whose targets the training step makes (:data:`MakeTargets`).
    """

    raw: NDArray[np.float32]
    targets: Mapping[str, NDArray[np.float32]]
    weights: Mapping[str, NDArray[np.float32]]
    labels: Mapping[str, NDArray[np.integer]] = field(default_factory=dict)


OpenCrops = Callable[[], AbstractContextManager[Callable[[int], Crop]]]
"""Opens the data in the current process; what it yields makes a crop of a seed."""

MakeTargets = Callable[[Mapping[str, Tensor]], Mapping[str, tuple[Tensor, Tensor]]]
"""Makes targets and weights of a batch of labels ``(b, z, y, x)``, per head, on the labels' device."""


@dataclass(frozen=True)
class Batch:
    """Crops stacked along a leading batch axis; attributes as of :class:`Crop`, and the seed of each of them."""

    raw: Tensor
    targets: dict[str, Tensor]
    weights: dict[str, Tensor]
    seeds: tuple[int, ...] = ()
    labels: dict[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of crops."""
        return len(self.raw)

    def to(self, device: torch.device) -> Batch:
        """Return this batch on `device`; pinned memory is copied while the caller goes on."""
        return self._each(lambda values: values.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return this batch in pinned memory; torch's loader calls this."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        targets, weights, labels = (
            {name: change(each) for name, each in arrays.items()}
            for arrays in (self.targets, self.weights, self.labels)
        )
        return Batch(change(self.raw), targets, weights, self.seeds, labels)

    def with_targets(self, make: MakeTargets) -> Batch:
        """Return this batch with the targets that `make` makes of its labels beside those it has."""
        made = make(self.labels)
        return replace(
            self,
            targets={**self.targets, **{head: target for head, (target, _) in made.items()}},
            weights={**self.weights, **{head: weight for head, (_, weight) in made.items()}},
        )


class CropDataset(IterableDataset[Any]):
    """Batches of steps `start`, `start` + 1, … up to `stop`; worker i of n makes every n-th of them.

    The pipeline is opened in each worker, inside ``__iter__``. An error of ours is yielded rather than
    raised: torch would wrap it into a traceback of its own; :func:`batches` raises it.

    Parameters
    ----------
    open_crops
        Opens the data; called once per worker.
    seed, start, stop
        Crop j of step i has a seed derived from (seed, i, j).
    batch_size
        Crops per batch.
    accumulate
        Batches per step.
    process, processes
        Which of several processes that train together this is: process r of n makes crops r, r + n, … of every
        step, in batches of at most `batch_size`.
    """

    def __init__(
        self,
        open_crops: OpenCrops,
        *,
        seed: int,
        start: int,
        stop: int,
        batch_size: int = 1,
        accumulate: int = 1,
        process: int = 0,
        processes: int = 1,
    ):
        self.open_crops = open_crops
        self.seed = seed
        self.start = start
        self.stop = stop
        own = range(process, batch_size * accumulate, processes)
        self.parts = [own[begin : begin + batch_size] for begin in range(0, len(own), batch_size)]

    def __iter__(self) -> Iterator[Batch | CatenaError]:
        """Yield this worker's share, in order."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        count = len(self.parts)
        try:
            with self.open_crops() as crop:
                for index in range(self.start * count + first, self.stop * count, step):
                    iteration, part = divmod(index, count)
                    seeds = tuple(crop_seed(self.seed, iteration, each) for each in self.parts[part])
                    yield stack([crop(seed) for seed in seeds], seeds)
        except CatenaError as error:
            yield error


def crop_seed(seed: int, step: int, crop: int) -> int:
    """Return the 32-bit seed of one crop."""
    return int(np.random.SeedSequence([seed, step, crop]).generate_state(1)[0])


def stack(crops: list[Crop], seeds: tuple[int, ...] = ()) -> Batch:
    """Stack crops of one shape into a batch."""
    first = crops[0]
    return Batch(
        _stacked([each.raw for each in crops]),
        {name: _stacked([each.targets[name] for each in crops]) for name in first.targets},
        {name: _stacked([each.weights[name] for each in crops]) for name in first.weights},
        seeds,
        {name: torch.from_numpy(np.stack([each.labels[name] for each in crops])) for name in first.labels},
    )


def _stacked(arrays: list[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(arrays), np.float32))


def steps(dataset: CropDataset, workers: int, *, pinned: bool = False) -> Generator[list[Batch]]:
    """Iterate over the batches of each step, in order, prepared by `workers` processes; see :func:`batches`.

    Raises
    ------
    CatenaError
        Whatever the data raised.
    """
    with closing(batches(dataset, workers, pinned=pinned)) as data:
        while parts := list(islice(data, len(dataset.parts))):
            yield parts


def batches(dataset: CropDataset, workers: int, *, pinned: bool = False) -> Generator[Batch]:
    """Iterate over all batches in order, prepared by `workers` processes, in `pinned` memory for a GPU.

    Raises
    ------
    CatenaError
        Whatever the data raised.
    """
    with warnings.catch_warnings():  # more workers than cores are the user's choice
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_prepare_worker if workers else None,
            prefetch_factor=4 if workers else None,
            pin_memory=pinned,
            generator=torch.Generator(),  # else each start would draw from the random state of training
        )
        items = iter(loader)
    try:
        for item in items:
            if isinstance(item, CatenaError):
                raise item
            yield item
    finally:
        # Losing its last reference is how a loader's iterator stops its workers; the traceback of an
        # error would keep this frame, and them, until the process ends.
        del items


@contextmanager
def dead_workers_explained() -> Iterator[None]:
    """Turn torch's report of a killed data worker, which it raises anywhere in the main thread, into advice.

    Raises
    ------
    StageError
        If a data worker was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise StageError(
            f"a process that prepares training crops died ({str(error).splitlines()[0]}). If memory ran out, lower "
            "execution.train.data_workers or train.input_shape_vox; running again goes on from the last checkpoint"
        ) from error


_GRACE_S = 120


def _prepare_worker(worker: int) -> None:
    """Leave stopping to the parent, and die with it."""
    # Ctrl-C and SIGTERM reach the whole process group: the parent finishes its iteration and writes a
    # checkpoint, which it cannot do if its workers are gone. Python also sends SIGTERM to workers that
    # are left when it exits, and waits for them: so it counts, but later.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_S))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    from numcodecs import blosc

    # Blosc's threads do not survive a fork.
    blosc.use_threads = False
