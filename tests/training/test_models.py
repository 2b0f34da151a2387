"""Losses per head, and a pair of networks, in the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import NETWORK, ToyCrops, execution

from catena.errors import ConfigError
from catena.inference import load_network
from catena.networks import LOSSES, AutocontextConfig, BaseNetwork, NetworkConfig, UNetConfig, build_network
from catena.training import Crop, TrainConfig, load_checkpoint, train

UNET = UNetConfig(feature_maps=2, growth=1, downsampling=((2, 2, 2),), kernels_down=(((3, 3, 3),),) * 2, padding="same")
ALONE = NetworkConfig(unet=UNET, heads={"lsds": 2})
SHORT = TrainConfig(iterations=3, learning_rate=1e-2, precision="float32")


def pair(train_first: bool) -> AutocontextConfig:
    second = NetworkConfig(in_channels=3, unet=UNET, heads={"affinities": 3})
    return AutocontextConfig(first=ALONE, second=second, with_raw=True, train_first=train_first)


@dataclass(frozen=True)
class Crops:
    heads: dict[str, int]

    @contextmanager
    def __call__(self) -> Iterator[Callable[[int], Crop]]:
        def crop(seed: int) -> Crop:
            rng = np.random.default_rng(seed)
            targets = {head: (rng.random((n, 4, 4, 4)) < 0.5).astype(np.float32) for head, n in self.heads.items()}
            weights = {head: np.ones_like(each) for head, each in targets.items()}
            return Crop(rng.uniform(-1, 1, (1, 4, 4, 4)).astype(np.float32), targets, weights)

        yield crop


@pytest.mark.parametrize("train_first", [False, True])
def test_a_first_network_is_frozen_or_trained(tmp_path: Path, train_first: bool) -> None:
    torch.manual_seed(9)
    alone, config = build_network(ALONE), pair(train_first)
    calls = []

    def initial(network: BaseNetwork) -> None:
        calls.append(network)
        network.load_first(alone)  # type: ignore[attr-defined]

    for iterations in (2, 3):  # the second call goes on from the first one's checkpoint
        train(
            config,
            Crops(config.trained_heads),
            tmp_path,
            SHORT.model_copy(update={"iterations": iterations}),
            execution=execution(images_every=1),
            initial=initial,
        )
    assert len(calls) == 1
    found = load_network(tmp_path / "checkpoints" / "iteration_00000003.pt", expected=config).network.state_dict()
    same = [torch.equal(found[f"first.{name}"], each) for name, each in alone.state_dict().items()]
    assert not any(same) if train_first else all(same)
    header = (tmp_path / "losses.csv").read_text().splitlines()[0]
    assert header.endswith("loss,loss_lsds,loss_affinities" if train_first else "loss,loss_affinities")


def test_losses_are_weighted_per_head(tmp_path: Path) -> None:
    rows = {}
    for name, losses in {
        "default": None,
        "given": {"affinities": [LOSSES["mse"](weight=2), LOSSES["malis"](), LOSSES["dice"](weight=0.5)]},
    }.items():
        config = NetworkConfig(unet=UNET, heads={"lsds": 2, "affinities": 3})
        offsets = {"affinities": ((-1, 0, 0), (0, -1, 0), (0, 0, -1))}
        train(
            config,
            Crops(config.heads),
            tmp_path / name,
            SHORT.model_copy(update={"iterations": 1}),
            losses=losses,
            offsets=offsets,
            execution=execution(),
        )
        header, row = (line.split(",") for line in (tmp_path / name / "losses.csv").read_text().splitlines())
        rows[name] = dict(zip(header, map(float, row), strict=True))
    assert rows["given"]["loss_lsds"] == rows["default"]["loss_lsds"]
    assert rows["given"]["loss_affinities"] > 2 * rows["default"]["loss_affinities"]
    assert rows["given"]["loss"] == pytest.approx(rows["given"]["loss_lsds"] + rows["given"]["loss_affinities"])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"affs": []}, r"losses are given for \['affs'\], but the heads that are trained are \['affinities', 'lsds'\]"),
        ({"lsds": []}, "the head lsds has no loss"),
        ({"lsds": [LOSSES["malis"]()]}, "malis of the head lsds needs the offset of each of its 2 channels, found 0"),
    ],
)
def test_losses_that_cannot_be_taken_are_refused_before_training(tmp_path: Path, losses: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(NETWORK, ToyCrops(), tmp_path, SHORT, losses=losses, execution=execution())
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_from_before_a_setting_was_there_is_gone_on_from(tmp_path: Path) -> None:
    run = {"execution": execution(), "folder": tmp_path, "open_crops": Crops(ALONE.heads)}
    train(ALONE, config=SHORT, **run)
    latest = tmp_path / "checkpoints" / "iteration_00000003.pt"
    state = load_checkpoint(latest)
    del state["network_config"]["architecture"], state["network_config"]["unet"]["residual"]
    torch.save(state, latest)
    assert train(ALONE, config=SHORT.model_copy(update={"iterations": 4}), **run).iteration == 4
