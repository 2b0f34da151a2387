"""The kernels alone, on arrays in memory, one process per core; they start together and no reading is timed."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import (
    THRESHOLDS,
    AgglomerateConfig,
    FragmentsConfig,
    agglomerate_graph,
    edge_statistics,
    extract_fragments,
    lookup_tables,
    relabel,
)
from catena.segmentation.block_agglomeration import waterz_expression
from catena.segmentation.boundary import foreground
from catena.segmentation.distance import squared_distance
from catena.segmentation.seeds import maxima
from catena.segmentation.watershed import LEVELS_PER_EDGE, flood

VOXEL_SIZE = Coordinate(8, 8, 8)
THRESHOLD = 0.5
_WARM_UP_EDGE = 40
REPEATS = 2
"""Of which the shorter counts: the first also waits for memory that the system has not handed out yet."""

Seconds = dict[str, float]


@dataclass(frozen=True)
class Bare:
    """Wall time of the slower process in its faster repeat, and the longest of each kernel."""

    seconds: float
    kernels: Seconds

    def rows(self, name: str, mvox: float) -> Iterator[tuple[str, float, float]]:
        """Yield lines of a table: what, seconds, Mvoxel/s."""
        yield name, self.seconds, mvox / self.seconds
        for kernel, seconds in self.kernels.items():
            yield f"  {kernel}", seconds, mvox / seconds


def run_bare(name: str, parts: list[Path]) -> Bare:
    """Run the kernels of a method on every part at the same time, each in a process of its own.

    Raises
    ------
    RuntimeError
        If a process fails.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(len(parts)), context.SimpleQueue()
    processes = [context.Process(target=_work, args=(name, path, barrier, results)) for path in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode != 0 for process in processes):
        raise RuntimeError(f"bare kernels, {name}: exit codes {[process.exitcode for process in processes]}")
    found = [results.get() for _ in processes]
    return Bare(max(seconds for seconds, _ in found), {key: max(each[key] for _, each in found) for key in found[0][1]})


def _work(name: str, path: Path, barrier: Any, results: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # waterz prints
    try:
        affinities = np.load(path)
        run = KERNELS[name]
        run(np.ascontiguousarray(affinities[:, :_WARM_UP_EDGE, :_WARM_UP_EDGE, :_WARM_UP_EDGE]), {})
        results.put(min((_timed(run, affinities, barrier) for _ in range(REPEATS)), key=lambda each: each[0]))
    except BaseException:
        barrier.abort()  # the others wait for this one
        raise


def _timed(
    run: Callable[[NDArray[np.uint8], Seconds], NDArray[np.uint64]], affinities: NDArray[np.uint8], barrier: Any
) -> tuple[float, Seconds]:
    seconds: Seconds = {}
    barrier.wait()
    began = time.monotonic()
    run(affinities, seconds)
    return time.monotonic() - began, seconds


def default_kernels(affinities: NDArray[np.uint8], seconds: Seconds) -> NDArray[np.uint64]:
    """Return the segmentation of our default method, and note how long each kernel took."""
    merge = AgglomerateConfig()
    none = np.empty((0, 2), np.uint64)
    with _noted("basins", seconds):
        found = extract_fragments(affinities, AFFINITY_OFFSETS, FragmentsConfig(), voxel_size=VOXEL_SIZE)
    with _noted("edge statistics", seconds):
        edges = edge_statistics(affinities, AFFINITY_OFFSETS, found.labels, bins=merge.bins)
    with _noted("agglomeration", seconds):
        score = agglomerate_graph(found.ids, found.roots, found.pointers, edges, none, merge.merge_function)
    with _noted("lookup tables", seconds):
        tables = lookup_tables(found.ids, edges.u, edges.v, score, none, THRESHOLDS)
    with _noted("relabel", seconds):
        return relabel(found.labels, found.ids, tables[THRESHOLDS.index(THRESHOLD)])


def published_kernels(affinities: NDArray[np.uint8], seconds: Seconds) -> NDArray[np.uint64]:
    """Return the segmentation of the published method (waterz writes it itself), by the fastest kernels at hand."""
    import waterz

    config = FragmentsConfig()
    with _noted("distance transform", seconds):
        squared = squared_distance(foreground(affinities, (0, 1, 2), config.threshold), (1, 1, 1))
    with _noted("seeds", seconds):
        seeds = maxima(squared, (config.seed_window,) * 3)
    with _noted("watershed", seconds):
        fragments = flood(np.rint(np.sqrt(squared) * LEVELS_PER_EDGE).astype(np.int32), seeds).astype(np.uint64)
    with _noted("waterz and relabel", seconds):
        function = waterz_expression(AgglomerateConfig().merge_function)
        values = affinities.astype(np.float32) / np.float32(255)
        return next(waterz.agglomerate(values, [THRESHOLD], fragments=fragments, scoring_function=function))


@contextmanager
def _noted(kernel: str, seconds: Seconds) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[kernel] = time.monotonic() - began


KERNELS: dict[str, Callable[[NDArray[np.uint8], Seconds], NDArray[np.uint64]]] = {
    "default": default_kernels,
    "published": published_kernels,
}
