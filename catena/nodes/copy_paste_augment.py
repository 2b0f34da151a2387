"""Copy objects of a crop to other places of it, in image and labels together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gunpowder as gp
import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from catena.nodes.augment_config import CopyPasteConfig

_STREAM = 5
_TRIES = 10
_SMALLEST_PART = 0.25
_RIM = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], bool)


class CopyPasteAugment(gp.BatchFilter):
    """Copy objects, with the voxels that surround them in plane, to another place of the crop.

    The copy is a new object with an id of its own. An object that it cuts in two keeps its id in both pieces, as a
    neuron does whose branches meet outside the crop. Targets must be computed after this node.

    Parameters
    ----------
    raw, labels
        Keys of the image and of the labels whose objects are copied, of one voxel size.
    config
        Settings.
    mirror_axes
        Axes along which a copy may be mirrored.
    along
        Further arrays, such as masks, that are copied where the labels are.
    """

    def __init__(
        self,
        raw: gp.ArrayKey,
        labels: gp.ArrayKey,
        config: CopyPasteConfig,
        mirror_axes: tuple[int, ...] = (0, 1, 2),
        along: tuple[gp.ArrayKey, ...] = (),
    ):
        self.raw = raw
        self.labels = labels
        self.config = config
        self.mirror_axes = mirror_axes
        self.along = along

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Paste within the box that all arrays share."""
        keys = [key for key in (self.raw, self.labels, *self.along) if key in batch]
        if self.labels not in keys:
            return
        shared = batch[keys[0]].spec.roi
        for key in keys[1:]:
            shared = shared.intersect(batch[key].spec.roi)
        rng = np.random.default_rng([request.random_seed, _STREAM])
        views = {key: array.data[_inside(array, shared)] for key, array in batch.arrays.items() if key in keys}
        taken = np.unique(batch[self.labels].data)  # ids beyond the shared box as well: one id is one object
        pastes = draw_pastes(rng, views[self.labels], self.config, self.mirror_axes, taken)
        for key in keys if pastes else []:
            data = batch[key].data.copy()
            view = data[_inside(batch[key], shared)]
            view[...] = _pasted(key, self.raw, self.labels, views[key], pastes)
            batch[key].data = data


def _inside(array: Any, roi: Roi) -> tuple[slice, ...]:
    box: tuple[slice, ...] = ((roi - array.spec.roi.begin) / array.spec.voxel_size).to_slices()
    return box


def _pasted(
    key: gp.ArrayKey, raw: gp.ArrayKey, labels: gp.ArrayKey, values: NDArray[Any], pastes: list[Paste]
) -> NDArray[Any]:
    if key == labels:
        return paste_labels(values, pastes)
    return paste(values, pastes, with_rim=key == raw)


@dataclass(frozen=True)
class Paste:
    """Where voxels of an object come from and go to.

    Attributes
    ----------
    source, target
        Three index arrays each, ``z, y, x``, of the object's voxels, in one order.
    rim_source, rim_target
        The same, with the voxels around the object in plane (its membrane) as well.
    new_id
        Label of the copy.
    """

    source: tuple[NDArray[np.intp], ...]
    target: tuple[NDArray[np.intp], ...]
    rim_source: tuple[NDArray[np.intp], ...]
    rim_target: tuple[NDArray[np.intp], ...]
    new_id: int


def draw_pastes(
    rng: np.random.Generator,
    labels: NDArray[Any],
    config: CopyPasteConfig,
    mirror_axes: tuple[int, ...],
    taken: NDArray[Any],
) -> list[Paste]:
    """Choose objects of `labels` ``(z, y, x)``, and for each where its copy goes.

    Of several places tried, the first in which a quarter of the object or more lies in the crop is
    chosen; what lies outside is left out. Copies get ids that are not in `taken`, all ids there are.
    """
    if rng.random() >= config.probability:
        return []
    ids, counts = np.unique(labels, return_counts=True)
    fit = (ids != 0) & (counts >= config.min_voxels) & (counts <= config.max_fraction * labels.size)
    chosen = rng.permutation(ids[fit])[: int(rng.integers(1, config.max_objects + 1))]
    axes = mirror_axes if config.mirror else ()
    return [
        _draw_paste(rng, labels == each, new_id, axes)
        for each, new_id in zip(chosen, unused_ids(taken, len(chosen)), strict=True)
    ]


def unused_ids(ids: NDArray[Any], count: int) -> list[int]:
    """Return the `count` smallest positive integers that are not in `ids`; they fit into any dtype."""
    free = np.setdiff1d(np.arange(1, len(ids) + count + 1, dtype=np.uint64), ids.astype(np.uint64))
    return [int(each) for each in free[:count]]


def _draw_paste(rng: np.random.Generator, inside: NDArray[np.bool_], new_id: int, axes: tuple[int, ...]) -> Paste:
    shape = np.array(inside.shape)[:, None]
    source = np.array(np.nonzero(inside))
    rim = np.array(np.nonzero(binary_dilation(inside, _RIM)))
    low, high = source.min(axis=1, keepdims=True), source.max(axis=1, keepdims=True)
    mirrored = np.zeros((3, 1), bool)
    mirrored[list(axes)] = rng.random((len(axes), 1)) < 0.5
    for _ in range(_TRIES):
        half = (high - low) // 2
        offset = rng.integers(-half, shape - half) - low
        target = np.where(mirrored, low + high - source, source) + offset
        kept = ((target >= 0) & (target < shape)).all(axis=0)
        if kept.mean() >= _SMALLEST_PART:
            break
    rim_target = np.where(mirrored, low + high - rim, rim) + offset
    rim_kept = ((rim_target >= 0) & (rim_target < shape)).all(axis=0)
    return Paste(
        source=tuple(source[:, kept]),
        target=tuple(target[:, kept]),
        rim_source=tuple(rim[:, rim_kept]),
        rim_target=tuple(rim_target[:, rim_kept]),
        new_id=new_id,
    )


def paste(values: NDArray[Any], pastes: list[Paste], *, with_rim: bool = False) -> NDArray[Any]:
    """Return `values` ``(z, y, x)`` with the voxels of each paste replaced by those they are copied from."""
    pasted = values.copy()
    for each in pastes:
        source, target = (each.rim_source, each.rim_target) if with_rim else (each.source, each.target)
        pasted[target] = values[source]
    return pasted


def paste_labels(labels: NDArray[Any], pastes: list[Paste]) -> NDArray[Any]:
    """Return `labels` ``(z, y, x)`` with each copy under its own new id."""
    pasted = labels.copy()
    for each in pastes:
        pasted[each.target] = each.new_id
    return pasted
