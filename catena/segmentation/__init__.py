"""From affinities to segmentation: pure kernels on arrays.

Fragments (:func:`extract_fragments`), the graph of their contacts (:func:`edge_statistics`, :func:`forced_edges`), its
agglomeration (:func:`agglomerate_graph` over the whole graph, :func:`agglomerate_block` as published), lookup tables
(:func:`lookup_tables`) and the segmentation (:func:`relabel`); :func:`segment` does all of it in memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catena.segmentation.block_agglomeration import PREBUILT, agglomerate_block, owned_edges
    from catena.segmentation.config import AgglomerateConfig, FragmentsConfig, parse_merge_function
    from catena.segmentation.edges import EdgeStatistics, edge_statistics
    from catena.segmentation.forced import forced_edges, forced_edges_within
    from catena.segmentation.fragments import (
        Fragments,
        extract_fragments,
        fragment_channels,
        fragment_context,
        owner,
    )
    from catena.segmentation.graph_agglomeration import agglomerate_graph
    from catena.segmentation.in_memory import THRESHOLDS, Segmentation, merge_fragments, segment
    from catena.segmentation.lookup import iterate_lookup_tables, lookup_tables
    from catena.segmentation.relabelling import relabel

_HOME = {
    "PREBUILT": "block_agglomeration",
    "agglomerate_block": "block_agglomeration",
    "owned_edges": "block_agglomeration",
    "AgglomerateConfig": "config",
    "FragmentsConfig": "config",
    "parse_merge_function": "config",
    "EdgeStatistics": "edges",
    "edge_statistics": "edges",
    "forced_edges": "forced",
    "forced_edges_within": "forced",
    "Fragments": "fragments",
    "extract_fragments": "fragments",
    "fragment_channels": "fragments",
    "fragment_context": "fragments",
    "owner": "fragments",
    "agglomerate_graph": "graph_agglomeration",
    "THRESHOLDS": "in_memory",
    "Segmentation": "in_memory",
    "merge_fragments": "in_memory",
    "segment": "in_memory",
    "iterate_lookup_tables": "lookup",
    "lookup_tables": "lookup",
    "relabel": "relabelling",
}

__all__ = [
    "PREBUILT",
    "THRESHOLDS",
    "AgglomerateConfig",
    "EdgeStatistics",
    "Fragments",
    "FragmentsConfig",
    "Segmentation",
    "agglomerate_block",
    "agglomerate_graph",
    "edge_statistics",
    "extract_fragments",
    "forced_edges",
    "forced_edges_within",
    "fragment_channels",
    "fragment_context",
    "iterate_lookup_tables",
    "lookup_tables",
    "merge_fragments",
    "owned_edges",
    "owner",
    "parse_merge_function",
    "relabel",
    "segment",
]


def __getattr__(name: str) -> Any:
    # imported on first use: a configuration can be read without loading numba, waterz and SciPy
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
