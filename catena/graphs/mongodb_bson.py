"""Columns to BSON documents and back, without a Python object per value.

A document whose fields are all 64-bit integers, doubles and booleans always has the same length, with every value at
the same place. So the documents of a table are the rows of one byte matrix, which NumPy fills and reads column by
column: reading is an order of magnitude faster than by a dictionary per row. Documents that others wrote, of mixed
types, are decoded one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
from bson.raw_bson import RawBSONDocument
from numpy.typing import NDArray

from catena.errors import StoreError

_LENGTH = struct.Struct("<i")
_TYPES = {0x01: "<f8", 0x12: "<i8", 0x10: "<i4", 0x08: "u1"}  # BSON type → how the value lies in the document
_WIDTHS = {code: np.dtype(wire).itemsize for code, wire in _TYPES.items()} | {0x07: 12, 0x09: 8, 0x0A: 0}
_CODES = {"f": 0x01, "i": 0x12, "u": 0x12, "b": 0x08}  # NumPy kind → BSON type


def pack_rows(arrays: Mapping[str, NDArray[Any]]) -> Iterator[RawBSONDocument]:
    """Yield one BSON document per row.

    Parameters
    ----------
    arrays
        Field → values, all of shape ``(n,)``: integers (stored as int64), floats (as double) or booleans.
    """
    template, places = _template(arrays)
    rows = np.tile(np.frombuffer(template, dtype=np.uint8), (len(next(iter(arrays.values()))), 1))
    for name, array in arrays.items():
        begin, code = places[name]
        values = np.ascontiguousarray(array, dtype=_TYPES[code])
        rows[:, begin : begin + values.itemsize] = values.view(np.uint8).reshape(len(rows), values.itemsize)
    content, size = rows.tobytes(), len(template)
    for begin in range(0, len(content), size):
        yield RawBSONDocument(content[begin : begin + size])


def unpack_rows(
    documents: bytes, dtypes: Mapping[str, np.dtype[Any]], absent: Mapping[str, Any], where: str
) -> dict[str, NDArray[Any]]:
    """Return fields of BSON documents as arrays of shape ``(n,)``.

    Parameters
    ----------
    documents
        Documents one behind the other, as a server sends them.
    dtypes
        Field → dtype to return.
    absent
        Field → value where a document lacks the field or has null there.
    where
        What to call the documents in an error.

    Raises
    ------
    StoreError
        If a field not named in `absent` is missing, or a value does not fit its dtype.
    """
    layout = _Layout.of(documents)
    found = None if layout is None else layout.columns(documents, tuple(dtypes))
    if found is None:
        found = _decoded(documents, tuple(dtypes), absent, where)
    length = -1 if layout is None else len(documents) // layout.size
    return {name: _fitted(name, found.get(name), length, dtype, absent, where) for name, dtype in dtypes.items()}


@dataclass(frozen=True)
class _Layout:
    """Where the values lie in documents of one length; `fixed` marks the bytes that are not values."""

    size: int
    places: Mapping[str, tuple[int, int]]
    fixed: NDArray[np.bool_]

    @classmethod
    def of(cls, documents: bytes) -> _Layout | None:
        """Return the layout of the first document; None if it has a field of varying length."""
        (size,) = _LENGTH.unpack_from(documents)
        fixed = np.ones(size, dtype=bool)
        places: dict[str, tuple[int, int]] = {}
        at = _LENGTH.size
        while at < size - 1:
            code, end = documents[at], documents.index(0, at + 1)
            if code not in _WIDTHS:
                return None
            if code in _TYPES:
                places[documents[at + 1 : end].decode()] = (end + 1, code)
            at = end + 1 + _WIDTHS[code]
            fixed[end + 1 : at] = False
        return cls(size, places, fixed)

    def columns(self, documents: bytes, names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
        """Return the named fields, without those that are not there; None if the documents are not all alike."""
        if len(documents) % self.size:
            return None
        rows = np.frombuffer(documents, dtype=np.uint8).reshape(-1, self.size)
        if not (rows[:, self.fixed] == rows[0, self.fixed]).all():
            return None
        found: dict[str, NDArray[Any]] = {}
        for name in names:
            if name in self.places:
                begin, code = self.places[name]
                wire = np.dtype(_TYPES[code])
                values = np.ascontiguousarray(rows[:, begin : begin + wire.itemsize]).view(wire).reshape(-1)
                found[name] = values.astype(bool) if code == _CODES["b"] else values
        return found


def _template(arrays: Mapping[str, NDArray[Any]]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return a document with all values zero, and field → place of its value and BSON type."""
    body = bytearray(_LENGTH.size)
    places = {}
    for name, array in arrays.items():
        code = _CODES[array.dtype.kind]
        body += bytes([code]) + name.encode() + b"\0"
        places[name] = (len(body), code)
        body += bytes(_WIDTHS[code])
    body += b"\0"
    body[: _LENGTH.size] = _LENGTH.pack(len(body))
    return bytes(body), places


def _decoded(
    documents: bytes, names: tuple[str, ...], absent: Mapping[str, Any], where: str
) -> dict[str, NDArray[Any]]:
    """Return the named fields by way of one dictionary per document."""
    rows = bson.decode_all(documents)
    found = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name in absent:
            values = [absent[name] if value is None else value for value in values]
        try:
            found[name] = np.array(values)
        except ValueError as error:
            raise StoreError(f"{where}: field {name!r} holds values of different shapes") from error
        if found[name].dtype.kind not in "biuf" or found[name].ndim != 1:
            raise StoreError(f"{where}: field {name!r} lacks a number in some document; the store is damaged")
    return found


def _fitted(
    name: str,
    values: NDArray[Any] | None,
    length: int,
    dtype: np.dtype[Any],
    absent: Mapping[str, Any],
    where: str,
) -> NDArray[Any]:
    if values is None:
        if name not in absent:
            raise StoreError(f"{where}: the documents have no field {name!r}")
        return np.full(length, absent[name], dtype=dtype)
    fitted = values.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(fitted, values):
        raise StoreError(f"{where}: field {name!r} holds values that are no {dtype}")
    return fitted
