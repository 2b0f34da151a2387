"""Streaming contingency: how many voxels carry each pair of segmentation id and truth id.

Every score that compares a segmentation with the truth is a function of these counts, so a volume
larger than memory is scored block by block, and a whole sweep of agglomeration thresholds needs one
pass over the voxels: count the *fragments* once, then map their ids through each lookup table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catena.compiled import kernel
from catena.errors import DataError, GeometryError

_SMALLEST_TABLE = 1 << 12
_MIX_A = np.uint64(0x9E3779B97F4A7C15)
_MIX_B = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT = np.uint64(29)


class Contingency:
    """Exact, sparse counts of (segmentation id, truth id) pairs; voxels of truth 0 are ignored.

    Counts are integers and do not depend on the order or the shape of the blocks that were added.
    Memory grows with the number of distinct pairs (50 to 100 bytes each), not with the voxels.

    Examples
    --------
    >>> table = Contingency().add([[1, 1, 2]], [[7, 7, 0]]).add([[1, 3, 3]], [[8, 8, 8]])
    >>> [each.tolist() for each in table.pairs()]
    [[1, 1, 3], [7, 8, 8], [2, 1, 2]]
    """

    def __init__(self) -> None:
        self._keys = np.zeros((_SMALLEST_TABLE, 2), np.uint64)
        self._counts = np.zeros(_SMALLEST_TABLE, np.int64)
        self._used = 0

    @classmethod
    def of(cls, segmentation: ArrayLike, truth: ArrayLike) -> Self:
        """Count one pair of arrays; see :meth:`add`."""
        return cls().add(segmentation, truth)

    def add(self, segmentation: ArrayLike, truth: ArrayLike) -> Self:
        """Count the voxels of one block and return self.

        Parameters
        ----------
        segmentation, truth
            Integer labels of one shape, any number of axes; labels are used as they are. Only
            voxels whose truth is not 0 count; a segmentation's 0 is a label like any other (see
            :mod:`catena.evaluation.zeros` for the alternatives).

        Raises
        ------
        GeometryError
            If the shapes differ.
        DataError
            If labels are not integers, or are negative.
        """
        left, right = _labels(segmentation, "segmentation"), _labels(truth, "truth")
        if left.shape != right.shape:
            raise GeometryError(f"segmentation has shape {left.shape} but truth {right.shape}; they must be equal")
        self._insert(left.ravel(), right.ravel(), np.ones(1, np.int64))
        return self

    def merge(self, others: Contingency | Iterable[Contingency]) -> Self:
        """Add the counts of one or several other tables, such as those of other blocks, and return self."""
        for other in [others] if isinstance(others, Contingency) else others:
            self._insert(*other.pairs())
        return self

    def relabelled(self, ids: ArrayLike, segments: ArrayLike) -> Contingency:
        """Return the table of the segmentation that a lookup table makes of this one.

        Parameters
        ----------
        ids, segments
            Segment ``segments[i]`` replaces segmentation id ``ids[i]``; unsigned integers ``(n,)``,
            in any order, each id once. Id 0 stays 0 unless the table says otherwise.

        Raises
        ------
        DataError
            If a counted id is missing from `ids`, or an id stands there twice.
        """
        return self.relabeller(ids)(segments)

    def relabeller(self, ids: ArrayLike) -> Relabeller:
        """Prepare :meth:`relabelled` for many `segments` of the same `ids`, as in a threshold sweep."""
        return Relabeller(self, ids)

    def pairs(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
        """Return segmentation ids, truth ids and voxel counts, ``(n,)`` each, sorted by both ids."""
        taken = np.flatnonzero(self._counts)
        segmentation, truth = self._keys[taken].T
        order = np.lexsort((truth, segmentation))
        return segmentation[order], truth[order], self._counts[taken[order]]

    @property
    def voxels(self) -> int:
        """Number of voxels counted: those whose truth is not 0."""
        return int(self._counts.sum())

    def __len__(self) -> int:
        """Return the number of distinct pairs."""
        return self._used

    def pair_counts(self) -> NDArray[np.int64]:
        """Voxels of every pair ``(n,)``, ascending."""
        return np.sort(self._counts[self._counts > 0])

    def segment_sizes(self) -> NDArray[np.int64]:
        """Counted voxels of every segment ``(n,)``, ascending."""
        return self._marginal(0)

    def truth_sizes(self) -> NDArray[np.int64]:
        """Counted voxels of every truth label ``(n,)``, ascending."""
        return self._marginal(1)

    def _marginal(self, column: int) -> NDArray[np.int64]:
        taken = np.flatnonzero(self._counts)
        ids = np.ascontiguousarray(self._keys[taken, column])
        sizes = Contingency()
        sizes._insert(ids, np.ones(len(ids), np.uint64), self._counts[taken])
        return sizes.pair_counts()

    def _insert(self, segmentation: NDArray[np.uint64], truth: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        position = 0
        while True:
            position, self._used = _count(segmentation, truth, counts, position, self._keys, self._counts, self._used)
            if position == len(segmentation):
                return
            self._grow()

    def _grow(self) -> None:
        taken = np.flatnonzero(self._counts)
        segmentation, truth = np.ascontiguousarray(self._keys[taken].T)
        counts = self._counts[taken]
        self._keys = np.zeros((2 * len(self._keys), 2), np.uint64)
        self._counts = np.zeros(len(self._keys), np.int64)
        _, self._used = _count(segmentation, truth, counts, 0, self._keys, self._counts, 0)


class Relabeller:
    """A contingency table whose ids have been located in a list of fragment ids once and for all."""

    def __init__(self, contingency: Contingency, ids: ArrayLike) -> None:
        known = _labels(ids, "ids").ravel()
        order = np.argsort(known)
        known = known[order]
        if np.any(known[1:] == known[:-1]):
            twice = known[1:][known[1:] == known[:-1]]
            raise DataError(f"a lookup table names id {twice[0]} twice; every fragment has one segment")
        self._segmentation, self._truth, self._counts = contingency.pairs()
        self._size = len(known)
        self._rows = _rows_of(self._segmentation, known, order)

    def __call__(self, segments: ArrayLike) -> Contingency:
        """Return the table in which the id at each position became the segment at that position."""
        table = _labels(segments, "segments").ravel()
        if len(table) != self._size:
            raise GeometryError(f"a lookup table of {self._size} ids has {len(table)} segments")
        mapped = np.append(table, np.uint64(0))[self._rows]
        relabelled = Contingency()
        relabelled._insert(mapped, self._truth, self._counts)
        return relabelled


def _rows_of(wanted: NDArray[np.uint64], known: NDArray[np.uint64], order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return each wanted id's row in the unsorted list; -1, the appended row of background, for an unlisted 0."""
    if not len(known):
        known, order = np.zeros(1, np.uint64), np.full(1, -1, np.intp)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found = known[place] == wanted
    missing = wanted[~found & (wanted != 0)]
    if len(missing):
        raise DataError(
            f"{len(np.unique(missing))} of the ids in the segmentation, such as {missing[0]}, are not in the lookup "
            "table; was it made from other fragments?"
        )
    return np.where(found, order[place], -1)


def _labels(values: ArrayLike, name: str) -> NDArray[np.uint64]:
    array: NDArray[Any] = np.asarray(values)
    if array.size and array.dtype.kind not in "bui":
        raise DataError(f"{name} must hold integer labels, found {array.dtype}")
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise DataError(f"{name} holds the negative label {array.min()}; labels are 0 (none) or positive")
    return np.ascontiguousarray(array, np.uint64)


@kernel
def _count(
    segmentation: NDArray[np.uint64],
    truth: NDArray[np.uint64],
    counts: NDArray[np.int64],
    start: int,
    keys: NDArray[np.uint64],
    totals: NDArray[np.int64],
    used: int,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Add pairs from `start` on to an open-addressing table; stop before it is more than half full.

    `counts` gives each pair's weight, or has one element that holds for all. Neighbouring voxels
    mostly carry the same pair, so runs are counted and looked up once.
    """
    size = len(segmentation)
    mask = np.uint64(len(totals) - 1)
    weighted = len(counts) == size
    position = start
    while position < size:
        if 2 * used >= len(totals):
            return position, used
        left, right = segmentation[position], truth[position]
        weight = np.int64(0)
        while position < size and segmentation[position] == left and truth[position] == right:
            weight += counts[position] if weighted else counts[0]
            position += 1
        if right == 0:
            continue
        mixed = (left * _MIX_A) ^ (right * _MIX_B)
        slot = (mixed ^ (mixed >> _SHIFT)) * _MIX_A
        slot = (slot ^ (slot >> _SHIFT)) & mask
        while totals[slot] != 0 and (keys[slot, 0] != left or keys[slot, 1] != right):
            slot = (slot + np.uint64(1)) & mask
        if totals[slot] == 0:
            keys[slot, 0], keys[slot, 1] = left, right
            used += 1
        totals[slot] += weight
    return position, used
