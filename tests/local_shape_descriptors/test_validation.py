"""Scoring a network on a validation region."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catena.errors import DataError
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.scoring import Truth
from local_shape_descriptors.validation import descriptor_error


def test_descriptors_are_not_compared_where_nothing_is_labelled(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)
    truth = Truth(config, "phantom", "validation", minimum_voxels=10**9)
    predicted = np.zeros((10, *truth.roi.shape // truth.geometry.voxel_size), np.uint8)
    with pytest.raises(DataError, match=r"the validation region .* of .*neuron_ids has no labelled voxel"):
        descriptor_error(config, truth, predicted)
