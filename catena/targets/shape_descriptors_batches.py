"""Objects on a torch device, and batches of those of similar extent."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from catena.targets.shape_descriptors_settings import DescriptorSettings
from catena.targets.shape_descriptors_windows import BallWindow

BATCH_BYTES = 2**29
"""Memory that a batch may take, about; a single object may take more."""

Shape: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Objects:
    """All objects of a batch of label volumes, numbered from 1."""

    shape: tuple[int, int, int, int]
    """Members and voxels z, y, x that are described."""

    per_member: int
    """How many numbers each member has to itself."""

    strided: torch.Tensor
    """``(b, z, y, x)`` numbers of the objects at every n-th voxel, 0 elsewhere."""

    voxels: torch.Tensor
    """Flat indices into `shape` of all voxels of objects."""

    owners: torch.Tensor
    """The number of the object that each belongs to."""

    positions: torch.Tensor
    """``(voxels, 3)``: the voxel of `strided` that stands for each."""


@dataclass(frozen=True)
class Batch:
    """Objects whose boxes are given the same extents; boxes are on the grid of `Objects.strided`."""

    masks: torch.Tensor
    """``(objects, z, y, x)`` bool: the object within its source box, where moments are taken of it."""

    sources: torch.Tensor
    """``(objects, 3)``: begins of these boxes."""

    targets: torch.Tensor
    """``(objects, 3)``: begins of the target boxes, in which moments are wanted."""

    target_shape: Shape
    chosen: torch.Tensor
    """Which of `Objects.voxels` belong to these objects."""

    members: torch.Tensor
    """To which of them each belongs."""

    @property
    def source_shape(self) -> Shape:
        """Extent of the source boxes."""
        _, z, y, x = self.masks.shape
        return z, y, x


def find_objects(volumes: torch.Tensor, settings: DescriptorSettings, subset: Collection[int] | None) -> Objects:
    """Number the objects of ``(b, z, y, x)`` labels; `subset` are the labels that count, all by default."""
    signed = volumes.view(torch.int64) if volumes.dtype == torch.uint64 else volumes.to(torch.int64)
    inner, seen = signed[(slice(None), *settings.roi)], signed[(slice(None), *settings.seen)]
    labels, inverse = torch.unique(torch.cat([inner.flatten(), seen.flatten()]), return_inverse=True)
    counted = labels != 0
    if subset is not None:
        counted &= torch.isin(labels, _as_signed(subset, volumes.dtype).to(labels.device))
    numbers = (counted.cumsum(0) * counted)[inverse]
    strided = numbers[inner.numel() :].view(seen.shape)
    described = numbers[: inner.numel()].view(inner.shape)
    per_member = int(counted.sum())
    first = torch.arange(len(volumes), device=volumes.device).view(-1, 1, 1, 1) * per_member
    described, strided = ((each + first) * (each != 0) for each in (described, strided))
    voxels = described.flatten().nonzero()[:, 0]
    steps, origin = (
        torch.as_tensor(np.array(each), device=volumes.device) for each in (settings.steps, settings.origin)
    )
    where = torch.stack(torch.unravel_index(voxels, described.shape)[1:], dim=1)
    owners = described.flatten()[voxels]
    batch, z, y, x = described.shape
    return Objects((batch, z, y, x), per_member, strided, voxels, owners, (where + origin) // steps)


def similar_objects(objects: Objects, settings: DescriptorSettings) -> Iterator[Batch]:
    """Yield all objects in batches of similar extent that keep to :data:`BATCH_BYTES`."""
    if not len(objects.voxels):
        return
    numbers, sources, targets = _boxes(objects, settings)
    limits = np.array(objects.strided.shape[1:])
    extents = [np.minimum(_rounded(ends - begins), limits) for begins, ends in (sources, targets)]
    groups = list(_groups(np.concatenate(extents, axis=1)))
    device = objects.owners.device
    rank = torch.zeros(int(numbers[-1]) + 1, dtype=torch.int64, device="cpu")  # filled here, then copied
    place = torch.zeros_like(rank)
    for k, group in enumerate(groups):
        rank[numbers[group]], place[numbers[group]] = k, torch.arange(len(group), device="cpu")
    ranks, places = rank.to(device)[objects.owners], place.to(device)[objects.owners]
    order = torch.argsort(ranks, stable=True)
    parts = torch.split(order, torch.bincount(ranks, minlength=len(groups)).tolist())
    # All groups in one copy each: a copy per group would make a GPU wait for each of them.
    grouped, lengths = np.concatenate(groups), [len(group) for group in groups]
    named, *corners = (
        torch.split(torch.from_numpy(each[grouped]).to(device), lengths)
        for each in (
            numbers,
            *(np.minimum(begins, limits - each) for (begins, _), each in zip((sources, targets), extents, strict=True)),
        )
    )
    for group, chosen, here, source, target in zip(groups, parts, named, *corners, strict=True):
        source_shape, target_shape = (_shape(each[group[0]]) for each in extents)
        masks = _masks(objects, here, source, source_shape)
        yield Batch(masks, source, target, target_shape, chosen, places[chosen])


Boxes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Begins and ends, ``(objects, 3)`` each."""


def _boxes(objects: Objects, settings: DescriptorSettings) -> tuple[NDArray[np.int64], Boxes, Boxes]:
    """Return the numbers of the objects to describe, their source and their target boxes."""
    count = objects.per_member * objects.shape[0] + 1
    target_begins, target_ends = _bounding_boxes(objects.owners, objects.positions, count)
    seen = objects.strided.nonzero()
    source_begins, source_ends = _bounding_boxes(objects.strided[tuple(seen.T)], seen[:, 1:], count)
    numbers = np.flatnonzero((target_ends > target_begins).all(axis=1))
    begins, ends = target_begins[numbers], target_ends[numbers]
    radii = np.array(settings.window.radii)
    first = np.maximum(source_begins[numbers], begins - radii)
    last = np.minimum(source_ends[numbers], ends + radii)
    nothing = (last <= first).any(axis=1)
    first[nothing], last[nothing] = begins[nothing], begins[nothing]
    if isinstance(settings.window, BallWindow):  # whose moments come on the grid of the source
        first, last = np.minimum(first, begins), np.maximum(last, ends)
        return numbers, (first, last), (first, last)
    return numbers, (first, last), (begins, ends)


def _bounding_boxes(numbers: torch.Tensor, positions: torch.Tensor, count: int) -> Boxes:
    index = numbers[:, None].expand(-1, 3)
    nowhere = torch.full((count, 3), torch.iinfo(torch.int32).max, device=numbers.device)
    begins = nowhere.scatter_reduce(0, index, positions, "amin")
    ends = torch.zeros_like(nowhere).scatter_reduce(0, index, positions + 1, "amax")
    found = torch.stack([begins, ends]).cpu().numpy()
    return found[0], found[1]


def _rounded(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sizes of which there are few: powers of two, from 64 on multiples of 32."""
    small = 2 ** np.ceil(np.log2(np.maximum(sizes, 4))).astype(np.int64)
    return np.where(sizes <= 64, small, -(-sizes // 32) * 32)


def _groups(extents: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield indices of objects of equal source and target extents, as many as fit into a batch."""
    kinds, kind = np.unique(extents, axis=0, return_inverse=True)
    for k, (sz, sy, sx, tz, ty, tx) in enumerate(kinds.tolist()):
        values = sx * sy * sz + 3 * sz * sy * tx + 6 * sz * ty * tx + 20 * tz * ty * tx
        members = np.flatnonzero(kind.ravel() == k)
        size = max(1, BATCH_BYTES // (8 * values))
        yield from (members[i : i + size] for i in range(0, len(members), size))


def _shape(extent: NDArray[np.int64]) -> Shape:
    z, y, x = extent.tolist()
    return z, y, x


def _masks(objects: Objects, numbers: torch.Tensor, begins: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return where the objects are in boxes of one shape, ``(objects, z, y, x)`` bool."""
    z, y, x = (begins[:, axis, None] + torch.arange(size, device=numbers.device) for axis, size in enumerate(shape))
    member = ((numbers - 1) // objects.per_member)[:, None, None, None]
    found = objects.strided[member, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
    return found == numbers[:, None, None, None]


def _as_signed(labels: Collection[int], dtype: torch.dtype) -> torch.Tensor:
    """Return labels as int64; those of uint64 as the same bits, and without any that the type cannot hold."""
    if dtype == torch.uint64:
        held = [int(each) for each in labels if 0 <= int(each) < 2**64]
        return torch.from_numpy(np.array(held, dtype=np.uint64).view(np.int64))
    return torch.tensor([int(each) for each in labels if -(2**63) <= int(each) < 2**63], dtype=torch.int64)
