"""From fragment ids to rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError


def check_ascending(ids: NDArray[np.uint64]) -> None:
    """Refuse ids that are not ascending, each once.

    Raises
    ------
    DataError
        Naming the first pair in the wrong order.
    """
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if wrong.size:
        at = int(wrong[0])
        raise DataError(f"fragment ids must be ascending, each once; found {ids[at]} before {ids[at + 1]} at row {at}")


def rows_of(ids: NDArray[np.uint64], wanted: NDArray[np.uint64], what: str) -> NDArray[np.int64]:
    """Return the row of each wanted id in `ids` (ascending).

    Raises
    ------
    DataError
        If one is not there; `what` says in the message where it came from.
    """
    wanted = np.asarray(wanted, np.uint64)
    rows = np.searchsorted(ids, wanted)
    known = np.zeros(wanted.shape, bool) if ids.size == 0 else ids[np.minimum(rows, ids.size - 1)] == wanted
    if not known.all():
        unknown = np.unique(wanted[~known])
        raise DataError(
            f"{what} name {unknown.size} fragments that are not among the {ids.size} given ones, first"
            f" {unknown[:3].tolist()}"
        )
    return rows.astype(np.int64)
