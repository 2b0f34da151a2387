import numpy as np
import pytest

from catena.errors import DataError
from catena.inference import check_raw, prepare_raw


@pytest.mark.parametrize(
    ("dtype", "values"),
    [(np.uint8, [0, 51, 255]), (np.uint16, [0, 13107, 65535]), (np.float32, [0, 0.2, 1]), (np.float64, [0, 0.2, 1])],
)
def test_full_range_becomes_minus_one_to_one(dtype, values) -> None:
    found = prepare_raw(np.array(values, dtype=dtype))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [-1, -0.6, 1], atol=1e-6)


def test_range_can_be_given() -> None:
    twelve_bits = np.array([0, 4095, 5000], dtype=np.uint16)
    np.testing.assert_allclose(prepare_raw(twelve_bits, (0, 4095)), [-1, 1, 1.442], atol=1e-3)
    np.testing.assert_allclose(prepare_raw(np.array([-100, 100], dtype=np.int16), (-100, 100)), [-1, 1])
    np.testing.assert_allclose(prepare_raw(np.array([-1.0, 3.0]), (-1, 3)), [-1, 1])


def test_the_input_is_left_alone() -> None:
    raw = np.array([0.0, 1.0], dtype=np.float32)
    prepare_raw(raw)
    assert raw.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.array([0.5, np.nan, np.inf]), "2 voxels that are NaN or infinite, of 3"),
        (np.array([0.0, 200.0]), r"values from 0 to 200; floating-point raw is expected in \[0, 1\]"),
        (np.array([1, 2], dtype=np.int64), "dtype int64"),
        (np.array([True, False]), "dtype bool"),
        (np.array([1, 2], dtype=np.uint64), "dtype uint64"),
    ],
)
def test_refuses_what_cannot_be_scaled(raw, message) -> None:
    with pytest.raises(DataError, match=f"volume_1.*{message}"):
        prepare_raw(raw, where="volume_1")
    with pytest.raises(DataError, match=f"volume_1.*{message}"):
        check_raw(raw, where="volume_1")


def test_refuses_nonsense() -> None:
    with pytest.raises(DataError, match="low < high"):
        prepare_raw(np.zeros(1, dtype=np.uint8), (5, 5))
    with pytest.raises(DataError, match="constant: every voxel"):
        check_raw(np.full((3, 3, 3), 9, dtype=np.uint8))
    with pytest.raises(DataError, match="empty"):
        check_raw(np.zeros((0, 3, 3), dtype=np.uint8))
    check_raw(np.array([1, 2], dtype=np.uint8))
