"""Region adjacency graphs as the field has kept them in MongoDB, to be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from catena.errors import StoreError
from catena.graphs.mongodb_client import Connection
from catena.graphs.mongodb_graph import MongoDBGraph
from catena.graphs.mongodb_reading import read_rows
from catena.graphs.schema import BLOCK, Columns, TableSchema, missing_table

NEVER_MERGED = 1.0
"""The score of an edge without one: nobody has merged it, whatever the threshold."""

NODES = TableSchema(
    {"id": "uint64", "position_0": "float64", "position_1": "float64", "position_2": "float64"}, key=("id",)
)
EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float64", "agglomerated": "bool"}, key=("u", "v"))
_FIELDS = {"position_0": "center_z", "position_1": "center_y", "position_2": "center_x"}
_ABSENT = {"merge_score": NEVER_MERGED, "agglomerated": False}
_REVERSED = {"$expr": {"$gt": ["$u", "$v"]}}
_EVERYTHING = np.iinfo(np.int64).max


class ClassicMongoDBStore(MongoDBGraph):
    """Classic graph, read only; see :class:`~catena.graphs.store.GraphStore` for the methods.

    It lies in the collections ``nodes {id, center_z, center_y, center_x}``, ``edges_<merge_function> {u, v,
    merge_score, agglomerated}`` and ``meta``. The tables are ``nodes(id, position_0, position_1, position_2)``, in nm,
    and each collection of edges as ``(u, v, merge_score, agglomerated)`` with u < v. Where an older database holds
    edges the other way round they are turned, and an edge held both ways counts once, with the lower score (such a
    table is sorted in memory). An edge without a score has never been merged and gets the score 1, one without the mark
    was not agglomerated. Which block wrote a row is not known: all belong to block 0.

    Parameters
    ----------
    connection
        The server and the database.

    Raises
    ------
    StoreError
        If there is no such graph.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._tables = classic_tables(connection)
        self._turned: dict[str, bool] = {}
        if not self._tables:
            names = ", ".join(connection.names()) or "none"
            raise StoreError(
                f"no graph store at {self.url}: found the collections {names}; expected catena_catalogue, or nodes and "
                "edges_<merge_function> of a classic graph; run the stage that writes it, or correct the URL"
            )

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        return self._tables

    def schema(self, table: str) -> TableSchema:
        """Return the schema of `table`."""
        if table not in self._tables:
            raise missing_table(self.url, table, self._tables)
        return NODES if table == "nodes" else EDGES

    def count(self, table: str) -> int:
        """Return the number of rows."""
        if self.schema(table) is EDGES and self._is_turned(table):
            return len(self.read(table, ["u"])["u"])  # an edge held both ways counts once
        collection = self._connection.collection(table)
        return self._connection.retry(f"counting table {table!r}", lambda: collection.count_documents({}))

    def blocks_written(self, table: str) -> NDArray[np.int64]:
        """Return block 0, to which all rows are said to belong."""
        self.schema(table)
        return np.zeros(1, dtype=np.int64)

    def metadata(self) -> dict[str, Any]:
        """Return what the collection ``meta`` holds, by key in order."""
        values = self._connection.collection("meta")
        found = self._connection.retry("reading metadata", lambda: list(values.find({}, {"_id": 0})))
        return {key: value for each in found for key, value in sorted(each.items()) if value is not None}

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return the value stored under `key`, or `default`."""
        return self.metadata().get(key, default)

    # -- reading ------------------------------------------------------------------------------

    def _pieces(
        self, table: str, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        if blocks is not None and 0 not in blocks:
            return iter(())
        turned = self.schema(table) is EDGES and self._is_turned(table)
        found = self._turned_pieces(table, rows) if turned else self._plain_pieces(table, names, rows)
        return (_with_block(piece, names) for piece in found)

    def _plain_pieces(self, table: str, names: tuple[str, ...], rows: int) -> Iterator[dict[str, NDArray[Any]]]:
        schema = self.schema(table)
        # the first of the key tells how many rows there are, even when only `block` is asked for
        stored = dict.fromkeys((schema.key[0], *(name for name in names if name != BLOCK)))
        dtypes = {_FIELDS.get(name, name): schema.dtype(name) for name in stored}
        collection = self._connection.collection(table)
        for found in read_rows(self._connection, collection, dict, dtypes, schema.key, rows, _ABSENT):
            piece = {name: found[_FIELDS.get(name, name)] for name in stored}
            if "merge_score" in piece:
                piece["merge_score"] = np.nan_to_num(piece["merge_score"], nan=NEVER_MERGED)
            yield piece

    def _turned_pieces(self, table: str, rows: int) -> Iterator[dict[str, NDArray[Any]]]:
        (edges,) = self._plain_pieces(table, tuple(EDGES.columns), _EVERYTHING)
        turned = turned_edges(edges)
        for begin in range(0, len(turned["u"]), rows):
            yield {name: values[begin : begin + rows] for name, values in turned.items()}

    def _is_turned(self, table: str) -> bool:
        """Tell whether some edge of a table has u > v; asked of the server once."""
        if table not in self._turned:
            collection = self._connection.collection(table)
            found = self._connection.retry(
                f"looking for edges with u > v in {table!r}", lambda: collection.find_one(_REVERSED, {"_id": 1})
            )
            self._turned[table] = found is not None
        return self._turned[table]

    # -- what it refuses ----------------------------------------------------------------------

    def create(self, table: str, schema: TableSchema) -> None:
        """Refuse."""
        self._refuse()

    def write_block(self, table: str, block: int, columns: Columns) -> None:
        """Refuse."""
        self._refuse()

    def replace_all(self, table: str, columns: Columns | Iterable[Columns]) -> None:
        """Refuse."""
        self._refuse()

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Refuse."""
        self._refuse()

    def drop(self, table: str) -> None:
        """Refuse."""
        self._refuse()

    def set_metadata(self, key: str, value: Any) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreError(
            f"{self.url} is a classic MongoDB graph, which is read only; copy it into a store of your own: "
            f"catena graph copy {self.url} DST"
        )


def classic_tables(connection: Connection) -> tuple[str, ...]:
    """Return the collections that hold nodes or edges of a classic graph, sorted."""
    return tuple(name for name in connection.names() if _is_classic(connection, name))


def turned_edges(edges: Columns) -> dict[str, NDArray[Any]]:
    """Return edges with u < v, sorted by (u, v), one that was there both ways once, with the lower score.

    Parameters
    ----------
    edges
        Columns `u`, `v`, `merge_score`, `agglomerated`, all of shape ``(n,)``.
    """
    low, high = np.minimum(edges["u"], edges["v"]), np.maximum(edges["u"], edges["v"])
    order = np.lexsort((~edges["agglomerated"], edges["merge_score"], high, low))
    low, high = low[order], high[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    others = {name: edges[name][order][first] for name in ("merge_score", "agglomerated")}
    return {"u": low[first], "v": high[first], **others}


def _with_block(piece: dict[str, NDArray[Any]], names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    length = len(next(iter(piece.values())))
    return {name: np.zeros(length, dtype=np.int64) if name == BLOCK else piece[name] for name in names}


def _is_classic(connection: Connection, name: str) -> bool:
    fields = {"id", *_FIELDS.values()} if name == "nodes" else {"u", "v"}
    if name != "nodes" and name != "edges" and not name.startswith("edges_"):
        return False
    found = connection.retry(f"looking at collection {name!r}", lambda: connection.collection(name).find_one())
    return found is None or fields <= set(found)
