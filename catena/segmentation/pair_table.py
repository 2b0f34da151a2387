"""A hash table of pairs of numbers, with one key per pair, for kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


@kernel
def pair_key(nodes: int, a: int, b: int) -> int:
    """Return the key of the pair {a, b} of numbers below `nodes`."""
    return int(min(a, b)) * nodes + int(max(a, b))


@kernel
def pair_slot(keys: NDArray[np.int64], key: int) -> int:
    """Return where `key` is in the table (its size a power of two), or the free place (-1) where it belongs."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    slot = int(np.int64(mixed & np.uint64(keys.size - 1)))
    while keys[slot] != key and keys[slot] >= 0:
        slot = (slot + 1) & (keys.size - 1)
    return slot
