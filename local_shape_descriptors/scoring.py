"""Counting fragments against ground truth, region by region and block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array
from catena.errors import DataError
from catena.evaluation import Contingency
from catena.evaluation.zeros import ZeroPolicy, apply_zero_policy
from catena.task import Given, Input
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.geometry import VolumeGeometry, block_slices, volume_geometry
from local_shape_descriptors.objects import NEURONS, Objects

Settings = LocalShapeDescriptorsConfig
SLAB_VOXELS = 64_000_000
BACKGROUND = np.uint64(2**63 - 1)
"""The label of voxels that are known to hold none of the objects."""


def truth_inputs(config: Settings, volume: str, objects: Objects = NEURONS) -> dict[str, Input]:
    """Return the inputs that scoring a volume needs."""
    settings = config.volume(volume)
    inputs: dict[str, Input] = {}
    if (labels := objects.labels(settings)) is not None:
        inputs["labels"] = Given(labels, voxel_size_nm=settings.voxel_size_nm)
    if settings.labels_mask is not None:
        inputs["labels_mask"] = Given(settings.labels_mask, voxel_size_nm=settings.voxel_size_nm)
    return inputs


class Truth:
    """Ground truth of one region: labels, 0 where there is none or where a label is too small to count.

    Of objects whose background is ground truth, too, that is :data:`BACKGROUND`.
    """

    def __init__(
        self,
        config: Settings,
        volume: str,
        region: str,
        minimum_voxels: int | None = None,
        *,
        objects: Objects = NEURONS,
    ) -> None:
        settings = config.volume(volume)
        self.geometry = volume_geometry(config, volume)
        self.roi = settings.region_roi(region)
        self.labels = self.geometry.open(str(objects.labels(settings)), voxel_size_nm=settings.voxel_size_nm)
        self._background = objects.background
        mask = settings.labels_mask
        self.mask = None if mask is None else self.geometry.open(mask, voxel_size_nm=settings.voxel_size_nm)
        self._small = self._find_small(
            config.evaluate.minimum_label_voxels if minimum_voxels is None else minimum_voxels
        )
        self._where = f"volumes.{volume}: region {region}"

    def read(self, roi: Roi) -> NDArray[np.uint64]:
        """Return the labels that count in `roi`."""
        labels = self.labels.read(roi, outside="zero").astype(np.uint64)
        if self._background:
            covered = block_slices(roi.intersect(self.labels.roi), roi, self.geometry.voxel_size)
            labels[covered][labels[covered] == 0] = BACKGROUND
        if self.mask is not None:
            labels[self.mask.read(roi, outside="zero") == 0] = 0
        if self._small.size:
            labels[np.isin(labels, self._small)] = 0
        return labels

    def _find_small(self, minimum: int) -> NDArray[np.uint64]:
        self._small = np.zeros(0, np.uint64)
        if minimum <= 1:
            return self._small
        sizes: dict[int, int] = {}
        for roi in slabs(self.roi, self.geometry.voxel_size):
            for label, count in zip(*np.unique(self.read(roi), return_counts=True), strict=True):
                sizes[int(label)] = sizes.get(int(label), 0) + int(count)
        return np.array([label for label, count in sizes.items() if count < minimum], np.uint64)

    def require_labels(self, counted: Contingency) -> Contingency:
        """Refuse a region without any label.

        Raises
        ------
        DataError
            If nothing was counted.
        """
        if counted.voxels == 0:
            raise DataError(f"{self._where} {self.roi} of {self.labels.path} has no labelled voxel")
        return counted


def slabs(roi: Roi, voxel_size: Coordinate) -> Iterator[Roi]:
    """Cut `roi` into slabs along z of at most about `SLAB_VOXELS` voxels."""
    area = int(np.prod((roi.shape // voxel_size)[1:]))
    depth = max(1, SLAB_VOXELS // max(1, area)) * voxel_size[0]
    for begin in range(roi.begin[0], roi.end[0], depth):
        end = min(begin + depth, roi.end[0])
        yield Roi((begin, *roi.begin[1:]), (end - begin, *roi.shape[1:]))


def counted_parts(
    segmentation: Array,
    truth: Truth,
    policy: ZeroPolicy = "one_object",
    reference: Array | None = None,
) -> Iterator[tuple[Roi, NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]]:
    """Yield the labels of a segmentation and of the truth as they count, in one part of the region after the other."""
    geometry: VolumeGeometry = truth.geometry
    parts = [truth.roi] if policy == "filled" else slabs(truth.roi, geometry.voxel_size)
    for roi in parts:
        values, labels = apply_zero_policy(
            segmentation.read(roi, outside="zero").astype(np.uint64),
            truth.read(roi),
            policy,
            voxel_size=geometry.voxel_size,
            reference=None if reference is None else reference.read(roi, outside="zero"),
        )
        yield roi, values, labels


def count(
    segmentation: Array,
    truth: Truth,
    policy: ZeroPolicy = "one_object",
    reference: Array | None = None,
) -> Contingency:
    """Count a segmentation (or fragments) against the truth of a region.

    The policy ``filled`` needs the whole region in memory; the others read it slab by slab. Under ``common`` the result
    is empty where the reference labels nothing.

    Raises
    ------
    DataError
        If the region has no labelled voxel.
    """
    table = Contingency()
    for _, values, labels in counted_parts(segmentation, truth, policy, reference):
        table.add(values, labels)
    return table if policy == "common" else truth.require_labels(table)


def count_fragments(truth: Truth, path: str, policy: ZeroPolicy) -> Contingency:
    """Count the fragments at `path` against the truth of a region."""
    fragments = truth.geometry.open(path)
    return count(fragments, truth, policy, reference=fragments if policy == "common" else None)
