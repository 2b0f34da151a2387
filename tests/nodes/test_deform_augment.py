from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest

from catena.nodes.augment_config import DeformConfig
from catena.nodes.deform_augment import DeformAugment
from catena.nodes.deformation import misaligned_sections, random_deformation

RAW, LABELS = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
STRONG = {
    "control_point_spacing": (6, 8, 8),
    "jitter": (1.0, 2.0, 2.0),
    "rotate": True,
    "slip_probability": 0.2,
    "shift_probability": 0.1,
    "max_misalignment": 3,
}
STILL = {**STRONG, "jitter": (0.0, 0.0, 0.0), "rotate": False, "slip_probability": 0.0, "shift_probability": 0.0}


def coordinates(begin, shape):
    """Arrays whose values are the voxels' own coordinates."""
    return np.meshgrid(
        *(np.arange(b, b + n, dtype=np.float32) for b, n in zip(begin, shape, strict=True)), indexing="ij"
    )


@pytest.mark.parametrize("seed", range(5))
def test_image_and_labels_move_together(seed):
    deformation = random_deformation(np.random.default_rng(seed), (0, 0, 0), (12, 20, 22), **STRONG)
    box = ((2, 3, 1), (7, 11, 13))
    begin, shape = deformation.source_box(*box)
    # Sampling coordinates themselves shows where each voxel comes from, exactly: they are linear.
    positions = [deformation.sample(each, begin, *box, interpolate=True) for each in coordinates(begin, shape)]
    nearest = [deformation.sample(each, begin, *box, interpolate=False) for each in coordinates(begin, shape)]

    for position, voxel, low, size in zip(positions, nearest, begin, shape, strict=True):
        assert low <= position.min()
        assert position.max() <= low + size - 1
        # float32 positions near x.5 may round either way
        assert np.abs(position - voxel).max() <= 0.5 + 1e-4
    # a rotation by half a radian or so moves corners by voxels
    assert max(np.abs(p - c).max() for p, c in zip(positions, coordinates(*box), strict=True)) > 1


def test_overlapping_boxes_get_the_same_values():
    deformation = random_deformation(np.random.default_rng(1), (0, 0, 0), (12, 20, 22), **STRONG)
    begin, shape = deformation.source_box((0, 0, 0), (12, 20, 22))
    source = np.random.default_rng(0).random(shape, dtype=np.float32)
    whole = deformation.sample(source, begin, (0, 0, 0), (12, 20, 22), interpolate=True)
    part = deformation.sample(source, begin, (3, 4, 5), (6, 7, 8), interpolate=True)
    np.testing.assert_allclose(part, whole[3:9, 4:11, 5:13], atol=1e-6)


def test_without_movement_nothing_changes():
    deformation = random_deformation(np.random.default_rng(0), (0, 0, 0), (5, 6, 7), **STILL)
    source = np.random.default_rng(0).integers(0, 2**60, (5, 6, 7), dtype=np.uint64)
    begin, shape = deformation.source_box((0, 0, 0), (5, 6, 7))
    padded = np.pad(source, [(-b, b + s - n) for b, s, n in zip(begin, shape, source.shape, strict=True)])
    np.testing.assert_array_equal(deformation.sample(padded, begin, (0, 0, 0), (5, 6, 7), interpolate=False), source)


def test_slips_displace_one_section_and_shifts_all_that_follow():
    slipped = misaligned_sections(np.random.default_rng(0), 200, 0.1, 0.0, 5)
    still = (slipped == 0).all(axis=1)
    assert 0 < np.count_nonzero(~still) < 40
    shifted = misaligned_sections(np.random.default_rng(0), 200, 0.0, 0.1, 5)
    changes = np.count_nonzero(np.diff(shifted, axis=0).any(axis=1))
    assert 0 < changes < 40
    assert np.abs(slipped).max() <= 5
    assert not misaligned_sections(np.random.default_rng(0), 200, 0.0, 0.0, 5).any()


def labels_and_raw(shape=(40, 60, 60)):
    labels = np.random.default_rng(0).choice(np.array([3, 2**40, 2**40 + 2], np.uint64), (5, 6, 6))
    labels = labels.repeat(8, 0).repeat(10, 1).repeat(10, 2)[: shape[0], : shape[1], : shape[2]]
    return {RAW: (labels == 3).astype(np.float32), LABELS: labels}


BOXES = {RAW: ((10, 20, 20), (16, 20, 20)), LABELS: ((14, 24, 24), (8, 12, 12))}


def test_node_never_mixes_labels_and_keeps_them_on_the_image(pipelines):
    batch = pipelines.request(labels_and_raw(), [DeformAugment(DeformConfig(**STRONG, probability=1))], BOXES, seed=4)
    labels, raw = batch[LABELS].data, batch[RAW].data[4:12, 4:16, 4:16]
    assert labels.dtype == np.uint64
    assert set(np.unique(labels)) <= {3, 2**40, 2**40 + 2}
    certain = (raw == 0) | (raw == 1)  # elsewhere a boundary was interpolated
    assert 0.2 < certain.mean() < 1
    np.testing.assert_array_equal((labels == 3)[certain], raw[certain] == 1)


def test_node_depends_on_the_seed_alone(pipelines):
    node = DeformAugment(DeformConfig(**STRONG, probability=1))
    one, two, other = (pipelines.request(labels_and_raw(), [node], BOXES, seed=s)[RAW].data for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_probability_is_a_fraction_of_the_crops(pipelines):
    node = DeformAugment(DeformConfig(**STRONG, probability=0.5))
    arrays = labels_and_raw()
    untouched = arrays[LABELS][14:22, 24:36, 24:36]
    same = [
        np.array_equal(pipelines.request(arrays, [node], BOXES, seed=seed)[LABELS].data, untouched)
        for seed in range(40)
    ]
    assert 8 <= sum(same) <= 32
