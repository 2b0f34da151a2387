"""MongoDB's errors in Catena's words: what happened on which server, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.errors import InvalidBSON
from pymongo import errors

from catena.errors import CatenaError, OutputError, StoreError
from catena.graphs.url import PASSWORD_VARIABLE

DUPLICATE_KEY = 11000

_Remedy = tuple[type[CatenaError], str]
_CREDENTIALS: _Remedy = (
    StoreError,
    f"the server refuses the user or password; name the user in the URL (mongodb://USER@HOST/…), put the password into "
    f"the environment variable {PASSWORD_VARIABLE}, and if the user is kept in another database add ?authSource=admin",
)
_FULL: _Remedy = (
    OutputError,
    "the server has no more space; free some and run again, finished blocks are kept",
)
_NOT_PRIMARY: _Remedy = (
    OutputError,
    "this member of the replica set cannot be written; name all members, or add ?replicaSet=NAME to the URL",
)
_UNREACHABLE: _Remedy = (
    StoreError,
    "no server answers there; check that mongod runs (one whose disk is full stops, see its log), that host and port "
    "are right and that no firewall lies between",
)
_SAME_KEY: _Remedy = (StoreError, "two rows have the same key, or a row owned by another block is written")
_SEE: _Remedy = (StoreError, "see the server's message")

_CODES: dict[int, _Remedy] = {
    **dict.fromkeys((11, 18, 8000), _CREDENTIALS),
    **dict.fromkeys((12501, 14031), _FULL),
    **dict.fromkeys((189, 10058, 10107, 11602, 13435), _NOT_PRIMARY),
    13: (
        StoreError,
        f"the user lacks the right, or the server asks for one: mongodb://USER@HOST/…, {PASSWORD_VARIABLE}",
    ),
    DUPLICATE_KEY: _SAME_KEY,
    64: (OutputError, "the other members of the replica set do not keep up; check them, or add ?w=1 to the URL"),
    100: (OutputError, "too few members of the replica set are there; check them, or add ?w=1 to the URL"),
    175: (StoreError, "the table was replaced or dropped meanwhile; read it again"),
    292: (StoreError, "the server may not sort on its disk; allow allowDiskUseByDefault there"),
    10334: (StoreError, "a document or request is larger than 16 MB; ask for fewer blocks at once"),
}
_CLASSES: tuple[tuple[type[Exception], _Remedy], ...] = (
    (errors.NotPrimaryError, _NOT_PRIMARY),
    (errors.AutoReconnect, _UNREACHABLE),
    (errors.DocumentTooLarge, _CODES[10334]),
    (errors.ConfigurationError, (StoreError, "correct the options of the URL, or install a PyMongo for this server")),
    (errors.InvalidURI, (StoreError, "correct the URL")),
    (errors.InvalidOperation, (StoreError, "the store is closed; open it again")),
    (InvalidBSON, (StoreError, "the store is damaged; redo the stages that write it")),
)


def codes(error: Exception) -> set[int]:
    """Return the numbers by which the server names what went wrong, all of a bulk write's."""
    details = getattr(error, "details", None) or {}
    nested = details.get("writeErrors", []) + details.get("writeConcernErrors", [])
    nested += [details["writeConcernError"]] if "writeConcernError" in details else []
    found = [each.get("code") for each in nested] + [getattr(error, "code", None)]
    return {code for code in found if isinstance(code, int) and code != _BULK_WRITE}


_BULK_WRITE = 65  # PyMongo's own number for "a bulk write failed", whatever the reason


def explain(error: Exception, place: str, doing: str) -> CatenaError:
    """Return the error to raise instead of `error`, which PyMongo raised on `place` while `doing` something."""
    kind, remedy = _remedy(error)
    return kind(f"{place}: {doing} failed, {_message(error)}: {remedy}")


def _remedy(error: Exception) -> _Remedy:
    found = [_CODES[code] for code in sorted(codes(error)) if code in _CODES]
    # more than a key: a bulk write that ran into a full disk says so for some documents only
    found.sort(key=lambda remedy: remedy is _SAME_KEY)
    found += [remedy for kind, remedy in _CLASSES if isinstance(error, kind)]
    return found[0] if found else _SEE


def _message(error: Exception) -> str:
    """Return the first of what PyMongo says: the rest repeats it with the state of every server or document."""
    details: Mapping[str, Any] = getattr(error, "details", None) or {}
    for each in (*details.get("writeErrors", []), *details.get("writeConcernErrors", [])):
        return str(each.get("errmsg", error))
    return str(error).partition(", full error:")[0].partition(", Timeout:")[0].partition(" (configured timeouts:")[0]


@contextmanager
def explained(place: str, doing: str) -> Iterator[None]:
    """Turn PyMongo's errors within the ``with`` into those of :func:`explain`."""
    try:
        yield
    except (errors.PyMongoError, InvalidBSON) as error:
        raise explain(error, place, doing) from error
