"""Add local shape descriptors, and where they count, computed from labels."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate

from catena.targets import descriptor_context_vox, shape_descriptors
from catena.targets.shape_descriptors_components import Components
from catena.targets.shape_descriptors_settings import Sigma
from catena.targets.shape_descriptors_windows import Mode


class AddShapeDescriptors(gp.BatchFilter):
    """Provide descriptors ``(channels, z, y, x)`` float32 and their weight ``(1, z, y, x)`` float32.

    The weight is 1 inside objects and where the background is ground truth, 0 where nothing is known
    and where erosion took an object's rim away.

    Parameters
    ----------
    labels, eroded, labelled
        Keys of the labels, of the eroded labels that are described, and of the mask of voxels whose
        label, 0 included, is known.
    descriptors, weight
        Keys to provide.
    sigma
        Reach of the window, world units: one number, or one per axis.
    downsample, mode, components, units_per_nm, in_plane
        See :func:`catena.targets.shape_descriptors`. All channels by default.
    """

    def __init__(
        self,
        labels: gp.ArrayKey,
        eroded: gp.ArrayKey,
        labelled: gp.ArrayKey,
        descriptors: gp.ArrayKey,
        weight: gp.ArrayKey,
        sigma: Sigma,
        downsample: int = 1,
        mode: Mode = "gaussian",
        components: Components | None = None,
        units_per_nm: int = 1,
        in_plane: bool = False,
    ):
        self.labels = labels
        self.eroded = eroded
        self.labelled = labelled
        self.descriptors = descriptors
        self.weight = weight
        self.sigma = sigma
        self.downsample = downsample
        self.mode = mode
        self.components = components
        self.units_per_nm = units_per_nm
        self.in_plane = in_plane

    def setup(self) -> None:
        """Announce descriptors and weight."""
        self.enable_autoskip()
        spec = self.spec[self.eroded].copy()
        spec.dtype = np.float32
        for key in (self.descriptors, self.weight):
            self.provides(key, spec)

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest:
        """Ask for labels with the window's reach around the descriptors."""
        roi = request[self.descriptors].roi
        needed = gp.BatchRequest()
        needed[self.eroded] = gp.ArraySpec(roi=roi.grow(self._context, self._context))
        for key in (self.labels, self.labelled):
            needed[key] = gp.ArraySpec(roi=roi)
        return needed

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Describe the objects within the crop as what lies around it makes them."""
        roi = request[self.descriptors].roi
        around = batch[self.eroded]
        voxel_size = self.spec[self.eroded].voxel_size
        inner = ((roi - around.spec.roi.begin) / voxel_size).to_slices()
        values = shape_descriptors(
            around.data,
            voxel_size,
            self.sigma,
            self.downsample,
            roi=inner,
            mode=self.mode,
            components=self.components,
            units_per_nm=self.units_per_nm,
            in_plane=self.in_plane,
        )
        spec = self.spec[self.descriptors].copy()
        spec.roi = roi
        result = gp.Batch()
        result[self.descriptors] = gp.Array(values, spec)
        known = batch[self.labelled].data != 0
        weight = known & ((around.data[inner] != 0) | (batch[self.labels].data == 0))
        result[self.weight] = gp.Array(weight[None].astype(np.float32), spec.copy())
        return result

    @property
    def _context(self) -> Coordinate:
        """Reach of the window, rounded up to whole voxels."""
        sizes = self.spec[self.eroded].voxel_size
        return descriptor_context_vox(self.sigma, sizes, self.mode, in_plane=self.in_plane) * sizes
