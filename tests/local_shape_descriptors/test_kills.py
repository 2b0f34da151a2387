"""A run killed at any moment and run again gives the bit-identical result."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from catena.arrays import list_arrays, open_array

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unbroken(em: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("unbroken")
    subprocess.run(command(em, folder), check=True, capture_output=True)
    return folder / "runs/e"


def command(em: dict[str, str], folder: Path) -> list[str]:
    """Train, predict in 27 blocks and segment, with a tiny network."""
    experiment: dict[str, Any] = {
        "task": "local_shape_descriptors",
        "experiment": "e",
        "output": str(folder / "runs"),
        "volumes": {
            "phantom": {
                "raw": em["raw"],
                "labels": em["labels"],
                "regions": {"train": {"z": [0, 24]}, "validation": {"z": [24, 36]}, "test": {"z": [36, 48]}},
            }
        },
        "model": {"feature_maps": 2, "growth": 2, "levels": 1},
        "train": {"iterations": 24, "input_shape_vox": [28, 28, 28], "validate_every": 12, "learning_rate": 1e-3},
        "predict": {"block_shape_vox": [16, 16, 18]},
        "fragments": {"block_shape_vox": [16, 16, 18]},
        "execution": {"train": {"checkpoint_every": 4, "threads": 1}, "default": {"workers": 2}},
    }
    path = folder / "e.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return [sys.executable, "-m", "catena", "run", str(path)]


def training_has_a_checkpoint(run: Path) -> bool:
    return len(list(run.glob(".staging/train-*/checkpoints/iteration_*.pt"))) > 1


def blocks_are_agglomerated(run: Path) -> bool:
    logs = run.glob("volumes/phantom/.staging/agglomerate-*/blockwise/logs/*.log")
    return any("done in" in each.read_text() for each in logs)


@pytest.mark.parametrize("moment", [training_has_a_checkpoint, blocks_are_agglomerated])
def test_killed_run_ends_like_an_unbroken_one(
    em: dict[str, str], unbroken: Path, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    process = subprocess.Popen(command(em, tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not moment(tmp_path / "runs/e"):
        assert process.poll() is None, "the run ended before the moment to kill it"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "runs/e/volumes/phantom/metrics.json").exists()
    subprocess.run(command(em, tmp_path), check=True, capture_output=True)
    same_weights(unbroken / "checkpoints/best.pt", tmp_path / "runs/e/checkpoints/best.pt")
    volumes = "volumes/phantom/volume.zarr"
    assert list_arrays(unbroken / volumes) == list_arrays(tmp_path / "runs/e" / volumes)
    for name in list_arrays(unbroken / volumes):
        ours, theirs = (open_array(each / volumes / name).read() for each in (tmp_path / "runs/e", unbroken))
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    for name in ("volumes/phantom/metrics.json", "losses.csv"):
        assert (tmp_path / "runs/e" / name).read_text() == (unbroken / name).read_text()


def same_weights(ours: Path, theirs: Path) -> None:
    """Compare two checkpoints' networks bit by bit."""
    a, b = (torch.load(each, weights_only=True) for each in (ours, theirs))
    assert a["iteration"] == b["iteration"]
    assert a["network"].keys() == b["network"].keys()
    for name, values in a["network"].items():
        assert torch.equal(values, b["network"][name]), name
