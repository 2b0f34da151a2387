"""The one place where raw data become network input: training and prediction both pass here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError

Range = tuple[float, float]

_ROUNDING = 1e-3


def intensity_range_of(dtype: np.dtype[np.generic], where: str = "raw") -> Range:
    """Return the intensities that become -1 and 1 unless others are given.

    Unsigned integers use their full range, floating-point values are taken to lie in [0, 1].

    Raises
    ------
    DataError
        For other dtypes, whose range cannot be known.
    """
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return 0.0, float(2 ** (8 * dtype.itemsize) - 1)
    if dtype.kind == "f":
        return 0.0, 1.0
    raise DataError(
        f"{where} has dtype {dtype}; expected uint8, uint16 or floating point. Convert it, or give the intensity_range "
        "that is to become [-1, 1]"
    )


def prepare_raw(
    raw: NDArray[np.generic], intensity_range: Range | None = None, where: str = "raw"
) -> NDArray[np.float32]:
    """Scale raw intensities to [-1, 1].

    The scale never depends on the content, so that blocks agree.

    Parameters
    ----------
    raw
        Any shape. uint8 and uint16 are scaled from their full range, floating-point values from
        [0, 1]; anything else, and data that use a part of their range only (12 bits in uint16), need
        `intensity_range`.
    intensity_range
        Intensities that become -1 and 1. Values outside are kept, beyond ±1.
    where
        Name of the data, for messages.

    Returns
    -------
    ndarray
        float32 of the same shape.

    Raises
    ------
    DataError
        If the dtype is not numeric or its range is unknown, a value is not finite, or
        floating-point values without `intensity_range` do not lie in [0, 1].

    Examples
    --------
    >>> prepare_raw(np.array([0, 255], dtype=np.uint8)).tolist()
    [-1.0, 1.0]
    """
    if raw.dtype.kind not in "uif":
        raise DataError(f"{where} has dtype {raw.dtype}; expected uint8, uint16 or floating point")
    low, high = intensity_range or intensity_range_of(raw.dtype, where)
    if not low < high:
        raise DataError(f"intensity_range must be (low, high) with low < high; found ({low}, {high})")
    if raw.dtype.kind == "f":
        _check_floats(raw, None if intensity_range else (low, high), where)
    scaled = raw.astype(np.float32)
    scaled *= np.float32(2.0 / (high - low))
    scaled -= np.float32((high + low) / (high - low))
    return scaled


def _check_floats(raw: NDArray[np.generic], expected: Range | None, where: str) -> None:
    if raw.size == 0:
        return
    least, largest = float(np.min(raw)), float(np.max(raw))
    if not np.isfinite(least) or not np.isfinite(largest):
        bad = int(np.count_nonzero(~np.isfinite(raw.astype(np.float64))))
        raise DataError(f"{where} has {bad} voxels that are NaN or infinite, of {raw.size}; fill or mask them first")
    if expected and (least < expected[0] - _ROUNDING or largest > expected[1] + _ROUNDING):
        raise DataError(
            f"{where} is {raw.dtype} with values from {least:g} to {largest:g}; floating-point raw is expected in "
            f"[0, 1]. Give the intensity_range that is to become [-1, 1], or convert to uint8"
        )


def check_raw(raw: NDArray[np.generic], intensity_range: Range | None = None, where: str = "raw") -> None:
    """Refuse raw data that cannot be used: what :func:`prepare_raw` refuses, and data that are constant.

    Give it a whole volume, or a sample spread over it: a single block may rightly be constant.

    Raises
    ------
    DataError
        Saying what was found and where.
    """
    if raw.size == 0:
        raise DataError(f"{where} is empty: shape {raw.shape}")
    prepare_raw(raw.reshape(-1)[:1], intensity_range, where)  # the dtype
    if raw.dtype.kind == "f":
        _check_floats(raw, None if intensity_range else intensity_range_of(raw.dtype), where)
    first = raw.reshape(-1)[0]
    if bool(np.all(raw == first)):
        raise DataError(f"{where} is constant: every voxel of {raw.shape} is {first}; is it the right data set?")
