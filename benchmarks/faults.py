"""Kill `catena run` with SIGKILL at random moments, run it again, and compare with a run that was never killed."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.result import Figure

KILLS, SMOKE_KILLS = 10, 2
SEED = 0
CHECKPOINT = "checkpoints/best.pt"
WHAT = (CHECKPOINT, "volumes/phantom/volume.zarr/volumes", "volumes/phantom/metrics.json")


def measure(smoke: bool = False) -> dict[str, Figure]:
    """Return how often a run was killed, and in how many results it then differed from an unbroken one."""
    kills = SMOKE_KILLS if smoke else KILLS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = write_experiment(folder)
        began = time.monotonic()
        finish(config, "unbroken")
        duration = time.monotonic() - began
        print(f"unbroken run: {duration:.0f} s", flush=True)
        expected = digests(folder / "runs" / "unbroken")
        done, round_, differences = 0, 0, 0
        while done < kills:
            round_ += 1
            done += kill_until_finished(
                config, f"killed_{round_}", kills - done, duration, random.Random(SEED + round_)
            )
            found = digests(folder / "runs" / f"killed_{round_}")
            differences += sum(found[key] != expected[key] for key in expected)
    return {
        "kills": Figure(done, "kills", "higher"),
        "differences": Figure(differences, "results", "lower"),
    }


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


def start(config: Path, experiment: str) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own."""
    command = [sys.executable, "-m", "catena", "run", str(config), f"experiment={experiment}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(config: Path, experiment: str) -> None:
    """Run to the end."""
    process = start(config, experiment)
    _, errors = process.communicate()
    require_success(process, errors, experiment)


def require_success(process: subprocess.Popen[bytes], errors: bytes, experiment: str) -> None:
    """Raise what a run said that ended by itself, but not well."""
    if process.returncode != 0:
        raise RuntimeError(f"run {experiment} ended with {process.returncode}: {errors.decode()[-2000:]}")


def kill_until_finished(config: Path, experiment: str, kills: int, duration: float, generator: random.Random) -> int:
    """Kill the master of a run up to `kills` times, then let it finish; return how often it was killed.

    Raises
    ------
    RuntimeError
        If a run fails by itself, whether or not it was about to be killed.
    """
    done = 0
    while done < kills and killed(
        start(config, experiment), generator.uniform(0.5, max(2.0, duration / 3)), experiment
    ):
        done += 1
    finish(config, experiment)
    return done


def killed(process: subprocess.Popen[bytes], after_s: float, experiment: str) -> bool:
    """Kill the master unless it ends within `after_s`; its workers follow. Tell whether it had to be killed."""
    try:
        _, errors = process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            return True
    require_success(process, errors, experiment)
    return False


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every compared result; a folder's is that of its files and their names."""
    return {name: weights_digest(folder / name) if name == CHECKPOINT else digest(folder / name) for name in WHAT}


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
