"""Synthetic electron microscopy: how many voxels a second, raw and ground truth together, with two threads."""

from __future__ import annotations

import time
from math import prod

from funlib.geometry import Coordinate

from benchmarks.result import Figure, show
from data_prep.synthetic import synthesise

THREADS = 2
REPEATS = 3
VOLUMES = {
    "": (Coordinate(256, 256, 256), Coordinate(8, 8, 8)),
    "anisotropic_": (Coordinate(64, 512, 512), Coordinate(40, 8, 8)),
}
SMOKE_SHAPE = Coordinate(16, 32, 32)


def measure(smoke: bool = False) -> dict[str, Figure]:
    """Return Mvoxel/s of an isotropic and an anisotropic volume; of several repeats the fastest."""
    figures, rows = {}, []
    for prefix, (shape, voxel_size) in VOLUMES.items():
        shape = SMOKE_SHAPE if smoke else shape
        synthesise(SMOKE_SHAPE, voxel_size, seed=0)  # compile
        seconds = min(seconds_for(shape, voxel_size) for _ in range(1 if smoke else REPEATS))
        rate = prod(shape) / seconds / 1e6
        figures[f"{prefix}synthesis_mvox_per_s"] = Figure(rate, "Mvoxel/s", "higher")
        rows.append((times(shape), times(voxel_size), seconds, rate))
    show(f"synthesis, {THREADS} threads", ("voxels", "nm", "seconds", "Mvoxel/s"), rows)
    return figures


def seconds_for(shape: Coordinate, voxel_size: Coordinate) -> float:
    """Return how long it takes to make a volume: scene, labels, mitochondria and raw."""
    begin = time.perf_counter()
    synthesise(shape, voxel_size, seed=0, workers=THREADS)
    return time.perf_counter() - begin


def times(shape: Coordinate) -> str:
    """Write a shape as people do."""
    return " × ".join(str(each) for each in shape)
