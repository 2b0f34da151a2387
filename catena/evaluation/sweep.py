"""Scores over a sweep of agglomeration thresholds, and the choice of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catena.errors import ConfigError, GeometryError
from catena.evaluation.contingency import Contingency
from catena.evaluation.scores import Scores, score


@dataclass(frozen=True)
class Sweep:
    """Scores at every threshold; arrays ``(n,)`` float64, thresholds ascending."""

    thresholds: NDArray[np.float64]
    voi_split: NDArray[np.float64]
    voi_merge: NDArray[np.float64]
    adapted_rand_error: NDArray[np.float64]

    @property
    def voi_sum(self) -> NDArray[np.float64]:
        """Variation of information at every threshold, bits."""
        return self.voi_split + self.voi_merge

    @property
    def best_threshold(self) -> float:
        """The threshold of the smallest VOI sum; the lowest of several, which merges least.

        To be read off a *validation* region; the test region is then scored :meth:`at` it.
        """
        return float(self.thresholds[np.argmin(self.voi_sum)])

    def at(self, threshold: float) -> Scores:
        """Return the scores at one of the thresholds.

        Raises
        ------
        ConfigError
            If `threshold` is not one of them (1e-9 of slack, for numbers that went through text).
        """
        row = int(np.argmin(np.abs(self.thresholds - threshold)))
        if abs(self.thresholds[row] - threshold) > 1e-9:
            raise ConfigError(f"threshold {threshold} was not swept; the nearest that was is {self.thresholds[row]:g}")
        return Scores(float(self.voi_split[row]), float(self.voi_merge[row]), float(self.adapted_rand_error[row]))


def sweep_thresholds(contingency: Contingency, ids: ArrayLike, tables: Any, thresholds: ArrayLike) -> Sweep:
    """Score the segmentation that each lookup table makes of the counted fragments.

    The voxels were read once, for `contingency`; each threshold costs a pass over its distinct pairs.

    Parameters
    ----------
    contingency
        Counts of (fragment id, truth id).
    ids
        Fragment ids ``(n,)``, uint64.
    tables
        Segment of each fragment at each threshold, ``(n_thresholds, n)`` uint64: a NumPy or a zarr array, of which one
        row at a time is read.
    thresholds
        Ascending, ``(n_thresholds,)``.

    Raises
    ------
    GeometryError
        If the shapes do not fit together.
    ConfigError
        If the thresholds do not ascend, or there is none.
    DataError
        If a counted fragment is in no table, or nothing was counted.
    """
    values = np.asarray(thresholds, np.float64)
    if values.ndim != 1 or not len(values) or np.any(np.diff(values) <= 0):
        raise ConfigError(f"thresholds must be a list of ascending numbers, found {values.tolist()}")
    if len(tables.shape) != 2 or len(tables) != len(values):
        raise GeometryError(
            f"{len(values)} thresholds need lookup tables of shape ({len(values)}, n), found {tables.shape}"
        )
    relabel = contingency.relabeller(ids)
    scores = [score(relabel(tables[row])) for row in range(len(values))]
    split, merge, rand = np.array([(each.voi_split, each.voi_merge, each.adapted_rand_error) for each in scores]).T
    return Sweep(values, split, merge, rand)
