"""A graph store on a PostgreSQL server: workers on any number of hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, TypeVar

import psycopg

from catena.errors import ConfigError, StoreError
from catena.graphs.pauses import Pauses
from catena.graphs.postgresql_errors import explain, explain_refusal, is_lost, is_passing, one_line
from catena.graphs.postgresql_session import PostgreSQLSession
from catena.graphs.schema import TableSchema
from catena.graphs.sql import SQLStore
from catena.graphs.url import StoreUrl

T = TypeVar("T")

FIRST_PATIENCE_S = 5.0
"""How long a server may refuse the first connection: a wrong host should not cost minutes."""

_PORT = "5432"
_LONGEST_NAME = 63  # PostgreSQL cuts longer ones off in silence
# a host that vanished without a word is noticed within two minutes
_DRIVER_OPTIONS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "application_name": "catena",
    "client_encoding": "UTF8",
}


class PostgreSQLStore(SQLStore):
    """Graph store in one schema of a PostgreSQL database; see :class:`~catena.graphs.store.GraphStore`.

    What has committed survives a crash of the server. If the connection is lost, every operation is done again on
    a new one. Columns ``NAME_0``, ``NAME_1``, … also appear as an array column ``NAME``.

    Parameters
    ----------
    url
        ``postgresql://USER@HOST:PORT/DATABASE?namespace=NAME``: the tables lie in the schema NAME (``public`` if
        none is given), made if it is not there. Further options are libpq's (``sslmode=require``). The password, if
        not in the URL, comes from the environment variable ``CATENA_STORE_PASSWORD`` or from where libpq looks.
    mode
        ``"a"`` to read and write, ``"r"`` to read only.
    patience_s
        How long to try to reconnect, once the first connection stood, and to wait for others' locks.

    Raises
    ------
    ConfigError
        If the URL has an unknown option.
    StoreError
        If the server cannot be reached or does not let us in, or (mode ``"r"``) holds no such store.
    """

    spans_hosts: ClassVar[bool] = True
    _session: PostgreSQLSession

    def __init__(self, url: str, mode: Literal["a", "r"] = "a", patience_s: float = 300.0) -> None:
        self._url = StoreUrl.parse(url)
        self._namespace = self._url.namespace or "public"
        self._mode = mode
        self._patience_s = patience_s
        self._closed = False
        self._session = self._connected(min(patience_s, FIRST_PATIENCE_S))
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if self._attempt("opening", self._is_prepared):
            return
        if self._mode == "r":
            raise StoreError(f"no graph store at {self.place}; run the stage that writes it, or correct the URL")
        self._atomically("making the store's own tables", self._make_catalogue)

    def _is_prepared(self) -> bool:
        statement = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'catena_metadata'"
        return bool(self._session.execute(statement, (self._namespace,)))

    def _make_catalogue(self) -> None:
        self._session.lock_catalogue()
        if self._is_prepared():  # somebody else was faster
            return
        if not self._session.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", (self._namespace,)):
            self._session.execute(f'CREATE SCHEMA "{self._namespace}"')
        for statement in self._session.catalogue:
            self._session.execute(statement)

    @property
    def url(self) -> str:
        """The store's URL, without the password."""
        return str(self._url)

    @property
    def place(self) -> str:
        """What messages call the store."""
        return str(self._url)

    def create(self, table: str, schema: TableSchema) -> None:
        """Make an empty table; nothing happens if it is there with the same schema, refused if with another."""
        self._check_lengths(table, *schema.columns)
        super().create(table, schema)

    def rename(self, old: str, new: str, replace: bool = False) -> None:
        """Give `old` the name `new`, atomically; an existing `new` is refused, or dropped with `replace`."""
        self._check_lengths(new)
        super().rename(old, new, replace)

    def _check_lengths(self, *names: str) -> None:
        for name in names:
            if len(name) > _LONGEST_NAME:
                raise StoreError(f"{self.place}: {name!r} is longer than PostgreSQL's {_LONGEST_NAME} characters")

    def close(self) -> None:
        """Let go of the connection; using the store afterwards is an error."""
        self._closed = True
        super().close()

    # -- the connection -----------------------------------------------------------------------

    def _attempt(self, doing: str, work: Callable[[], T]) -> T:
        pauses = Pauses(self._patience_s)
        while True:
            if self._closed:
                raise StoreError(f"{self.place}: {doing} failed: the store is closed")
            try:
                return work()
            except psycopg.Error as error:
                lost = is_lost(error, self._session.connection)
                if not (lost or is_passing(error)) or pauses.over:
                    raise explain(error, self.place, doing) from error
            pauses.wait()
            if lost:
                self._session.close()
                self._session = self._connected(pauses.left_s)

    def _connected(self, patience_s: float) -> PostgreSQLSession:
        """Return a new connection, tried for until `patience_s` have passed."""
        pauses = Pauses(patience_s)
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError as error:
                refusal = explain_refusal(error, self.place)
                if refusal is not None:
                    raise refusal from None  # what the driver says may be longer, not clearer
                if pauses.over:
                    raise StoreError(
                        f"{self.place}: no connection to {', '.join(map(':'.join, self._hosts()))} for "
                        f"{patience_s:.0f} s, {one_line(error)}: check host and port, and that the "
                        "server runs and can be reached from here"
                    ) from None
            except psycopg.ProgrammingError as error:
                raise ConfigError(f"{self.place!r}: {one_line(error)}; the options are namespace and libpq's") from None
            pauses.wait()

    def _connect(self) -> PostgreSQLSession:
        hosts, ports = zip(*self._hosts(), strict=True)
        options = _DRIVER_OPTIONS | {
            "host": ",".join(hosts),
            "port": ",".join(ports),
            "dbname": self._url.database,
            "user": self._url.user,
            "password": self._url.secret,
        }
        given = {name: value for name, value in (options | dict(self._url.options)).items() if value}
        # a statement that the server keeps prepared would outlive the table it was prepared for
        connection = psycopg.connect(autocommit=True, prepare_threshold=None, **given)  # type: ignore[arg-type]
        session = PostgreSQLSession(connection, self._namespace)
        session.execute(f'SET search_path TO "{self._namespace}"')
        session.execute(f"SET lock_timeout TO {max(1, round(1000 * self._patience_s))}")  # 0 would be for ever
        if self._mode == "r":
            session.execute("SET default_transaction_read_only TO on")
        return session

    def _hosts(self) -> list[tuple[str, str]]:
        """Return host and port of each server named, as libpq wants them."""
        found = []
        for each in self._url.hosts.split(","):
            host, colon, port = each.rpartition(":")
            if not colon or each.endswith("]"):  # [::1] has colons, but no port
                host, port = each, _PORT
            found.append((host.strip("[]"), port))
        return found
