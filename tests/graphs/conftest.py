"""The stores that the contract holds for: each backend opens the same, at first empty, store again and again."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from mongodb_server import MongoDBServer
from postgresql_server import PostgreSQLServer

from catena.graphs import GraphStore, StoreUrl, open_store, sqlite_url
from catena.graphs.mongodb import MongoDBStore
from catena.graphs.mongodb_client import Connection
from catena.graphs.mongodb_open import open_mongodb
from catena.graphs.url import PASSWORD_VARIABLE

REAL_MONGODB = "CATENA_TEST_MONGODB_URI"

Opener = Callable[[], GraphStore]


@pytest.fixture
def sqlite_opener(tmp_path: Path) -> Opener:
    return lambda: open_store(sqlite_url(tmp_path / "folder" / "rag.sqlite"))


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer) -> str:
    """Return the URL of a namespace that nobody else uses."""
    return postgresql_server.url(f"t{uuid4().hex}")


@pytest.fixture
def postgresql_opener(postgresql_url: str) -> Opener:
    return lambda: open_store(postgresql_url)


@pytest.fixture
def mongodb_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of an empty namespace, on a real server if the environment names one."""
    namespace = f"test_{uuid4().hex}"
    real = os.environ.get(REAL_MONGODB)
    if real is None:
        server: MongoDBServer = request.getfixturevalue("mongodb_server")
        yield f"mongodb://127.0.0.1:{server.port}/graphs?namespace={namespace}"
        return
    place = replace(StoreUrl.parse(real), namespace=namespace)
    if place.password:  # for processes that get the URL from the store, which shows none
        monkeypatch.setenv(PASSWORD_VARIABLE, place.password)
    yield str(place)
    connection = Connection(place)
    for name in connection.names():
        connection.collection(name).drop()
    connection.close()


@pytest.fixture
def impatient_mongodb_url(mongodb_server: MongoDBServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a namespace of the server in this process, which is looked for again at once when it is lost.

    PyMongo by itself lets half a second pass.
    """
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.01)
    monkeypatch.setattr("catena.graphs.pauses.FIRST_PAUSE_S", 0.001)
    return f"mongodb://127.0.0.1:{mongodb_server.port}/graphs?namespace=fib25&serverSelectionTimeoutMS=300"


@pytest.fixture
def impatient_mongodb_store(impatient_mongodb_url: str) -> Iterator[MongoDBStore]:
    with open_mongodb(impatient_mongodb_url, patience_s=5) as opened:
        assert isinstance(opened, MongoDBStore)
        yield opened


@pytest.fixture
def mongodb_opener(mongodb_url: str) -> Opener:
    return lambda: open_store(mongodb_url)


@pytest.fixture(params=["sqlite", "postgresql", "mongodb"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Open the store under test; the fixture NAME_opener of each backend is asked for only when it is its turn."""
    return request.getfixturevalue(f"{request.param}_opener")  # type: ignore[no-any-return]


@pytest.fixture
def store(opener: Opener) -> Iterator[GraphStore]:
    with opener() as opened:
        yield opened
