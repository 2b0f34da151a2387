"""What both sides train: data, model, crops and augmentation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.nodes.augment_config import AugmentConfig
from catena.training import TrainConfig
from data_prep.synthetic import synthesise
from local_shape_descriptors.crops import NeuronCrops
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.trainer import open_crops
from local_shape_descriptors.training_volumes import TrainingVolume

VOXEL_SIZE = Coordinate(8, 8, 8)
EDGE, SMOKE_EDGE = 250, 64
WORKERS, THREADS, SEED = 2, 2, 0
LEARNING_RATE = 5e-5

# The published augmentation; every crop is deformed, as gunpowder does.
AUGMENT = AugmentConfig.parse(
    {
        "deform": {
            "probability": 1.0,
            "control_point_spacing": [40, 40, 40],
            "jitter": [2, 2, 2],
            "slip_probability": 0.01,
            "shift_probability": 0.01,
            "max_misalignment": 1,
        },
        "noise": {"noise_probability": 0, "blur_probability": 0},
    }
)
PUBLISHED: dict[str, Any] = {
    "type": "mtlsd",
    "feature_maps": 12,
    "growth": 6,
    "downsampling": [[2, 2, 2], [2, 2, 2], [3, 3, 3]],
}
SMALL: dict[str, Any] = {
    "type": "mtlsd",
    "levels": 2,
    "feature_maps": 16,
    "growth": 3,
    "padding": "same",
    "upsampling": "projected",
}


@dataclass(frozen=True)
class Experiment:
    """One training, and where its data come from."""

    folder: Path
    raw: str
    labels: str
    source: str
    crops: NeuronCrops

    def shapes(self) -> tuple[str, str]:
        """Return the shapes of a crop's raw and targets, to show."""
        raw, target = ("×".join(map(str, each)) for each in (self.crops.input_shape, self.crops.output_shape))
        return raw, target


def data_experiment(folder: Path, smoke: bool) -> Experiment:
    """Return the training whose crops are made."""
    return _experiment(folder, PUBLISHED, 124 if smoke else 196, smoke)


def step_experiment(folder: Path, smoke: bool) -> Experiment:
    """Return the training whose steps are made."""
    small = {**SMALL, "feature_maps": 2, "growth": 1} if smoke else SMALL
    return _experiment(folder, small, 24 if smoke else 64, smoke)


def _experiment(folder: Path, model: dict[str, Any], edge: int, smoke: bool) -> Experiment:
    raw, labels, source = _data(folder, smoke)
    settings = ModelConfig.parse({**model, "lsd_sigma_nm": 80, "lsd_downsample": 2})
    train = TrainConfig(input_shape_vox=(edge, edge, edge), min_labelled=0.0)
    crops = open_crops([TrainingVolume(raw, labels)], settings, train, AUGMENT)
    return Experiment(folder, raw, labels, source, crops)


def _data(folder: Path, smoke: bool) -> tuple[str, str, str]:
    """Return the paths of raw and labels, FIB-25 if it is at hand."""
    given = os.environ.get("CATENA_DATA")
    if given and not smoke:
        volumes = Path(given) / "fib25/labelled.zarr/volumes"
        return str(volumes / "raw"), str(volumes / "labels/neuron_ids"), "FIB-25"
    raw, labels = folder / "em.zarr/raw", folder / "em.zarr/labels"
    if not raw.exists():
        volume = synthesise(Coordinate((SMOKE_EDGE if smoke else EDGE,) * 3), VOXEL_SIZE, seed=SEED)
        for path, values in ((raw, volume.raw), (labels, volume.labels)):
            array = create_array(
                path,
                roi=Roi((0, 0, 0), Coordinate(values.shape) * VOXEL_SIZE),
                voxel_size=VOXEL_SIZE,
                dtype=values.dtype,
                chunk_shape_vox=Coordinate(64, 64, 64),
            )
            array.write(array.roi, values)
    return str(raw), str(labels), "synthetic EM"
