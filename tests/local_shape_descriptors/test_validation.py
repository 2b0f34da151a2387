"""Scoring a network on a validation region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import create_array
from catena.errors import DataError
from catena.targets import erode_boundaries, shape_descriptors
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.scoring import Truth
from local_shape_descriptors.validation import descriptor_error

ROUNDING = (0.5 / 255) ** 2
LABELS = np.zeros((6, 10, 12), np.uint64)
LABELS[1:, :, :6] = 1
LABELS[1:, :, 6:] = 2
LABELS[3:, :, 6:] = 3


class Scene:
    """Labels on disk, of which the descriptors are predicted, and the error of such a prediction."""

    def __init__(self, folder: Path, voxel_size: Coordinate, labels: NDArray[np.uint64] = LABELS, **volume: Any):
        self.voxel_size = voxel_size
        paths = {
            "raw": self.write(folder / "raw.zarr/a", LABELS),
            "labels": self.write(folder / "labels.zarr/a", labels),
        }
        regions = {"regions": {"validation": {}}}
        self.config = LocalShapeDescriptorsConfig.parse(
            {
                "experiment": "e",
                "volumes": {"v": {**paths, **regions, **volume}},
                "model": {"type": "lsd", "lsd_sigma_nm": 40},
            }
        )

    def write(self, path: Path, values: NDArray[np.uint64]) -> str:
        shape = Coordinate(values.shape)
        array = create_array(
            path,
            roi=Roi((0, 0, 0), shape * self.voxel_size),
            voxel_size=self.voxel_size,
            dtype="uint64",
            chunk_shape_vox=shape,
        )
        array.write(array.roi, values)
        return str(path)

    def prediction(self, *, only_xy: bool, labels: NDArray[np.uint64] = LABELS) -> NDArray[np.uint8]:
        eroded = erode_boundaries(labels, only_xy=only_xy)
        downsample = self.config.model.lsd_downsample
        exact = shape_descriptors(eroded, self.voxel_size, self.config.model.lsd_sigma_nm, downsample)
        return np.rint(exact * 255).astype(np.uint8)

    def error(self, predicted: NDArray[np.uint8]) -> float:
        return descriptor_error(self.config, "v", Truth(self.config, "v", "validation", minimum_voxels=0), predicted)


@pytest.mark.parametrize(("depth", "only_xy"), [(8, False), (40, True)])
def test_descriptors_are_those_of_eroded_labels_and_rims_do_not_count(
    tmp_path: Path, depth: int, only_xy: bool
) -> None:
    scene = Scene(tmp_path, Coordinate(depth, 8, 8))
    predicted = scene.prediction(only_xy=only_xy)
    inside = erode_boundaries(LABELS, only_xy=only_xy) != 0
    assert scene.error(predicted) <= ROUNDING
    assert scene.error(np.where(inside, predicted, 255).astype(np.uint8)) <= ROUNDING
    assert scene.error(np.where(inside, 255, predicted).astype(np.uint8)) > 0.1


def test_background_counts_where_it_is_labelled_and_nothing_where_the_mask_is_0(tmp_path: Path) -> None:
    voxel_size = Coordinate(8, 8, 8)
    plain = Scene(tmp_path / "plain", voxel_size)
    wrong = np.where(LABELS == 0, 255, plain.prediction(only_xy=False)).astype(np.uint8)
    labelled = Scene(tmp_path / "labelled", voxel_size, background_labelled=True)
    mask = plain.write(tmp_path / "mask.zarr/a", (LABELS != 0).astype(np.uint64))
    masked = Scene(tmp_path / "masked", voxel_size, background_labelled=True, labels_mask=mask)
    assert plain.error(wrong) <= ROUNDING
    assert labelled.error(plain.prediction(only_xy=False)) <= ROUNDING
    assert labelled.error(wrong) > 0.1
    assert masked.error(wrong) <= ROUNDING


def test_labels_of_a_part_of_the_region(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Coordinate(8, 8, 8), LABELS[:, :8])
    predicted = np.full((10, *LABELS.shape), 255, np.uint8)
    predicted[:, :, :8] = scene.prediction(only_xy=False, labels=LABELS[:, :8])
    assert scene.error(predicted) <= ROUNDING
    beyond = Scene(tmp_path / "beyond", Coordinate(8, 8, 8), LABELS[:, :8], regions={"validation": {"y": [8, 10]}})
    with pytest.raises(DataError, match="no labelled voxel to score"):
        beyond.error(predicted[:, :, 8:])


@pytest.mark.parametrize("label", [0, 1])
def test_a_region_in_which_nothing_counts(tmp_path: Path, label: int) -> None:
    labels = np.zeros_like(LABELS)
    labels[3, 4, 4] = label
    scene = Scene(tmp_path, Coordinate(8, 8, 8), labels)
    with pytest.raises(DataError, match=r"the validation region .* of .*labels\.zarr/a has no labelled voxel to score"):
        scene.error(np.zeros((10, *labels.shape), np.uint8))
