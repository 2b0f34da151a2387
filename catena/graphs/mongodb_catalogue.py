"""Which table of a MongoDB store is which collection: one document, each change of it one atomic update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymongo import ReturnDocument

from catena.errors import StoreError
from catena.graphs.mongodb_client import Connection, Document
from catena.graphs.schema import TableSchema

CATALOGUE = "catena_catalogue"
_ITSELF = {"_id": "tables"}


@dataclass(frozen=True)
class Entry:
    """One published table; its collection never changes its name, whatever the table is called."""

    collection: str
    schema: TableSchema

    def to_document(self) -> Document:
        """Return the entry as it stands in the catalogue."""
        return {"collection": self.collection, "schema": self.schema.to_json()}

    @classmethod
    def from_document(cls, document: Document) -> Entry:
        """Return the entry that :meth:`to_document` wrote."""
        return cls(document["collection"], TableSchema.from_json(document["schema"]))


class Catalogue:
    """The document ``{tables: {TABLE: {collection, schema}}, unpublished: {COLLECTION: TABLE}, serial}``.

    A collection is `unpublished` from before it is made until it is published, and again from when it is replaced until
    it is dropped: whatever a killed process leaves behind is named there. Each change states what it expects to find,
    so that of two processes one wins and the other learns of it; no transaction is needed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._collection = connection.collection(CATALOGUE)

    def is_there(self) -> bool:
        """Tell whether the namespace holds a store."""
        found = self._connection.retry("looking for a graph", lambda: self._collection.find_one(_ITSELF, {"_id": 1}))
        return found is not None

    def begin(self) -> None:
        """Make the document if it is not there."""
        empty: Document = {"tables": {}, "unpublished": {}, "serial": 0}
        self._connection.retry(
            "making the catalogue",
            lambda: self._collection.update_one(_ITSELF, {"$setOnInsert": empty}, upsert=True),
        )

    def entries(self) -> dict[str, Entry]:
        """Return all published tables by name."""
        tables: dict[str, Document] = self._document()["tables"]
        return {name: Entry.from_document(tables[name]) for name in sorted(tables)}

    def unpublished(self, table: str) -> tuple[str, ...]:
        """Return the collections that were to become `table`, or were it."""
        return tuple(name for name, owner in self._document()["unpublished"].items() if owner == table)

    def reserve(self, table: str) -> str:
        """Return the name of a new, unpublished collection for `table`."""
        numbered = self._connection.retry(
            f"naming a collection for table {table!r}",
            lambda: self._collection.find_one_and_update(
                _ITSELF, {"$inc": {"serial": 1}}, return_document=ReturnDocument.AFTER
            ),
        )
        if numbered is None:
            raise self._removed()
        name = f"{table}_{numbered['serial']}"
        self._connection.retry(
            f"naming a collection for table {table!r}",
            lambda: self._collection.update_one(_ITSELF, {"$set": {f"unpublished.{name}": table}}),
        )
        return name

    def publish(self, table: str, entry: Entry, instead_of: Entry | None = None) -> bool:
        """Make an unpublished collection `table`, if that is `instead_of` until now (None: not there).

        Returns
        -------
        bool
            Whether it is the table now; if not, another process changed the table meanwhile.
        """
        expected = {f"unpublished.{entry.collection}": table} | self._expecting(table, instead_of)
        changed: Document = {f"tables.{table}": entry.to_document()}
        if instead_of is not None:
            changed[f"unpublished.{instead_of.collection}"] = table
        update = {"$set": changed, "$unset": {f"unpublished.{entry.collection}": ""}}
        return self._change(f"publishing table {table!r}", expected, update, lambda: self._names(table, entry))

    def rename(self, old: str, new: str, entry: Entry, instead_of: Entry | None) -> bool:
        """Give `entry` the name `new` in place of `old`; see :meth:`publish`."""
        expected = self._expecting(old, entry) | self._expecting(new, instead_of)
        changed: Document = {f"tables.{new}": entry.to_document()}
        if instead_of is not None:
            changed[f"unpublished.{instead_of.collection}"] = new
        update = {"$set": changed, "$unset": {f"tables.{old}": ""}}
        return self._change(f"renaming table {old!r}", expected, update, lambda: self._names(new, entry))

    def withdraw(self, table: str, entry: Entry) -> bool:
        """Take `table` out; its collection is unpublished from now on."""
        update = {"$unset": {f"tables.{table}": ""}, "$set": {f"unpublished.{entry.collection}": table}}
        return self._change(
            f"dropping table {table!r}",
            self._expecting(table, entry),
            update,
            lambda: entry.collection in self.unpublished(table),
        )

    def forget(self, collection: str) -> None:
        """Take out an unpublished collection, which is no more."""
        self._connection.retry(
            f"forgetting collection {collection!r}",
            lambda: self._collection.update_one(_ITSELF, {"$unset": {f"unpublished.{collection}": ""}}),
        )

    def _document(self) -> Document:
        found = self._connection.retry("reading the catalogue", lambda: self._collection.find_one(_ITSELF))
        if found is None:
            raise self._removed()
        return found

    def _removed(self) -> StoreError:
        return StoreError(f"{self._connection.place}: the graph was removed while it was open; redo its stages")

    @staticmethod
    def _expecting(table: str, entry: Entry | None) -> dict[str, Any]:
        if entry is None:
            return {f"tables.{table}": {"$exists": False}}
        return {f"tables.{table}.collection": entry.collection}

    def _names(self, table: str, entry: Entry) -> bool:
        return self.entries().get(table) == entry

    def _change(self, doing: str, expected: Document, update: Document, done: Callable[[], bool]) -> bool:
        """Update the document if it is as expected; `done` tells whether an answer that was lost said so already."""
        result = self._connection.retry(doing, lambda: self._collection.update_one(_ITSELF | expected, update))
        return bool(result.matched_count) or done()
