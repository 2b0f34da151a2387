"""The no-learning baseline: affinities read straight off the raw data, where membranes are dark.

It goes through the same watershed and agglomeration as predicted affinities and is scored beside
them. A network that does not beat it has learnt nothing that a blur does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from pydantic import Field, model_validator

from catena.config import Config
from catena.errors import DataError, GeometryError

AFFINITY_OFFSETS = (Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1))
_TRUNCATE = 3.0


class BaselineConfig(Config):
    """Smoothing and normalisation of the baseline."""

    sigma_nm: float = Field(8.0, ge=0, description="Standard deviation of the Gaussian blur, nm")
    low_percentile: float = Field(
        1.0, ge=0, lt=100, description="Smoothed intensity that counts as membrane: affinity 0"
    )
    high_percentile: float = Field(
        75.0, gt=0, le=100, description="Smoothed intensity that counts as inside: affinity 1"
    )

    @model_validator(mode="after")
    def _ordered(self) -> BaselineConfig:
        if self.low_percentile >= self.high_percentile:
            raise ValueError("low_percentile must be below high_percentile")
        return self


def pseudo_affinities(
    raw: NDArray[np.uint8],
    voxel_size: Coordinate,
    config: BaselineConfig | None = None,
    *,
    units_per_nm: int = 1,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return affinities that are high where smoothed raw is bright at both voxels.

    Parameters
    ----------
    raw
        Intensities ``(z, y, x)``; membranes dark.
    voxel_size
        World units, ``z, y, x``.
    config
        Smoothing and normalisation; the default if None.
    units_per_nm
        World units per nanometre.
    limits
        Smoothed intensities of affinity 0 and 1, for blocks of one volume; by default the
        percentiles of the configuration within `raw`.

    Returns
    -------
    NDArray
        uint8 ``(3, z, y, x)``, affinity · 255 for the offsets :data:`AFFINITY_OFFSETS`. The first
        plane of each axis, whose partner lies outside, takes its own voxel's brightness.

    Raises
    ------
    GeometryError
        If `raw` is not three-dimensional.
    DataError
        If `raw` is empty or constant after smoothing.
    """
    config = config or BaselineConfig()
    smoothed = _smoothed(raw, voxel_size, config.sigma_nm * units_per_nm)
    low, high = limits or np.percentile(smoothed, [config.low_percentile, config.high_percentile])
    if not high > low:
        raise DataError(f"raw is constant ({low:g}) after smoothing with {config.sigma_nm} nm; it shows no membranes")
    brightness = np.clip((smoothed - low) / (high - low), 0, 1)
    inside = np.rint(brightness * 255).astype(np.uint8)
    return np.stack([np.minimum(inside, _predecessor(inside, axis)) for axis in range(3)])


def _smoothed(raw: NDArray[Any], voxel_size: Coordinate, sigma: float) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter  # not needed by those who only read the configuration

    if raw.ndim != 3:
        raise GeometryError(f"raw must be (z, y, x), found shape {raw.shape}")
    if not raw.size:
        raise DataError(f"raw is empty: shape {raw.shape}")
    sigma_vox = [sigma / float(each) for each in voxel_size]
    smoothed: NDArray[np.float32] = gaussian_filter(
        raw.astype(np.float32), sigma_vox, mode="reflect", truncate=_TRUNCATE
    )
    return smoothed


def _predecessor(values: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Return each voxel's neighbour at offset −1 along `axis`; the first plane is its own neighbour."""
    shifted = values.copy()
    into, source = [slice(None)] * 3, [slice(None)] * 3
    into[axis], source[axis] = slice(1, None), slice(None, -1)
    shifted[tuple(into)] = values[tuple(source)]
    return shifted
