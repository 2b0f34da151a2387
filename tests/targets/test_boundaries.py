import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from catena.errors import DataError
from catena.targets import erode_boundaries


def test_drawn_line() -> None:
    line = np.array([[[1, 1, 1, 2, 2, 2, 2, 0, 3, 3]]])
    assert erode_boundaries(line).tolist() == [[[1, 1, 0, 0, 2, 2, 0, 0, 0, 3]]]
    assert erode_boundaries(line, steps=2).tolist() == [[[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]]
    assert erode_boundaries(line, steps=0).tolist() == line.tolist()


def test_only_xy_leaves_sections_alone() -> None:
    stack = np.array([[[1, 1]], [[2, 2]]])
    assert erode_boundaries(stack).max() == 0
    assert erode_boundaries(stack, only_xy=True).tolist() == stack.tolist()


@pytest.mark.parametrize("steps", [1, 2])
def test_equals_binary_erosion_of_each_label(steps: int) -> None:
    coarse = np.random.default_rng(0).integers(0, 3, (3, 3, 3))
    labels = np.kron(coarse, np.ones((5, 5, 5), dtype=np.int64)).astype(np.uint64)
    expected = np.zeros_like(labels)
    for label in (1, 2):
        expected[binary_erosion(labels == label, iterations=steps, border_value=1)] = label
    before = labels.copy()
    eroded = erode_boundaries(labels, steps)
    np.testing.assert_array_equal(eroded, expected)
    assert eroded.dtype == np.uint64
    np.testing.assert_array_equal(labels, before)
    assert 0 < np.count_nonzero(eroded) < np.count_nonzero(labels)


def test_refuses_other_dimensions() -> None:
    with pytest.raises(DataError, match=r"shape \(2, 2\)"):
        erode_boundaries(np.zeros((2, 2), dtype=np.int64))
