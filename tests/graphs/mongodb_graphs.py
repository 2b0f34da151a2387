"""Tables for tests of the MongoDB store, and a look at what lies in the database."""

from typing import Any

import numpy as np

from catena.graphs import TableSchema
from catena.graphs.mongodb import MongoDBStore

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))
SUMS = TableSchema({"u": "uint64", "histogram": "(4,)uint32"}, key=("u",), kind="arrays")

Columns = dict[str, np.ndarray]


def edges(count: int, first: int = 0, **more: Any) -> Columns:
    u = np.arange(first, first + count, dtype=np.uint64)
    return {"u": u, "v": u + np.uint64(1), "merge_score": (u % 7).astype(np.float32) / 8} | {
        name: np.full(count, value) for name, value in more.items()
    }


def collections(store: MongoDBStore) -> set[str]:
    return {name for name in store._connection.names() if not name.startswith("catena_")}
