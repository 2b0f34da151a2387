import numpy as np
import pytest

from catena.errors import DataError
from catena.targets import balance_weights


def test_both_classes_count_alike() -> None:
    target = np.array([1, 0, 0, 0], dtype=np.uint8)
    weights = balance_weights(target)
    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3])
    assert weights.dtype == np.float32
    assert weights[target == 1].sum() == pytest.approx(weights[target == 0].sum())


def test_unknown_voxels_neither_count_nor_weigh() -> None:
    weights = balance_weights(np.array([1, 1, 1, 0, 0]), np.array([1, 0, 0, 1, 1]))
    np.testing.assert_allclose(weights, [1.5, 0, 0, 0.75, 0.75])


def test_fraction_is_clipped() -> None:
    np.testing.assert_allclose(balance_weights(np.zeros(10))[0], 1 / (2 * 0.95))
    np.testing.assert_allclose(balance_weights(np.ones(10))[0], 1 / (2 * 0.95))
    np.testing.assert_allclose(balance_weights(np.ones(10), clip=(0.2, 0.8))[0], 1 / 1.6)


def test_nothing_known() -> None:
    assert balance_weights(np.ones(3), np.zeros(3)).tolist() == [0, 0, 0]


def test_refuses_a_mask_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"\(2,\), target \(3,\)"):
        balance_weights(np.ones(3), np.ones(2))
