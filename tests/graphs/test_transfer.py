"""Whole graphs: described, copied between stores of any kind, dropped; in Python and on the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from catena.cli import app
from catena.errors import CatenaError, ConfigError, StoreError
from catena.graphs import GraphStore, Presentation, SQLiteStore, TableSchema
from catena.graphs.ownership import claim
from catena.graphs.staged_tables import is_published, publish_table
from catena.graphs.transfer import copy_graph, drop_graph

EDGES = TableSchema({"u": "uint64", "v": "uint64", "merge_score": "float32", "forced": "bool"}, key=("u", "v"))
SUMS = TableSchema({"u": "uint64", "contact": "int64", "histogram": "(4,)uint32"}, key=("u",), kind="arrays")


def edges(block: int, rows: int) -> dict[str, np.ndarray]:
    u = np.arange(rows, dtype=np.uint64) + np.uint64(block * 1000)
    return {"u": u, "v": u + np.uint64(1), "merge_score": (u / 1e4).astype(np.float32), "forced": u % 2 == 0}


def sums(block: int, rows: int) -> dict[str, np.ndarray]:
    u = np.arange(rows, dtype=np.uint64)[::-1] + np.uint64(block * 1000)
    histogram = np.outer(np.arange(rows), [1, 2, 3, 4]).astype(np.uint32)
    return {"u": u, "contact": u.astype(np.int64) * 3, "histogram": histogram}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Two tables of five blocks, of which block 3 has no rows; one of them published, and one more in the making."""
    with SQLiteStore(tmp_path / "source.sqlite") as store:
        for name, schema, rows in (("staged_1_edges", EDGES, edges), ("sums", SUMS, sums)):
            store.create(name, schema)
            for block in range(5):
                store.write_block(name, block, rows(block, 0 if block == 3 else 700))
        publish_table(store, "staged_1_edges", "edges", "f1")
        store.create("staged_2_edges", EDGES)
        store.set_metadata("voxel_size", [8, 8, 8])
        store.set_metadata("attempt_agglomerate", "token")
        yield store


def same_graph(found: GraphStore, expected: GraphStore) -> None:
    assert found.tables() == ("edges", "sums")
    for table in found.tables():
        assert found.schema(table) == expected.schema(table)
        assert found.blocks_written(table).tolist() == [0, 1, 2, 3, 4]
        assert found.count(table) == 2800
        names = [*expected.schema(table).columns, "block"]
        mine, theirs = found.read(table, names), expected.read(table, names)
        for name in names:
            assert mine[name].dtype == theirs[name].dtype
            np.testing.assert_array_equal(mine[name], theirs[name])


def test_a_graph_survives_a_round_trip_through_any_store(
    source: SQLiteStore, store: GraphStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catena.graphs.transfer.PIECE_BYTES", 1)  # pieces of a thousand rows
    advanced: list[int] = []
    assert copy_graph(source, store, advance=advanced.append) == {"edges": 2800, "sums": 2800}
    assert sum(advanced) == 5600
    assert len(advanced) > 4
    same_graph(store, source)
    with SQLiteStore(tmp_path / "back.sqlite") as back:
        copy_graph(store, back)
        same_graph(back, source)
        assert back.metadata() == {"published_edges": "f1", "voxel_size": [8, 8, 8]}


def test_a_block_can_be_written_again_in_the_copy(source: SQLiteStore, store: GraphStore) -> None:
    copy_graph(source, store)
    for table, rows in (("edges", edges), ("sums", sums)):
        store.write_block(table, 2, rows(2, 10))
        assert store.count(table) == 2110
        assert len(store.read(table)["u"]) == 2110


def test_a_table_that_is_there_is_replaced_only_when_told_to(source: SQLiteStore, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "target.sqlite") as target:
        target.create("edges", SUMS)
        target.set_metadata("published_edges", "old")
        with pytest.raises(StoreError, match=r"has a table 'edges' already; say --replace"):
            copy_graph(source, target)
        assert target.tables() == ("edges",)
        assert copy_graph(source, target, ["sums"]) == {"sums": 2800}
        copy_graph(source, target, replace=True)
        same_graph(target, source)
        assert is_published(target, "edges", "f1")


def test_what_other_programs_see_is_copied_too(store: GraphStore, tmp_path: Path) -> None:
    nodes = TableSchema({"id": "uint64", "position_0": "float64"}, key=("id",))
    shown = Presentation("edges_mean", (0,), (80,), node_attributes=(), edge_attributes=("merge_score",))
    with SQLiteStore(tmp_path / "first.sqlite") as first, SQLiteStore(tmp_path / "last.sqlite") as last:
        first.create("nodes", nodes)
        first.create("edges_mean", EDGES)
        first.present(shown)
        copy_graph(first, store)  # a store that shows nothing to others keeps the note
        copy_graph(store, last)
        assert last.presented() == shown
        assert (tmp_path / "last-meta.json").read_bytes() == (tmp_path / "first-meta.json").read_bytes()


def test_unknown_tables_are_named_before_anything_is_copied(source: SQLiteStore, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "target.sqlite") as target:
        with pytest.raises(StoreError, match=r"no table 'edge' \(did you mean 'edges'"):
            copy_graph(source, target, ["sums", "edge"])
        assert target.tables() == ()


def test_a_table_arrives_whole_or_not_at_all(
    source: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQLiteStore(tmp_path / "target.sqlite") as target:
        target.create("sums", SUMS)
        target.write_block("sums", 0, sums(0, 7))
        with monkeypatch.context() as patch:
            patch.setattr(SQLiteStore, "write_block", lambda *given: (_ for _ in ()).throw(KeyError("killed")))
            with pytest.raises(KeyError, match="killed"):
                copy_graph(source, target, ["sums"], replace=True)
        assert target.tables() == ("sums",)
        assert target.count("sums") == 7
        target.create("copying_sums", EDGES)  # as a kill leaves it
        copy_graph(source, target, ["sums"], replace=True)
        assert target.tables() == ("sums",)
        assert target.count("sums") == 2800


def test_rows_that_do_not_arrive_are_noticed(
    source: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterate = SQLiteStore.iterate
    monkeypatch.setattr(
        SQLiteStore,
        "iterate",
        lambda *given, **options: ({k: v[1:] for k, v in each.items()} for each in iterate(*given, **options)),
    )
    with SQLiteStore(tmp_path / "target.sqlite") as target:
        with pytest.raises(StoreError, match=r"has 2800 rows in 5 blocks, but 2799 rows in 5 blocks have arrived"):
            copy_graph(source, target)
        assert target.tables() == ()


def test_dropping_leaves_nothing(source: SQLiteStore) -> None:
    drop_graph(source)
    assert (source.tables(), source.metadata()) == ((), {})


def test_a_graph_belongs_to_one_folder_of_results(store: GraphStore, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "here/e/volumes/v", tmp_path / "there/e/volumes/v"
    for _ in range(2):
        claim(store, ours)
    before = store.metadata()
    assert before["owner"]["folder"] == str(ours)
    with pytest.raises(ConfigError, match=rf"those in {ours}: give .* another name, .*namespace=NAME.* graph drop"):
        claim(store, theirs)
    assert store.metadata() == before
    drop_graph(store)
    claim(store, theirs)
    assert store.get_metadata("owner")["folder"] == str(theirs)


def test_results_may_move_but_a_copy_of_them_is_not_theirs(store: GraphStore, tmp_path: Path) -> None:
    first, moved, copied = (tmp_path / name for name in ("first", "moved", "copied"))
    claim(store, first)
    first.rename(moved)
    claim(store, moved)
    moved.rename(first)
    copied.mkdir()
    (copied / "graph_owner").write_bytes((first / "graph_owner").read_bytes())
    with pytest.raises(ConfigError, match=rf"{copied} is a copy of {first}.*delete {copied}/graph_owner"):
        claim(store, copied)
    link = tmp_path / "link"
    link.symlink_to(first)
    claim(store, link)


# -- the command line ---------------------------------------------------------------------------


def graph(*arguments: str | Path) -> None:
    app(["graph", *map(str, arguments)], standalone_mode=False)


def test_info_shows_tables_and_metadata(source: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    graph("info", source.path)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "edges rows 2800 5 u* uint64, v*" in shown
    assert "sums arrays 2800 5 u* uint64" in shown
    assert "voxel_size: [8, 8, 8]" in shown


def test_info_on_a_configuration_shows_its_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volumes: dict[str, Any] = {name: {"raw": "a.zarr/raw"} for name in ("one", "two")}
    values = {"task": "local_shape_descriptors", "experiment": "e", "output": str(tmp_path), "volumes": volumes}
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(values))
    for name in volumes:
        with SQLiteStore(tmp_path / "e/volumes" / name / "rag.sqlite") as store:
            store.create(f"edges_{name}", EDGES)
    graph("info", path)
    both = capsys.readouterr().out
    assert "edges_one" in both
    assert "edges_two" in both
    graph("info", path, "--volume", "two")
    assert "edges_one" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no volume 'three'"):
        graph("info", path, "--volume", "three")
    with pytest.raises(StoreError, match="no graph store at"):
        graph("info", path, "experiment=another")
    with pytest.raises(ConfigError, match="go with an experiment's YAML file"):
        graph("info", "rag.sqlite", "--volume", "one")


def test_copy_and_drop(source: SQLiteStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"sqlite:///{tmp_path}/target.sqlite"
    graph("copy", source.path, target, "--table", "sums")
    assert "sums (2800 rows)" in capsys.readouterr().out
    with pytest.raises(StoreError, match="say --replace"):
        graph("copy", source.path, target)
    graph("copy", source.path, target, "--replace")
    with pytest.raises(ConfigError, match=r"this would drop all of .*target.sqlite; say --yes"):
        graph("drop", target)
    with SQLiteStore(tmp_path / "target.sqlite") as store:
        same_graph(store, source)
        graph("drop", target, "--yes")
        assert store.tables() == ()


def test_nothing_is_made_where_there_was_nothing(tmp_path: Path) -> None:
    for arguments in (("info",), ("drop", "--yes")):
        with pytest.raises(CatenaError, match="no graph store at"):
            graph(*arguments, tmp_path / "nowhere.sqlite")
    with pytest.raises(CatenaError, match="no graph store at"):
        graph("copy", tmp_path / "nowhere.sqlite", tmp_path / "target.sqlite")
    assert not list(tmp_path.iterdir())


def test_errors_are_a_line_and_every_command_has_examples(tmp_path: Path) -> None:
    def catena(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "catena", "graph", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = catena("info", str(tmp_path / "rag.sqlite"))
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: no graph store at")
    for command in ("info", "copy", "drop"):
        shown = " ".join(catena(command, "--help").stdout.split())
        assert f"catena graph {command} " in shown
        assert "Examples" in shown
