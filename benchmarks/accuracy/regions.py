"""Score fragments and their lookup tables by the rules of ``catena evaluate``: validation chooses, test is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.evaluation import ZERO_POLICIES, Contingency, Scores, Sweep, ZeroPolicy, apply_zero_policy, sweep_thresholds

Labels = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Region:
    """Fragments of a region, what they merge to, and what they are compared with.

    Attributes
    ----------
    fragments, labels
        (z, y, x) uint64.
    ids, tables
        (n,) fragment ids and (t, n) the segment of each at every threshold, uint64.
    reference
        (z, y, x) another segmentation, on whose labelled voxels the policy ``common`` scores; None: on those of the
        fragments.
    """

    fragments: Labels
    labels: Labels
    ids: Labels
    tables: Labels
    reference: Labels | None = None

    def sweep(self, thresholds: Sequence[float], policy: ZeroPolicy, voxel_size: Coordinate) -> Sweep:
        """Score the region at every threshold."""
        reference = self.fragments if self.reference is None else self.reference
        values, labels = apply_zero_policy(
            self.fragments, self.labels, policy, voxel_size=voxel_size, reference=reference
        )
        return sweep_thresholds(Contingency.of(values, labels), self.ids, self.tables, thresholds)


def choose_and_score(
    validation: Region, test: Region, thresholds: Sequence[float], zeros: ZeroPolicy, voxel_size: Coordinate
) -> tuple[float, dict[ZeroPolicy, Scores]]:
    """Return the threshold that is best on validation under `zeros`, and the test scores at it under every policy."""
    threshold = validation.sweep(thresholds, zeros, voxel_size).best_threshold
    return threshold, {each: test.sweep(thresholds, each, voxel_size).at(threshold) for each in ZERO_POLICIES}
