"""Fragments to a region adjacency graph with a merge score on every edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.stage import BlockFunction, BlockwiseStage
from catena.errors import StageError
from catena.graphs import GraphStore, Presentation, SQLStore, TableSchema
from catena.segmentation import (
    EdgeStatistics,
    agglomerate_block,
    agglomerate_graph,
    edge_statistics,
    forced_edges,
    forced_edges_within,
    owned_edges,
)
from catena.task import Input, Job, Output, Progress
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.fragments import POSITION, settings_of
from local_shape_descriptors.geometry import (
    VolumeGeometry,
    block_slices,
    fragment_grid,
    open_input,
    volume_geometry,
)
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.masks import skipped_blocks
from local_shape_descriptors.objects import NEURONS, Objects, ObjectsStage

Settings = LocalShapeDescriptorsConfig

EDGES = TableSchema(
    {
        "u": "uint64",
        "v": "uint64",
        "merge_score": "float64",
        "distance": "float64",
        "forced": "bool",
        "contact": "int64",
        "affinity_sum": "int64",
    },
    key=("u", "v"),
)
"""An edge between fragments u < v, owned by u's block: the score at which they merge, how far apart (nm) they are,
whether they are pieces of one fragment that a block face cut, and the additive statistics of their contact."""
GRAPH_BYTES_PER_EDGE, GRAPH_BYTES_PER_BIN = 210, 8
"""Peak memory of agglomerating a whole graph, measured with 10 million edges: what is read, and what is merged."""
FORCED = TableSchema({"u": "uint64", "v": "uint64"}, key=("u", "v"), kind="arrays")


def edges_table(config: Settings, objects: Objects = NEURONS) -> str:
    """Return the name of the table of edges: several merge functions lie side by side."""
    return objects.called(f"edges_{objects.agglomerate(config).merge_function}")


def statistics_schema(bins: int) -> TableSchema:
    """Return the table of additive edge statistics with histograms of `bins` bins."""
    columns = {
        "u": "uint64",
        "v": "uint64",
        "contact": "int64",
        "affinity_sum": "int64",
        "histogram": f"({bins},)uint32",
    }
    if bins == 0:
        del columns["histogram"]
    return TableSchema(columns, key=("u", "v"), kind="arrays")


class AgglomerateStage(ObjectsStage, BlockwiseStage):
    """Gather the contacts of fragments block by block, then merge: over the whole graph, or in each block."""

    step, version = "agglomerate", 3

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return affinities, fragments and their table."""
        return {
            "affinities": self.objects.affinities(config, volume),
            "fragments": self.made("fragments", "fragments", volume),
            "nodes": self.made("fragments", "nodes", volume),
        }

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the table of edges and, where the whole graph is merged, what it was merged from."""
        called = self.objects.called
        edges = {
            "edges": Output(edges_table(config, self.objects), "table"),
            "forced": Output(called("forced_edges"), "table"),
        }
        if self.objects.agglomerate(config).scope == "graph":
            edges["statistics"] = Output(called("edge_statistics"), "table")
        return edges

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return what the scores depend on."""
        method = self.objects.agglomerate(config)
        unused = {"store", "memory_gb"} | ({"block_context"} if method.scope == "graph" else {"histogram_bins"})
        return {"agglomerate": method.model_dump(mode="json", exclude=unused)}

    def execution(self, config: Settings) -> ExecutionConfig:
        """Return where the blocks run."""
        return config.execution.of(self.step)

    def grid(self, config: Settings, volume: str) -> BlockGrid:
        """Return the fragments' blocks, with a voxel of context, or that of waterz in blocks."""
        geometry = volume_geometry(config, volume)
        method = self.objects.agglomerate(config)
        if method.scope == "graph":
            return fragment_grid(config, geometry, Coordinate(1, 1, 1))
        smallest = min(geometry.voxel_size)
        reach = method.block_context * smallest
        return fragment_grid(config, geometry, Coordinate(max(1, -(-reach // each)) for each in geometry.voxel_size))

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_] | None:
        """Skip the blocks that have no fragments because they were skipped before."""
        return skipped_blocks(settings_of(job), job.volume, grid)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Create the tables."""
        config = settings_of(job)
        outputs = self.outputs(config, job.volume)
        with open_graph(config, job.volume) as store:
            store.create(job.table(outputs["forced"]), FORCED)
            if "statistics" in outputs:
                store.create(job.table(outputs["statistics"]), statistics_schema(self.objects.agglomerate(config).bins))
            else:
                store.create(job.table(outputs["edges"]), EDGES)

    def block_function(self, job: Job) -> BlockFunction:
        """Open everything and return the work of one block."""
        config = settings_of(job)
        geometry, grid = volume_geometry(config, job.volume), self.grid(config, job.volume)
        affinities = open_input(job, "affinities", geometry)
        fragments = open_input(job, "fragments", geometry)
        offsets = affinities.affinity_offsets
        store = open_graph(config, job.volume)
        tables = {name: job.table(output) for name, output in self.outputs(config, job.volume).items()}
        method, fragment_table = self.objects.agglomerate(config), self.objects.called("nodes")

        def process(block: Block) -> None:
            roi = block.read_roi.intersect(fragments.roi).intersect(affinities.roi)
            core = block_slices(block.write_roi, roi, geometry.voxel_size)
            labels = fragments.read(roi)
            nodes = store.read(fragment_table, ["id", "root", "pointer"], blocks=[block.index])
            begin = np.array((block.write_roi.begin - grid.roi.begin) // geometry.voxel_size)
            roots = positions(nodes["root"], grid) - begin
            pairs = ordered_pairs(forced_edges(nodes["id"], roots, nodes["pointer"], labels, core))
            if method.scope == "graph":
                above = Roi(block.write_roi.begin, roi.end - block.write_roi.begin)  # no face below is ours
                found = edge_statistics(
                    affinities.read(above),
                    offsets,
                    labels[block_slices(above, roi, geometry.voxel_size)],
                    core=block_slices(block.write_roi, above, geometry.voxel_size),
                    bins=method.bins,
                )
                rows, table = statistics_columns(found), tables["statistics"]
            else:
                # waterz has to see whole fragments: also those that faces of other blocks cut, in the context
                around = store.read(fragment_table, ["id", "root", "pointer"], blocks=grid.blocks_intersecting(roi))
                corner = np.array((roi.begin - grid.roi.begin) // geometry.voxel_size)
                within = positions(around["root"], grid) - corner
                joined = forced_edges_within(around["id"], within, around["pointer"], labels)
                function = method.merge_function
                rows = block_scores(affinities.read(roi), offsets, labels, joined, function, block)
                table = tables["edges"]
            store.write_block(tables["forced"], block.index, {"u": pairs[:, 0], "v": pairs[:, 1]})
            fault_point("agglomerate.between_tables")
            store.write_block(table, block.index, rows)
            fault_point("agglomerate.after_graph")

        return process

    def finish(self, job: Job, progress: Progress) -> Mapping[str, Any]:
        """Merge over the whole graph, and join what block faces cut."""
        config = settings_of(job)
        outputs = self.outputs(config, job.volume)
        grid = self.grid(config, job.volume)
        with open_graph(config, job.volume) as store:
            pieces = store.read(job.table(outputs["forced"]), ["u", "v"])
            forced = np.stack([pieces["u"], pieces["v"]], axis=1)
            if self.objects.agglomerate(config).scope == "graph":
                edges = self._whole_graph(store, job.table(outputs["statistics"]), config, grid, forced)
            else:
                edges = store.read(job.table(outputs["edges"]))
            edges = with_forced(edges, forced)
            nodes = store.read(self.objects.called("nodes"), ["id", *POSITION])
            edges["distance"] = distances(nodes, edges["u"], edges["v"])
            target = job.table(outputs["edges"])
            store.create(target, EDGES)
            store.replace_all(target, {**edges, "block": grid.owners(edges["u"])})
            if isinstance(store, SQLStore) and self.objects is NEURONS:  # others know of one graph in a store
                store.present(presentation(target, volume_geometry(config, job.volume)))
        return {"edges": len(edges["u"]), "forced_edges": len(forced)}

    def _whole_graph(
        self, store: GraphStore, table: str, config: Settings, grid: BlockGrid, forced: NDArray[np.uint64]
    ) -> dict[str, NDArray[Any]]:
        require_memory(store.count(table), config, self.objects)
        nodes = store.read(self.objects.called("nodes"), ["id", "root", "pointer"])
        statistics = edge_statistics_of(store, table)
        scores = agglomerate_graph(
            nodes["id"],
            positions(nodes["root"], grid),
            nodes["pointer"],
            statistics,
            forced,
            self.objects.agglomerate(config).merge_function,
        )
        return {
            "u": statistics.u,
            "v": statistics.v,
            "merge_score": scores,
            "forced": np.zeros(len(scores), bool),
            "contact": statistics.contact,
            "affinity_sum": statistics.affinity_sum,
        }


def require_memory(edges: int, config: Settings, objects: Objects = NEURONS) -> None:
    """Refuse to agglomerate a graph that would not fit into the memory that the configuration states.

    Raises
    ------
    StageError
        Saying how much the graph needs, and what can be done.
    """
    bins, allowed, section = objects.agglomerate(config).bins, config.agglomerate.memory_gb, objects.section
    needed = edges * (GRAPH_BYTES_PER_EDGE + GRAPH_BYTES_PER_BIN * bins) / 1e9
    if needed <= allowed:
        return
    ways = [f"set agglomerate.memory_gb to {needed:.0f} or more if this machine has it"]
    if bins:
        ways.append(f"take fewer {section}agglomerate.histogram_bins, or merge_function mean")
    ways.append(f"set {section}agglomerate.scope to blocks (the result then depends slightly on the block layout)")
    raise StageError(
        f"the graph has {edges} edges, and to agglomerate it as a whole takes about {needed:.1f} GB; "
        f"agglomerate.memory_gb allows {allowed:g}: {'; or '.join(ways)}. What is in the graph is kept"
    )


def edge_statistics_of(store: GraphStore, table: str) -> EdgeStatistics:
    """Read the edges of all blocks, ordered by (u, v), with no second copy of the histograms on the way."""
    schema = store.schema(table)
    rows, at = store.count(table), 0
    dtypes = {name: schema.dtype(name) for name in schema.columns}
    columns = {name: np.empty((rows, *dtype.shape), dtype.base) for name, dtype in dtypes.items()}
    for piece in store.iterate(table):
        length = len(piece["u"])
        for name, values in piece.items():
            columns[name][at : at + length] = values
        at += length
    u, v = columns["u"], columns["v"]
    histogram = columns.get("histogram", np.zeros((rows, 0), np.uint32))
    found = EdgeStatistics(u, v, columns["contact"], columns["affinity_sum"], histogram)
    # blocks in order, and each block's rows in order, are in order as a whole: the owner is encoded in u
    ascending = (u[1:] > u[:-1]) | ((u[1:] == u[:-1]) & (v[1:] > v[:-1]))
    return found if ascending.all() else EdgeStatistics.concatenate([found])


def positions(roots: NDArray[np.int64], grid: BlockGrid) -> NDArray[np.int64]:
    """Return the ``(n, 3)`` voxel positions in the volume of row-major indices."""
    shape = tuple(int(each) for each in grid.roi.shape // grid.voxel_size)
    return np.stack(np.unravel_index(roots, shape), axis=1).astype(np.int64).reshape(-1, 3)


def distances(nodes: Mapping[str, NDArray[Any]], u: NDArray[np.uint64], v: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the distances (nm) between the positions of fragments `u` and `v`; `nodes` are ordered by id."""
    squares = np.zeros(len(u))
    from_, to = np.searchsorted(nodes["id"], u), np.searchsorted(nodes["id"], v)
    for name in POSITION:
        squares += (nodes[name][to] - nodes[name][from_]) ** 2
    found: NDArray[np.float64] = np.sqrt(squares)
    return found


def presentation(edges: str, geometry: VolumeGeometry) -> Presentation:
    """Return how funlib.persistence and volara see the graph with the table `edges`."""
    begin, end = (tuple(each / geometry.units_per_nm for each in at) for at in (geometry.roi.begin, geometry.roi.end))
    return Presentation(edges, begin_nm=begin, end_nm=end)


def ordered_pairs(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return ``(m, 2)`` pairs with the smaller id first, each once, sorted."""
    if not len(pairs):
        return np.zeros((0, 2), np.uint64)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def statistics_columns(found: EdgeStatistics) -> dict[str, NDArray[Any]]:
    """Return edge statistics as the columns of their table."""
    columns: dict[str, NDArray[Any]] = {
        "u": found.u,
        "v": found.v,
        "contact": found.contact,
        "affinity_sum": found.affinity_sum,
    }
    return {**columns, "histogram": found.histogram} if found.histogram.shape[1] else columns


def block_scores(
    affinities: NDArray[Any],
    offsets: tuple[Coordinate, ...],
    fragments: NDArray[np.uint64],
    forced: NDArray[np.uint64],
    merge_function: str,
    block: Block,
) -> dict[str, NDArray[Any]]:
    """Return the edges that a block owns, scored by waterz within the block and its context."""
    u, v, scores = agglomerate_block(affinities, offsets, fragments, merge_function, forced=forced)
    contacts = edge_statistics(affinities, offsets, fragments, bins=0)  # the same edges in the same order
    own = owned_edges(u, block.index, block.block_shape_vox)
    return {
        "u": u[own],
        "v": v[own],
        "merge_score": scores[own],
        "distance": np.zeros(int(own.sum())),  # a neighbour in another block is known when all have been
        "forced": np.zeros(int(own.sum()), bool),
        "contact": contacts.contact[own],
        "affinity_sum": contacts.affinity_sum[own],
    }


def with_forced(edges: Mapping[str, NDArray[Any]], forced: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
    """Mark the forced pairs among the edges, and add those that share no voxel face; ordered by (u, v)."""
    pairs = ordered_pairs(forced)
    missing = len(pairs)
    new = {
        "u": pairs[:, 0],
        "v": pairs[:, 1],
        "merge_score": np.zeros(missing),
        "forced": np.ones(missing, bool),
        "contact": np.zeros(missing, np.int64),
        "affinity_sum": np.zeros(missing, np.int64),
    }
    both = {name: np.concatenate([edges[name], values]) for name, values in new.items()}
    order = np.lexsort((both["v"], both["u"]))
    both = {name: values[order] for name, values in both.items()}
    if not len(order):
        return both
    first = np.ones(len(order), bool)
    first[1:] = (both["u"][1:] != both["u"][:-1]) | (both["v"][1:] != both["v"][:-1])
    starts = np.flatnonzero(first)
    return {
        "u": both["u"][first],
        "v": both["v"][first],
        "merge_score": np.minimum.reduceat(both["merge_score"], starts),
        "forced": np.logical_or.reduceat(both["forced"], starts),
        "contact": np.add.reduceat(both["contact"], starts),
        "affinity_sum": np.add.reduceat(both["affinity_sum"], starts),
    }
