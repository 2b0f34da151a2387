"""What is particular to MongoDB: servers that go away, passwords, no transactions, documents of 16 MB."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import bson
import numpy as np
import pytest
from mongodb_server import MongoDBServer

from catena.errors import OutputError, StoreError
from catena.graphs import GraphStore, StoreUrl, TableSchema, open_store
from catena.graphs.mongodb import MongoDBStore
from catena.graphs.mongodb_bson import pack_rows
from catena.graphs.mongodb_open import open_mongodb
from catena.graphs.pauses import Pauses
from catena.graphs.url import PASSWORD_VARIABLE

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))
SUMS = TableSchema({"u": "uint64", "histogram": "(4,)uint32"}, key=("u",), kind="arrays")

Columns = dict[str, np.ndarray]


def edges(count: int, first: int = 0, **more: Any) -> Columns:
    u = np.arange(first, first + count, dtype=np.uint64)
    return {"u": u, "v": u + np.uint64(1), "merge_score": (u % 7).astype(np.float32) / 8} | {
        name: np.full(count, value) for name, value in more.items()
    }


@pytest.fixture
def url(impatient_mongodb_url: str) -> str:
    return impatient_mongodb_url


@pytest.fixture
def store(url: str) -> Iterator[MongoDBStore]:
    with open_mongodb(url, patience_s=5) as opened:
        assert isinstance(opened, MongoDBStore)
        yield opened


def collections(store: MongoDBStore) -> set[str]:
    return {name for name in store._connection.names() if not name.startswith("catena_")}


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


# -- no transactions --------------------------------------------------------------------------


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
