"""Opening MongoDB stores: options, namespaces, passwords, servers that are not there."""

import socket
import sys

import numpy as np
import pytest
from mongodb_server import MongoDBServer

from catena.errors import ConfigError, OutputError, StoreError
from catena.graphs import TableSchema, open_store
from catena.graphs.pauses import Pauses
from catena.graphs.url import PASSWORD_VARIABLE

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))
ONE = {"u": np.ones(1, np.uint64), "v": np.full(1, 2, np.uint64), "merge_score": np.zeros(1, np.float32)}


@pytest.fixture
def url(impatient_mongodb_url: str) -> str:
    return impatient_mongodb_url


def test_writes_wait_for_a_majority_unless_told_otherwise(url: str, mongodb_server: MongoDBServer) -> None:
    for options, expected in (("", "majority"), ("&w=1", 1)):
        with open_store(url + options) as store:
            store.set_metadata("a", 1)
        assert mongodb_server.last["update"]["writeConcern"]["w"] == expected


def test_a_namespace_is_a_store_of_its_own(url: str) -> None:
    with open_store(url) as store:
        store.create("edges", EDGES)
        other, bare = url.replace("fib25", "fib26"), url.replace("namespace=fib25&", "")
        with open_store(other) as beside, open_store(bare) as above:
            assert beside.tables() == above.tables() == ()
            above.create("edges", EDGES)
            above.write_block("edges", 0, ONE)
        assert store.count("edges") == 0


def test_reading_needs_a_store_and_does_not_change_it(url: str) -> None:
    with pytest.raises(StoreError, match=r"no graph store at mongodb://127.*collections none; expected catena_"):
        open_store(url, "r")
    with open_store(url) as store:
        store.create("edges", EDGES)
    with open_store(url, "r") as store:
        assert store.count("edges") == 0
        for write in (
            lambda: store.write_block("edges", 0, ONE),
            lambda: store.replace_all("edges", ONE | {"block": np.zeros(1, np.int64)}),
            lambda: store.create("more", EDGES),
            lambda: store.rename("edges", "more"),
            lambda: store.drop("edges"),
            lambda: store.set_metadata("a", 1),
        ):
            with pytest.raises(OutputError, match="opened to be read only"):
                write()


def test_without_pymongo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("catena.graphs.mongodb")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(StoreError, match=r"needs PyMongo: pip install 'catena-em\[mongodb\]'"):
        open_store("mongodb://host/graphs")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    monkeypatch.setattr(Pauses, "wait", lambda self: pytest.fail("it waits beyond the URL's own time"))
    with pytest.raises(StoreError, match=rf"127.0.0.1:{port}/graphs.*connecting failed.*check that mongod runs"):
        open_store(f"mongodb://127.0.0.1:{port}/graphs?serverSelectionTimeoutMS=300")


def test_options_that_are_none(url: str) -> None:
    for option, message in (("readPreference=nearby", "not a valid read pref"), ("patience=7", "Unknown option")):
        with pytest.raises(ConfigError, match=f"mongodb://127.*{message}.*correct the URL or its options"):
            open_store(f"{url}&{option}")
    with pytest.raises(ConfigError, match="namespace"):
        open_store("mongodb://host/graphs?namespace=A")


def test_a_wrong_password(url: str, mongodb_server: MongoDBServer, monkeypatch: pytest.MonkeyPatch) -> None:
    mongodb_server.failures["saslStart"] = {"ok": 0.0, "code": 18, "errmsg": "Authentication failed."}
    monkeypatch.setenv(PASSWORD_VARIABLE, "env-secret")
    message = rf"mongodb://me@127.*Authentication failed.*{PASSWORD_VARIABLE}"
    for user in ("me", "me:url-secret"):
        with pytest.raises(StoreError, match=message) as caught:
            open_store(url.replace("//", f"//{user}@"))
        assert "secret" not in str(caught.value)


def test_a_missing_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    with pytest.raises(StoreError, match=f"no password for the user 'me'; set .*{PASSWORD_VARIABLE}"):
        open_store(url.replace("//", "//me@"))


def test_a_missing_right(url: str, mongodb_server: MongoDBServer) -> None:
    mongodb_server.failures["find"] = {"ok": 0.0, "code": 13, "errmsg": "command find requires authentication"}
    with pytest.raises(StoreError, match=f"requires authentication: the user lacks the right.*{PASSWORD_VARIABLE}"):
        open_store(url)
