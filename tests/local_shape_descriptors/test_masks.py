"""What masks, boxes and empty raw leave out: nothing less, nothing more, and blocks of it cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.blockwise.masks import kept_voxels
from catena.evaluation import Contingency, variation_of_information
from catena.ledger import Ledger
from catena.plan import Node, Selection
from catena.run import Outcome, run, why_not_current
from catena.segmentation import segment
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.geometry import fragment_grid, volume_geometry
from local_shape_descriptors.masks import prediction_margin, skipped_blocks, skipped_predictions, volume_masks
from local_shape_descriptors.task import TASK

BLOCKS = 36


def write(path: Path, values: np.ndarray, voxel_size: Coordinate, offset: Coordinate) -> str:
    array = create_array(
        path,
        roi=Roi(offset, Coordinate(values.shape) * voxel_size),
        voxel_size=voxel_size,
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(16, 16, 16),
    )
    array.write(array.roi, values)
    return str(path)


@pytest.fixture
def masked(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The phantom with a coarse mask off its grid, two boxes that leave a gap, and a threshold."""
    coarse = np.ones((4, 4, 5), np.uint8)
    coarse[:2, :2] = 0
    phantom = settings["volumes"]["phantom"]
    phantom["mask"] = write(tmp_path / "mask.zarr/mask", coarse, Coordinate(100, 100, 100), Coordinate(-4, 3, -20))
    phantom["rois"] = [{"z": [3, 40], "y": [0, 48], "x": [0, 30]}, {"z": [3, 40], "y": [20, 48], "x": [20, 52]}]
    del phantom["regions"]
    settings["segmentation"] = {"threshold": 0.5}
    return settings


def skipped(outcomes: list[Outcome]) -> dict[str, int]:
    return {each.node.stage: each.report.blocks["skipped"] for each in outcomes if each.report.blocks}


def test_a_masked_volume_is_segmented_as_in_memory(masked: dict[str, Any], em: dict[str, str]) -> None:
    config = LocalShapeDescriptorsConfig.parse(masked)
    geometry = volume_geometry(config, "phantom")
    mask = kept_voxels(volume_masks(config, "phantom"), geometry.roi, geometry.voxel_size)
    assert mask is not None
    outcomes = run(TASK, config, Selection(last="segmentation"))
    found = open_array(config.volume_folder("phantom") / "volume.zarr/volumes/segmentation").read()
    affinities = open_array(em["affinities"])
    memory = segment(
        affinities.read(geometry.roi),
        affinities.affinity_offsets,
        affinities.voxel_size,
        config.fragments,
        config.agglomerate,
        mask=mask,
    ).at(0.5)
    one = np.uint64(1)
    assert variation_of_information(Contingency.of(found + one, memory + one)).sum == 0
    assert not found[~mask].any()
    assert (found[mask] > 0).mean() > 0.9
    counts = skipped(outcomes)
    assert counts["fragments"] > 3
    assert counts == dict.fromkeys(("fragments", "agglomerate", "segmentation"), counts["fragments"])


def test_predictions_are_made_wherever_fragments_read_them(masked: dict[str, Any]) -> None:
    del masked["inputs"]
    masked["fragments"] |= {"block_shape_vox": [8, 8, 8], "distance_cap": 16}
    config = LocalShapeDescriptorsConfig.parse(masked)
    geometry = volume_geometry(config, "phantom")
    grid = fragment_grid(config, geometry, Coordinate(0, 0, 0))
    predicted, made = skipped_predictions(config, "phantom", grid), skipped_blocks(config, "phantom", grid)
    assert predicted is not None
    assert made is not None
    assert predicted.sum() < made.sum()
    margin = prediction_margin(config, geometry) * geometry.voxel_size
    masks = volume_masks(config, "phantom")
    for block in grid:
        if predicted[tuple(block.position)]:
            around = kept_voxels(masks, block.write_roi.grow(margin, margin), geometry.voxel_size)
            assert around is not None
            assert not around.any()


def test_empty_parts_of_raw_are_skipped(settings: dict[str, Any], em: dict[str, str], tmp_path: Path) -> None:
    raw = open_array(em["raw"])
    values = np.zeros((16, 16, 160), raw.dtype)
    values[..., :20] = raw.read()[:16, :16, :20]
    affinities = np.full((3, 16, 16, 160), 255, np.uint8)
    phantom = settings["volumes"]["phantom"]
    phantom["raw"] = write(tmp_path / "raw.zarr/raw", values, raw.voxel_size, Coordinate(0, 0, 0))
    created = create_array(
        tmp_path / "a.zarr/affs",
        roi=Roi((0, 0, 0), Coordinate(16, 16, 160) * raw.voxel_size),
        voxel_size=raw.voxel_size,
        dtype=np.uint8,
        chunk_shape_vox=Coordinate(16, 16, 16),
        channels=3,
        attributes={"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]},
    )
    created.write(created.roi, affinities)
    del phantom["labels"], phantom["regions"]
    settings["inputs"]["affinities"] = created.path
    settings["segmentation"] = {"threshold": 0.5}
    phantom["skip_empty"] = True
    config = LocalShapeDescriptorsConfig.parse(settings)
    outcomes = run(TASK, config, Selection(last="fragments"))
    assert [each.node.stage for each in outcomes] == ["content", "fragments"]
    # content lies in cell 0, so cells 0 and 1 are kept: 64 of 160 voxels, 4 of 10 blocks along x
    assert skipped(outcomes)["fragments"] == 6
    fragments = open_array(config.volume_folder("phantom") / "volume.zarr/volumes/fragments").read()
    assert (fragments[..., :64] > 0).all()
    assert not fragments[..., 64:].any()
    other = LocalShapeDescriptorsConfig.parse({**settings, "volumes": {"phantom": {**phantom, "skip_empty": 7}}})
    with Ledger(config.folder / "ledger.sqlite", read_only=True) as ledger:
        reasons = why_not_current(TASK, other, ledger, [Node("content", "phantom")])
    assert list(reasons.values()) == ["config.skip_empty: True → 7.0"]
