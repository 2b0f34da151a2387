"""What is particular to MongoDB: servers that go away, passwords, documents of 16 MB."""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import bson
import numpy as np
import pytest
from mongodb_graphs import EDGES, SUMS, collections, edges
from mongodb_server import MongoDBServer

from catena.errors import OutputError, StoreError
from catena.graphs import GraphStore, StoreUrl, TableSchema, open_store
from catena.graphs.mongodb import MongoDBStore
from catena.graphs.mongodb_bson import pack_rows
from catena.graphs.mongodb_open import open_mongodb
from catena.graphs.pauses import Pauses
from catena.graphs.url import PASSWORD_VARIABLE


@pytest.fixture
def url(impatient_mongodb_url: str) -> str:
    return impatient_mongodb_url


@pytest.fixture
def store(impatient_mongodb_store: MongoDBStore) -> MongoDBStore:
    return impatient_mongodb_store


# -- a server that goes away ------------------------------------------------------------------


def scenario(store: GraphStore) -> None:
    """Do once all that a store can do."""
    store.create("edges", EDGES)
    store.create("sums", SUMS)
    store.create("edges", EDGES)
    store.write_block("edges", 0, edges(5))
    store.write_block("edges", 0, edges(3))
    store.write_block("sums", 4, {"u": np.arange(2), "histogram": np.ones((2, 4), np.uint32)})
    store.create("more", EDGES)
    store.replace_all("more", iter([edges(2, 10, block=1), edges(2, 20, block=0)]))
    store.rename("more", "edges", replace=True)
    rows = {"u": np.array([7, 3, 3]), "histogram": np.ones((3, 4), np.uint32), "block": np.array([1, 0, 1])}
    store.replace_all("sums", [rows, rows])
    store.create("gone", EDGES)
    store.write_block("gone", 0, edges(1))
    store.drop("gone")
    store.set_metadata("voxel_size", [40, 4, 4])


def outcome(store: MongoDBStore) -> tuple[Any, ...]:
    names = store.tables()
    rows = {name: store.read(name, [*store.schema(name).columns, "block"])["u"].tolist() for name in names}
    counts = [(store.count(name), store.blocks_written(name).tolist()) for name in names]
    return names, rows, counts, store.metadata(), len(collections(store))


EXPECTED = (
    ("edges", "sums"),
    {"edges": [10, 11, 20, 21], "sums": [3, 3, 7, 3, 7, 3]},
    [(4, [0, 1]), (6, [0, 1])],
    {"voxel_size": [40, 4, 4]},
    4,
)
COMMANDS = ["find", "insert", "update", "delete", "findAndModify", "createIndexes", "drop", "aggregate"]


def test_the_scenario(store: MongoDBStore) -> None:
    scenario(store)
    assert outcome(store) == EXPECTED


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_any_request_may_be_lost_before_or_after_it_ran(
    store: MongoDBStore, mongodb_server: MongoDBServer, monkeypatch: pytest.MonkeyPatch, command: str, done: bool
) -> None:
    run = mongodb_server._run
    numbers: dict[str, int] = {}

    def every_third(name: str, request: dict[str, Any]) -> dict[str, Any]:
        numbers[name] = numbers.get(name, 0) + 1
        if name == command and numbers[name] % 3 == 0:
            mongodb_server.hang_up(command, done)
        return run(name, request)

    monkeypatch.setattr(mongodb_server, "_run", every_third)
    mongodb_server.hang_up(command, done, times=2)
    scenario(store)
    assert outcome(store) == EXPECTED
    assert mongodb_server.commands[command] > 2


def test_a_restarted_server(store: MongoDBStore, mongodb_server: MongoDBServer) -> None:
    store.create("edges", EDGES)
    mongodb_server.stop()
    threading.Timer(0.4, mongodb_server.start).start()
    store.write_block("edges", 0, edges(3))
    assert store.read("edges")["u"].tolist() == [0, 1, 2]


def test_a_server_that_stays_away(url: str, mongodb_server: MongoDBServer) -> None:
    with open_mongodb(url, patience_s=0.3) as store:
        mongodb_server.stop()
        with pytest.raises(StoreError, match=r"listing|reading the catalogue failed.*one whose disk is full stops"):
            store.tables()
        mongodb_server.start()
        assert store.tables() == ()


@pytest.mark.parametrize("kind", ["rows", "arrays"])
@pytest.mark.parametrize("lost", ["connection", "cursor"])
def test_reading_goes_on_where_it_was(store: MongoDBStore, mongodb_server: MongoDBServer, kind: str, lost: str) -> None:
    store.create("edges", TableSchema(EDGES.columns, key=EDGES.key, kind=kind))  # type: ignore[arg-type]
    for block in range(150):  # more than fit into PyMongo's first batch of 101 documents
        store.write_block("edges", block, edges(2, 2 * block))
    pieces = store.iterate("edges", rows=25)
    found = [next(pieces)["u"]]
    if lost == "cursor":
        mongodb_server.forget_cursors()
    else:
        mongodb_server.hang_up("getMore", done=True)
    found += [piece["u"] for piece in pieces]
    assert len(found) > 2
    assert np.concatenate(found).tolist() == list(range(300))


# -- a server that refuses --------------------------------------------------------------------

FULL = {"code": 14031, "errmsg": "No space left on device"}


@pytest.mark.parametrize("reply", [{"ok": 0.0} | FULL, {"n": 0, "writeErrors": [{"index": 0} | FULL]}])
def test_a_full_disk(store: MongoDBStore, mongodb_server: MongoDBServer, reply: dict[str, Any]) -> None:
    store.create("edges", EDGES)
    for block in range(2):
        store.write_block("edges", block, edges(2, 10 * block))
    mongodb_server.failures["insert"] = reply
    with pytest.raises(OutputError, match=r"writing block 0 to table 'edges' failed, .*no more space; free some"):
        store.write_block("edges", 0, edges(3))
    assert store.blocks_written("edges").tolist() == [1]
    assert store.read("edges")["u"].tolist() == [10, 11]
    mongodb_server.failures.clear()
    store.write_block("edges", 0, edges(3))
    assert store.read("edges")["u"].tolist() == [0, 1, 2, 10, 11]


def test_a_member_that_is_not_primary(
    store: MongoDBStore, mongodb_server: MongoDBServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("edges", EDGES)
    mongodb_server.failures["update"] = {"ok": 0.0, "code": 10107, "errmsg": "not primary"}
    monkeypatch.setattr(Pauses, "wait", lambda self: pytest.fail("it would remain so for all the patience"))
    with pytest.raises(OutputError, match="this member of the replica set cannot be written"):
        store.write_block("edges", 0, edges(1))


def test_members_that_do_not_keep_up(store: MongoDBStore, mongodb_server: MongoDBServer) -> None:
    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    mongodb_server.failures["update"] = {"n": 1, "nModified": 1, "writeConcernError": concern}
    with pytest.raises(OutputError, match=r"replication timed out.*do not keep up"):
        store.set_metadata("a", 1)


# -- layout -----------------------------------------------------------------------------------


def test_edges_are_plain_documents_with_indexes(store: MongoDBStore, mongodb_server: MongoDBServer) -> None:
    store.create("edges", EDGES)
    store.write_block("edges", 4, {"u": np.array([1]), "v": np.array([2]), "merge_score": np.array([0.5])})
    collection = mongodb_server.data["graphs"]["fib25.edges_1"]
    assert collection.find_one({}, {"_id": 0}) == {"u": 1, "v": 2, "merge_score": 0.5, "block": 4}
    created = mongodb_server.last["createIndexes"]["indexes"][0]
    assert (created["key"], created.get("unique")) == ({"block": 1}, None)
    assert mongodb_server._unique["graphs", "fib25.edges_1"] == [("u", "v")]


def test_a_block_takes_as_many_documents_as_it_needs(store: MongoDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0).integers(0, 2**31, (1000, 4), dtype=np.uint32)
    rows = {"u": np.arange(1000, dtype=np.uint64), "histogram": random}
    store.create("sums", SUMS)
    monkeypatch.setattr("catena.graphs.mongodb_tables.LARGEST_DOCUMENT_BYTES", 3_000)
    store.write_block("sums", 3, rows)
    documents = store._known("sums").documents
    assert documents.count_documents({}) > 4
    assert all(len(bson.encode(each)) < 4_000 for each in documents.find())
    found = store.read("sums")
    for name, values in rows.items():
        np.testing.assert_array_equal(found[name], values)
    store.replace_all("sums", [rows | {"block": np.arange(1000) % 2}] * 2)
    assert store.count("sums") == len(store.read("sums")["u"]) == 2000
    monkeypatch.setattr("catena.graphs.mongodb_tables.LARGEST_DOCUMENT_BYTES", 10)
    with pytest.raises(StoreError, match="a single row is larger than a document"):
        store.write_block("sums", 3, rows)


def test_a_damaged_blob(store: MongoDBStore) -> None:
    store.create("sums", SUMS)
    store.write_block("sums", 3, {"u": np.arange(2), "histogram": np.ones((2, 4), np.uint32)})
    store._known("sums").documents.update_one({}, {"$set": {"u": b"\0" * 50}})
    with pytest.raises(StoreError, match="column 'u', block 3: not a stored array"):
        store.read("sums")


def test_only_complete_blocks_are_looked_for(store: MongoDBStore) -> None:
    store.create("edges", EDGES)
    for block in range(3):
        store.write_block("edges", block, edges(2, 10 * block))
    known = store._known("edges")
    known.begin(1)
    known.documents.insert_many(list(pack_rows(edges(1, 10, block=1))))
    assert store.read("edges")["u"].tolist() == [0, 1, 20, 21]
    assert store.read("edges", blocks=[0, 1])["u"].tolist() == [0, 1]
    assert (store.count("edges"), store.blocks_written("edges").tolist()) == (4, [0, 2])


# -- a real server ----------------------------------------------------------------------------


@pytest.fixture
def real(mongodb_url: str) -> str:
    if "CATENA_TEST_MONGODB_URI" not in os.environ:
        pytest.skip("needs a MongoDB server: CATENA_TEST_MONGODB_URI names none")
    return mongodb_url


def test_a_real_server_does_it_all(real: str) -> None:
    with open_mongodb(real) as store:
        assert isinstance(store, MongoDBStore)
        scenario(store)
        assert outcome(store) == EXPECTED
        indexes = store._known("edges").documents.index_information()
        assert indexes["key"] == {"v": 2, "key": [("u", 1), ("v", 1)], "unique": True}


def test_a_real_server_refuses_a_wrong_password(real: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = StoreUrl.parse(real)
    monkeypatch.setenv(PASSWORD_VARIABLE, "certainly-wrong")
    with pytest.raises(StoreError, match=PASSWORD_VARIABLE) as caught:
        open_store(f"mongodb://{url.user or 'nobody'}@{url.hosts}/{url.database}")
    assert "certainly-wrong" not in str(caught.value)


def test_a_real_connection_that_is_cut(real: str, cut: Callable[[str], tuple[str, Callable[[], None]]]) -> None:
    through, hang_up = cut(real)
    with open_store(through) as store:
        store.create("edges", EDGES)
        for block in range(10):
            hang_up()
            store.write_block("edges", block, edges(50, 100 * block))
        assert store.count("edges") == len(store.read("edges")["u"]) == 500


@pytest.fixture
def cut() -> Callable[[str], tuple[str, Callable[[], None]]]:
    """Return the URL of a way to a server that goes through here, and a function that cuts all connections."""

    def through(url: str) -> tuple[str, Callable[[], None]]:
        host, _, port = StoreUrl.parse(url).hosts.partition(":")
        listener = socket.create_server(("127.0.0.1", 0))
        ends: list[socket.socket] = []

        def pump(source: socket.socket, target: socket.socket) -> None:
            try:
                while content := source.recv(2**16):
                    target.sendall(content)
            except OSError:
                return  # cut

        def accept() -> None:
            while True:
                near, far = listener.accept()[0], socket.create_connection((host, int(port or 27017)))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        def hang_up() -> None:
            while ends:
                ends.pop().close()

        threading.Thread(target=accept, daemon=True).start()
        here = url.replace(f"{host}:{port}" if port else host, f"127.0.0.1:{listener.getsockname()[1]}", 1)
        return f"{here}&directConnection=true", hang_up

    return through
