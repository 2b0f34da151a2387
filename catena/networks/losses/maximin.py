"""Which affinity decides whether two voxels are joined, counted over all pairs of voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.segmentation.union_find import find


def maximin_weights(
    affinities: NDArray[np.float32],
    target: NDArray[np.float32],
    known: NDArray[np.bool_],
    offsets: Sequence[Sequence[int]],
) -> NDArray[np.float32]:
    """Share out the pairs of voxels among the affinities that decide about them.

    Two voxels are joined as strongly as the weakest affinity on their best path, and for all pairs
    together these affinities are the edges of one maximal spanning tree. It is grown twice. Among
    target affinities of 1 alone, where every pair is of one object: an edge that joins trees of m and n
    voxels decides m · n pairs. Then on whole objects, among target affinities of 0, where every pair is
    of two: an edge decides m · n pairs, counting voxels of objects only. Constrained so, a pair within an
    object is not held by a path outside it.

    Parameters
    ----------
    affinities
        ``(k, z, y, x)`` float32, predicted.
    target
        ``(k, z, y, x)``: above 0.5 where both ends are of one object. Objects are what these join; a
        voxel that none joins to another is background, and in no pair.
    known
        ``(k, z, y, x)``: other affinities are in no path.
    offsets
        Affinity k at p joins p and p + ``offsets[k]``; ends outside the array are not known.

    Returns
    -------
    ndarray
        ``(k, z, y, x)`` float32; over the affinities that should be 1 it sums to 1, over those that
        should be 0 as well (or to 0, where there are no such pairs). Ties are broken by position.
    """
    steps = np.asarray(offsets, np.int64).reshape(-1, 3)
    edges = np.flatnonzero(known)
    edges = edges[np.argsort(-affinities.ravel()[edges], kind="stable")]
    joined = (target > 0.5).ravel()
    shape = np.asarray(affinities.shape[1:], np.int64)
    tree = np.arange(affinities[0].size, dtype=np.int64)
    ones = np.ones(tree.size, np.int64)
    within = _grow(edges[joined[edges]], steps, shape, tree, ones)
    size = np.where(ones > 1, ones, 0)  # at roots: voxels of the object; 0 for background
    between = _grow(edges[~joined[edges]], steps, shape, tree, size)
    total = np.zeros(affinities.size, np.float64)
    for pairs in (within, between):
        total += pairs / max(pairs.sum(), 1.0)
    return total.astype(np.float32).reshape(affinities.shape)


@kernel
def _grow(
    edges: NDArray[np.int64],
    steps: NDArray[np.int64],
    shape: NDArray[np.int64],
    tree: NDArray[np.int64],
    size: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Join the ends of `edges` in order (Kruskal), counting the pairs that each joins; changes `tree` and `size`."""
    pairs = np.zeros(steps.shape[0] * tree.size, np.float64)
    _, height, width = shape
    for edge in edges:
        k, voxel = divmod(edge, tree.size)
        z, y, x = voxel // (height * width), voxel // width % height, voxel % width
        other_z, other_y, other_x = z + steps[k, 0], y + steps[k, 1], x + steps[k, 2]
        inside = 0 <= other_z < shape[0] and 0 <= other_y < height and 0 <= other_x < width
        if not inside:
            continue
        a = find(tree, voxel)
        b = find(tree, (other_z * height + other_y) * width + other_x)
        if a == b:
            continue
        pairs[edge] = float(size[a]) * float(size[b])
        if size[a] < size[b]:
            a, b = b, a
        tree[b] = a
        size[a] += size[b]
    return pairs
