"""The picture of an experiment's augmentation: crops as they are, all parts together, each part alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import reflect
from catena.errors import ConfigError
from catena.nodes.augment_config import AugmentConfig
from catena.nodes.augment_parts import parts
from catena.nodes.augmentation import augment
from catena.training.dataset import crop_seed
from catena.viewing.contact_sheet import Panel, write_contact_sheet
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.crops import RAW, NeuronCrops, request_from
from local_shape_descriptors.heads import NEURONS
from local_shape_descriptors.targets import LabelKeys
from local_shape_descriptors.trainer import open_crops
from local_shape_descriptors.training_stage import training_volumes

_CONTEXT = 0.3
"""Fraction of the crop's edge that is read around it, for what is turned or deformed into it."""


def write_augmentation_sheet(config: LocalShapeDescriptorsConfig, path: Path, number: int = 4) -> Path:
    """Draw `number` of the crops that training would see, before and after augmentation.

    One column shows all parts as they are configured, each further column one part alone, in every
    crop; the section shown is one that this part changed.

    Raises
    ------
    CatenaError
        If there is nothing to train on, or data and configuration do not fit.
    """
    volumes = training_volumes(config)
    if not volumes:
        raise ConfigError("no volume has labels and a region 'train': there are no training crops to augment")
    crops = open_crops(volumes, config.model, config.train, config.augment)
    columns = {"all": crops.augment, **parts(crops.augment)}
    seeds = [crop_seed(config.seed, index, 0) for index in range(number)]
    rows = []
    for seed, plain in zip(seeds, plain_crops(crops, seeds), strict=True):
        before = Sections.of(crops, plain)
        after = [augmented_crop(crops, settings, plain, seed) for settings in columns.values()]
        rows.append([before.panel(before), *(each.panel(before) for each in after)])
    return write_contact_sheet(
        path,
        rows,
        ["crop", *columns],
        [f"seed {seed}" for seed in seeds],
        title=f"{config.experiment}: augmentation as configured (all), and each part alone in every crop",
    )


class Sections:
    """Raw and labels of one crop, both over the network's input."""

    def __init__(self, raw: NDArray[np.float32], labels: NDArray[Any]):
        self.raw = raw
        self.labels = labels

    @classmethod
    def of(cls, crops: NeuronCrops, batch: gp.Batch) -> Sections:
        """Cut what the network sees out of a batch that holds more."""
        arrays = (batch[key].crop(input_roi(crops)).data for key in (RAW, LabelKeys.of(NEURONS).labels))
        return cls(*arrays)

    def panel(self, before: Sections) -> Panel:
        """Return the section in the middle, or of those around it that differs most from `before`."""
        depth = len(self.raw)
        change = np.abs(self.raw - before.raw).mean(axis=(1, 2))
        near = np.arange(depth // 4, max(depth // 4 + 1, 3 * depth // 4))
        best = near[np.argmax(change[near])]
        section = int(best) if change[best] > 2 * np.median(change) else depth // 2
        return Panel(self.raw[section], self.labels[section])


def input_roi(crops: NeuronCrops) -> Roi:
    """Return where the network's input lies in a request."""
    return Roi(crops.output_begin * crops.voxel_size * -1, crops.input_shape * crops.voxel_size)


def plain_crops(crops: NeuronCrops, seeds: list[int]) -> list[gp.Batch]:
    """Return raw and labels at the place of each seed, with context."""
    margin = Coordinate(round(_CONTEXT * edge) for edge in crops.input_shape) * crops.voxel_size
    around = input_roi(crops).grow(margin, margin)
    batches = []
    with request_from(crops.plain_pipeline()) as ask:
        for seed in seeds:
            request = gp.BatchRequest(random_seed=seed)
            for key, role in {RAW: "image", **crops.label_roles}.items():
                # where labels are known is what a crop is accepted by, hence asked for in the target only
                request[key] = gp.ArraySpec(roi=crops.target if role == "mask" else around)
            batches.append(ask(request))
    return batches


class _OneCrop(gp.BatchProvider):
    """Provides the arrays of one batch, mirrored without end beyond its borders."""

    def __init__(self, batch: gp.Batch):
        self.batch = batch

    def setup(self) -> None:
        for key, array in self.batch.arrays.items():
            spec = array.spec.copy()
            spec.roi = Roi((None,) * 3, (None,) * 3)
            self.provides(key, spec)

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        batch = gp.Batch()
        for key, wanted in request.array_specs.items():
            array = self.batch[key]
            begin = (wanted.roi.begin - array.spec.roi.begin) / array.spec.voxel_size
            shape = wanted.roi.shape / array.spec.voxel_size
            indices = [
                reflect(np.arange(b, b + n), size) for b, n, size in zip(begin, shape, array.data.shape, strict=True)
            ]
            spec = array.spec.copy()
            spec.roi = wanted.roi
            batch[key] = gp.Array(array.data[np.ix_(*indices)], spec)
        return batch


def augmented_crop(crops: NeuronCrops, settings: AugmentConfig, plain: gp.Batch, seed: int) -> Sections:
    """Return a crop after the augmentation of `settings`, that within the training step included."""
    pipeline = augment(gp.Pipeline(_OneCrop(plain)), settings, RAW, crops.label_roles)
    request = gp.BatchRequest(random_seed=seed)
    for key in (RAW, *crops.label_roles):
        request[key] = gp.ArraySpec(roi=input_roi(crops))
    with request_from(pipeline) as ask:
        crop = Sections.of(crops, ask(request))
    in_step = replace(crops, augment=settings).in_step
    if in_step is None:
        return crop
    raw = in_step.open()(torch.from_numpy(np.ascontiguousarray(crop.raw))[None, None], [seed])
    return Sections(raw[0, 0].numpy(), crop.labels)
