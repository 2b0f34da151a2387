"""An experiment of two blocks per stage, from raw and an untrained network to scores, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.inference import save_network
from catena.networks import build_network
from data_prep.synthetic import synthesise
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import open_graph

VOXEL_SIZE = Coordinate(8, 8, 8)
SHAPE = Coordinate(24, 24, 24)
BLOCK = Coordinate(12, 24, 24)
OF_THE_RUN = ("config.yaml", "graph_owner", "ledger.sqlite", "rag.sqlite")
"""Files that differ from run to run; what is in the graph is compared table by table."""

Settings = dict[str, Any]
Results = dict[str, str]


def small_experiment(folder: Path) -> Settings:
    """Write raw, labels and a network, and return the configuration."""
    volume = synthesise(SHAPE, VOXEL_SIZE, seed=3)
    settings: Settings = {
        "task": "local_shape_descriptors",
        "experiment": "e",
        "output": str(folder / "runs"),
        "volumes": {
            "phantom": {
                "raw": _write(folder / "em.zarr/raw", volume.raw),
                "labels": _write(folder / "em.zarr/labels", volume.labels),
                "skip_empty": True,
                "regions": {"validation": {"z": [0, 12]}, "test": {"z": [12, 24]}},
            }
        },
        "model": {"feature_maps": 2, "growth": 1, "levels": 1},
        "inputs": {"checkpoint": str(folder / "untrained.safetensors")},
        "predict": {"block_shape_vox": list(BLOCK)},
        "fragments": {"block_shape_vox": list(BLOCK)},
        "evaluate": {"baseline": False},
        "execution": {"default": {"workers": 2}},
    }
    untrained_network(folder / "untrained.safetensors", settings, seed=0)
    return settings


def untrained_network(path: Path, settings: Settings, seed: int) -> str:
    """Write a network with random weights."""
    torch.manual_seed(seed)
    config = LocalShapeDescriptorsConfig.parse(settings)
    save_network(path, build_network(config.model.network(VOXEL_SIZE)))
    return str(path)


def _write(path: Path, values: np.ndarray) -> str:
    roi = Roi((0, 0, 0), SHAPE * VOXEL_SIZE)
    array = create_array(path, roi=roi, voxel_size=VOXEL_SIZE, dtype=values.dtype, chunk_shape_vox=BLOCK)
    array.write(roi, values)
    return str(path)


def results(settings: Mapping[str, Any]) -> Results:
    """Return a digest of every file, array and table but those that tell of the run; nothing else may lie there."""
    config = LocalShapeDescriptorsConfig.parse(settings)
    files = [path for path in config.folder.rglob("*") if path.is_file() and not path.name.startswith(OF_THE_RUN)]
    found = {str(path.relative_to(config.folder)): _digest_of_file(path) for path in files}
    with open_graph(config, "phantom") as store:
        for table in store.tables():
            columns = store.read(table)
            found[f"table {table}"] = _digest(
                part for name, values in columns.items() for part in (name.encode(), np.ascontiguousarray(values))
            )
    return found


def _digest_of_file(path: Path) -> str:
    if path.name == ".zarray":
        return _digest([path.read_bytes(), np.ascontiguousarray(zarr.open_array(str(path.parent), mode="r")[...])])
    if (path.parent / ".zarray").exists() and path.name != ".zattrs":
        return "a chunk"  # what it holds is compared above: threads that compress finish in any order
    return _digest([path.read_bytes()])


def _digest(parts: Iterable[bytes | np.ndarray]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
