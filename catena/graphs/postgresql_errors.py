"""PostgreSQL's errors in Catena's words: what happened on which server, and what to do."""

from __future__ import annotations

import re

import psycopg

from catena.errors import CatenaError, OutputError, StoreError
from catena.graphs.url import PASSWORD_VARIABLE

# SQLSTATE, or its beginning; the longest that fits counts
_REMEDIES: dict[str, tuple[type[CatenaError], str]] = {
    "08": (
        StoreError,
        "the connection was lost and did not come back; check the server and the network, and run again",
    ),
    "22": (StoreError, "a value does not fit its column; the table was changed by another program, redo the stage"),
    "23505": (StoreError, "two rows have the same key, or a row owned by another block is written"),
    "25006": (OutputError, "nothing can be written: the store was opened to read only, or the server is a standby"),
    "28": (StoreError, f"check the user, and the password in the environment variable {PASSWORD_VARIABLE}"),
    "3D000": (StoreError, "the database does not exist; create it with createdb"),
    "40": (StoreError, "other transactions stood in the way again and again; use fewer workers"),
    "42501": (OutputError, "the user lacks a right; let the owner of the database GRANT it, or name another user"),
    "42P07": (StoreError, "another program's table has this name; give the graph a namespace of its own"),
    "42P01": (StoreError, "another program removed a table of the store; redo the stage that writes it"),
    "53100": (OutputError, "the server's disk is full; free some space there and run again, finished blocks are kept"),
    "53200": (StoreError, "the server is out of memory; use smaller blocks or fewer workers"),
    "53300": (StoreError, "the server admits no more connections; use fewer workers, or raise its max_connections"),
    "55P03": (StoreError, "another program holds a lock on the table; find it in pg_stat_activity"),
    "57": (StoreError, "the server was shut down or cancelled the query; start it and run again"),
    "58": (OutputError, "the server's file system reported an error; check its disk and its log"),
    "XX": (StoreError, "the database is damaged; see the server's log, then drop the tables and redo the stages"),
}
_REFUSALS: tuple[tuple[str, str], ...] = (
    (
        "password authentication failed|no password supplied|authentication failed for user",
        f"check the user, and set the environment variable {PASSWORD_VARIABLE} to the password",
    ),
    (r'role ".*" does not exist', "name a user of the server: postgresql://USER@HOST:PORT/DATABASE"),
    (r'database ".*" does not exist', "create it (createdb -h HOST -p PORT NAME), or correct the URL"),
    ("pg_hba.conf", "the server does not admit this user from this host; let its administrator change pg_hba.conf"),
    ("permission denied for database", "let the owner of the database GRANT CONNECT to the user"),
    ("does not support SSL|certificate", "check the options sslmode and sslrootcert of the URL"),
)
_LOST = ("08", "57P01", "57P02", "57P03", "57P05")
_PASSING = ("40001", "40P01", "53300")


def explain(error: psycopg.Error, place: str, doing: str) -> CatenaError:
    """Return the error to raise instead of `error`, which came from the store at `place` while `doing` something."""
    state = error.sqlstate or ""
    found = [_REMEDIES[state[:length]] for length in (5, 2) if state[:length] in _REMEDIES]
    lost = isinstance(error, psycopg.OperationalError) and not state
    kind, remedy = found[0] if found else _REMEDIES["08"] if lost else (StoreError, "see the message of PostgreSQL")
    return kind(f"{place}: {doing} failed, {one_line(error)}: {remedy}")


def explain_refusal(error: psycopg.Error, place: str) -> StoreError | None:
    """Return the error to raise for a server that answers, but does not let us in; None if it may yet.

    A failed connection has no SQLSTATE, only words, which are English unless the server was told otherwise; then it
    counts as one that may yet succeed.
    """
    text = one_line(error)
    for pattern, remedy in _REFUSALS:
        if re.search(pattern, text):
            return StoreError(f"{place}: connecting failed, {text}: {remedy}")
    return None


def is_lost(error: psycopg.Error, connection: psycopg.Connection) -> bool:
    """Tell whether `error` means that the connection is gone."""
    return connection.closed or (error.sqlstate or "").startswith(_LOST)


def is_passing(error: psycopg.Error) -> bool:
    """Tell whether the same operation may succeed when it is done again."""
    return (error.sqlstate or "") in _PASSING


def one_line(error: psycopg.Error) -> str:
    """Return the driver's message as one line."""
    return " ".join(str(error).split())
