"""Training in several processes on one CPU."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import checkpoint, children_of, losses
from toy_training import NETWORK, ToyCrops, execution, validate

from catena.errors import CatenaError, ConfigError
from catena.training import TrainConfig, train
from catena.training import processes as processes_module

CONFIG = TrainConfig(
    iterations=6, learning_rate=1e-2, precision="float32", batch_size=2, accumulate=2, validate_every=3, ema_decay=0.9
)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr("catena.blockwise.execution.available_cores", lambda: 2)


def run(folder: Path, devices: int = 2, crops: ToyCrops | None = None, **settings: Any) -> Any:
    given = {"seed": 3, "execution": execution(devices=devices, keep_checkpoints=9), "validate": validate, **settings}
    return train(NETWORK, crops or ToyCrops(), folder, given.pop("config", CONFIG), **given)


def test_two_processes_train_what_one_does_and_go_on_where_they_stopped(tmp_path):
    before = set(children_of(os.getpid()))

    def stop(done: float, total: float, message: str = "") -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM after iteration 2 of 6"):
        run(tmp_path / "two", progress=stop)
    trained = run(tmp_path / "two")
    assert not {pid for pid in set(children_of(os.getpid())) - before if "_follow_here" in command_of(pid)}

    run(tmp_path / "one", devices=1)
    one, two = (checkpoint(tmp_path / name, 6) for name in ("one", "two"))
    # the same crops; means of means, and sums in another order
    for key in ("network", "unaveraged"):
        assert all(torch.allclose(each, two[key][name], atol=5e-4) for name, each in one[key].items())
    assert one["metrics"] == two["metrics"]
    assert trained.metrics == {"voi_sum": 11.0}
    for a, b in zip(losses(tmp_path / "one")[1:], losses(tmp_path / "two")[1:], strict=True):
        assert [float(each) for each in a] == pytest.approx([float(each) for each in b], rel=1e-2)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        pytest.param(ToyCrops(fails=True, only=1), "no crop to be had", id="error"),
        pytest.param(
            ToyCrops(dies=True, only=1), r"process 2 .* died \(exit code -9\)", id="killed", marks=pytest.mark.slow
        ),
        pytest.param(ToyCrops(nan_after=0, only=1), r"process_1\.npz", id="not finite", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_fails_ends_all(tmp_path, crops, message):
    with pytest.raises(CatenaError, match=message):
        run(tmp_path, crops=crops)
    assert (tmp_path / "not_finite_00000001_process_1.npz").exists() == ("process_1" in message)


def test_torchrun_starts_processes_as_well(tmp_path):
    script = Path(__file__).parent / "torchrun_training.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    first, second = (torch.load(tmp_path / f"weights_{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(each, second[name]) for name, each in first.items())
    written = checkpoint(tmp_path, 3)["network"]
    assert all(torch.equal(each, written[name]) for name, each in first.items())
    assert len(losses(tmp_path)) == 4


@pytest.mark.parametrize(
    ("devices", "crops", "message"),
    [
        (4, 4, "devices is 4, but there are only 2 CPU cores here"),
        (2, 3, r"2 processes cannot share 3 crops per step .* a multiple of 2"),
    ],
)
def test_more_devices_than_there_are_and_uneven_shares_are_refused(tmp_path, devices, crops, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, devices=devices, config=TrainConfig(iterations=2, batch_size=crops))
    assert not list(tmp_path.iterdir())


def test_another_number_than_torchrun_has_started_is_refused(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun has started 2 processes"):
        processes_module.require_devices(3, CONFIG, gpu=False)


@pytest.mark.parametrize(("exitcode", "ended"), [(None, []), (0, []), (-9, [1])])
def test_a_lost_process_ends_one_that_would_wait_for_ever(monkeypatch, exitcode, ended):
    ends: list[int] = []
    done = threading.Event()

    def leave(code: int) -> None:
        ends.append(code)
        done.set()

    monkeypatch.setattr(os, "_exit", leave)
    follower = SimpleNamespace(rank=1, process=SimpleNamespace(exitcode=exitcode))
    threading.Timer(0.5, done.set).start()
    processes_module.watch([follower], done, grace_s=0.01)
    assert ends == ended


def test_crops_of_neurons_can_be_sent_to_other_processes(tmp_path):
    from funlib.geometry import Coordinate, Roi

    from catena.arrays import create_array
    from local_shape_descriptors.model import ModelConfig
    from local_shape_descriptors.trainer import open_crops
    from local_shape_descriptors.training_volumes import TrainingVolume

    voxel_size, shape = Coordinate(8, 8, 8), Coordinate(24, 24, 24)
    values = np.ones(shape, np.uint8) + (np.arange(24) > 11).astype(np.uint8)
    for name, each in (("raw", values * 100), ("labels", values)):
        array = create_array(
            tmp_path / "em.zarr" / name,
            roi=Roi((0, 0, 0), shape * voxel_size),
            voxel_size=voxel_size,
            dtype="uint8",
            chunk_shape_vox=shape,
        )
        array.write(array.roi, each)
    volume = TrainingVolume(str(tmp_path / "em.zarr/raw"), str(tmp_path / "em.zarr/labels"))
    crops = open_crops([volume], ModelConfig(), TrainConfig())
    sent = pickle.loads(pickle.dumps(crops))
    assert sent.request(5) == crops.request(5)
    assert sent.network == crops.network
