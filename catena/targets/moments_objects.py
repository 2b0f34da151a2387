"""Where objects are, and where what is computed of them goes: kernels that do not depend on the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Index = NDArray[np.int64]
Labels = NDArray[np.int32]

Result = TypeVar("Result")


def compiled(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compile a kernel of moments with fused multiply-adds; sums keep the order in which they are written."""
    return kernel(function, fastmath={"contract"}, error_model="numpy")


class Scene(NamedTuple):
    """The objects, numbered from 1."""

    labels: Labels
    """``(z, y, x)``: the voxels to describe."""

    origin: Index
    """Where voxel 0, 0, 0 of `labels` lies, in voxels from the first of `strided`."""

    strided: Labels
    """``(z, y, x)``: every `steps`-th voxel of `labels` and of what is around them; moments are taken of these."""

    steps: Index
    targets: Index
    """``(labels + 1, 6)`` boxes in voxels of `strided`, of those that stand for the objects' voxels in `labels`."""

    sources: Index
    """``(labels + 1, 6)`` bounding boxes of the objects in `strided`."""


class Scaling(NamedTuple):
    """How moments in units of sigma become descriptors."""

    floors: Double
    """Lower bounds of the variances z, y, x."""

    offset: float
    """Factor of the mean offset, before ½ is added."""

    channels: Index
    """Which of the ten descriptors are written."""


@compiled
def bounding_boxes(labels: Labels, count: int) -> Index:
    """Return ``(count + 1, 6)``: begin z, y, x and end z, y, x of every label 1..count in `labels`.

    Where a label does not occur, the end is not beyond the begin. Labels above `count` are passed over.
    """
    boxes = np.empty((count + 1, 6), np.int64)
    for axis in range(3):
        boxes[:, axis] = labels.shape[axis]
        boxes[:, axis + 3] = 0
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                label = labels[z, y, x]
                if 0 < label <= count:
                    box = boxes[label]
                    box[0], box[3] = min(box[0], z), max(box[3], z + 1)
                    box[1], box[4] = min(box[1], y), max(box[4], y + 1)
                    box[2], box[5] = min(box[2], x), max(box[5], x + 1)
    return boxes


@compiled
def reach(source: Index, target: Index, radii: tuple[int, int, int]) -> Index:
    """Return the part of the box `source` that windows around voxels of the box `target` see; it may be empty."""
    seen = np.empty(6, np.int64)
    for axis in range(3):
        seen[axis] = max(source[axis], target[axis] - radii[axis])
        seen[axis + 3] = max(seen[axis], min(source[axis + 3], target[axis + 3] + radii[axis]))
    return seen


@compiled
def _covered(begin: int, end: int, step: int, origin: int, size: int) -> tuple[int, int]:
    """Return the range of the `size` voxels from `origin` on that sampled voxels ``begin … end − 1`` stand for."""
    return max(begin * step - origin, 0), min(end * step - origin, size)


@compiled
def needed(scene: Scene, label: int, box: Index) -> tuple[Index, Index]:
    """Return where the object needs values, on the grid of every `steps`-th voxel, relative to its target box.

    First ``(z, y, 2)``, begin and end along x, then ``(y, 2)``, their union per y.
    """
    labels, steps, origin = scene.labels, scene.steps, scene.origin
    extents = np.empty((box[3] - box[0], box[4] - box[1], 2), np.int64)
    columns = np.empty((box[4] - box[1], 2), np.int64)
    extents[:, :, 0], columns[:, 0] = box[5] - box[2], box[5] - box[2]
    extents[:, :, 1], columns[:, 1] = 0, 0
    begin, end = _covered(box[2], box[5], steps[2], origin[2], labels.shape[2])
    for z in range(*_covered(box[0], box[3], steps[0], origin[0], labels.shape[0])):
        for y in range(*_covered(box[1], box[4], steps[1], origin[1], labels.shape[1])):
            line = labels[z, y]
            first, last = begin, end - 1
            while first < end and line[first] != label:
                first += 1
            if first == end:
                continue
            while line[last] != label:
                last -= 1
            coarse = (y + origin[1]) // steps[1] - box[1]
            row, column = extents[(z + origin[0]) // steps[0] - box[0], coarse], columns[coarse]
            row[0] = min(row[0], (first + origin[2]) // steps[2] - box[2])
            row[1] = max(row[1], (last + origin[2]) // steps[2] - box[2] + 1)
            column[0], column[1] = min(column[0], row[0]), max(column[1], row[1])
    return extents, columns


@compiled
def normalise(moments: Double, begin: int, end: int, scaling: Scaling) -> None:
    """Turn the ten moments of voxels `begin` … `end` − 1, in units of sigma, into descriptors, in place."""
    floors, scale = scaling.floors, scaling.offset
    for x in range(begin, end):
        mass = moments[0, x]
        inverse = 1 / mass if mass > 0 else 0.0
        z, y, x_ = moments[1, x] * inverse, moments[2, x] * inverse, moments[3, x] * inverse
        zz = max(moments[4, x] * inverse - z * z, floors[0])
        yy = max(moments[5, x] * inverse - y * y, floors[1])
        xx = max(moments[6, x] * inverse - x_ * x_, floors[2])
        zy = (moments[7, x] * inverse - z * y) / np.sqrt(zz * yy)
        zx = (moments[8, x] * inverse - z * x_) / np.sqrt(zz * xx)
        yx = (moments[9, x] * inverse - y * x_) / np.sqrt(yy * xx)
        moments[0, x], moments[1, x], moments[2, x] = z * scale + 0.5, y * scale + 0.5, x_ * scale + 0.5
        moments[3, x], moments[4, x], moments[5, x] = zz, yy, xx
        moments[6, x], moments[7, x], moments[8, x] = zy * 0.5 + 0.5, zx * 0.5 + 0.5, yx * 0.5 + 0.5
        moments[9, x] = mass
        for k in range(10):
            moments[k, x] = min(max(moments[k, x], 0.0), 1.0)


@compiled
def scatter(
    scene: Scene, label: int, box: Index, z: int, y: int, extent: Index, values: Double, channels: Index, out: Float
) -> None:
    """Copy the descriptors of row `z`, `y` of the target box to all voxels of the object that they stand for."""
    labels, steps, origin = scene.labels, scene.steps, scene.origin
    begin, end = _covered(box[2] + extent[0], box[2] + extent[1], steps[2], origin[2], labels.shape[2])
    repeated = np.empty((len(channels), end - begin), np.float32)
    coarse, phase = divmod(begin + origin[2], steps[2])
    for x in range(end - begin):
        for i in range(len(channels)):
            repeated[i, x] = values[channels[i], coarse - box[2]]
        phase += 1
        if phase == steps[2]:
            coarse, phase = coarse + 1, 0
    for full_z in range(*_covered(box[0] + z, box[0] + z + 1, steps[0], origin[0], labels.shape[0])):
        for full_y in range(*_covered(box[1] + y, box[1] + y + 1, steps[1], origin[1], labels.shape[1])):
            line = labels[full_z, full_y, begin:end]
            for i in range(len(channels)):
                target, source = out[i, full_z, full_y, begin:end], repeated[i]
                for x in range(line.shape[0]):
                    if (
                        line[x] == label
                    ):  # never write other voxels, not even as they were: they may be another thread's
                        target[x] = source[x]
