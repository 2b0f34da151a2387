from __future__ import annotations

import re

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Roi

from catena.errors import DataError
from catena.nodes.random_location import RandomLocation
from catena.nodes.reject import RejectUnlabelled

LABELLED = gp.ArrayKey("LABELLED")
#   z = 0 1 2 3 4 5 6 7      labelled: the last quarter
MASK = np.repeat(np.array([0, 0, 0, 0, 0, 0, 1, 1], np.uint8), 4).reshape(8, 2, 2)
BOXES = {LABELLED: ((0, 0, 0), (2, 2, 2))}


class Inner:
    """Finds the error of ours that gunpowder wrapped."""

    @staticmethod
    def of(error: BaseException | None) -> BaseException | None:
        while error is not None and not isinstance(error, DataError):
            error = error.__cause__ or error.__context__
        return error


def nodes(min_fraction: float, max_tries: int = 50) -> list[gp.BatchFilter]:
    return [
        RandomLocation(Roi((0, 0, 0), (8, 2, 2)), Roi((0, 0, 0), (2, 2, 2))),
        RejectUnlabelled(LABELLED, min_fraction, "my volume", max_tries),
    ]


@pytest.mark.parametrize("min_fraction", [0.5, 1.0])
def test_only_crops_with_enough_labels_pass(pipelines, min_fraction):
    found = [pipelines.request({LABELLED: MASK}, nodes(min_fraction), BOXES, seed=s)[LABELLED].data for s in range(12)]
    assert min(each.mean() for each in found) >= min_fraction
    assert {each.mean() for each in found} == ({1.0} if min_fraction == 1 else {0.5, 1.0})


def test_the_same_seed_finds_the_same_crop(pipelines):
    once, again = (pipelines.request({LABELLED: MASK}, nodes(0.5), BOXES, seed=7)[LABELLED].data for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_giving_up_says_how_many_crops_were_tried_and_what_was_found(pipelines):
    thin = np.zeros((8, 2, 2), np.uint8)
    thin[4, 0, 0] = 1
    with pytest.raises(Exception, match="my volume") as caught:
        pipelines.request({LABELLED: thin}, nodes(0.5, max_tries=60), BOXES)
    error = Inner.of(caught.value)
    # 2 of the 7 places hold the one labelled voxel of 8
    found = re.fullmatch(
        r"my volume: 60 crops tried, none with at least 50% of its voxels labelled "
        r"\((\d\.\d)% on average, 12\.5% at best\); lower train\.min_labelled, .*",
        str(error),
    )
    assert found
    assert 2 < float(found[1]) < 5
