"""That the benchmark of graph stores compares the same graph, and notices when it does not come back."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import graph_stores
from benchmarks.graph_stores import measure, random_graph, with_funlib, with_store
from catena.graphs import SQLiteStore


def test_the_graph_is_one_that_every_store_takes() -> None:
    graph = random_graph(20_000)
    u, v, block = (graph.edges[name] for name in ("u", "v", "block"))
    assert len(u) == 20_000 - 10  # the last nodes have fewer neighbours behind them
    assert np.all(u < v)
    assert np.all(np.diff(np.searchsorted(graph.nodes["id"], u)) >= 0)
    assert len(np.unique(np.stack([u, v]), axis=1).T) == len(u)
    assert np.isin(np.concatenate([u, v]), graph.nodes["id"]).all()
    assert np.unique(block).tolist() == [0, 1, 2, 3]
    parts = [graph.of("edges", each) for each in range(4)]
    np.testing.assert_array_equal(np.concatenate([part["v"] for part in parts]), v)


def test_both_sides_take_time_and_losses_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(10_000)
    assert min(with_funlib(graph).write, with_funlib(graph).read) > 0
    store = partial(SQLiteStore, tmp_path / "rag.sqlite")
    assert with_store(graph, store).write > 0
    read = SQLiteStore.read
    monkeypatch.setattr(SQLiteStore, "read", lambda *given: {name: each[1:] for name, each in read(*given).items()})
    with pytest.raises(RuntimeError, match="not what was written"):
        with_store(graph, store)


def test_there_are_figures_for_every_store_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_stores, "SMOKE_EDGES", 10_000)
    figures = measure(smoke=True)
    for name in ("sqlite_speedup_vs_funlib", "sqlite_write_medges_per_s", "sqlite_read_medges_per_s"):
        assert figures[name].value > 0
        assert figures[name].better == "higher"
