"""A connection to an SQLite file, as the SQL stores' shared logic uses it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from catena.graphs.sql_session import SQLSession
from catena.sqlite import strict_option

_MOST_VALUES = 999
"""What every SQLite takes in one statement."""


class SQLiteSession(SQLSession):
    """A connection to an SQLite file.

    Parameters
    ----------
    connection
        In autocommit mode (``isolation_level=None``).
    description
        File that describes the graph to other programs.
    writable
        Whether it may change anything.
    """

    catalogue: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE IF NOT EXISTS catena_tables "
        "(serial INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, schema TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS catena_blocks (serial INTEGER NOT NULL, block INTEGER NOT NULL, "
        "rows INTEGER NOT NULL, PRIMARY KEY (serial, block)) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS catena_metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    )
    integer: ClassVar[str] = "INTEGER"
    blob: ClassVar[str] = "BLOB"
    wanted: ClassVar[str] = "block IN (SELECT value FROM json_each(?))"
    # kept up to date row by row the index costs as much as the rows themselves, made at once half of that
    indexes_late: ClassVar[bool] = True

    def __init__(self, connection: sqlite3.Connection, description: Path, writable: bool = True) -> None:
        self.connection = connection
        self.writable = writable
        self.description = description

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        return self.connection.execute(statement, values).fetchall()

    def execute_if_free(self, statement: str) -> None:
        """Run one statement that may as well be left out, unless another process is writing the file."""
        ((patience,),) = self.execute("PRAGMA busy_timeout")
        self.execute("PRAGMA busy_timeout=0")
        try:
            self.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the low byte: there are several kinds of busy
                raise
        finally:
            self.execute(f"PRAGMA busy_timeout={patience}")

    def insert(self, table: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, one array per column."""
        columns, width = ", ".join(f'"{name}"' for name in arrays), len(arrays)
        rows = len(next(iter(arrays.values())))
        values: list[Any] = [None] * (rows * width)
        for at, array in enumerate(arrays.values()):
            values[at::width] = array.tolist()  # binding NumPy scalars one by one is five times slower
        # many rows by one statement: starting it takes longer than adding a row
        several = min(rows, _MOST_VALUES // width)
        whole = rows - rows % several if several else 0
        statement = _insertion(table, columns, width, several)
        for begin in range(0, whole, several or 1):
            self.connection.execute(statement, values[begin * width : (begin + several) * width])
        if rows > whole:
            self.connection.execute(_insertion(table, columns, width, rows - whole), values[whole * width :])

    def fetch(
        self, statement: str, values: Sequence[Any], dtypes: Mapping[str, np.dtype[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Run a SELECT whose columns are those of `dtypes`, in order, and return them as arrays."""
        wire = np.dtype([(name, "f8" if dtype.kind == "f" else "i8") for name, dtype in dtypes.items()])
        table = np.fromiter(self.connection.execute(statement, values), dtype=wire)
        return {name: table[name].astype(dtype) for name, dtype in dtypes.items()}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements within the ``with`` one commit; an exception undoes them."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def lock_catalogue(self) -> None:
        """Do nothing: a transaction holds the whole file."""

    def clear(self, table: str) -> None:
        """Remove all rows."""
        self.connection.execute(f'DELETE FROM "{table}"')

    def describe(self, metadata: str | None) -> None:
        """Put the description of the graph where funlib.persistence looks for it, or remove it."""
        if metadata is None:
            self.description.unlink(missing_ok=True)
            return
        partial = self.description.with_suffix(f".partial{os.getpid()}")
        partial.write_text(metadata)
        os.replace(partial, self.description)

    def column_type(self, dtype: np.dtype[Any]) -> str:
        """Return the type of a column that holds `dtype`."""
        return "REAL" if dtype.kind == "f" else "INTEGER"

    def table_options(self, key: Sequence[str]) -> str:
        """Return what follows the definition of a table with the primary key `key`."""
        # a single integer key is SQLite's own row id, which is already clustered
        strict = strict_option()
        return f" WITHOUT ROWID{strict and ',' + strict}" if len(key) > 1 else strict

    def listed(self, blocks: Iterable[int]) -> str:
        """Return the value of :attr:`wanted`."""
        return json.dumps(list(blocks))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _insertion(table: str, columns: str, width: int, rows: int) -> str:
    marks = f"({', '.join('?' * width)})"
    return f'INSERT INTO "{table}" ({columns}) VALUES {", ".join([marks] * rows)}'
