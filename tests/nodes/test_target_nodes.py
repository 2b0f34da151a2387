from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.nodes.add_affinities import AddAffinities
from catena.nodes.add_shape_descriptors import AddShapeDescriptors
from catena.nodes.balance_labels import BalanceLabels
from catena.nodes.erode_boundaries import ErodeBoundaries
from catena.nodes.intersect_masks import IntersectMasks
from catena.nodes.prepare_raw import PrepareRaw
from catena.targets import shape_descriptors

RAW, LABELS, ERODED, LABELLED = (gp.ArrayKey(name) for name in ("RAW", "LABELS", "ERODED", "LABELLED"))
AFFINITIES, MASK, WEIGHT = (gp.ArrayKey(name) for name in ("AFFINITIES", "MASK", "WEIGHT"))
LSDS, LSDS_WEIGHT = gp.ArrayKey("LSDS"), gp.ArrayKey("LSDS_WEIGHT")


def row(*values: int) -> np.ndarray:
    return np.array(values, np.uint64).reshape(1, 1, -1)


def test_erosion_at_the_border_of_a_request_knows_the_neighbours(pipelines):
    #         asked for: [-------]
    labels = row(1, 1, 1, 2, 2, 2, 2)
    batch = pipelines.request({LABELS: labels}, [ErodeBoundaries(LABELS, ERODED)], {ERODED: ((0, 0, 3), (1, 1, 3))})
    np.testing.assert_array_equal(batch[ERODED].data, row(0, 2, 2))


def test_affinities_at_the_border_of_a_request_know_their_other_end(pipelines):
    #    asked for:    [------------]
    labels = row(1, 1, 1, 2, 2, 0, 3, 3)
    known = (labels != 0).astype(np.uint8)
    batch = pipelines.request(
        {LABELS: labels, LABELLED: known},
        [
            AddAffinities(LABELS, LABELLED, [Coordinate(0, 0, -1)], AFFINITIES, MASK),
            BalanceLabels(AFFINITIES, MASK, WEIGHT),
        ],
        {key: ((0, 0, 2), (1, 1, 5)) for key in (AFFINITIES, MASK, WEIGHT)},
    )
    np.testing.assert_array_equal(batch[AFFINITIES].data[0], row(1, 0, 1, 0, 0))
    np.testing.assert_array_equal(batch[MASK].data[0], row(1, 1, 1, 0, 0))
    # two of three known affinities are 1: each class weighs 1 / (2 · its fraction)
    np.testing.assert_allclose(batch[WEIGHT].data[0], np.array([[[0.75, 1.5, 0.75, 0, 0]]]))


def descriptors_of(pipelines, labels, eroded, known, *, box, sigma=2.0, downsample=1):
    node = AddShapeDescriptors(LABELS, ERODED, LABELLED, LSDS, LSDS_WEIGHT, sigma=sigma, downsample=downsample)
    boxes = {LSDS: box, LSDS_WEIGHT: box}
    return pipelines.request({LABELS: labels, ERODED: eroded, LABELLED: known}, [node], boxes)


@pytest.mark.parametrize("downsample", [1, 2])
def test_descriptors_of_a_crop_are_those_of_the_whole(pipelines, downsample):
    labels = np.random.default_rng(0).integers(1, 4, (4, 4, 4)).astype(np.uint64).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    box = ((8, 6, 8), (6, 7, 5))  # sampled voxels are those of the whole: the window reaches 6 to either side
    batch = descriptors_of(pipelines, labels, labels, np.ones_like(labels), box=box, downsample=downsample)
    whole = shape_descriptors(labels, Coordinate(1, 1, 1), 2.0, downsample)
    np.testing.assert_allclose(batch[LSDS].data, whole[:, 8:14, 6:13, 8:13], atol=1e-5)


def test_descriptors_of_a_sphere_far_away_in_chosen_channels(pipelines):
    labels = np.random.default_rng(0).integers(1, 4, (9, 14, 14)).astype(np.uint64) << 61  # goes on for ever along z
    options = {"mode": "sphere", "components": ["size", "mean_offset"]}
    node = AddShapeDescriptors(LABELS, ERODED, LABELLED, LSDS, LSDS_WEIGHT, (2.0, 4.0, 3.0), **options)
    arrays = {LABELS: labels, ERODED: labels, LABELLED: np.ones_like(labels)}
    shape = (2, 4, 5)
    near, far = (
        pipelines.request(arrays, [node], dict.fromkeys((LSDS, LSDS_WEIGHT), ((begin, 5, 5), shape)))[LSDS].data
        for begin in (20, 2**40)
    )
    np.testing.assert_array_equal(far, near)
    there = np.repeat(labels[-1:], 6, axis=0)  # the window reaches 2 to either side along z
    expected = shape_descriptors(there, Coordinate(1, 1, 1), (2.0, 4.0, 3.0), **options)
    np.testing.assert_allclose(near, expected[:, 2:4, 5:9, 5:10], atol=1e-6)


def test_descriptors_count_inside_objects_and_in_known_background_but_not_in_eroded_rims(pipelines):
    #                    unknown  object  rim  background
    labels = np.tile(row(0, 0, 1, 1, 1, 0, 0), (1, 1, 1))
    eroded = np.tile(row(0, 0, 1, 1, 0, 0, 0), (1, 1, 1))
    known = np.tile(row(0, 0, 1, 1, 1, 1, 1), (1, 1, 1))
    pad = ((20, 20), (20, 20), (20, 20))
    batch = descriptors_of(
        pipelines, *(np.pad(each, pad) for each in (labels, eroded, known)), box=((20, 20, 20), (1, 1, 7))
    )
    np.testing.assert_array_equal(batch[LSDS_WEIGHT].data, row(0, 0, 1, 1, 0, 1, 1)[None])


def test_intersection_of_masks(pipelines):
    boxes = {LABELLED: ((0, 0, 0), (1, 1, 4))}
    batch = pipelines.request(
        {LABELLED: row(1, 1, 0, 1), MASK: row(1, 0, 5, 5)}, [IntersectMasks(LABELLED, MASK)], boxes
    )
    np.testing.assert_array_equal(batch[LABELLED].data, row(1, 0, 0, 1))


def test_raw_is_scaled_as_for_prediction(pipelines):
    raw = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3)
    batch = pipelines.request({RAW: raw}, [PrepareRaw(RAW)], {RAW: ((0, 0, 0), (1, 1, 3))})
    np.testing.assert_allclose(batch[RAW].data.ravel(), [-1, -0.6, 1], atol=1e-6)
