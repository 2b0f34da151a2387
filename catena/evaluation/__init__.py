"""Scores: variation of information, adapted Rand error and expected run length, streamed over blocks."""

from catena.evaluation.baseline import BaselineConfig, pseudo_affinities
from catena.evaluation.contingency import Contingency
from catena.evaluation.erl import RunLength, expected_run_length
from catena.evaluation.errors import ObjectError, Part, mergers, splits
from catena.evaluation.rand import AdaptedRand, adapted_rand_error
from catena.evaluation.scores import RegionScores, Scores, score
from catena.evaluation.skeletons import Skeleton, read_swc, segments_at
from catena.evaluation.sweep import Sweep, sweep_thresholds
from catena.evaluation.voi import VariationOfInformation, variation_of_information
from catena.evaluation.zeros import ZERO_POLICIES, ZeroPolicy, apply_zero_policy, fill_zeros

__all__ = [
    "ZERO_POLICIES",
    "AdaptedRand",
    "BaselineConfig",
    "Contingency",
    "ObjectError",
    "Part",
    "RegionScores",
    "RunLength",
    "Scores",
    "Skeleton",
    "Sweep",
    "VariationOfInformation",
    "ZeroPolicy",
    "adapted_rand_error",
    "apply_zero_policy",
    "expected_run_length",
    "fill_zeros",
    "mergers",
    "pseudo_affinities",
    "read_swc",
    "score",
    "segments_at",
    "splits",
    "sweep_thresholds",
    "variation_of_information",
]
