"""Our side: batches from data workers, and steps of the training loop."""

from __future__ import annotations

import tempfile
import time

from benchmarks.training.experiment import LEARNING_RATE, SEED, THREADS, WORKERS, Experiment
from catena.training import TrainConfig, TrainExecution, train
from catena.training.dataset import CropDataset, batches


def batches_per_second(experiment: Experiment, count: int) -> float:
    """Return the rate of `count` batches after as many as there are workers."""
    data = batches(CropDataset(experiment.crops, seed=SEED, start=0, stop=WORKERS + count), WORKERS)
    for _ in range(WORKERS):
        next(data)
    began = time.perf_counter()
    for _ in range(count):
        next(data)
    rate = count / (time.perf_counter() - began)
    data.close()
    return rate


def steps_per_second(experiment: Experiment, count: int) -> float:
    """Return the rate of training steps after the first crops are there."""
    marks: list[float] = []

    def note(done: float, total: float, message: str = "") -> None:
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory(dir=experiment.folder) as folder:
        train(
            experiment.crops.network,
            experiment.crops,
            folder,
            TrainConfig(iterations=count + 1, learning_rate=LEARNING_RATE, precision="float32"),
            seed=SEED,
            execution=TrainExecution(device="cpu", data_workers=WORKERS, threads=THREADS, images_every=10**6),
            progress=note,
        )
    return count / (marks[-1] - marks[0])
