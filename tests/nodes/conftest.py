from __future__ import annotations

from typing import Any

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi


class MemorySource(gp.BatchProvider):
    """Provides arrays `(z, y, x)` that begin at the origin; their border voxels go on for ever."""

    def __init__(self, arrays: dict[gp.ArrayKey, np.ndarray], voxel_size: Coordinate):
        self.arrays = arrays
        self.voxel_size = Coordinate(voxel_size)

    def setup(self) -> None:
        for key, values in self.arrays.items():
            roi, is_image = Roi((None,) * 3, (None,) * 3), values.dtype.kind == "f"
            self.provides(key, gp.ArraySpec(roi=roi, voxel_size=self.voxel_size, interpolatable=is_image))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        batch = gp.Batch()
        for key, wanted in request.array_specs.items():
            spec = self.spec[key].copy()
            spec.roi = wanted.roi
            bounds = zip(wanted.roi.begin / self.voxel_size, wanted.roi.end / self.voxel_size, strict=True)
            sizes = self.arrays[key].shape
            indices = [np.arange(b, e).clip(0, n - 1) for (b, e), n in zip(bounds, sizes, strict=True)]
            batch[key] = gp.Array(self.arrays[key][np.ix_(*indices)], spec)
        return batch


class Pipelines:
    """Builds a source and nodes, and asks for boxes of voxels."""

    def request(
        self,
        arrays: dict[gp.ArrayKey, np.ndarray],
        nodes: list[gp.BatchFilter],
        boxes: dict[gp.ArrayKey, tuple[tuple[int, ...], tuple[int, ...]]],
        *,
        seed: int = 0,
        voxel_size: tuple[int, ...] = (1, 1, 1),
    ) -> Any:
        pipeline = gp.Pipeline(MemorySource(arrays, Coordinate(voxel_size)))
        for node in nodes:
            pipeline += node
        request = gp.BatchRequest(random_seed=seed)
        for key, (begin, shape) in boxes.items():
            roi = Roi(begin, shape) * Coordinate(voxel_size)
            request[key] = gp.ArraySpec(roi=roi)
        with gp.build(pipeline):
            return pipeline.request_batch(request)


@pytest.fixture
def pipelines() -> Pipelines:
    return Pipelines()
