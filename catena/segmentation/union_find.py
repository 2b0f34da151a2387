"""Sets that grow together, for kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


@kernel
def find(parent: NDArray[np.int64], member: int) -> int:
    """Return the root of `member`'s set, shortening the way to it."""
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    return member


@kernel
def unite_lowest(parent: NDArray[np.int64], a: int, b: int) -> None:
    """Join the sets of `a` and `b` under the lower one of their roots."""
    a, b = find(parent, a), find(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@kernel
def unite_pairs(parent: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Join the sets of ``a[k]`` and ``b[k]`` for all k."""
    for k in range(a.size):
        unite_lowest(parent, a[k], b[k])


@kernel
def flatten(parent: NDArray[np.int64]) -> None:
    """Let every member point at its root; roots must be the lowest of their sets."""
    for member in range(parent.size):
        parent[member] = parent[parent[member]]
