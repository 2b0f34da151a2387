"""SQLite's errors in Catena's words: what happened to which file, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catena.errors import CatenaError, OutputError, StoreError

_REMEDIES: dict[str, tuple[type[CatenaError], str]] = {
    "SQLITE_FULL": (OutputError, "the disk is full; free some space and run again, finished blocks are kept"),
    "SQLITE_READONLY": (OutputError, "the file or its folder cannot be written; check their permissions"),
    "SQLITE_PERM": (OutputError, "the file cannot be accessed; check its permissions"),
    "SQLITE_CANTOPEN": (StoreError, "the file cannot be opened; check that its folder exists and is accessible"),
    "SQLITE_BUSY": (StoreError, "another process holds the database; find it (lsof), or wait and run again"),
    "SQLITE_LOCKED": (StoreError, "the same process is still reading the table it wants to change"),
    "SQLITE_NOTADB": (StoreError, "the file is not an SQLite database; name another file, or move this one away"),
    "SQLITE_CORRUPT": (StoreError, "the database is damaged; move it away and redo the stages that write it"),
    "SQLITE_IOERR": (OutputError, "the file system reported an error; check the disk (dmesg, quota)"),
    "SQLITE_CONSTRAINT": (StoreError, "two rows have the same key, or a row owned by another block is written"),
    "SQLITE_PROTOCOL": (StoreError, "locking failed, as on a network file system; use postgresql:// or mongodb://"),
}


def explain(error: sqlite3.Error, path: Path, doing: str) -> CatenaError:
    """Return the error to raise instead of `error`, which SQLite raised on `path` while `doing` something."""
    name = getattr(error, "sqlite_errorname", None) or ""
    found = [each for prefix, each in _REMEDIES.items() if name.startswith(prefix)]
    kind, remedy = found[0] if found else (StoreError, "see the message of SQLite")
    return kind(f"{path}: {doing} failed, {error}: {remedy}")


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors within the ``with`` into those of :func:`explain`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path, doing) from error
