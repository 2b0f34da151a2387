"""Whose graph it is: a server's store is used by the one experiment whose results lie beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from catena.blockwise.job import write_json
from catena.errors import ConfigError
from catena.graphs.store import GraphStore

OWNER = "owner"
"""Metadata key of the token and the folder of the results that a graph belongs to."""

_FILE = "graph_owner"


def claim(store: GraphStore, folder: Path) -> None:
    """Make `store` the graph of the results in `folder`, or see that it is.

    Names decide where on a server a graph lies, and two experiments may have the same. So each folder of results has a
    random token in a file, and the store of a server remembers it.

    Raises
    ------
    ConfigError
        If the store belongs to other results, saying where these are and what to do.
    """
    own = folder.absolute()
    token = _token(own)
    owner = _owner(store, {"token": token, "folder": str(own)})
    there = Path(owner["folder"])
    if owner["token"] != token:
        raise ConfigError(
            f"{store.url} holds the graph of other results, those in {there}: give this experiment another name, add "
            f"?namespace=NAME to its store, or, if those results are gone, run: catena graph drop '{store.url}' --yes"
        )
    if there != own and _has_token(there, token) and not there.samefile(own):
        raise ConfigError(
            f"{own} is a copy of {there}, to which the graph {store.url} belongs: delete {own / _FILE} and give this "
            "experiment another name, or add ?namespace=NAME to its store"
        )


def _owner(store: GraphStore, claimed: dict[str, str]) -> dict[str, Any]:
    """Return who owns `store`: `claimed`, unless there is somebody."""
    if store.get_metadata(OWNER) is None:
        store.set_metadata(OWNER, claimed)
    owner: dict[str, Any] = store.get_metadata(OWNER)  # again: another may have been faster
    return owner


def _token(folder: Path) -> str:
    """Return the token of the results in `folder`, made once."""
    path = folder / _FILE
    if not path.exists():
        write_json(path, {"token": uuid4().hex})
    token: str = json.loads(path.read_text())["token"]
    return token


def _has_token(folder: Path, token: str) -> bool:
    path = folder / _FILE
    return path.exists() and json.loads(path.read_text())["token"] == token
