"""What every experiment's configuration has in common: its name, its volumes and their regions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import permutations
from math import lcm
from pathlib import Path
from typing import Annotated, Any

from funlib.geometry import Coordinate, Roi
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from catena.arrays import Array, open_array
from catena.config import Config
from catena.errors import ConfigError, GeometryError

REGIONS = ("train", "validation", "test")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is used as a folder name: letters, digits, '_', '.' and '-' only")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Positive = Annotated[float, Field(gt=0)]
Path_ = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]


class RegionConfig(Config):
    """A box, half open, in voxels from the first voxel of raw, or in world nm where the name ends in ``_nm``."""

    z: tuple[int, int] | None = Field(None, description="first voxel, and the one after the last. Default: all")
    y: tuple[int, int] | None = Field(None, description="as z")
    x: tuple[int, int] | None = Field(None, description="as z")
    z_nm: tuple[float, float] | None = Field(None, description="world coordinates in nm instead of voxels")
    y_nm: tuple[float, float] | None = Field(None, description="as z_nm")
    x_nm: tuple[float, float] | None = Field(None, description="as z_nm")

    @model_validator(mode="after")
    def _check(self) -> RegionConfig:
        for axis in "zyx":
            vox, nm = getattr(self, axis), getattr(self, f"{axis}_nm")
            if vox is not None and nm is not None:
                raise ValueError(f"give {axis} or {axis}_nm, not both")
            bounds = vox if vox is not None else nm
            if bounds is not None and bounds[0] >= bounds[1]:
                raise ValueError(f"{axis} {list(bounds)} is empty: the end must lie beyond the begin")
        return self

    def roi(self, array: Array, where: str = "region") -> Roi:
        """Return this box as world units on the grid of `array`.

        Raises
        ------
        GeometryError
            If it reaches outside the array, or a bound in nm is not on a voxel face.
        """
        begin, end = [], []
        for axis, (name, size) in enumerate(zip("zyx", array.voxel_size, strict=True)):
            low, high = self._bounds(name, axis, array, where)
            begin.append(low)
            end.append(high)
            if (low - array.offset[axis]) % size or (high - array.offset[axis]) % size:
                raise GeometryError(f"{where}: {name} [{low}, {high}] is not on the voxel grid of {array.path}")
        roi = Roi(begin, Coordinate(end) - Coordinate(begin))
        if not array.roi.contains(roi):
            raise GeometryError(f"{where} {roi} reaches outside {array.path}, which covers {array.roi}")
        return roi

    def _bounds(self, name: str, axis: int, array: Array, where: str) -> tuple[int, int]:
        vox, nm = getattr(self, name), getattr(self, f"{name}_nm")
        if vox is not None:
            low, high = (int(array.offset[axis] + each * array.voxel_size[axis]) for each in vox)
            return low, high
        if nm is None:
            return int(array.roi.begin[axis]), int(array.roi.end[axis])
        scaled = [each * array.units_per_nm for each in nm]
        if any(abs(each - round(each)) > 1e-9 for each in scaled):
            raise GeometryError(f"{where}: {name}_nm {list(nm)} is not on the voxel grid of {array.path}")
        return round(scaled[0]), round(scaled[1])


class VolumeInputs(Config):
    """Results made elsewhere, used for one volume instead of computing them."""

    affinities: Path_ | None = Field(None, description="affinities (c,z,y,x) with an attribute `offsets`")
    other_affinities: dict[Name, Path_] = Field(
        default_factory=dict, description="likewise, of other objects, by name (mitochondria)"
    )


class SkeletonsConfig(Config):
    """Traced neurons, along which a segmentation is followed."""

    path: Path_ = Field(description="an SWC file, or a folder of them (.swc)")
    nm_per_unit: Positive | tuple[Positive, Positive, Positive] = Field(
        1.0,
        description="nm per unit of the files, which SWC does not record: 1000 for µm; for positions in voxels their "
        "size, one number or z, y, x",
    )
    ignored_nodes: int = Field(
        0, ge=0, description="up to so many nodes of a skeleton inside a segment do not make the segment a merger"
    )


class VolumeConfig(Config):
    """One volume: where its arrays are and which parts serve which purpose."""

    raw: Path_ | None = Field(None, description="raw EM, container and data set joined")
    labels: Path_ | None = Field(None, description="ground truth, one id per neuron, 0 = unlabelled")
    labels_mask: Path_ | None = Field(None, description="non-zero where `labels` are ground truth")
    background_labelled: bool = Field(False, description="label 0 is ground truth too (not merely unlabelled)")
    other_labels: dict[Name, Path_] = Field(
        default_factory=dict, description="ground truth of other objects, by name (mitochondria); 0 = none of them"
    )
    voxel_size_nm: tuple[Any, Any, Any] | None = Field(None, description="for data that do not carry one")
    mask: Path_ | None = Field(
        None,
        description="nothing is segmented where this array, of any voxel size, is 0; blocks without more are skipped",
    )
    mask_voxel_size_nm: tuple[Any, Any, Any] | None = Field(
        None, description="of `mask`, where it is not what the mask carries, or `voxel_size_nm` where that is given"
    )
    roi: RegionConfig | None = Field(None, description="part to process; everything if not given")
    rois: tuple[RegionConfig, ...] = Field(
        (),
        description="boxes, written as `roi`: only voxels inside one of them are segmented, other blocks are skipped",
    )
    skip_empty: bool | float = Field(
        False,
        description="true: skip where raw is constant, in cells of 32 voxels and all cells around them; a number: only "
        "where it is that",
    )
    regions: dict[str, RegionConfig] = Field(default_factory=dict, description="train, validation, test")
    references: dict[Name, Path_] = Field(
        default_factory=dict, description="other segmentations of this volume, scored beside ours"
    )
    skeletons: SkeletonsConfig | None = Field(None, description="traced neurons: run length is scored along them")
    weight: float | None = Field(None, gt=0, description="share of training crops; by volume if not given")
    inputs: VolumeInputs = VolumeInputs()

    @model_validator(mode="after")
    def _check(self) -> VolumeConfig:
        unknown = sorted(set(self.regions) - set(REGIONS))
        if unknown:
            raise ValueError(f"unknown region {unknown}: the regions are {', '.join(REGIONS)}")
        if self.raw is None and self.inputs.affinities is None:
            raise ValueError("a volume needs raw, or inputs.affinities")
        if self.raw is None and self.skips_empty:
            raise ValueError("skip_empty needs raw, which tells where nothing is")
        return self

    @property
    def skips_empty(self) -> bool:
        """Tell whether empty parts of raw are skipped; 0 is a value like any other."""
        return self.skip_empty is not False

    def shares_data(self, other: VolumeConfig) -> bool:
        """Tell whether raw, labels or given affinities of two volumes are the same, by whatever paths."""
        return not self._places().isdisjoint(other._places())

    def _places(self) -> set[str]:
        paths = (self.raw, self.labels, self.inputs.affinities)
        return {os.path.realpath(path) for path in paths if path is not None}

    def open(self, name: str) -> Array:
        """Open the array that sets the volume's grid or another one of its arrays, by field name."""
        path = self.inputs.affinities if name == "affinities" else getattr(self, name)
        if path is None:
            raise ConfigError(f"this volume has no '{name}'")
        return open_array(path, voxel_size_nm=self.voxel_size_of(name))

    def voxel_size_of(self, name: str) -> tuple[Any, Any, Any] | None:
        """Return the configured voxel size of one of the arrays, None where it carries its own."""
        own = self.mask_voxel_size_nm if name == "mask" else None
        return self.voxel_size_nm if own is None else own

    def grid(self) -> Array:
        """Open the array whose voxel grid the volume's results share: raw, or else the given affinities."""
        return self.open("raw" if self.raw is not None else "affinities")

    def process_roi(self) -> Roi:
        """Return the world region to process: `roi`, cut to what encloses all `rois`.

        Raises
        ------
        GeometryError
            If that is empty, or a box does not fit the volume.
        """
        grid = self.grid()
        if self.roi is not None:
            whole = self.roi.roi(grid, "roi")
        elif self.inputs.affinities is None:
            whole = grid.roi
        else:
            whole = grid.roi.intersect(self.open("affinities").in_units(grid.units_per_nm).roi)
        boxes = self.boxes()
        if not boxes:
            return whole
        enclosed = whole.intersect(reduce(Roi.union, boxes))
        if enclosed.empty:
            raise GeometryError(f"none of the rois {list(boxes)} lies in {whole}, which is to be processed")
        return enclosed

    def boxes(self) -> tuple[Roi, ...]:
        """Return the `rois` in world units."""
        grid = self.grid() if self.rois else None
        return tuple(each.roi(grid, f"rois[{i}]") for i, each in enumerate(self.rois)) if grid is not None else ()

    def region_roi(self, name: str) -> Roi:
        """Return a named region in world units."""
        return self.regions[name].roi(self.grid(), f"regions.{name}")


class ExperimentConfig(Config):
    """Base of a task's configuration: what :mod:`catena.task` needs to know."""

    task: str = Field(description="which task this experiment is")
    experiment: Name = Field(description="name of the experiment: its folder below `output`")
    output: Path_ = Field("runs", description="folder of all experiments")
    seed: int = Field(0, ge=0, description="every random choice derives from this")
    volumes: dict[Name, VolumeConfig] = Field(min_length=1, description="the volumes, by name")

    @property
    def folder(self) -> Path:
        """Folder of this experiment."""
        return Path(self.output) / self.experiment

    def volume_folder(self, volume: str) -> Path:
        """Folder of everything about one volume."""
        return self.folder / "volumes" / volume

    def volume(self, name: str) -> VolumeConfig:
        """Return a volume by name.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        if name not in self.volumes:
            raise ConfigError(f"no volume '{name}'; the volumes are: {', '.join(self.volumes)}")
        return self.volumes[name]


def check_volumes(config: ExperimentConfig, names: Iterable[str]) -> None:
    """Refuse volumes whose arrays do not fit together, or one of whose regions overlaps another one on the same data.

    Raises
    ------
    ConfigError
        If train, validation and test, of one volume or of several that share data, have voxels in common.
    GeometryError
        As :func:`check_volume`.
    """
    for name in names:
        own = config.volume(name)
        check_volume(own, name)
        for other, settings in config.volumes.items():
            if own.regions and settings.regions and own.shares_data(settings):
                _check_apart((name, own), (other, settings))


def _check_apart(one: tuple[str, VolumeConfig], two: tuple[str, VolumeConfig]) -> None:
    units = lcm(*(volume.grid().units_per_nm for _, volume in (one, two)))
    ours, theirs = (_region_rois(name, volume, units) for name, volume in (one, two))
    for mine, other in permutations(REGIONS, 2):
        if mine in ours and other in theirs and ours[mine].intersects(theirs[other]):
            raise ConfigError(
                f"volumes.{one[0]}.regions.{mine} {ours[mine]} overlaps volumes.{two[0]}.regions.{other} "
                f"{theirs[other]} in {ours[mine].intersect(theirs[other])}: networks and thresholds must not be chosen "
                "or scored on voxels that were used before; part the regions"
            )


def _region_rois(name: str, volume: VolumeConfig, units_per_nm: int) -> dict[str, Roi]:
    grid = volume.grid().in_units(units_per_nm)
    return {region: each.roi(grid, f"volumes.{name}.regions.{region}") for region, each in volume.regions.items()}


def check_volume(volume: VolumeConfig, name: str) -> None:
    """Refuse a volume whose arrays do not fit together.

    Raises
    ------
    GeometryError
        If labels, references or affinities differ from raw in voxel size, do not overlap it or lie off its voxel
        grid, the mask does not overlap it, or a region is outside the data.
    """
    grid = volume.grid()
    others: Mapping[str, str | None] = {
        "labels": volume.labels,
        "labels_mask": volume.labels_mask,
        "inputs.affinities": volume.inputs.affinities,
        **{f"inputs.other_affinities.{key}": path for key, path in volume.inputs.other_affinities.items()},
        **{f"other_labels.{key}": path for key, path in volume.other_labels.items()},
        **{f"references.{key}": path for key, path in volume.references.items()},
    }
    for key, path in others.items():
        if path is not None:
            _check_same_grid(grid, open_array(path, voxel_size_nm=volume.voxel_size_nm), f"volumes.{name}.{key}")
    processed = volume.process_roi()
    if volume.mask is not None:
        _check_mask(grid, volume.open("mask"), f"volumes.{name}.mask")
    if volume.inputs.affinities is not None:
        covered = volume.open("affinities").in_units(grid.units_per_nm).roi
        if not covered.contains(processed):
            raise GeometryError(f"volumes.{name}.roi {processed} reaches beyond the affinities, which cover {covered}")
    for region in volume.regions:
        roi = volume.region_roi(region)
        if region != "train" and not processed.contains(roi):
            raise GeometryError(
                f"volumes.{name}: regions.{region} {roi} is to be scored, but only {processed} is processed; make one "
                "of them fit the other"
            )


def _check_mask(grid: Array, mask: Array, where: str) -> None:
    if mask.channels is not None:
        raise GeometryError(f"{where}: {mask.path} has {mask.channels} channels; a mask must be (z, y, x)")
    common = lcm(grid.units_per_nm, mask.units_per_nm)
    _check_overlap(grid.in_units(common), mask.in_units(common), where)


def _check_overlap(grid: Array, other: Array, where: str) -> None:
    if not grid.roi.intersects(other.roi):
        raise GeometryError(f"{where}: {other.path} covers {other.roi}, {grid.path} covers {grid.roi}: no overlap")


def _check_same_grid(grid: Array, other: Array, where: str) -> None:
    units = max(grid.units_per_nm, other.units_per_nm)
    grid, other = grid.in_units(units), other.in_units(units)
    if grid.voxel_size != other.voxel_size:
        raise GeometryError(
            f"{where}: {other.path} has a voxel size of {other.voxel_size_nm} nm, {grid.path} of "
            f"{grid.voxel_size_nm} nm; "
            "resample one of them"
        )
    _check_overlap(grid, other, where)
    if any((b - a) % v for a, b, v in zip(grid.offset, other.offset, grid.voxel_size, strict=True)):
        raise GeometryError(
            f"{where}: the offset {other.offset} of {other.path} is not on the voxel grid of {grid.path}, "
            f"which begins at {grid.offset}"
        )
