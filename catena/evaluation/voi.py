"""Variation of information between a segmentation and the truth, in bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError
from catena.evaluation.contingency import Contingency


@dataclass(frozen=True)
class VariationOfInformation:
    """What is missing, in bits, to tell one labelling from the other.

    Attributes
    ----------
    split
        H(segmentation | truth): how far true objects are cut into pieces.
    merge
        H(truth | segmentation): how far segments mix true objects.
    """

    split: float
    merge: float

    @property
    def sum(self) -> float:
        """Variation of information: split + merge."""
        return self.split + self.merge


def variation_of_information(contingency: Contingency) -> VariationOfInformation:
    """Return the split and the merge term of the variation of information (Meilă 2007), in bits.

    The result depends on the partition only: renaming labels or adding blocks in another order
    gives the same bits, so equal segmentations tie exactly in a threshold sweep.

    Raises
    ------
    DataError
        If no voxel was counted.

    Examples
    --------
    >>> variation_of_information(Contingency.of([1, 2, 3, 3], [1, 1, 2, 2]))
    VariationOfInformation(split=0.5, merge=0.0)
    """
    total = contingency.voxels
    if total == 0:
        raise DataError("nothing to score: no voxel has a truth label other than 0")
    joint = _entropy(contingency.pair_counts(), total)
    split = joint - _entropy(contingency.truth_sizes(), total)
    merge = joint - _entropy(contingency.segment_sizes(), total)
    return VariationOfInformation(max(split, 0.0), max(merge, 0.0))


def _entropy(counts: NDArray[np.int64], total: int) -> float:
    """Entropy in bits of ascending `counts`; the order fixes the rounding."""
    share = counts / total
    return float(-np.sum(share * np.log2(share)))
