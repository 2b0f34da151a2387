"""From a MongoDB URL to our store there, or to a classic graph."""

from __future__ import annotations

from typing import Literal

from catena.errors import StoreError
from catena.graphs.mongodb import MongoDBStore
from catena.graphs.mongodb_catalogue import Catalogue
from catena.graphs.mongodb_classic import ClassicMongoDBStore, classic_tables
from catena.graphs.mongodb_client import Connection
from catena.graphs.url import StoreUrl


def open_mongodb(
    url: str, mode: Literal["a", "r"] = "a", patience_s: float = 300.0
) -> MongoDBStore | ClassicMongoDBStore:
    """Open the graph at ``mongodb://[USER@]HOST[:PORT]/DATABASE[?namespace=NAME]``.

    Parameters
    ----------
    url
        Where; all collections of a graph begin with its namespace and a dot.
    mode
        ``"a"`` to read and write, making the store if it is not there; ``"r"`` to read only, a classic graph too.
    patience_s
        How long to wait for a server that was there and went away.

    Raises
    ------
    ConfigError
        If the URL is none.
    StoreError
        If there is no server or (mode ``"r"``) no graph, the server refuses the user, or a classic graph would be
        written.
    """
    place = StoreUrl.parse(url)
    connection = Connection(place, patience_s)
    try:
        if Catalogue(connection).is_there():
            return MongoDBStore(connection, mode)
        if mode == "r":
            return ClassicMongoDBStore(connection)
        if not place.namespace:
            _require_no_classic(connection)
        return MongoDBStore(connection, mode)
    except BaseException:
        connection.close()
        raise


def _require_no_classic(connection: Connection) -> None:
    tables = classic_tables(connection)
    if tables:
        raise StoreError(
            f"{connection.place} holds a classic graph ({', '.join(tables)}), which is read only; add ?namespace=NAME "
            f"to the URL for a store of your own, and copy it there: catena graph copy {connection.place} DST"
        )
