"""Adapted Rand error: one minus the F-score of the pairs of voxels that a segmentation joins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError
from catena.evaluation.contingency import Contingency


@dataclass(frozen=True)
class AdaptedRand:
    """Agreement about which pairs of voxels belong together.

    Attributes
    ----------
    error
        1 − 2PR/(P + R), in [0, 1].
    precision
        Of the pairs joined by the segmentation, the fraction joined by the truth.
    recall
        Of the pairs joined by the truth, the fraction joined by the segmentation.
    """

    error: float
    precision: float
    recall: float


def adapted_rand_error(contingency: Contingency) -> AdaptedRand:
    """Return the adapted Rand error (Arganda-Carreras et al. 2015, without the α weighting).

    Pairs of *distinct* voxels are counted, as scikit-image does; where neither side joins any pair
    the two agree and the error is 0.

    Raises
    ------
    DataError
        If no voxel was counted.
    """
    total = contingency.voxels
    if total == 0:
        raise DataError("nothing to score: no voxel has a truth label other than 0")
    joint = _ordered_pairs(contingency.pair_counts())
    segmentation = _ordered_pairs(contingency.segment_sizes())
    truth = _ordered_pairs(contingency.truth_sizes())
    precision = joint / segmentation if segmentation else 1.0
    recall = joint / truth if truth else 1.0
    error = 1.0 - 2.0 * joint / (segmentation + truth) if segmentation + truth else 0.0
    return AdaptedRand(error, precision, recall)


def _ordered_pairs(counts: NDArray[np.int64]) -> float:
    """Number of ordered pairs of distinct voxels with one label; a float, as squares leave int64 at 3·10⁹ voxels."""
    sizes = counts.astype(np.float64)
    return float(np.sum(sizes * (sizes - 1.0)))
