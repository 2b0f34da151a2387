"""The two layouts a table can have in SQLite: one row per row, or one blob per block and column."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.graphs.blobs import pack_array, unpack_array
from catena.graphs.schema import BLOCK, TableSchema

_STRICT = " STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
_WANTED = " WHERE block IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class Table(ABC):
    """A table of one store, under its present name; `serial` is its number in the catalogue."""

    name: str
    schema: TableSchema
    serial: int

    @abstractmethod
    def create(self, connection: sqlite3.Connection) -> None:
        """Make the table."""

    @abstractmethod
    def insert_block(self, connection: sqlite3.Connection, block: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of one block."""

    @abstractmethod
    def insert_many(self, connection: sqlite3.Connection, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of many blocks; `arrays` has the column `block`."""

    @abstractmethod
    def pieces(
        self, connection: sqlite3.Connection, names: tuple[str, ...], blocks: str | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns in pieces of about `rows` rows, of all or of `blocks` (a JSON list)."""


class RowTable(Table):
    """``NAME(columns…, block)``, clustered by the key, with an index on the block."""

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the table and its index."""
        columns = [f'"{name}" {_sql_type(self.schema.dtype(name))} NOT NULL' for name in (*self.schema.columns, BLOCK)]
        key = ", ".join(f'"{name}"' for name in self.schema.key)
        # a single integer key is SQLite's own row id, which is already clustered
        options = f"WITHOUT ROWID{_STRICT and ',' + _STRICT}" if len(self.schema.key) > 1 else _STRICT
        connection.execute(f'CREATE TABLE "{self.name}" ({", ".join(columns)}, PRIMARY KEY ({key})) {options}')
        # named by the serial: an index keeps its name when the table is renamed
        connection.execute(f'CREATE INDEX catena_block_{self.serial} ON "{self.name}" (block)')

    def insert_block(self, connection: sqlite3.Connection, block: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of one block."""
        self._insert(connection, arrays, f"{int(block)}")

    def insert_many(self, connection: sqlite3.Connection, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of many blocks; `arrays` has the column `block`."""
        self._insert(connection, arrays, None)

    def _insert(self, connection: sqlite3.Connection, arrays: Mapping[str, NDArray[Any]], block: str | None) -> None:
        names = (*self.schema.columns, BLOCK)
        marks = ", ".join(["?"] * len(arrays) + ([block] if block is not None else []))
        columns = ", ".join(f'"{name}"' for name in names)
        # lists of Python numbers: binding NumPy scalars one by one is five times slower
        rows = zip(*(arrays[name].tolist() for name in names if name in arrays), strict=True)
        connection.executemany(f'INSERT INTO "{self.name}" ({columns}) VALUES ({marks})', rows)

    def pieces(
        self, connection: sqlite3.Connection, names: tuple[str, ...], blocks: str | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns in the order of the key."""
        columns = ", ".join(f'"{name}"' for name in names)
        order = ", ".join(f'"{name}"' for name in self.schema.key)
        where = "" if blocks is None else _WANTED
        cursor = connection.execute(
            f'SELECT {columns} FROM "{self.name}"{where} ORDER BY {order}', () if blocks is None else (blocks,)
        )
        wire = np.dtype([(name, "f8" if self.schema.dtype(name).kind == "f" else "i8") for name in names])
        while found := cursor.fetchmany(rows):
            table = np.array(found, dtype=wire)
            yield {name: table[name].astype(self.schema.dtype(name)) for name in names}


class ArrayTable(Table):
    """``NAME(block, part, rows, columns…)`` with a compressed array per column."""

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the table."""
        columns = "".join(f', "{name}" BLOB NOT NULL' for name in self.schema.columns)
        connection.execute(
            f'CREATE TABLE "{self.name}" (block INTEGER NOT NULL, part INTEGER NOT NULL, '
            f"rows INTEGER NOT NULL{columns}, PRIMARY KEY (block, part)){_STRICT}"
        )

    def insert_block(self, connection: sqlite3.Connection, block: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of one block."""
        self._insert(connection, block, 0, arrays)

    def insert_many(self, connection: sqlite3.Connection, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add the rows of many blocks, each block's behind what it already has."""
        order = np.argsort(arrays[BLOCK], kind="stable")
        blocks, starts = np.unique(arrays[BLOCK][order], return_index=True)
        for block, rows in zip(blocks.tolist(), np.split(order, starts[1:]), strict=True):
            (part,) = connection.execute(f'SELECT COUNT(*) FROM "{self.name}" WHERE block = ?', (block,)).fetchone()
            self._insert(connection, block, part, {name: arrays[name][rows] for name in self.schema.columns})

    def _insert(
        self, connection: sqlite3.Connection, block: int, part: int, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        names = tuple(self.schema.columns)
        columns = "".join(f', "{name}"' for name in names)
        rows = len(arrays[names[0]])
        connection.execute(
            f'INSERT INTO "{self.name}" (block, part, rows{columns}) VALUES (?, ?, ?{", ?" * len(names)})',
            (int(block), part, rows, *(pack_array(arrays[name]) for name in names)),
        )

    def pieces(
        self, connection: sqlite3.Connection, names: tuple[str, ...], blocks: str | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns, blocks in order, as many whole blocks as make about `rows` rows."""
        stored = [name for name in names if name != BLOCK]
        columns = "".join(f', "{name}"' for name in stored)
        where = "" if blocks is None else _WANTED
        cursor = connection.execute(
            f'SELECT block, rows{columns} FROM "{self.name}"{where} ORDER BY block, part',
            () if blocks is None else (blocks,),
        )
        held: list[dict[str, NDArray[Any]]] = []
        total = 0
        for block, length, *blobs in cursor:
            arrays = {name: self._unpacked(name, blob, block) for name, blob in zip(stored, blobs, strict=True)}
            held.append(arrays | {BLOCK: np.full(length, block, dtype=np.int64)})
            total += length
            if total >= rows:
                yield _joined(held, names)
                held, total = [], 0
        if held:
            yield _joined(held, names)

    def _unpacked(self, name: str, blob: bytes, block: int) -> NDArray[Any]:
        array = unpack_array(blob, f"table {self.name!r}, column {name!r}, block {block}")
        return array.astype(self.schema.dtype(name).base, copy=False)


def _joined(held: list[dict[str, NDArray[Any]]], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([arrays[name] for arrays in held]) for name in names}


def _sql_type(dtype: np.dtype[Any]) -> str:
    return "REAL" if dtype.kind == "f" else "INTEGER"
