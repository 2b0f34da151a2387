from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest

from catena.nodes.augment_config import DefectConfig, IntensityConfig, NoiseConfig
from catena.nodes.defect_augment import DefectAugment, fade, spoil_sections
from catena.nodes.intensity_augment import IntensityAugment, scale_and_shift
from catena.nodes.noise_augment import NoiseAugment, blur_and_noise

RAW, LABELS = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
ALL_DEFECTS = DefectConfig(missing_probability=0.3, low_contrast_probability=0.3, artefact_probability=0.4)
ALL_NOISE = NoiseConfig(noise_probability=1, blur_probability=1, noise_max_sigma=0.2)


def image(shape=(12, 16, 16)):
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.mark.parametrize(
    "node",
    [
        IntensityAugment(RAW, IntensityConfig(per_section=True)),
        NoiseAugment(RAW, ALL_NOISE),
        DefectAugment(RAW, ALL_DEFECTS),
    ],
    ids=["intensity", "noise", "defects"],
)
def test_changes_the_image_by_seed_and_never_the_labels(pipelines, node):
    raw, labels = image(), np.arange(12 * 256, dtype=np.uint64).reshape(12, 16, 16)
    boxes = {RAW: ((0, 0, 0), (12, 16, 16)), LABELS: ((0, 0, 0), (12, 16, 16))}
    batches = [pipelines.request({RAW: raw.copy(), LABELS: labels}, [node], boxes, seed=s) for s in (1, 1, 2)]

    np.testing.assert_array_equal(batches[0][RAW].data, batches[1][RAW].data)
    assert not np.array_equal(batches[0][RAW].data, batches[2][RAW].data)
    for batch in batches:
        np.testing.assert_array_equal(batch[LABELS].data, labels)
        assert batch[RAW].data.dtype == np.float32
        assert np.abs(batch[RAW].data).max() <= 1
        assert not np.array_equal(batch[RAW].data, raw)


def test_intensity_scales_about_the_mean_and_counts_shifts_twice():
    raw = image()
    changed = scale_and_shift(np.random.default_rng(0), raw, IntensityConfig(scale=(0.5, 0.5), shift=(0.1, 0.1)))
    np.testing.assert_allclose(changed, (raw - raw.mean()) * 0.5 + raw.mean() + 0.2, atol=1e-6)


def test_intensity_per_section_differs_between_sections():
    flat = np.zeros((6, 4, 4), np.float32)
    per_section = scale_and_shift(np.random.default_rng(0), flat, IntensityConfig(per_section=True))
    assert len(np.unique(per_section)) == 6
    assert len(np.unique(scale_and_shift(np.random.default_rng(0), flat, IntensityConfig()))) == 1


def test_noise_and_blur_can_be_off():
    raw = image()
    off = NoiseConfig(noise_probability=0, blur_probability=0)
    np.testing.assert_array_equal(blur_and_noise(np.random.default_rng(0), raw, off), raw)


def test_blur_stays_within_sections():
    raw = np.zeros((3, 9, 9), np.float32)
    raw[1, 4, 4] = 1
    blurred = blur_and_noise(np.random.default_rng(3), raw, NoiseConfig(noise_probability=0, blur_probability=1))
    assert 0 < blurred[1, 4, 4] < 1
    assert not blurred[[0, 2]].any()


@pytest.mark.parametrize("kind", ["missing", "low_contrast", "artefact"])
def test_each_defect_spoils_the_sections_it_should(kind):
    raw = image((40, 16, 16))
    spoiled = spoil_sections(np.random.default_rng(0), raw, DefectConfig(**{f"{kind}_probability": 0.25}))
    changed = (spoiled != raw).any(axis=(1, 2))
    assert 3 <= np.count_nonzero(changed) <= 20
    if kind == "missing":
        assert (spoiled[changed] == -1).all()
    elif kind == "low_contrast":
        np.testing.assert_array_equal(spoiled[changed], np.stack([fade(each, 0.5) for each in raw[changed]]))
    else:
        fraction = (spoiled != raw)[changed].mean()
        assert 0 < fraction < 0.6


def test_source_of_defects_is_left_as_it_was():
    raw = image()
    before = raw.copy()
    spoil_sections(np.random.default_rng(0), raw, ALL_DEFECTS)
    np.testing.assert_array_equal(raw, before)
