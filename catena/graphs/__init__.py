"""Stores for region adjacency graphs: tables of NumPy columns behind one protocol."""

from catena.graphs.open import open_store, sqlite_url
from catena.graphs.presentation import Presentation
from catena.graphs.reach import require_local_filesystem, require_reach
from catena.graphs.region import read_region
from catena.graphs.schema import Columns, TableSchema
from catena.graphs.sql import SQLStore
from catena.graphs.sqlite import SQLiteStore
from catena.graphs.store import GraphStore
from catena.graphs.url import StoreUrl, without_password

__all__ = [
    "Columns",
    "GraphStore",
    "Presentation",
    "SQLStore",
    "SQLiteStore",
    "StoreUrl",
    "TableSchema",
    "open_store",
    "read_region",
    "require_local_filesystem",
    "require_reach",
    "sqlite_url",
    "without_password",
]
