"""Optimisers, schedules, accumulation, clipping, averaging: each does what it says, and resumes exactly."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import assert_identical, checkpoint, losses
from toy_training import NETWORK, ToyCrops, execution, validate

from catena.augmentation.in_step import StepAugmentation
from catena.errors import ConfigError, StageError
from catena.inference import load_network
from catena.networks import BaseNetwork, build_network
from catena.nodes.augment_config import AugmentConfig
from catena.training import TrainConfig, load_checkpoint, train
from catena.training.config import plateaus
from catena.training.dataset import CropDataset, batches, crop_seed, steps
from catena.training.optimisation import AveragedWeights, make_optimiser

SHORT: dict[str, Any] = {"iterations": 4, "learning_rate": 1e-2, "precision": "float32", "validate_every": 2}


def run(folder: Path, crops: ToyCrops | None = None, checkpoint_every: int = 2, **settings: Any) -> Any:
    config = TrainConfig(**{**SHORT, **settings})
    given = execution(checkpoint_every=checkpoint_every)
    return train(NETWORK, crops or ToyCrops(), folder, config, seed=3, execution=given, validate=validate)


def rates(folder: Path) -> list[float]:
    return [float(row[1]) for row in losses(folder)[1:]]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "sgd", "ema_decay": 0.9, "gradient_clip": 0.05},
        {"optimiser": "adamw", "accumulate": 2, "schedule": "plateau", "patience": 1, "gamma": 0.5},
    ],
    ids=["averaged", "accumulated"],
)
def test_going_on_is_exact(tmp_path, settings):
    run(tmp_path / "unbroken", **settings)
    run(tmp_path / "broken", iterations=2, **settings)
    run(tmp_path / "broken", **settings)
    last = [checkpoint(tmp_path / name, 4) for name in ("unbroken", "broken")]
    if "ema_decay" in settings:
        assert all(torch.equal(each, last[1]["unaveraged"][name]) for name, each in last[0]["unaveraged"].items())
    assert_identical(tmp_path / "unbroken", tmp_path / "broken", 4)


def test_the_average_is_validated_and_exported_and_the_network_trained(tmp_path):
    seen: list[dict[str, torch.Tensor]] = []

    def look(network: BaseNetwork, iteration: int) -> dict[str, float]:
        seen.append({name: each.clone() for name, each in network.state_dict().items()})
        return {"voi_sum": 1.0 / iteration}

    config = TrainConfig(**{**SHORT, "validate_every": 1, "iterations": 3, "ema_decay": 0.9})
    trained = train(NETWORK, ToyCrops(), tmp_path, config, seed=3, execution=execution(), validate=look)
    plain = TrainConfig(**{**SHORT, "validate_every": 1, "iterations": 3})
    train(NETWORK, ToyCrops(), tmp_path / "plain", plain, seed=3, execution=execution(), validate=look)
    name = "heads.lsds.weight" if "heads.lsds.weight" in seen[0] else next(iter(seen[0]))
    average, weights = [each[name] for each in seen[:3]], [each[name] for each in seen[3:]]
    assert not torch.equal(average[2], weights[2])
    expected = average[1] + (weights[2] - average[1]) * (1 - (1 + 3) / (10 + 3))
    torch.testing.assert_close(average[2], expected)
    exported = load_network(trained.checkpoint)
    assert torch.equal(exported.network.state_dict()[name], average[2])
    assert "unaveraged" not in exported.metadata
    state = load_checkpoint(trained.checkpoint)
    assert torch.equal(state["unaveraged"][name], weights[2])


def test_the_decay_of_the_average_grows_to_what_was_asked_for():
    torch.manual_seed(0)
    network, average = build_network(NETWORK), AveragedWeights(build_network(NETWORK), 0.5)
    name = next(iter(network.state_dict()))
    before = average.network.state_dict()[name].clone()
    average.add(network, step=1000)
    half = (before + network.state_dict()[name]) / 2
    torch.testing.assert_close(average.network.state_dict()[name], half)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    run(tmp_path / "large", batch_size=4)
    run(tmp_path / "parts", batch_size=2, accumulate=2)
    one, two = (checkpoint(tmp_path / name, 4)["network"] for name in ("large", "parts"))
    assert all(torch.allclose(each, two[name], atol=2e-4) for name, each in one.items())
    run(tmp_path / "small", batch_size=2)
    other = checkpoint(tmp_path / "small", 4)["network"]
    assert not all(torch.allclose(each, other[name], atol=2e-4) for name, each in one.items())


def dataset(process: int = 0, processes: int = 1, **settings: int) -> CropDataset:
    given = {"seed": 1, "start": 2, "stop": 4, "batch_size": 2, "accumulate": 3, **settings}
    return CropDataset(ToyCrops(), process=process, processes=processes, **given)


@pytest.mark.parametrize(("processes", "parts"), [(1, [2, 2, 2]), (2, [2, 1]), (3, [2]), (6, [1])])
def test_processes_share_the_crops_of_every_step(processes, parts):
    wanted = [torch.cat([each.raw for each in step]) for step in steps(dataset(), 0)]
    shares = [list(steps(dataset(each, processes), 0)) for each in range(processes)]
    assert all([each.size for each in step] == parts for share in shares for step in share)
    for step, whole in enumerate(wanted):
        mine = [torch.cat([each.raw for each in share[step]]) for share in shares]
        assert torch.equal(torch.stack(mine, dim=1).flatten(0, 1), whole)


def test_shares_do_not_depend_on_the_number_of_workers():
    one, two = ([each.raw for each in batches(dataset(1, 2), workers)] for workers in (0, 2))
    assert len(one) == 4
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("settings", "kind", "group"),
    [
        ({}, torch.optim.Adam, {"weight_decay": 0, "betas": (0.95, 0.999)}),
        ({"optimiser": "adamw"}, torch.optim.AdamW, {"weight_decay": 0.01}),
        ({"optimiser": "sgd", "momentum": 0.8, "weight_decay": 0.1}, torch.optim.SGD, {"momentum": 0.8}),
    ],
)
def test_optimisers(settings, kind, group):
    made = make_optimiser([torch.nn.Parameter(torch.zeros(1))], TrainConfig(**settings))
    assert type(made) is kind
    assert made.param_groups[0] | group == made.param_groups[0]


def test_a_large_gradient_is_scaled_down(tmp_path):
    settings = {"iterations": 1, "optimiser": "sgd", "momentum": 0.0, "learning_rate": 1.0}
    before: list[dict[str, torch.Tensor]] = []

    def note(network: BaseNetwork) -> None:
        before.append({name: each.clone() for name, each in network.state_dict().items()})

    config = TrainConfig(**{**SHORT, **settings, "gradient_clip": 1e-3})
    train(NETWORK, ToyCrops(), tmp_path, config, seed=3, execution=execution(), initial=note)
    after = checkpoint(tmp_path, 1)["network"]
    steps = torch.cat([(after[name] - each).flatten() for name, each in before[0].items()])
    assert steps.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_learning_rate_falls_in_steps_and_on_plateaus(tmp_path):
    config = TrainConfig(iterations=10, learning_rate=1.0, schedule="step", step_iterations=4, gamma=0.5)
    assert [config.learning_rate_at(i) for i in (0, 3, 4, 8)] == [1.0, 1.0, 0.5, 0.25]
    assert [plateaus(scores, 2) for scores in ([], [1, 1], [1, 1, 1], [2, 3, 3, 3, 3], [2, 3, 1, 2, 0.5])] == [
        0,
        0,
        1,
        2,
        0,
    ]
    # the toy's validation gets better until iteration 16: at iterations 1 to 6 always, from 17 on never
    run(tmp_path, iterations=20, validate_every=1, schedule="plateau", patience=2, gamma=0.5, checkpoint_every=20)
    assert rates(tmp_path)[15:] == [0.01, 0.01, 0.01, 0.005, 0.005]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "step"}, "needs step_iterations"),
        ({"step_iterations": 3}, "schedule is constant"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"gradient_clip": 0}, "gradient_clip"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(settings)


def test_what_needs_something_that_is_not_there_is_refused(tmp_path):
    def start(**settings: Any) -> None:
        train(NETWORK, ToyCrops(), tmp_path, TrainConfig(**settings), execution=execution())

    with pytest.raises(ConfigError, match="float16 is for GPUs"):
        start(precision="float16")
    with pytest.raises(ConfigError, match="nothing to validate on"):
        start(schedule="plateau")
    assert not list(tmp_path.iterdir())


def test_other_settings_than_the_checkpoint_was_trained_with_are_refused_and_shown(tmp_path):
    run(tmp_path, iterations=2)
    shown = r"other settings \(train\.accumulate is 1, not 2; train\.learning_rate is 0\.01, not 0\.5\)"
    with pytest.raises(ConfigError, match=shown):
        run(tmp_path, accumulate=2, learning_rate=0.5)
    run(tmp_path, iterations=3, validate_every=1)  # longer, and scored more often


def test_the_batch_that_turned_the_loss_into_no_number_is_kept(tmp_path):
    with pytest.raises(StageError, match=r"crops are in .*not_finite_00000003\.npz"):
        run(tmp_path, crops=ToyCrops(nan_after=6), batch_size=1, accumulate=3)
    with np.load(tmp_path / "not_finite_00000003.npz") as kept:
        assert (int(kept["iteration"]), int(kept["seed"])) == (3, 3)
        assert kept["raw"].shape == (3, 1, 20, 20, 20)
        assert np.isnan(kept["raw"]).all()
        assert kept["targets/lsds"].shape == (3, 2, 4, 4, 4)
        assert kept["weights/affinities"].shape == (3, 1, 4, 4, 4)


def test_the_batch_is_kept_as_the_network_got_it(tmp_path, monkeypatch):
    def train_with(folder: Path, augmentation: StepAugmentation | None) -> Any:
        with pytest.raises(StageError, match="gradient of iteration 1"):
            train(NETWORK, ToyCrops(), folder, config, seed=3, execution=execution(), augmentation=augmentation)
        return np.load(folder / "not_finite_00000001.npz")

    config = TrainConfig(iterations=1, batch_size=2)
    monkeypatch.setattr("catena.training.run.gradient_norm", lambda parameters: torch.tensor(torch.inf))
    extra = {"scipy.ndimage.gaussian_filter": {"sigma": 1.0}, "within": "step"}
    blur = StepAugmentation(AugmentConfig.parse({"extra": [extra]}).within_step)
    with train_with(tmp_path / "plain", None) as plain, train_with(tmp_path / "blurred", blur) as blurred:
        seeds = [crop_seed(3, 0, each) for each in range(2)]
        assert plain["seeds"].tolist() == blurred["seeds"].tolist() == seeds
        expected = blur.open()(torch.from_numpy(plain["raw"]), seeds)
        assert np.array_equal(blurred["raw"], expected)
        assert not np.array_equal(blurred["raw"], plain["raw"])


def test_a_validation_that_is_no_number_is_refused_with_the_remedy(tmp_path):
    def score(network: BaseNetwork, iteration: int) -> dict[str, float]:
        return {"voi_sum": np.nan, "threshold": 0.5}

    config = TrainConfig(iterations=1, validate_every=1)
    with pytest.raises(StageError, match=r"iteration 1 is not finite \(voi_sum nan\); is there a labelled voxel"):
        train(NETWORK, ToyCrops(), tmp_path, config, execution=execution(), validate=score)


def test_a_gradient_that_is_no_number_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("catena.training.run.gradient_norm", lambda parameters: torch.tensor(torch.inf))
    with pytest.raises(StageError, match=r"gradient of iteration 1 is not finite \(norm inf\)"):
        run(tmp_path)
    assert (tmp_path / "not_finite_00000001.npz").exists()


def test_later_settings_at_their_defaults_leave_a_trained_network_trained():
    assert "ema_decay" not in TrainConfig().fingerprinted()
    assert TrainConfig(ema_decay=0.9).fingerprinted()["ema_decay"] == 0.9
    assert TrainConfig().fingerprinted()["learning_rate"] == 0.5e-4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_a_compiled_network_is_trained_alike_up_to_rounding(tmp_path):
    config = TrainConfig(**{**SHORT, "iterations": 2})
    for name, compiled in (("compiled", True), ("plain", False)):
        given = execution().model_copy(update={"compile": compiled})
        train(NETWORK, ToyCrops(), tmp_path / name, config, seed=3, execution=given)
    one, two = (checkpoint(tmp_path / name, 2)["network"] for name in ("compiled", "plain"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(each, two[name], atol=1e-4) for name, each in one.items())
