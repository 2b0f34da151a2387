"""The two layouts a table can have in an SQL database: one row per row, or one blob per block and column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.graphs.blobs import pack_array, unpack_array
from catena.graphs.schema import BLOCK, TableSchema
from catena.graphs.sql_session import SQLSession

Place = tuple[Any, ...]
"""How far a table has been read: the key of the last row, or block and part of the last blob."""

_MOST_PARTS = 4096


@dataclass(frozen=True)
class Table(ABC):
    """A table of one store, under its present name; `serial` is its number in the catalogue."""

    name: str
    schema: TableSchema
    serial: int

    @abstractmethod
    def create(self, session: SQLSession) -> None:
        """Make the table."""

    @abstractmethod
    def insert(self, session: SQLSession, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows; `arrays` has the column `block`."""

    @abstractmethod
    def index_blocks(self, session: SQLSession) -> None:
        """See to it, as far as the connection may, that a block's rows are found without looking at all others."""

    @abstractmethod
    def piece(
        self, session: SQLSession, names: Sequence[str], blocks: Sequence[int] | None, rows: int, after: Place | None
    ) -> tuple[dict[str, NDArray[Any]] | None, Place | None]:
        """Return the named columns of about `rows` rows behind `after`, and where to go on.

        Every piece is a query of its own, so that reading goes on after a lost connection, and holds
        nothing open meanwhile. No piece at all: no rows are left; no place: this was the last piece.
        """

    def _where(
        self, session: SQLSession, blocks: Sequence[int] | None, conditions: Mapping[str, Place | None]
    ) -> tuple[str, list[Any]]:
        """Return a WHERE clause and its values; a condition applies unless its place is None."""
        parts = [] if blocks is None else [session.wanted]
        values = [] if blocks is None else [session.listed(blocks)]
        for condition, place in conditions.items():
            if place is not None:
                parts.append(f"{condition} ({_marks(place)})")
                values.extend(place)
        return (" WHERE " + " AND ".join(parts) if parts else ""), values


class RowTable(Table):
    """``NAME(columns…, block)`` with the key as primary key, and an index on the block."""

    def create(self, session: SQLSession) -> None:
        """Make the table, and its index unless that is to come later."""
        dtypes = {name: self.schema.dtype(name) for name in (*self.schema.columns, BLOCK)}
        columns = [f'"{name}" {session.column_type(dtype)} NOT NULL' for name, dtype in dtypes.items()]
        columns += session.derived_columns(self.schema)
        session.execute(
            f'CREATE TABLE "{self.name}" ({", ".join(columns)}, PRIMARY KEY ({quoted(self.schema.key)}))'
            f"{session.table_options(self.schema.key)}"
        )
        if not session.indexes_late:
            session.execute(self._index)

    def index_blocks(self, session: SQLSession) -> None:
        """Make the index on the block if it was left for later."""
        if session.indexes_late and session.writable:
            session.execute(self._index)

    @property
    def _index(self) -> str:
        # named by the serial: an index keeps its name when the table is renamed
        return f'CREATE INDEX IF NOT EXISTS catena_block_{self.serial} ON "{self.name}" (block)'

    def insert(self, session: SQLSession, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows; `arrays` has the column `block`."""
        session.insert(self.name, arrays)

    def piece(
        self, session: SQLSession, names: Sequence[str], blocks: Sequence[int] | None, rows: int, after: Place | None
    ) -> tuple[dict[str, NDArray[Any]] | None, Place | None]:
        """Return the next `rows` rows in the order of the key."""
        if blocks is not None and after is None and session.indexes_late and session.writable:
            # one statement, so all of the index or none; without it rows are found all the same: no reader waits for it
            session.execute_if_free(self._index)
        key = self.schema.key
        asked = tuple(dict.fromkeys((*names, *key)))  # each once; the key tells where to go on
        where, values = self._where(session, blocks, {f"({quoted(key)}) >": after})
        found = session.fetch(
            f'SELECT {quoted(asked)} FROM "{self.name}"{where} ORDER BY {quoted(key)} LIMIT {int(rows)}',
            values,
            {name: self.schema.dtype(name) for name in asked},
        )
        length = len(found[key[0]])
        if not length:
            return None, None
        last = tuple(found[name][-1].item() for name in key) if length == rows else None
        return {name: found[name] for name in names}, last


class ArrayTable(Table):
    """``NAME(block, part, rows, columns…)`` with a compressed array per column."""

    def create(self, session: SQLSession) -> None:
        """Make the table."""
        integers = "".join(f"{name} {session.integer} NOT NULL, " for name in (BLOCK, "part", "rows"))
        columns = "".join(f'"{name}" {session.blob} NOT NULL, ' for name in self.schema.columns)
        # a blob makes rows too long for clustering to pay, whatever the key
        session.execute(
            f'CREATE TABLE "{self.name}" ({integers}{columns}PRIMARY KEY (block, part)){session.table_options(())}'
        )

    def index_blocks(self, session: SQLSession) -> None:
        """Do nothing: the primary key begins with the block."""

    def insert(self, session: SQLSession, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, each block's behind what it already has."""
        order = np.argsort(arrays[BLOCK], kind="stable")
        blocks, starts = np.unique(arrays[BLOCK][order], return_index=True)
        for block, rows in zip(blocks.tolist(), np.split(order, starts)[1:], strict=True):
            ((part,),) = session.execute(f'SELECT COUNT(*) FROM "{self.name}" WHERE block = ?', (block,))
            self._insert_part(session, block, part, {name: arrays[name][rows] for name in self.schema.columns})

    def _insert_part(self, session: SQLSession, block: int, part: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        names = tuple(self.schema.columns)
        values = (block, part, len(arrays[names[0]]), *(pack_array(arrays[name]) for name in names))
        session.execute(
            f'INSERT INTO "{self.name}" (block, part, rows, {quoted(names)}) VALUES ({_marks(values)})', values
        )

    def piece(
        self, session: SQLSession, names: Sequence[str], blocks: Sequence[int] | None, rows: int, after: Place | None
    ) -> tuple[dict[str, NDArray[Any]] | None, Place | None]:
        """Return the next parts, blocks in order, as many whole parts as make about `rows` rows."""
        where, values = self._where(session, blocks, {"(block, part) >": after})
        order = "ORDER BY block, part"
        parts = session.execute(
            f'SELECT block, part, rows FROM "{self.name}"{where} {order} LIMIT {_MOST_PARTS}', values
        )
        if not parts:
            return None, None
        enough = int(np.searchsorted(np.cumsum([length for *_, length in parts]), rows)) + 1
        last = parts[: min(enough, len(parts))][-1][:2]
        where, values = self._where(session, blocks, {"(block, part) >": after, "(block, part) <=": last})
        stored = [name for name in names if name != BLOCK]
        columns = f", {quoted(stored)}" if stored else ""
        found = session.execute(f'SELECT block, rows{columns} FROM "{self.name}"{where} {order}', values)
        held = [self._unpacked(stored, *row) for row in found]
        return {name: np.concatenate([arrays[name] for arrays in held]) for name in names}, last

    def _unpacked(self, names: Sequence[str], block: int, length: int, *blobs: bytes) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {BLOCK: np.full(length, block, dtype=np.int64)}
        for name, blob in zip(names, blobs, strict=True):
            array = unpack_array(blob, f"table {self.name!r}, column {name!r}, block {block}")
            arrays[name] = array.astype(self.schema.dtype(name).base, copy=False)
        return arrays


def table_of(name: str, schema: TableSchema, serial: int) -> Table:
    """Return the table in the layout that its schema asks for."""
    kind = RowTable if schema.kind == "rows" else ArrayTable
    return kind(name=name, schema=schema, serial=serial)


def quoted(names: Sequence[str]) -> str:
    """Return names as a list of columns in SQL."""
    return ", ".join(f'"{name}"' for name in names)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
