"""What tests of several folders share: servers, of which every process of the tests has its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "local_shape_descriptors"))  # a forked process imports it by name
sys.path.insert(0, str(Path(__file__).parent / "graphs"))  # the servers are modules beside the stores' tests

import forked
from mongodb_server import MongoDBServer
from postgresql_server import PASSWORD, PostgreSQLServer, running_server

from catena.graphs.url import PASSWORD_VARIABLE

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as a shell has it for what it starts in the background: runs, here and below, would not hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Divide among the processes of ``pytest -n 2`` what both need compiled and would compile at the same time."""
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if process is not None:
        import kernels  # much is imported with it, which one process imports when it needs it

        kernels.call_share(process)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[None]:
    """Have a process that has imported everything, from which `forked` starts others."""
    with forked.fork_server():
        yield


@pytest.fixture(scope="session")
def _postgresql_server() -> Iterator[PostgreSQLServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgresql_server(_postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLServer:
    """A server for all tests, who take a namespace each; its password is in the environment."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return _postgresql_server


@pytest.fixture
def mongodb_server() -> Iterator[MongoDBServer]:
    """A server in this process, empty: mongomock behind MongoDB's wire protocol."""
    server = MongoDBServer()
    yield server
    server.stop()
