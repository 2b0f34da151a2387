"""That the benchmark of shape descriptors compares the same labels, and notices values that are off."""

import numpy as np
import pytest

from benchmarks import descriptors
from benchmarks.descriptors import formula_at, from_formula, measure


def test_there_are_all_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATENA_DATA", raising=False)
    monkeypatch.setattr(descriptors, "SMOKE_EDGES", {"96": 10, "160": 12})
    figures = measure(smoke=True)
    for name in ("speedup_vs_lsds_96", "speedup_vs_lsds_160", "cpu_speedup_vs_lsds_96", "cpu_speedup_vs_lsds_160"):
        assert figures[name].value > 0
        assert figures[name].better == "higher"
    assert 0 < figures["max_abs_difference"].value < 1e-6


def test_the_formula_for_two_voxels() -> None:
    labels = np.array([[[5, 5, 3]]])
    half = np.exp(-0.5)  # the weight of a voxel one sigma away
    mass = 1 + half
    found = formula_at(labels, (0, 0, 0), (1, 1, 1), (1, 1, 1))
    share = half / mass
    np.testing.assert_allclose(found[:3], [0.5, 0.5, 0.5 + share / 2])
    np.testing.assert_allclose(found[3:6], [1e-3, 1e-3, share * (1 - share)])
    window = 1 + 2 * (half + np.exp(-2) + np.exp(-4.5))
    np.testing.assert_allclose(found[9], mass / window**3)
    ball = formula_at(labels, (0, 0, 0), (1, 1, 1), (1, 1, 1), "sphere")
    np.testing.assert_allclose(ball[[2, 5, 9]], [1, 0.25, 2 / 7])  # an offset of half of sigma is as large as it gets


def test_a_voxel_that_is_off_is_noticed() -> None:
    labels = np.ones((3, 3, 3), np.uint64)
    expected = np.zeros((10, 3, 3, 3), np.float32)
    for voxel in np.ndindex(3, 3, 3):
        expected[(slice(None), *voxel)] = formula_at(labels, voxel, (8, 8, 8), (80.0,) * 3)
    wrong = expected.copy()
    wrong[7, 1, 2, 0] += 0.25
    right, off = from_formula(labels, (expected, wrong), 27)
    assert right < 1e-7
    assert off == pytest.approx(0.25)
