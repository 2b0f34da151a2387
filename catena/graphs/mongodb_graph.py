"""What the graphs in a MongoDB database have in common, ours and classic ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from numpy.typing import NDArray

from catena.graphs.mongodb_client import Connection
from catena.graphs.mongodb_errors import explained
from catena.graphs.schema import TableSchema
from catena.graphs.store import GraphStore


class MongoDBGraph(GraphStore):
    """Tables of a namespace of a MongoDB database, to be read."""

    spans_hosts: ClassVar[bool] = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def url(self) -> str:
        """The store's URL, without a password."""
        return self._connection.place

    @abstractmethod
    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""

    @abstractmethod
    def schema(self, table: str) -> TableSchema:
        """Return the schema of `table`."""

    @abstractmethod
    def _pieces(
        self, table: str, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield columns that are there, of all rows or of `blocks` (sorted)."""

    def read(
        self, table: str, columns: Sequence[str] | None = None, blocks: Iterable[int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return columns (all but `block` when None) of all rows, or of those that `blocks` own, ordered by the key.

        A table of kind ``"arrays"`` is in the order of the blocks, and within a block as written.
        """
        schema = self.schema(table)
        names = tuple(schema.columns if columns is None else columns)
        return schema.joined(names, list(self.iterate(table, names, blocks)))

    def iterate(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        blocks: Iterable[int] | None = None,
        rows: int = 500_000,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what :meth:`read` returns in pieces of about `rows` rows; do not write the table meanwhile."""
        schema = self.schema(table)
        names = tuple(schema.columns if columns is None else columns)
        for name in names:
            schema.dtype(name)  # which says if there is no such column
        wanted = None if blocks is None else tuple(sorted({int(block) for block in blocks}))
        with explained(self.url, f"reading table {table!r}"):
            yield from self._pieces(table, names, wanted, rows)

    def close(self) -> None:
        """Let go of the connection; using the store afterwards is an error."""
        self._connection.close()
