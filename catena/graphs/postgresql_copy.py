"""PostgreSQL's binary COPY format as NumPy records: every field has a fixed width, so a table is one array.

https://www.postgresql.org/docs/current/sql-copy.html: a header, per row a field count and per field its length and
content, big endian, and −1 in the place of a field count at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.errors import StoreError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_ROWS = 1 << 16
_TYPES = {
    "?": "boolean",
    ">i2": "smallint",
    ">i4": "integer",
    ">i8": "bigint",
    ">f4": "real",
    ">f8": "double precision",
}


def column_type(dtype: np.dtype[Any]) -> str:
    """Return the smallest type of PostgreSQL that holds `dtype`; uint64 is below 2⁶³ and becomes bigint.

    >>> column_type(np.dtype("uint8"))
    'smallint'
    """
    return _TYPES[_wire(dtype)]


def encoded(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """Yield the columns as one binary COPY, in pieces."""
    record = _record({name: array.dtype for name, array in arrays.items()})
    length = len(next(iter(arrays.values())))
    yield HEADER
    for begin in range(0, length, _ROWS):
        rows = np.zeros(min(_ROWS, length - begin), dtype=record)
        rows["fields"] = len(arrays)
        for at, array in enumerate(arrays.values()):
            rows[f"length_{at}"] = record[f"field_{at}"].itemsize
            rows[f"field_{at}"] = array[begin : begin + _ROWS]
        yield rows.tobytes()
    yield TRAILER


def decoded(content: bytes | bytearray, dtypes: Mapping[str, np.dtype[Any]], where: str) -> dict[str, NDArray[Any]]:
    """Return the columns of a binary COPY as arrays of `dtypes`.

    Raises
    ------
    StoreError
        If the content has other columns: the table was changed by another program.
    """
    record = _record(dtypes)
    length, rest = divmod(len(content) - len(HEADER) - len(TRAILER), record.itemsize)
    if rest or not content.startswith(HEADER) or not content.endswith(TRAILER):
        raise _unexpected(where)
    rows = np.frombuffer(content, dtype=record, count=length, offset=len(HEADER))
    widths = (rows[f"length_{at}"] == record[f"field_{at}"].itemsize for at in range(len(dtypes)))
    if not (rows["fields"] == len(dtypes)).all() or not all(width.all() for width in widths):
        raise _unexpected(where)
    return {name: rows[f"field_{at}"].astype(dtype) for at, (name, dtype) in enumerate(dtypes.items())}


def _record(dtypes: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    fields = [("fields", ">i2")]
    for at, dtype in enumerate(dtypes.values()):
        fields += [(f"length_{at}", ">i4"), (f"field_{at}", _wire(dtype))]
    return np.dtype(fields)


def _wire(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "?"
    if dtype.kind == "f":
        return ">f4" if dtype.itemsize <= 4 else ">f8"
    bits = 8 * dtype.itemsize + (dtype.kind == "u")  # with the sign that PostgreSQL's integers have
    return ">i2" if bits <= 16 else ">i4" if bits <= 32 else ">i8"


def _unexpected(where: str) -> StoreError:
    return StoreError(f"{where}: the columns are not of the types the store made; drop the table and redo the stage")
