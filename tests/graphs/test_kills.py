"""A worker killed between any two steps of a block's commit leaves the old rows or the new ones, never a mixture.

MongoDB, without transactions, may also leave none, and then no longer counts the block as written.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from catena.graphs import GraphStore, TableSchema
from catena.graphs.mongodb import MongoDBStore

COLUMNS = {"u": "uint64", "score": "float32"}
KINDS = {
    "rows": TableSchema(COLUMNS, key=("u",)),
    "arrays": TableSchema(COLUMNS, key=("u",), kind="arrays"),
}
OLD, NEW = [7, 8, 9], [1, 7]

WRITER = """
import sys
import numpy as np
from catena.graphs import open_store
with open_store(sys.argv[1]) as store:
    u = np.array([1, 7])
    store.write_block(sys.argv[2], 0, {"u": u, "score": u / 16})
"""


@pytest.mark.parametrize(
    ("point", "kind", "committed"),
    [
        ("graph.before_transaction", "rows", False),
        ("graph.before_commit", "rows", False),
        ("graph.before_commit", "arrays", False),
        ("graph.after_commit", "rows", True),
    ],
)
def test_killed_between_any_two_steps(opener: Callable[[], GraphStore], point: str, kind: str, committed: bool) -> None:
    old = {"u": np.array(OLD), "score": np.array(OLD) / 16}
    with opener() as store:
        url = store.url
        store.create("edges", KINDS[kind])
        store.write_block("edges", 0, old)
        store.write_block("edges", 1, {"u": np.array([50]), "score": np.array([0.5])})
    command = [sys.executable, "-c", WRITER, url, "edges"]
    killed = subprocess.run(command, env=os.environ | {"CATENA_FAULT": point}, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    with opener() as store:
        taken_back = point == "graph.before_commit" and isinstance(store, MongoDBStore)
        expected = [] if taken_back else NEW if committed else OLD
        assert store.read("edges", blocks=[0])["u"].tolist() == expected
        assert store.read("edges")["u"].tolist() == [*expected, 50]
        assert store.count("edges") == len(expected) + 1
        assert store.blocks_written("edges").tolist() == ([1] if taken_back else [0, 1])
    with opener() as store:
        store.write_block("edges", 0, {"u": np.array(NEW), "score": np.array(NEW) / 16})
    with opener() as store:
        assert store.read("edges")["u"].tolist() == [*NEW, 50]
        assert (store.read("edges")["score"][:2] == np.array(NEW, np.float32) / 16).all()
