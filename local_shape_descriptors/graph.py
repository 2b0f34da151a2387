"""The graph store of a volume."""

from __future__ import annotations

from pathlib import Path

from catena.blockwise.launchers import launcher_type
from catena.errors import ConfigError
from catena.graphs import GraphStore, open_store, require_reach, sqlite_url
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

GRAPH_STAGES = ("fragments", "agglomerate")
"""Stages whose workers write into the graph."""


def open_graph(config: LocalShapeDescriptorsConfig, volume: str) -> GraphStore:
    """Open the store that holds a volume's region adjacency graph.

    Raises
    ------
    ConfigError
        If ``agglomerate.store`` is not ``sqlite``.
    StoreError
        If the workers of a stage could not share it (other hosts, a network file system), or it cannot be opened.
    """
    path = graph_path(config, volume)
    launchers = {config.execution.of(stage).launcher for stage in GRAPH_STAGES}
    require_reach(sqlite_url(path), any(launcher_type(each).spans_hosts for each in launchers))
    path.parent.mkdir(parents=True, exist_ok=True)
    return open_store(sqlite_url(path))


def graph_path(config: LocalShapeDescriptorsConfig, volume: str) -> Path:
    """Return the file of a volume's own graph.

    Raises
    ------
    ConfigError
        If ``agglomerate.store`` names another store: its tables would be shared by all volumes and experiments.
    """
    if config.agglomerate.store != "sqlite":
        raise ConfigError(
            f"agglomerate.store: expected sqlite, found {config.agglomerate.store.partition(':')[0]!r}; "
            "PostgreSQL and MongoDB stores are not there yet, and a SQLite file always lies beside the results"
        )
    return config.volume_folder(volume).absolute() / "rag.sqlite"
