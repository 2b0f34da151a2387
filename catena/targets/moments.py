"""Gaussian-weighted moments of every object about each of its own voxels: the kernels.

With ``g_a(d) = d^a G(d)`` the sums ``Σ_q m(q) Π (q − p)^a G(q − p)`` over an object's voxels ``q``
are separable. Those of order up to 2 take 3 + 6 + 10 one-dimensional passes. Each runs only where it
must: along x over the runs of the object's rows (a difference of two table entries per run), along y
over the columns that hold the object, along z over the object's own voxels. The voxels that are
described, the target, and those that the moments are taken of, the source, have bounding boxes of
their own: a pass exchanges the source's extent for the target's along its axis. Positions are
relative to the voxel, so no large squares are subtracted, and float32 suffices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Index = NDArray[np.int64]
Labels = NDArray[np.int32]

ORDERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))
"""Powers of z, y, x of the ten moments, in the order in which they are returned."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    # Contraction allows fused multiply-adds; sums keep the order in which they are written.
    compiled: Function = njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")(function)
    return compiled


@_compiled
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


@_compiled
def _reach(source: Index, target: Index, radii: tuple[int, int, int]) -> Index:
    """Return the part of the box `source` that windows around voxels of the box `target` see; it may be empty."""
    seen = np.empty(6, np.int64)
    for axis in range(3):
        seen[axis] = max(source[axis], target[axis] - radii[axis])
        seen[axis + 3] = max(seen[axis], min(source[axis + 3], target[axis + 3] + radii[axis]))
    return seen


@_compiled
def _along_x(labels: Labels, label: int, box: Index, shift: int, tables: Float, out: Float, rows: Index) -> None:
    """Moments 0, 1, 2 along x of each row, from `shift` right of the box's begin on.

    `rows` receives per plane the range of rows that hold the object.
    """
    width, radius = box[5] - box[2], tables.shape[1] // 2 - 1
    for z in range(box[3] - box[0]):
        rows[z, 0], rows[z, 1] = box[4] - box[1], 0
        for y in range(box[4] - box[1]):
            line = labels[box[0] + z, box[1] + y, box[2] : box[5]]
            for a in range(3):
                out[a, z, y] = 0
            x, found = 0, False
            while x < width:
                if line[x] != label:
                    x += 1
                    continue
                begin = x
                while x < width and line[x] == label:
                    x += 1
                found = True
                for a in range(3):
                    _add_run(out[a, z, y], tables[a], begin - shift, x - shift, radius)
            if found:
                rows[z, 0], rows[z, 1] = min(rows[z, 0], y), y + 1


@_compiled
def _add_run(target: Float, table: Float, begin: int, end: int, radius: int) -> None:
    """Add a run's moment about every position: table[i] sums d^a G(d) over d < i − radius."""
    size = 2 * radius + 1
    for x in range(max(0, begin - radius), min(target.shape[0], end + radius)):
        target[x] += table[min(end - x + radius, size)] - table[max(begin - x + radius, 0)]


# Arrays are passed whole and indexed inside: the compiler knows a row of a C-ordered array to be
# contiguous, but not a row of a slice across it. Loops count from 0: an index that might be negative
# is wrapped around, element by element. Either would keep it from vectorising.
@_compiled
def _add_rows(target: Float, planes: Float, y: int, first: int, last: int, weights: Float, span: Index) -> None:
    """Add ``Σ_i weights[i − first] planes[i, y]``, first ≤ i < last, to `target`, within `span`, four at a time."""
    begin, end, i = span[0], span[1], first
    total = target[begin:end]
    while i + 3 < last:
        a, b, c, d = weights[i - first], weights[i - first + 1], weights[i - first + 2], weights[i - first + 3]
        s, t = planes[i, y, begin:end], planes[i + 1, y, begin:end]
        u, v = planes[i + 2, y, begin:end], planes[i + 3, y, begin:end]
        for x in range(total.shape[0]):
            total[x] += a * s[x] + b * t[x] + c * u[x] + d * v[x]
        i += 4
    while i < last:
        e, w = weights[i - first], planes[i, y, begin:end]
        for x in range(total.shape[0]):
            total[x] += e * w[x]
        i += 1


@_compiled
def _along_y(source: Float, rows: Index, columns: Index, shift: int, kernels: Float, out: Float) -> None:
    """Six moments of order ≤ 2 along y and x, as (y, x) powers 00, 01, 02, 10, 11, 20, in the needed columns.

    Row 0 of `out` is row `shift` of `source`.
    """
    radius = kernels.shape[1] // 2
    for z in range(source.shape[1]):
        for y in range(out.shape[2]):
            span = columns[y]
            if span[1] <= span[0]:
                continue
            begin = y + shift - radius
            first, last = max(rows[z, 0], begin), min(rows[z, 1], begin + 2 * radius + 1)
            k = 0
            for power in range(3):
                for order in range(3 - power):
                    target = out[k, z, y]
                    target[span[0] : span[1]] = 0
                    if first < last:
                        weights = kernels[power, first - begin :]
                        _add_rows(
                            target, source[order, z].reshape(-1, 1, source.shape[3]), 0, first, last, weights, span
                        )
                    k += 1


@_compiled
def _along_z(source: Float, y: int, z: int, kernels: Float, span: Index, out: Float) -> None:
    """All ten moments at ``[z, y]`` of `source` within `span`, in the order of ORDERS; z may lie outside."""
    begin = z - kernels.shape[1] // 2
    first, last = max(0, begin), min(source.shape[1], begin + kernels.shape[1])
    out[:, span[0] : span[1]] = 0
    if first >= last:
        return
    w0, w1, w2 = kernels[0, first - begin :], kernels[1, first - begin :], kernels[2, first - begin :]
    _add_rows(out[0], source[0], y, first, last, w0, span)
    _add_rows(out[1], source[0], y, first, last, w1, span)
    _add_rows(out[2], source[3], y, first, last, w0, span)
    _add_rows(out[3], source[1], y, first, last, w0, span)
    _add_rows(out[4], source[0], y, first, last, w2, span)
    _add_rows(out[5], source[5], y, first, last, w0, span)
    _add_rows(out[6], source[2], y, first, last, w0, span)
    _add_rows(out[7], source[3], y, first, last, w1, span)
    _add_rows(out[8], source[1], y, first, last, w1, span)
    _add_rows(out[9], source[4], y, first, last, w0, span)


@_compiled
def _covered(begin: int, end: int, step: int, origin: int, size: int) -> tuple[int, int]:
    """Return the range of the `size` voxels from `origin` on that sampled voxels ``begin … end − 1`` stand for."""
    return max(begin * step - origin, 0), min(end * step - origin, size)


@_compiled
def _needed(
    labels: Labels, label: int, box: Index, steps: Index, origin: Index, extents: Index, columns: Index
) -> None:
    """Where the object needs values, on the grid of every `steps`-th voxel, relative to its box there.

    `extents` receives begin and end along x per (z, y), `columns` their union per y.
    """
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


@_compiled
def _normalise(moments: Float, begin: int, end: int, floors: Float) -> None:
    """Turn moments in units of sigma into descriptors, in place; `floors` bounds the variances from below."""
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    for x in range(begin, end):
        mass = moments[0, x]
        inverse = one / mass if mass > 0 else zero
        z, y, x_ = moments[1, x] * inverse, moments[2, x] * inverse, moments[3, x] * inverse
        zz = max(moments[4, x] * inverse - z * z, floors[0])
        yy = max(moments[5, x] * inverse - y * y, floors[1])
        xx = max(moments[6, x] * inverse - x_ * x_, floors[2])
        zy = (moments[7, x] * inverse - z * y) / np.sqrt(zz * yy)
        zx = (moments[8, x] * inverse - z * x_) / np.sqrt(zz * xx)
        yx = (moments[9, x] * inverse - y * x_) / np.sqrt(yy * xx)
        moments[0, x], moments[1, x], moments[2, x] = z * half + half, y * half + half, x_ * half + half
        moments[3, x], moments[4, x], moments[5, x] = zz, yy, xx
        moments[6, x], moments[7, x], moments[8, x] = zy * half + half, zx * half + half, yx * half + half
        moments[9, x] = mass
        for k in range(10):
            moments[k, x] = min(max(moments[k, x], zero), one)


@_compiled
def _scatter(
    values: Float,
    labels: Labels,
    label: int,
    box: Index,
    z: int,
    y: int,
    extent: Index,
    steps: Index,
    origin: Index,
    repeated: Float,
    out: Float,
) -> None:
    """Copy a row of values to all voxels of the object that it stands for; `repeated` is room to work in."""
    begin, end = _covered(box[2] + extent[0], box[2] + extent[1], steps[2], origin[2], labels.shape[2])
    coarse, phase = divmod(begin + origin[2], steps[2])
    for x in range(end - begin):
        for k in range(10):
            repeated[k, x] = values[k, coarse - box[2]]
        phase += 1
        if phase == steps[2]:
            coarse, phase = coarse + 1, 0
    for full_z in range(*_covered(box[0] + z, box[0] + z + 1, steps[0], origin[0], labels.shape[0])):
        for full_y in range(*_covered(box[1] + y, box[1] + y + 1, steps[1], origin[1], labels.shape[1])):
            line = labels[full_z, full_y, begin:end]
            for k in range(10):
                target, source = out[k, full_z, full_y, begin:end], repeated[k]
                for x in range(line.shape[0]):
                    target[x] = source[x] if line[x] == label else target[x]


@_compiled
def fill_descriptors(
    labels: Labels,
    origin: Index,
    strided: Labels,
    steps: Index,
    chosen: Index,
    targets: Index,
    sources: Index,
    kernels: tuple[Float, Float, Float],
    tables: Float,
    floors: Float,
    out: Float,
) -> None:
    """Write the ten descriptors of the `chosen` labels at all of their voxels.

    Parameters
    ----------
    labels
        ``(z, y, x)`` int32: the voxels to describe.
    origin
        Where voxel 0, 0, 0 of `labels` lies, in voxels from the first of `strided`.
    strided
        ``(z, y, x)`` int32: every `steps`-th voxel of `labels` and what is around them, per axis; what
        the moments are taken of.
    targets, sources
        ``(labels + 1, 6)`` bounding boxes in voxels of `strided`: of those that stand for the objects'
        voxels in `labels`, and of the objects in `strided`.
    kernels
        Per axis ``(3, 2 r + 1)``: d^a G(d), with d in units of sigma.
    tables
        ``(3, 2 r + 2)``: cumulative sums of the kernels along x, beginning with 0.
    floors
        Lower bounds of the variances z, y, x in units of sigma squared.
    out
        ``(10, z, y, x)`` float32, as large as `labels`; other voxels are left alone.
    """
    radii = (kernels[0].shape[1] // 2, kernels[1].shape[1] // 2, kernels[2].shape[1] // 2)
    repeated = np.empty((10, labels.shape[2]), np.float32)
    for label in chosen:
        target = targets[label]
        source = _reach(sources[label], target, radii)
        shift = target - source
        depth, height, width = target[3] - target[0], target[4] - target[1], target[5] - target[2]
        extents, columns = np.empty((depth, height, 2), np.int64), np.empty((height, 2), np.int64)
        _needed(labels, label, target, steps, origin, extents, columns)
        planes, lines = source[3] - source[0], source[4] - source[1]
        along_x, rows = np.empty((3, planes, lines, width), np.float32), np.empty((planes, 2), np.int64)
        _along_x(strided, label, source, shift[2], tables, along_x, rows)
        along_y = np.empty((6, planes, height, width), np.float32)
        _along_y(along_x, rows, columns, shift[1], kernels[1], along_y)
        values = np.empty((10, width), np.float32)
        for y in range(height):
            for z in range(depth):
                extent = extents[z, y]
                if extent[1] > extent[0]:
                    _along_z(along_y, y, z + shift[0], kernels[0], extent, values)
                    _normalise(values, extent[0], extent[1], floors)
                    _scatter(values, labels, label, target, z, y, extent, steps, origin, repeated, out)
