"""Fingerprints: what a result depends on, as a hash.

Data are known by what they are, never by where they lie: an array by shape, dtype, voxel size,
offset, chunk grid and a seeded sample of its content, a file by its bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from catena.arrays import Array

SAMPLE_BLOCKS = 24
SAMPLE_SHAPE_VOX = 24


def fingerprint_values(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of JSON-able `values`; the order of keys does not matter."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint_file(path: str | Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_array(array: Array) -> str:
    """Return the fingerprint of an array: its description and a seeded sample of its content.

    The sample is `SAMPLE_BLOCKS` cubes at places drawn from a generator seeded by the shape, and
    always includes both corners, so that the same data give the same sample wherever they lie.
    """
    digest = hashlib.sha256(json.dumps(describe_array(array), sort_keys=True).encode())
    for part in _sample(array):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def hash_content(array: Array) -> str:
    """Return the SHA-256 (hex) of every voxel of `array`, read one slab of chunks at a time."""
    digest = hashlib.sha256(json.dumps(describe_array(array), sort_keys=True).encode())
    depth = max(1, array.chunk_shape_vox[0])
    for begin in range(0, array.shape_vox[0], depth):
        digest.update(np.ascontiguousarray(array.data[..., begin : begin + depth, :, :]).tobytes())
    return digest.hexdigest()


def describe_array(array: Array) -> dict[str, Any]:
    """Return what identifies an array apart from its content, as plain values."""
    return {
        "shape": [int(each) for each in array.data.shape],
        "dtype": array.dtype.str,
        "voxel_size_nm": [float(each) for each in array.voxel_size_nm],
        "offset": [int(each) for each in array.offset],
        "units_per_nm": array.units_per_nm,
        "chunks": [int(each) for each in array.chunk_shape_vox],
        "affinity_offsets": array.attributes.get("offsets"),
    }


def _sample(array: Array) -> Iterator[np.ndarray[Any, Any]]:
    shape = np.array(array.shape_vox)
    size = np.minimum(SAMPLE_SHAPE_VOX, shape)
    generator = np.random.default_rng([int(each) for each in shape])
    begins = [np.zeros(3, int), shape - size]
    begins += [generator.integers(0, shape - size + 1) for _ in range(SAMPLE_BLOCKS - 2)]
    for begin in begins:
        z, y, x = (slice(int(b), int(b + s)) for b, s in zip(begin, size, strict=True))
        yield np.asarray(array.data[..., z, y, x])


def explain_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one phrase for each value that differs between two nested mappings.

    >>> explain_difference({"config": {"threshold": 0.2}}, {"config": {"threshold": 0.3}})
    ['config.threshold: 0.2 → 0.3']
    """
    phrases = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            phrases += explain_difference(before, after, f"{prefix}{key}.")
        elif prefix.startswith("inputs."):
            phrases.append(f"input {key} changed")
        else:
            phrases.append(f"{prefix}{key}: {_short(before)} → {_short(after)}")
    return phrases


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
