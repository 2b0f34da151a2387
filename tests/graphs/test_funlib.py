"""Graphs that we wrote, read by funlib.persistence, and by volara, which reads them through it."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from funlib.geometry import Roi
from funlib.persistence.graphs import PgSQLGraphDatabase, SQLiteGraphDataBase
from funlib.persistence.graphs.sql_graph_database import SQLGraphDataBase
from funlib.persistence.types import Vec
from postgresql_server import DATABASE, PASSWORD, USER, PostgreSQLServer

from catena.errors import StoreError
from catena.graphs import Presentation, SQLStore, TableSchema, open_store, sqlite_url
from local_shape_descriptors.agglomeration import EDGES
from local_shape_descriptors.fragments import NODES

Reader = Callable[..., AbstractContextManager[SQLGraphDataBase]]

WHOLE = Presentation("edges_mean", begin_nm=(0, 0, 0), end_nm=(80, 160.5, 240))


def filled(schema: TableSchema, rows: int, **columns: list[Any]) -> dict[str, np.ndarray]:
    """Return rows with what matters here, and zeros."""
    return {
        name: np.array(columns[name], dtype) if name in columns else np.zeros(rows, dtype)
        for name, dtype in schema.columns.items()
    }


NODE_ROWS = filled(
    NODES, 3, id=[1, 2, 9], position_0=[4, 4, 20], position_1=[4, 12, 12], position_2=[4, 4, 236.5], size=[5, 6, 7]
)
EDGE_ROWS = filled(
    EDGES, 2, u=[1, 2], v=[2, 9], distance=[8.0, 233.0], merge_score=[0.25, 0.5], forced=[False, True], contact=[3, 4]
)


def write(store: SQLStore, table: str = "edges_mean") -> None:
    store.create("nodes", NODES)
    store.create(table, EDGES)
    store.replace_all("nodes", NODE_ROWS | {"block": np.zeros(3, int)})
    store.replace_all(table, EDGE_ROWS | {"block": np.zeros(2, int)})


@pytest.fixture(params=["sqlite", "postgresql"])
def graph(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[SQLStore, Reader]]:
    """Return a store, and what opens it as volara 1.0.2 does (volara/dbs.py), given its node_attrs and edge_attrs."""
    url, reader = request.getfixturevalue(f"{request.param}_graph")
    with open_store(url) as store:
        assert isinstance(store, SQLStore)
        yield store, reader


@pytest.fixture
def sqlite_graph(tmp_path: Path) -> tuple[str, Reader]:
    @contextmanager
    def read(**attributes: Any) -> Iterator[SQLGraphDataBase]:
        database = SQLiteGraphDataBase(tmp_path / "rag.sqlite", position_attribute="position", mode="r", **attributes)
        with closing(database.con):
            yield database

    return sqlite_url(tmp_path / "rag.sqlite"), read


@pytest.fixture
def postgresql_graph(
    postgresql_url: str, postgresql_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Reader]:
    # funlib.persistence knows no schemas: libpq tells the server where to look
    monkeypatch.setenv("PGOPTIONS", f"-c search_path={postgresql_url.rpartition('=')[2]}")
    server = {"db_host": "127.0.0.1", "db_name": DATABASE, "db_user": USER, "db_password": PASSWORD}
    server |= {"db_port": postgresql_server.port}

    @contextmanager
    def read(**attributes: Any) -> Iterator[SQLGraphDataBase]:
        database = PgSQLGraphDatabase(**server, position_attribute="position", mode="r", **attributes)
        with closing(database.connection):
            yield database

    return postgresql_url, read


VOLARA_NODES = {"position": Vec(float, 3), "size": int, "filtered": bool}
VOLARA_EDGES = {"distance": float, "merge_score": float}


def nodes_of(graph: networkx.Graph) -> dict[int, tuple[Any, ...]]:
    return {
        node: (*values["position"], values["size"], bool(values["filtered"])) for node, values in graph.nodes.items()
    }


def edges_of(graph: networkx.Graph) -> dict[tuple[int, int], tuple[float, float]]:
    return {edge: (values["distance"], values["merge_score"]) for edge, values in graph.edges.items()}


def edges_read(reader: Reader) -> dict[tuple[int, int], tuple[float, float]]:
    with reader() as database:
        return edges_of(database.read_graph())


@pytest.mark.parametrize("attributes", [{}, {"node_attrs": VOLARA_NODES, "edge_attrs": VOLARA_EDGES}])
def test_reads_the_graph_and_regions_of_it(graph: tuple[SQLStore, Reader], attributes: dict[str, Any]) -> None:
    store, reader = graph
    write(store)
    store.present(WHOLE)
    far = Roi((0, 0, 200), (80, 160, 40))
    with reader(**attributes) as database:
        assert database.total_roi == Roi((0, 0, 0), (80, 161, 240))
        whole, corner = database.read_graph(), database.read_graph(Roi((0, 0, 0), (10, 10, 10)))
        assert [node["id"] for node in database.read_nodes(far)] == [9]
        assert edges_of(database.read_graph(far)) == {}
        assert database.read_edges(attr_filter={"merge_score": 0.5})[0]["v"] == 9
    assert nodes_of(whole) == {
        1: (4.0, 4.0, 4.0, 5, False),
        2: (4.0, 12.0, 4.0, 6, False),
        9: (20.0, 12.0, 236.5, 7, False),
    }
    assert edges_of(whole) == {(1, 2): (8.0, 0.25), (2, 9): (233.0, 0.5)}
    assert [node for node in corner if corner.nodes[node]] == [1]
    assert edges_of(corner) == {(1, 2): (8.0, 0.25)}


def test_it_follows_the_table_that_was_presented_last(graph: tuple[SQLStore, Reader]) -> None:
    store, reader = graph
    write(store, "edges_old")
    store.present(Presentation("edges_old", WHOLE.begin_nm, WHOLE.end_nm))
    write(store, "staged_1_edges_mean")
    store.write_block("staged_1_edges_mean", 0, filled(EDGES, 1, u=[1], v=[9], distance=[2.0], merge_score=[0.75]))
    assert len(edges_read(reader)) == 2
    store.present(Presentation("staged_1_edges_mean", WHOLE.begin_nm, WHOLE.end_nm))
    for name in ("edges_mean", "edges_again"):
        store.rename("staged_1_edges_mean" if name == "edges_mean" else "edges_mean", name)
        assert edges_read(reader) == {(1, 9): (2.0, 0.75)}
        presented = store.presented()
        assert presented is not None
        assert presented.edges == name
    store.rename("edges_again", "edges_old", replace=True)
    assert edges_read(reader) == {(1, 9): (2.0, 0.75)}


def test_a_graph_that_was_dropped_is_presented_no_more(graph: tuple[SQLStore, Reader]) -> None:
    store, reader = graph
    write(store)
    store.present(WHOLE)
    store.drop("edges_mean")
    assert store.presented() is None
    with pytest.raises(RuntimeError, match="metadata does not exist"):
        edges_read(reader)
    write(store)
    store.present(WHOLE)
    assert len(edges_read(reader)) == 2


def test_a_table_called_edges_needs_no_view(graph: tuple[SQLStore, Reader]) -> None:
    store, reader = graph
    write(store)
    store.present(WHOLE)
    store.create("edges", EDGES)  # takes the place of the view
    assert store.presented() is None
    with pytest.raises(StoreError, match="table 'edges' is in the way of a view"):
        store.present(WHOLE)
    store.write_block("edges", 0, filled(EDGES, 1, u=[1], v=[9], distance=[2.0], merge_score=[0.75]))
    store.present(Presentation("edges", WHOLE.begin_nm, WHOLE.end_nm))
    assert edges_read(reader) == {(1, 9): (2.0, 0.75)}
    store.drop("edges")
    store.present(WHOLE)
    store.rename("edges_mean", "edges")
    assert (store.tables(), store.presented()) == (("edges", "nodes"), None)


def test_what_cannot_be_presented(graph: tuple[SQLStore, Reader]) -> None:
    store, _ = graph
    with pytest.raises(StoreError, match="no table 'nodes'"):
        store.present(WHOLE)
    write(store)
    with pytest.raises(StoreError, match=r"no column 'score' \(did you mean 'merge_score'"):
        store.present(Presentation("edges_mean", (0, 0), (8, 8), edge_attributes=("score",)))
    with pytest.raises(StoreError, match="not nodes by id and edges by u and v"):
        store.present(Presentation("nodes", (0, 0), (8, 8)))
    assert store.presented() is None


def test_a_presentation_goes_through_json() -> None:
    assert Presentation.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE
