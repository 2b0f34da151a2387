"""Moments of every object about each of its own voxels, within a ball: the kernel.

A ball is not separable, but each of its rows along x is a run: what lies of the object in it is a
difference of two cumulative sums. All sums are of whole numbers of voxels, so they are exact.
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
def _cumulative(labels: Labels, label: int, source: Index, begin: int, out: Double, rows: Index) -> None:
    """Sum x^a, a = 0, 1, 2, over the object's voxels in each row, from position `begin` on, which counts as x = 0.

    `rows` receives per plane the range of rows that hold the object.
    """
    for z in range(source[3] - source[0]):
        rows[z, 0], rows[z, 1] = source[4] - source[1], 0
        for y in range(source[4] - source[1]):
            line, sums = labels[source[0] + z, source[1] + y], out[:, z, y]
            count, first, second = 0.0, 0.0, 0.0
            for x in range(sums.shape[1]):
                sums[0, x], sums[1, x], sums[2, x] = count, first, second
                position = begin + x
                if source[2] <= position < source[5] and line[position] == label:
                    count, first, second = count + 1, first + x, second + x * x
            if count > 0:
                rows[z, 0], rows[z, 1] = min(rows[z, 0], y), y + 1


@compiled
def _add_row(cumulative: Double, z: int, y: int, dy: int, half: int, radius: int, span: Index, out: Double) -> None:
    """Add what a row of the ball holds to moments of (y, x) powers 00, 01, 02, 10, 11, 20, x as in `cumulative`."""
    size = span[1] - span[0]
    low, high = span[0] + radius - half, span[0] + radius + half + 1
    begin, end = cumulative[:, z, y, low : low + size], cumulative[:, z, y, high : high + size]
    for x in range(size):
        count, first = end[0, x] - begin[0, x], end[1, x] - begin[1, x]
        out[0, x] += count
        out[1, x] += first
        out[2, x] += end[2, x] - begin[2, x]
        out[3, x] += dy * count
        out[4, x] += dy * first
        out[5, x] += dy * dy * count


@compiled
def _within_ball(
    cumulative: Double, rows: Index, z: int, y: int, halves: Index, radius: int, span: Index, plane: Double, out: Double
) -> None:
    """Take the ten moments at ``[z, y]`` within `span`, in voxels; `plane` is room to work in."""
    size = span[1] - span[0]
    out[:, span[0] : span[1]] = 0
    totals = out[:, span[0] : span[1]]
    begin_z, begin_y = z - halves.shape[0] // 2, y - halves.shape[1] // 2
    for i in range(max(0, begin_z), min(cumulative.shape[1], begin_z + halves.shape[0])):
        plane[:, :size] = 0
        for j in range(max(rows[i, 0], begin_y), min(rows[i, 1], begin_y + halves.shape[1])):
            half = halves[i - begin_z, j - begin_y]
            if half >= 0:
                _add_row(cumulative, i, j, j - y, half, radius, span, plane)
        dz = i - z
        for x in range(size):
            totals[0, x] += plane[0, x]
            totals[1, x] += dz * plane[0, x]
            totals[2, x] += plane[3, x]
            totals[3, x] += plane[1, x]
            totals[4, x] += dz * dz * plane[0, x]
            totals[5, x] += plane[5, x]
            totals[6, x] += plane[2, x]
            totals[7, x] += dz * plane[3, x]
            totals[8, x] += dz * plane[1, x]
            totals[9, x] += plane[4, x]


@compiled
def _about_voxel(moments: Double, radius: int, span: Index, count: int, units: Double) -> None:
    """Refer moments to the voxel along x too, and bring them from voxels to units of sigma and of the ball's voxels."""
    z, y, x_ = units[0] / count, units[1] / count, units[2] / count
    for x in range(span[0], span[1]):
        p = x + radius
        mass, first = moments[0, x], moments[3, x]
        moments[6, x] = (moments[6, x] - 2 * p * first + p * p * mass) * x_ * units[2]
        moments[8, x] = (moments[8, x] - p * moments[1, x]) * z * units[2]
        moments[9, x] = (moments[9, x] - p * moments[2, x]) * y * units[2]
        moments[3, x] = (first - p * mass) * x_
        moments[0, x], moments[1, x], moments[2, x] = mass / count, moments[1, x] * z, moments[2, x] * y
        moments[4, x], moments[5, x] = moments[4, x] * z * units[0], moments[5, x] * y * units[1]
        moments[7, x] = moments[7, x] * z * units[1]


@compiled
def fill_sphere_descriptors(
    scene: Scene, chosen: Index, halves: Index, units: Double, scaling: Scaling, out: Float
) -> None:
    """Write the descriptors of the `chosen` labels at all of their voxels.

    Parameters
    ----------
    scene
        The objects.
    chosen
        Numbers of those to describe.
    halves
        ``(2 r_z + 1, 2 r_y + 1)``: voxels that the ball reaches to either side along x per row, −1 if none.
    units
        Voxel size in units of sigma, z, y, x.
    scaling
        How descriptors are made of moments, and which.
    out
        ``(channels, z, y, x)`` float32, as large as the labels; other voxels are left alone.
    """
    radii = (halves.shape[0] // 2, halves.shape[1] // 2, halves.max())
    radius, count = radii[2], np.sum(2 * halves + 1 - (halves < 0) * (2 * halves + 1))
    for label in chosen:
        target = scene.targets[label]
        source = reach(scene.sources[label], target, radii)
        depth, height, width = target[3] - target[0], target[4] - target[1], target[5] - target[2]
        extents, _ = needed(scene, label, target)
        planes, lines = source[3] - source[0], source[4] - source[1]
        cumulative, rows = np.empty((3, planes, lines, width + 2 * radius + 1)), np.empty((planes, 2), np.int64)
        _cumulative(scene.strided, label, source, target[2] - radius, cumulative, rows)
        plane, values = np.empty((6, width)), np.empty((10, width))
        shift_z, shift_y = target[0] - source[0], target[1] - source[1]
        for z in range(depth):
            for y in range(height):
                extent = extents[z, y]
                if extent[1] > extent[0]:
                    _within_ball(cumulative, rows, z + shift_z, y + shift_y, halves, radius, extent, plane, values)
                    _about_voxel(values, radius, extent, count, units)
                    normalise(values, extent[0], extent[1], scaling)
                    scatter(scene, label, target, z, y, extent, values, scaling.channels, out)
