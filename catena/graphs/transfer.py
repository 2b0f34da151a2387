"""Whole graphs: copied from one store to another, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.errors import CatenaError, StoreError
from catena.graphs.ownership import OWNER
from catena.graphs.presentation import Presentation
from catena.graphs.schema import BLOCK, TableSchema, missing_table
from catena.graphs.sql import PRESENTED, SQLStore
from catena.graphs.staged_tables import ATTEMPT, PUBLISHED, STAGED, publish_table, published_key
from catena.graphs.store import GraphStore

PIECE_BYTES = 64 * 2**20
"""About how much of a table is in memory at a time."""

Advance = Callable[[int], Any]
"""Called with a number of rows that have been read since the last call."""

_COPYING = "copying_"
_OF_ITS_STORE = (OWNER, ATTEMPT, PUBLISHED)


def copy_graph(
    source: GraphStore,
    target: GraphStore,
    tables: Sequence[str] | None = None,
    replace: bool = False,
    advance: Advance | None = None,
) -> dict[str, int]:
    """Copy tables, and what is known about them, into another store of any kind.

    A table arrives whole or not at all, and with it the fingerprint it was published under: a run that is told to use
    `target` goes on as with `source`. Memory does not grow with the graph.

    Parameters
    ----------
    source, target
        Stores, which may be of different kinds.
    tables
        Names; if None all but those in the making.
    replace
        Drop tables of these names in `target`, each when its successor is complete. Otherwise they are refused.
    advance
        Told how many more rows have been read.

    Returns
    -------
    dict
        Table → number of rows.

    Raises
    ------
    StoreError
        If `source` has no such table, `target` has one already, or not every row has arrived.
    """
    names = finished_tables(source) if tables is None else tuple(tables)
    _check_names(source, target, names, replace)
    rows = {name: _copy_table(source, target, name, advance or _silent) for name in names}
    if tables is None:
        _copy_metadata(source, target)
    return rows


def drop_graph(store: GraphStore) -> None:
    """Drop every table, and forget whose they were."""
    for table in store.tables():
        store.drop(table)
    for key in store.metadata():
        store.set_metadata(key, None)


def finished_tables(store: GraphStore) -> tuple[str, ...]:
    """Return the names of all tables that no run or copy is still writing."""
    return tuple(name for name in store.tables() if not name.startswith((STAGED, _COPYING)))


def _check_names(source: GraphStore, target: GraphStore, names: Iterable[str], replace: bool) -> None:
    known, there = source.tables(), target.tables()
    for name in names:
        if name not in known:
            raise missing_table(source.url, name, known)
        if name in there and not replace:
            raise StoreError(f"{target.url} has a table {name!r} already; say --replace to drop it, or choose others")


def _copy_table(source: GraphStore, target: GraphStore, table: str, advance: Advance) -> int:
    staged = f"{_COPYING}{table}"
    schema = source.schema(table)
    target.drop(staged)  # left by a copy that was killed
    target.create(staged, schema)
    try:
        target.replace_all(staged, _pieces(source, table, schema, advance))
        written = source.blocks_written(table)
        for block in np.setdiff1d(written, target.blocks_written(staged)).tolist():
            target.write_block(staged, block, schema.empty(tuple(schema.columns)))
        rows = _verified(source, target, table, staged, written)
    except BaseException:
        with suppress(CatenaError):  # what has gone wrong already says more
            target.drop(staged)
        raise
    publish_table(target, staged, table, source.get_metadata(published_key(table)))
    return rows


def _pieces(source: GraphStore, table: str, schema: TableSchema, advance: Advance) -> Iterator[dict[str, NDArray[Any]]]:
    names = (*schema.columns, BLOCK)
    row_bytes = sum(schema.dtype(name).itemsize for name in names)
    for piece in source.iterate(table, names, rows=max(1000, min(500_000, PIECE_BYTES // row_bytes))):
        yield piece
        advance(len(piece[BLOCK]))


def _verified(source: GraphStore, target: GraphStore, table: str, staged: str, written: NDArray[np.int64]) -> int:
    expected, found = source.count(table), target.count(staged)
    if found != expected or not np.array_equal(written, target.blocks_written(staged)):
        raise StoreError(
            f"{source.url}: table {table!r} has {expected} rows in {len(written)} blocks, but {found} rows in "
            f"{len(target.blocks_written(staged))} blocks have arrived; was it written meanwhile? Copy it again"
        )
    return found


def _copy_metadata(source: GraphStore, target: GraphStore) -> None:
    for key, value in source.metadata().items():
        if key == PRESENTED and isinstance(target, SQLStore):
            if value["edges"] in target.tables():
                target.present(Presentation.from_json(value))
        elif not key.startswith(_OF_ITS_STORE):
            target.set_metadata(key, value)


def _silent(rows: int) -> None:
    """Ignore progress."""
