"""Widen the boundaries between the objects of a label array."""

from __future__ import annotations

import gunpowder as gp
from funlib.geometry import Coordinate

from catena.targets import erode_boundaries


class ErodeBoundaries(gp.BatchFilter):
    """Provide `eroded`, the labels with each object shrunk by `steps` voxels (see :func:`erode_boundaries`).

    Parameters
    ----------
    labels, eroded
        Keys of the labels as they are, and of the eroded ones.
    steps
        Voxels to take away.
    only_xy
        Leave faces between sections alone.
    """

    def __init__(self, labels: gp.ArrayKey, eroded: gp.ArrayKey, steps: int = 1, only_xy: bool = False):
        self.labels = labels
        self.eroded = eroded
        self.steps = steps
        self.only_xy = only_xy

    def setup(self) -> None:
        """Announce the eroded labels."""
        self.enable_autoskip()
        self.provides(self.eroded, self.spec[self.labels].copy())

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for as many more labels around as the erosion reaches."""
        reach = Coordinate(0 if self.only_xy else self.steps, self.steps, self.steps)
        context = self.spec[self.labels].voxel_size * reach
        needed = gp.BatchRequest()
        needed[self.labels] = gp.ArraySpec(roi=request[self.eroded].roi.grow(context, context))
        if self.labels in request:
            needed[self.labels].roi = needed[self.labels].roi.union(request[self.labels].roi)
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Erode, and crop to what was asked for."""
        labels = batch[self.labels]
        spec = labels.spec.copy()
        eroded = gp.Array(erode_boundaries(labels.data, self.steps, self.only_xy), spec)
        result = gp.Batch()
        result[self.eroded] = eroded.crop(request[self.eroded].roi)
        return result
