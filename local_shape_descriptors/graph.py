"""The graph store of a volume."""

from __future__ import annotations

from catena.graphs import GraphStore, open_store
from local_shape_descriptors.config import LocalShapeDescriptorsConfig


def open_graph(config: LocalShapeDescriptorsConfig, volume: str) -> GraphStore:
    """Open the store that holds a volume's region adjacency graph.

    Raises
    ------
    ConfigError
        If ``agglomerate.store`` names no known kind of store.
    StoreError
        If it cannot be reached.
    """
    url = config.agglomerate.store
    if url == "sqlite":
        folder = config.volume_folder(volume)
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder.absolute() / 'rag.sqlite'}"
    return open_store(url)
