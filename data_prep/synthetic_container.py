"""Synthetic volumes on disk: a Zarr container in CREMI layout that says how it was made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import zarr
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.arrays import create_array
from catena.errors import OutputError
from data_prep.synthetic import SyntheticVolume

RECIPE = "synthetic"
"""Attribute of the container that holds what a volume was made from; written last."""

_CHUNK_NM = 512.0


def write_synthetic(container_path: str | Path, volume: SyntheticVolume) -> None:
    """Write ``volumes/raw``, ``volumes/labels/neuron_ids`` and ``volumes/labels/mitochondria``.

    The container appears under its name only when it is complete: it is written beside it and renamed.

    Raises
    ------
    OutputError
        If something is there already, the path is no ``.zarr``, or the disk refuses.
    """
    path = Path(container_path)
    prepare_container(path)
    partial = _partial(path)
    arrays: dict[str, NDArray[Any]] = {
        "volumes/raw": volume.raw,
        "volumes/labels/neuron_ids": volume.labels,
        "volumes/labels/mitochondria": volume.mitochondria,
    }
    for name, values in arrays.items():
        _write(partial / name, values, volume)
    try:
        zarr.open_group(str(partial), mode="a").attrs[RECIPE] = volume.recipe
        os.rename(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; check free space and permissions, then run again") from error


def holds(container_path: str | Path, recipe: dict[str, Any]) -> bool:
    """Tell whether a container was completely written from exactly this recipe."""
    path = Path(container_path)
    if not (path / ".zgroup").is_file():
        return False
    found: Any = zarr.open_group(str(path), mode="r").attrs.get(RECIPE)
    return bool(found == recipe)


def prepare_container(container_path: str | Path) -> None:
    """Make sure that a container can be written; clears what a killed run left beside it.

    Raises
    ------
    OutputError
        If something is there already, the path is no ``.zarr``, or its folder cannot be written.
    """
    path = Path(container_path)
    if path.suffix != ".zarr":
        raise OutputError(f"{path} is no Zarr container: choose a name that ends in .zarr")
    if path.exists():
        raise OutputError(
            f"{path} exists and is not this very volume; it is not overwritten: remove it or choose another path"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _partial(path).exists():
            shutil.rmtree(_partial(path))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: the folder {path.parent} is read-only")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial.zarr")


def _write(path: Path, values: NDArray[Any], volume: SyntheticVolume) -> None:
    chunk = Coordinate(max(1, round(_CHUNK_NM / size)) for size in volume.voxel_size)
    array = create_array(path, roi=volume.roi, voxel_size=volume.voxel_size, dtype=values.dtype, chunk_shape_vox=chunk)
    array.write(volume.roi, values)
