"""What every SQL store does alike: a catalogue of tables, rows owned by blocks, transactions."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.faults import fault_point
from catena.errors import StoreError
from catena.graphs.presentation import EDGES_VIEW, Presentation
from catena.graphs.schema import BLOCK, Columns, TableSchema, check_table_name, missing_table
from catena.graphs.sql_session import SQLSession
from catena.graphs.sql_tables import Place, Table, table_of
from catena.graphs.store import GraphStore

T = TypeVar("T")

PRESENTED = "presented"
"""Metadata key of the graph that other programs see."""


class SQLStore(GraphStore):
    """Graph store in an SQL database; see :class:`~catena.graphs.store.GraphStore` for the methods.

    Rows lie as ``TABLE(columns…, block)`` with the key as primary key. Every operation may be done again: a subclass
    that can lose its connection repeats it on a new one.
    """

    _session: SQLSession

    @property
    @abstractmethod
    def url(self) -> str:
        """The store's URL."""

    @property
    @abstractmethod
    def place(self) -> str:
        """What messages call the store."""

    @abstractmethod
    def _attempt(self, doing: str, work: Callable[[], T]) -> T:
        """Do `work`, again if need be, and turn the driver's errors into Catena's."""

    def _atomically(self, doing: str, work: Callable[[], T]) -> T:
        """Do `work` in one transaction."""

        def transaction() -> T:
            fault_point("graph.before_transaction")
            with self._session.transaction():
                result = work()
                fault_point("graph.before_commit")
            fault_point("graph.after_commit")
            return result

        return self._attempt(doing, transaction)

    # -- tables -------------------------------------------------------------------------------

    def create(self, table: str, schema: TableSchema) -> None:
        """Make an empty table; nothing happens if it is there with the same schema, refused if with another."""
        check_table_name(table)
        doing = f"creating table {table!r}"

        def work() -> None:
            self._session.lock_catalogue()
            if not self._is_there(table, schema):  # nobody else was faster
                self._create(table, schema)

        if not self._attempt(doing, lambda: self._is_there(table, schema)):
            self._atomically(doing, work)

    def _create(self, table: str, schema: TableSchema) -> None:
        if table == EDGES_VIEW:
            self._withdraw()
        self._session.execute("INSERT INTO catena_tables (name, schema) VALUES (?, ?)", (table, schema.to_json()))
        self._found(table).create(self._session)

    def _is_there(self, table: str, schema: TableSchema) -> bool:
        found = self._catalogued(table)
        if found is not None and found.schema != schema:
            raise StoreError(
                f"{self.place}: table {table!r} is there with another schema: found {found.schema.to_json()}, expected "
                f"{schema.to_json()}; drop the table, or redo the stage that writes it"
            )
        return found is not None

    def schema(self, table: str) -> TableSchema:
        """Return the schema `table` was created with."""
        return self._known(table).schema

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        return self._attempt("listing tables", self._names)

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(name for (name,) in self._session.execute("SELECT name FROM catena_tables")))

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Give `old` the name `new`, atomically; an existing `new` is refused, or dropped with `replace`."""
        check_table_name(new)
        renamed: list[int] = []  # what an attempt renamed that lost its connection before it knew

        def work() -> None:
            self._session.lock_catalogue()
            there = self._catalogued(new, self._session.exclusive_lock)
            if there is not None and there.serial in renamed:
                return
            found = self._found(old, self._session.exclusive_lock)
            renamed.append(found.serial)
            if there is not None and not replace:
                raise StoreError(f"{self.place}: table {new!r} is there already; rename with replace=True to drop it")
            if there is not None:
                self._drop(there)
            elif new == EDGES_VIEW:
                self._withdraw()
            found.index_blocks(self._session)
            self._session.execute(f'ALTER TABLE "{old}" RENAME TO "{new}"')
            self._session.execute("UPDATE catena_tables SET name = ? WHERE serial = ?", (new, found.serial))
            presented = self._get_metadata(PRESENTED, None)
            if presented and presented["edges"] == old:  # a view follows its table, our note does not
                self._set_metadata(PRESENTED, presented | {"edges": new})
            elif presented and presented["nodes"] == old:
                self._withdraw()

        if old != new:
            self._atomically(f"renaming table {old!r} to {new!r}", work)

    def drop(self, table: str) -> None:
        """Remove `table`; nothing happens if it is not there."""

        def work() -> None:
            self._session.lock_catalogue()
            found = self._catalogued(table, self._session.exclusive_lock)
            if found is not None:
                self._drop(found)

        self._atomically(f"dropping table {table!r}", work)

    def _drop(self, table: Table) -> None:
        presented = self._get_metadata(PRESENTED, None)
        if presented and table.name in (presented["edges"], presented["nodes"]):
            self._withdraw()
        self._session.execute(f'DROP TABLE "{table.name}"')
        for catalogue in ("catena_blocks", "catena_tables"):
            self._session.execute(f"DELETE FROM {catalogue} WHERE serial = ?", (table.serial,))

    # -- writing ------------------------------------------------------------------------------

    def write_block(self, table: str, block: int, columns: Columns) -> None:
        """Replace the rows that `block` owns, in one transaction; no rows is a valid content."""
        block = int(block)

        def work() -> None:
            known = self._found(table, self._session.shared_lock)
            arrays = known.schema.checked(columns, table)
            length = len(next(iter(arrays.values())))
            # noted first: whoever writes the same block waits here, and then sees the other's rows
            first = self._session.execute(
                "INSERT INTO catena_blocks (serial, block, rows) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1",
                (known.serial, block, length),
            )
            if not first:
                place = (known.serial, block)
                self._session.execute(
                    "UPDATE catena_blocks SET rows = ? WHERE serial = ? AND block = ?", (length, *place)
                )
                known.index_blocks(self._session)
                self._session.execute(f'DELETE FROM "{table}" WHERE block = ?', (block,))
            known.insert(self._session, arrays | {BLOCK: np.full(length, block, dtype=np.int64)})

        self._atomically(f"writing block {block} to table {table!r}", work)

    def replace_all(self, table: str, columns: Columns | Iterable[Columns]) -> None:
        """Replace the whole table in one transaction; `columns`, or each piece of a stream, includes `block`.

        A stream that can be read only once cannot be written again if the connection is lost meanwhile: an error.
        """
        pieces = [columns] if isinstance(columns, Mapping) else columns
        begun = False

        def work() -> None:
            nonlocal begun
            if begun and isinstance(pieces, Iterator):
                raise StoreError(
                    f"{self.place}: the connection was lost while a stream was written to table {table!r}; run again"
                )
            begun = True
            self._replace_all(self._found(table, self._session.exclusive_lock), pieces)

        self._atomically(f"writing table {table!r}", work)

    def _replace_all(self, table: Table, pieces: Iterable[Columns]) -> None:
        self._session.execute("DELETE FROM catena_blocks WHERE serial = ?", (table.serial,))
        self._session.clear(table.name)
        rows: dict[int, int] = {}
        for piece in pieces:
            arrays = table.schema.checked(piece, table.name, extra=(BLOCK,))
            table.insert(self._session, arrays)
            blocks, counts = np.unique(arrays[BLOCK], return_counts=True)
            for block, count in zip(blocks.tolist(), counts.tolist(), strict=True):
                rows[block] = rows.get(block, 0) + count
        noted = {"block": np.fromiter(rows.keys(), np.int64), "rows": np.fromiter(rows.values(), np.int64)}
        self._session.insert("catena_blocks", {"serial": np.full(len(rows), table.serial, np.int64), **noted})

    # -- reading ------------------------------------------------------------------------------

    def read(
        self, table: str, columns: Sequence[str] | None = None, blocks: Iterable[int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return columns (all but `block` when None) of all rows, or of those that `blocks` own, ordered by the key.

        A table of kind ``"arrays"`` is in the order of the blocks, and within a block as written.
        """
        known = self._known(table)
        names = self._named(known, columns)
        return known.schema.joined(names, list(self._pieces(known, names, blocks)))

    def iterate(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        blocks: Iterable[int] | None = None,
        rows: int = 500_000,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what :meth:`read` returns in pieces of about `rows` rows; do not write the table meanwhile."""
        known = self._known(table)
        yield from self._pieces(known, self._named(known, columns), blocks, rows)

    def _pieces(
        self, table: Table, names: Sequence[str], blocks: Iterable[int] | None, rows: int = 500_000
    ) -> Iterator[dict[str, NDArray[Any]]]:
        wanted = None if blocks is None else sorted({int(block) for block in blocks})
        after: Place | None = None
        while True:

            def work(after: Place | None = after) -> tuple[dict[str, NDArray[Any]] | None, Place | None]:
                return table.piece(self._session, names, wanted, rows, after)

            piece, after = self._attempt(f"reading table {table.name!r}", work)
            if piece is not None:
                yield piece
            if after is None:
                return

    @staticmethod
    def _named(table: Table, columns: Sequence[str] | None) -> tuple[str, ...]:
        names = tuple(table.schema.columns if columns is None else columns)
        for name in names:
            table.schema.dtype(name)
        return names

    def count(self, table: str) -> int:
        """Return the number of rows."""
        statement = "SELECT rows FROM catena_blocks WHERE serial = ?"
        return sum(rows for (rows,) in self._of_blocks(table, statement))

    def blocks_written(self, table: str) -> NDArray[np.int64]:
        """Return the blocks that have committed, sorted, those without any row included."""
        statement = "SELECT block FROM catena_blocks WHERE serial = ? ORDER BY block"
        return np.array([block for (block,) in self._of_blocks(table, statement)], dtype=np.int64)

    def _of_blocks(self, table: str, statement: str) -> list[tuple[Any, ...]]:
        return self._attempt(
            f"counting table {table!r}", lambda: self._session.execute(statement, (self._found(table).serial,))
        )

    # -- for other programs -------------------------------------------------------------------

    def present(self, presentation: Presentation) -> None:
        """Let funlib.persistence and volara read a graph, in place of the one that was presented before.

        A view ``edges`` shows the table, and follows it when it is renamed; it goes when the table is dropped. For a
        file, the description lies in ``NAME-meta.json`` beside it, on a server in a table ``metadata``.

        Raises
        ------
        StoreError
            If a table or column is not there, or a table of the store itself is called ``edges`` and is not meant.
        """

        def work() -> None:
            self._session.lock_catalogue()
            nodes, edges = self._found(presentation.nodes), self._found(presentation.edges)
            description = presentation.described(nodes.schema, edges.schema)
            self._withdraw()
            if edges.name != EDGES_VIEW:
                if self._catalogued(EDGES_VIEW) is not None:
                    raise StoreError(f"{self.place}: table {EDGES_VIEW!r} is in the way of a view; rename or drop it")
                self._session.execute(f'CREATE VIEW "{EDGES_VIEW}" AS SELECT * FROM "{edges.name}"')
            self._session.describe(json.dumps(description))
            self._set_metadata(PRESENTED, presentation.to_json())

        self._atomically(f"presenting table {presentation.edges!r}", work)

    def presented(self) -> Presentation | None:
        """Return the graph that other programs see, or None."""
        values = self.get_metadata(PRESENTED)
        return None if values is None else Presentation.from_json(values)

    def _withdraw(self) -> None:
        if self._get_metadata(PRESENTED, None) is None:
            return
        if self._catalogued(EDGES_VIEW) is None:
            self._session.execute(f'DROP VIEW IF EXISTS "{EDGES_VIEW}"')
        self._session.describe(None)
        self._set_metadata(PRESENTED, None)

    # -- metadata and the rest ----------------------------------------------------------------

    def set_metadata(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`."""
        self._atomically(f"writing metadata {key!r}", lambda: self._set_metadata(key, value))

    def _set_metadata(self, key: str, value: Any) -> None:
        self._session.execute(
            "INSERT INTO catena_metadata (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, json.dumps(value)),
        )

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return the value stored under `key`, or `default`."""
        return self._attempt(f"reading metadata {key!r}", lambda: self._get_metadata(key, default))

    def _get_metadata(self, key: str, default: Any) -> Any:
        found = self._session.execute("SELECT value FROM catena_metadata WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else default

    def metadata(self) -> dict[str, Any]:
        """Return all values that are stored, by key in order; null is as good as nothing and left out."""
        found = self._attempt(
            "reading metadata", lambda: self._session.execute("SELECT key, value FROM catena_metadata")
        )
        return {key: json.loads(value) for key, value in sorted(found) if value != "null"}

    def close(self) -> None:
        """Let go of the connection; using the store afterwards is an error."""
        self._session.close()

    # -- the catalogue ------------------------------------------------------------------------

    def _catalogued(self, table: str, lock: str = "") -> Table | None:
        found = self._session.execute(f"SELECT serial, schema FROM catena_tables WHERE name = ?{lock}", (table,))
        return table_of(table, TableSchema.from_json(found[0][1]), int(found[0][0])) if found else None

    def _found(self, table: str, lock: str = "") -> Table:
        found = self._catalogued(table, lock)
        if found is None:
            raise missing_table(self.place, table, self._names())
        return found

    def _known(self, table: str) -> Table:
        return self._attempt(f"looking up table {table!r}", lambda: self._found(table))
