"""What is particular to PostgreSQL: connections, passwords, restarts, disks, types."""

import multiprocessing
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from postgresql_server import PASSWORD, USER, PostgreSQLServer

from catena.errors import ConfigError, OutputError, StoreError
from catena.graphs import TableSchema, open_store
from catena.graphs.pauses import Pauses
from catena.graphs.postgresql import PostgreSQLStore
from catena.graphs.postgresql_copy import decoded, encoded
from catena.graphs.url import PASSWORD_VARIABLE

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))

Columns = dict[str, np.ndarray]


def edges(count: int, first: int = 0) -> Columns:
    u = np.arange(first, first + count, dtype=np.uint64)
    return {"u": u, "v": u + np.uint64(1), "merge_score": (u % 7).astype(np.float32) / 8}


# -- types and layout -------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data(), st.integers(0, 5))
def test_binary_copy_holds_any_column(data: st.DataObject, length: int) -> None:
    dtypes = st.sampled_from(["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "f8"])
    columns = {
        name: data.draw(npst.arrays(data.draw(dtypes), length), label=name)
        for name in data.draw(st.sampled_from([("a",), ("a", "b", "c")]))
    }
    kinds = {name: column.dtype for name, column in columns.items()}
    found = decoded(b"".join(encoded(columns)), kinds, "here")
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)


def test_binary_copy_of_other_columns_is_refused() -> None:
    content = b"".join(encoded(edges(3)))
    for wrong in ({"u": np.dtype("int64")}, {name: np.dtype("int64") for name in EDGES.columns}):
        with pytest.raises(StoreError, match="here: the columns are not of the types the store made"):
            decoded(content, wrong, "here")
    with pytest.raises(StoreError, match="not of the types"):
        decoded(b"".join(encoded({"u": np.arange(2), "v": np.arange(2)})), {"u": np.dtype("int64")}, "here")


def test_columns_have_the_smallest_types_and_positions_an_array(
    postgresql_url: str, postgresql_server: PostgreSQLServer
) -> None:
    columns = {"id": "uint64", "position_0": "float64", "position_1": "float64", "position_2": "float64"}
    columns |= {"small": "uint8", "middle": "uint16", "large": "uint32", "flag": "bool", "score": "float32"}
    columns |= {"alone_0": "int64", "mixed_0": "int64", "mixed_1": "float64", "size_0": "int8", "size_1": "int8"}
    columns |= {"size": "int64"}
    rows = {name: np.array([1, 2]).astype(dtype) for name, dtype in columns.items()}
    with open_store(postgresql_url) as store:
        store.create("nodes", TableSchema(columns, key=("id",)))
        store.write_block("nodes", 3, rows)
        namespace = store.url.rpartition("=")[2]
    with postgresql_server.connect() as connection:
        connection.execute(f"SET search_path TO {namespace}")
        (first, _) = connection.execute("SELECT position, block, flag, pg_typeof(small)::text FROM nodes").fetchall()
        types = dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
                "WHERE attrelid = 'nodes'::regclass AND attnum > 0"
            ).fetchall()
        )
    assert first == ([1.0, 1.0, 1.0], 3, True, "smallint")
    assert types.pop("position") == "double precision[]"
    assert set(types) == {*columns, "block"}  # no array of one column, of unlike ones, or where there is a column
    narrow = {name: types[name] for name in ("small", "middle", "large", "id", "flag", "score", "alone_0")}
    assert narrow == {"small": "smallint", "middle": "integer", "large": "bigint", "id": "bigint"} | {
        "flag": "boolean",
        "score": "real",
        "alone_0": "bigint",
    }


def test_a_namespace_is_a_store_of_its_own(postgresql_url: str, postgresql_server: PostgreSQLServer) -> None:
    with open_store(postgresql_url) as store, open_store(postgresql_url + "_b") as other:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(3))
        assert other.tables() == ()
        other.create("edges", EDGES)
        assert (store.count("edges"), other.count("edges")) == (3, 0)
    with open_store(postgresql_server.url()) as public:
        public.create("here", EDGES)
    with postgresql_server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM public.here").fetchone() == (0,)


def test_reading_needs_the_store_and_does_not_change_it(postgresql_url: str) -> None:
    with pytest.raises(StoreError, match="no graph store at postgresql://"):
        open_store(postgresql_url, "r")
    with open_store(postgresql_url) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(1))
    with open_store(postgresql_url, "r") as store:
        assert store.count("edges") == 1
        with pytest.raises(OutputError, match="opened to read only"):
            store.write_block("edges", 0, edges(2))
        with pytest.raises(OutputError, match="opened to read only"):
            store.create("more", EDGES)


def test_names_that_postgresql_would_cut_are_refused(postgresql_url: str) -> None:
    with open_store(postgresql_url) as store:
        with pytest.raises(StoreError, match="longer than PostgreSQL's 63 characters"):
            store.create("t" * 64, EDGES)
        store.create("t" * 63, EDGES)
        with pytest.raises(StoreError, match="longer than PostgreSQL's 63 characters"):
            store.rename("t" * 63, "u" * 64)
        assert store.tables() == ("t" * 63,)


# -- who is let in ----------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["", "wrong-pass", None])
def test_a_wrong_password(postgresql_url: str, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    url = postgresql_url
    if variable is None:
        url = url.replace(f"{USER}@", f"{USER}:wrong-pass@")
    else:
        monkeypatch.setenv(PASSWORD_VARIABLE, variable)
    monkeypatch.setattr(Pauses, "wait", lambda self: pytest.fail("it waits for a server that has answered"))
    with pytest.raises(StoreError, match=f"password.* set the environment variable {PASSWORD_VARIABLE}") as caught:
        open_store(url)
    assert "wrong-pass" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_password_in_the_url_counts_and_is_not_shown(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    with open_store(postgresql_url.replace(f"{USER}@", f"{USER}:{PASSWORD}@")) as store:
        assert store.url == postgresql_url
        with pytest.raises(StoreError, match="no table 'edges'") as caught:
            store.read("edges")
    assert PASSWORD not in str(caught.value)


def test_an_unknown_database(postgresql_url: str) -> None:
    with pytest.raises(StoreError, match=r'database "nowhere" does not exist: create it'):
        open_store(postgresql_url.replace("/graphs", "/nowhere"))


def test_an_unknown_option(postgresql_url: str) -> None:
    with pytest.raises(ConfigError, match=r'invalid connection option "shoe_size".*namespace and libpq'):
        open_store(postgresql_url + "&shoe_size=44")


def test_a_missing_server(free_port: int) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreError, match=rf"no connection to 127.0.0.1:{free_port} for 0 s.*check host and port"):
        PostgreSQLStore(f"postgresql://me@127.0.0.1:{free_port}/graphs", patience_s=0.2)
    assert time.monotonic() - begun >= 0.2


@pytest.fixture
def free_port(postgresql_server: PostgreSQLServer) -> Iterator[int]:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_user_without_rights(postgresql_url: str, postgresql_server: PostgreSQLServer) -> None:
    with open_store(postgresql_url) as store:
        store.create("edges", EDGES)
        namespace = store.url.rpartition("=")[2]
    with postgresql_server.connect() as connection:
        connection.execute(f"CREATE ROLE guest_{namespace} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT USAGE ON SCHEMA {namespace} TO guest_{namespace}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {namespace} TO guest_{namespace}")
    guest = postgresql_url.replace(f"{USER}@", f"guest_{namespace}@")
    with open_store(guest) as store:
        assert store.read("edges")["u"].tolist() == []
        with pytest.raises(OutputError, match=r"permission denied.*GRANT"):
            store.write_block("edges", 0, edges(1))
    with pytest.raises(OutputError, match=r"permission denied for database graphs.*GRANT"):
        open_store(guest + "_b")


def test_without_the_driver_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['psycopg'] = None; from catena.graphs import open_store; open_store(sys.argv[1])"
    command = [sys.executable, "-c", program, "postgresql://me@host/db"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "StoreError: a PostgreSQL store needs psycopg: pip install 'catena-em[postgresql]'" in found.stderr


# -- a server that goes away ------------------------------------------------------------------


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch, postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    """Lend the server, for tests run one after another, to one that stops it; whatever happens, it runs again."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    yield postgresql_server
    if not postgresql_server.runs:
        postgresql_server.start()


def test_a_restart_between_operations(own_server: PostgreSQLServer) -> None:
    with open_store(own_server.url(f"t{uuid4().hex}")) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(5))
        pieces = store.iterate("edges", rows=2)
        first = next(pieces)["u"].tolist()
        own_server.stop(immediately=True)
        own_server.start()
        store.write_block("edges", 1, edges(2, first=10))
        assert store.blocks_written("edges").tolist() == [0, 1]
        own_server.stop(immediately=True)
        own_server.start()
        rest = [u for piece in pieces for u in piece["u"].tolist()]
        assert [*first, *rest] == [0, 1, 2, 3, 4, 10, 11]
        own_server.stop()
        own_server.start()
        store.rename("edges", "renamed")
        assert store.tables() == ("renamed",)


@pytest.mark.parametrize("whole", [False, True])
def test_a_crash_of_the_server_within_a_transaction(
    own_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    crashes: list[str] = []

    def crash_once(point: str) -> None:
        if point == "graph.before_commit" and not crashes:
            crashes.append(point)
            own_server.stop(immediately=True)
            own_server.start()

    with open_store(own_server.url(f"t{uuid4().hex}")) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(5))
        monkeypatch.setattr("catena.graphs.sql.fault_point", crash_once)
        if whole:
            store.replace_all("edges", edges(3000) | {"block": np.repeat([0, 1, 2], 1000)})
        else:
            store.write_block("edges", 0, edges(3000))
        assert crashes
        for name, values in edges(3000).items():
            np.testing.assert_array_equal(store.read("edges")[name], values)
        assert store.count("edges") == 3000


def test_a_server_that_does_not_come_back(own_server: PostgreSQLServer) -> None:
    with PostgreSQLStore(own_server.url(f"t{uuid4().hex}"), patience_s=0.3) as store:
        store.create("edges", EDGES)
        own_server.stop()
        with pytest.raises(StoreError, match=f"no connection to 127.0.0.1:{own_server.port} for 0 s"):
            store.write_block("edges", 0, edges(1))
        own_server.start()
        store.write_block("edges", 0, edges(1))
        assert store.count("edges") == 1


def test_a_stream_cannot_be_written_twice(postgresql_url: str, postgresql_server: PostgreSQLServer) -> None:
    def pieces(cut: bool) -> Iterator[Columns]:
        yield edges(2) | {"block": np.zeros(2, int)}
        if cut:
            _hang_up(postgresql_server, store)
        yield edges(2, first=5) | {"block": np.zeros(2, int)}

    with open_store(postgresql_url) as store:
        store.create("edges", EDGES)
        store.write_block("edges", 3, edges(1))
        with pytest.raises(StoreError, match="the connection was lost while a stream was written to table 'edges'"):
            store.replace_all("edges", pieces(cut=True))
        assert store.blocks_written("edges").tolist() == [3]
        store.replace_all("edges", pieces(cut=False))
        assert store.read("edges")["u"].tolist() == [0, 1, 5, 6]


def test_a_rename_whose_answer_was_lost_is_not_done_twice(
    postgresql_url: str, postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []

    def after_commit(point: str) -> None:
        if point == "graph.after_commit" and not cut:
            cut.append(point)
            raise psycopg.errors.AdminShutdown("as if the connection had broken after the commit")

    with open_store(postgresql_url) as store:
        store.create("edges", EDGES)
        monkeypatch.setattr("catena.graphs.sql.fault_point", after_commit)
        store.rename("edges", "renamed")
        assert (cut, store.tables()) == (["graph.after_commit"], ("renamed",))


def _hang_up(server: PostgreSQLServer, store: PostgreSQLStore) -> None:
    with server.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", (store._session.connection.info.backend_pid,))


# -- many at once -----------------------------------------------------------------------------


def _make_and_write(url: str, worker: int, barrier: "threading.Barrier") -> None:
    barrier.wait(60)
    with open_store(url) as store:
        for table in ("a", "b", "c"):
            store.create(table, EDGES)
        for table in ("a", "b", "c") if worker else ("c", "b", "a"):
            for block in range(8):  # the same blocks as the others: a worker thought dead and its successor
                store.write_block(table, block, edges(500, first=500 * block))


def test_processes_that_make_the_same_store_and_write_the_same_blocks(postgresql_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    workers = [spawn.Process(target=_make_and_write, args=(postgresql_url, worker, barrier)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with open_store(postgresql_url) as store:
        for table in ("a", "b", "c"):
            assert store.count(table) == 4000
            np.testing.assert_array_equal(store.read(table)["u"], np.arange(4000, dtype=np.uint64))


# -- a full disk ------------------------------------------------------------------------------


@pytest.fixture
def tiny_tablespace(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    """Make a tablespace on a file system of two megabytes."""
    folder = postgresql_server.folder / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "catena-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.strip()}")
    try:
        postgresql_server.own(folder)
        with postgresql_server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE tiny LOCATION '{folder}'")
        yield "tiny"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(postgresql_url: str, postgresql_server: PostgreSQLServer, tiny_tablespace: str) -> None:
    with open_store(f"{postgresql_url}&options=-c%20default_tablespace%3D{tiny_tablespace}") as store:
        store.create("edges", EDGES)
        store.write_block("edges", 0, edges(100))
        for write in (
            lambda: store.write_block("edges", 1, edges(50_000, first=1000)),
            lambda: store.replace_all("edges", edges(50_000) | {"block": np.zeros(50_000, int)}),
        ):
            with pytest.raises(OutputError, match=r"No space left on device.*the server's disk is full; free some"):
                write()
            np.testing.assert_array_equal(store.read("edges")["u"], np.arange(100, dtype=np.uint64))
        assert store.blocks_written("edges").tolist() == [0]
        subprocess.run(["mount", "-o", "remount,size=20m", str(postgresql_server.folder / "tiny")], check=True)
        store.write_block("edges", 1, edges(50_000, first=1000))
        assert store.count("edges") == 50_100
