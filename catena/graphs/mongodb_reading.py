"""Reading a MongoDB collection as columns, in pieces, going on after a lost connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, CursorNotFound

from catena.graphs.mongodb_bson import unpack_rows
from catena.graphs.mongodb_client import Connection, Document

LARGEST_BATCH_ROWS = 100_000  # the server sends at most 16 MB at once anyway

Found = TypeVar("Found")


def read_rows(
    connection: Connection,
    collection: Collection[Document],
    wanted: Callable[[], Document],
    dtypes: Mapping[str, np.dtype[Any]],
    order: tuple[str, ...],
    rows: int,
    absent: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield fields of a collection's documents as arrays, in pieces of about `rows` rows.

    Parameters
    ----------
    connection, collection
        Where.
    wanted
        Returns the filter.
    dtypes
        Field → dtype.
    order
        Fields to sort by, which together are unique.
    rows
        Rows of a piece.
    absent
        Field → value where a document lacks it; see :func:`catena.graphs.mongodb_bson.unpack_rows`.
    """
    projection = dict.fromkeys(dtypes, 1) | {"_id": 0}
    size = max(1, min(rows, LARGEST_BATCH_ROWS))

    def find(skip: int) -> Iterator[dict[str, NDArray[Any]]]:
        batches = collection.find_raw_batches(
            wanted(), projection, sort=dict.fromkeys(order, 1), skip=skip, batch_size=size, allow_disk_use=True
        )
        for batch in cast(Iterator[bytes], batches):
            if batch:
                yield unpack_rows(batch, dtypes, absent or {}, f"collection {collection.name!r}")

    return gathered(resumed(connection, find, _rows), tuple(dtypes), rows)


def _rows(columns: Mapping[str, NDArray[Any]]) -> int:
    return len(next(iter(columns.values())))


def resumed(
    connection: Connection, find: Callable[[int], Iterable[Found]], length: Callable[[Found], int]
) -> Iterator[Found]:
    """Yield what ``find(0)`` yields; after a lost connection or cursor go on with ``find(documents seen)``.

    This is exact if the order is total and nobody writes meanwhile.
    """
    seen, pauses = 0, connection.pauses()
    while True:
        try:
            for found in find(seen):
                yield found
                seen += length(found)
                pauses = connection.pauses()
            return
        except (AutoReconnect, CursorNotFound) as error:  # a server forgets cursors left alone for ten minutes
            connection.wait(pauses, error)


def gathered(
    found: Iterable[dict[str, NDArray[Any]]], names: tuple[str, ...], rows: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the arrays joined to pieces of at least `rows` rows, but for the last."""
    held: list[dict[str, NDArray[Any]]] = []
    total = 0
    for arrays in found:
        held.append(arrays)
        total += _rows(arrays)
        if total >= rows:
            yield _joined(held, names)
            held, total = [], 0
    if held:
        yield _joined(held, names)


def _joined(held: list[dict[str, NDArray[Any]]], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([arrays[name] for arrays in held]) for name in names}
