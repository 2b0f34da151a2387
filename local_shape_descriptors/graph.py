"""The graph store of a volume."""

from __future__ import annotations

from typing import Literal

from catena.blockwise.launchers import launcher_type
from catena.graphs import GraphStore, open_store, require_reach, sqlite_url
from catena.graphs.ownership import claim
from catena.graphs.setting import SQLITE, server_url
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

GRAPH_STAGES = ("fragments", "agglomerate")
"""Stages whose workers write into the graph."""


def open_graph(config: LocalShapeDescriptorsConfig, volume: str, mode: Literal["a", "r"] = "a") -> GraphStore:
    """Open the store that holds a volume's region adjacency graph.

    Parameters
    ----------
    mode
        ``"a"`` to read and write, making it the volume's own if it is nobody's; ``"r"`` to look at what is there.

    Raises
    ------
    ConfigError
        If it is the graph of other results, or several volumes would share it.
    StoreError
        If the workers of a stage could not share it (other hosts, a network file system), or it cannot be opened.
    """
    url = graph_url(config, volume)
    folder = config.volume_folder(volume)
    store = open_store(url, mode)
    if mode == "a" and store.spans_hosts:
        try:
            claim(store, folder)
        except BaseException:
            store.close()
            raise
    return store


def graph_url(config: LocalShapeDescriptorsConfig, volume: str) -> str:
    """Return the URL of a volume's own graph.

    Raises
    ------
    ConfigError
        If several volumes would share it.
    StoreError
        If the workers of a stage could not share it.
    """
    store = config.agglomerate.store
    if store == SQLITE:
        url = sqlite_url(config.volume_folder(volume).absolute() / "rag.sqlite")
    else:
        url = server_url(store, config.experiment, volume, several=len(config.volumes) > 1)
    launchers = {config.execution.of(stage).launcher for stage in GRAPH_STAGES}
    require_reach(url, any(launcher_type(each).spans_hosts for each in launchers))
    return url
