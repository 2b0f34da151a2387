"""From volumes to training crops: raw, and per head of the network a target and its weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.augmentation.in_step import StepAugmentation
from catena.augmentation.roles import Role
from catena.errors import CatenaError
from catena.networks import AnyNetworkConfig
from catena.nodes.array_source import ArraySource, Convert
from catena.nodes.augment_config import AugmentConfig
from catena.nodes.augmentation import augment as augmented
from catena.nodes.intersect_masks import IntersectMasks
from catena.nodes.prepare_raw import PrepareRaw
from catena.nodes.random_location import RandomLocation
from catena.nodes.reject import RejectUnlabelled
from catena.training.dataset import Crop
from local_shape_descriptors.heads import NEURONS
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.step_targets import IN_STEP, Margin, StepTargets
from local_shape_descriptors.targets import LabelKeys, TargetKeys, TargetSettings, add_targets
from local_shape_descriptors.training_volumes import Source, everywhere, is_known, known_where_not_background, nowhere

RAW = gp.ArrayKey("RAW")
MASK = gp.ArrayKey("LABELS_MASK")


@dataclass(frozen=True)
class NeuronCrops:
    """Opens the pipeline from raw and labels to crops; see :data:`catena.training.dataset.OpenCrops`.

    Requests place the target's first voxel at the origin: raw begins `output_begin` voxels before it.
    """

    sources: tuple[Source, ...]
    network: AnyNetworkConfig
    model: ModelConfig
    augment: AugmentConfig
    voxel_size: Coordinate
    units_per_nm: int
    input_shape: Coordinate
    output_shape: Coordinate
    output_begin: Coordinate
    min_labelled: float
    targets_in_step: bool = False

    @contextmanager
    def __call__(self) -> Iterator[Callable[[int], Crop]]:
        """Open the arrays and yield the function from seed to crop."""
        with request_from(self.pipeline()) as ask:
            yield lambda seed: self._crop(ask(self.request(seed)))

    @property
    def target(self) -> Roi:
        """Where the network's output lies in a request."""
        return Roi((0, 0, 0), self.output_shape * self.voxel_size)

    @property
    def in_step(self) -> StepAugmentation | None:
        """What is left of augmentation to the training step."""
        extras = self.augment.within_step
        z, y, x = (float(each) for each in self.voxel_size)
        return StepAugmentation(extras, (z, y, x)) if extras else None

    @property
    def step_targets(self) -> StepTargets | None:
        """What is left of targets to the training step."""
        heads = [name for name, head in self.model.heads.items() if self.targets_in_step and head.target in IN_STEP]
        return StepTargets(replace(self._settings, model=self.model.only(heads))) if heads else None

    @property
    def _with_crops(self) -> ModelConfig:
        """The model with those heads whose targets come with the crops."""
        later = self.step_targets
        return self.model.only(self.model.heads.keys() - later.settings.model.heads.keys()) if later else self.model

    @property
    def _settings(self) -> TargetSettings:
        return TargetSettings(self.model, self.voxel_size, self.units_per_nm)

    @property
    def label_roles(self) -> dict[gp.ArrayKey, Role]:
        """What the arrays beside raw are: ids, and where they are known, of all labels there are."""
        roles: dict[gp.ArrayKey, Role] = {}
        for name in self.model.labels():
            keys = LabelKeys.of(name)
            roles |= {keys.labels: "labels", keys.labelled: "mask"}
        return roles

    def pipeline(self) -> gp.Pipeline:
        """Return the pipeline: volumes, location, augmentation, targets, weights."""
        pipeline = augmented(self.plain_pipeline(), self.augment, RAW, self.label_roles)
        # of all heads: random numbers follow from the seed and the number of nodes it passes
        return add_targets(pipeline, self._settings)

    def plain_pipeline(self) -> gp.Pipeline:
        """Return the part of the pipeline before augmentation: raw and labels of crops that are accepted."""
        branches = tuple(self._branch(source) for source in self.sources)
        if len(branches) == 1:
            return branches[0]
        return branches + gp.RandomProvider([source.weight for source in self.sources])

    def _branch(self, source: Source) -> gp.Pipeline:
        """Return what leads from one volume's arrays to crops of it."""
        volume, names = source.volume, self.model.labels()
        arrays = [self._source(source, RAW, volume.raw, source.raw_region, interpolatable=True)]
        for name in names:
            arrays += self._labels(source, name)
        if volume.labels_mask is not None:
            arrays.append(self._known(source, MASK, volume.labels_mask, known_where_not_background))
        pipeline = tuple(arrays) + gp.MergeProvider()
        if volume.labels_mask is not None:
            for name in names:
                pipeline += IntersectMasks(LabelKeys.of(name).labelled, MASK)
        return (
            pipeline
            + PrepareRaw(RAW, name=volume.raw)
            + RandomLocation(source.labelled, self.target)
            + RejectUnlabelled(LabelKeys.of(names[0]).labelled, self.min_labelled, volume.name)
        )

    def _labels(self, source: Source, name: str) -> list[ArraySource]:
        """Return the sources of one kind of labels: the ids, and where they are known."""
        volume, keys = source.volume, LabelKeys.of(name)
        if name == NEURONS:
            path, convert, known = volume.labels, None, is_known(volume)
        elif name in volume.other_labels:  # what is none of these objects is known to be none
            path, convert, known = volume.other_labels[name], None, everywhere
        else:  # this volume says nothing of them
            path, convert, known = volume.labels, np.zeros_like, nowhere
        return [
            self._source(source, keys.labels, path, source.labels_region, convert=convert),
            self._known(source, keys.labelled, path, known),
        ]

    def _known(self, source: Source, key: gp.ArrayKey, path: str, known: Convert) -> ArraySource:
        return self._source(source, key, path, source.labels_region, beyond="zero", convert=known)

    def _source(self, source: Source, key: gp.ArrayKey, path: str, region: Roi, **settings: Any) -> ArraySource:
        return ArraySource(
            key,
            path,
            region=region,
            units_per_nm=self.units_per_nm,
            voxel_size_nm=source.volume.voxel_size_nm,
            **{"interpolatable": False, **settings},
        )

    def request(self, seed: int) -> gp.BatchRequest:
        """Return the request for the crop of a seed."""
        request = gp.BatchRequest(random_seed=seed)
        begin = self.output_begin * self.voxel_size * -1
        request[RAW] = gp.ArraySpec(roi=Roi(begin, self.input_shape * self.voxel_size))
        for head in self._with_crops.heads:
            keys = TargetKeys.of(head)
            for key in (keys.target, keys.weight):
                request[key] = gp.ArraySpec(roi=self.target)
        for key, margin in self._for_step.values():
            before, behind = (each * self.voxel_size for each in (margin.before, margin.behind))
            request[key] = gp.ArraySpec(roi=self.target.grow(before, behind))
        return request

    @property
    def _for_step(self) -> dict[str, tuple[gp.ArrayKey, Margin]]:
        """By name the labels that the training step makes targets of, and how far around these it needs them."""
        later = self.step_targets
        wanted: dict[str, tuple[gp.ArrayKey, Margin]] = {}
        if later is not None:
            for name in later.settings.model.labels():
                keys, (of_labels, of_known) = LabelKeys.of(name), later.margins(name)
                wanted |= {f"labels_{name}": (keys.labels, of_labels), f"labelled_{name}": (keys.labelled, of_known)}
        return wanted

    def _crop(self, batch: gp.Batch) -> Crop:
        heads = {head: TargetKeys.of(head) for head in self._with_crops.heads}
        return Crop(
            raw=batch[RAW].data[None],
            targets={head: batch[keys.target].data.astype(np.float32) for head, keys in heads.items()},
            weights={head: batch[keys.weight].data for head, keys in heads.items()},
            labels={name: _signed(batch[key].data) for name, (key, _) in self._for_step.items()},
        )


def _signed(labels: NDArray[Any]) -> NDArray[np.signedinteger]:
    """Return labels in a type that torch computes with; those of uint64 as the same bits."""
    signed: NDArray[np.signedinteger] = labels.view(f"i{labels.itemsize}")
    return signed


@contextmanager
def request_from(pipeline: gp.Pipeline) -> Iterator[Callable[[gp.BatchRequest], gp.Batch]]:
    """Build a pipeline, and yield what asks it for batches; errors of ours come out of it as they were raised."""

    def ask(request: gp.BatchRequest) -> gp.Batch:
        try:
            return pipeline.request_batch(request)
        except gp.pipeline.PipelineRequestError as error:
            raise _cause(error) from None

    try:
        with gp.build(pipeline) as pipeline:
            yield ask
    except gp.pipeline.PipelineSetupError as error:
        raise _cause(error) from None


def _cause(error: BaseException) -> BaseException:
    """Return what gunpowder wrapped, if it is an error of ours: that is what helps the user."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, CatenaError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error
