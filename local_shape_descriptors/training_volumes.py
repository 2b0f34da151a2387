"""Ground truth to train on: where it is, and what is found when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array, open_array
from catena.errors import ConfigError, DataError, GeometryError
from catena.inference.preparation import check_raw

_SCAN_LIMIT_VOX = 2**30
_SAMPLE_VOX = Coordinate(128, 256, 256)


@dataclass(frozen=True)
class TrainingVolume:
    """Where ground truth is.

    Attributes
    ----------
    raw, labels, labels_mask
        Paths, container and data set joined; all three on one voxel grid.
    region
        World units: nothing outside it is read. Default: all of raw.
    background_labelled
        Label 0 is ground truth too, not merely unlabelled.
    other_labels
        Paths of labels of other objects, by name; 0 is ground truth in them. On the same voxel grid.
    weight
        Share of the crops. Default: the number of labelled voxels' bounding box.
    voxel_size_nm
        For data that carry none.
    share
        Of all crops, those of the volumes that say so (the same), together; among them by weight.
    name
        For messages.
    """

    raw: str
    labels: str
    labels_mask: str | None = None
    region: Roi | None = None
    background_labelled: bool = False
    weight: float | None = None
    voxel_size_nm: tuple[Any, Any, Any] | None = None
    name: str = "training volume"
    other_labels: Mapping[str, str] = field(default_factory=dict)
    share: float | None = None


@dataclass(frozen=True)
class Source:
    """A training volume whose arrays have been looked at.

    Attributes
    ----------
    raw_region, labels_region
        World units: what is read of raw and of labels.
    labelled
        World units: the box around all labelled voxels, in which crops lie.
    """

    volume: TrainingVolume
    voxel_size: Coordinate
    units_per_nm: int
    raw_region: Roi
    labels_region: Roi
    labelled: Roi

    @property
    def weight(self) -> float:
        """Share of the crops."""
        return self.volume.weight or float(prod(self.labelled.shape / self.voxel_size))

    def in_units(self, units_per_nm: int) -> Source:
        """Return this source in finer world units."""
        factor = units_per_nm // self.units_per_nm
        rois = (each * Coordinate((factor,) * 3) for each in (self.raw_region, self.labels_region, self.labelled))
        return Source(self.volume, self.voxel_size * factor, units_per_nm, *rois)


def open_source(volume: TrainingVolume) -> Source:
    """Look at the arrays of a volume and find where its labels are.

    Raises
    ------
    GeometryError
        If the arrays do not share a voxel size, or do not overlap in the region.
    DataError
        If raw has channels, is constant or not finite where it is sampled, labels are no integers, or
        nothing is labelled.
    """
    arrays = [
        open_array(path, voxel_size_nm=volume.voxel_size_nm)
        for path in (volume.raw, volume.labels, volume.labels_mask, *volume.other_labels.values())
        if path is not None
    ]
    units = max(each.units_per_nm for each in arrays)
    raw, labels, *further = (each.in_units(units) for each in arrays)
    mask = further[:1] if volume.labels_mask is not None else []
    for each in (labels, *further):
        if each.voxel_size != raw.voxel_size:
            raise GeometryError(
                f"{volume.name}: {each.path} has a voxel size of {each.voxel_size_nm} nm, {raw.path} of "
                f"{raw.voxel_size_nm} nm; resample one of them"
            )
    others = further[len(mask) :]
    if raw.channels is not None or any(not np.issubdtype(each.dtype, np.integer) for each in (labels, *others)):
        found = ", ".join(f"{each.path} {each.dtype} {each.axis_names}" for each in (raw, labels, *others))
        raise DataError(f"{volume.name}: expected raw (z, y, x) and integer labels, found {found}")
    region = volume.region or raw.roi
    known = region.intersect(labels.roi)
    for each in mask:
        known = known.intersect(each.roi)
    if region.intersect(raw.roi).empty or known.empty:
        raise GeometryError(f"{volume.name}: raw {raw.roi}, labels {labels.roi} and the region {region} do not overlap")
    for each in others:
        if not each.roi.contains(known):
            raise GeometryError(
                f"{volume.name}: {each.path} covers {each.roi}; it must cover all of {known}, where {labels.path} does"
            )
    labelled = labelled_box(labels, known, mask[0] if mask else None, volume)
    sample = centre_of(region.intersect(raw.roi), _SAMPLE_VOX, raw.voxel_size)
    check_raw(raw.read(sample), where=f"{volume.name}: {raw.path}")
    return Source(volume, raw.voxel_size, units, region.intersect(raw.roi), known, labelled)


def centre_of(roi: Roi, shape_vox: Coordinate, voxel_size: Coordinate) -> Roi:
    """Return the box of at most `shape_vox` voxels in the middle of `roi`, on its voxel grid."""
    size = roi.shape / voxel_size
    shape = Coordinate(min(each) for each in zip(size, shape_vox, strict=True))
    return Roi(roi.begin + (size - shape) / 2 * voxel_size, shape * voxel_size)


def shared_out(sources: Sequence[Source]) -> list[Source]:
    """Return the sources with weights by which those with a `share` get it."""
    own = [each for each in sources if each.volume.share is None]
    others = [each for each in sources if each.volume.share is not None]
    if not own or not others:
        return list(sources)
    share = others[0].volume.share or 0.0
    factor = share / (1 - share) * sum(each.weight for each in own) / sum(each.weight for each in others)
    return [
        each if each.volume.share is None else replace(each, volume=replace(each.volume, weight=each.weight * factor))
        for each in sources
    ]


def labelled_box(labels: Array, region: Roi, mask: Array | None, volume: TrainingVolume) -> Roi:
    """Return the smallest box, in world units, around the labelled voxels of `region`.

    A region of more than a billion voxels is taken to be labelled throughout rather than read.

    Raises
    ------
    DataError
        If nothing is labelled.
    """
    size = labels.voxel_size
    if prod(region.shape / size) > _SCAN_LIMIT_VOX:
        return region
    low, high = np.full(3, np.iinfo(np.int64).max), np.full(3, -1)
    depth = int(labels.chunk_shape_vox[0])
    for first in range(0, int(region.shape[0] // size[0]), depth):
        begin = region.begin + Coordinate(first * size[0], 0, 0)
        slab = Roi(begin, Coordinate(depth * size[0], *region.shape[1:])).intersect(region)
        known = is_known(volume)(labels.read(slab))
        if mask is not None:
            known = known & (mask.read(slab) != 0)
        found = np.nonzero(known)
        if len(found[0]):
            shift = np.array([first, 0, 0])
            low = np.minimum(low, [each.min() for each in found] + shift)
            high = np.maximum(high, [each.max() for each in found] + shift)
    if high[0] < 0:
        masked = f" where {volume.labels_mask} is not 0" if volume.labels_mask else ""
        raise DataError(f"{volume.name}: {labels.path} has no labelled voxel in {region}{masked}")
    return Roi(region.begin + Coordinate(low) * size, Coordinate(high - low + 1) * size)


def is_known(volume: TrainingVolume) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Return the function that tells of labels where they are known."""
    return everywhere if volume.background_labelled else known_where_not_background


def everywhere(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 1 for every voxel."""
    return np.ones(labels.shape, np.uint8)


def nowhere(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 0 for every voxel."""
    return np.zeros(labels.shape, np.uint8)


def known_where_not_background(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return 1 where labels are not 0."""
    known: NDArray[np.uint8] = (values != 0).astype(np.uint8)
    return known


def common_voxel_size(sources: Sequence[Source]) -> tuple[Coordinate, int]:
    """Return voxel size and units per nanometre that all sources share.

    Raises
    ------
    ConfigError
        If there is no source.
    GeometryError
        If voxel sizes differ.
    """
    if not sources:
        raise ConfigError("training needs at least one volume with raw and labels")
    units = max(each.units_per_nm for each in sources)
    sizes = {each.volume.name: each.voxel_size * (units // each.units_per_nm) for each in sources}
    if len(set(sizes.values())) > 1:
        shown = ", ".join(f"{name}: {tuple(each / units for each in size)}" for name, size in sizes.items())
        raise GeometryError(f"training volumes must have one voxel size; found, in nm, {shown}")
    return next(iter(sizes.values())), units
