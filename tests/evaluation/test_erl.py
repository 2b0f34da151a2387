import os
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.errors import ArrayNotFoundError, ConfigError, DataError, GeometryError
from catena.evaluation import Skeleton, expected_run_length, read_swc, segments_at

STEP = 10.0


def path(nodes: int, y: float = 0.0) -> Skeleton:
    """A straight line along x, one node every 10 nm."""
    positions = np.array([(0.0, y, STEP * node) for node in range(nodes)])
    edges = np.array([(node, node + 1) for node in range(nodes - 1)], np.int64).reshape(-1, 2)
    return Skeleton(positions, edges, f"path {nodes}")


def at(*ids: int) -> np.ndarray:
    return np.array(ids, np.uint64)


def test_perfect_segmentation_runs_the_whole_length():
    #   1-1-1-1-1   40 nm          2-2-2   20 nm
    run = expected_run_length([path(5), path(3)], [at(1, 1, 1, 1, 1), at(2, 2, 2)])

    assert run.erl_nm == pytest.approx((40**2 + 20**2) / 60)
    assert run.nerl == 1


def test_a_cut_edge_belongs_to_no_run():
    #   1-1-1 3-3   runs of 20 and 10 nm out of 40
    run = expected_run_length([path(5)], [at(1, 1, 1, 3, 3)])

    assert run.erl_nm == pytest.approx((20**2 + 10**2) / 40)
    assert run.nerl == pytest.approx((20**2 + 10**2) / 40**2)


def test_pieces_of_one_segment_are_one_run():
    #   1-1 2 1-1   the segment returns: ℓ = 10 + 10
    assert expected_run_length([path(5)], [at(1, 1, 2, 1, 1)]).erl_nm == pytest.approx(20**2 / 40)


def test_background_holds_no_run():
    assert expected_run_length([path(3)], [at(0, 0, 0)]).erl_nm == 0


def test_a_merger_holds_no_run_for_anyone():
    #   1-1-1-1-1   and   1-2-2: one node of the second in segment 1
    run = expected_run_length([path(5), path(3)], [at(1, 1, 1, 1, 1), at(1, 2, 2)])

    assert run.erl_nm == pytest.approx(10**2 / 60)
    assert run.merged_segments == 1


def test_a_few_nodes_may_be_ignored_as_mergers():
    run = expected_run_length([path(5), path(3)], [at(1, 1, 1, 1, 1), at(1, 2, 2)], ignored_nodes=1)

    assert run.erl_nm == pytest.approx((40**2 + 10**2) / 60)
    assert (run.ignored_nodes, run.merged_segments) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_formula_written_out(seed):
    rng = np.random.default_rng(seed)
    skeletons = [path(int(n), y) for y, n in enumerate(rng.integers(2, 20, 6))]
    segments = [rng.integers(0, 12, len(each.nodes_nm)).astype(np.uint64) for each in skeletons]

    total = sum(each.edge_lengths_nm.sum() for each in skeletons)
    expected = 0.0
    for segment in range(1, 12):
        owners = [k for k, ids in enumerate(segments) if segment in ids]
        if len(owners) == 1:
            ids = segments[owners[0]]
            run = sum(STEP for a, b in skeletons[owners[0]].edges if ids[a] == ids[b] == segment)
            expected += run**2 / total

    assert expected_run_length(skeletons, segments).erl_nm == pytest.approx(expected)


def test_skeletons_without_length_are_refused():
    with pytest.raises(DataError, match="no edges of any length"):
        expected_run_length([path(1)], [at(1)])


def test_segments_must_match_the_nodes():
    with pytest.raises(GeometryError, match="'path 3' has 3 nodes but 2 segments"):
        expected_run_length([path(3)], [at(1, 1)])
    with pytest.raises(GeometryError, match="1 skeletons but node segments for 0"):
        expected_run_length([path(3)], [])
    with pytest.raises(ConfigError, match="found -1"):
        expected_run_length([path(3)], [at(1, 1, 1)], ignored_nodes=-1)


def test_nodes_are_looked_up_by_the_voxel_they_lie_in():
    segmentation = np.arange(1, 9, dtype=np.uint64).reshape(2, 2, 2)
    nodes = np.array([[100.0, 0, 0], [139.9, 3.9, 3.9], [140.0, 4.0, 7.9], [99.9, 0, 0], [180.0, 0, 0]])

    found = segments_at(segmentation, nodes, voxel_size=Coordinate(40, 4, 4), offset=Coordinate(100, 0, 0))

    assert found.tolist() == [1, 1, 8, 0, 0]


def test_fractional_voxel_sizes_are_in_their_own_unit():
    segmentation = np.arange(1, 4, dtype=np.uint64).reshape(1, 1, 3)  # voxels of 4.6 nm
    nodes = np.array([[0, 0, 4.5], [0, 0, 4.7], [0, 0, 9.3]])

    found = segments_at(
        segmentation, nodes, voxel_size=Coordinate(46, 46, 46), offset=Coordinate(0, 0, 0), units_per_nm=10
    )

    assert found.tolist() == [1, 2, 3]


def test_cropping_keeps_edges_with_both_ends_inside():
    cropped = path(5).within(Roi((0, 0, 10), (1, 1, 20)))  # half open

    assert cropped.nodes_nm[:, 2].tolist() == [10, 20]
    assert cropped.edges.tolist() == [[0, 1]]


SWC = """# a fork
1 1 0.0 0.0 0.0 1 -1
2 0 3.0 0.0 0.0 1 1
7 0 3.0 4.0 0.0 1 2   # comment
9 0 3.0 0.0 2.0 1 2
"""


def test_swc_is_read_as_zyx_nanometres(tmp_path):
    file = tmp_path / "fork.swc"
    file.write_text(SWC)

    skeleton = read_swc(file, Coordinate(40, 4, 8))

    assert skeleton.nodes_nm.tolist() == [[0, 0, 0], [0, 0, 24], [0, 16, 24], [80, 0, 24]]
    assert skeleton.edges.tolist() == [[1, 0], [2, 1], [3, 1]]
    assert skeleton.edge_lengths_nm.tolist() == [24, 16, 80]
    assert skeleton.name == "fork"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 0 0 0 1", "line 1: expected 7 numbers"),
        ("1 1 0 0 zero 1 -1", "line 1: expected numbers"),
        ("1 1 0 0 0 1 -1\n1 1 0 0 0 1 -1", "stands twice"),
        ("1 1 0 0 0 1 5", "parent 5 is not a node"),
    ],
)
def test_broken_swc_is_refused(tmp_path, text, message):
    file = tmp_path / "broken.swc"
    file.write_text(text)

    with pytest.raises(DataError, match=message):
        read_swc(file)


def test_missing_swc_is_named(tmp_path):
    with pytest.raises(ArrayNotFoundError, match="no skeleton file at"):
        read_swc(tmp_path / "none.swc")


def test_edges_must_name_nodes():
    with pytest.raises(DataError, match="names a node outside 0 … 1"):
        Skeleton(np.zeros((2, 3)), np.array([[0, 2]]))


def test_proofread_neurons_run_their_whole_length():
    folder = os.environ.get("CATENA_DATA")
    if not folder:
        pytest.skip("CATENA_DATA is not set: needs skeletons/*.swc")
    skeletons = [read_swc(each, 8.0) for each in sorted((Path(folder) / "skeletons").glob("*.swc"))]
    segments = [np.full(len(each.nodes_nm), k, np.uint64) for k, each in enumerate(skeletons, start=1)]

    run = expected_run_length(skeletons, segments)

    assert len(skeletons) == 5
    assert run.nerl == pytest.approx(1)
    assert run.erl_nm > 100_000
