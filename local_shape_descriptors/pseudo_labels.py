"""Self-training: segmentations of another experiment as labels, where its affinities are sure of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array, create_array, open_array
from catena.config import load_yaml
from catena.errors import ArrayNotFoundError, ConfigError
from catena.experiment import VolumeConfig
from catena.nodes.augment_config import is_anisotropic
from catena.segmentation.boundary import quantise, short_range_channels
from catena.targets import affinities as affinities_of
from catena.targets import erode_boundaries
from catena.task import Given, Input, Job, Made, Output, Progress, Stage, StageReport
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, PseudoLabelsConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.geometry import block_slices
from local_shape_descriptors.objects import NEURONS
from local_shape_descriptors.super_predicter_daisy import predicted_array

if TYPE_CHECKING:
    from local_shape_descriptors.training_volumes import TrainingVolume

Settings = LocalShapeDescriptorsConfig
FOLDER = "pseudo_labels"
MASK = "volumes/labels_mask"
CONTEXT = 2
"""Voxels on every side on which a voxel's confidence depends: its neighbour's rim."""


@dataclass(frozen=True)
class Segmented:
    """A volume that another experiment has segmented: where raw, segmentation and affinities are."""

    name: str
    raw: str
    segmentation: str
    affinities: str
    voxel_size_nm: tuple[Any, Any, Any] | None


class PseudoLabelsStage(Stage):
    """Mark where the affinities of another experiment are sure of its segmentation."""

    name, version, per_volume = "pseudo_labels", 1, False

    def applies(self, config: Settings, volume: str) -> bool:
        """Where training asks for it."""
        return config.train.pseudo_labels is not None

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return segmentation and affinities of every volume."""
        inputs: dict[str, Input] = {}
        for each in segmented_elsewhere(config):
            inputs[f"{each.name}.segmentation"] = Given(each.segmentation)
            inputs[f"{each.name}.affinities"] = Given(each.affinities, voxel_size_nm=each.voxel_size_nm)
        return inputs

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the folder of masks, a container for each volume."""
        return {"masks": Output(FOLDER, "folder")}

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return from where on is sure enough."""
        return {"min_confidence": _asked(config).min_confidence}

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Write a mask for each volume, slab by slab; what a killed run left of them is written anew."""
        config = settings_of(job)
        volumes = segmented_elsewhere(config)
        folder = job.staged(self.outputs(config, "")["masks"])
        fractions = {}
        for done, each in enumerate(volumes):
            progress(done, len(volumes), each.name)
            path = folder / f"{each.name}.zarr" / MASK
            fractions[f"{each.name}_confident"] = write_mask(each, path, _asked(config).min_confidence)
        return StageReport(figures=fractions)


def _asked(config: Settings) -> PseudoLabelsConfig:
    if config.train.pseudo_labels is None:
        raise ConfigError("train.pseudo_labels is not given")
    return config.train.pseudo_labels


def pseudo_inputs(config: Settings) -> dict[str, Input]:
    """Return what training reads of the volumes that another experiment has segmented."""
    if config.train.pseudo_labels is None:
        return {}
    inputs: dict[str, Input] = {f"{FOLDER}.masks": Made(PseudoLabelsStage.name, "masks", "")}
    for each in segmented_elsewhere(config):
        inputs[f"{FOLDER}.{each.name}.raw"] = Given(each.raw, voxel_size_nm=each.voxel_size_nm)
        inputs[f"{FOLDER}.{each.name}.labels"] = Given(each.segmentation)
    return inputs


def pseudo_labelled(config: Settings) -> list[TrainingVolume]:
    """Return the volumes to train on beside those with ground truth, once their masks are made."""
    from local_shape_descriptors.training_volumes import TrainingVolume

    if config.train.pseudo_labels is None:
        return []
    return [
        TrainingVolume(
            each.raw,
            each.segmentation,
            str(config.folder / FOLDER / f"{each.name}.zarr" / MASK),
            voxel_size_nm=each.voxel_size_nm,
            name=f"train.pseudo_labels: {each.name}",
            share=_asked(config).share,
        )
        for each in segmented_elsewhere(config)
    ]


def segmented_elsewhere(config: Settings) -> list[Segmented]:
    """Return the volumes that training asks for.

    Raises
    ------
    ConfigError
        If there is no such experiment or volume, it is not segmented yet, or it is one on which this experiment
        validates or tests.
    """
    asked = _asked(config)
    folder = Path(config.output) / asked.experiment
    other = _other(config, folder)
    found = []
    for name in asked.volumes:
        if name not in other.volumes:
            raise ConfigError(
                f"train.pseudo_labels: experiment {asked.experiment} has no volume '{name}'; it has: "
                f"{', '.join(other.volumes)}"
            )
        _require_unseen(config, name, other.volume(name))
        found.append(_segmented(folder, name, other.volume(name)))
    return found


def _other(config: Settings, folder: Path) -> Settings:
    saved = folder / "config.yaml"
    if folder.name == config.experiment:
        raise ConfigError("train.pseudo_labels.from names this experiment itself; train another one on its labels")
    if not saved.exists():
        there = sorted(path.parent.name for path in folder.parent.glob("*/config.yaml")) or ["none"]
        raise ConfigError(
            f"train.pseudo_labels.from: there is no experiment {folder.name} in {folder.parent}; there are: "
            f"{', '.join(there)}"
        )
    return Settings.parse(load_yaml(saved), str(saved))


def _segmented(folder: Path, name: str, settings: VolumeConfig) -> Segmented:
    container = folder / "volumes" / name / "volume.zarr"
    segmentation = str(container / f"volumes/{NEURONS.segmentation_array}")
    affinities = settings.inputs.affinities or str(container / predicted_array(NEURONS.head))
    for path in (segmentation, affinities):
        try:
            open_array(path, voxel_size_nm=settings.voxel_size_nm)
        except ArrayNotFoundError as error:
            raise ConfigError(
                f"train.pseudo_labels: experiment {folder.name} has no pseudo-labels of volume {name}: there is no "
                f"{path}; run: catena segment {folder / 'config.yaml'} --volume {name}"
            ) from error
    if settings.raw is None:
        raise ConfigError(f"train.pseudo_labels: volume {name} of experiment {folder.name} has no raw to train on")
    return Segmented(name, settings.raw, segmentation, affinities, settings.voxel_size_nm)


def _require_unseen(config: Settings, name: str, other: VolumeConfig) -> None:
    """Refuse to train on what is validated or tested on."""
    for own, settings in config.volumes.items():
        held_out = [region for region in ("validation", "test") if region in settings.regions]
        if held_out and settings.shares_data(other):
            raise ConfigError(
                f"train.pseudo_labels: volume {name} is volumes.{own}, whose regions {' and '.join(held_out)} must not "
                "be trained on; take a volume without them"
            )


def write_mask(volume: Segmented, path: Path, min_confidence: float) -> float:
    """Write 1 where the segmentation of a volume is sure, else 0; return the fraction of voxels that are."""
    labels = open_array(volume.segmentation)
    affinities = open_array(volume.affinities, voxel_size_nm=volume.voxel_size_nm).in_units(labels.units_per_nm)
    mask = create_array(
        path,
        roi=labels.roi,
        voxel_size=labels.voxel_size,
        dtype="uint8",
        chunk_shape_vox=labels.chunk_shape_vox,
        units_per_nm=labels.units_per_nm,
        overwrite=True,
    )
    offsets = affinities.affinity_offsets
    only_xy = is_anisotropic(labels.voxel_size)
    reach = Coordinate(CONTEXT * labels.voxel_size[0], 0, 0)
    sure = 0
    for roi in _slabs(labels):
        read = roi.grow(reach, reach).intersect(labels.roi)
        stored = quantise(affinities.read(read, outside="zero"))  # those given may be floats
        found = confidence(stored, offsets, labels.read(read), only_xy=only_xy)
        values = found[block_slices(roi, read, labels.voxel_size)] >= min_confidence
        mask.write(roi, values.astype(np.uint8))
        sure += int(values.sum())
    return sure / int(np.prod(labels.shape_vox))


def _slabs(array: Array) -> Iterator[Roi]:
    depth = array.chunk_shape_vox[0] * array.voxel_size[0]
    for begin in range(array.roi.begin[0], array.roi.end[0], depth):
        end = min(begin + depth, array.roi.end[0])
        yield Roi((begin, *array.roi.begin[1:]), (end - begin, *array.roi.shape[1:]))


def confidence(
    affinities: NDArray[np.uint8], offsets: Sequence[Coordinate], labels: NDArray[np.uint64], *, only_xy: bool = False
) -> NDArray[np.float32]:
    """Return how surely affinities say what training on a segmentation would ask of them.

    Where training would ask for 1 (both voxels in one segment, away from its rim, which training erodes) an affinity a
    says so with 2a - 1, where it would ask for 0 with 1 - 2a. A voxel's confidence is the mean over its short-range
    affinities: 1 where all agree and are sure, about 0 where they are undecided, negative where they contradict, as
    along a membrane inside a segment that was merged in error.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8, value times 255.
    offsets
        Of every channel, in voxels; only the short-range ones are looked at.
    labels
        (z, y, x) segments.
    only_xy
        Rims are eroded in plane only, as training does with anisotropic data.

    Returns
    -------
    NDArray[np.float32]
        (z, y, x) in [-1, 1]; -1 where there is no segment. Affinities to voxels outside the array are left out. A value
        depends on the labels at most `CONTEXT` voxels away.

    Raises
    ------
    GeometryError
        If a short-range offset is missing.

    Examples
    --------
    Three voxels of one segment and two of another, whose rims are a voxel wide; affinities that agree:

    >>> labels = np.array([[[1, 1, 1, 2, 2]]], np.uint64)
    >>> affinities = np.array([[[[0] * 5]], [[[0] * 5]], [[[0, 255, 0, 0, 0]]]], np.uint8)
    >>> offsets = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
    >>> confidence(affinities, offsets, labels).tolist()
    [[[0.0, 1.0, 1.0, 1.0, 1.0]]]
    """
    short = short_range_channels(offsets, affinities.shape[0])
    eroded = erode_boundaries(labels, only_xy=only_xy or short.z is None)
    wanted, known = affinities_of(eroded, [offsets[channel] for channel in short.all])
    total = np.zeros(labels.shape, np.float32)
    for channel, want, where in zip(short.all, wanted, known, strict=True):
        sign = np.where(want, np.float32(1), np.float32(-1)) * where
        total += (affinities[channel] * np.float32(2 / 255) - np.float32(1)) * sign
    total /= np.maximum(known.sum(axis=0, dtype=np.float32), 1)
    total[labels == 0] = -1
    return total
