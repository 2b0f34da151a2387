"""Add a target of one channel, and where it is known, computed from labels."""

from __future__ import annotations

from collections.abc import Callable

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

Function = Callable[[NDArray[np.integer]], NDArray[np.generic]]
"""Turns labels ``(z, y, x)`` into a target ``(c, z, y, x)`` in [0, 1]."""


class AddVoxelTarget(gp.BatchFilter):
    """Provide what `function` makes of labels, and its mask.

    Parameters
    ----------
    labels, labelled
        Keys of the labels, and of the mask of voxels whose label, 0 included, is known.
    target, mask
        Keys to provide; the mask is float32 ``(1, z, y, x)``.
    function
        What to compute.
    reach_vox
        Voxels around a voxel on which its value depends.
    """

    def __init__(
        self,
        labels: gp.ArrayKey,
        labelled: gp.ArrayKey,
        target: gp.ArrayKey,
        mask: gp.ArrayKey,
        function: Function,
        reach_vox: Coordinate | None = None,
    ):
        self.labels = labels
        self.labelled = labelled
        self.target = target
        self.mask = mask
        self.function = function
        self.reach_vox = reach_vox or Coordinate(0, 0, 0)

    def setup(self) -> None:
        """Announce target and mask."""
        self.enable_autoskip()
        spec = self.spec[self.labels].copy()
        spec.dtype = np.float32
        for key in (self.target, self.mask):
            self.provides(key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for labels with what the function sees around."""
        reach = self.reach_vox * self.spec[self.labels].voxel_size
        needed = gp.BatchRequest()
        for key in (self.target, self.mask):
            if key in request:
                roi = request[key].roi
                needed[self.labelled] = gp.ArraySpec(roi=roi)
                needed[self.labels] = gp.ArraySpec(roi=roi.grow(reach, reach))
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Compute the target where it is wanted, from all that came."""
        around = batch[self.labels]
        result = gp.Batch()
        if self.target in request:
            spec = self.spec[self.target].copy()
            spec.roi = around.spec.roi
            values = self.function(around.data).astype(np.float32)
            result[self.target] = gp.Array(values, spec).crop(request[self.target].roi)
        if self.mask in request:
            spec = self.spec[self.mask].copy()
            spec.roi = request[self.mask].roi
            known = batch[self.labelled].crop(request[self.mask].roi)
            result[self.mask] = gp.Array((known.data != 0)[None].astype(np.float32), spec)
        return result
