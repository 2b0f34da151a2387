"""Networks that come with the package: packing them, and segmenting with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.errors import ConfigError, DataError, GeometryError, OutputError
from catena.inference import load_network
from catena.networks import build_network
from catena.pretrained import print_card, print_networks, segment_with, shipped
from catena.run import Outcome, Reporter
from data_prep.synthetic import synthesise
from local_shape_descriptors import pretrained
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.pretrained import pack

VOXEL_SIZE, SHAPE = Coordinate(8, 8, 8), Coordinate(16, 20, 20)
MODEL = {"feature_maps": 2, "growth": 1, "levels": 1}
CARD = {
    "description": "random weights",
    "data": "none",
    "licence": "CC0",
    "voxel_size_nm": [8, 8, 8],
    "hardware": "none",
    "figures": {"voi_sum": 9.9},
    "command": "none",
    "threshold": 0.33,
}
STAGES = ["predict", "fragments", "agglomerate", "lookup_tables", "segmentation"]


class Made(Reporter):
    """Remembers the stages that were made."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def end(self, outcome: Outcome) -> None:
        if outcome.action == "made":
            self.stages.append(outcome.node.stage)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint as training leaves it."""
    torch.manual_seed(0)
    config = LocalShapeDescriptorsConfig.parse(
        {"experiment": "e", "output": "/secret", "volumes": {"a": {"raw": "/secret/a.zarr/raw"}}, "model": MODEL}
    )
    network = build_network(config.model.network(VOXEL_SIZE))
    state = {
        "network_config": network.config.model_dump(mode="json"),
        "network": network.state_dict(),
        "iteration": 7,
        "user_config": config.model_dump(mode="json"),
    }
    torch.save(state, tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.fixture
def shelf(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's folder of networks, with a tiny one in it."""
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "weights")
    pack(checkpoint, "tiny", CARD)
    return tmp_path / "weights"


@pytest.fixture
def raw(tmp_path: Path) -> str:
    return write_raw(tmp_path / "data.zarr/volumes/raw", VOXEL_SIZE)


def write_raw(path: Path, voxel_size: Coordinate) -> str:
    roi = Roi((0, 0, 0), SHAPE * voxel_size)
    array = create_array(path, roi=roi, voxel_size=voxel_size, dtype="uint8", chunk_shape_vox=SHAPE)
    array.write(roi, synthesise(SHAPE, VOXEL_SIZE, seed=1).raw)
    return str(path)


def test_a_packed_network_has_a_card_and_rounded_weights(shelf: Path, checkpoint: Path) -> None:
    card = pretrained.cards()["tiny"]
    assert (card.iterations, card.merge_function, card.model.feature_maps) == (7, "hist_quant_75", 2)
    assert "/secret" not in (shelf / "tiny.json").read_text()
    found, exact = (load_network(path).network.state_dict() for path in (card.weights, checkpoint))
    assert all(torch.equal(each, exact[name].bfloat16().float()) for name, each in found.items())


def test_what_is_not_packed(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"card of a: 'licence': Field required"):
        pack(checkpoint, "a", {key: each for key, each in CARD.items() if key != "licence"}, tmp_path / "w")
    with pytest.raises(ConfigError, match=r"predicts .*, the model of the card"):
        pack(checkpoint, "a", {**CARD, "model": {**MODEL, "type": "aff"}}, tmp_path / "w")
    with pytest.raises(ConfigError, match="predicts no affinities"):
        pack(checkpoint, "a", {**CARD, "model": {**MODEL, "type": "lsd"}}, tmp_path / "w")
    monkeypatch.setattr(pretrained, "LARGEST_BYTES", 1000)
    with pytest.raises(OutputError, match=r"a would be 0\.0 MB as float32; no more than"):
        pack(checkpoint, "a", CARD, tmp_path / "w", "float32")
    assert list((tmp_path / "w").iterdir()) == []


@pytest.mark.usefixtures("in_this_process")
def test_segmenting_a_new_volume(shelf: Path, raw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, first, again = tmp_path / "out.zarr", Made(), Made()
    move = pretrained.move_into_place

    def killed(*arguments: Any, **settings: Any) -> None:
        move(*arguments, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "move_into_place", killed)
    with pytest.raises(KeyboardInterrupt):
        segment_with("tiny", raw, output, [], first)
    monkeypatch.setattr(pretrained, "move_into_place", move)
    paths = segment_with("tiny", raw, output, [], again)
    assert (first.stages, again.stages) == (
        ["predict", "fragments", "agglomerate", "lookup_tables", "segmentation"],
        [],
    )
    assert {str(path.relative_to(output)) for path in paths} == {
        "volumes/segmentation",
        "volumes/fragments",
        "volumes/pred_affs",
    }
    found = open_array(output / "volumes/segmentation")
    assert (found.roi, found.dtype) == (Roi((0, 0, 0), SHAPE * VOXEL_SIZE), np.uint64)
    made = tmp_path / "out.zarr.run/tiny/volumes/volume/volume.zarr/volumes/segmentation"
    assert np.array_equal(found.read(found.roi), open_array(made).read(found.roi))
    assert os.path.samefile(made / "0.0.0", output / "volumes/segmentation/0.0.0")
    assert not list((output / "volumes").glob(".[no]*-*"))
    assert found.attributes["threshold"] == 0.33
    # other settings replace what is there; what others made is not touched
    assert segment_with("tiny", raw, output, ["segmentation.threshold=0.5"], Made()) == paths
    assert open_array(output / "volumes/segmentation").attributes["threshold"] == 0.5
    (tmp_path / "out.zarr.run").rename(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="segmentation is there already and was not made by this command"):
        segment_with("tiny", raw, output, [], Made())


@pytest.mark.parametrize("size", [Coordinate(4, 4, 4), Coordinate(40, 8, 8), Coordinate(8, 8, 10)])
def test_data_of_another_voxel_size(shelf: Path, tmp_path: Path, size: Coordinate) -> None:
    raw = write_raw(tmp_path / "b.zarr/raw", size)
    with pytest.raises(GeometryError, match=r"tiny was trained on 8 x 8 x 8 nm .*There are: tiny \(8 x 8 x 8 nm\)"):
        pretrained.configure("tiny", raw, tmp_path / "out.zarr")
    assert pretrained.configure("tiny", write_raw(tmp_path / "c.zarr/raw", Coordinate(9, 8, 7)), tmp_path / "out.zarr")


def test_networks_and_outputs_that_there_are_not(shelf: Path, raw: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no network 'tinny' comes with Catena \(did you mean 'tiny'\?\)"):
        segment_with("tinny", raw, tmp_path / "out.zarr")
    with pytest.raises(ConfigError, match=r"zarr container, such as out\.zarr; found .*out\.h5"):
        segment_with("tiny", raw, tmp_path / "out.h5")
    (shelf / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad\.json is not the card of a network"):
        shipped()


def test_networks_are_listed(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_networks()
    assert "8 x 8 x 8" in capsys.readouterr().out
    print_card("tiny")
    card = yaml.safe_load(capsys.readouterr().out)
    assert card == json.loads((shelf / "tiny.json").read_text())


@pytest.mark.parametrize("name", ["fib25"])
def test_what_is_shipped_can_be_loaded_and_says_what_it_is(name: str) -> None:
    card = pretrained.cards()[name]
    assert card.weights.stat().st_size <= pretrained.LARGEST_BYTES
    assert dict(load_network(card.weights).config.heads) == card.model.channels
    assert card.figures["test VOI sum"] < 2.6
    assert card.figures["test adapted Rand error"] < 0.40
