"""Arrays as compressed bytes: dtype, shape and content, never pickle."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.errors import StoreError

_LENGTH = struct.Struct("<I")
_CODEC = "blosc-zstd"
LARGEST_BLOB_BYTES = 2**31 - 2**20  # blosc's limit for one buffer


def pack_array(array: NDArray[Any]) -> bytes:
    """Return `array` as bytes that :func:`unpack_array` turns back.

    The bytes are a length, a JSON header with codec, dtype and shape, and the compressed content
    in C order, little endian.

    Raises
    ------
    StoreError
        If the array is larger than 2 GB.
    """
    import numcodecs

    if array.nbytes > LARGEST_BLOB_BYTES:
        raise StoreError(f"an array of {array.nbytes} bytes is too large for one blob; use smaller blocks")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    header = {"codec": _CODEC, "dtype": little.dtype.str, "shape": array.shape}
    encoded = json.dumps(header).encode()
    content = bytes(_codec(numcodecs, little.itemsize).encode(little.reshape(-1))) if array.size else b""
    return _LENGTH.pack(len(encoded)) + encoded + content


def unpack_array(blob: bytes, where: str) -> NDArray[Any]:
    """Return the array that :func:`pack_array` wrote; `where` names the place in an error.

    Raises
    ------
    StoreError
        If the bytes are not such an array.
    """
    import numcodecs

    try:
        (length,) = _LENGTH.unpack_from(blob)
        header = json.loads(blob[_LENGTH.size : _LENGTH.size + length])
        dtype, shape = np.dtype(header["dtype"]), tuple(int(each) for each in header["shape"])
        if header["codec"] != _CODEC or dtype.kind not in "biuf":
            raise ValueError(f"codec {header['codec']!r}, dtype {dtype}")
        if 0 in shape:
            return np.empty(shape, dtype=dtype)
        content = _codec(numcodecs, dtype.itemsize).decode(blob[_LENGTH.size + length :])
        return np.frombuffer(content, dtype=dtype).reshape(shape)
    except (struct.error, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(f"{where}: not a stored array ({error}); the store is damaged, redo the stage") from error


def _codec(numcodecs: Any, itemsize: int) -> Any:
    shuffle = numcodecs.Blosc.SHUFFLE if itemsize > 1 else numcodecs.Blosc.NOSHUFFLE
    return numcodecs.Blosc(cname="zstd", clevel=1, shuffle=shuffle)
