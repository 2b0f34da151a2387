"""Lists of numbers that share their arrays: one per node, each number in at most one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel

Index = NDArray[np.signedinteger[Any]]


@kernel
def append(first: Index, last: Index, following: Index, node: int, item: int) -> None:
    """Put `item` at the end of the list of `node`; ``first[node]`` is negative while it is empty."""
    following[item] = -1
    if first[node] < 0:
        first[node] = item
    else:
        following[last[node]] = item
    last[node] = item
