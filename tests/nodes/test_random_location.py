from __future__ import annotations

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from catena.nodes.random_location import RandomLocation, random_shift

LABELS = gp.ArrayKey("LABELS")
VOXEL = Coordinate(4, 2, 1)


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(*[st.integers(1, 12)] * 6),
    begin=st.tuples(*[st.integers(-9, 9)] * 6),
)
def test_the_shifted_target_and_the_region_contain_one_another(seed, sizes, begin):
    region = Roi(Coordinate(begin[:3]) * VOXEL, Coordinate(sizes[:3]) * VOXEL)
    target = Roi(Coordinate(begin[3:]) * VOXEL, Coordinate(sizes[3:]) * VOXEL)

    shift = random_shift(np.random.default_rng(seed), region, target, VOXEL)

    assert all(s % v == 0 for s, v in zip(shift, VOXEL, strict=True))
    moved = target.shift(shift)
    for axis in range(3):
        inner, outer = sorted((moved, region), key=lambda roi: roi.shape[axis])
        assert outer.begin[axis] <= inner.begin[axis]
        assert inner.end[axis] <= outer.end[axis]


def test_every_place_is_drawn():
    region, target = Roi((0, 0, 0), (5, 1, 1)), Roi((0, 0, 0), (3, 1, 1))
    rng = np.random.default_rng(0)
    drawn = {tuple(random_shift(rng, region, target, Coordinate(1, 1, 1))) for _ in range(50)}
    assert drawn == {(0, 0, 0), (1, 0, 0), (2, 0, 0)}


def test_what_comes_back_lies_where_it_was_asked_for(pipelines):
    values = np.arange(10 * 4 * 4, dtype=np.int64).reshape(10, 4, 4)
    location = RandomLocation(Roi((0, 0, 0), (10, 4, 4)), Roi((0, 0, 0), (2, 4, 4)))
    boxes = {LABELS: ((0, 0, 0), (2, 4, 4))}

    first = [pipelines.request({LABELS: values}, [location], boxes, seed=seed)[LABELS].data for seed in range(8)]

    begins = {int(each[0, 0, 0]) // 16 for each in first}
    assert len(begins) > 2
    for each in first:
        np.testing.assert_array_equal(each, values[each[0, 0, 0] // 16 :][:2])
    again = pipelines.request({LABELS: values}, [location], boxes, seed=3)[LABELS].data
    np.testing.assert_array_equal(again, first[3])
