"""The mutex watershed: edges join voxels or bar them from ever being joined, the most certain one first.

Wolf S. et al. (2018), The mutex watershed, ECCV, algorithm 1. Affinities are uint8, so edges have few different weights
and are counted into their order rather than sorted; one word per edge is held. (`mwatershed` sorts a tuple per edge: 96
voxels cubed and nine channels of noise took it 530 MB and 9.7 s, and this 160 MB and 4.9 s; it panics where an offset
is longer than the array, and leaves open which of two equal edges comes first.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import ConfigError
from catena.segmentation.boundary import ShortRange
from catena.segmentation.config import FragmentsConfig
from catena.segmentation.pair_table import pair_key, pair_slot
from catena.segmentation.union_find import find


@dataclass(frozen=True)
class SignedChannel:
    """One channel of affinities, and what makes its values speak for joining or for parting.

    Attributes
    ----------
    channel
        Its number in the array.
    offset
        In voxels, to the voxel that the affinity is about.
    bias
        The weight of an edge is affinity + bias, with affinities in [0, 1]: positive joins, negative bars.
    stride
        Only edges of voxels whose position in the volume is a multiple of this along every axis count.
    """

    channel: int
    offset: Coordinate
    bias: float
    stride: tuple[int, int, int] = (1, 1, 1)


def signed_channels(
    affinity_offsets: Sequence[Coordinate], short: ShortRange, config: FragmentsConfig, *, in_plane: bool
) -> list[SignedChannel]:
    """Return the channels that the mutex watershed looks at: short-range ones to join, long-range ones to part.

    Parameters
    ----------
    affinity_offsets
        The offset in voxels of every channel.
    short
        Which of them are short-range.
    config
        Biases and stride.
    in_plane
        Leave out what leads out of a section.

    Raises
    ------
    ConfigError
        If no channel is long-range.
    """
    found = []
    for channel, offset in enumerate(affinity_offsets):
        if channel in short.all:
            found.append(SignedChannel(channel, Coordinate(offset), config.attractive_bias))
        else:
            found.append(SignedChannel(channel, Coordinate(offset), config.repulsive_bias, config.repulsive_stride))
    if in_plane:
        found = [each for each in found if each.offset[0] == 0]
    if all(each.channel in short.all for each in found):
        raise ConfigError(
            "fragments.method mutex needs long-range affinities, which keep objects apart"
            f"{' (in plane: fragments are made section by section)' if in_plane else ''}; the offsets are"
            f" {[tuple(each) for each in affinity_offsets]}. Predict more (model.neighbourhood), or take method basins"
        )
    return found


def mutex_watershed(
    affinities: NDArray[np.uint8],
    inside: NDArray[np.uint8],
    channels: Sequence[SignedChannel],
    origin: Coordinate | None = None,
) -> NDArray[np.uint32]:
    """Return the clusters of voxels that the mutex watershed leaves.

    Edges are taken in the order of their absolute weight, the largest first; of equal ones those that join come first,
    then those of voxels first in the array, then those of channels first in the list. An edge that joins is passed over
    where its ends are barred from one another; one that bars, where its ends are joined already.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8.
    inside
        (z, y, x), 0 where nothing is to be labelled: no edge begins or ends there.
    channels
        What counts.
    origin
        Position of the array's first voxel in the volume, which strides are counted from; default 0.

    Returns
    -------
    NDArray[np.uint32]
        (z, y, x), 0 outside; a cluster need not be connected, for long edges join too.
    """
    ranks, joins = _ranked([each.bias for each in channels])
    number = np.array([each.channel for each in channels], np.int64)
    offsets = np.array([tuple(each.offset) for each in channels], np.int64).reshape(-1, 3)
    strides = np.array([tuple(each.stride) for each in channels], np.int64).reshape(-1, 3)
    start = np.array(tuple(origin or (0, 0, 0)), np.int64)
    what = affinities, inside, number, offsets, strides, start, ranks
    counts = np.zeros(joins.size, np.int64)
    edges = inside.size * len(channels)
    dtype = np.uint32 if edges < 2**32 else np.int64
    _list_edges(*what, counts, np.empty(0, dtype))
    ends = np.cumsum(counts)
    order = np.empty(int(counts.sum()), dtype)
    _list_edges(*what, ends - counts, order)
    steps = offsets @ np.array([inside.shape[1] * inside.shape[2], inside.shape[2], 1])
    parent = np.arange(inside.size, dtype=np.int32 if inside.size < 2**31 else np.int64)
    _join_and_bar(order, ends, joins, steps, parent)
    labels = np.zeros(inside.shape, np.uint32)
    _label(parent, inside.ravel(), labels.ravel())
    return labels


def _ranked(biases: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place in the order of every uint8 value of every channel (-1: no weight), and which places join."""
    weights = np.arange(256) / 255 + np.array(biases)[:, None]
    key = np.stack([-np.round(np.abs(weights), 9), weights < 0], axis=-1).reshape(-1, 2)
    kinds, ranks = np.unique(key, axis=0, return_inverse=True)
    ranks = ranks.reshape(weights.shape).astype(np.int64)
    ranks[np.round(weights, 9) == 0] = -1
    return ranks, kinds[:, 1] == 0


@kernel
def _list_edges(
    affinities: NDArray[np.uint8],
    inside: NDArray[np.uint8],
    channels: NDArray[np.int64],
    offsets: NDArray[np.int64],
    strides: NDArray[np.int64],
    start: NDArray[np.int64],
    ranks: NDArray[np.int64],
    place: NDArray[np.int64],
    order: NDArray[np.uint32],
) -> None:
    """Write every edge, as voxel · channels + channel, to the next place of its rank; count only, if `order` is empty.

    Voxels are the outer loop: within a rank, edges are in the order of position.
    """
    depth, height, width = inside.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if inside[z, y, x] == 0:
                    continue
                for k in range(channels.size):
                    a, b, c = z + offsets[k, 0], y + offsets[k, 1], x + offsets[k, 2]
                    if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width or inside[a, b, c] == 0:
                        continue
                    stride = strides[k]
                    if (start[0] + z) % stride[0] or (start[1] + y) % stride[1] or (start[2] + x) % stride[2]:
                        continue
                    rank = ranks[k, affinities[channels[k], z, y, x]]
                    if rank < 0:
                        continue
                    if order.size:
                        order[place[rank]] = ((z * height + y) * width + x) * channels.size + k
                    place[rank] += 1


# Clusters that bar one another are a pair in a hash table, named by their roots. Of two that are joined, the one that
# is barred from fewer others is folded into the other: its pairs are entered anew. Pairs that name a root which is none
# any more are never asked for again; they go when the table is made anew.
@kernel
def _join_and_bar(
    order: NDArray[np.uint32],
    ends: NDArray[np.int64],
    joins: NDArray[np.bool_],
    steps: NDArray[np.int64],
    parent: NDArray[np.int32],
) -> None:
    nodes = parent.size
    first, last = np.full(nodes, -1, np.int64), np.full(nodes, -1, np.int64)
    degree = np.zeros(nodes, parent.dtype)
    barred = np.empty((1024, 2), parent.dtype)
    following = np.empty(2048, np.int64)
    keys = np.full(2048, -1, np.int64)
    used, count, at = 0, 0, 0
    for rank in range(ends.size):
        while at < ends[rank]:
            edge = np.int64(order[at])
            at += 1
            here = edge // steps.size
            a, b = find(parent, here), find(parent, here + steps[edge % steps.size])
            if a == b:
                continue
            slot = pair_slot(keys, pair_key(nodes, a, b))
            if keys[slot] >= 0:
                continue
            if not joins[rank]:
                if count == barred.shape[0]:
                    barred, following = _longer(barred, following)
                barred[count, 0], barred[count, 1] = a, b
                keys[slot] = pair_key(nodes, a, b)
                _append(first, last, following, degree, a, 2 * count)
                _append(first, last, following, degree, b, 2 * count + 1)
                count += 1
                used += 1
                if used > keys.size // 4 * 3:
                    keys, used = _hashed(nodes, barred, count, parent)
                continue
            if degree[a] < degree[b]:
                a, b = b, a
            if used + degree[b] > keys.size // 4 * 3:
                keys, used = _hashed(nodes, barred, count, parent)
            half = first[b]
            while half >= 0:
                after = following[half]
                other = find(parent, barred[half >> 1, 1 - (half & 1)])
                slot = pair_slot(keys, pair_key(nodes, a, other))
                if keys[slot] < 0:
                    keys[slot] = pair_key(nodes, a, other)
                    used += 1
                    _append(first, last, following, degree, a, half)
                half = after
            parent[b] = a


@kernel
def _append(
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    following: NDArray[np.int64],
    degree: NDArray[np.int32],
    node: int,
    half: int,
) -> None:
    following[half] = -1
    if first[node] < 0:
        first[node] = half
    else:
        following[last[node]] = half
    last[node] = half
    degree[node] += 1


@kernel
def _longer(barred: NDArray[np.int32], following: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    pairs = np.empty((2 * barred.shape[0], 2), barred.dtype)
    pairs[: barred.shape[0]] = barred
    halves = np.empty(2 * following.size, np.int64)
    halves[: following.size] = following
    return pairs, halves


@kernel
def _hashed(
    nodes: int, barred: NDArray[np.int32], count: int, parent: NDArray[np.int32]
) -> tuple[NDArray[np.int64], int]:
    """Return the table of the pairs of living roots that are barred, at most half full, and how many there are."""
    size = 2048
    while size < 2 * count:
        size *= 2
    keys = np.full(size, -1, np.int64)
    used = 0
    for k in range(count):
        key = pair_key(nodes, find(parent, barred[k, 0]), find(parent, barred[k, 1]))
        slot = pair_slot(keys, key)
        if keys[slot] < 0:
            keys[slot] = key
            used += 1
    return keys, used


@kernel
def _label(parent: NDArray[np.int32], inside: NDArray[np.uint8], labels: NDArray[np.uint32]) -> None:
    for at in range(parent.size):
        if inside[at]:
            labels[at] = find(parent, at) + 1
