"""The two layouts a table can have in MongoDB: a document per row, or blobs per block; and the notes of its blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from numpy.typing import NDArray
from pymongo.collection import Collection

from catena.errors import StoreError
from catena.graphs.blobs import pack_array, unpack_array
from catena.graphs.mongodb_bson import pack_rows
from catena.graphs.mongodb_client import Connection, Document
from catena.graphs.mongodb_reading import gathered, read_rows, resumed
from catena.graphs.schema import BLOCK, TableSchema

BATCH_ROWS = 100_000
"""Rows in one request: about 10 MB of edges."""
LARGEST_DOCUMENT_BYTES = 12 * 2**20
"""Blobs in one document, which MongoDB limits to 16 MB."""

_NOTES = ".blocks"

Batch = Sequence[Document | RawBSONDocument]


@dataclass(frozen=True)
class Table(ABC):
    """A table under its present name, and the collection that holds it.

    Each block has a note ``{_id: block, rows}`` in ``COLLECTION.blocks``. While a block is being written its `rows` are
    null and `writer` says by whom: its documents do not count, whoever reads them leaves them out.
    """

    name: str
    schema: TableSchema
    connection: Connection
    collection: str

    @cached_property
    def documents(self) -> Collection[Document]:
        """The rows."""
        return self.connection.collection(self.collection)

    @cached_property
    def notes(self) -> Collection[Document]:
        """The blocks."""
        return self.connection.collection(self.collection + _NOTES)

    @abstractmethod
    def create(self) -> None:
        """Make the collection, empty, with its indexes."""

    @abstractmethod
    def batches(self, arrays: Mapping[str, NDArray[Any]], parts: Counter[int]) -> Iterator[Batch]:
        """Yield rows, with their `block`, as documents; `parts` counts, and is told, the documents of each block."""

    @abstractmethod
    def pieces(
        self, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns in pieces of about `rows` rows, of all or of `blocks`."""

    # -- blocks -------------------------------------------------------------------------------

    def begin(self, block: int) -> ObjectId:
        """Note that `block` is being written, remove its rows, and return who writes it."""
        writer = ObjectId()
        result = self.notes.update_one({"_id": block}, {"$set": {"rows": None, "writer": writer}}, upsert=True)
        if result.matched_count:  # not the first time
            self.documents.delete_many({BLOCK: block})
        return writer

    def finish(self, block: int, writer: ObjectId, rows: int) -> bool:
        """Note that `block` is complete; False if another writer has begun it meanwhile."""
        update = {"$set": {"rows": rows}, "$unset": {"writer": ""}}
        return bool(self.notes.update_one({"_id": block, "writer": writer}, update).matched_count)

    def abandon(self, block: int, writer: ObjectId) -> None:
        """Remove what was written of `block`, unless another writer has begun it meanwhile."""
        mine = {"_id": block, "writer": writer}
        if self.notes.find_one(mine) is not None:
            self.documents.delete_many({BLOCK: block})
            self.notes.delete_one(mine)

    def note(self, rows: Mapping[int, int]) -> None:
        """Note that blocks are complete, in a table that has no notes yet."""
        self.notes.delete_many({})  # of a first try
        if rows:
            self.notes.insert_many([{"_id": block, "rows": count} for block, count in rows.items()], ordered=False)

    def complete(self) -> list[int]:
        """Return the complete blocks, sorted."""
        return [note["_id"] for note in self.notes.find({"rows": {"$ne": None}}, {"_id": 1}).sort("_id")]

    def count(self) -> int:
        """Return the rows of the complete blocks."""
        total = {"$group": {"_id": None, "rows": {"$sum": "$rows"}}}
        return sum(int(found["rows"]) for found in self.notes.aggregate([total]))

    def wanted(self, blocks: tuple[int, ...] | None) -> Document:
        """Return the filter for the rows of `blocks`, or of all, without blocks that are being written."""
        known = {} if blocks is None else {"_id": {"$in": list(blocks)}}
        unfinished = {note["_id"] for note in self.notes.find({**known, "rows": None}, {"_id": 1})}
        if blocks is not None:
            return {BLOCK: {"$in": [block for block in blocks if block not in unfinished]}}
        return {BLOCK: {"$nin": sorted(unfinished)}} if unfinished else {}


def drop(connection: Connection, collection: str) -> None:
    """Remove the rows in `collection` and the notes of their blocks."""
    for name in (collection, collection + _NOTES):
        connection.collection(name).drop()


class RowTable(Table):
    """``{columns…, block}`` per row, with a unique index on the key and one on the block."""

    def create(self) -> None:
        """Make the collection and its indexes."""
        self.documents.create_index([(name, 1) for name in self.schema.key], name="key", unique=True)
        self.documents.create_index(BLOCK, name=BLOCK)

    def batches(self, arrays: Mapping[str, NDArray[Any]], parts: Counter[int]) -> Iterator[Batch]:
        """Yield rows as documents."""
        for begin in range(0, len(arrays[BLOCK]), BATCH_ROWS):
            yield list(pack_rows({name: values[begin : begin + BATCH_ROWS] for name, values in arrays.items()}))

    def pieces(
        self, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns in the order of the key."""
        dtypes = {name: self.schema.dtype(name) for name in names}
        return read_rows(self.connection, self.documents, lambda: self.wanted(blocks), dtypes, self.schema.key, rows)


class ArrayTable(Table):
    """``{block, part, rows, columns…}`` with compressed arrays, a block in as many parts as it takes."""

    def create(self) -> None:
        """Make the collection and its index."""
        self.documents.create_index([(BLOCK, 1), ("part", 1)], name="part", unique=True)

    def batches(self, arrays: Mapping[str, NDArray[Any]], parts: Counter[int]) -> Iterator[Batch]:
        """Yield documents, each block's behind what it already has."""
        order = np.argsort(arrays[BLOCK], kind="stable")
        blocks, starts = np.unique(arrays[BLOCK][order], return_index=True)
        for block, rows in zip(blocks.tolist(), np.split(order, starts)[1:], strict=True):
            for document in self._packed({name: arrays[name][rows] for name in self.schema.columns}):
                yield [{BLOCK: block, "part": parts[block], **document}]
                parts[block] += 1

    def _packed(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[Document]:
        """Yield the rows as blobs, halved until they fit into a document."""
        rows = len(next(iter(arrays.values())))
        blobs = {name: pack_array(values) for name, values in arrays.items()}
        if sum(map(len, blobs.values())) <= LARGEST_DOCUMENT_BYTES:
            yield {"rows": rows, **blobs}
            return
        if rows < 2:
            raise StoreError(f"table {self.name!r}: a single row is larger than a document of MongoDB, 16 MB")
        for half in (slice(0, rows // 2), slice(rows // 2, rows)):
            yield from self._packed({name: values[half] for name, values in arrays.items()})

    def pieces(
        self, names: tuple[str, ...], blocks: tuple[int, ...] | None, rows: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the named columns, blocks in order, as many whole documents as make about `rows` rows."""
        stored = [name for name in names if name != BLOCK]
        projection = dict.fromkeys((BLOCK, "rows", *stored), 1) | {"_id": 0}
        order = {BLOCK: 1, "part": 1}
        found = resumed(
            self.connection,
            lambda skip: self.documents.find(self.wanted(blocks), projection, sort=order, skip=skip),
            lambda _: 1,
        )
        return gathered((self._unpacked(document, stored) for document in found), names, rows)

    def _unpacked(self, document: Document, stored: Sequence[str]) -> dict[str, NDArray[Any]]:
        block = document[BLOCK]
        arrays = {BLOCK: np.full(document["rows"], block, dtype=np.int64)}
        for name in stored:
            array = unpack_array(document[name], f"table {self.name!r}, column {name!r}, block {block}")
            arrays[name] = array.astype(self.schema.dtype(name).base, copy=False)
        return arrays
