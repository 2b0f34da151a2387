"""What an array is to an augmentation."""

from __future__ import annotations

from typing import Literal

Role = Literal["image", "labels", "mask", "vectors", "affinities", "descriptors"]
"""The meaning of an array.

image
    Intensities; the only arrays whose values are changed, and the only ones that are interpolated.
labels
    Ids of objects, 0 for none; moved by nearest neighbour.
mask
    Where something is known or counts; moved by nearest neighbour, 0 where nothing was.
vectors
    Three channels ``z, y, x`` in world units; turned along with the voxels, where that is known how.
affinities, descriptors
    Targets whose meaning depends on directions in a way that no augmentation knows; never moved.
"""

NEAREST: tuple[Role, ...] = ("labels", "mask", "vectors")
"""Roles that are never interpolated."""

GEOMETRY_DEPENDENT: tuple[Role, ...] = ("affinities", "descriptors")
"""Roles that are wrong once voxels move: their nodes belong after all geometric augmentation."""
