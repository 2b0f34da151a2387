"""A random box within a crop."""

from __future__ import annotations

import numpy as np


def random_box(rng: np.random.Generator, shape_vox: tuple[int, ...], max_fraction: float) -> tuple[slice, slice, slice]:
    """Return a box at least one voxel wide, whose edges are at most `max_fraction` of the crop's.

    Edges are uniform between half of the largest and the largest; the place is uniform.
    """
    box = []
    for size in shape_vox:
        edge = max(1, round(size * max_fraction * rng.uniform(0.5, 1)))
        begin = int(rng.integers(0, size - edge + 1))
        box.append(slice(begin, begin + edge))
    z, y, x = box
    return z, y, x
