from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import CONFIG, ITERATIONS, NETWORK, ToyCrops, execution, validate

from catena.errors import ConfigError, DataError, StageError
from catena.networks import NetworkConfig, UNetConfig
from catena.training import TrainConfig, load_checkpoint, train


def run(folder: Path, workers: int = 0, config: TrainConfig = CONFIG, **settings: Any) -> Any:
    given: dict[str, Any] = {"seed": 3, "execution": execution(workers), "validate": validate, **settings}
    return train(NETWORK, given.pop("crops", ToyCrops()), folder, config, **given)


def losses(folder: Path) -> list[list[str]]:
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.reader(file))


def checkpoint(folder: Path, iteration: int = ITERATIONS) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoints" / f"iteration_{iteration:08d}.pt")


def assert_identical(one: Path, two: Path, iteration: int = ITERATIONS) -> None:
    a, b = checkpoint(one, iteration), checkpoint(two, iteration)
    assert a["network"].keys() == b["network"].keys()
    assert all(torch.equal(a["network"][name], b["network"][name]) for name in a["network"])
    assert torch.equal(a["random_states"]["torch"], b["random_states"]["torch"])
    assert a["metrics"] == b["metrics"]
    assert losses(one) == losses(two)
    name = f"checkpoints/iteration_{iteration:08d}.pt"
    assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    run(folder)
    return folder


def test_learns(tmp_path):
    config = TrainConfig(iterations=90, learning_rate=3e-3, precision="float32")
    run(tmp_path, config=config, validate=None, execution=execution(checkpoint_every=90))
    totals = [float(row[2]) for row in losses(tmp_path)[1:]]
    assert sum(totals[-30:]) < 0.8 * sum(totals[:30])


def test_the_best_network_is_kept(unbroken):
    best = load_checkpoint(unbroken / "checkpoints" / "best.pt")
    assert best["iteration"] == 16
    assert best["metrics"]["history"] == {8: {"voi_sum": 9.0}, 16: {"voi_sum": 1.0}}
    names = sorted(each.name for each in (unbroken / "checkpoints").iterdir())
    assert names == ["best.pt", "iteration_00000016.pt", "iteration_00000020.pt", "iteration_00000024.pt"]


def test_result_names_the_best_checkpoint(unbroken):
    trained = run(unbroken)  # finished: nothing is trained again
    assert trained.checkpoint == unbroken / "checkpoints" / "best.pt"
    assert trained.iteration == 16
    assert trained.metrics == {"voi_sum": 1.0}
    assert len(losses(unbroken)) == 1 + ITERATIONS


def test_without_validation_the_last_network_is_used(tmp_path):
    trained = run(tmp_path, config=TrainConfig(iterations=3), validate=None)
    assert trained.iteration == 3
    assert load_checkpoint(trained.checkpoint)["iteration"] == 3


def test_checkpoint_and_tables_tell_what_was_done(tmp_path):
    run(
        tmp_path,
        config=TrainConfig(iterations=2),
        user_config={"experiment": "toy"},
        execution=execution(images_every=1),
    )
    state = checkpoint(tmp_path, 2)
    assert state["user_config"] == {"experiment": "toy"}
    assert NetworkConfig.parse(state["network_config"]) == NETWORK
    header, *rows = losses(tmp_path)
    assert header == ["iteration", "learning_rate", "loss", "loss_lsds", "loss_affinities"]
    assert [row[0] for row in rows] == ["1", "2"]
    assert float(rows[0][2]) == pytest.approx(float(rows[0][3]) + float(rows[0][4]), rel=1e-6)
    assert board_of(tmp_path) >= {"loss/total", "loss/lsds", "learning_rate", "raw", "lsds_target_and_prediction"}


def board_of(folder: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name for kind in ("scalars", "images") for name in board.Tags()[kind]}


def test_validation_leaves_training_as_it_would_be_without(tmp_path, unbroken):
    def disturbing(network: torch.nn.Module, iteration: int) -> dict[str, float]:
        assert not network.training
        torch.rand(17)
        return validate(network, iteration)

    run(tmp_path, validate=disturbing)
    assert_identical(tmp_path, unbroken)


@pytest.mark.parametrize("stop_after", [3, 11, ITERATIONS])
def test_continuing_equals_an_unbroken_run_whatever_the_workers(tmp_path, unbroken, stop_after):
    def stop(done: float, total: float, message: str = "") -> None:
        if done == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match=f"stopped by SIGTERM after iteration {stop_after} of {ITERATIONS}"):
        run(tmp_path, workers=1, progress=stop)
    assert checkpoint(tmp_path, stop_after)["iteration"] == stop_after

    run(tmp_path, workers=2)
    assert_identical(tmp_path, unbroken)


@pytest.mark.slow
def test_sigkill_at_any_moment_and_a_rerun_equal_an_unbroken_run(tmp_path, unbroken):
    script = [sys.executable, str(Path(__file__).parent / "toy_training.py"), str(tmp_path), "2"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 13:  # between the checkpoints of iterations 10 and 15
            break
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()

    assert (tmp_path / "checkpoints" / "iteration_00000010.pt").exists()
    assert not (tmp_path / "checkpoints" / "iteration_00000024.pt").exists()
    assert len(workers) == 2
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "data workers outlived their parent"
        time.sleep(0.05)

    run(tmp_path, workers=1)
    assert_identical(tmp_path, unbroken)


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_works_as_before_afterwards(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    run(tmp_path, config=TrainConfig(iterations=1))
    assert signal.getsignal(signal.SIGINT) is handler


def test_runs_outside_the_main_thread(tmp_path):
    thread = threading.Thread(target=run, args=(tmp_path,), kwargs={"config": TrainConfig(iterations=2)})
    thread.start()
    thread.join()
    assert len(losses(tmp_path)) == 3


def test_a_loss_that_is_no_number_stops_training_with_the_last_good_weights(tmp_path):
    crops = ToyCrops(nan_after=2 * 12)  # batches of two: iteration 13 is the first bad one
    with pytest.raises(
        StageError, match=r"loss of iteration 13 is not finite \(lsds nan.*checkpoint is that of iteration 10"
    ):
        run(tmp_path, crops=crops)
    assert all(torch.isfinite(each).all() for each in checkpoint(tmp_path, 10)["network"].values())
    assert [row[0] for row in losses(tmp_path)[1:]] == [str(i) for i in range(1, 13)]


def test_an_error_of_the_data_stops_training(tmp_path):
    with pytest.raises(DataError, match="no crop to be had"):
        run(tmp_path, crops=ToyCrops(fails=True), workers=1)


def test_a_data_worker_that_is_killed_ends_training_with_advice(tmp_path):
    message = r"prepares training crops died \(DataLoader worker \(pid.*data_workers"
    with pytest.raises(StageError, match=message):
        run(tmp_path, crops=ToyCrops(dies=True), workers=1)


def test_a_checkpoint_of_another_architecture_is_refused(unbroken):
    other = NetworkConfig(unet=UNetConfig(feature_maps=6, growth=2, downsampling=((2, 2, 2),)), heads=NETWORK.heads)
    with pytest.raises(ConfigError, match=r"another architecture \(unet\.feature_maps is 8, not 6\)"):
        train(other, ToyCrops(), unbroken, CONFIG, execution=execution())


def test_validation_without_the_objective_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must return 'voi_sum'.*found \['rand'\]"):
        run(tmp_path, config=TrainConfig(iterations=1), validate=lambda network, iteration: {"rand": 1.0})
