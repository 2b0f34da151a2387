"""Deform all arrays of a batch by one random map."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi

from catena.nodes.augment_config import DeformConfig
from catena.nodes.deformation import random_deformation


class DeformAugment(gp.BatchFilter):
    """Elastic deformation, rotation in plane and misaligned sections; labels by nearest neighbour.

    All arrays must have one voxel size. Takes the place of gunpowder's ``ElasticAugment``, which draws
    from global random states and makes a field of positions for every crop.

    Parameters
    ----------
    config
        Resolved settings (see :meth:`~catena.nodes.augment_config.AugmentConfig.resolved`).
    """

    def __init__(self, config: DeformConfig):
        self.config = config

    def skip_node(self, request: gp.BatchRequest) -> bool:
        """Decide from the request's seed whether this batch is deformed at all."""
        return bool(np.random.default_rng([request.random_seed, 0]).random() >= self.config.probability)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Draw the map and ask for the boxes its sources lie in."""
        self._voxel_size = self.spec.get_lcm_voxel_size(request.array_specs.keys())
        begin, shape = self._box(request.get_total_roi())
        settings = self.config.model_dump(exclude={"probability"})
        self._map = random_deformation(np.random.default_rng([request.random_seed, 1]), begin, shape, **settings)
        for spec in request.array_specs.values():
            source_begin, source_shape = self._map.source_box(*self._box(spec.roi))
            spec.roi = Roi(Coordinate(source_begin) * self._voxel_size, Coordinate(source_shape) * self._voxel_size)
        return request

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Sample every requested array through the map."""
        deformed = gp.Batch()
        for key, wanted in request.array_specs.items():
            array = batch[key]
            begin, shape = self._box(wanted.roi)
            source_begin, _ = self._box(array.spec.roi)
            spec = array.spec.copy()
            spec.roi = wanted.roi
            values = self._map.sample(
                array.data, source_begin, begin, shape, interpolate=bool(array.spec.interpolatable)
            )
            deformed[key] = gp.Array(values, spec)
        return deformed

    def _box(self, roi: Roi) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(roi.begin // self._voxel_size), tuple(roi.shape // self._voxel_size)
