import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.evaluation import Contingency, ObjectError, Part, mergers, splits, variation_of_information


def test_a_merger_costs_the_entropy_of_its_bodies():
    #   truth          1 1 1 2 | 3 3 . 3      segment 5: three quarters and one quarter of half of what is counted,
    #   segmentation   5 5 5 5 | 6 6 6 7      and body 3 lies in 6 (two voxels) and 7 (one)
    counted = Contingency.of([5, 5, 5, 5, 6, 6, 6, 7], [1, 1, 1, 2, 3, 3, 0, 3])

    (merger,) = mergers(counted)
    (split,) = splits(counted)

    assert (merger.kind, merger.id, merger.parts) == ("merger", 5, (Part(1, 3), Part(2, 1)))
    assert merger.bits == pytest.approx(4 / 7 * (0.75 * np.log2(4 / 3) + 0.25 * 2))
    assert (split.kind, split.id, split.parts) == ("split", 3, (Part(6, 2), Part(7, 1)))
    assert split.bits == pytest.approx(3 / 7 * (2 / 3 * np.log2(1.5) + 1 / 3 * np.log2(3)))
    assert (merger.voxels, split.voxels) == (4, 3)


def test_the_worst_come_first_and_equal_ones_by_id():
    #   segment 9 mixes four voxels, 4 and 8 mix two each
    counted = Contingency.of([8, 8, 4, 4, 9, 9, 9, 9], [1, 2, 3, 4, 5, 5, 6, 6])

    assert [each.id for each in mergers(counted)] == [9, 4, 8]
    assert [each.id for each in mergers(counted, 2)] == [9, 4]
    assert splits(counted) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), labels=st.integers(1, 12), blocks=st.integers(1, 3))
def test_all_together_are_the_variation_of_information(seed, labels, blocks):
    rng = np.random.default_rng(seed)
    segmentation, truth = rng.integers(0, labels, (2, blocks, 60))
    truth[:, 0] = 1
    counted = Contingency()
    for pair in zip(segmentation, truth, strict=True):
        counted.add(*pair)

    voi = variation_of_information(counted)

    assert sum(each.bits for each in mergers(counted)) == pytest.approx(voi.merge, abs=1e-12)
    assert sum(each.bits for each in splits(counted)) == pytest.approx(voi.split, abs=1e-12)
    for error in (*mergers(counted), *splits(counted)):
        sizes = [part.voxels for part in error.parts]
        assert error.bits > 0
        assert len(sizes) > 1
        assert sizes == sorted(sizes, reverse=True)


def test_what_is_counted_nowhere_has_no_error():
    assert mergers(Contingency()) == splits(Contingency()) == []
    assert mergers(Contingency.of([1, 1, 2], [7, 7, 8])) == []


def test_specks_are_no_main_parts():
    error = ObjectError("merger", 1, 0.1, (Part(4, 900), Part(5, 95), Part(6, 5)))
    assert error.main_parts() == (Part(4, 900), Part(5, 95))
    assert error.main_parts(share=0.2) == (Part(4, 900),)
    assert error.main_parts(share=0.95) == (Part(4, 900),)
