"""A graph store in one SQLite file: no server, any number of processes on one host."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from catena.errors import OutputError, StoreError
from catena.graphs.sql import SQLStore
from catena.graphs.sqlite_errors import explained
from catena.graphs.sqlite_session import SQLiteSession

T = TypeVar("T")

_SETTINGS = (
    "PRAGMA synchronous=NORMAL",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=8192",  # pages: 32 MB, for many blocks change the same pages of the index
)


class SQLiteStore(SQLStore):
    """Graph store in the SQLite file `path`; see :class:`~catena.graphs.store.GraphStore` for the methods.

    The database is in WAL mode: readers never wait, writers queue for up to `patience_s` seconds.
    What has committed survives the death of any process, not the crash of the whole machine. Rows lie as
    ``TABLE(columns…, block)`` with the key as primary key; the index by which rows are found by their
    block is made when such rows are first looked for (unless another process is writing) or replaced, or when the table
    is renamed.

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
    _session: SQLiteSession

    def __init__(self, path: str | Path, mode: Literal["a", "r"] = "a", patience_s: float = 300.0) -> None:
        self.path = Path(path)
        if mode == "a":
            _make_folder(self.path.parent)
        elif not self.path.is_file():
            raise StoreError(f"no graph store at {self.path}; run the stage that writes it, or correct the path")
        with explained(self.path, "opening"):
            connection = sqlite3.connect(_uri(self.path, mode), uri=True, timeout=patience_s, isolation_level=None)
            description = self.path.with_name(f"{self.path.stem}-meta.json")
            self._session = SQLiteSession(connection, description, writable=mode == "a")
            try:
                self._prepare(connection, mode, patience_s)
            except sqlite3.Error:
                connection.close()
                raise

    def _prepare(self, connection: sqlite3.Connection, mode: str, patience_s: float) -> None:
        for setting in _SETTINGS:
            connection.execute(setting)
        if mode == "a":
            _switch_to_wal(connection, patience_s)
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'catena_metadata'").fetchone()
        if mode == "a" and known is None:
            with self._session.transaction():
                for statement in self._session.catalogue:
                    connection.execute(statement)

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"sqlite:///{self.path}"

    @property
    def place(self) -> str:
        """What messages call the store."""
        return str(self.path)

    def _attempt(self, doing: str, work: Callable[[], T]) -> T:
        with explained(self.path, doing):
            return work()


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
