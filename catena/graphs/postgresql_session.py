"""A connection to a PostgreSQL server, as the SQL stores' shared logic uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, takewhile
from typing import Any, ClassVar

import numpy as np
import psycopg
from numpy.typing import NDArray

from catena.graphs.postgresql_copy import column_type, decoded, encoded
from catena.graphs.schema import TableSchema
from catena.graphs.sql_session import SQLSession


class PostgreSQLSession(SQLSession):
    """A connection to a PostgreSQL server; rows go in and out by binary COPY.

    Locks are always taken in the order catalogue, table (its row in ``catena_tables``), block (its row in
    ``catena_blocks``), rows: nobody waits in a circle.

    Parameters
    ----------
    connection
        In autocommit mode.
    namespace
        The schema in which the tables lie.
    """

    catalogue: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE catena_tables "
        "(serial BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE, schema TEXT NOT NULL)",
        "CREATE TABLE catena_blocks (serial BIGINT NOT NULL, block BIGINT NOT NULL, rows BIGINT NOT NULL, "
        "PRIMARY KEY (serial, block))",
        "CREATE TABLE catena_metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    )
    integer: ClassVar[str] = "BIGINT"
    blob: ClassVar[str] = "BYTEA"
    wanted: ClassVar[str] = "block = ANY(?)"
    shared_lock: ClassVar[str] = " FOR KEY SHARE"
    exclusive_lock: ClassVar[str] = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection, namespace: str) -> None:
        self.connection = connection
        self.namespace = namespace

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, if it has any."""
        cursor = self.connection.execute(_marked(statement), values)
        return cursor.fetchall() if cursor.description else []

    def insert(self, table: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add rows, one array per column."""
        columns = ", ".join(f'"{name}"' for name in arrays)
        statement = _marked(f'COPY "{table}" ({columns}) FROM STDIN (FORMAT binary)')
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            for piece in encoded(arrays):
                copy.write(piece)

    def fetch(
        self, statement: str, values: Sequence[Any], dtypes: Mapping[str, np.dtype[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Run a SELECT whose columns are those of `dtypes`, in order, and return them as arrays."""
        content = bytearray()
        copied = _marked(f"COPY ({statement}) TO STDOUT (FORMAT binary)")
        with self.connection.cursor() as cursor, cursor.copy(copied, values) as copy:
            for row in copy:
                content += row
        return decoded(content, dtypes, f"PostgreSQL, {statement!r}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements within the ``with`` one commit; an exception undoes them."""
        with self.connection.transaction():
            yield

    def lock_catalogue(self) -> None:
        """Keep others from making, renaming and dropping tables until the transaction ends."""
        self.execute("SELECT pg_advisory_xact_lock(hashtext(?))", (f"catena {self.namespace}",))

    def clear(self, table: str) -> None:
        """Remove all rows."""
        self.execute(f'TRUNCATE "{table}"')

    def describe(self, metadata: str | None) -> None:
        """Put the description of the graph where funlib.persistence looks for it, or remove it."""
        self.execute("DROP TABLE IF EXISTS metadata")
        if metadata is not None:
            self.execute("CREATE TABLE metadata (value VARCHAR)")
            self.execute("INSERT INTO metadata (value) VALUES (?)", (metadata,))

    def column_type(self, dtype: np.dtype[Any]) -> str:
        """Return the type of a column that holds `dtype`."""
        return column_type(dtype)

    def derived_columns(self, schema: TableSchema) -> list[str]:
        """Return an array column NAME for columns NAME_0, NAME_1, … of one dtype, as funlib.persistence reads it."""
        definitions = []
        for first in (name for name in schema.columns if name.endswith("_0")):
            base = first.removesuffix("_0")
            names = list(takewhile(schema.columns.__contains__, (f"{base}_{at}" for at in count())))
            types = {self.column_type(schema.dtype(name)) for name in names}
            if len(names) > 1 and len(types) == 1 and base not in schema.columns:
                elements = ", ".join(f'"{name}"' for name in names)
                definitions.append(f'"{base}" {types.pop()}[] GENERATED ALWAYS AS (ARRAY[{elements}]) STORED')
        return definitions

    def listed(self, blocks: Iterable[int]) -> list[int]:
        """Return the value of :attr:`wanted`."""
        return list(blocks)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _marked(statement: str) -> str:
    """Return a statement with psycopg's marks for values; names in it are checked identifiers."""
    return statement.replace("?", "%s")
