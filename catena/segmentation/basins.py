"""Fragments as trees of pointers: every voxel belongs to where its steepest ascent ends.

A block face cuts trees. What lies in a block's core is labelled by the last voxel inside the core that its ascent
reaches; where the ascent goes on, the pointer of that voxel says where to, so that whoever holds the neighbouring block
can join the pieces again (:mod:`catena.segmentation.forced`). Cut at every voxel, a face would leave a piece per voxel.
Hence exits that touch, and whose ascents meet a little further on in the context, make one piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.segmentation.ascent import OUTSIDE, STAY
from catena.segmentation.compiled import kernel
from catena.segmentation.union_find import flatten, unite_lowest

MEETING_REACH = 8
"""So far beyond the core, in voxels, ascents are followed to see whether they meet."""

_EDGE = OUTSIDE + 1
_ELSEWHERE = -2
_UNKNOWN = -1

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
    exits = _find_exits(padded, begin, end, steps, labels)
    if exits.size:
        ends, lengths = np.empty(exits.size, np.int64), np.empty(exits.size, np.int64)
        _follow_to_end(padded.ravel(), exits, steps, ends, lengths)
        _join_exits(exits, ends, lengths, steps, begin, block, labels)
    _resolve(padded, begin, end, steps, block, labels)
    labels = np.ascontiguousarray(labels[inner])
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
def _find_exits(
    pointers: NDArray[np.uint8],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    steps: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the voxels of the core's shell whose pointers leave the core, in row-major order."""
    ways = pointers.ravel()
    place = labels.ravel()
    _, height, width = pointers.shape
    found = []
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            shell = z == begin[0] or z == end[0] - 1 or y == begin[1] or y == end[1] - 1
            stride = 1 if shell else max(end[2] - begin[2] - 1, 1)
            for x in range(begin[2], end[2], stride):
                at = (z * height + y) * width + x
                if ways[at] < OUTSIDE and place[at + steps[ways[at]]] == _ELSEWHERE:
                    found.append(at)
    exits = np.empty(len(found), np.int64)
    for k, at in enumerate(found):
        exits[k] = at
    return exits


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
    steps: NDArray[np.int64],
    begin: NDArray[np.int64],
    block: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> None:
    """Give exits the label of their piece: touching exits whose ascents end at the same voxel make one.

    Its root is the exit from which the way to that end is shortest. Where it goes on, the way is shorter still: so from
    piece to piece the end of the tree comes nearer, and the forced edges of a tree never run in a circle apart from it.
    """
    _, height, width = labels.shape
    place = labels.ravel()
    parent = np.arange(exits.size)
    for k, at in enumerate(exits):
        place[at] = k
        for way in range(STAY):  # the 13 neighbours that come earlier in the row-major order
            other = place[at + steps[way]]
            if other >= 0 and ends[other] == ends[k]:
                unite_lowest(parent, other, k)
    flatten(parent)
    nearest = np.arange(exits.size)
    for k in range(exits.size):
        if lengths[k] < lengths[nearest[parent[k]]]:
            nearest[parent[k]] = k
    for k, at in enumerate(exits):
        place[at] = _local_label(exits[nearest[parent[k]]], height, width, begin, block)


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
    """Label every voxel of the core; exits are labelled already. Each voxel is walked over at most twice."""
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
