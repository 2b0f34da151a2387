"""A graph store on a MongoDB server: any number of processes on any number of hosts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymongo.errors import BulkWriteError

from catena.blockwise.faults import fault_point
from catena.errors import OutputError, StoreError
from catena.graphs.mongodb_catalogue import Catalogue, Entry
from catena.graphs.mongodb_client import Connection
from catena.graphs.mongodb_errors import DUPLICATE_KEY, codes
from catena.graphs.mongodb_graph import MongoDBGraph
from catena.graphs.mongodb_tables import ArrayTable, Batch, RowTable, Table, drop
from catena.graphs.schema import BLOCK, Columns, TableSchema, check_table_name, missing_table

_METADATA = "catena_metadata"


class MongoDBStore(MongoDBGraph):
    """Graph store in a MongoDB database; see :class:`~catena.graphs.store.GraphStore` for the methods.

    No transaction is needed, so that a single server will do. A block's note says whether its rows count, and one
    document says which collection is which table: each is changed by one atomic update, so a process killed at any
    moment leaves a block that is done again, or a table as it was (and a collection that the next replacement drops).
    Rows lie in the collection ``[NAMESPACE.]TABLE_SERIAL`` as ``{columns…, block}`` with a unique index on the key.

    Parameters
    ----------
    connection
        The server and the namespace, MongoDB 4.4 or later.
    mode
        ``"a"`` to read and write, ``"r"`` to read only.

    Raises
    ------
    StoreError
        If there is no store in the namespace (mode ``"r"``).
    """

    def __init__(self, connection: Connection, mode: Literal["a", "r"] = "a") -> None:
        super().__init__(connection)
        self._mode = mode
        self._catalogue = Catalogue(connection)
        if mode == "a":
            self._catalogue.begin()
        elif not self._catalogue.is_there():
            raise StoreError(f"no graph store at {self.url}; run the stage that writes it, or correct the URL")

    # -- tables -------------------------------------------------------------------------------

    def create(self, table: str, schema: TableSchema) -> None:
        """Make an empty table; nothing happens if it is there with the same schema, refused if with another."""
        check_table_name(table)
        self._require_writable()
        if self._is_there(table, schema):
            return
        made = self._made(table, schema)
        if not self._catalogue.publish(table, Entry(made.collection, schema)):
            self._discard(table, made.collection)  # somebody else was faster
            self._is_there(table, schema)

    def _is_there(self, table: str, schema: TableSchema) -> bool:
        found = self._catalogue.entries().get(table)
        if found is not None and found.schema != schema:
            raise StoreError(
                f"{self.url}: table {table!r} is there with another schema: found {found.schema.to_json()}, expected "
                f"{schema.to_json()}; drop the table, or redo the stage that writes it"
            )
        return found is not None

    def _made(self, table: str, schema: TableSchema) -> Table:
        made = self._table(table, Entry(self._catalogue.reserve(table), schema))
        self._connection.retry(f"creating table {table!r}", made.create)
        return made

    def schema(self, table: str) -> TableSchema:
        """Return the schema `table` was created with."""
        return self._known(table).schema

    def tables(self) -> tuple[str, ...]:
        """Return the names of all tables, sorted."""
        return tuple(self._catalogue.entries())

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Give `old` the name `new`, atomically; an existing `new` is refused, or dropped with `replace`."""
        check_table_name(new)
        self._require_writable()
        if old == new:
            return
        entry = self._entry(old)
        there = self._catalogue.entries().get(new)
        if there is not None and not replace:
            raise StoreError(f"{self.url}: table {new!r} is there already; rename with replace=True to drop it")
        if not self._catalogue.rename(old, new, entry, there):
            raise self._changed_meanwhile(f"{old!r} or {new!r}")
        self._discard_unpublished(new)

    def drop(self, table: str) -> None:
        """Remove `table`; nothing happens if it is not there."""
        self._require_writable()
        entry = self._catalogue.entries().get(table)
        if entry is not None and not self._catalogue.withdraw(table, entry):
            raise self._changed_meanwhile(repr(table))
        self._discard_unpublished(table)

    def _discard_unpublished(self, table: str, but: str = "") -> None:
        """Drop the collections that a replacement or a killed process left behind."""
        for collection in self._catalogue.unpublished(table):
            if collection != but:
                self._discard(table, collection)

    def _discard(self, table: str, collection: str) -> None:
        self._connection.retry(f"dropping table {table!r}", lambda: drop(self._connection, collection))
        self._catalogue.forget(collection)

    # -- writing ------------------------------------------------------------------------------

    def write_block(self, table: str, block: int, columns: Columns) -> None:
        """Replace the rows that `block` owns; they count when all are there. No rows is a valid content."""
        self._require_writable()
        known = self._known(table)
        arrays = known.schema.checked(columns, table)
        rows = len(next(iter(arrays.values())))
        if known.schema.kind == "rows":
            self._require_unique(known, arrays)
        arrays[BLOCK] = np.full(rows, block, dtype=np.int64)
        fault_point("graph.before_transaction")
        self._connection.retry(
            f"writing block {block} to table {table!r}", lambda: self._write(known, int(block), arrays)
        )
        fault_point("graph.after_commit")

    def _write(self, table: Table, block: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        writer = table.begin(block)
        try:
            for batch in table.batches(arrays, Counter()):
                table.documents.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            if DUPLICATE_KEY in codes(error):
                table.abandon(block, writer)
            raise
        fault_point("graph.before_commit")
        if not table.finish(block, writer, len(arrays[BLOCK])):
            raise StoreError(
                f"{self.url}: block {block} of table {table.name!r} was begun by another process while this one wrote "
                "it; only one of them may, run again"
            )

    def _require_unique(self, table: Table, arrays: Mapping[str, NDArray[Any]]) -> None:
        keys = [arrays[name] for name in reversed(table.schema.key)]
        order = np.lexsort(keys)
        same = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
        if same.any():
            row = order[int(np.argmax(same))]
            shown = {name: arrays[name][row].item() for name in table.schema.key}
            raise StoreError(f"{self.url}: table {table.name!r}: two rows have the same key, {shown}")

    def replace_all(self, table: str, columns: Columns | Iterable[Columns]) -> None:
        """Replace the whole table at once; `columns`, or each piece of a stream, includes `block`."""
        self._require_writable()
        known = self._known(table)
        pieces = [columns] if isinstance(columns, Mapping) else columns
        fault_point("graph.before_transaction")
        fresh = self._made(table, known.schema)
        self._discard_unpublished(table, but=fresh.collection)
        rows = self._fill(fresh, pieces)
        self._connection.retry(f"noting the blocks of table {table!r}", lambda: fresh.note(rows))
        fault_point("graph.before_commit")
        old, new = Entry(known.collection, known.schema), Entry(fresh.collection, fresh.schema)
        if not self._catalogue.publish(table, new, instead_of=old):
            raise self._changed_meanwhile(repr(table))
        fault_point("graph.after_commit")
        self._discard_unpublished(table)

    def _fill(self, table: Table, pieces: Iterable[Columns]) -> Counter[int]:
        """Write all pieces into an empty table; return the rows of each block."""
        rows: Counter[int] = Counter()
        parts: Counter[int] = Counter()
        repeated = False
        for piece in pieces:
            arrays = table.schema.checked(piece, table.name, extra=(BLOCK,))
            for batch in table.batches(arrays, parts):
                repeated |= self._insert(table, batch)
            blocks, counts = np.unique(arrays[BLOCK], return_counts=True)
            rows.update(dict(zip(blocks.tolist(), counts.tolist(), strict=True)))
        if repeated:
            self._require_all(table, rows.total() if table.schema.kind == "rows" else parts.total())
        return rows

    def _insert(self, table: Table, batch: Batch) -> bool:
        """Insert a batch; return whether it took several tries, so that what is there already may be this batch."""
        tries = count(1)

        def insert() -> int:
            attempt = next(tries)
            try:
                table.documents.insert_many(batch, ordered=False)
            except BulkWriteError as error:
                if attempt == 1 or codes(error) != {DUPLICATE_KEY}:
                    raise
            return attempt

        return self._connection.retry(f"writing table {table.name!r}", insert) > 1

    def _require_all(self, table: Table, expected: int) -> None:
        """Refuse a table in which keys that were taken for a repetition were the same key twice."""
        found = self._connection.retry(f"counting table {table.name!r}", lambda: table.documents.count_documents({}))
        if found != expected:
            raise StoreError(
                f"{self.url}: table {table.name!r}: {found} of {expected} rows arrived, two rows have the same key"
            )

    # -- reading ------------------------------------------------------------------------------

    def _pieces(
        self, table: str, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        return self._known(table).pieces(names, blocks, rows)

    def count(self, table: str) -> int:
        """Return the number of rows."""
        return self._connection.retry(f"counting table {table!r}", self._known(table).count)

    def blocks_written(self, table: str) -> NDArray[np.int64]:
        """Return the blocks that have committed, sorted, those without any row included."""
        found = self._connection.retry(f"listing blocks of table {table!r}", self._known(table).complete)
        return np.array(found, dtype=np.int64)

    # -- metadata and the rest ----------------------------------------------------------------

    def set_metadata(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`."""
        self._require_writable()
        values = self._connection.collection(_METADATA)
        update = {"$set": {"value": json.dumps(value)}}
        self._connection.retry(
            f"writing metadata {key!r}", lambda: values.update_one({"_id": key}, update, upsert=True)
        )

    def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return the value stored under `key`, or `default`."""
        values = self._connection.collection(_METADATA)
        found = self._connection.retry(f"reading metadata {key!r}", lambda: values.find_one({"_id": key}))
        return default if found is None else json.loads(found["value"])

    def metadata(self) -> dict[str, Any]:
        """Return all values that are stored, by key in order; null is as good as nothing and left out."""
        values = self._connection.collection(_METADATA)
        found = self._connection.retry("reading metadata", lambda: list(values.find({"value": {"$ne": "null"}})))
        return {each["_id"]: json.loads(each["value"]) for each in sorted(found, key=lambda each: each["_id"])}

    def _require_writable(self) -> None:
        if self._mode == "r":
            raise OutputError(f"{self.url} was opened to be read only; open it with mode 'a'")

    def _changed_meanwhile(self, tables: str) -> StoreError:
        return StoreError(f"{self.url}: another process changed table {tables} meanwhile; only one may, run again")

    def _entry(self, table: str) -> Entry:
        entries = self._catalogue.entries()
        if table not in entries:
            raise missing_table(self.url, table, entries)
        return entries[table]

    def _known(self, table: str) -> Table:
        return self._table(table, self._entry(table))

    def _table(self, name: str, entry: Entry) -> Table:
        kind = RowTable if entry.schema.kind == "rows" else ArrayTable
        return kind(name, entry.schema, self._connection, entry.collection)
