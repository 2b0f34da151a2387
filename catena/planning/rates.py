"""What a voxel costs: the figures that estimates are made from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catena.experiment import ExperimentConfig


@dataclass(frozen=True)
class Rates:
    """What a blockwise stage costs, in a voxel's terms.

    Attributes
    ----------
    seconds_per_mvoxel
        Of one worker, for a million voxels written.
    base_bytes, bytes_per_voxel
        Memory of a worker: empty, and for every voxel of a block and its context.
    array_bytes
        Uncompressed bytes per voxel of every array the stage makes, by name of the output.
    stored_share
        Compressed by uncompressed size of each.
    rows_per_mvoxel
        Rows of every table, for a million voxels.
    row_bytes
        A row's share of the store, whichever table it is in.
    block_shape_setting
        Dotted key of the setting that gives the shape of a block.
    rows_need_neighbours
        Whether a block's rows are complete only if the blocks above it have been worked on too.
    sampled_blocks
        How many blocks the figures come from; 0 where they are stated, not measured.
    """

    seconds_per_mvoxel: float
    base_bytes: float
    bytes_per_voxel: float
    array_bytes: Mapping[str, float] = field(default_factory=dict)
    stored_share: Mapping[str, float] = field(default_factory=dict)
    rows_per_mvoxel: Mapping[str, float] = field(default_factory=dict)
    row_bytes: float = 0.0
    block_shape_setting: str = ""
    rows_need_neighbours: bool = False
    sampled_blocks: int = 0

    def measured(self, **figures: Any) -> Rates:
        """Return these rates with measured figures in place of stated ones."""
        return replace(self, **figures)


@dataclass(frozen=True)
class Sample:
    """An experiment small enough to be computed for its figures.

    Attributes
    ----------
    config
        The experiment, with its output in a temporary folder, as far as it can be sampled.
    last
        Last stage to run.
    reasons
        Why a volume is not in it.
    """

    config: ExperimentConfig | None
    last: str
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimation:
    """How the stages of a task are estimated.

    Attributes
    ----------
    rates
        ``(config, volume, stage) -> Rates``: stated rates of a blockwise stage.
    sample
        ``(config, folder, done) -> Sample``: the experiment with its output in `folder`; `done` are the stages and
        volumes whose results are in place.
    refuse
        ``(config, stage, rows) -> reason``: why a stage would refuse that many rows, None if it would not.
    """

    rates: Callable[[Any, str, str], Rates]
    sample: Callable[[Any, Path, Collection[tuple[str, str]]], Sample]
    refuse: Callable[[Any, str, Mapping[str, int]], str | None]
