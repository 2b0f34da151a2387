"""A region adjacency graph of any size that is wired as a real one: only neighbours touch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BINS = 64
EDGES_PER_NODE = 6.4
"""As measured on the fragments of FIB-25."""

_SLAB = 1_000_000
_FORWARD = [(dz, dy, dx) for dz in (0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dz, dy, dx) > (0, 0, 0)]


def write_graph(folder: Path, edges: int, seed: int = 0) -> int:
    """Write columns of a random graph as ``NAME.npy`` and return the number of nodes.

    Nodes lie on a grid; an edge joins neighbours (26-neighbourhood), each pair with the same probability. A third of
    the contacts are within one neuron and have high affinities. Contacts are a few hundred faces with a long tail.

    Parameters
    ----------
    folder
        Where to write ``ids``, ``positions``, ``u``, ``v``, ``contact``, ``affinity_sum``, ``histogram`` and, for
        lookup tables, ``merge_score``.
    edges
        About how many.
    seed
        Of the random numbers.
    """
    random = np.random.default_rng(seed)
    side = round((edges / EDGES_PER_NODE) ** (1 / 3))
    nodes = int(side**3)
    ids = np.cumsum(random.integers(1, 6000, nodes), dtype=np.uint64)
    rows = np.arange(nodes).reshape(side, side, side)
    positions = np.stack(np.unravel_index(rows.ravel(), rows.shape), axis=1) * 15 + random.integers(0, 15, (nodes, 3))
    u, v = (np.concatenate(each) for each in zip(*(_neighbours(rows, step) for step in _FORWARD), strict=True))
    kept = np.sort(random.permutation(u.size)[:edges])
    u, v = u[kept], v[kept]
    order = np.lexsort((v, u))
    u, v = u[order], v[order]
    contact = random.lognormal(4.5, 1.2, u.size).astype(np.int64) + 1
    mean = np.where(random.random(u.size) < 1 / 3, random.beta(6, 2, u.size), random.beta(2, 4, u.size))
    columns = {"ids": ids, "positions": positions.astype(np.int64), "u": ids[u], "v": ids[v], "contact": contact}
    columns |= {"affinity_sum": (mean * 255 * contact).astype(np.int64), "merge_score": 1 - mean}
    for name, values in columns.items():
        np.save(folder / f"{name}.npy", values)
    shape = (u.size, BINS)
    histogram = np.lib.format.open_memmap(folder / "histogram.npy", mode="w+", dtype=np.uint32, shape=shape)
    for first in range(0, u.size, _SLAB):
        part = slice(first, first + _SLAB)
        histogram[part] = _histograms(mean[part], contact[part])
    histogram.flush()
    return nodes


def _neighbours(rows: np.ndarray, step: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of rows that lie `step` apart on the grid."""
    lower = rows[tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, rows.shape, strict=True))]
    upper = rows[tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, rows.shape, strict=True))]
    return lower.ravel(), upper.ravel()


def _histograms(mean: np.ndarray, contact: np.ndarray) -> np.ndarray:
    """Return histograms whose contacts lie in three bins about the mean; they sum to `contact`."""
    middle = np.clip((mean * BINS).astype(np.int64), 1, BINS - 2)
    histogram = np.zeros((mean.size, BINS), np.uint32)
    row = np.arange(mean.size)
    side = contact // 4
    for shift, count in ((-1, side), (0, contact - 2 * side), (1, side)):
        histogram[row, middle + shift] = count
    return histogram
