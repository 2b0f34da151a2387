"""Region adjacency graphs that others have written to MongoDB."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st
from mongodb_server import MongoDBServer

from catena.errors import StoreError
from catena.graphs import GraphStore, TableSchema, open_store, read_region, sqlite_url
from catena.graphs.mongodb_classic import EDGES, NODES, ClassicMongoDBStore, turned_edges
from catena.graphs.transfer import copy_graph

LARGE = 2**40


@pytest.fixture
def database(mongodb_server: MongoDBServer) -> Any:
    """A small graph as lsd's scripts leave it: one edge without a score, one never looked at."""
    database = mongodb_server.data["rag"]
    database["nodes"].insert_many(
        {"id": Int64(each), "center_z": 40 * each, "center_y": 4.5, "center_x": 8, "block_id": 7} for each in (3, 1, 2)
    )
    database["nodes"].insert_one({"id": Int64(LARGE), "center_z": 400, "center_y": 4.5, "center_x": 8})
    database["edges_hist_quant_75"].insert_many(
        [
            {"u": Int64(2), "v": Int64(LARGE), "merge_score": 0.25, "agglomerated": True},
            {"u": Int64(1), "v": Int64(3), "merge_score": None, "agglomerated": True},
            {"u": Int64(1), "v": Int64(2), "merge_score": 0.5, "agglomerated": True},
            {"u": Int64(2), "v": Int64(3)},
        ]
    )
    database["meta"].insert_one({"directed": False, "total_roi_offset": [0, 0, 0], "total_roi_shape": None})
    return database


@pytest.fixture
def url(mongodb_server: MongoDBServer) -> str:
    return f"mongodb://127.0.0.1:{mongodb_server.port}/rag"


@pytest.fixture
def store(database: Any, url: str) -> Iterator[GraphStore]:
    with open_store(url, "r") as opened:
        assert isinstance(opened, ClassicMongoDBStore)
        yield opened


def test_follows_the_protocol(store: GraphStore) -> None:
    assert isinstance(store, GraphStore)
    assert store.tables() == ("edges_hist_quant_75", "nodes")
    assert (store.schema("nodes"), store.schema("edges_hist_quant_75")) == (NODES, EDGES)
    assert store.count("nodes") == store.count("edges_hist_quant_75") == 4
    with pytest.raises(StoreError, match=r"has no table 'edges_hist'.*did you mean 'edges_hist_quant_75'"):
        store.read("edges_hist")


def test_nodes_have_positions(store: GraphStore) -> None:
    found = store.read("nodes")
    assert {name: values.dtype for name, values in found.items()} == {name: NODES.dtype(name) for name in NODES.columns}
    assert found["id"].tolist() == [1, 2, 3, LARGE]
    assert found["position_0"].tolist() == [40, 80, 120, 400]
    assert found["position_1"].tolist() == [4.5] * 4
    assert found["position_2"].tolist() == [8] * 4


def test_edges_without_a_score_have_never_merged(store: GraphStore) -> None:
    found = store.read("edges_hist_quant_75")
    assert found["u"].tolist() == [1, 1, 2, 2]
    assert found["v"].tolist() == [2, 3, 3, LARGE]
    assert found["merge_score"].tolist() == [0.5, 1.0, 1.0, 0.25]
    assert found["agglomerated"].tolist() == [True, True, False, True]
    assert {name: values.dtype for name, values in found.items()} == {name: EDGES.dtype(name) for name in EDGES.columns}


def test_a_score_that_is_no_number(store: GraphStore, database: Any) -> None:
    database["edges_hist_quant_75"].update_many({}, {"$set": {"merge_score": float("nan")}})
    assert store.read("edges_hist_quant_75", ["merge_score"])["merge_score"].tolist() == [1.0] * 4


def test_all_rows_belong_to_block_0(store: GraphStore) -> None:
    for table in store.tables():
        assert store.blocks_written(table).tolist() == [0]
        assert store.read(table, ["block"])["block"].tolist() == [0] * 4
        assert len(store.read(table, blocks=[0, 5])[store.schema(table).key[0]]) == 4
        assert len(store.read(table, blocks=[5])[store.schema(table).key[0]]) == 0


@pytest.mark.parametrize("turned", [False, True])
def test_pieces_make_up_the_whole(store: GraphStore, database: Any, turned: bool) -> None:
    if turned:
        database["edges_hist_quant_75"].insert_one({"u": Int64(LARGE), "v": Int64(1), "merge_score": 0.75})
    pieces = list(store.iterate("edges_hist_quant_75", ["v", "block"], rows=2))
    assert [piece["v"].tolist() for piece in pieces] == (
        [[2, 3], [LARGE, 3], [LARGE]] if turned else [[2, 3], [3, LARGE]]
    )
    assert all(list(piece) == ["v", "block"] for piece in pieces)


def test_edges_the_other_way_round(store: GraphStore, database: Any) -> None:
    database["edges_hist_quant_75"].insert_many(
        [
            {"u": Int64(2), "v": Int64(1), "merge_score": 0.125, "agglomerated": False},
            {"u": Int64(LARGE), "v": Int64(3), "merge_score": 0.75, "agglomerated": True},
        ]
    )
    found = store.read("edges_hist_quant_75")
    assert found["u"].tolist() == [1, 1, 2, 2, 3]
    assert found["v"].tolist() == [2, 3, 3, LARGE, LARGE]
    assert found["merge_score"].tolist() == [0.125, 1.0, 1.0, 0.25, 0.75]
    assert store.count("edges_hist_quant_75") == 5


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(5, 9), st.integers(0, 3), st.booleans(), st.booleans())))
def test_turned_edges_are_sorted_and_single(rows: list[tuple[int, int, int, bool, bool]]) -> None:
    low, high, score, agglomerated, turned = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    edges = {"u": np.where(turned, high, low), "v": np.where(turned, low, high)}
    found = turned_edges(edges | {"merge_score": score / 4, "agglomerated": agglomerated.astype(bool)})
    best: dict[tuple[int, int], float] = {}
    for u, v, cost, *_ in rows:
        best[u, v] = min(cost / 4, best.get((u, v), np.inf))
    assert (
        dict(zip(zip(found["u"].tolist(), found["v"].tolist(), strict=True), found["merge_score"], strict=True)) == best
    )
    assert list(zip(found["u"].tolist(), found["v"].tolist(), strict=True)) == sorted(best)


def test_metadata(store: GraphStore) -> None:
    assert store.metadata() == {"directed": False, "total_roi_offset": [0, 0, 0]}
    assert store.get_metadata("total_roi_offset") == [0, 0, 0]
    assert store.get_metadata("total_roi_shape", "unknown") == "unknown"


def test_is_read_only(store: GraphStore) -> None:
    for write in (
        lambda: store.create("more", EDGES),
        lambda: store.write_block("nodes", 0, {}),
        lambda: store.replace_all("nodes", {}),
        lambda: store.rename("nodes", "more"),
        lambda: store.drop("nodes"),
        lambda: store.set_metadata("a", 1),
    ):
        with pytest.raises(
            StoreError, match=r"read only; copy it into a store of your own: catena graph copy mongodb://"
        ):
            write()


def test_is_not_opened_to_be_written(database: Any, url: str) -> None:
    with pytest.raises(StoreError, match=r"holds a classic graph \(edges_hist_quant_75, nodes\).*add \?namespace=NAME"):
        open_store(url)
    assert "catena_catalogue" not in database.list_collection_names()
    with open_store(f"{url}?namespace=mine") as mine:
        mine.create("nodes", NODES)
    with open_store(url, "r") as classic:
        assert classic.tables() == ("edges_hist_quant_75", "nodes")


def test_is_copied_into_a_store_of_ones_own(store: GraphStore, tmp_path: Any) -> None:
    with open_store(sqlite_url(tmp_path / "rag.sqlite")) as mine:
        assert copy_graph(store, mine) == {"edges_hist_quant_75": 4, "nodes": 4}
        for table in store.tables():
            assert mine.schema(table) == store.schema(table)
            for name, values in store.read(table).items():
                np.testing.assert_array_equal(mine.read(table)[name], values)


def test_a_region(store: GraphStore) -> None:
    nodes, edges = read_region(store, (80, 0, 0), (120, 10, 10), edges="edges_hist_quant_75")
    assert nodes["id"].tolist() == [2]
    assert edges["v"].tolist() == [3, LARGE]


def test_nodes_without_a_position(store: GraphStore, database: Any) -> None:
    database["nodes"].update_one({"id": 1}, {"$unset": {"center_x": ""}})
    with pytest.raises(StoreError, match="collection 'nodes': field 'center_x' lacks a number"):
        store.read("nodes")


def test_other_collections_are_no_graph(mongodb_server: MongoDBServer, url: str) -> None:
    mongodb_server.data["rag"]["patients"].insert_one({"a": 1})
    mongodb_server.data["rag"]["nodes"].insert_one({"id": 1, "position": [1, 2, 3]})
    with pytest.raises(StoreError, match=r"no graph store at .*found the collections nodes, patients; expected"):
        open_store(url, "r")
    with open_store(url) as store:  # they are in nobody's way
        store.create("nodes", TableSchema({"id": "uint64"}, key=("id",)))
    assert mongodb_server.data["rag"]["nodes"].count_documents({}) == 1
