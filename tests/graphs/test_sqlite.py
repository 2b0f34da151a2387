"""What is particular to SQLite: files, URLs, locks, damage, file systems."""

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as npst

from catena.errors import ConfigError, OutputError, StoreError
from catena.graphs import (
    SQLiteStore,
    TableSchema,
    open_store,
    require_local_filesystem,
    require_reach,
    sqlite_url,
)
from catena.graphs.blobs import pack_array, unpack_array

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))


def edges(*rows: tuple[int, int, float]) -> dict[str, np.ndarray]:
    u, v, score = zip(*rows, strict=True)
    return {"u": np.array(u, np.uint64), "v": np.array(v, np.uint64), "merge_score": np.array(score, np.float32)}


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///a.sqlite"), open_store(sqlite_url(tmp_path / "b.sqlite")):
        assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == ["a.sqlite", "b.sqlite"]
    with pytest.raises(ConfigError, match=r"'redis://me:\*\*\*@host/1' is not supported; expected sqlite:///PATH"):
        open_store("redis://me:secret@host/1")
    with pytest.raises(ConfigError, match="not supported"):
        open_store("sqlite:///")


def test_reading_needs_the_file_and_does_not_change_it(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with pytest.raises(StoreError, match="no graph store at"):
        SQLiteStore(path, "r")
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges((1, 2, 0.5)))
    with SQLiteStore(path, "r") as store:
        assert store.count("edges") == 1
        with pytest.raises(OutputError, match="permissions"):
            store.write_block("edges", 0, edges((1, 3, 0.5)))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        SQLiteStore(tmp_path / "file" / "rag.sqlite")


def test_a_full_disk(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "rag.sqlite") as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges((1, 2, 0.5)))
        store._session.connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(OutputError, match="disk is full"):
            store.write_block("edges", 0, edges(*((i, i + 1, 0.5) for i in range(20_000))))
        assert store.read("edges")["u"].tolist() == [1]


def test_a_locked_database(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store, SQLiteStore(path, patience_s=0.05) as impatient:
        store.create("edges", EDGES)
        with (
            store._session.transaction(),
            pytest.raises(StoreError, match="another process holds the database"),
        ):
            impatient.write_block("edges", 0, edges((1, 2, 0.5)))
        impatient.write_block("edges", 0, edges((1, 2, 0.5)))


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, only some text " * 100)
    for mode in ("a", "r"):
        with pytest.raises(StoreError, match="not an SQLite database"):
            SQLiteStore(path, mode)


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(*((i, i + 1, 0.5) for i in range(20_000))))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(40_000))
    with SQLiteStore(path) as store, pytest.raises(StoreError, match="damaged"):
        store.read("edges")


def test_a_damaged_blob(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "rag.sqlite") as store:
        store.create("sums", TableSchema({"u": "uint64"}, key=("u",), kind="arrays"))
        store.write_block("sums", 3, {"u": np.arange(5, dtype=np.uint64)})
        store._session.connection.execute("UPDATE sums SET u = zeroblob(100)")
        with pytest.raises(StoreError, match="column 'u', block 3: not a stored array"):
            store.read("sums")


@settings(deadline=None)
@given(
    npst.arrays(npst.integer_dtypes() | npst.floating_dtypes() | npst.boolean_dtypes(), npst.array_shapes(min_side=0))
)
def test_blobs_hold_any_array(array: np.ndarray) -> None:
    found = unpack_array(pack_array(array), "here")
    assert found.dtype == array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(found, array)


def test_edges_are_a_plain_table_with_a_block(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 4, edges((1, 2, 0.5)))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT u, v, merge_score, block FROM edges").fetchall() == [(1, 2, 0.5, 4)]
    connection.close()


def test_schemas_say_what_is_wrong() -> None:
    with pytest.raises(StoreError, match="must name columns"):
        TableSchema({"u": "uint64"}, key=("v",))
    with pytest.raises(StoreError, match="not a NumPy dtype"):
        TableSchema({"u": "uint65"}, key=("u",))
    with pytest.raises(StoreError, match="only boolean, integer and float"):
        TableSchema({"u": "object"}, key=("u",))
    with pytest.raises(StoreError, match="kind 'arrays'"):
        TableSchema({"u": "(4,)uint32"}, key=("u",))
    with pytest.raises(StoreError, match="'block' is taken"):
        TableSchema({"block": "int64"}, key=("block",))


@pytest.mark.parametrize("name", ["catena_tables", "sqlite_master", "a b", "", 'x"; DROP TABLE y; --'])
def test_table_names_are_plain(tmp_path: Path, name: str) -> None:
    with SQLiteStore(tmp_path / "rag.sqlite") as store, pytest.raises(StoreError, match="cannot name a table"):
        store.create(name, EDGES)


MOUNTS = """\
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 24 0:30 / /home rw shared:2 - nfs4 server:/home rw
26 25 0:31 / /home/me/my\\040scratch rw - xfs /dev/sdb1 rw
27 24 0:32 / /mnt/x rw - fuse.sshfs me@there: rw
"""


def test_network_file_systems_are_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    with pytest.raises(StoreError, match=r"nfs4 at /home.*postgresql://.*mongodb://"):
        require_local_filesystem("/home/me/rag.sqlite", mounts)
    with pytest.raises(StoreError, match="sshfs"):
        require_local_filesystem("/mnt/x/rag.sqlite", mounts)
    require_local_filesystem("/home/me/my scratch/rag.sqlite", mounts)
    require_local_filesystem("/homework/rag.sqlite", mounts)
    require_local_filesystem("/data/rag.sqlite", tmp_path / "no mounts here")


def test_sqlite_does_not_span_hosts(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="serves a single host"):
        require_reach("sqlite:///rag.sqlite", spans_hosts=True)
    require_reach(sqlite_url(tmp_path / "rag.sqlite"), spans_hosts=False)
    require_reach("postgresql://me@host/db", spans_hosts=True)


def _indexes(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'catena_block_[0-9]*'")
        ]


@pytest.mark.parametrize("need", ["rewrite", "read", "rename"])
def test_the_index_on_the_block_is_made_when_it_is_needed(tmp_path: Path, need: str) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        for block in range(3):
            store.write_block("edges", block, edges((block, 9, 0.5)))
        assert store.read("edges")["u"].tolist() == [0, 1, 2]
        assert _indexes(path) == []
        with SQLiteStore(path, "r") as reader:  # it cannot make one, and does without
            assert reader.read("edges", blocks=[1])["u"].tolist() == [1]
        if need == "rewrite":
            store.write_block("edges", 1, edges((7, 9, 0.5)))
        elif need == "read":
            store.read("edges", blocks=[1])
        else:
            store.rename("edges", "final")
        assert _indexes(path) == ["catena_block_1"]


def test_who_reads_blocks_does_not_wait_for_the_index(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store, SQLiteStore(path, patience_s=0.05) as impatient:
        store.create("edges", EDGES)
        store.write_block("edges", 1, edges((7, 9, 0.5)))
        with store._session.transaction():
            assert impatient.read("edges", blocks=[1])["u"].tolist() == [7]
            assert _indexes(path) == []
        assert impatient.read("edges", blocks=[1])["u"].tolist() == [7]
        assert _indexes(path) == ["catena_block_1"]
        assert impatient._session.execute("PRAGMA busy_timeout") == [(50,)]  # writers wait as before


def test_an_index_is_made_wholly_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 1, edges(*((i, i + 1, 0.5) for i in range(1000))))
        connection = store._session.connection
        calls = iter([0] * 20)
        connection.set_progress_handler(lambda: next(calls, 1), 100)  # stops it in the midst
        with pytest.raises(StoreError, match="interrupted"):
            store.read("edges", blocks=[1])
        connection.set_progress_handler(None, 0)
        assert not connection.in_transaction
        assert _indexes(path) == []
        assert len(store.read("edges", blocks=[1])["u"]) == 1000
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_readers_that_make_the_index_and_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rag.sqlite"
    with SQLiteStore(path) as store:
        store.create("edges", EDGES)
        for block in range(4):
            store.write_block("edges", block, edges(*((i, block, 0.5) for i in range(100))))
    together = Barrier(8)

    def read(block: int) -> int:
        with SQLiteStore(path) as store:
            together.wait()
            return len(store.read("edges", blocks=[block])["u"])

    def write(block: int) -> int:
        with SQLiteStore(path) as store:
            together.wait()
            for _ in range(5):
                store.write_block("edges", block, edges(*((i, block, 0.5) for i in range(100))))
            return store.count("edges")

    with ThreadPoolExecutor(8) as pool:
        readers, writers = [pool.submit(read, each) for each in range(4)], [pool.submit(write, 4 + k) for k in range(4)]
        assert [each.result() for each in readers] == [100] * 4
        assert max(each.result() for each in writers) == 800
    with SQLiteStore(path) as store:
        assert [len(store.read("edges", blocks=[each])["u"]) for each in range(8)] == [100] * 8
