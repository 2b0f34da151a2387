"""Shape descriptors: ours beside PyPI `lsds` on the same labels, and both beside the formula in float64.

FIB-25 at full resolution, sigma 80 nm, the Gaussian window, two threads for ours. `lsds` runs as it is, one label after
the other. Ours runs before and after it, since the machine may not be equally idle all the time; the best counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from lsd.train.local_shape_descriptor import get_local_shape_descriptors
from numpy.typing import NDArray

from benchmarks.result import Figure, show
from catena.arrays import open_array
from catena.targets import shape_descriptors
from data_prep.synthetic import synthesise

EDGES = {"96": 96, "160": 160}
SMOKE_EDGES = {"96": 20, "160": 24}
VOXELS, SMOKE_VOXELS = 2000, 50  # per crop, at which the formula is evaluated
VOXEL_SIZE, SIGMA = Coordinate(8, 8, 8), 80.0
THREADS = 2
REPEATS = 4
EXACT, PEARSON = [0, 1, 2, 3, 4, 5, 9], [6, 7, 8]


@dataclass(frozen=True)
class Run:
    """What one implementation made, and in which time."""

    values: NDArray[np.float32]
    wall: float
    cpu: float


def measure(smoke: bool = False) -> dict[str, Figure]:
    """Return how many times as fast as lsds we are, and how far off the formula and lsds."""
    edges, voxels = (SMOKE_EDGES, SMOKE_VOXELS) if smoke else (EDGES, VOXELS)
    shape_descriptors(np.ones((2, 2, 2), np.uint64), VOXEL_SIZE, SIGMA)  # compile
    figures, rows, differences = {}, [], []
    for name, edge in edges.items():
        labels, source = labels_of(edge)
        ours, theirs = side_by_side(labels)
        speedup, by_cpu = theirs.wall / ours.wall, theirs.cpu / ours.cpu
        figures[f"speedup_vs_lsds_{name}"] = Figure(speedup, "x", "higher")
        figures[f"cpu_speedup_vs_lsds_{name}"] = Figure(by_cpu, "x", "higher")
        off = from_formula(labels, (ours.values, theirs.values), voxels)
        exact, pearson = from_each_other(labels, ours.values, theirs.values)
        differences.append((*off, exact, pearson))
        rows.append((f"{edge}³ {source}", len(np.unique(labels[labels != 0])), ours.wall, theirs.wall, speedup, by_cpu))
    show(
        f"shape descriptors, sigma {SIGMA:g} nm at {VOXEL_SIZE[0]} nm, {THREADS} threads (lsds has one)",
        ("labels", "objects", "ours s", "lsds s", "times as fast", "by CPU time"),
        rows,
    )
    ours_off, theirs_off, exact, pearson = (max(each) for each in zip(*differences, strict=True))
    return figures | {
        "max_abs_difference": Figure(ours_off, "", "lower"),
        "lsds_max_abs_difference": Figure(theirs_off, "", "lower"),
        "difference_to_lsds": Figure(exact, "", "lower"),
        "pearson_difference_to_lsds": Figure(pearson, "", "lower"),
    }


def labels_of(edge: int) -> tuple[NDArray[np.uint64], str]:
    """Return labels from the middle of FIB-25, or synthetic ones if there is no data, and what they are."""
    folder = os.environ.get("CATENA_DATA")
    if folder:
        volume = open_array(Path(folder) / "fib25/labelled.zarr/volumes/labels/neuron_ids").read()
        begins = [(size - edge) // 2 for size in volume.shape]
        return volume[tuple(slice(begin, begin + edge) for begin in begins)].astype(np.uint64), "of FIB-25"
    return synthesise(Coordinate(edge, edge, edge), VOXEL_SIZE, seed=0).labels.astype(np.uint64), "synthetic"


def side_by_side(labels: NDArray[np.uint64]) -> tuple[Run, Run]:
    """Return ours, the best of some before and some after, and theirs."""

    def ours() -> Run:
        return timed(lambda: shape_descriptors(labels, VOXEL_SIZE, SIGMA, threads=THREADS))

    before = [ours() for _ in range(REPEATS // 2)]
    theirs = timed(lambda: get_local_shape_descriptors(labels, (SIGMA,) * 3, voxel_size=tuple(VOXEL_SIZE)))
    runs = before + [ours() for _ in range(REPEATS - len(before))]
    return Run(runs[0].values, min(each.wall for each in runs), min(each.cpu for each in runs)), theirs


def timed(work: Callable[[], Any]) -> Run:
    """Run something once."""
    wall, cpu = time.perf_counter(), time.process_time()
    values = work()
    return Run(values, time.perf_counter() - wall, time.process_time() - cpu)


def from_formula(labels: NDArray[np.uint64], found: tuple[NDArray[np.float32], ...], count: int) -> tuple[float, ...]:
    """Return the largest difference of any channel from the formula, at voxels drawn at random."""
    inside = np.flatnonzero(labels)
    chosen = np.random.default_rng(0).choice(inside, min(count, len(inside)), replace=False)
    where = np.unravel_index(chosen, labels.shape)
    sizes, sigma = tuple(VOXEL_SIZE), (SIGMA,) * 3
    expected = np.stack([formula_at(labels, voxel, sizes, sigma) for voxel in zip(*where, strict=True)], axis=1)
    return tuple(float(np.abs(each[(slice(None), *where)] - expected).max()) for each in found)


def from_each_other(
    labels: NDArray[np.uint64], ours: NDArray[np.float32], theirs: NDArray[np.float32]
) -> tuple[float, float]:
    """Return the largest difference of offsets, variances and size, and the 99.9th percentile of correlations'."""
    difference = np.abs(ours - theirs)[:, labels != 0]
    return float(difference[EXACT].max()), float(np.percentile(difference[PEARSON], 99.9))


def formula_at(
    labels: NDArray[np.integer],
    voxel: tuple[int, ...],
    voxel_size: tuple[float, ...],
    sigma: tuple[float, ...],
    mode: str = "gaussian",
) -> NDArray[np.float64]:
    """Return the descriptors of one voxel, from nothing but the formula: float64 sums over its object's voxels."""
    sizes, sigmas = np.array(voxel_size, float), np.array(sigma, float)
    reach = 3 * sigmas if mode == "gaussian" else sigmas
    radius = (reach / sizes + (0.5 if mode == "gaussian" else 1e-9)).astype(int)
    begins = np.maximum(np.array(voxel) - radius, 0)
    near = labels[tuple(slice(b, p + r + 1) for b, p, r in zip(begins, voxel, radius, strict=True))]
    offsets = (np.stack(np.nonzero(near == labels[voxel]), axis=1) + begins - np.array(voxel)) * sizes
    weights = weight(offsets / sigmas, mode)
    mass, total = weights.sum(), weight_of_window(tuple(radius), tuple(sizes / sigmas), mode)
    mean = weights @ offsets / mass
    centred = offsets - mean
    covariance = (centred * weights[:, None]).T @ centred / mass
    variance = np.maximum(np.diag(covariance), 1e-3)
    pairs = [(0, 1), (0, 2), (1, 2)] if labels.ndim == 3 else [(0, 1)]
    correlation = [covariance[i, j] / np.sqrt(variance[i] * variance[j]) for i, j in pairs]
    farthest = sigmas if mode == "gaussian" else sigmas / 2
    values = [
        *(mean / farthest / 2 + 0.5),
        *(variance / sigmas**2),
        *(each / 2 + 0.5 for each in correlation),
        mass / total,
    ]
    return np.clip(values, 0, 1)


@cache
def weight_of_window(radius: tuple[int, ...], units: tuple[float, ...], mode: str) -> float:
    """Return the sum of weights of a whole window."""
    steps = [np.arange(-r, r + 1) * unit for r, unit in zip(radius, units, strict=True)]
    everywhere = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, len(radius))
    return float(weight(everywhere, mode).sum())


def weight(distance: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    """Return the window's weight at distances ``(voxels, axes)`` in units of sigma."""
    squares = np.sum(distance**2, axis=1)
    return np.exp(-0.5 * squares) if mode == "gaussian" else (squares <= 1 + 1e-9).astype(float)
