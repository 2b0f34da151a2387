"""What is in a graph store, for people."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from catena.graphs.schema import TableSchema
from catena.graphs.store import GraphStore


def print_graph(store: GraphStore, console: Console | None = None) -> None:
    """Print a row per table, and the metadata; no row of the graph itself is read."""
    console = console or Console(highlight=False)
    shown = Table(title=store.url, title_justify="left")
    for name in ("table", "kind", "rows", "blocks", "columns"):
        shown.add_column(name, justify="right" if name in ("rows", "blocks") else "left", overflow="fold")
    for name in store.tables():
        schema = store.schema(name)
        blocks = len(store.blocks_written(name))
        shown.add_row(name, schema.kind, str(store.count(name)), str(blocks), describe_columns(schema))
    console.print(shown)
    for key, value in store.metadata().items():
        console.print(f"{key}: {json.dumps(value)}", soft_wrap=True)


def describe_columns(schema: TableSchema) -> str:
    """Return the columns and their dtypes, those of the key first and starred.

    >>> describe_columns(TableSchema({"score": "float32", "u": "uint64"}, key=("u",)))
    'u* uint64, score float32'
    """
    rest = [name for name in schema.columns if name not in schema.key]
    return ", ".join(
        [f"{name}* {schema.columns[name]}" for name in schema.key] + [f"{name} {schema.columns[name]}" for name in rest]
    )
