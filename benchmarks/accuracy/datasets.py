"""The data sets of the table: real ones, or phantoms in their place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.arrays import create_array
from catena.targets.boundaries import erode_boundaries
from data_prep.synthetic import synthesise

CONFIGS = "configs/local_shape_descriptors"
SHAPE, VOXEL_SIZE = Coordinate(48, 40, 40), Coordinate(8, 8, 8)
REGIONS = {"train": {"z": [0, 24]}, "validation": {"z": [24, 36]}, "test": {"z": [36, 48]}}


@dataclass(frozen=True)
class Dataset:
    """One data set.

    Attributes
    ----------
    config
        Path of the experiment that trains on it, as a user gives it.
    data
        Below the folder that `CATENA_DATA` names; none for a phantom.
    """

    config: str
    data: str | None = None

    def missing(self) -> str | None:
        """Return why there are no data, None if there are."""
        if self.data is None:
            return None
        folder = os.environ.get("CATENA_DATA")
        if not folder:
            return f"CATENA_DATA is not set, the folder of {self.data}"
        path = Path(folder) / self.data
        return None if path.exists() else f"there is no {path}"


REAL = {
    "fib25": Dataset(f"{CONFIGS}/fib25.yaml", "fib25/labelled.zarr"),
    "fib25_long": Dataset(f"{CONFIGS}/fib25_long.yaml", "fib25/labelled.zarr"),
    "snemi3d": Dataset(f"{CONFIGS}/snemi3d.yaml", "snemi3d/snemi3d_z1-49.h5"),
}


def phantoms(folder: Path) -> dict[str, Dataset]:
    """Write a phantom, and of every real experiment one on the phantom that trains for two iterations."""
    volume = _write_phantom(folder / "phantom.zarr")
    return {name: Dataset(_on_phantom(Path(each.config), folder, volume)) for name, each in REAL.items()}


def _on_phantom(config: Path, folder: Path, volume: Mapping[str, Any]) -> str:
    settings = yaml.safe_load(config.read_text())
    (name,) = settings["volumes"]
    references = {"references": volume["references"]} if "references" in settings["volumes"][name] else {}
    settings["volumes"] = {name: {**volume, "references": {}, **references}}
    settings["output"] = str(folder / "runs")
    settings["model"] |= {"feature_maps": 2, "growth": 1}
    # Crops of 16 voxels would have 2 at the lowest level, where oneDNN's bfloat16 gradient of two maps is not a number.
    settings["train"] |= {"iterations": 2, "validate_every": 2, "warmup_iterations": 1, "input_shape_vox": [24, 24, 24]}
    settings["predict"] = settings["fragments"] = {"block_shape_vox": list(SHAPE)}
    settings["execution"] = {"default": {"workers": 1}, "train": {"threads": 1, "data_workers": 0}}
    path = folder / config.name
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def _write_phantom(container: Path) -> dict[str, Any]:
    phantom = synthesise(SHAPE, VOXEL_SIZE, seed=3)
    arrays: dict[str, NDArray[Any]] = {
        "raw": phantom.raw,
        "labels": phantom.labels,
        "reference": erode_boundaries(phantom.labels),
    }
    for name, values in arrays.items():
        array = create_array(
            container / name, roi=phantom.roi, voxel_size=VOXEL_SIZE, dtype=values.dtype, chunk_shape_vox=SHAPE
        )
        array.write(array.roi, values)
    paths = {name: str(container / name) for name in arrays}
    return {
        "raw": paths["raw"],
        "labels": paths["labels"],
        "regions": REGIONS,
        "references": {"ffn": paths["reference"]},
    }
