"""MongoDB without transactions: writers that are refused, overtaken by others, or killed."""

import os
import signal
import subprocess
import sys
from itertools import combinations
from typing import Any

import pytest
from mongodb_graphs import EDGES, SUMS, collections, edges
from mongodb_server import MongoDBServer

from catena.errors import StoreError
from catena.graphs import GraphStore, TableSchema, open_store
from catena.graphs.mongodb import MongoDBStore


@pytest.fixture
def url(impatient_mongodb_url: str) -> str:
    return impatient_mongodb_url


@pytest.fixture
def store(impatient_mongodb_store: MongoDBStore) -> MongoDBStore:
    return impatient_mongodb_store


def test_a_refused_block_takes_back_what_it_wrote(store: MongoDBStore) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges(2))
    with pytest.raises(StoreError, match=r"writing block 1 to table 'edges' failed, .*two rows have the same key"):
        store.write_block("edges", 1, edges(5, 1))
    assert store.read("edges")["u"].tolist() == [0, 1]
    assert store.blocks_written("edges").tolist() == [0]
    assert store._known("edges").documents.count_documents({}) == 2
    store.write_block("edges", 1, edges(5, 2))
    assert store.count("edges") == 7


def test_two_writers_of_one_block(store: MongoDBStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("edges", EDGES)

    def overtake(point: str) -> None:
        if point == "graph.before_commit":
            monkeypatch.undo()
            with open_store(url) as other:
                other.write_block("edges", 0, edges(3))

    monkeypatch.setattr("catena.graphs.mongodb.fault_point", overtake)
    with pytest.raises(StoreError, match="block 0 of table 'edges' was begun by another process"):
        store.write_block("edges", 0, edges(3))
    assert store.read("edges")["u"].tolist() == [0, 1, 2]
    assert store.blocks_written("edges").tolist() == [0]


@pytest.mark.parametrize("other_schema", [EDGES, SUMS])
def test_two_creators_of_one_table(
    store: MongoDBStore, url: str, monkeypatch: pytest.MonkeyPatch, other_schema: TableSchema
) -> None:
    publish = store._catalogue.publish

    def late(*arguments: Any) -> bool:
        with open_store(url) as other:
            other.create("edges", other_schema)
            if other_schema == EDGES:
                other.write_block("edges", 0, edges(3))
        return publish(*arguments)

    monkeypatch.setattr(store._catalogue, "publish", late)
    if other_schema == EDGES:
        store.create("edges", EDGES)
        assert store.count("edges") == 3
    else:
        with pytest.raises(StoreError, match="another schema"):
            store.create("edges", EDGES)
    assert {name.partition(".")[0] for name in collections(store)} == {"edges_2"}


def change(store: GraphStore, how: str) -> None:
    if how == "replace":
        store.replace_all("edges", edges(1, block=9))
    elif how == "rename":
        store.rename("edges", "elsewhere")
    else:
        store.drop("edges")


@pytest.mark.parametrize(("first", "then"), [*combinations(["replace", "rename", "drop"], 2), ("replace", "replace")])
def test_two_processes_that_change_one_table(
    store: MongoDBStore, url: str, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges(4))
    made = store._catalogue._change

    def late(*arguments: Any) -> bool:
        with open_store(url) as other:
            change(other, first)
        return made(*arguments)

    monkeypatch.setattr(store._catalogue, "_change", late)
    with pytest.raises(StoreError, match=r"another process changed table .* meanwhile; only one may"):
        change(store, then)
    with open_store(url) as found:
        name = "elsewhere" if first == "rename" else "edges"
        assert found.tables() == (name,)
        assert found.blocks_written(name).tolist() == ([9] if first == "replace" else [0])


@pytest.mark.parametrize("how", ["replace", "drop"])
def test_what_a_failed_replacement_left_goes_with_the_next(store: MongoDBStore, how: str) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges(1))
    for _ in range(2):
        with pytest.raises(StoreError, match="expected int64"):
            store.replace_all("edges", [edges(2, block=0), edges(2, 5, block=0.5)])
    assert len({name.partition(".")[0] for name in collections(store)}) == 2  # the table and the last leftover
    change(store, how)
    assert len({name.partition(".")[0] for name in collections(store)}) == (1 if how == "replace" else 0)


@pytest.mark.parametrize("lost", [False, True])
def test_the_same_key_in_two_pieces(store: MongoDBStore, mongodb_server: MongoDBServer, lost: bool) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 7, edges(1))
    if lost:  # then keys that are there already may be those of the first try, or not
        mongodb_server.hang_up("insert", done=True)
    pieces = [edges(3, block=0), edges(2, 2, block=1)]
    if lost:
        pieces.reverse()
    with pytest.raises(StoreError, match="two rows have the same key"):
        store.replace_all("edges", pieces)
    assert store.blocks_written("edges").tolist() == [7]


REPLACER = """
import sys
import numpy as np
from catena.graphs import open_store
with open_store(sys.argv[1]) as store:
    u = np.array([1, 9])
    store.replace_all("edges", {"u": u, "v": u + 1, "merge_score": u / 16, "block": u})
"""


@pytest.mark.parametrize(("point", "committed"), [("graph.before_commit", False), ("graph.after_commit", True)])
def test_a_killed_replacement(store: MongoDBStore, point: str, committed: bool) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges(3))
    command = [sys.executable, "-c", REPLACER, store.url]
    killed = subprocess.run(command, env=os.environ | {"CATENA_FAULT": point}, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.read("edges")["u"].tolist() == ([1, 9] if committed else [0, 1, 2])
    assert len(collections(store)) == 4  # and what it left
    store.replace_all("edges", edges(1, block=0))
    assert len(collections(store)) == 2


def test_a_graph_removed_while_it_is_open(store: MongoDBStore) -> None:
    store._connection.collection("catena_catalogue").drop()
    for use in (store.tables, lambda: store.create("edges", EDGES)):
        with pytest.raises(StoreError, match="the graph was removed while it was open"):
            use()
