"""One connection to an SQL database, in its dialect: what the shared logic of the stores is written in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from catena.graphs.schema import TableSchema


class SQLSession(ABC):
    """A connection that runs statements and moves columns in bulk; its errors are the driver's own.

    Statements mark their values with ``?`` in every dialect.
    """

    catalogue: ClassVar[tuple[str, ...]]
    """Statements that make the store's own tables ``catena_tables``, ``catena_blocks`` and ``catena_metadata``."""
    integer: ClassVar[str]
    """Type of a 64 bit integer."""
    blob: ClassVar[str]
    """Type of bytes."""
    wanted: ClassVar[str]
    """Condition that a row's block is among those of :meth:`listed`."""
    indexes_late: ClassVar[bool] = False
    """Whether the index on the block is left until blocks are looked for or the table gets its final name."""
    writable: bool = True
    """Whether the connection may change anything."""
    shared_lock: ClassVar[str] = ""
    """Put behind a SELECT from the catalogue, keeps the table from being replaced, renamed or dropped."""
    exclusive_lock: ClassVar[str] = ""
    """Put behind a SELECT from the catalogue, keeps everybody else from writing the table."""

    @abstractmethod
    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""

    def execute_if_free(self, statement: str) -> None:
        """Run one statement that may as well be left out, unless it would have to wait for others."""
        self.execute(statement)

    @abstractmethod
    def insert(self, table: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, one array per column."""

    @abstractmethod
    def fetch(
        self, statement: str, values: Sequence[Any], dtypes: Mapping[str, np.dtype[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Run a SELECT whose columns are those of `dtypes`, in order, and return them as arrays."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Make the statements within the ``with`` one commit; an exception undoes them."""

    @abstractmethod
    def lock_catalogue(self) -> None:
        """Keep others from making, renaming and dropping tables until the transaction ends."""

    @abstractmethod
    def clear(self, table: str) -> None:
        """Remove all rows."""

    @abstractmethod
    def describe(self, metadata: str | None) -> None:
        """Put the description of the graph where funlib.persistence looks for it, or remove it."""

    @abstractmethod
    def column_type(self, dtype: np.dtype[Any]) -> str:
        """Return the type of a column that holds `dtype`."""

    def derived_columns(self, schema: TableSchema) -> list[str]:
        """Return definitions of columns that the database computes from those of `schema`."""
        return []

    def table_options(self, key: Sequence[str]) -> str:
        """Return what follows the definition of a table with the primary key `key`."""
        return ""

    @abstractmethod
    def listed(self, blocks: Iterable[int]) -> Any:
        """Return the value of :attr:`wanted`."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""
