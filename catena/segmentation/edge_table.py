"""A hash table from pairs of fragments to rows, for kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


@kernel
def find_row(
    slots: NDArray[np.int64], us: NDArray[np.uint64], vs: NDArray[np.uint64], u: np.uint64, v: np.uint64
) -> int:
    """Return the slot of the pair (u, v): ``slots[slot]`` is its row, or -1 if the pair is new.

    Parameters
    ----------
    slots
        Rows, -1 where free; its length is a power of two and larger than the number of rows.
    us, vs
        The pairs, by row.
    """
    last = np.uint64(slots.size - 1)
    mixed = (u * np.uint64(0x9E3779B97F4A7C15)) ^ (v * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    slot = int(np.int64(mixed & last))
    while slots[slot] >= 0 and (us[slots[slot]] != u or vs[slots[slot]] != v):
        slot = (slot + 1) & (slots.size - 1)
    return slot


@kernel
def rebuilt(size: int, us: NDArray[np.uint64], vs: NDArray[np.uint64], rows: int) -> NDArray[np.int64]:
    """Return a table of `size` slots (a power of two) that holds the first `rows` pairs."""
    slots = np.full(size, -1, np.int64)
    for row in range(rows):
        slots[find_row(slots, us, vs, us[row], vs[row])] = row
    return slots
