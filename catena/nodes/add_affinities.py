"""Add affinities, and where they are known, computed from labels."""

from __future__ import annotations

from collections.abc import Sequence

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi

from catena.targets import affinities


class AddAffinities(gp.BatchFilter):
    """Provide affinities ``(c, z, y, x)`` uint8 and their mask (see :func:`catena.targets.affinities`).

    Parameters
    ----------
    labels, labelled
        Keys of the (eroded) labels, and of the mask of voxels whose label, 0 included, is known.
    offsets
        Neighbourhood in voxels.
    values, mask
        Keys to provide.
    """

    def __init__(
        self,
        labels: gp.ArrayKey,
        labelled: gp.ArrayKey,
        offsets: Sequence[Coordinate],
        values: gp.ArrayKey,
        mask: gp.ArrayKey,
    ):
        self.labels = labels
        self.labelled = labelled
        self.offsets = [Coordinate(each) for each in offsets]
        self.values = values
        self.mask = mask

    def setup(self) -> None:
        """Announce affinities and mask."""
        self.enable_autoskip()
        spec = self.spec[self.labels].copy()
        spec.dtype = np.uint8
        for key in (self.values, self.mask):
            self.provides(key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for labels as far around as the neighbourhood reaches."""
        roi = self._roi(request)
        begin = [min(0, *axis) for axis in zip(*self.offsets, strict=True)]
        end = [max(0, *axis) for axis in zip(*self.offsets, strict=True)]
        voxel_size = self.spec[self.labels].voxel_size
        grown = roi.grow(Coordinate(begin) * voxel_size * -1, Coordinate(end) * voxel_size)
        needed = gp.BatchRequest()
        for key in (self.labels, self.labelled):
            needed[key] = gp.ArraySpec(roi=grown)
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Compute both, and crop them to what was asked for."""
        values, mask = affinities(batch[self.labels].data, self.offsets, batch[self.labelled].data)
        result = gp.Batch()
        for key, data in ((self.values, values), (self.mask, mask)):
            if key in request:
                spec = self.spec[key].copy()
                spec.roi = batch[self.labels].spec.roi
                result[key] = gp.Array(data, spec).crop(request[key].roi)
        return result

    def _roi(self, request: gp.BatchRequest) -> Roi:
        rois = [request[key].roi for key in (self.values, self.mask) if key in request]
        return rois[0] if len(rois) == 1 else rois[0].union(rois[1])
