"""A run killed at any moment and run again gives the bit-identical result."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from small_experiment import Results, Settings, results

from benchmarks.faults.experiment import CHECKPOINT, weights_digest

pytestmark = pytest.mark.slow


def experiment(em: dict[str, str], folder: Path) -> Settings:
    """Train, predict in 27 blocks and segment, with a tiny network."""
    return {
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


@pytest.fixture(scope="module")
def unbroken(em: dict[str, str], fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert forked.run_in_child(experiment(em, folder), folder / "log") == 0, (folder / "log").read_text()
    return compared(experiment(em, folder))


def compared(settings: Settings) -> Results:
    """Return digests of all that a run makes; but checkpoints hold paths and TensorBoard the time."""
    found = results(settings)
    same = {name: each for name, each in found.items() if not name.startswith(("checkpoints", "tensorboard"))}
    return same | {CHECKPOINT: weights_digest(Path(settings["output"]) / "e" / CHECKPOINT)}


def training_has_a_checkpoint(run: Path) -> bool:
    return len(list(run.glob(".staging/train-*/checkpoints/iteration_*.pt"))) > 1


def blocks_are_agglomerated(run: Path) -> bool:
    logs = run.glob("volumes/phantom/.staging/agglomerate-*/blockwise/logs/*.log")
    return any("done in" in each.read_text() for each in logs)


@pytest.mark.parametrize("moment", [training_has_a_checkpoint, blocks_are_agglomerated])
def test_killed_run_ends_like_an_unbroken_one(
    em: dict[str, str], unbroken: Results, tmp_path: Path, moment: Callable[[Path], bool]
) -> None:
    settings, run, log = experiment(em, tmp_path), tmp_path / "runs/e", tmp_path / "log"
    ended = forked.run_in_child_until(lambda: moment(run), settings, log)
    assert ended == -signal.SIGKILL, log.read_text()
    assert not (run / "volumes/phantom/metrics.json").exists()
    assert forked.run_in_child(settings, log) == 0, log.read_text()
    assert compared(settings) == unbroken
    assert unbroken.keys() >= {"losses.csv", "volumes/phantom/metrics.json", "table nodes", CHECKPOINT}
