"""The graph store as a configuration names it, and what it means for one volume."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from catena.errors import ConfigError
from catena.graphs.url import PASSWORD_VARIABLE, StoreUrl, without_password

SQLITE = "sqlite"
"""The setting that means a file beside the results."""

VOLUME = "{volume}"
"""Stands for the name of the volume in a store's URL."""

_SCHEMES = ("postgresql", "mongodb", "mongodb+srv")
_LONGEST = 63
_DIGITS = 8


def check_setting(store: str) -> None:
    """Refuse a setting that names no store, or holds a password: configurations and job files are kept and shared.

    Raises
    ------
    ConfigError
        With passwords masked.
    """
    if store == SQLITE:
        return
    scheme = store.partition("://")[0]
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"agglomerate.store: expected sqlite (a file beside the results), postgresql://USER@HOST/DATABASE or "
            f"mongodb://HOST/DATABASE, found {_masked(store)!r}"
        )
    url = StoreUrl.parse(store.replace(VOLUME, "v"))
    if url.password or any("password" in option.lower() for option in url.options):
        files = ", or in PGPASSWORD or ~/.pgpass" if scheme == "postgresql" else ""
        raise ConfigError(
            f"agglomerate.store: a configuration must not hold a password, found {_masked(store)!r}; leave it out and "
            f"set it in the environment variable {PASSWORD_VARIABLE}{files}"
        )


def server_url(store: str, experiment: str, volume: str, several: bool) -> str:
    """Return the URL of the graph of one volume on the server that the setting `store` names.

    Its namespace is ``EXPERIMENT_VOLUME``, made into a legal name, unless the URL has one.

    Parameters
    ----------
    several
        Whether the experiment has several volumes.

    Raises
    ------
    ConfigError
        If several volumes would share one namespace.

    Examples
    --------
    >>> server_url("postgresql://me@host/graphs", "fib25", "medulla", several=True)
    'postgresql://me@host/graphs?namespace=fib25_medulla'
    """
    url = StoreUrl.parse(store.replace(VOLUME, namespace_of(volume)))
    if not url.namespace:
        return str(replace(url, namespace=namespace_of(f"{experiment}_{volume}")))
    if several and VOLUME not in store:
        raise ConfigError(
            f"agglomerate.store: the volumes would share the namespace {url.namespace!r}; leave ?namespace= out, or "
            f"write ?namespace={url.namespace}_{VOLUME}"
        )
    return str(url)


def namespace_of(name: str) -> str:
    """Return `name` as a legal namespace: itself if it is one, else changed, with a hash that keeps it unique.

    >>> namespace_of("fib25_medulla"), namespace_of("FIB-25_medulla")
    ('fib25_medulla', 'fib_25_medulla_be888893')
    """
    legal = re.sub(r"[^a-z0-9_]", "_", name.lower())
    if not legal[0].isalpha() or legal.startswith("pg_"):  # PostgreSQL keeps pg_ for itself
        legal = f"g_{legal}"
    if legal == name and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{legal[: _LONGEST - _DIGITS - 1]}_{digest}"


def _masked(store: str) -> str:
    """Return `store` without a password, also one among its options."""
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", without_password(store))
