import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.errors import GeometryError
from catena.viewing.best_view import best_view, plane

WINDOW = Coordinate(16, 16, 16)
CUBE = Coordinate(8, 8, 8)


def boxes(shape, *corners):
    """One mask per box, given as its first voxel and the one after its last."""
    masks = [np.zeros(shape, bool) for _ in corners]
    for mask, (low, high) in zip(masks, corners, strict=True):
        mask[tuple(slice(b, e) for b, e in zip(low, high, strict=True))] = True
    return masks


def test_the_section_goes_through_where_parts_touch():
    #   x          0 - 4    5 - 11   12 - 19
    #   z 0 - 7    first             second
    #   z 8, 9     first    second   second
    first, *others = boxes((10, 6, 20), ((0, 0, 0), (10, 6, 5)), ((0, 0, 12), (10, 6, 20)), ((8, 0, 5), (10, 6, 12)))
    view = best_view(first, others[0] | others[1], CUBE, WINDOW)
    assert view.axis == 0  # y by x shows more of the part that is less seen than z by x
    assert (view.position[0] in (8, 9), view.position[2], view.gap) == (True, 5, 8)


def test_most_of_both_parts_is_seen_rather_than_a_stray_contact():
    #   side by side at x 8, a voxel between them, and two voxels that touch far away
    first, second = boxes((9, 9, 30), ((0, 0, 0), (9, 9, 8)), ((0, 0, 9), (9, 9, 16)))
    first[4, 4, 28], second[4, 4, 29] = True, True
    view = best_view(first, second, CUBE, Coordinate(8, 8, 8))
    assert (view.gap, view.position[2] < 12) == (16, True)
    assert view.visible > 8


@pytest.mark.parametrize(
    ("low", "axis"),
    [((0, 0, 8), 0), ((4, 0, 0), 1)],  # side by side in every section; one above the other
)
def test_thick_sections_are_cut_across_only_if_need_be(low, axis):
    first, second = boxes((8, 16, 16), ((0, 0, 0), low), (low, (8, 16, 16)))
    first[:] = ~second
    view = best_view(first, second, Coordinate(40, 4, 4), Coordinate(2, 16, 16))
    assert view.axis == axis
    assert view.gap == (4 if axis == 0 else 40)


def test_parts_that_are_apart_are_shown_where_they_are_nearest():
    first, second = boxes((3, 20, 20), ((0, 0, 0), (3, 2, 20)), ((0, 6, 3), (3, 20, 6)))
    view = best_view(first, second, CUBE, WINDOW)
    assert (view.gap, view.position[1]) == (40, 6)


def test_a_part_alone_is_shown_but_any_view_of_both_is_better():
    (first,) = boxes((4, 4, 4), ((1, 1, 1), (3, 3, 3)))
    nothing = np.zeros_like(first)
    for pair in ((first, nothing), (nothing, first)):
        view = best_view(*pair, CUBE, WINDOW)
        assert first[tuple(view.position)]
        assert (view.gap, view.score) == (np.inf, 0)
    assert best_view(nothing, nothing, CUBE, WINDOW) is None


def test_windows_stay_inside_the_volume():
    cut = plane(1, Coordinate(9, 5, 1), Coordinate(10, 10, 10), Coordinate(4, 4, 40))
    assert cut == (slice(6, 10), slice(5, 6), slice(0, 10))


def test_parts_of_two_volumes_are_refused():
    with pytest.raises(GeometryError, match=r"have the shapes \(1, 1, 1\) and \(1, 1, 2\)"):
        best_view(np.ones((1, 1, 1), bool), np.ones((1, 1, 2), bool), CUBE, WINDOW)
