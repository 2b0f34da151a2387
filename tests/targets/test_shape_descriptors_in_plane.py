from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.targets import shape_descriptors

ROI = (slice(1, 3), slice(3, 9), slice(0, 7))


@pytest.mark.parametrize("downsample", [1, 2])
@pytest.mark.parametrize("roi", [None, ROI])
def test_sections_are_described_each_on_its_own(downsample: int, roi: tuple[slice, ...] | None) -> None:
    labels = np.kron(np.random.default_rng(0).integers(0, 3, (3, 4, 4)), np.ones((1, 3, 3), int))
    found = shape_descriptors(labels, Coordinate(40, 4, 4), 16.0, downsample, roi=roi, in_plane=True)
    alone = [
        shape_descriptors(section, Coordinate(4, 4), 16.0, downsample, roi=roi and roi[1:])
        for section in labels[roi[0] if roi else slice(None)]
    ]
    np.testing.assert_allclose(found, np.stack(alone, axis=1), atol=1e-7)
