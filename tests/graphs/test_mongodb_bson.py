"""Columns as BSON documents and back."""

from typing import Any

import bson
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from catena.errors import StoreError
from catena.graphs.mongodb_bson import pack_rows, unpack_rows


@given(st.data(), st.integers(1, 5))
def test_bson_holds_any_column(data: st.DataObject, length: int) -> None:
    dtypes = st.sampled_from(["bool", "int8", "uint8", "int32", "uint32", "int64", "float32", "f8"])
    columns = {
        name: data.draw(
            npst.arrays(dtype, length, elements={"allow_nan": False} if np.dtype(dtype).kind == "f" else None)
        )
        for name, dtype in zip(("a", "bb", "c"), data.draw(st.tuples(dtypes, dtypes, dtypes)), strict=True)
    }
    documents = list(pack_rows(columns))
    assert [dict(bson.decode(each.raw)) for each in documents] == [
        dict(zip(columns, row, strict=True)) for row in zip(*(each.tolist() for each in columns.values()), strict=True)
    ]
    dtypes_of = {name: values.dtype for name, values in columns.items()}
    found = unpack_rows(b"".join(each.raw for each in documents), dtypes_of, {}, "here")
    for name, values in columns.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


MIXED = [
    {"_id": bson.ObjectId(), "u": 1, "score": 0.5, "name": "x"},
    {"u": bson.Int64(2**40), "score": 1},
    {"score": None, "u": 3},
]


def encoded(documents: list[dict[str, Any]]) -> bytes:
    return b"".join(bson.encode(each) for each in documents)


def test_documents_that_others_wrote() -> None:
    wanted = {"u": np.dtype("uint64"), "score": np.dtype("float64"), "mark": np.dtype("bool")}
    found = unpack_rows(encoded(MIXED), wanted, {"score": 9.0, "mark": False}, "here")
    assert found["u"].tolist() == [1, 2**40, 3]
    assert found["score"].tolist() == [0.5, 1.0, 9.0]
    assert found["mark"].tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (MIXED, "field 'score' lacks a number"),
        ([{"u": 1}, {"u": 2}], "have no field 'score'"),
        ([{"u": 1.5, "score": 1.0}], "field 'u' holds values that are no uint64"),
        ([{"u": -1, "score": 1.0}], "field 'u' holds values that are no uint64"),
        ([{"u": 1, "score": [1.0]}, {"u": 1, "score": 1.0}], "field 'score' holds values of different shapes"),
        ([{"u": "one", "score": 1.0}], "field 'u' lacks a number"),
    ],
)
def test_documents_that_cannot_be_columns(documents: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(StoreError, match=f"here: .*{message}"):
        unpack_rows(encoded(documents), {"u": np.dtype("uint64"), "score": np.dtype("float64")}, {}, "here")
