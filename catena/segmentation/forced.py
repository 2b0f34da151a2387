"""Forced edges: what joins the pieces of a fragment that block faces have cut."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from catena.errors import GeometryError
from catena.segmentation.ascent import STAY

Box = tuple[slice, slice, slice]


def forced_edges(
    ids: NDArray[np.uint64],
    roots: NDArray[np.int64],
    pointers: NDArray[np.int8],
    labels: NDArray[np.uint64],
    core: Box,
) -> NDArray[np.uint64]:
    """Return the pairs of pieces that are one fragment, for the pieces of one block that go on in a neighbouring one.

    Parameters
    ----------
    ids, roots, pointers
        Of the block's fragments, as :class:`catena.segmentation.fragments.Fragments` has them.
    labels
        (z, y, x) fragments of the core and one voxel around it (cut off where the volume ends), as stored by this block
        and its neighbours.
    core
        Where the core lies in `labels`.

    Returns
    -------
    NDArray[np.uint64]
        (m, 2): a fragment of this block, and the one in a neighbouring block in which it goes on. Where that voxel
        has no fragment (a block that was masked out), there is no pair.

    Raises
    ------
    GeometryError
        If `labels` does not reach where a piece goes on.
    """
    on = pointers != STAY
    at = _where_to(roots[on], pointers[on]) + np.array([each.start for each in core], np.int64)
    if not _inside(at, labels.shape).all():
        raise GeometryError(
            f"labels of shape {labels.shape} with the core at {core} lack the voxel of context into which a fragment"
            " goes on"
        )
    return _pairs(ids[on], at, labels)


def forced_edges_within(
    ids: NDArray[np.uint64], roots: NDArray[np.int64], pointers: NDArray[np.int8], labels: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the pairs of pieces that are one fragment and go on into one another within an array of any blocks.

    Parameters
    ----------
    ids, pointers
        Of all fragments that may lie in the array, as :class:`catena.segmentation.fragments.Fragments` has them.
    roots
        (n, 3) their roots, in voxels from the array's first one. A piece whose root lies outside, or that goes on
        there, is left out.
    labels
        (z, y, x) fragments.

    Returns
    -------
    NDArray[np.uint64]
        (m, 2).
    """
    at = _where_to(roots, pointers)
    on = (pointers != STAY) & _inside(roots, labels.shape) & _inside(at, labels.shape)
    return _pairs(ids[on], at[on], labels)


def _where_to(roots: NDArray[np.int64], pointers: NDArray[np.int8]) -> NDArray[np.int64]:
    way = pointers.astype(np.int64)
    return roots + np.stack([way // 9 - 1, way // 3 % 3 - 1, way % 3 - 1], axis=1)


def _inside(at: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    lowest, highest = at.min(axis=1, initial=0), (at - np.array(shape)).max(axis=1, initial=-1)
    return cast(NDArray[np.bool_], (lowest >= 0) & (highest < 0))


def _pairs(ids: NDArray[np.uint64], at: NDArray[np.int64], labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    pairs = np.stack([ids, labels[at[:, 0], at[:, 1], at[:, 2]]], axis=1).astype(np.uint64)
    return pairs[pairs[:, 1] > 0]
