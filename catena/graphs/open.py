"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from catena.errors import ConfigError
from catena.graphs.sqlite import SQLiteStore
from catena.graphs.store import GraphStore
from catena.graphs.url import without_password

_SQLITE = "sqlite:///"


def open_store(url: str, mode: Literal["a", "r"] = "a") -> GraphStore:
    """Open the graph store that `url` names; ``sqlite:///PATH`` (relative) or ``sqlite:////PATH`` (absolute).

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
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return SQLiteStore(url.removeprefix(_SQLITE), mode)
    raise ConfigError(f"store {without_password(url)!r} is not supported; expected sqlite:///PATH")


def sqlite_url(path: str | Path) -> str:
    """Return the URL of the SQLite store in the file `path`.

    >>> sqlite_url("/data/rag.sqlite")
    'sqlite:////data/rag.sqlite'
    """
    return f"{_SQLITE}{path}"
