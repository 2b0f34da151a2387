"""Scores of one region, and the flat dictionary with fixed keys that other programs read."""

from __future__ import annotations

from dataclasses import dataclass

from catena.evaluation.contingency import Contingency
from catena.evaluation.erl import RunLength
from catena.evaluation.rand import adapted_rand_error
from catena.evaluation.voi import variation_of_information
from catena.evaluation.zeros import ZeroPolicy

FlatScores = dict[str, float | int | str]


@dataclass(frozen=True)
class Scores:
    """How well one segmentation matches the truth, voxel by voxel.

    Attributes
    ----------
    voi_split, voi_merge
        Bits; see :func:`catena.evaluation.voi.variation_of_information`.
    adapted_rand_error
        In [0, 1].
    """

    voi_split: float
    voi_merge: float
    adapted_rand_error: float

    @property
    def voi_sum(self) -> float:
        """Variation of information, bits."""
        return self.voi_split + self.voi_merge


def score(contingency: Contingency) -> Scores:
    """Score the segmentation that `contingency` counted; raises DataError if it counted nothing."""
    voi = variation_of_information(contingency)
    return Scores(voi.split, voi.merge, adapted_rand_error(contingency).error)


@dataclass(frozen=True)
class RegionScores:
    """Everything ``metrics.json`` says about one region.

    Attributes
    ----------
    scores
        Of the segmentation.
    zeros
        Policy for the segmentation's own zeros.
    threshold, merge_function
        What made the segmentation; None for one that came from elsewhere.
    run_length
        Where skeletons exist.
    baseline
        The no-learning baseline on the same region.
    """

    scores: Scores
    zeros: ZeroPolicy = "one_object"
    threshold: float | None = None
    merge_function: str | None = None
    run_length: RunLength | None = None
    baseline: RegionScores | None = None

    def to_flat(self) -> FlatScores:
        """Return one flat dictionary; what is unknown is left out, the baseline's keys start with ``baseline_``.

        Examples
        --------
        >>> RegionScores(Scores(0.5, 0.25, 0.1), threshold=0.3).to_flat()["voi_sum"]
        0.75
        """
        flat: FlatScores = {
            "voi_split": self.scores.voi_split,
            "voi_merge": self.scores.voi_merge,
            "voi_sum": self.scores.voi_sum,
            "adapted_rand_error": self.scores.adapted_rand_error,
            "zeros": self.zeros,
        }
        if self.threshold is not None:
            flat["threshold"] = self.threshold
        if self.merge_function is not None:
            flat["merge_function"] = self.merge_function
        if self.run_length is not None:
            flat["erl_nm"] = self.run_length.erl_nm
            flat["nerl"] = self.run_length.nerl
            flat["erl_ignored_nodes"] = self.run_length.ignored_nodes
        if self.baseline is not None:
            flat |= {f"baseline_{key}": value for key, value in self.baseline.to_flat().items()}
        return flat
