"""Reading the part of a graph that lies in a region, from every store.

z = 10 nm    block 0 | block 1      nodes 1 at x = 0, 2 at 30, 3 at 40 (the face), 4 at 79
             1     2 | 3      4     edges 1-2, 2-3 (across the face, owned by u's block), 3-4, 1-4
"""

from itertools import pairwise

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catena.blockwise import BlockGrid
from catena.errors import StoreError
from catena.graphs import GraphStore, TableSchema, read_region

POSITIONS = {f"position_{axis}": "float64" for axis in range(3)}
NODES = TableSchema({"id": "uint64", **POSITIONS}, key=("id",))
EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32"}, key=("u", "v"))
GRID = BlockGrid(Roi((0, 0, 0), (40, 40, 80)), Coordinate(10, 10, 10), Coordinate(4, 4, 4), Coordinate(0, 0, 0))

Columns = dict[str, np.ndarray]


def nodes(ids: list[int], x: list[float]) -> Columns:
    flat = np.full(len(ids), 10.0)
    return {"id": np.array(ids, np.uint64), "position_0": flat, "position_1": flat, "position_2": np.array(x, float)}


def edges(*pairs: tuple[int, int]) -> Columns:
    u, v = np.array(pairs, dtype=np.uint64).reshape(-1, 2).T
    return {"u": u, "v": v, "merge_score": np.full(len(pairs), 0.5, np.float32)}


def pairs(found: Columns) -> list[tuple[int, int]]:
    return list(zip(found["u"].tolist(), found["v"].tolist(), strict=True))


@pytest.fixture
def drawn(store: GraphStore) -> GraphStore:
    store.create("nodes", NODES)
    store.create("edges", EDGES)
    store.write_block("nodes", 0, nodes([1, 2], [0, 30]))
    store.write_block("nodes", 1, nodes([3, 4], [40, 79]))
    store.write_block("edges", 0, edges((1, 2), (1, 4), (2, 3)))
    store.write_block("edges", 1, edges((3, 4)))
    return store


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize(
    ("begin", "end", "ids", "expected"),
    [
        ((0, 0, 0), (40, 40, 80), [1, 2, 3, 4], [(1, 2), (1, 4), (2, 3), (3, 4)]),
        ((0, 0, 0), (40, 40, 40), [1, 2], [(1, 2), (1, 4), (2, 3)]),  # half open: not node 3, but the edges to it
        ((0, 0, 30), (40, 40, 79), [2, 3], [(2, 3), (3, 4)]),
        ((0, 0, 50), (40, 40, 60), [], []),
        ((20, 0, 0), (40, 40, 80), [], []),
    ],
)
def test_nodes_inside_and_the_edges_of_their_u(
    drawn: GraphStore,
    begin: tuple[int, ...],
    end: tuple[int, ...],
    ids: list[int],
    expected: list[tuple[int, int]],
    restricted: bool,
) -> None:
    roi = Roi(begin, Coordinate(end) - Coordinate(begin))
    blocks = GRID.blocks_intersecting(roi) if restricted else None
    found, joined = read_region(drawn, begin, end, edges="edges", blocks=blocks)
    assert found["id"].tolist() == ids
    assert pairs(joined) == expected
    assert {name: values.dtype for name, values in found.items()} == {name: NODES.dtype(name) for name in NODES.columns}
    assert list(joined) == list(EDGES.columns)


def test_other_blocks_are_not_read(drawn: GraphStore) -> None:
    found, joined = read_region(drawn, (0, 0, 0), (40, 40, 80), edges="edges", blocks=[1])
    assert found["id"].tolist() == [3, 4]
    assert pairs(joined) == [(3, 4)]


def test_nodes_alone(drawn: GraphStore) -> None:
    found, joined = read_region(drawn, (0, 0, 0), (40, 40, 10))
    assert found["id"].tolist() == [1]
    assert joined == {}


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 79), min_size=1, max_size=30), st.lists(st.integers(1, 79), max_size=3))
def test_regions_side_by_side_make_up_the_graph(store: GraphStore, x: list[int], cuts: list[int]) -> None:
    ids = np.arange(1, len(x) + 1)
    owner = np.array(x) // 40
    links = np.array([(u, v) for u in ids for v in ids if u < v and (u * v) % 3 == 0], dtype=np.uint64).reshape(-1, 2)
    for name, schema in (("nodes", NODES), ("edges", EDGES)):
        store.drop(name)
        store.create(name, schema)
    for block in (0, 1):
        mine = owner == block
        store.write_block("nodes", block, nodes(ids[mine].tolist(), np.array(x)[mine].tolist()))
        store.write_block("edges", block, edges(*links[np.isin(links[:, 0], ids[mine])].tolist()))
    found = []
    bounds = [0, *sorted(set(cuts)), 80]
    for low, high in pairwise(bounds):
        blocks = GRID.blocks_intersecting(Roi((0, 0, low), (40, 40, high - low)))
        found.append(read_region(store, (0, 0, low), (40, 40, high), edges="edges", blocks=blocks))
    assert sorted(np.concatenate([each["id"] for each, _ in found]).tolist()) == ids.tolist()
    assert sorted(pair for _, each in found for pair in pairs(each)) == [tuple(pair) for pair in links.tolist()]


def test_says_what_nodes_it_needs(drawn: GraphStore) -> None:
    with pytest.raises(StoreError, match="'nodes': a region of 2 to 2 axes needs nodes"):
        read_region(drawn, (0, 0), (40, 40))
    with pytest.raises(StoreError, match="found the key"):
        read_region(drawn, (0, 0, 0), (40, 40, 40), nodes="edges")
