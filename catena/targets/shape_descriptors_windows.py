"""The windows in which shape descriptors see their object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError

TRUNCATE = 3.0
"""The Gaussian window ends at this many sigma."""

Mode: TypeAlias = Literal["gaussian", "sphere"]
PerAxis: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class GaussianWindow:
    """A Gaussian that sums to 1 and ends at 3 sigma, as three one-dimensional kernels."""

    kernels: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    """Per axis ``(3, 2 r + 1)``: d^a G(d) for a = 0, 1, 2, with d in units of sigma."""

    offset_scale: float = 0.5
    """Of the mean offset in units of sigma, before ½ is added."""

    @property
    def radii(self) -> tuple[int, int, int]:
        """Voxels that it reaches to either side, z, y, x."""
        z, y, x = (each.shape[1] // 2 for each in self.kernels)
        return z, y, x


@dataclass(frozen=True)
class BallWindow:
    """The voxels whose centres lie within sigma: a ball, or an ellipsoid if sigma differs between axes."""

    inside: NDArray[np.bool_]
    """``(2 r_z + 1, 2 r_y + 1, 2 r_x + 1)``, its centre in the middle."""

    units: PerAxis
    """Voxel size in units of sigma, z, y, x."""

    offset_scale: float = 1.0
    """Of the mean offset in units of sigma: over half of sigma, halved, as nothing can be much further off."""

    @property
    def radii(self) -> tuple[int, int, int]:
        """Voxels that it reaches to either side, z, y, x."""
        z, y, x = (each // 2 for each in self.inside.shape)
        return z, y, x

    @property
    def halves(self) -> NDArray[np.int64]:
        """``(2 r_z + 1, 2 r_y + 1)``: how far it reaches to either side along x in each row, −1 where it has none."""
        halves: NDArray[np.int64] = (self.inside.sum(axis=2, dtype=np.int64) - 1) // 2
        return halves


Window: TypeAlias = GaussianWindow | BallWindow


def window_of(mode: str, voxel_size: PerAxis, sigma: PerAxis) -> Window:
    """Return the window of a mode.

    Raises
    ------
    DataError
        If there is no such mode.
    """
    if mode == "gaussian":
        z, y, x = (_gaussian(v, s) for v, s in zip(voxel_size, sigma, strict=True))
        return GaussianWindow((z, y, x))
    if mode == "sphere":
        units = (voxel_size[0] / sigma[0], voxel_size[1] / sigma[1], voxel_size[2] / sigma[2])
        return BallWindow(_ball(units), units)
    raise DataError(f"the mode of shape descriptors is gaussian or sphere; found {mode!r}")


def reach_in_sigma(mode: Mode) -> float:
    """Return how many sigma the window of a mode reaches."""
    return TRUNCATE if mode == "gaussian" else 1.0


def _gaussian(voxel_size: float, sigma: float) -> NDArray[np.float64]:
    radius = int(TRUNCATE * sigma / voxel_size + 0.5)
    distance = np.arange(-radius, radius + 1) * (voxel_size / sigma)
    gaussian = np.exp(-0.5 * distance**2)
    gaussian /= gaussian.sum()
    return np.stack([gaussian, distance * gaussian, distance**2 * gaussian])


_ON_THE_SURFACE = 1e-9
"""What rounding may add to a distance, so that voxels exactly at sigma are inside."""


def _ball(units: PerAxis) -> NDArray[np.bool_]:
    radii = [int(1 / unit + _ON_THE_SURFACE) for unit in units]
    z, y, x = ((np.arange(-r, r + 1) * unit) ** 2 for r, unit in zip(radii, units, strict=True))
    inside: NDArray[np.bool_] = z[:, None, None] + y[:, None] + x <= 1 + _ON_THE_SURFACE
    return inside
