"""The URL of a graph store on a server: where it is, and which of its graphs is meant."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from catena.errors import ConfigError

PASSWORD_VARIABLE = "CATENA_STORE_PASSWORD"
"""Environment variable with the password of a store whose URL has none."""

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


@dataclass(frozen=True)
class StoreUrl:
    """``SCHEME://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE[?namespace=NAME&OPTION=VALUE…]``, taken apart.

    Attributes
    ----------
    scheme
        ``postgresql`` or ``mongodb``.
    hosts
        ``HOST[:PORT]``, several joined by commas.
    database
        Name of the database.
    user, password
        Empty if the URL has none.
    namespace
        Which of the database's graphs: one volume of one experiment. Empty if the URL has none.
    options
        What else stands behind the question mark; for the driver.
    """

    scheme: str
    hosts: str
    database: str
    user: str = ""
    password: str = field(default="", repr=False)
    namespace: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take `url` apart.

        >>> StoreUrl.parse("postgresql://me@db.lab.org:5433/graphs?namespace=fib25_medulla").namespace
        'fib25_medulla'

        Raises
        ------
        ConfigError
            If host or database are missing, or the namespace cannot be one.
        """
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        database = unquote(parts.path.removeprefix("/"))
        if not hosts or not database or "/" in database:
            raise ConfigError(f"{without_password(url)!r}: expected {parts.scheme}://[USER@]HOST[:PORT]/DATABASE")
        options = dict(parse_qsl(parts.query))
        namespace = options.pop("namespace", "")
        if namespace and not _NAMESPACE.match(namespace):
            raise ConfigError(
                f"{without_password(url)!r}: a namespace is a small letter, then up to 62 small letters, digits and '_'"
            )
        return cls(parts.scheme, hosts, database, unquote(user), unquote(password), namespace, options)

    @property
    def secret(self) -> str:
        """The password of the URL, or of the environment; empty if neither has one."""
        return self.password or os.environ.get(PASSWORD_VARIABLE, "")

    def __str__(self) -> str:
        """Return the URL without its password, as :func:`catena.graphs.open_store` takes it."""
        at = f"{quote(self.user)}@" if self.user else ""
        asked = {**({"namespace": self.namespace} if self.namespace else {}), **self.options}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
        return f"{self.scheme}://{at}{self.hosts}/{quote(self.database)}{'?' + query if query else ''}"


def without_password(url: str) -> str:
    """Return `url` with ``***`` in the place of a password.

    >>> without_password("mongodb://me:secret@host/graphs")
    'mongodb://me:***@host/graphs'
    """
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if not separator or not at or not colon:
        return url
    return f"{scheme}://{user}:***@{place}"
