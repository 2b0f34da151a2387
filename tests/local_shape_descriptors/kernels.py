"""The kernels that most tests need: what is compiled once, and kept on disk, is best not compiled by two at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate
from small_experiment import small_experiment

from catena.evaluation import Contingency, sweep_thresholds
from catena.nodes.augment_config import AugmentConfig, DeformConfig
from catena.segmentation import segment
from catena.training import TrainConfig
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.trainer import open_crops
from local_shape_descriptors.training_volumes import TrainingVolume

_OFFSETS = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]


def call_segmentation() -> None:
    """Segment a few voxels and score them."""
    affinities = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 8), dtype=np.uint8)
    made = segment(affinities, _OFFSETS, Coordinate(8, 8, 8))
    counts = Contingency().add(made.fragments.labels, made.fragments.labels)
    sweep_thresholds(counts, made.fragments.ids, made.tables, made.thresholds)


def call_training() -> None:
    """Synthesise a small volume and make one crop of it."""
    with tempfile.TemporaryDirectory() as folder:
        phantom = small_experiment(Path(folder))["volumes"]["phantom"]
        crops = open_crops(
            [TrainingVolume(phantom["raw"], phantom["labels"])],
            ModelConfig(levels=1, feature_maps=2, growth=1, padding="same"),
            TrainConfig(input_shape_vox=(12, 16, 16), min_labelled=0),
            AugmentConfig(deform=DeformConfig(probability=1)),
        )
        with crops() as crop:
            crop(0)


def call_share(process: str) -> None:
    """Call what falls to a process of pytest-xdist; it takes half a minute where nothing is compiled yet."""
    shares = {"gw0": call_segmentation, "gw1": call_training}
    if process in shares:
        shares[process]()
