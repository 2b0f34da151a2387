"""A small experiment from training to scores, run as a user would, and what comes of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

CHECKPOINT = "checkpoints/best.pt"
WHAT = (CHECKPOINT, "volumes/phantom/volume.zarr/volumes", "volumes/phantom/metrics.json")
Process = subprocess.Popen[bytes]


def write_experiment(folder: Path) -> Path:
    """Synthesise a small volume and write an experiment that trains, predicts and segments it in 27 blocks."""
    command = ["synthesise", str(folder / "em.zarr"), "--shape", "72,72,72", "--voxel-size", "8,8,8", "--seed", "5"]
    subprocess.run([sys.executable, "-m", "catena", *command], check=True, stdout=subprocess.DEVNULL)
    experiment: dict[str, Any] = {
        "task": "local_shape_descriptors",
        "experiment": "faults",
        "output": str(folder / "runs"),
        "volumes": {
            "phantom": {
                "raw": str(folder / "em.zarr/volumes/raw"),
                "labels": str(folder / "em.zarr/volumes/labels/neuron_ids"),
                "regions": {"train": {"z": [0, 40]}, "validation": {"z": [40, 56]}, "test": {"z": [56, 72]}},
                "skip_empty": True,  # nothing is, but a stage more looks for it
            }
        },
        "model": {"feature_maps": 3, "growth": 2, "levels": 1},
        "train": {"iterations": 60, "input_shape_vox": [32, 32, 32], "validate_every": 30, "learning_rate": 0.001},
        "predict": {"block_shape_vox": [24, 24, 24]},
        "fragments": {"block_shape_vox": [24, 24, 24]},
        "execution": {"train": {"checkpoint_every": 10, "threads": 1}, "default": {"workers": 2}},
    }
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def start(config: Path, experiment: str, *settings: str, variables: Mapping[str, str] | None = None) -> Process:
    """Start a run in a process group of its own."""
    command = [sys.executable, "-m", "catena", "run", str(config), f"experiment={experiment}", *settings]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | dict(variables or {}),
    )


def finish(config: Path, experiment: str) -> None:
    """Run to the end."""
    process = start(config, experiment)
    _, errors = process.communicate()
    require_success(process, errors, experiment)


def require_success(process: subprocess.Popen[bytes], errors: bytes, experiment: str) -> None:
    """Raise what a run said that ended by itself, but not well."""
    if process.returncode != 0:
        raise RuntimeError(f"run {experiment} ended with {process.returncode}: {errors.decode()[-2000:]}")


def digests(config: Path, experiment: str, *settings: str) -> dict[str, str]:
    """Return the SHA-256 of every compared result; a folder's is that of its files and their names."""
    folder = config.parent / "runs" / experiment
    found = {name: digest(folder / name) for name in WHAT[1:]}
    if (folder / CHECKPOINT).exists():
        found[CHECKPOINT] = weights_digest(folder / CHECKPOINT)
    return {**found, **table_digests(config, experiment, *settings)}


def table_digests(config: Path, experiment: str, *settings: str) -> dict[str, str]:
    """Return the SHA-256 of every table of the graph, in whatever store it is."""
    from catena.config import apply_overrides, load_yaml
    from local_shape_descriptors.config import LocalShapeDescriptorsConfig
    from local_shape_descriptors.graph import open_graph

    values = apply_overrides(load_yaml(config), [f"experiment={experiment}", *settings])
    found: dict[str, str] = {}
    with open_graph(LocalShapeDescriptorsConfig.parse(values), "phantom") as store:
        for table in store.tables():
            total = hashlib.sha256()
            for name, column in store.read(table).items():
                total.update(name.encode() + np.ascontiguousarray(column).tobytes())
            found[f"table {table}"] = total.hexdigest()
    return found


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights; the file also holds the experiment's name and paths."""
    import torch

    total = hashlib.sha256()
    state = torch.load(path, weights_only=True)
    total.update(str(state["iteration"]).encode())
    for name, values in sorted(state["network"].items()):
        total.update(name.encode() + values.numpy().tobytes())
    return total.hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder."""
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
        total.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()
