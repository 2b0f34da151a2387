import edt
import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.errors import DataError
from catena.targets import contour, distance, foreground

LABELS = np.array([[[1, 1, 1, 2, 2, 0, 0]]])


def test_foreground_and_contour() -> None:
    assert foreground(LABELS).tolist() == [[[[1, 1, 1, 1, 1, 0, 0]]]]
    assert contour(LABELS).tolist() == [[[[0, 0, 1, 1, 1, 0, 0]]]]


def test_a_contour_in_plane_does_not_see_other_sections() -> None:
    labels = np.repeat(np.array([1, 2]), 9).reshape(2, 3, 3)
    assert contour(labels).all()
    assert not contour(labels, only_xy=True).any()


def test_distance_is_signed_and_in_world_units() -> None:
    found = distance(LABELS, Coordinate(8, 8, 8), scale=16)[0, 0, 0]
    signed = np.array([24, 16, 8, 8, 8, -8, -16]) / 16
    np.testing.assert_allclose(found, (1 + np.tanh(signed)) / 2, rtol=1e-6)


@pytest.mark.parametrize("only_xy", [False, True])
def test_distance_against_brute_force(only_xy: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 3, (2, 3, 3)), np.ones((2, 2, 2), int))
    size, scale = np.array([30, 10, 10]), 15
    at = np.argwhere(np.ones(labels.shape, bool))
    expected = np.empty(labels.shape)
    for place in at:
        here = labels[tuple(place)]
        others = labels != here if here else labels != 0
        if only_xy:
            others &= np.indices(labels.shape)[0] == place[0]
        steps = (np.argwhere(others) - place) * size
        nearest = np.sqrt((steps**2).sum(axis=1)).min(initial=3 * scale)
        expected[tuple(place)] = nearest if here else -nearest
    found = distance(labels, Coordinate(size), scale, only_xy)[0]
    np.testing.assert_allclose(found, (1 + np.tanh(expected / scale)) / 2, atol=1e-6)


def test_distance_depends_on_nothing_beyond_three_times_the_scale() -> None:
    labels = np.ones((1, 1, 40), int)
    near, far = labels.copy(), labels.copy()
    near[..., 38] = 2
    far[..., 39] = 2
    assert edt.edt(near)[0, 0, 0] != edt.edt(far)[0, 0, 0]
    same = [distance(each, Coordinate(1, 1, 1), scale=12)[..., :2] for each in (near, far)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize(("labels", "scale"), [(np.ones((2, 2), int), 4), (LABELS, 0)])
def test_what_has_no_distance(labels: np.ndarray, scale: float) -> None:
    with pytest.raises(DataError, match="labels \\(z, y, x\\) and a positive scale"):
        distance(labels, Coordinate(1, 1, 1), scale)
