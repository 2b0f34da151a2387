"""The connection to a MongoDB server, which comes back after the server was away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, ConfigurationError, NotPrimaryError
from pymongo.uri_parser import parse_uri

from catena.errors import ConfigError, StoreError
from catena.graphs.mongodb_errors import explained
from catena.graphs.pauses import Pauses
from catena.graphs.url import PASSWORD_VARIABLE, StoreUrl

Document = dict[str, Any]
Result = TypeVar("Result")

_OPTIONS = {"appname": "catena", "w": "majority", "serverSelectionTimeoutMS": "5000", "connectTimeoutMS": "5000"}


class Connection:
    """Collections of one namespace of one database.

    Parameters
    ----------
    url
        Where. Writes wait for a majority of a replica set (``w=majority``, on a single server for its journal) unless
        the URL's options say otherwise.
    patience_s
        How long to wait for a server that was there and went away.

    Raises
    ------
    ConfigError
        If the URL has options that are none.
    StoreError
        If no server answers within 5 s, or it refuses the user, or there is no password for the user.
    """

    def __init__(self, url: StoreUrl, patience_s: float = 300.0) -> None:
        self.place = str(url)
        self._prefix = f"{url.namespace}." if url.namespace else ""
        self._patience_s = patience_s
        with explained(self.place, "connecting"):
            self._client = _client(url)
            try:
                self._client[url.database].command("ping")
            except BaseException:
                self._client.close()
                raise
        self._database = self._client[url.database]

    def collection(self, name: str) -> Collection[Document]:
        """Return the namespace's collection `name`."""
        return self._database[self._prefix + name]

    def names(self) -> tuple[str, ...]:
        """Return the names of the namespace's collections, sorted; without one, all of the database."""
        found = self.retry("listing collections", self._database.list_collection_names)
        return tuple(sorted(name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix)))

    def retry(self, doing: str, action: Callable[[], Result]) -> Result:
        """Return what `action` returns, calling it again, with growing pauses, when the server was away.

        What it does must be right to do twice: when a connection breaks, nobody knows whether the last request ran.

        Raises
        ------
        StoreError, OutputError
            For what went wrong, or if the server stays away for longer than the patience.
        """
        with explained(self.place, doing):
            pauses = Pauses(self._patience_s)
            while True:
                try:
                    return action()
                except AutoReconnect as error:
                    self.wait(pauses, error)

    def pauses(self) -> Pauses:
        """Return the pauses for one request that the caller repeats itself."""
        return Pauses(self._patience_s)

    def wait(self, pauses: Pauses, error: Exception) -> None:
        """Pause before the next try, or raise `error` if that is of no use."""
        if isinstance(error, NotPrimaryError) and self._client.topology_description.topology_type_name == "Single":
            raise error  # a replica set elects another primary, a single member remains what it is
        if pauses.over:
            raise error
        pauses.wait()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _client(url: StoreUrl) -> MongoClient[Document]:
    options = _OPTIONS | dict(url.options)
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    address = f"{url.scheme}://{url.hosts}/{quote(url.database)}?{query}"
    try:
        parse_uri(address, warn=False)  # the client itself ignores what it does not know
    except (ConfigurationError, ValueError, TypeError) as error:
        raise ConfigError(f"{url}: {error}; correct the URL or its options") from error
    # the password goes beside the URL, so that no message about the URL can show it
    return MongoClient(address, **_credentials(url))


def _credentials(url: StoreUrl) -> dict[str, Any]:
    if not url.user:
        return {}
    if url.secret:
        return {"username": url.user, "password": url.secret}
    if not any(option.lower() == "authmechanism" for option in url.options):
        raise StoreError(
            f"{url}: no password for the user {url.user!r}; set the environment variable {PASSWORD_VARIABLE}"
        )
    return {"username": url.user}
