"""What happens to single sections on the way through knife, microscope and alignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

_MISSING = 0.03
_SLIP = 0.06
_SHIFT = 0.03
_LARGEST_VOX = 6
_DRIFT_VOX = 20  # shifts add up; an aligned stack does not wander away for ever


@dataclass(frozen=True)
class Sections:
    """One entry per section (z).

    Attributes
    ----------
    shift_vox
        ``(n, 2)`` int64, y and x: section z shows at voxel p what lies at p + shift. Labels shift with the image.
    gain, level
        ``(n,)`` float64 contrast factor and grey-level offset.
    missing
        ``(n,)`` bool: the section was lost; its image is black, its labels are what would have been there.
    """

    shift_vox: NDArray[np.int64]
    gain: NDArray[np.float64]
    level: NDArray[np.float64]
    missing: NDArray[np.bool_]


def is_anisotropic(voxel_size: Coordinate) -> bool:
    """Tell whether voxels are those of cut sections: at least twice as high (z) as wide."""
    return bool(voxel_size[0] >= 2 * max(voxel_size[1], voxel_size[2]))


def plan_sections(count: int, anisotropic: bool, seed: int) -> Sections:
    """Draw contrast changes and, for cut sections, missing and misaligned ones.

    Misaligned are single sections (a slip), or all sections from one on (a shift), by up to six voxels.
    A stack of at least eight sections has at least one missing, one slipped section and one shift.
    """
    rng = np.random.default_rng([seed, 3])
    spread = 1.0 if anisotropic else 0.15
    gain = 1.0 + 0.07 * spread * rng.standard_normal(count)
    level = 5.0 * spread * rng.standard_normal(count)
    shift = np.zeros((count, 2), np.int64)
    missing = np.zeros(count, np.bool_)
    if anisotropic:
        shift += rng.integers(-1, 2, (count, 2)) * (rng.random((count, 1)) < 0.3)
        for z in _choose(rng, count, _SHIFT):
            shift[z:] += _jump(rng, _LARGEST_VOX)
        shift = np.clip(shift, -_DRIFT_VOX, _DRIFT_VOX)
        for z in _choose(rng, count, _SLIP):
            shift[z] += _jump(rng, _LARGEST_VOX)
        missing[_choose(rng, count, _MISSING)] = True
    return Sections(shift, np.clip(gain, 0.75, 1.25), level, missing)


def _choose(rng: np.random.Generator, count: int, share: float) -> NDArray[np.int64]:
    """Return sorted interior sections, `share` of all and at least one of a stack of eight."""
    if count < 8:
        return np.zeros(0, np.int64)
    wanted = max(1, round(share * count))
    return np.sort(rng.choice(np.arange(1, count - 1), wanted, replace=False))


def _jump(rng: np.random.Generator, largest: int) -> NDArray[np.int64]:
    """Return a y, x displacement of 2 to `largest` voxels along each axis."""
    jump: NDArray[np.int64] = rng.integers(2, largest + 1, 2) * rng.choice(np.array([-1, 1]), 2)
    return jump
