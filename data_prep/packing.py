"""Pack tubes: move centre-line nodes until tubes of different neurites hardly overlap.

Position-based dynamics (Müller et al. 2007): overlapping spheres push each other apart, links keep
their length, bends are smoothed. Nodes are visited in a fixed order, so the result is reproducible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel

_ROUNDS = 8
_STEPS = 8
_SLACK_NM = 45.0  # pairs this close to touching are watched for one round
_CELL_NM = 128.0


def pack(
    nodes_nm: NDArray[np.float64],
    radius_nm: NDArray[np.float64],
    parent: NDArray[np.int64],
    neurite: NDArray[np.int32],
    low_nm: float,
    high_nm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return node positions in which tubes of different neurites overlap as little as the space allows.

    Parameters
    ----------
    nodes_nm, radius_nm, parent, neurite
        As in :class:`data_prep.scene.Scene`.
    low_nm, high_nm
        Walls of the box that no node leaves: one lower wall for all axes, ``(3,)`` upper walls.
    """
    nodes = nodes_nm.copy()
    child = np.flatnonzero(parent >= 0)
    links = np.stack([parent[child], child], axis=1)
    rest = np.linalg.norm(nodes[links[:, 0]] - nodes[links[:, 1]], axis=1)
    for _ in range(_ROUNDS):
        pairs = _close_pairs(nodes, radius_nm, neurite)
        _relax(nodes, radius_nm, links, rest, pairs, float(low_nm), np.asarray(high_nm, np.float64), _STEPS)
    return nodes


def _close_pairs(
    nodes: NDArray[np.float64], radius: NDArray[np.float64], neurite: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return ``(p, 2)`` index pairs of different neurites that touch or nearly touch, in a fixed order."""
    low = nodes.min(axis=0)
    cell = ((nodes - low) // _CELL_NM).astype(np.int64)
    shape = cell.max(axis=0) + 1
    flat = (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]
    order = np.argsort(flat, kind="stable")
    first = np.searchsorted(flat[order], np.arange(int(np.prod(shape)) + 1))
    pairs = _find_pairs(nodes, radius, neurite, cell, shape, order, first, np.zeros((0, 2), np.int64))
    found = np.empty((pairs, 2), np.int64)
    _find_pairs(nodes, radius, neurite, cell, shape, order, first, found)
    return found


@kernel
def _find_pairs(
    nodes: NDArray[np.float64],
    radius: NDArray[np.float64],
    neurite: NDArray[np.int32],
    cell: NDArray[np.int64],
    shape: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    found: NDArray[np.int64],
) -> int:
    """Count close pairs and write them into `found` while it has room; the thicker node does the looking."""
    count = 0
    for i in range(len(nodes)):
        reach = int((2.0 * radius[i] + _SLACK_NM) // _CELL_NM) + 1
        for z in range(max(cell[i, 0] - reach, 0), min(cell[i, 0] + reach + 1, shape[0])):
            for y in range(max(cell[i, 1] - reach, 0), min(cell[i, 1] + reach + 1, shape[1])):
                row = (z * shape[1] + y) * shape[2]
                begin = first[row + max(cell[i, 2] - reach, 0)]
                end = first[row + min(cell[i, 2] + reach + 1, shape[2])]
                for j in order[begin:end]:
                    if neurite[i] == neurite[j] or radius[j] > radius[i] or (radius[j] == radius[i] and j >= i):
                        continue
                    touch = radius[i] + radius[j] + _SLACK_NM
                    dz, dy, dx = nodes[j, 0] - nodes[i, 0], nodes[j, 1] - nodes[i, 1], nodes[j, 2] - nodes[i, 2]
                    if dz * dz + dy * dy + dx * dx < touch * touch:
                        if count < len(found):
                            found[count, 0], found[count, 1] = i, j
                        count += 1
    return count


@kernel
def _relax(
    nodes: NDArray[np.float64],
    radius: NDArray[np.float64],
    links: NDArray[np.int64],
    rest: NDArray[np.float64],
    pairs: NDArray[np.int64],
    low: float,
    high: NDArray[np.float64],
    steps: int,
) -> None:
    for _ in range(steps):
        for p in range(len(pairs)):
            _push_apart(nodes, radius, pairs[p, 0], pairs[p, 1])
        _smooth(nodes, links)
        for k in range(len(links)):
            _keep_length(nodes, radius, links[k, 0], links[k, 1], rest[k])
        for i in range(len(nodes)):
            for axis in range(3):
                nodes[i, axis] = min(max(nodes[i, axis], low), high[axis])


@kernel
def _push_apart(nodes: NDArray[np.float64], radius: NDArray[np.float64], i: int, j: int) -> None:
    dz, dy, dx = nodes[j, 0] - nodes[i, 0], nodes[j, 1] - nodes[i, 1], nodes[j, 2] - nodes[i, 2]
    distance = np.sqrt(dz * dz + dy * dy + dx * dx)
    overlap = radius[i] + radius[j] - distance
    if overlap <= 0.0 or distance < 1e-6:
        return
    mass_i, mass_j = radius[i] * radius[i], radius[j] * radius[j]
    scale = 0.35 * overlap / distance / (mass_i + mass_j)
    to_i, to_j = scale * mass_j, scale * mass_i
    nodes[i, 0] -= to_i * dz
    nodes[i, 1] -= to_i * dy
    nodes[i, 2] -= to_i * dx
    nodes[j, 0] += to_j * dz
    nodes[j, 1] += to_j * dy
    nodes[j, 2] += to_j * dx


@kernel
def _smooth(nodes: NDArray[np.float64], links: NDArray[np.int64]) -> None:
    """Straighten: where two links follow each other along a path, draw their joint towards the middle."""
    for k in range(1, len(links)):
        before, joint, after = links[k - 1, 0], links[k, 0], links[k, 1]
        if links[k - 1, 1] != joint:
            continue
        for axis in range(3):
            middle = 0.5 * (nodes[before, axis] + nodes[after, axis])
            nodes[joint, axis] += 0.15 * (middle - nodes[joint, axis])


@kernel
def _keep_length(nodes: NDArray[np.float64], radius: NDArray[np.float64], i: int, j: int, rest: float) -> None:
    dz, dy, dx = nodes[j, 0] - nodes[i, 0], nodes[j, 1] - nodes[i, 1], nodes[j, 2] - nodes[i, 2]
    distance = np.sqrt(dz * dz + dy * dy + dx * dx)
    if distance < 1e-6:
        return
    mass_i, mass_j = radius[i] * radius[i], radius[j] * radius[j]
    scale = 0.5 * (distance - rest) / distance / (mass_i + mass_j)
    to_i, to_j = scale * mass_j, scale * mass_i
    nodes[i, 0] += to_i * dz
    nodes[i, 1] += to_i * dy
    nodes[i, 2] += to_i * dx
    nodes[j, 0] -= to_j * dz
    nodes[j, 1] -= to_j * dy
    nodes[j, 2] -= to_j * dx
