"""Elastic deformation, rotation in plane and misaligned sections as one smooth map between voxels.

The map leads from a voxel of the deformed crop to a position in the source, both in voxels. It is
evaluated voxel by voxel while sampling, so its cost is that of the output; a field of positions,
three times the size of the crop, is never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from catena.compiled import kernel

_REFINE = 4  # grid points per control point: trilinear between them, cubic through the control points


@dataclass(frozen=True)
class Deformation:
    """source(p) = centre + rotate(p − centre) + displacement(p) + section_shift(z of p).

    Attributes
    ----------
    begin_vox, shape_vox
        The box of voxels ``z, y, x`` in which the map is defined.
    displacement
        ``(3, gz, gy, gx)`` float32 voxels, on a regular grid whose corners are the box's corner voxels.
    angle
        Rotation in the plane ``y, x``, radians.
    section_shift
        ``(z, 2)`` float32 voxels along ``y, x``, one row per section of the box.
    """

    begin_vox: tuple[int, int, int]
    shape_vox: tuple[int, int, int]
    displacement: NDArray[np.float32]
    angle: float
    section_shift: NDArray[np.float32]

    def source_box(
        self, begin_vox: tuple[int, ...], shape_vox: tuple[int, ...]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return begin and shape of the smallest box that surely holds all sources of a box."""
        last = [b + n - 1 for b, n in zip(begin_vox, shape_vox, strict=True)]
        corners = np.array([self._rotate(np.array(corner)) for corner in product(*zip(begin_vox, last, strict=True))])
        field = self.displacement.reshape(3, -1)
        slip = np.concatenate((np.zeros((len(self.section_shift), 1)), self.section_shift), axis=1)
        low = np.floor(corners.min(axis=0) + field.min(axis=1) + slip.min(axis=0) - 0.5).astype(int)
        high = np.ceil(corners.max(axis=0) + field.max(axis=1) + slip.max(axis=0) + 0.5).astype(int)
        return tuple(map(int, low)), tuple(map(int, high - low + 1))

    def _rotate(self, position: NDArray[np.int64]) -> NDArray[np.float64]:
        centre = self._centre
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        z, y, x = position - centre
        rotated: NDArray[np.float64] = np.array([z, cosine * y - sine * x, sine * y + cosine * x]) + centre
        return rotated

    @property
    def _centre(self) -> NDArray[np.float64]:
        return np.array([b + (n - 1) / 2 for b, n in zip(self.begin_vox, self.shape_vox, strict=True)])

    def sample(
        self,
        source: NDArray[np.generic],
        source_begin_vox: tuple[int, ...],
        begin_vox: tuple[int, ...],
        shape_vox: tuple[int, ...],
        *,
        interpolate: bool,
    ) -> NDArray[np.generic]:
        """Return the deformed crop of `shape_vox` at `begin_vox`.

        Parameters
        ----------
        source
            ``(z, y, x)``, covering the :meth:`source_box` of the crop.
        source_begin_vox
            Position of the source's first voxel.
        interpolate
            Trilinear (images; float32) or the nearest voxel (labels, masks; never mixed).
        """
        output = np.empty(shape_vox, np.float32 if interpolate else source.dtype)
        kernel = _sample_linear if interpolate else _sample_nearest
        kernel(
            source.astype(np.float32, copy=False) if interpolate else source,
            np.array(source_begin_vox, np.float64),
            np.array(begin_vox, np.int64),
            np.array(self.begin_vox, np.int64),
            np.array(self.shape_vox, np.int64),
            self.displacement,
            self._centre,
            float(self.angle),
            self.section_shift,
            output,
        )
        return output


def random_deformation(
    rng: np.random.Generator,
    begin_vox: tuple[int, ...],
    shape_vox: tuple[int, ...],
    *,
    control_point_spacing: tuple[int, int, int],
    jitter: tuple[float, float, float],
    rotate: bool,
    slip_probability: float,
    shift_probability: float,
    max_misalignment: int,
) -> Deformation:
    """Draw a deformation of the box of voxels at `begin_vox`.

    Parameters
    ----------
    control_point_spacing, jitter
        Distance of the control points, and standard deviation of their displacement, in voxels.
    rotate
        Whether to rotate in plane, by an angle in [0, π/2): further quarter turns are the mirror's part.
    slip_probability, shift_probability
        Per section: that it alone, or it and all that follow, lie displaced in plane.
    max_misalignment
        Largest displacement of a section, voxels.
    """
    z, y, x = (int(n) for n in shape_vox)
    points = [max(2, round(n / spacing) + 1) for n, spacing in zip((z, y, x), control_point_spacing, strict=True)]
    controls = rng.normal(size=(3, *points)) * np.reshape(jitter, (3, 1, 1, 1))
    return Deformation(
        begin_vox=(int(begin_vox[0]), int(begin_vox[1]), int(begin_vox[2])),
        shape_vox=(z, y, x),
        displacement=_refine(controls),
        angle=float(rng.uniform(0, np.pi / 2)) if rotate else 0.0,
        section_shift=misaligned_sections(rng, z, slip_probability, shift_probability, max_misalignment),
    )


def _refine(controls: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate cubically between control points, so that the map has no kinks at them."""
    if not controls.any():
        return np.zeros((3, 2, 2, 2), np.float32)
    factors = [((n - 1) * _REFINE + 1) / n for n in controls.shape[1:]]
    return np.stack([zoom(each, factors, order=3, mode="nearest") for each in controls]).astype(np.float32)


def misaligned_sections(
    rng: np.random.Generator, sections: int, slip_probability: float, shift_probability: float, max_misalignment: int
) -> NDArray[np.float32]:
    """Return the displacement ``(sections, 2)`` in voxels along ``y, x`` of each section.

    A slipped section alone is displaced; a shift displaces a section and all that follow.
    """
    fate = rng.uniform(size=sections)
    offsets = rng.integers(-max_misalignment, max_misalignment + 1, size=(sections, 2))
    slips = (fate < slip_probability)[:, None]
    shifts = ((fate >= slip_probability) & (fate < slip_probability + shift_probability))[:, None]
    return (np.cumsum(np.where(shifts, offsets, 0), axis=0) + np.where(slips, offsets, 0)).astype(np.float32)


@kernel
def _row_of_displacement(displacement, z, y, row):  # type: ignore[no-untyped-def]
    """Blend the grid along z and y into `row` ``(3, gx)``, once for all voxels of a row."""
    z_low = min(int(z), displacement.shape[1] - 2)
    y_low = min(int(y), displacement.shape[2] - 2)
    fz, fy = z - z_low, y - y_low
    for axis in range(3):
        for k in range(displacement.shape[3]):
            front = displacement[axis, z_low, y_low, k] * (1 - fy) + displacement[axis, z_low, y_low + 1, k] * fy
            back = displacement[axis, z_low + 1, y_low, k] * (1 - fy) + displacement[axis, z_low + 1, y_low + 1, k] * fy
            row[axis, k] = front * (1 - fz) + back * fz


@kernel
def _grid_position(voxel, begin, size, points):  # type: ignore[no-untyped-def]
    """Position of a voxel on an axis of the grid, clamped to the box."""
    position = (voxel - begin) * (points - 1) / max(size - 1, 1)
    return min(max(position, 0.0), points - 1.0)


@kernel
def _positions_of_row(z, y, begin, map_begin, map_shape, displacement, centre, angle, section_shift, row, positions):  # type: ignore[no-untyped-def]
    """Fill `positions` ``(x, 3)`` with the sources of the voxels of one row."""
    grid = displacement.shape
    _row_of_displacement(
        displacement,
        _grid_position(z, map_begin[0], map_shape[0], grid[1]),
        _grid_position(y, map_begin[1], map_shape[1], grid[2]),
        row,
    )
    section = min(max(z - map_begin[0], 0), section_shift.shape[0] - 1)
    sine, cosine = np.sin(angle), np.cos(angle)
    dy = y - centre[1]
    for i in range(positions.shape[0]):
        x = begin[2] + i
        along = _grid_position(x, map_begin[2], map_shape[2], grid[3])
        low = min(int(along), grid[3] - 2)
        part = along - low
        dx = x - centre[2]
        positions[i, 0] = z + row[0, low] * (1 - part) + row[0, low + 1] * part
        positions[i, 1] = (
            centre[1] + cosine * dy - sine * dx + row[1, low] * (1 - part) + row[1, low + 1] * part
        ) + section_shift[section, 0]
        positions[i, 2] = (
            centre[2] + sine * dy + cosine * dx + row[2, low] * (1 - part) + row[2, low + 1] * part
        ) + section_shift[section, 1]


@kernel
def _sample_nearest(  # type: ignore[no-untyped-def]
    source, source_begin, begin, map_begin, map_shape, displacement, centre, angle, section_shift, output
):
    row = np.empty((3, displacement.shape[3]))
    positions = np.empty((output.shape[2], 3))
    top_z, top_y, top_x = source.shape[0] - 1, source.shape[1] - 1, source.shape[2] - 1
    for k in range(output.shape[0]):
        for j in range(output.shape[1]):
            z, y = begin[0] + k, begin[1] + j
            _positions_of_row(
                z, y, begin, map_begin, map_shape, displacement, centre, angle, section_shift, row, positions
            )
            for i in range(output.shape[2]):
                zi = min(max(int(np.floor(positions[i, 0] - source_begin[0] + 0.5)), 0), top_z)
                yi = min(max(int(np.floor(positions[i, 1] - source_begin[1] + 0.5)), 0), top_y)
                xi = min(max(int(np.floor(positions[i, 2] - source_begin[2] + 0.5)), 0), top_x)
                output[k, j, i] = source[zi, yi, xi]


@kernel
def _sample_linear(  # type: ignore[no-untyped-def]
    source, source_begin, begin, map_begin, map_shape, displacement, centre, angle, section_shift, output
):
    row = np.empty((3, displacement.shape[3]))
    positions = np.empty((output.shape[2], 3))
    top_z, top_y, top_x = source.shape[0] - 1, source.shape[1] - 1, source.shape[2] - 1
    for k in range(output.shape[0]):
        for j in range(output.shape[1]):
            z, y = begin[0] + k, begin[1] + j
            _positions_of_row(
                z, y, begin, map_begin, map_shape, displacement, centre, angle, section_shift, row, positions
            )
            for i in range(output.shape[2]):
                pz = min(max(positions[i, 0] - source_begin[0], 0.0), float(top_z))
                py = min(max(positions[i, 1] - source_begin[1], 0.0), float(top_y))
                px = min(max(positions[i, 2] - source_begin[2], 0.0), float(top_x))
                z0, y0, x0 = int(pz), int(py), int(px)
                z1, y1, x1 = min(z0 + 1, top_z), min(y0 + 1, top_y), min(x0 + 1, top_x)
                fz, fy, fx = pz - z0, py - y0, px - x0
                front = (source[z0, y0, x0] * (1 - fx) + source[z0, y0, x1] * fx) * (1 - fy) + (
                    source[z0, y1, x0] * (1 - fx) + source[z0, y1, x1] * fx
                ) * fy
                back = (source[z1, y0, x0] * (1 - fx) + source[z1, y0, x1] * fx) * (1 - fy) + (
                    source[z1, y1, x0] * (1 - fx) + source[z1, y1, x1] * fx
                ) * fy
                output[k, j, i] = front * (1 - fz) + back * fz
