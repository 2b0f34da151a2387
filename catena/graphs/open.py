"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from catena.errors import ConfigError, StoreError
from catena.graphs.sqlite import SQLiteStore
from catena.graphs.store import GraphStore
from catena.graphs.url import without_password

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql://"
_MONGODB = ("mongodb", "mongodb+srv")


def open_store(url: str, mode: Literal["a", "r"] = "a") -> GraphStore:
    """Open the graph store that `url` names.

    ``sqlite:///PATH`` (relative), ``sqlite:////PATH`` (absolute), or ``postgresql://`` or ``mongodb://`` and
    ``[USER@]HOST[:PORT]/DATABASE?namespace=NAME``.

    Parameters
    ----------
    url
        Scheme and place.
    mode
        ``"a"`` to read and write, making the store if it is not there; ``"r"`` to read only.

    Raises
    ------
    ConfigError
        If the scheme is not supported.
    StoreError
        If the store cannot be opened.
    """
    if url.partition("://")[0] in _MONGODB:
        return _open_mongodb(url, mode)
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SQLiteStore(url.removeprefix(_SQLITE), mode)
    if url.startswith(_POSTGRESQL):
        return _open_postgresql(url, mode)
    raise ConfigError(
        f"store {without_password(url)!r} is not supported; "
        "expected sqlite:///PATH, postgresql://HOST/DATABASE or mongodb://HOST/DATABASE"
    )


def _open_mongodb(url: str, mode: Literal["a", "r"]) -> GraphStore:
    try:
        from catena.graphs.mongodb_open import open_mongodb
    except ModuleNotFoundError as error:
        if error.name not in ("pymongo", "bson"):
            raise
        raise StoreError(f"a MongoDB store needs PyMongo: pip install 'catena-em[mongodb]' ({error})") from error
    return open_mongodb(url, mode)


def _open_postgresql(url: str, mode: Literal["a", "r"]) -> GraphStore:
    try:
        from catena.graphs.postgresql import PostgreSQLStore
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise StoreError(f"a PostgreSQL store needs psycopg: pip install 'catena-em[postgresql]' ({error})") from error
    return PostgreSQLStore(url, mode)


def sqlite_url(path: str | Path) -> str:
    """Return the URL of the SQLite store in the file `path`.

    >>> sqlite_url("/data/rag.sqlite")
    'sqlite:////data/rag.sqlite'
    """
    return f"{_SQLITE}{path}"
