"""The interface that every graph store offers: tables of columns, committed block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from catena.graphs.schema import Columns, TableSchema


@runtime_checkable
class GraphStore(Protocol):
    """Tables of NumPy columns, each row owned by the block that wrote it.

    A worker opens the store itself, in its own process and thread, and commits a block's rows with
    :meth:`write_block`; doing so twice leaves what doing it once leaves. Integers stay below 2⁶³, floats are not NaN.
    Every method raises :class:`~catena.errors.StoreError` (or
    :class:`~catena.errors.OutputError` when nothing more can be written) with the remedy.
    """

    spans_hosts: ClassVar[bool]
    """Whether processes on several hosts may use the store at once."""

    @property
    def url(self) -> str:
        """Where the store is, as :func:`catena.graphs.open_store` takes it, without credentials."""
        ...

    def create(self, table: str, schema: TableSchema) -> None:
        """Make an empty table; nothing happens if it is there with the same schema, refused if with another."""
        ...

    def schema(self, table: str) -> TableSchema:
        """Return the schema `table` was created with."""
        ...

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        ...

    def write_block(self, table: str, block: int, columns: Columns) -> None:
        """Replace the rows that `block` owns, in one transaction; no rows is a valid content.

        Without transactions (MongoDB) a process killed meanwhile leaves a block that counts as not written.
        """
        ...

    def replace_all(self, table: str, columns: Columns | Iterable[Columns]) -> None:
        """Replace the whole table in one transaction; `columns`, or each piece of a stream, includes `block`."""
        ...

    def read(
        self, table: str, columns: Sequence[str] | None = None, blocks: Iterable[int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return columns (all but `block` when None) of all rows, or of those that `blocks` own, ordered by the key.

        A table of kind ``"arrays"`` is in the order of the blocks, and within a block as written.
        """
        ...

    def iterate(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        blocks: Iterable[int] | None = None,
        rows: int = 500_000,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what :meth:`read` returns in pieces of about `rows` rows; do not write the table meanwhile."""
        ...

    def count(self, table: str) -> int:
        """Return the number of rows."""
        ...

    def blocks_written(self, table: str) -> NDArray[np.int64]:
        """Return the blocks that have committed, sorted, those without any row included."""
        ...

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Give `old` the name `new`, atomically; an existing `new` is refused, or dropped with `replace`."""
        ...

    def drop(self, table: str) -> None:
        """Remove `table`; nothing happens if it is not there."""
        ...

    def set_metadata(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`."""
        ...

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return the value stored under `key`, or `default`."""
        ...

    def metadata(self) -> dict[str, Any]:
        """Return all values that are stored, by key in order; null is as good as nothing and left out."""
        ...

    def close(self) -> None:
        """Let go of the connection; using the store afterwards is an error."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
