import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate

from catena.errors import ConfigError, GeometryError
from catena.evaluation import Contingency, apply_zero_policy, fill_zeros, score

ISOTROPIC = Coordinate(8, 8, 8)


def labels(*rows: str) -> np.ndarray:
    """Labels (1, y, x) from a drawing; a dot is 0."""
    return np.array([[[0 if char == "." else int(char) for char in row] for row in rows]], np.uint64)


def test_zeros_take_the_nearest_label():
    drawn = labels("1...22", "1....2")

    assert fill_zeros(drawn, ISOTROPIC)[0, 0].tolist()[:2] == [1, 1]
    assert fill_zeros(drawn, ISOTROPIC)[0, 0].tolist()[3:] == [2, 2, 2]


def test_nearest_is_measured_in_physical_distance():
    column = np.zeros((3, 1, 4), np.uint64)
    column[0, 0, 0], column[2, 0, 3] = 1, 2  # from (2, 0, 1): two sections to 1, two voxels to 2

    assert fill_zeros(column, Coordinate(40, 4, 4))[2, 0, 1] == 2
    assert fill_zeros(column, Coordinate(4, 40, 40))[2, 0, 1] == 1


def test_filling_matches_a_brute_force_search():
    rng = np.random.default_rng(3)
    drawn = np.where(rng.random((5, 6, 7)) < 0.1, rng.integers(1, 5, (5, 6, 7)), 0).astype(np.uint64)
    voxel_size = Coordinate(30, 6, 7)
    filled = fill_zeros(drawn, voxel_size)

    labelled = np.argwhere(drawn)
    for position in np.ndindex(*drawn.shape):
        distances = np.linalg.norm((labelled - position) * np.array(voxel_size), axis=1)
        nearest = labelled[np.isclose(distances, distances.min())]
        assert filled[position] in drawn[tuple(nearest.T)]


def test_blocks_with_enough_context_fill_like_the_whole():
    rng = np.random.default_rng(5)
    drawn = np.where(rng.random((8, 8, 24)) < 0.2, rng.integers(1, 50, (8, 8, 24)), 0).astype(np.uint64)
    whole, block = fill_zeros(drawn, ISOTROPIC), fill_zeros(drawn[..., 2:22], ISOTROPIC)

    differing = whole[..., 8:16] != block[..., 6:14]
    assert not differing.any()


def test_filling_fragments_then_looking_up_is_filling_the_segmentation():
    fragments = labels("1..2..34", "1...2..4", "1...2.34")
    table = np.array([0, 5, 5, 7, 7], np.uint64)

    filled = table[fill_zeros(fragments, ISOTROPIC)]

    assert np.array_equal(filled, fill_zeros(table[fragments], ISOTROPIC))


def test_nothing_to_fill_with_leaves_the_volume():
    empty = np.zeros((2, 2, 2), np.uint64)

    assert np.array_equal(fill_zeros(empty, ISOTROPIC), empty)


def test_policies_count_different_voxels():
    truth = labels("111222")
    segmentation = labels("1....2")
    reference = labels("11...2")

    def counted(policy):
        pair = apply_zero_policy(segmentation, truth, policy, voxel_size=ISOTROPIC, reference=reference)
        return [list(map(int, row)) for row in zip(*Contingency.of(*pair).pairs(), strict=True)]

    assert counted("one_object") == [[0, 1, 2], [0, 2, 2], [1, 1, 1], [2, 2, 1]]
    assert counted("filled") == [[1, 1, 3], [2, 2, 3]]
    assert counted("common") == [[0, 1, 1], [1, 1, 1], [2, 2, 1]]


def test_unknown_policy_names_the_known_ones():
    with pytest.raises(ConfigError, match="'ignore'; expected one of one_object, filled, common"):
        apply_zero_policy(labels("1"), labels("1"), "ignore", voxel_size=ISOTROPIC)  # type: ignore[arg-type]


def test_common_needs_a_reference_of_the_same_shape():
    with pytest.raises(ConfigError, match="needs a reference"):
        apply_zero_policy(labels("1"), labels("1"), "common", voxel_size=ISOTROPIC)
    with pytest.raises(GeometryError, match=r"shape \(1, 1, 2\) but the truth \(1, 1, 1\)"):
        apply_zero_policy(labels("1"), labels("1"), "common", voxel_size=ISOTROPIC, reference=labels("11"))


@pytest.mark.parametrize(
    ("name", "policy", "expected"),
    [
        ("ffn", "one_object", (1.078, 1.083, 0.221)),
        ("ffn", "filled", (1.271, 0.881, 0.155)),
        ("ffn", "common", (0.758, 0.332, 0.060)),
        ("neuroproof_supervoxels", "one_object", (2.055, 0.366, 0.292)),
    ],
)
def test_published_segmentations_of_fib25_score_as_published(name, policy, expected):
    folder = os.environ.get("CATENA_DATA")
    if not folder:
        pytest.skip("CATENA_DATA is not set: needs fib25/labelled.zarr")
    volumes = zarr.open(str(Path(folder) / "fib25/labelled.zarr"), "r")["volumes"]
    truth, segmentation, ffn = (
        volumes[key][190:250] for key in ("labels/neuron_ids", f"published/{name}", "published/ffn")
    )

    pair = apply_zero_policy(segmentation, truth, policy, voxel_size=ISOTROPIC, reference=ffn)
    scores = score(Contingency.of(*pair))

    found = (scores.voi_split, scores.voi_merge, scores.adapted_rand_error)
    assert found == pytest.approx(expected, abs=0.00051)
