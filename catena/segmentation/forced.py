"""Forced edges: what joins the pieces of a fragment that block faces have cut."""

from __future__ import annotations

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
    way = pointers[on].astype(np.int64)
    begin = np.array([each.start for each in core], np.int64)
    at = roots[on] + begin + np.stack([way // 9 - 1, way // 3 % 3 - 1, way % 3 - 1], axis=1)
    if at.size and (at.min() < 0 or (at >= np.array(labels.shape)).any()):
        raise GeometryError(
            f"labels of shape {labels.shape} with the core at {core} lack the voxel of context into which a fragment"
            " goes on"
        )
    pairs = np.stack([ids[on], labels[at[:, 0], at[:, 1], at[:, 2]]], axis=1).astype(np.uint64)
    return pairs[pairs[:, 1] > 0]
