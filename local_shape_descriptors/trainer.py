"""Train a network to predict affinities, local shape descriptors, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array, open_array
from catena.errors import CatenaError, ConfigError, DataError, GeometryError
from catena.inference.preparation import check_raw
from catena.networks import UNetShapes
from catena.nodes.add_affinities import AddAffinities
from catena.nodes.add_shape_descriptors import AddShapeDescriptors
from catena.nodes.array_source import ArraySource
from catena.nodes.augment_config import AugmentConfig, is_anisotropic
from catena.nodes.augmentation import augment as augmented
from catena.nodes.balance_labels import BalanceLabels
from catena.nodes.erode_boundaries import ErodeBoundaries
from catena.nodes.intersect_masks import IntersectMasks
from catena.nodes.prepare_raw import PrepareRaw
from catena.nodes.random_location import RandomLocation
from catena.nodes.reject import RejectUnlabelled
from catena.training.config import TrainConfig, TrainExecution
from catena.training.dataset import Crop
from catena.training.loop import Progress, Trained, Validate
from catena.training.loop import train as train_network
from local_shape_descriptors.config import ModelConfig

RAW = gp.ArrayKey("RAW")
LABELS = gp.ArrayKey("LABELS")
MASK = gp.ArrayKey("LABELS_MASK")
LABELLED = gp.ArrayKey("LABELLED")
ERODED = gp.ArrayKey("ERODED")
AFFINITIES = gp.ArrayKey("AFFINITIES")
AFFINITIES_MASK = gp.ArrayKey("AFFINITIES_MASK")
AFFINITIES_WEIGHT = gp.ArrayKey("AFFINITIES_WEIGHT")
LSDS = gp.ArrayKey("LSDS")
LSDS_WEIGHT = gp.ArrayKey("LSDS_WEIGHT")

TARGETS = {"affinities": (AFFINITIES, AFFINITIES_WEIGHT), "lsds": (LSDS, LSDS_WEIGHT)}
"""Per head: keys of its target and of its weight."""

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
    weight
        Share of the crops. Default: the number of labelled voxels' bounding box.
    voxel_size_nm
        For data that carry none.
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


def train(
    volumes: Sequence[TrainingVolume],
    folder: str | Path,
    model: ModelConfig | None = None,
    config: TrainConfig | None = None,
    augment: AugmentConfig | None = None,
    *,
    seed: int = 0,
    execution: TrainExecution | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
    user_config: Mapping[str, Any] | None = None,
) -> Trained:
    """Train on ground truth, from the latest checkpoint in `folder` on.

    Crops lie anywhere in the labelled part of a volume, however small that is: beyond a volume's
    region raw and labels are mirrored, and only voxels inside, whose label is known, enter the loss.

    Parameters
    ----------
    volumes
        All of one voxel size.
    folder
        Receives ``checkpoints/``, ``tensorboard/`` and ``losses.csv``.
    model, config, augment
        What to train, how long and how fast, and how crops are varied.
    seed
        Batch i is a function of (seed, i).
    execution
        Device, data workers, threads, how often to write: none of it changes the result.
    validate
        Scores a network (see :func:`catena.training.train`).
    progress
        Called with iterations done, iterations in all, and a few words.
    user_config
        Plain values kept in every checkpoint.

    Returns
    -------
    Trained
        The best checkpoint and what is known about it.

    Raises
    ------
    CatenaError
        Whatever is wrong with data, configuration or disk; see :func:`catena.training.train`.

    Examples
    --------
    >>> volume = TrainingVolume("em.zarr/volumes/raw", "em.zarr/volumes/labels/neuron_ids")
    >>> trained = train([volume], "runs/em", config=TrainConfig(iterations=2000))  # doctest: +SKIP
    """
    model, config = model or ModelConfig(), config or TrainConfig()
    sources = [open_source(volume) for volume in volumes]
    voxel_size, units_per_nm = common_voxel_size(sources)
    network_config = model.network(voxel_size)
    shapes = UNetShapes(network_config.unet)
    input_shape = Coordinate(config.input_shape_vox or default_input_shape(shapes, voxel_size))
    crops = NeuronCrops(
        sources=tuple(each.in_units(units_per_nm) for each in sources),
        model=model,
        augment=(augment or AugmentConfig()).resolved(voxel_size),
        voxel_size=voxel_size,
        units_per_nm=units_per_nm,
        input_shape=input_shape,
        output_shape=shapes.output_shape_vox(input_shape),
        output_begin=shapes.output_begin_vox(input_shape),
        min_labelled=config.min_labelled,
    )
    return train_network(
        network_config,
        crops,
        folder,
        config,
        seed=seed,
        execution=execution,
        validate=validate,
        progress=progress,
        user_config=user_config,
    )


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
        for path in (volume.raw, volume.labels, volume.labels_mask)
        if path is not None
    ]
    units = max(each.units_per_nm for each in arrays)
    raw, labels, *mask = (each.in_units(units) for each in arrays)
    for each in (labels, *mask):
        if each.voxel_size != raw.voxel_size:
            raise GeometryError(
                f"{volume.name}: {each.path} has a voxel size of {each.voxel_size_nm} nm, {raw.path} of "
                f"{raw.voxel_size_nm} nm; resample one of them"
            )
    if raw.channels is not None or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{volume.name}: expected raw (z, y, x) and integer labels, found {raw.axis_names} and {labels.dtype}"
        )
    region = volume.region or raw.roi
    known = region.intersect(labels.roi)
    for each in mask:
        known = known.intersect(each.roi)
    if region.intersect(raw.roi).empty or known.empty:
        raise GeometryError(f"{volume.name}: raw {raw.roi}, labels {labels.roi} and the region {region} do not overlap")
    labelled = labelled_box(labels, known, mask[0] if mask else None, volume)
    sample = centre_of(region.intersect(raw.roi), _SAMPLE_VOX, raw.voxel_size)
    check_raw(raw.read(sample), where=f"{volume.name}: {raw.path}")
    return Source(volume, raw.voxel_size, units, region.intersect(raw.roi), known, labelled)


def centre_of(roi: Roi, shape_vox: Coordinate, voxel_size: Coordinate) -> Roi:
    """Return the box of at most `shape_vox` voxels in the middle of `roi`, on its voxel grid."""
    size = roi.shape / voxel_size
    shape = Coordinate(min(each) for each in zip(size, shape_vox, strict=True))
    return Roi(roi.begin + (size - shape) / 2 * voxel_size, shape * voxel_size)


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
    return _everywhere if volume.background_labelled else _not_background


def _everywhere(labels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ones(labels.shape, np.uint8)


def _not_background(values: NDArray[Any]) -> NDArray[np.uint8]:
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


def default_input_shape(shapes: UNetShapes, voxel_size: Coordinate) -> Coordinate:
    """Return the network input whose output is about 64 voxels wide, or 16 sections of 96 pixels."""
    return shapes.input_shape_vox(Coordinate(16, 96, 96) if is_anisotropic(voxel_size) else Coordinate(64, 64, 64))


@dataclass(frozen=True)
class NeuronCrops:
    """Opens the pipeline from raw and labels to crops; see :data:`catena.training.dataset.OpenCrops`.

    Requests place the target's first voxel at the origin: raw begins `output_begin` voxels before it.
    """

    sources: tuple[Source, ...]
    model: ModelConfig
    augment: AugmentConfig
    voxel_size: Coordinate
    units_per_nm: int
    input_shape: Coordinate
    output_shape: Coordinate
    output_begin: Coordinate
    min_labelled: float

    @contextmanager
    def __call__(self) -> Iterator[Callable[[int], Crop]]:
        """Open the arrays and yield the function from seed to crop."""
        try:
            with gp.build(self.pipeline()) as pipeline:
                yield lambda seed: self._crop(pipeline, seed)
        except gp.pipeline.PipelineSetupError as error:
            raise _cause(error) from None

    @property
    def target(self) -> Roi:
        """Where the network's output lies in a request."""
        return Roi((0, 0, 0), self.output_shape * self.voxel_size)

    def pipeline(self) -> gp.Pipeline:
        """Return the pipeline: volumes, location, augmentation, targets, weights."""
        branches = tuple(self._branch(source) for source in self.sources)
        if len(branches) == 1:
            pipeline = branches[0]
        else:
            pipeline = branches + gp.RandomProvider([source.weight for source in self.sources])
        pipeline = augmented(pipeline, self.augment, RAW)
        return (
            pipeline
            + ErodeBoundaries(LABELS, ERODED, only_xy=is_anisotropic(self.voxel_size))
            + AddAffinities(
                ERODED, LABELLED, [Coordinate(each) for each in self.model.neighbourhood], AFFINITIES, AFFINITIES_MASK
            )
            + AddShapeDescriptors(
                LABELS,
                ERODED,
                LABELLED,
                LSDS,
                LSDS_WEIGHT,
                sigma=self.model.lsd_sigma_nm * self.units_per_nm,
                downsample=self.model.lsd_downsample,
            )
            + BalanceLabels(AFFINITIES, AFFINITIES_MASK, AFFINITIES_WEIGHT)
        )

    def _branch(self, source: Source) -> gp.Pipeline:
        """Return what leads from one volume's arrays to crops of it."""
        volume = source.volume

        def read(key: gp.ArrayKey, path: str, region: Roi, **settings: Any) -> ArraySource:
            return ArraySource(
                key,
                path,
                region=region,
                units_per_nm=self.units_per_nm,
                voxel_size_nm=volume.voxel_size_nm,
                **{"interpolatable": False, **settings},
            )

        arrays = [
            read(RAW, volume.raw, source.raw_region, interpolatable=True),
            read(LABELS, volume.labels, source.labels_region),
            read(LABELLED, volume.labels, source.labels_region, beyond="zero", convert=is_known(volume)),
        ]
        if volume.labels_mask is not None:
            mask = read(MASK, volume.labels_mask, source.labels_region, beyond="zero", convert=_not_background)
            arrays.append(mask)
        pipeline = tuple(arrays) + gp.MergeProvider()
        if volume.labels_mask is not None:
            pipeline += IntersectMasks(LABELLED, MASK)
        return (
            pipeline
            + PrepareRaw(RAW, name=volume.raw)
            + RandomLocation(source.labelled, self.target)
            + RejectUnlabelled(LABELLED, self.min_labelled, volume.name)
        )

    def request(self, seed: int) -> gp.BatchRequest:
        """Return the request for the crop of a seed."""
        request = gp.BatchRequest(random_seed=seed)
        begin = self.output_begin * self.voxel_size * -1
        request[RAW] = gp.ArraySpec(roi=Roi(begin, self.input_shape * self.voxel_size))
        for head in self.model.heads:
            for key in TARGETS[head]:
                request[key] = gp.ArraySpec(roi=self.target)
        return request

    def _crop(self, pipeline: gp.Pipeline, seed: int) -> Crop:
        try:
            batch = pipeline.request_batch(self.request(seed))
        except gp.pipeline.PipelineRequestError as error:
            raise _cause(error) from None
        heads = {head: TARGETS[head] for head in self.model.heads}
        return Crop(
            raw=batch[RAW].data[None],
            targets={head: batch[target].data.astype(np.float32) for head, (target, _) in heads.items()},
            weights={head: batch[weight].data for head, (_, weight) in heads.items()},
        )


def _cause(error: BaseException) -> BaseException:
    """Return what gunpowder wrapped, if it is an error of ours: that is what helps the user."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, CatenaError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error
