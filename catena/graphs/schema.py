"""What a table of a graph store holds: column names, NumPy dtypes, the key and the layout."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.blocks import LARGEST_ID
from catena.errors import StoreError, nearest_names

Columns = Mapping[str, NDArray[Any]]
"""One array per column, all of the same length; the only form in which rows cross a store's interface."""

BLOCK = "block"

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_KINDS = "biuf"


@dataclass(frozen=True)
class TableSchema:
    """Columns, key and layout of one table; every row also carries the `block` that wrote it.

    Parameters
    ----------
    columns
        Column name → NumPy dtype, without `block`. In an ``"arrays"`` table a dtype may have a shape,
        ``"(16,)uint32"`` for a histogram of 16 bins per row.
    key
        Columns that together are unique and fix the order in which rows are read. In an
        ``"arrays"`` table several blocks may hold the same key (their values are to be added up).
    kind
        ``"rows"``: one database row per row, to be queried and changed row by row. ``"arrays"``: one
        compressed blob per block and column, ten times faster and several times smaller.

    Raises
    ------
    StoreError
        If a name cannot be a column, a dtype cannot be stored, or a key column does not exist.

    Examples
    --------
    >>> TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v")).kind
    'rows'
    """

    columns: Mapping[str, str]
    key: tuple[str, ...]
    kind: Literal["rows", "arrays"] = "rows"

    def __post_init__(self) -> None:
        for name, dtype in self.columns.items():
            _check_column(name, dtype, self.kind)
        unknown = [name for name in self.key if name not in self.columns]
        if unknown or not self.key:
            raise StoreError(f"key {self.key} must name columns of the table; there are {sorted(self.columns)}")

    def dtype(self, column: str) -> np.dtype[Any]:
        """Return the dtype of `column`, `block` included (int64)."""
        if column == BLOCK:
            return np.dtype(np.int64)
        if column not in self.columns:
            raise StoreError(f"no column {column!r} ({nearest_names(column, self.columns)})")
        return np.dtype(self.columns[column])

    def checked(self, columns: Columns, table: str, extra: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
        """Return `columns` in the schema's order and dtypes.

        Raises
        ------
        StoreError
            If columns are missing, unknown or of different lengths, or values do not fit their dtype:
            integers out of range, ids of 2⁶³ and more, NaN.
        """
        wanted = (*self.columns, *extra)
        if set(columns) != set(wanted):
            raise StoreError(f"table {table!r} takes the columns {list(wanted)}, found {list(columns)}")
        arrays = {name: _fitted(columns[name], self.dtype(name), f"{table}.{name}") for name in wanted}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise StoreError(f"columns of table {table!r} differ in length: {lengths}")
        return arrays

    def empty(self, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Return the named columns with no rows."""
        return {name: np.empty(0, dtype=self.dtype(name)) for name in names}

    def joined(self, names: tuple[str, ...], pieces: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Return pieces of the named columns as one, taking the pieces apart; none make columns with no rows."""
        if not pieces:
            return self.empty(names)
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([piece.pop(name) for piece in pieces]) for name in names}

    def to_json(self) -> str:
        """Return the schema as text that :meth:`from_json` reads back."""
        return json.dumps({"columns": dict(self.columns), "key": list(self.key), "kind": self.kind})

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """Return the schema that :meth:`to_json` wrote."""
        values = json.loads(text)
        return cls(columns=values["columns"], key=tuple(values["key"]), kind=values["kind"])


def _check_column(name: str, dtype: str, kind: str) -> None:
    if not _IDENTIFIER.match(name) or name == BLOCK:
        raise StoreError(f"{name!r} cannot be a column: use a letter, then letters, digits, '_'; 'block' is taken")
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        raise StoreError(f"column {name!r}: {dtype!r} is not a NumPy dtype") from None
    if parsed.base.kind not in _KINDS:
        raise StoreError(f"column {name!r}: only boolean, integer and float dtypes are stored, found {dtype!r}")
    if kind == "rows" and parsed.shape:
        raise StoreError(f"column {name!r}: {dtype!r} has a shape; only a table of kind 'arrays' can hold it")


def missing_table(place: str, table: str, there: Collection[str]) -> StoreError:
    """Return the error of asking for a table that is not there, with the nearest that is."""
    hint = nearest_names(table, there) if there else "it holds no tables"
    return StoreError(f"{place} has no table {table!r} ({hint})")


def check_table_name(name: str) -> str:
    """Return `name` if it can name a table.

    Raises
    ------
    StoreError
        If it cannot, or begins as the store's own tables do.
    """
    if not _IDENTIFIER.match(name) or name.startswith(("catena_", "sqlite_")):
        raise StoreError(
            f"{name!r} cannot name a table: use a letter, then letters, digits and '_'; "
            "'catena_' and 'sqlite_' begin the store's own tables"
        )
    return name


def _fitted(values: NDArray[Any], dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    """Return `values` as `dtype` (a row shape included), refusing what would change them."""
    array = np.asarray(values)
    if array.shape[1:] != dtype.shape or array.ndim == 0:
        raise StoreError(f"{where}: expected an array of shape {('n', *dtype.shape)}, found {array.shape}")
    base = dtype.base
    kinds = {"f": "f", "b": "b"}.get(base.kind, "biu")  # what becomes this kind without loss, if in range
    if array.dtype.kind not in kinds:
        raise StoreError(f"{where}: expected {base}, found {array.dtype}")
    if base.kind == "f":
        missing = int(np.isnan(array).sum())
        if missing:  # SQLite would turn NaN into NULL in silence
            raise StoreError(f"{where}: {missing} of {array.size} values are NaN, which no store can hold")
    elif base.kind != "b" and array.size:
        _check_range(int(array.min()), int(array.max()), base, where)
    return array.astype(base, copy=False)


def _check_range(smallest: int, largest: int, dtype: np.dtype[Any], where: str) -> None:
    limits = np.iinfo(dtype)
    top = min(int(limits.max), LARGEST_ID)
    if smallest < limits.min or largest > top:
        raise StoreError(f"{where}: values from {smallest} to {largest} do not fit {dtype} ({limits.min} to {top})")
