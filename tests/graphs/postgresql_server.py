"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port, with a password."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER, PASSWORD, DATABASE = "catena", "s3cret-of-the-tests", "graphs"
_PR_SET_PDEATHSIG = 1
_START_S = 120.0
_LOOK_EVERY_S = 0.05
# durable against the death of the server, which is what the tests do to it, not of the machine
_SETTINGS = ("fsync=off", "max_connections=50", "shared_buffers=32MB", "logging_collector=off")


def binaries() -> Path | None:
    """Return the folder of the newest ``initdb`` and ``postgres``, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda each: float(each.parent.name), reverse=True)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


def reason_against() -> str | None:
    """Return why no server can be started here, or None."""
    if binaries() is None:
        return "PostgreSQL is not installed (no initdb on PATH or in /usr/lib/postgresql/*/bin)"
    if os.getuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgreSQLServer:
    """A server that is made and started at once; it dies with the thread that last started it."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None
        self._binaries = found
        self.folder = Path(tempfile.mkdtemp(prefix="catena_pg_"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._make()
            self.start()
            with self.connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        except BaseException:
            self.remove()
            raise

    def url(self, namespace: str = "", **options: str) -> str:
        """Return the URL of a store, without the password."""
        asked = "&".join(f"{name}={value}" for name, value in {"namespace": namespace, **options}.items() if value)
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}" + (f"?{asked}" if asked else "")

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        """Return a connection as the server's superuser."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    @property
    def runs(self) -> bool:
        """Whether the server was started and has not been stopped."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = ["postgres", "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)]
        settings = [word for setting in (*_SETTINGS, "listen_addresses=127.0.0.1") for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / command[0]), *command[1:], *settings],
                stdout=log,
                stderr=log,
                preexec_fn=_quit_with_parent,
                cwd=self.folder,
                **_as_account(),
            )
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

    def stop(self, immediately: bool = False) -> None:
        """Stop the server; `immediately` as in a crash: it recovers when it is started again."""
        if self._process is not None and self.runs:
            self._process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
            self._process.wait(_START_S)
        self._process = None

    def remove(self) -> None:
        """Stop the server and remove its folder."""
        self.stop(immediately=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def own(self, path: Path) -> None:
        """Give `path` to the account that the server runs as."""
        account = _account()
        if account is not None:
            os.chown(path, account.pw_uid, account.pw_gid)

    def _make(self) -> None:
        (self.folder / "password").write_text(PASSWORD)
        self.own(self.folder)
        self.own(self.folder / "password")
        arguments = ["-D", "data", "-U", USER, "--pwfile=password", "--auth=scram-sha-256", "-E", "UTF8", "--no-sync"]
        made = subprocess.run(
            [str(self._binaries / "initdb"), *arguments, "--locale=C"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **_as_account(),
        )
        if made.returncode:
            raise RuntimeError(made.stdout + made.stderr)


@contextmanager
def running_server() -> Iterator[PostgreSQLServer]:
    """Have a server of one's own; skip the test where there can be none."""
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    server = PostgreSQLServer()
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def kept_up(server: PostgreSQLServer) -> Iterator[None]:
    """Start the server again whenever somebody has ended it."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_EVERY_S):
            if not server.runs:
                with suppress(RuntimeError, psycopg.Error):  # ended again while it recovered
                    server.start()

    keeper = threading.Thread(target=look)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _account() -> pwd.struct_passwd | None:
    """Return the account of the server where we are root, who may not run it."""
    if os.getuid() != 0:
        return None
    return next((each for each in pwd.getpwall() if each.pw_name == "postgres"), None)


def _as_account() -> dict[str, Any]:
    account = _account()
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _quit_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
