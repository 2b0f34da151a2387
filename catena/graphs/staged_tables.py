"""Tables in the making: which attempt wrote them, and under which fingerprint they were published.

Done marks and the ledger lie with the results, tables in a store that may be another one tomorrow. So the store itself
says what its tables are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from catena.blockwise.faults import fault_point
from catena.graphs.store import GraphStore

STAGED = "staged_"
"""With this the names of tables in the making begin."""

ATTEMPT, PUBLISHED = "attempt_", "published_"
"""With these the keys of metadata about tables begin."""

_NOTE = "graph_attempt"


def publish_table(store: GraphStore, staged: str, table: str, fingerprint: str) -> None:
    """Give the complete table `staged` its published name `table`; safe to repeat after a crash at any point."""
    key = published_key(table)
    tables = store.tables()
    if staged in tables:
        store.set_metadata(key, None)  # until the end nothing vouches for what bears the name
        fault_point("publish.table_disowned")
        store.rename(staged, table, replace=True)
        fault_point("publish.table_renamed")
        store.set_metadata(key, fingerprint)
    elif table in tables and store.get_metadata(key) is None:
        store.set_metadata(key, fingerprint)


def is_published(store: GraphStore, table: str, fingerprint: str) -> bool:
    """Tell whether `table` is there and was published under `fingerprint`."""
    return table in store.tables() and store.get_metadata(published_key(table)) == fingerprint


def published_key(table: str) -> str:
    """Return the metadata key of the fingerprint under which `table` was published."""
    return f"{PUBLISHED}{table}"


def belongs_here(store: GraphStore, stage: str, staging: Path) -> bool:
    """Tell whether the attempt of `stage` in the folder `staging` is the last that wrote to this store.

    If not, its done marks speak of rows that lie elsewhere, or nowhere.
    """
    note = staging / _NOTE
    return note.exists() and store.get_metadata(_attempt_key(stage)) == note.read_text()


def begin_attempt(store: GraphStore, stage: str, staging: Path) -> None:
    """Note on both sides that the attempt in the folder `staging` writes to this store."""
    token = uuid4().hex
    store.set_metadata(_attempt_key(stage), token)
    fault_point("stage.noted_in_store")
    staging.mkdir(parents=True, exist_ok=True)
    (staging / _NOTE).write_text(token)


def drop_staged(store: GraphStore, tables: Iterable[str], keep: Iterable[str] = ()) -> None:
    """Drop what attempts left that were to become `tables`, except for the names in `keep`."""
    endings, kept = tuple(f"_{table}" for table in tables), set(keep)
    for name in store.tables():
        if name.startswith(STAGED) and name.endswith(endings) and name not in kept:
            store.drop(name)


def _attempt_key(stage: str) -> str:
    return f"{ATTEMPT}{stage}"
