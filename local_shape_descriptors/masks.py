"""What of a volume is worked on: its mask, its boxes, and where raw holds anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.arrays import open_array
from catena.blockwise.blocks import BlockGrid
from catena.blockwise.masks import ArrayMask, Mask, RoiMask, skip_mask
from catena.segmentation import fragment_context
from catena.task import Given, Input, Made
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.geometry import VolumeGeometry, volume_geometry
from local_shape_descriptors.objects import ALL_OBJECTS, NEURONS

CONTENT = "volume.zarr/volumes/content"
"""Place of the array that tells where raw holds anything, below the volume's folder."""


def mask_inputs(config: LocalShapeDescriptorsConfig, volume: str) -> Mapping[str, Input]:
    """Return the arrays that say what of a volume is worked on."""
    settings = config.volume(volume)
    inputs: dict[str, Input] = {}
    if settings.mask is not None:
        inputs["mask"] = Given(settings.mask, voxel_size_nm=settings.voxel_size_of("mask"))
    if settings.skips_empty:
        inputs["content"] = Made("content", "content", volume)
    return inputs


def mask_settings(config: LocalShapeDescriptorsConfig, volume: str) -> Mapping[str, Any]:
    """Return what else says it, for the fingerprint; nothing where everything is worked on."""
    boxes = config.volume(volume).boxes()
    return {"rois": [repr(each) for each in boxes]} if boxes else {}


def volume_masks(config: LocalShapeDescriptorsConfig, volume: str) -> list[Mask]:
    """Open everything that says what of a volume is worked on."""
    settings, units = config.volume(volume), config.volume(volume).grid().units_per_nm
    masks: list[Mask] = []
    if boxes := settings.boxes():
        masks.append(RoiMask(boxes))
    if settings.mask is not None:
        masks.append(ArrayMask(settings.open("mask"), units))
    if settings.skips_empty:
        masks.append(ArrayMask(open_array(config.volume_folder(volume) / CONTENT), units))
    return masks


def skipped_blocks(config: LocalShapeDescriptorsConfig, volume: str, grid: BlockGrid) -> NDArray[np.bool_] | None:
    """Return which blocks have nothing to do, the same for all stages of one grid; None if all are worked on.

    A stage below may skip them too: a fragment lies in a block that is worked on, and so does the owner of an edge.
    """
    return skip_mask(volume_masks(config, volume), grid)


def skipped_predictions(config: LocalShapeDescriptorsConfig, volume: str, grid: BlockGrid) -> NDArray[np.bool_] | None:
    """Return which blocks need no prediction: neither fragments nor the context they are made with lie there."""
    margin = prediction_margin(config, volume_geometry(config, volume))
    return skip_mask(volume_masks(config, volume), grid, margin)


def prediction_margin(config: LocalShapeDescriptorsConfig, geometry: VolumeGeometry) -> Coordinate:
    """Return how far (voxels) beyond what is worked on affinities are read: a power of two.

    Rounded up so that small changes of the fragments' settings leave predictions valid.
    """
    predicted = [each for each in ALL_OBJECTS if each.predicted(config)] or [NEURONS]
    contexts = [fragment_context(each.fragments(config), geometry.voxel_size) for each in predicted]
    context = [max(along) for along in zip(*contexts, strict=True)]
    return Coordinate(1 << max(0, int(each) - 1).bit_length() for each in context)
