"""What the SQLite of this Python can do."""

from __future__ import annotations

import sqlite3


def strict_option() -> str:
    """Return the option of a table that refuses values of another type than its columns', "" before SQLite 3.37."""
    return " STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""
