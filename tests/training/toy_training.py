"""A network and crops so small that an iteration takes milliseconds; also run as a script, to be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from catena.errors import DataError
from catena.networks import NetworkConfig, UNetConfig
from catena.training import Crop, TrainConfig, TrainExecution, train

NETWORK = NetworkConfig(
    unet=UNetConfig(feature_maps=8, growth=2, downsampling=((2, 2, 2),)), heads={"lsds": 2, "affinities": 1}
)
ITERATIONS = 24
CONFIG = TrainConfig(
    iterations=ITERATIONS, learning_rate=1e-2, schedule="cosine", warmup_iterations=3, validate_every=8, batch_size=2
)


@dataclass(frozen=True)
class ToyCrops:
    """Crops of noise, bright or dark as a whole; targets say where it is bright. Optionally with something wrong."""

    nan_after: int | None = None
    fails: bool = False
    dies: bool = False
    delay_s: float = 0.0
    only: int | None = None  # the process of a training in which that goes wrong

    @contextmanager
    def __call__(self) -> Iterator[Callable[[int], Crop]]:
        made = 0
        if self.only is not None and torch.distributed.get_rank() != self.only:
            self = ToyCrops()

        def crop(seed: int) -> Crop:
            nonlocal made
            if self.fails:
                raise DataError("no crop to be had")
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.delay_s)
            made += 1
            rng = np.random.default_rng(seed)
            raw = rng.uniform(-0.6, 0.6, (1, 20, 20, 20)).astype(np.float32) + rng.choice((-0.5, 0.5)).astype(
                np.float32
            )
            target = (raw[:, 8:12, 8:12, 8:12] > 0).astype(np.float32)
            if self.nan_after is not None and made > self.nan_after:
                raw[:] = np.nan
            weight = np.ones_like(target)
            return Crop(
                raw,
                {"lsds": np.concatenate((target, 1 - target)), "affinities": target},
                {"lsds": weight, "affinities": weight},
            )

        yield crop


def execution(workers: int = 0, **settings: int) -> TrainExecution:
    return TrainExecution(device="cpu", data_workers=workers, threads=1, **{"checkpoint_every": 5, **settings})


def validate(network: object, iteration: int) -> dict[str, float]:
    """Find iteration 16 best."""
    return {"voi_sum": abs(iteration - 16) + 1.0}


if __name__ == "__main__":
    train(
        NETWORK,
        ToyCrops(delay_s=0.02),
        sys.argv[1],
        CONFIG,
        seed=3,
        execution=execution(workers=int(sys.argv[2])),
        validate=validate,
        progress=lambda done, total, message="": print(int(done), flush=True),
    )
