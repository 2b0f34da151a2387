"""Graph stores: a graph written block by block and read back, beside funlib.persistence on the same data.

Both sides get the data in the form they take and hand it back in the form they give: arrays here, a networkx graph
there, which is made beforehand. Every store begins empty; what was read is compared with what was written.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import networkx as nx
import numpy as np
from funlib.geometry import Roi
from funlib.persistence.graphs import SQLiteGraphDataBase
from funlib.persistence.types import Vec
from numpy.typing import NDArray

from benchmarks.result import Figure
from catena.graphs import GraphStore, TableSchema, open_store, sqlite_url
from catena.graphs.transfer import drop_graph
from catena.graphs.url import PASSWORD_VARIABLE

EDGES, SMOKE_EDGES = 1_000_000, 20_000
BLOCK_EDGES, NODES_OF_EDGES = 5000, 4
REPEATS = 3
EDGE = 1000
MONGODB = "CATENA_TEST_MONGODB_URI"

NODE_TABLE = TableSchema({"id": "uint64", "pos_0": "int64", "pos_1": "int64", "pos_2": "int64"}, key=("id",))
EDGE_TABLE = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float64"}, key=("u", "v"))

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Graph:
    """Nodes and edges, ordered by key, and the block of each."""

    nodes: Columns
    edges: Columns
    blocks: int

    def of(self, table: str, block: int) -> Columns:
        """Return a block's rows without the column `block`."""
        columns = {"nodes": self.nodes, "edges": self.edges}[table]
        begin, end = np.searchsorted(columns["block"], [block, block + 1])
        return {name: values[begin:end] for name, values in columns.items() if name != "block"}


@dataclass(frozen=True)
class Seconds:
    """Wall time of writing and of reading."""

    write: float
    read: float


def measure(smoke: bool = False) -> dict[str, Figure]:
    """Return rates of all stores there are, and how many times as fast as funlib.persistence SQLite is."""
    graph = random_graph(SMOKE_EDGES if smoke else EDGES)
    seconds = {
        "funlib_sqlite": best_of(partial(with_funlib, graph)),
        "sqlite": best_of(partial(with_sqlite, graph)),
    }
    for name, stores in (("postgresql", postgresql_stores), ("mongodb", mongodb_stores)):
        with stores() as opener:
            if isinstance(opener, str):
                print(f"{name} left out: {opener}", flush=True)
            else:
                seconds[name] = best_of(partial(with_store, graph, opener))
    figures = {}
    for name, each in seconds.items():
        print(f"{name}: wrote in {each.write:.2f} s, read in {each.read:.2f} s", flush=True)
        for direction, taken in (("write", each.write), ("read", each.read)):
            rate = len(graph.edges["u"]) / taken / 1e6
            figures[f"{name}_{direction}_medges_per_s"] = Figure(rate, "million edges/s", "higher")
    theirs, ours = (seconds[name].write + seconds[name].read for name in ("funlib_sqlite", "sqlite"))
    return {"sqlite_speedup_vs_funlib": Figure(theirs / ours, "x", "higher"), **figures}


def random_graph(edges: int) -> Graph:
    """Return a graph in which every node has an edge to each of the next few, as neighbours in a volume have."""
    generator = np.random.default_rng(0)
    blocks = edges // BLOCK_EDGES
    nodes = edges // NODES_OF_EDGES
    block = np.arange(nodes) * blocks // nodes
    ids = (block * 2_000_000 + np.arange(nodes) % (nodes // blocks) + 1).astype(np.uint64)
    position = generator.integers(0, EDGE, (nodes, 3))
    node_columns = {"id": ids, **{f"pos_{axis}": position[:, axis] for axis in range(3)}, "block": block}
    first = np.repeat(np.arange(nodes), NODES_OF_EDGES)
    second = first + np.tile(np.arange(1, NODES_OF_EDGES + 1), nodes)
    inside = second < nodes
    first, second = first[inside], second[inside]
    scores = generator.random(len(first))
    edge_columns = {"u": ids[first], "v": ids[second], "merge_score": scores, "block": block[first]}
    return Graph(node_columns, edge_columns, blocks)


def with_funlib(graph: Graph) -> Seconds:
    """Write and read the graph through funlib.persistence's SQLite class, as its users do."""
    given = nx.Graph()
    positions = np.stack([graph.nodes[f"pos_{axis}"] for axis in range(3)], axis=1)
    given.add_nodes_from(
        (node, {"pos": position}) for node, position in zip(graph.nodes["id"].tolist(), positions.tolist(), strict=True)
    )
    columns = (graph.edges[name].tolist() for name in ("u", "v", "merge_score"))
    given.add_edges_from((u, v, {"merge_score": score}) for u, v, score in zip(*columns, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        database = SQLiteGraphDataBase(
            Path(folder) / "rag.sqlite",
            "pos",
            mode="w",
            directed=False,
            total_roi=Roi((0, 0, 0), (EDGE, EDGE, EDGE)),
            node_attrs={"pos": Vec(int, 3)},
            edge_attrs={"merge_score": float},
        )
        database.write_graph(given)
        written = time.perf_counter()
        found = database.read_graph()
        read = time.perf_counter()
        database.con.close()
    if found.number_of_edges() != given.number_of_edges() or found.number_of_nodes() != given.number_of_nodes():
        raise RuntimeError("funlib.persistence has not read what it wrote")
    return Seconds(written - began, read - written)


def with_sqlite(graph: Graph) -> Seconds:
    """Write and read the graph in a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        return with_store(graph, partial(open_store, sqlite_url(Path(folder) / "rag.sqlite")))


def with_store(graph: Graph, opener: Callable[[], GraphStore]) -> Seconds:
    """Write the graph block by block, read it whole on another connection, and drop it."""
    began = time.perf_counter()
    with opener() as store:
        store.create("nodes", NODE_TABLE)
        store.create("edges", EDGE_TABLE)
        for block in range(graph.blocks):
            store.write_block("nodes", block, graph.of("nodes", block))
            store.write_block("edges", block, graph.of("edges", block))
    written = time.perf_counter()
    with opener() as store:
        nodes, edges = store.read("nodes"), store.read("edges")
        read = time.perf_counter()
        drop_graph(store)
    for found, expected in ((nodes, graph.nodes), (edges, graph.edges)):
        if not all(np.array_equal(values, expected[name]) for name, values in found.items()):
            raise RuntimeError("what was read is not what was written")
    return Seconds(written - began, read - written)


def best_of(work: Callable[[], Seconds]) -> Seconds:
    """Return the shortest times of some repeats."""
    found = [work() for _ in range(REPEATS)]
    return Seconds(min(each.write for each in found), min(each.read for each in found))


@contextmanager
def postgresql_stores() -> Iterator[Callable[[], GraphStore] | str]:
    """Start a server and give what opens a store on it, or the reason why there is none."""
    from tests.graphs.postgresql_server import PASSWORD, PostgreSQLServer, reason_against

    reason = reason_against()
    if reason is not None:
        yield reason
        return
    server, before = PostgreSQLServer(), os.environ.get(PASSWORD_VARIABLE)
    os.environ[PASSWORD_VARIABLE] = PASSWORD
    try:
        yield partial(open_store, server.url("benchmark"))
    finally:
        server.remove()
        del os.environ[PASSWORD_VARIABLE]
        if before is not None:
            os.environ[PASSWORD_VARIABLE] = before


@contextmanager
def mongodb_stores() -> Iterator[Callable[[], GraphStore] | str]:
    """Give what opens a store on the server that the environment names, or the reason why there is none."""
    url = os.environ.get(MONGODB)
    yield (
        f"{MONGODB} names no server"
        if url is None
        else partial(open_store, f"{url}{'&' if '?' in url else '?'}namespace=benchmark_{uuid4().hex}")
    )
