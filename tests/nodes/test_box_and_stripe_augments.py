from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest

from catena.nodes.augment_config import (
    CutBlurConfig,
    CutNoiseConfig,
    DefectConfig,
    MotionBlurConfig,
    StripesConfig,
)
from catena.nodes.cut_blur_augment import CutBlurAugment, coarse, cut_blur
from catena.nodes.cut_noise_augment import CutNoiseAugment, cut_noise
from catena.nodes.defect_augment import spoil_sections
from catena.nodes.motion_blur_augment import MotionBlurAugment, blur_by_motion, moved
from catena.nodes.random_box import random_box
from catena.nodes.stripes_augment import StripesAugment, draw_stripes

RAW, LABELS = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
SHAPE = (12, 16, 18)
KERNELS = {
    "motion blur": (blur_by_motion, MotionBlurConfig, MotionBlurAugment),
    "cut-blur": (cut_blur, CutBlurConfig, CutBlurAugment),
    "cut-noise": (cut_noise, CutNoiseConfig, CutNoiseAugment),
    "stripes": (draw_stripes, StripesConfig, StripesAugment),
}
each_kernel = pytest.mark.parametrize(("kernel", "config", "node"), KERNELS.values(), ids=KERNELS)


def image():
    return np.random.default_rng(0).uniform(-0.5, 0.5, SHAPE).astype(np.float32)


def changed_box(before, after):
    """Shape of the smallest box around all voxels that differ."""
    return tuple(int(each.max() - each.min()) + 1 for each in np.nonzero(before != after))


@each_kernel
def test_a_kernel_is_a_function_of_its_random_numbers_and_leaves_its_input(kernel, config, node):
    raw, settings = image(), config(probability=1)
    one, again, other = (kernel(np.random.default_rng(seed), raw, settings) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(raw, image())
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, raw)
    assert one.dtype == np.float32
    assert np.abs(one).max() <= 1


@each_kernel
def test_it_happens_to_its_fraction_of_the_crops(kernel, config, node):
    raw = image()
    changed = [
        not np.array_equal(kernel(np.random.default_rng(s), raw, config(probability=0.3)), raw) for s in range(60)
    ]
    assert 8 <= sum(changed) <= 30


@each_kernel
def test_a_node_changes_the_image_by_seed_and_never_the_labels(pipelines, kernel, config, node):
    labels = np.arange(np.prod(SHAPE), dtype=np.uint64).reshape(SHAPE)
    boxes = {RAW: ((0, 0, 0), SHAPE), LABELS: ((0, 0, 0), SHAPE)}
    nodes = [node(RAW, config(probability=1))]
    one, again = (pipelines.request({RAW: image(), LABELS: labels}, nodes, boxes, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one[RAW].data, again[RAW].data)
    np.testing.assert_array_equal(one[LABELS].data, labels)
    assert not np.array_equal(one[RAW].data, image())


def test_nodes_draw_different_numbers_from_one_seed():
    assert len({node.stream for _, _, node in KERNELS.values()}) == len(KERNELS)


def test_motion_blurs_at_most_so_many_consecutive_sections():
    for seed in range(20):
        blurred = blur_by_motion(np.random.default_rng(seed), image(), MotionBlurConfig(probability=1, max_sections=2))
        sections = np.flatnonzero((blurred != image()).any(axis=(1, 2)))
        assert len(sections) in (1, 2)
        assert np.ptp(sections) == len(sections) - 1


def test_motion_along_x_leaves_rows_apart():
    point = np.zeros((7, 9), np.float32)
    point[3, 4] = 1
    #  a point becomes a line of its length
    np.testing.assert_allclose(moved(point, 3, 0.0)[3], [0, 0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0], atol=1e-6)
    assert not moved(point, 3, 0.0)[[0, 1, 2, 4, 5, 6]].any()


def test_coarse_voxels_are_means_of_blocks_and_of_what_is_left_at_the_end():
    row = np.array([1, 3, 5, 7, 9], np.float32)
    np.testing.assert_array_equal(coarse(row[None, None], 2)[0, 0], [2, 2, 6, 6, 9])
    np.testing.assert_array_equal(coarse(np.tile(row, (2, 5, 1)), 2)[1], np.tile([2, 2, 6, 6, 9], (5, 1)))


@pytest.mark.parametrize(
    ("kernel", "config"), [(cut_blur, CutBlurConfig(probability=1)), (cut_noise, CutNoiseConfig(probability=1))]
)
def test_only_a_box_of_at_most_the_given_size_changes(kernel, config):
    for seed in range(10):
        box = changed_box(image(), kernel(np.random.default_rng(seed), image(), config))
        assert all(edge <= round(size * config.max_fraction) for edge, size in zip(box, SHAPE, strict=True))


def test_boxes_reach_every_voxel_and_never_further():
    rng, hit = np.random.default_rng(0), np.zeros((3, 5, 7), bool)
    for _ in range(300):
        box = random_box(rng, hit.shape, 0.5)
        assert hit[box].size > 0
        hit[box] = True
    assert hit.all()


def test_stripes_go_through_all_sections_or_lie_in_one_each():
    flat = np.zeros(SHAPE, np.float32)
    through = draw_stripes(np.random.default_rng(1), flat, StripesConfig(probability=1))
    np.testing.assert_array_equal(through, np.broadcast_to(through[:1], SHAPE))
    single = StripesConfig(probability=1, max_stripes=1, through_sections=False)
    drawn = draw_stripes(np.random.default_rng(1), flat, single)
    assert np.count_nonzero(drawn.any(axis=(1, 2))) == 1


def test_a_partly_missing_section_is_black_on_one_side_of_a_line():
    raw = image()
    spoiled = spoil_sections(np.random.default_rng(0), raw, DefectConfig(partly_missing_probability=1))
    black = spoiled == -1
    np.testing.assert_array_equal(spoiled[~black], raw[~black])
    assert black.mean(axis=(1, 2)).min() > 0
    assert black.mean(axis=(1, 2)).max() < 1
    for section in black:  # a half plane cuts every row at most once
        assert (np.abs(np.diff(section.astype(int), axis=1)).sum(axis=1) <= 1).all()


def test_the_new_defect_changes_no_stream_of_numbers():
    given = {"missing_probability": 0.3, "low_contrast_probability": 0.3, "artefact_probability": 0.2}
    before = spoil_sections(np.random.default_rng(0), image(), DefectConfig(**given))
    after = spoil_sections(np.random.default_rng(0), image(), DefectConfig(**given, partly_missing_probability=0.2))
    intact = (before == image()).all(axis=(1, 2))
    np.testing.assert_array_equal(before[~intact][:1], after[~intact][:1])
    assert intact.any()
