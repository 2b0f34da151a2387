"""How far a segmentation is from the truth, or from another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.blockwise.experiment import Finished
from catena.evaluation import Contingency, sweep_thresholds, variation_of_information
from catena.segmentation import Segmentation


@dataclass(frozen=True)
class Best:
    """The best variation of information over a sweep, and where it was found."""

    voi: float
    at: float
    split: float
    merge: float


def best_of(result: Finished | Segmentation, labels: NDArray[np.uint64]) -> Best:
    """Return the best VOI over all thresholds; `labels` (z, y, x) may cover only the first part along each axis."""
    if isinstance(result, Finished):
        tables = result.tables()
        labelled = result.fragments()
        ids, segments, thresholds = tables.ids, np.asarray(tables.segments), tables.thresholds
    else:
        labelled, ids = result.fragments.labels, result.fragments.ids
        segments, thresholds = result.tables, np.array(result.thresholds)
    part = labelled[tuple(slice(0, n) for n in labels.shape)]
    sweep = sweep_thresholds(Contingency.of(part, labels), ids, segments, thresholds)
    scores = sweep.at(sweep.best_threshold)
    return Best(scores.voi_sum, sweep.best_threshold, scores.voi_split, scores.voi_merge)


def difference(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Return the VOI between two partitions, bits; background counts as one more object. 0 only if they are equal."""
    return variation_of_information(Contingency.of(a + np.uint64(1), b + np.uint64(1))).sum
