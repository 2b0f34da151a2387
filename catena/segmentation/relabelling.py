"""From fragments to segments, voxel by voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import DataError
from catena.segmentation.graph_index import check_ascending


def relabel(fragments: NDArray[np.uint64], ids: NDArray[np.uint64], segments: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `fragments` with each id replaced by its segment; 0 stays 0.

    Parameters
    ----------
    fragments
        uint64 array of any shape.
    ids, segments
        (n,) uint64: the table, ids ascending. It may hold many more ids than occur; only the part between the lowest
        and the highest one that occurs is looked at.

    Raises
    ------
    DataError
        If a fragment is not in the table, ids are not ascending, or ids and segments differ in length.
    """
    if ids.shape != segments.shape:
        raise DataError(f"a lookup table has as many segments as ids, found {segments.shape} and {ids.shape}")
    fragments = np.ascontiguousarray(fragments, np.uint64)
    segmentation = np.zeros(fragments.shape, np.uint64)
    low, high = _lowest_and_highest(fragments.ravel())
    if high == 0:
        return segmentation
    part = slice(int(np.searchsorted(ids, low)), int(np.searchsorted(ids, high, side="right")))
    keys = np.ascontiguousarray(ids[part], np.uint64)
    values = np.ascontiguousarray(segments[part], np.uint64)
    check_ascending(keys)
    flat, out = fragments.ravel(), segmentation.ravel()
    span = int(high) - int(low) + 1
    if span <= 2 * fragments.size + 1024:  # a block's ids are dense enough for a table by id
        table = np.zeros(span, np.uint64)
        known = np.zeros(span, np.bool_)
        table[keys - low], known[keys - low] = values, True
        unknown = _relabel_by_table(flat, np.uint64(low), table, known, out)
    else:
        unknown = _relabel_by_search(flat, keys, values, out)
    if unknown >= 0:
        raise DataError(f"fragment {flat[unknown]} is not in the lookup table of {ids.size} fragments")
    return segmentation


@kernel
def _lowest_and_highest(flat: NDArray[np.uint64]) -> tuple[np.uint64, np.uint64]:
    """Return the lowest and the highest value that is not 0; 0 and 0 if there is none."""
    low, high = np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0)
    for at in range(flat.size):
        low = min(low, flat[at] - np.uint64(1))  # 0 wraps around to the largest value
        high = max(high, flat[at])
    return (low + np.uint64(1), high) if high else (np.uint64(0), high)


@kernel
def _relabel_by_table(
    flat: NDArray[np.uint64],
    low: np.uint64,
    table: NDArray[np.uint64],
    known: NDArray[np.bool_],
    out: NDArray[np.uint64],
) -> int:
    last, value = np.uint64(0), np.uint64(0)
    for at in range(flat.size):
        if flat[at] != last:
            last = flat[at]
            if last and not known[last - low]:
                return at
            value = table[last - low] if last else np.uint64(0)
        out[at] = value
    return -1


@kernel
def _relabel_by_search(
    flat: NDArray[np.uint64], keys: NDArray[np.uint64], values: NDArray[np.uint64], out: NDArray[np.uint64]
) -> int:
    last, value = np.uint64(0), np.uint64(0)
    for at in range(flat.size):
        if flat[at] != last:
            last = flat[at]
            value = np.uint64(0)
            if last:
                row = np.searchsorted(keys, last)
                if row == keys.size or keys[row] != last:
                    return at
                value = values[row]
        out[at] = value
    return -1
