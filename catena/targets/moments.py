"""Gaussian-weighted moments of every object about each of its own voxels: the kernels.

With ``g_a(d) = d^a G(d)`` the sums ``Σ_q m(q) Π (q − p)^a G(q − p)`` over an object's voxels ``q``
are separable. Those of order up to 2 take 3 + 6 + 10 one-dimensional passes. Each runs only where it
must: along x over the runs of the object's rows (a difference of two table entries per run), along y
over the columns that hold the object, along z over the object's own voxels. The voxels that are
described, the target, and those that the moments are taken of, the source, have bounding boxes of
their own: a pass exchanges the source's extent for the target's along its axis. Positions are
relative to the voxel, so no large squares are subtracted. Sums are float64: in float32 the variance of
an object that lies mostly far from the voxel and close together loses too many digits (correlations
were off by 1.3e-4 on thin sheets with wires), for two thirds of the time.
"""

from __future__ import annotations

import numpy as np

from catena.targets.moments_objects import (
    Double,
    Float,
    Index,
    Labels,
    Scaling,
    Scene,
    compiled,
    needed,
    normalise,
    reach,
    scatter,
)


@compiled
def _along_x(labels: Labels, label: int, box: Index, shift: int, tables: Double, out: Double, rows: Index) -> None:
    """Moments 0, 1, … along x of each row, from `shift` right of the box's begin on.

    `rows` receives per plane the range of rows that hold the object.
    """
    width, radius = box[5] - box[2], tables.shape[1] // 2 - 1
    for z in range(box[3] - box[0]):
        rows[z, 0], rows[z, 1] = box[4] - box[1], 0
        for y in range(box[4] - box[1]):
            line = labels[box[0] + z, box[1] + y, box[2] : box[5]]
            for a in range(out.shape[0]):
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
                for a in range(out.shape[0]):
                    _add_run(out[a, z, y], tables[a], begin - shift, x - shift, radius)
            if found:
                rows[z, 0], rows[z, 1] = min(rows[z, 0], y), y + 1


@compiled
def _add_run(target: Double, table: Double, begin: int, end: int, radius: int) -> None:
    """Add a run's moment about every position: table[i] sums d^a G(d) over d < i − radius."""
    size = 2 * radius + 1
    for x in range(max(0, begin - radius), min(target.shape[0], end + radius)):
        target[x] += table[min(end - x + radius, size)] - table[max(begin - x + radius, 0)]


# Arrays are passed whole and indexed inside: the compiler knows a row of a C-ordered array to be
# contiguous, but not a row of a slice across it. Loops count from 0: an index that might be negative
# is wrapped around, element by element. Either would keep it from vectorising.
@compiled
def _add_rows(target: Double, planes: Double, y: int, first: int, last: int, weights: Double, span: Index) -> None:
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


@compiled
def _along_y(source: Double, rows: Index, columns: Index, shift: int, kernels: Double, out: Double) -> None:
    """Moments along y and x of the source's order, as (y, x) powers 00, 01, 02, 10, 11, 20, in the needed columns.

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
            for power in range(source.shape[0]):
                for order in range(source.shape[0] - power):
                    target = out[k, z, y]
                    target[span[0] : span[1]] = 0
                    if first < last:
                        weights = kernels[power, first - begin :]
                        _add_rows(
                            target, source[order, z].reshape(-1, 1, source.shape[3]), 0, first, last, weights, span
                        )
                    k += 1


@compiled
def _along_z(source: Double, order: int, y: int, z: int, kernels: Double, span: Index, out: Double) -> None:
    """Moments up to `order` at ``[z, y]`` of `source` within `span`; z may lie outside.

    Of the ten: mass, z, y, x, zz, yy, xx, zy, zx, yx.
    """
    begin = z - kernels.shape[1] // 2
    first, last = max(0, begin), min(source.shape[1], begin + kernels.shape[1])
    out[:, span[0] : span[1]] = 0
    if first >= last:
        return
    w0, w1, w2 = kernels[0, first - begin :], kernels[1, first - begin :], kernels[2, first - begin :]
    _add_rows(out[0], source[0], y, first, last, w0, span)
    if order > 0:
        _add_rows(out[1], source[0], y, first, last, w1, span)
        _add_rows(out[2], source[order + 1], y, first, last, w0, span)
        _add_rows(out[3], source[1], y, first, last, w0, span)
    if order > 1:
        _add_rows(out[4], source[0], y, first, last, w2, span)
        _add_rows(out[5], source[5], y, first, last, w0, span)
        _add_rows(out[6], source[2], y, first, last, w0, span)
        _add_rows(out[7], source[3], y, first, last, w1, span)
        _add_rows(out[8], source[1], y, first, last, w1, span)
        _add_rows(out[9], source[4], y, first, last, w0, span)


@compiled
def fill_descriptors(
    scene: Scene,
    chosen: Index,
    kernels: tuple[Double, Double, Double],
    tables: Double,
    order: int,
    scaling: Scaling,
    out: Float,
) -> None:
    """Write the descriptors of the `chosen` labels at all of their voxels.

    Parameters
    ----------
    scene
        The objects.
    chosen
        Numbers of those to describe.
    kernels
        Per axis ``(3, 2 r + 1)``: d^a G(d), with d in units of sigma.
    tables
        ``(3, 2 r + 2)``: cumulative sums of the kernels along x, beginning with 0.
    order
        The highest order of moments to take; descriptors that need more are wrong.
    scaling
        How descriptors are made of moments, and which.
    out
        ``(channels, z, y, x)`` float32, as large as the labels; other voxels are left alone.
    """
    radii = (kernels[0].shape[1] // 2, kernels[1].shape[1] // 2, kernels[2].shape[1] // 2)
    for label in chosen:
        target = scene.targets[label]
        source = reach(scene.sources[label], target, radii)
        shift = target - source
        depth, height, width = target[3] - target[0], target[4] - target[1], target[5] - target[2]
        extents, columns = needed(scene, label, target)
        planes, lines = source[3] - source[0], source[4] - source[1]
        along_x, rows = np.empty((order + 1, planes, lines, width)), np.empty((planes, 2), np.int64)
        _along_x(scene.strided, label, source, shift[2], tables, along_x, rows)
        along_y = np.empty(((order + 1) * (order + 2) // 2, planes, height, width))
        _along_y(along_x, rows, columns, shift[1], kernels[1], along_y)
        values = np.zeros((10, width))
        for y in range(height):
            for z in range(depth):
                extent = extents[z, y]
                if extent[1] > extent[0]:
                    _along_z(along_y, order, y, z + shift[0], kernels[0], extent, values)
                    normalise(values, extent[0], extent[1], scaling)
                    scatter(scene, label, target, z, y, extent, values, scaling.channels, out)
