"""A graph store in one SQLite file: no server, any number of processes on one host."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.faults import fault_point
from catena.errors import OutputError, StoreError, nearest_names
from catena.graphs.schema import BLOCK, Columns, TableSchema, check_table_name
from catena.graphs.sqlite_errors import explained
from catena.graphs.sqlite_tables import ArrayTable, RowTable, Table

_CATALOGUE = (
    "CREATE TABLE IF NOT EXISTS catena_tables "
    "(serial INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, schema TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS catena_blocks (serial INTEGER NOT NULL, block INTEGER NOT NULL, "
    "rows INTEGER NOT NULL, PRIMARY KEY (serial, block)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS catena_metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
_SETTINGS = ("PRAGMA synchronous=NORMAL", "PRAGMA cache_size=-65536", "PRAGMA temp_store=MEMORY")


class SQLiteStore:
    """Graph store in the SQLite file `path`; see :class:`~catena.graphs.store.GraphStore` for the methods.

    The database is in WAL mode: readers never wait, writers queue for up to `patience_s` seconds.
    What has committed survives the death of any process, not the crash of the whole machine. Rows lie as
    ``TABLE(columns…, block)`` with the key as primary key, so that ``nodes(id, pos_0, pos_1, pos_2, …)`` and
    ``edges(u, v, …)`` are the tables that funlib.persistence reads.

    Parameters
    ----------
    path
        The file; missing folders are made in mode ``"a"``.
    mode
        ``"a"`` to read and write, ``"r"`` to read only.
    patience_s
        How long to wait for other writers.

    Raises
    ------
    StoreError
        If the file is missing (mode ``"r"``), is no database, or stays locked.
    OutputError
        If it cannot be made.
    """

    spans_hosts: ClassVar[bool] = False

    def __init__(self, path: str | Path, mode: Literal["a", "r"] = "a", patience_s: float = 300.0) -> None:
        self.path = Path(path)
        self._depth = 0
        if mode == "a":
            _make_folder(self.path.parent)
        elif not self.path.is_file():
            raise StoreError(f"no graph store at {self.path}; run the stage that writes it, or correct the path")
        with explained(self.path, "opening"):
            self._connection = sqlite3.connect(
                _uri(self.path, mode), uri=True, timeout=patience_s, isolation_level=None
            )
            try:
                self._prepare(mode, patience_s)
            except sqlite3.Error:
                self._connection.close()
                raise

    def _prepare(self, mode: str, patience_s: float) -> None:
        for setting in _SETTINGS:
            self._connection.execute(setting)
        if mode == "a":
            _switch_to_wal(self._connection, patience_s)
        known = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'catena_metadata'").fetchone()
        if mode == "a" and known is None:
            with self.transaction():
                for statement in _CATALOGUE:
                    self._connection.execute(statement)

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.path}"

    # -- tables -------------------------------------------------------------------------------

    def create(self, table: str, schema: TableSchema) -> None:
        """Make an empty table; nothing happens if it is there with the same schema, refused if with another."""
        check_table_name(table)
        with self._doing(f"creating table {table!r}"):
            if self._is_there(table, schema):
                return
            with self.transaction():
                if not self._is_there(table, schema):  # nobody else was faster
                    self._create(table, schema)

    def _create(self, table: str, schema: TableSchema) -> None:
        cursor = self._connection.execute(
            "INSERT INTO catena_tables (name, schema) VALUES (?, ?)", (table, schema.to_json())
        )
        self._table(table, schema, cast(int, cursor.lastrowid)).create(self._connection)

    def _is_there(self, table: str, schema: TableSchema) -> bool:
        found = self._catalogued(table)
        if found is not None and found[1] != schema:
            raise StoreError(
                f"{self.path}: table {table!r} is there with another schema: found {found[1].to_json()}, expected "
                f"{schema.to_json()}; drop the table, or redo the stage that writes it"
            )
        return found is not None

    def schema(self, table: str) -> TableSchema:
        """Return the schema `table` was created with."""
        return self._known(table).schema

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        with self._doing("listing tables"):
            rows = self._connection.execute("SELECT name FROM catena_tables ORDER BY name").fetchall()
        return tuple(name for (name,) in rows)

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Give `old` the name `new`, atomically; an existing `new` is refused, or dropped with `replace`."""
        check_table_name(new)
        if old == new:
            return
        with self._doing(f"renaming table {old!r} to {new!r}"), self.transaction():
            serial = self._known(old).serial
            if self._catalogued(new) is not None and not replace:
                raise StoreError(f"{self.path}: table {new!r} is there already; rename with replace=True to drop it")
            self.drop(new)
            self._connection.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')
            self._connection.execute("UPDATE catena_tables SET name = ? WHERE serial = ?", (new, serial))

    def drop(self, table: str) -> None:
        """Remove `table`; nothing happens if it is not there."""
        with self._doing(f"dropping table {table!r}"), self.transaction():
            found = self._catalogued(table)
            if found is None:
                return
            self._connection.execute(f'DROP TABLE "{table}"')
            self._connection.execute("DELETE FROM catena_blocks WHERE serial = ?", (found[0],))
            self._connection.execute("DELETE FROM catena_tables WHERE serial = ?", (found[0],))

    # -- writing ------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes inside the ``with`` one commit; an exception undoes them."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        fault_point("graph.before_transaction")
        with self._doing("beginning a transaction"):
            self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            fault_point("graph.before_commit")
            with self._doing("committing"):
                self._connection.execute("COMMIT")
        finally:
            self._depth = 0
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        fault_point("graph.after_commit")

    def write_block(self, table: str, block: int, columns: Columns) -> None:
        """Replace the rows that `block` owns, in one transaction; no rows is a valid content."""
        known = self._known(table)
        arrays = known.schema.checked(columns, table)
        length = len(next(iter(arrays.values())))
        with self._doing(f"writing block {block} to table {table!r}"), self.transaction():
            self._remove(known, block)
            known.insert_block(self._connection, block, arrays)
            self._note_blocks(known, {block: length})

    def _remove(self, table: Table, block: int) -> None:
        """Remove a block's rows, if it ever wrote any: the note and the rows commit together."""
        key = (table.serial, block)
        if self._connection.execute("SELECT 1 FROM catena_blocks WHERE serial = ? AND block = ?", key).fetchone():
            self._connection.execute(f'DELETE FROM "{table.name}" WHERE block = ?', (block,))

    def _note_blocks(self, table: Table, rows: Mapping[int, int]) -> None:
        self._connection.executemany(
            "INSERT INTO catena_blocks (serial, block, rows) VALUES (?, ?, ?) "
            "ON CONFLICT (serial, block) DO UPDATE SET rows = excluded.rows",
            ((table.serial, block, count) for block, count in rows.items()),
        )

    def replace_all(self, table: str, columns: Columns | Iterable[Columns]) -> None:
        """Replace the whole table in one transaction; `columns`, or each piece of a stream, includes `block`."""
        known = self._known(table)
        pieces = [columns] if isinstance(columns, Mapping) else columns
        rows: dict[int, int] = {}
        with self._doing(f"writing table {table!r}"), self.transaction():
            self._connection.execute(f'DELETE FROM "{table}"')
            self._connection.execute("DELETE FROM catena_blocks WHERE serial = ?", (known.serial,))
            for piece in pieces:
                arrays = known.schema.checked(piece, table, extra=(BLOCK,))
                known.insert_many(self._connection, arrays)
                blocks, counts = np.unique(arrays[BLOCK], return_counts=True)
                for block, count in zip(blocks.tolist(), counts.tolist(), strict=True):
                    rows[block] = rows.get(block, 0) + count
            self._note_blocks(known, rows)

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, table: str, columns: Sequence[str] | None = None, blocks: Iterable[int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return columns (all but `block` when None) of all rows, or of those that `blocks` own, ordered by the key.

        A table of kind ``"arrays"`` is in the order of the blocks, and within a block as written.
        """
        known = self._known(table)
        names = self._named(known, columns)
        pieces = list(self.iterate(table, names, blocks))
        if not pieces:
            return known.schema.empty(names)
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}

    def iterate(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        blocks: Iterable[int] | None = None,
        rows: int = 500_000,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what :meth:`read` returns in pieces of about `rows` rows; do not write the table meanwhile."""
        known = self._known(table)
        names = self._named(known, columns)
        wanted = None if blocks is None else json.dumps(sorted({int(block) for block in blocks}))
        with self._doing(f"reading table {table!r}"):
            yield from known.pieces(self._connection, names, wanted, rows)

    def _named(self, table: Table, columns: Sequence[str] | None) -> tuple[str, ...]:
        names = tuple(table.schema.columns if columns is None else columns)
        for name in names:
            table.schema.dtype(name)
        return names

    def count(self, table: str) -> int:
        """Return the number of rows."""
        serial = self._known(table).serial
        with self._doing(f"counting table {table!r}"):
            row = self._connection.execute(
                "SELECT COALESCE(SUM(rows), 0) FROM catena_blocks WHERE serial = ?", (serial,)
            ).fetchone()
        return int(row[0])

    def blocks_written(self, table: str) -> NDArray[np.int64]:
        """Return the blocks that have committed, sorted, those without any row included."""
        serial = self._known(table).serial
        with self._doing(f"listing blocks of table {table!r}"):
            rows = self._connection.execute(
                "SELECT block FROM catena_blocks WHERE serial = ? ORDER BY block", (serial,)
            ).fetchall()
        return np.array([block for (block,) in rows], dtype=np.int64)

    # -- metadata and the rest ----------------------------------------------------------------

    def set_metadata(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`."""
        with self._doing(f"writing metadata {key!r}"), self.transaction():
            self._connection.execute(
                "INSERT INTO catena_metadata (key, value) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return the value stored under `key`, or `default`."""
        with self._doing(f"reading metadata {key!r}"):
            row = self._connection.execute("SELECT value FROM catena_metadata WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def metadata(self) -> dict[str, Any]:
        """Return all values that are stored, by key in order; null is as good as nothing and left out."""
        with self._doing("reading metadata"):
            rows = self._connection.execute("SELECT key, value FROM catena_metadata ORDER BY key").fetchall()
        return {key: json.loads(value) for key, value in rows if value != "null"}

    def close(self) -> None:
        """Let go of the connection; using the store afterwards is an error."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _doing(self, what: str) -> Any:
        return explained(self.path, what)

    def _catalogued(self, table: str) -> tuple[int, TableSchema] | None:
        row = self._connection.execute("SELECT serial, schema FROM catena_tables WHERE name = ?", (table,)).fetchone()
        return None if row is None else (int(row[0]), TableSchema.from_json(row[1]))

    def _known(self, table: str) -> Table:
        with self._doing(f"looking up table {table!r}"):
            found = self._catalogued(table)
        if found is None:
            hint = nearest_names(table, self.tables()) if self.tables() else "it holds no tables"
            raise StoreError(f"{self.path} has no table {table!r} ({hint})")
        return self._table(table, found[1], found[0])

    @staticmethod
    def _table(name: str, schema: TableSchema, serial: int) -> Table:
        kind = RowTable if schema.kind == "rows" else ArrayTable
        return kind(name=name, schema=schema, serial=serial)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} for the graph store: {error}") from error


def _uri(path: Path, mode: str) -> str:
    """Return SQLite's URI for `path`; a file in a folder that cannot be written is read as it lies."""
    base = path.absolute().as_uri()
    if mode == "a":
        return base
    return base + ("?mode=ro" if os.access(path.parent, os.W_OK) else "?immutable=1")


def _switch_to_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    """Set WAL mode, which SQLite refuses without waiting while another process does the same."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
