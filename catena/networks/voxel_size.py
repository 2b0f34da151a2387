"""Choose a U-Net's downsampling and kernels from the data's voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.networks.config import PerAxis, UNetConfig

_ANISOTROPIC = 2.0
"""A level whose voxels are at least this many times longer along one axis convolves in plane only."""

_ISOTROPIC: PerAxis = (3, 3, 3)


def unet_for_voxel_size(
    voxel_size: Coordinate,
    levels: int = 3,
    factor: int = 2,
    *,
    dimensions: int = 3,
    downsampling: Sequence[PerAxis] | None = None,
    **settings: Any,
) -> UNetConfig:
    """Return a U-Net whose voxels become isotropic towards its bottleneck.

    At each level the axes that are still fine are downsampled, and once all are alike all of them
    are. On the way down, levels that are still anisotropic do not convolve along their coarse axis;
    on the way up their last convolution does, so that neighbouring sections are compared at full
    resolution and not only at the bottleneck.

    Parameters
    ----------
    voxel_size
        In any unit, z, y, x.
    levels
        Number of downsampling steps.
    factor
        Downsampling factor of one step.
    downsampling
        Factors of every step, instead of `levels` and `factor`; kernels follow the voxel size all the same.
    dimensions
        2 neither convolves nor downsamples along z: every section is seen on its own.
    **settings
        Further fields of :class:`UNetConfig`.

    Examples
    --------
    >>> unet_for_voxel_size(Coordinate(40, 4, 4), factor=3).downsampling
    ((1, 3, 3), (1, 3, 3), (3, 3, 3))

    Raises
    ------
    ConfigError
        If the voxel size is not three positive numbers, `levels` or `factor` is too small, or `dimensions`
        is neither 2 nor 3.
    """
    if len(voxel_size) != 3 or min(voxel_size) <= 0:
        raise ConfigError(f"a voxel size needs three positive numbers z, y, x; found {voxel_size}")
    if levels < 1 or factor < 2:
        raise ConfigError(f"a U-Net needs at least one level and a factor of at least 2; found {levels} and {factor}")
    if dimensions not in (2, 3):
        raise ConfigError(f"a network has 2 or 3 dimensions, found {dimensions}")
    size = [float(each) for each in voxel_size]
    if dimensions == 2:
        size[0] = max(size[1:])  # how far sections are apart says nothing about the plane
    factors, kernels = [], []
    for level in range(levels if downsampling is None else len(downsampling)):
        kernels.append(_kernel(size))
        factors.append(_factors(size, factor) if downsampling is None else downsampling[level])
        size = [each * f for each, f in zip(size, factors[-1], strict=True)]
    chosen: dict[str, Any] = {
        "downsampling": factors,
        "kernels_down": [(kernel, kernel) for kernel in [*kernels, _ISOTROPIC]],
        "kernels_up": [(kernel, _ISOTROPIC) for kernel in kernels],
    }
    if dimensions == 2:
        chosen["downsampling"] = [_in_plane(each) for each in factors]
        for name in ("kernels_down", "kernels_up"):
            chosen[name] = [tuple(_in_plane(each) for each in kernels) for kernels in chosen[name]]
    return UNetConfig.parse({**chosen, **settings}, "unet")


def _factors(size: list[float], factor: int) -> PerAxis:
    """Downsample the axes that this brings nearer, on a logarithmic scale, to the coarsest one; else all."""
    fine = [each * factor <= max(size) * sqrt(factor) for each in size]
    z, y, x = (factor if each or not any(fine) else 1 for each in fine)
    return z, y, x


def _kernel(size: list[float]) -> PerAxis:
    z, y, x = (1 if each >= _ANISOTROPIC * min(size) else 3 for each in size)
    return z, y, x


def _in_plane(each: PerAxis) -> PerAxis:
    return 1, each[1], each[2]
