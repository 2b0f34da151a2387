"""What the blockwise benchmark is built from: tiling, graphs, comparisons, parts."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate

from benchmarks import __main__ as command
from benchmarks.blockwise import PARTS, experiment
from benchmarks.blockwise.accuracy import best_of, difference
from benchmarks.blockwise.experiment import segment_blockwise, timed, write_affinities
from benchmarks.blockwise.graph_work import main as graph_work
from benchmarks.blockwise.growth import voxels_read
from benchmarks.blockwise.source import derived, mirror_tiled
from benchmarks.blockwise.synthetic_graph import write_graph
from benchmarks.blockwise.watershed import agreement
from benchmarks.result import Figure, write_results
from catena.arrays import open_array, reflect
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import FragmentsConfig, fragment_context, segment
from catena.targets.affinities import affinities
from data_prep.synthetic import synthesise

VOXEL = Coordinate(8, 8, 8)


def test_mirrored_affinities_are_those_of_mirrored_labels() -> None:
    labels = np.random.default_rng(0).integers(1, 3, (3, 4, 5))
    shape = Coordinate(11, 10, 9)
    mirrored = labels[np.ix_(*(reflect(np.arange(n), m) for n, m in zip(shape, labels.shape, strict=True)))]
    expected, _ = affinities(mirrored, AFFINITY_OFFSETS)
    values, _ = affinities(labels, AFFINITY_OFFSETS)
    np.testing.assert_array_equal(mirror_tiled(values, shape), expected)
    np.testing.assert_array_equal(mirror_tiled(values, shape, (4, 9)), expected[:, 4:9])


def test_tiling_to_its_own_shape_changes_nothing() -> None:
    values = np.random.default_rng(1).integers(0, 256, (3, 4, 3, 5)).astype(np.uint8)
    np.testing.assert_array_equal(mirror_tiled(values, Coordinate(4, 3, 5)), values)


def test_derived_affinities_are_low_between_neurons_and_high_within() -> None:
    volume = synthesise(Coordinate(32, 48, 48), VOXEL, seed=2)
    values = derived(volume.raw, volume.labels, VOXEL)
    assert values.shape == (3, 32, 48, 48)
    true, known = affinities(volume.labels, AFFINITY_OFFSETS)
    assert values[(true == 1) & (known == 1)].mean() > 1.5 * values[(true == 0) & (known == 1)].mean()


def test_a_graph_has_each_edge_once_and_histograms_that_fit(tmp_path: Path) -> None:
    nodes = write_graph(tmp_path, 3000)
    columns = {path.stem: np.load(path) for path in tmp_path.glob("*.npy")}
    u, v = columns["u"], columns["v"]
    assert (u < v).all()
    assert len(u) == 3000 == len(np.unique(np.stack([u, v], axis=1), axis=0))
    assert len(columns["ids"]) == nodes
    assert (columns["histogram"].sum(axis=1) == columns["contact"]).all()
    assert (columns["affinity_sum"] <= 255 * columns["contact"]).all()


@pytest.mark.parametrize("what", ["lookup_tables", "mean", "hist_quant_75"])
def test_work_on_a_graph_says_what_it_took(tmp_path: Path, what: str) -> None:
    write_graph(tmp_path, 2000)
    graph_work(tmp_path, what)
    taken = json.loads((tmp_path / f"{what}.json").read_text())
    assert taken["seconds"] > 0
    assert taken["peak_mb"] > 50  # a Python with NumPy


def test_voxels_read_counts_context_up_to_the_volume_s_faces() -> None:
    shape, block = Coordinate(70, 40, 40), Coordinate(40, 40, 40)
    assert fragment_context(FragmentsConfig(), VOXEL) == (30, 30, 30)  # along z the blocks read 0 to 70 and 10 to 70
    assert voxels_read(shape, block, VOXEL) == (70 + 60) * 40 * 40


def test_partitions_differ_unless_equal_up_to_names() -> None:
    a = np.array([[[0, 1, 1, 2, 2]]], np.uint64)
    assert difference(a, np.array([[[0, 9, 9, 5, 5]]], np.uint64)) == 0
    assert difference(a, np.array([[[9, 9, 9, 5, 5]]], np.uint64)) > 0  # background counts


def test_two_watersheds_agree_where_they_give_the_same_seed() -> None:
    inside = np.array([[[1, 1, 1, 1, 0]]], np.uint8)
    assert agreement(np.array([[[1, 1, 2, 2, 0]]]), np.array([[[1, 1, 1, 2, 7]]]), inside) == 0.75


@pytest.mark.slow
def test_a_run_in_blocks_is_timed_and_equals_the_whole_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "WORKERS", 1)
    volume = synthesise(Coordinate(24, 40, 40), VOXEL, seed=3)
    values = derived(volume.raw, volume.labels, VOXEL)
    shape = Coordinate(values.shape[1:])
    path = write_affinities(tmp_path / "a.zarr", values, VOXEL, shape, Coordinate(16, 16, 16))
    np.testing.assert_array_equal(open_array(path).read(), values)
    ran = segment_blockwise(tmp_path, "e", path, Coordinate(16, 32, 24))
    whole = segment(values, AFFINITY_OFFSETS, VOXEL)
    assert difference(ran.segmentation(0.5), whole.at(0.5)) == 0
    assert best_of(ran, volume.labels) == best_of(whole, volume.labels)
    assert 0 < sum(ran.stages.values()) < ran.seconds
    assert ran.peak_mb > 50


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: no such stage"):
        timed([sys.executable, "-c", "import sys; sys.stderr.write('no such stage'); sys.exit(3)"])


def test_results_of_one_part_join_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_results(path, {"a": Figure(1, "s", "lower"), "b": Figure(2, "s", "lower")}, "make bench")
    write_results(path, {"b": Figure(3, "s", "lower")}, "make bench", keep=True)
    assert {name: each["value"] for name, each in json.loads(path.read_text()).items()} == {"a": 1, "b": 3}
    write_results(path, {"b": Figure(4, "s", "lower")}, "make bench")
    assert list(json.loads(path.read_text())) == ["b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "layout"], "--part needs the name of one benchmark"),
        (["blockwise", "--part", "nothing"], f"the parts of blockwise are: {', '.join(PARTS)}"),
        (["graph_stores", "--part", "layout"], "the parts of graph_stores are: none"),
    ],
)
def test_parts_are_named_of_one_benchmark(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert message in " ".join(capsys.readouterr().err.split())
