import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import given
from hypothesis import strategies as st

from catena.errors import DataError, GeometryError
from catena.targets import affinities

Z, Y, X = Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)

#   . 1 1
#   2 2 1
DRAWN = np.array([[[0, 1, 1], [2, 2, 1]]], dtype=np.uint64)


def test_drawn_plane() -> None:
    values, mask = affinities(DRAWN, [Y, X])
    assert values.dtype == mask.dtype == np.uint8
    assert values[0].tolist() == [[[0, 0, 0], [0, 0, 1]]]
    assert values[1].tolist() == [[[0, 0, 1], [0, 1, 0]]]
    assert mask[0].tolist() == [[[0, 0, 0], [1, 1, 1]]]
    assert mask[1].tolist() == [[[0, 1, 1], [0, 1, 1]]]


def test_background_is_not_joined_to_itself() -> None:
    values, mask = affinities(np.zeros((2, 1, 1), dtype=np.int64), [Z])
    assert values.ravel().tolist() == [0, 0]
    assert mask.ravel().tolist() == [0, 1]


def test_mask_needs_both_ends_known() -> None:
    known = np.array([[[1, 1, 0], [1, 1, 1]]])
    values, mask = affinities(DRAWN, [Y, X], known)
    assert mask[0].tolist() == [[[0, 0, 0], [1, 1, 0]]]
    assert mask[1].tolist() == [[[0, 1, 0], [0, 1, 1]]]
    assert values[1].tolist() == [[[0, 0, 1], [0, 1, 0]]]  # the mask says what counts, values are left


@given(st.tuples(*[st.integers(-5, 5)] * 3), st.integers(0, 2**31))
def test_equals_the_definition(offset: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, known = rng.integers(0, 3, (3, 4, 4)), rng.random((3, 4, 4)) < 0.8
    values, mask = affinities(labels, [Coordinate(offset)], known)
    for p in np.ndindex(labels.shape):
        q = tuple(np.add(p, offset))
        inside = all(0 <= i < n for i, n in zip(q, labels.shape, strict=True))
        assert values[0][p] == (inside and labels[p] == labels[q] != 0)
        assert mask[0][p] == (inside and known[p] and known[q])


def test_refuses_wrong_arguments() -> None:
    with pytest.raises(DataError, match="float64"):
        affinities(np.zeros((2, 2, 2)), [Z])  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"labels_mask has shape \(1, 1, 1\)"):
        affinities(DRAWN, [Z], np.ones((1, 1, 1)))
    with pytest.raises(GeometryError, match="three components"):
        affinities(DRAWN, [Coordinate(-1, 0)])
