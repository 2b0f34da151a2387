"""Fragments as trees of pointers: every voxel belongs to where its steepest ascent ends.

A block face cuts trees. What lies in a block's core is labelled by the last voxel inside the core that its ascent
reaches; where the ascent goes on, the pointer of that voxel says where to, so that whoever holds the neighbouring block
can join the pieces again (:mod:`catena.segmentation.forced`). Cut at every voxel, a face would leave a piece per voxel.
Hence pieces that touch at the face, and whose ascents meet a little further on in the context, are one piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.segmentation.ascent import OUTSIDE, STAY
from catena.segmentation.union_find import flatten, unite_lowest

MEETING_REACH = 12
"""So far beyond the core, in voxels of the smallest edge, ascents are followed to see whether they meet. More context
leaves fewer pieces to store and join, and costs time: 16 saves a tenth of the pieces, 8 makes twice as many."""

_EDGE = OUTSIDE + 1
_ELSEWHERE = -2
_UNKNOWN = -1
_EXITS = -3  # and below: exits, by number

Box = tuple[slice, slice, slice]


def label_basins(
    pointers: NDArray[np.uint8], core: Box, block_shape_vox: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the core labelled by where ascents end or leave it.

    Parameters
    ----------
    pointers
        (z, y, x) as :func:`catena.segmentation.ascent.steepest_neighbours` returns them; all of them must be valid.
    core
        The part of the array to label.
    block_shape_vox
        Shape of a full block: labels count voxels in it, starting at 1.

    Returns
    -------
    labels
        (z, y, x) of the core: 1 + row-major index, in a full block, of the piece's root: the local maximum at which its
        ascents end, or one of its voxels from which they leave the core. 0 outside neurites.
    roots
        The labels that occur, ascending.
    """
    padded = np.full([n + 2 for n in pointers.shape], _EDGE, np.uint8)
    padded[1:-1, 1:-1, 1:-1] = pointers
    begin = np.array([each.start + 1 for each in core], np.int64)
    end = np.array([each.stop + 1 for each in core], np.int64)
    labels = np.full(padded.shape, _ELSEWHERE, np.int64)
    inner = tuple(slice(low, high) for low, high in zip(begin, end, strict=True))
    labels[inner] = _UNKNOWN
    block = np.asarray(block_shape_vox, np.int64)
    steps = _linear_steps(padded.shape)
    shell = _shell(begin, end, padded.shape)
    exits = shell[_leads_out(shell, padded.ravel(), steps, labels.ravel())]
    labels.ravel()[exits] = _EXITS - np.arange(exits.size)
    _resolve(padded, begin, end, steps, block, labels)
    ends, lengths = np.empty(exits.size, np.int64), np.empty(exits.size, np.int64)
    _follow_to_end(padded.ravel(), exits, steps, ends, lengths)
    names = np.empty(exits.size, np.int64)
    _join_exits(exits, ends, lengths, shell, steps, begin, block, labels, names)
    labels = np.ascontiguousarray(labels[inner])
    _name_exits(labels.ravel(), names)
    counts = np.zeros(int(np.prod(block)) + 1, np.bool_)
    counts[labels.ravel()] = True
    counts[0] = False
    return labels, np.flatnonzero(counts)


def _linear_steps(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return by how much each pointer moves a row-major index; 0 for pointers that lead nowhere."""
    _, height, width = shape
    steps = [(dz * height + dy) * width + dx for dz in (-1, 0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.array([*steps, 0, 0], np.int64)


@kernel
def _shell(begin: NDArray[np.int64], end: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return the row-major indices of the outermost voxels of the core, ascending."""
    _, height, width = shape
    inner = max(end[0] - begin[0] - 2, 0) * max(end[1] - begin[1] - 2, 0) * max(end[2] - begin[2] - 2, 0)
    shell = np.empty((end[0] - begin[0]) * (end[1] - begin[1]) * (end[2] - begin[2]) - inner, np.int64)
    count = 0
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            full = z == begin[0] or z == end[0] - 1 or y == begin[1] or y == end[1] - 1
            stride = 1 if full else max(end[2] - begin[2] - 1, 1)
            for x in range(begin[2], end[2], stride):
                shell[count] = (z * height + y) * width + x
                count += 1
    return shell


@kernel
def _leads_out(
    shell: NDArray[np.int64], ways: NDArray[np.uint8], steps: NDArray[np.int64], place: NDArray[np.int64]
) -> NDArray[np.bool_]:
    out = np.zeros(shell.size, np.bool_)
    for k, at in enumerate(shell):
        out[k] = ways[at] < OUTSIDE and place[at + steps[ways[at]]] == _ELSEWHERE
    return out


@kernel
def _follow_to_end(
    ways: NDArray[np.uint8],
    starts: NDArray[np.int64],
    steps: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Follow the pointers from each start to a local maximum, or to the last voxel before the array's face."""
    for k, start in enumerate(starts):
        at = start
        length = 0
        while ways[at] != STAY and ways[at + steps[ways[at]]] != _EDGE:
            at += steps[ways[at]]
            length += 1
        ends[k], lengths[k] = at, length


@kernel
def _join_exits(
    exits: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int64],
    shell: NDArray[np.int64],
    steps: NDArray[np.int64],
    begin: NDArray[np.int64],
    block: NDArray[np.int64],
    labels: NDArray[np.int64],
    names: NDArray[np.int64],
) -> None:
    """Name each exit by the root of its piece: pieces that touch and whose ascents end at the same voxel are one.

    The root is the exit from which the way to that end is shortest. Where it goes on, the way is shorter still: so from
    piece to piece the end of the tree comes nearer, and the forced edges of a tree never run in a circle apart from it.
    """
    _, height, width = labels.shape
    place = labels.ravel()
    parent = np.arange(exits.size)
    for at in shell:
        if place[at] > _EXITS:
            continue
        k = _EXITS - place[at]
        for step in steps[:27]:
            other = _EXITS - place[at + step]
            if other >= 0 and ends[other] == ends[k]:
                unite_lowest(parent, other, k)
    flatten(parent)
    nearest = np.arange(exits.size)
    for k in range(exits.size):
        if lengths[k] < lengths[nearest[parent[k]]]:
            nearest[parent[k]] = k
    for k in range(exits.size):
        names[k] = _local_label(exits[nearest[parent[k]]], height, width, begin, block)


@kernel
def _name_exits(labels: NDArray[np.int64], names: NDArray[np.int64]) -> None:
    for at in range(labels.size):
        if labels[at] <= _EXITS:
            labels[at] = names[_EXITS - labels[at]]


@kernel
def _local_label(at: int, height: int, width: int, begin: NDArray[np.int64], block: NDArray[np.int64]) -> int:
    z, y, x = at // (height * width) - begin[0], at // width % height - begin[1], at % width - begin[2]
    return int((z * block[1] + y) * block[2] + x + 1)


@kernel
def _resolve(
    pointers: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    steps: NDArray[np.int64],
    block: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> None:
    """Label every voxel of the core; exits are numbered already. Each voxel is walked over at most twice."""
    ways = pointers.ravel()
    place = labels.ravel()
    _, height, width = pointers.shape
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            for x in range(begin[2], end[2]):
                start = (z * height + y) * width + x
                if ways[start] == OUTSIDE:
                    place[start] = 0
                at = start
                while place[at] == _UNKNOWN and ways[at] != STAY:
                    at += steps[ways[at]]
                label = place[at]
                if label == _UNKNOWN:
                    label = _local_label(at, height, width, begin, block)
                at = start
                while place[at] == _UNKNOWN:
                    place[at] = label
                    at += steps[ways[at]]
