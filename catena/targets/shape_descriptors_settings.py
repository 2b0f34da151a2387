"""What is asked of shape descriptors, checked once and brought to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from catena.errors import GeometryError
from catena.targets.shape_descriptors_components import (
    Components,
    channels_among_ten,
    component_channels,
    order_of_moments,
)
from catena.targets.shape_descriptors_windows import PerAxis, Window, window_of

VARIANCE_FLOOR_NM2 = 1e-3
"""Variances below this count as this, so that correlations stay finite."""

Sigma: TypeAlias = float | tuple[float, ...]
Roi: TypeAlias = tuple[slice, ...]
Steps: TypeAlias = tuple[int, int, int]

_ONE_SECTION = 1e-3
"""A sigma along z whose window holds a single section: images are volumes of one section."""


@dataclass(frozen=True)
class DescriptorSettings:
    """Where descriptors are wanted, which, and how they see."""

    roi: tuple[slice, slice, slice]
    """Voxels to describe, z, y, x."""

    steps: Steps
    """Every how many-th voxel is looked at, per axis."""

    window: Window
    floors: NDArray[np.float64]
    """Lower bounds of the variances z, y, x in units of sigma squared."""

    channels: tuple[int, ...]
    """Which of the ten descriptors."""

    @classmethod
    def parse(
        cls,
        shape: Sequence[int],
        voxel_size: Sequence[float],
        sigma_nm: Sigma,
        downsample: int,
        roi: Roi | None,
        mode: str,
        components: Components | None,
        units_per_nm: int,
        in_plane: bool = False,
    ) -> DescriptorSettings:
        """Check the arguments of :func:`catena.targets.shape_descriptors` for labels of this shape.

        Raises
        ------
        DataError
            If mode or components are unknown.
        GeometryError
            If voxel size, sigma, roi and labels differ in dimensions, a value is not positive, or the roi is
            empty or leaves the labels.
        """
        dimensions = len(shape)
        sigma = sigma_per_axis(sigma_nm, dimensions)
        if len(voxel_size) != dimensions or min(*voxel_size, *sigma) <= 0 or min(downsample, units_per_nm) < 1:
            raise GeometryError(
                f"labels have {dimensions} axes; voxel size and sigma need as many positive numbers, downsample and "
                f"units per nm positive ones; found {tuple(voxel_size)}, {sigma_nm}, {downsample} and {units_per_nm}"
            )
        flat = dimensions == 2 or in_plane
        where = (*[slice(0, 1)] * (dimensions == 2), *_checked(roi, shape))
        sizes = _three(*[1.0] * flat, *voxel_size[-2 if flat else 0 :])
        sigmas = _three(*[_ONE_SECTION] * flat, *sigma[-2 if flat else 0 :])
        steps = (1 if flat else downsample, downsample, downsample)
        seen_sizes = _three(*(size * step for size, step in zip(sizes, steps, strict=True)))
        channels = component_channels(components, 2 if flat else 3)
        return cls(
            (where[0], where[1], where[2]),
            steps,
            window_of(mode, seen_sizes, sigmas),
            VARIANCE_FLOOR_NM2 * units_per_nm**2 / np.square(sigmas),
            channels_among_ten(channels, 2 if flat else 3),
        )

    @property
    def seen(self) -> Roi:
        """The sampled voxels that lie in windows around those that stand for the roi."""
        return tuple(
            slice(max(0, roi.start // step - radius) * step, (-(-roi.stop // step) + radius) * step, step)
            for roi, step, radius in zip(self.roi, self.steps, self.window.radii, strict=True)
        )

    @property
    def origin(self) -> NDArray[np.int64]:
        """The roi's first voxel, counted from the first voxel seen."""
        return np.array([roi.start - seen.start for roi, seen in zip(self.roi, self.seen, strict=True)])

    @property
    def order(self) -> int:
        """The highest order of moments needed."""
        return order_of_moments(self.channels)


def sigma_per_axis(sigma: Sigma, dimensions: int) -> tuple[float, ...]:
    """Return one sigma per axis.

    Raises
    ------
    GeometryError
        If there are neither one nor as many.
    """
    per_axis = tuple(float(each) for each in np.atleast_1d(np.asarray(sigma, dtype=np.float64)))
    if len(per_axis) == 1:
        return per_axis * dimensions
    if len(per_axis) != dimensions:
        raise GeometryError(f"sigma needs one number or one per axis ({dimensions}); found {sigma}")
    return per_axis


def _three(*values: float) -> PerAxis:
    z, y, x = (float(each) for each in values)
    return z, y, x


def _checked(roi: Roi | None, shape: Sequence[int]) -> Roi:
    """Return `roi` with both ends of every slice, the whole of `shape` if it is None."""
    if roi is None:
        return tuple(slice(0, size) for size in shape)
    ends = [(each.start or 0, size if each.stop is None else each.stop) for each, size in zip(roi, shape, strict=False)]
    inside = all(0 <= begin < end <= size for (begin, end), size in zip(ends, shape, strict=False))
    if len(roi) != len(shape) or not inside or any(each.step not in (None, 1) for each in roi):
        raise GeometryError(f"the roi needs one range of voxels per axis, within labels of {shape}; found {roi}")
    return tuple(slice(begin, end) for begin, end in ends)
