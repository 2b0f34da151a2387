"""From labels to what a head is trained to be: the nodes of each kind of target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gunpowder as gp
from funlib.geometry import Coordinate

from catena.nodes.add_affinities import AddAffinities
from catena.nodes.add_shape_descriptors import AddShapeDescriptors
from catena.nodes.add_voxel_target import AddVoxelTarget
from catena.nodes.augment_config import is_anisotropic
from catena.nodes.balance_labels import BalanceLabels
from catena.nodes.erode_boundaries import ErodeBoundaries
from catena.targets import contour, distance, foreground
from local_shape_descriptors.model import ModelConfig


@dataclass(frozen=True)
class LabelKeys:
    """Keys of one kind of labels: the ids, where they are known, and the ids with their rims eroded."""

    labels: gp.ArrayKey
    labelled: gp.ArrayKey
    eroded: gp.ArrayKey

    @classmethod
    def of(cls, name: str) -> LabelKeys:
        """Return the keys of the labels called `name`."""
        return cls(*(gp.ArrayKey(f"{kind}_{name}") for kind in ("LABELS", "LABELLED", "ERODED")))


@dataclass(frozen=True)
class TargetKeys:
    """Keys of what one head is trained with."""

    target: gp.ArrayKey
    mask: gp.ArrayKey
    weight: gp.ArrayKey

    @classmethod
    def of(cls, head: str) -> TargetKeys:
        """Return the keys of the head called `head`."""
        return cls(*(gp.ArrayKey(f"{kind}_{head}") for kind in ("TARGET", "MASK", "WEIGHT")))


@dataclass(frozen=True)
class TargetSettings:
    """What the targets of a model depend on besides its heads."""

    model: ModelConfig
    voxel_size: Coordinate
    units_per_nm: int

    @property
    def in_plane(self) -> bool:
        """Whether boundaries and rims are those within sections."""
        return self.model.dimensions == 2 or is_anisotropic(self.voxel_size)


def add_targets(pipeline: gp.Pipeline, settings: TargetSettings) -> gp.Pipeline:
    """Append targets and weights of all heads to a pipeline that provides labels and where they are known."""
    model = settings.model
    for name in model.labels():
        keys = LabelKeys.of(name)
        pipeline += ErodeBoundaries(keys.labels, keys.eroded, only_xy=settings.in_plane)
    for name, head in model.heads.items():
        pipeline = _KINDS[head.target](pipeline, name, settings)
    return pipeline


def _add_affinities(pipeline: gp.Pipeline, name: str, settings: TargetSettings) -> gp.Pipeline:
    labels, keys = LabelKeys.of(settings.model.heads[name].labels), TargetKeys.of(name)
    offsets = [Coordinate(each) for each in settings.model.offsets(name)]
    return (
        pipeline
        + AddAffinities(labels.eroded, labels.labelled, offsets, keys.target, keys.mask)
        + BalanceLabels(keys.target, keys.mask, keys.weight)
    )


def _add_descriptors(pipeline: gp.Pipeline, name: str, settings: TargetSettings) -> gp.Pipeline:
    model = settings.model
    labels, keys = LabelKeys.of(model.heads[name].labels), TargetKeys.of(name)
    return pipeline + AddShapeDescriptors(
        labels.labels,
        labels.eroded,
        labels.labelled,
        keys.target,
        keys.weight,
        sigma=model.lsd_sigma_nm * settings.units_per_nm,
        downsample=model.lsd_downsample,
        units_per_nm=settings.units_per_nm,
        in_plane=model.dimensions == 2,
    )


def _add_foreground(pipeline: gp.Pipeline, name: str, settings: TargetSettings) -> gp.Pipeline:
    labels, keys = LabelKeys.of(settings.model.heads[name].labels), TargetKeys.of(name)
    return (
        pipeline
        + AddVoxelTarget(labels.labels, labels.labelled, keys.target, keys.mask, foreground)
        + BalanceLabels(keys.target, keys.mask, keys.weight)
    )


def _add_contour(pipeline: gp.Pipeline, name: str, settings: TargetSettings) -> gp.Pipeline:
    labels, keys = LabelKeys.of(settings.model.heads[name].labels), TargetKeys.of(name)
    in_plane = settings.in_plane
    reach = Coordinate(0 if in_plane else 1, 1, 1)
    return (
        pipeline
        + AddVoxelTarget(
            labels.labels, labels.labelled, keys.target, keys.mask, lambda ids: contour(ids, only_xy=in_plane), reach
        )
        + BalanceLabels(keys.target, keys.mask, keys.weight)
    )


def _add_distance(pipeline: gp.Pipeline, name: str, settings: TargetSettings) -> gp.Pipeline:
    model, size = settings.model, settings.voxel_size
    labels, keys = LabelKeys.of(model.heads[name].labels), TargetKeys.of(name)
    scale = model.heads[name].distance_nm * settings.units_per_nm
    in_plane = model.dimensions == 2
    reach = Coordinate(0 if in_plane and axis == 0 else int(-(-3 * scale // each)) for axis, each in enumerate(size))
    return pipeline + AddVoxelTarget(
        labels.labels,
        labels.labelled,
        keys.target,
        keys.weight,
        lambda ids: distance(ids, size, scale, only_xy=in_plane),
        reach,
    )


_KINDS: Mapping[str, Callable[[gp.Pipeline, str, TargetSettings], gp.Pipeline]] = {
    "affinities": _add_affinities,
    "lsds": _add_descriptors,
    "foreground": _add_foreground,
    "contour": _add_contour,
    "distance": _add_distance,
}
