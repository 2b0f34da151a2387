"""Every model type trains, predicts and, with affinities, segments; predictions in memory and in blocks agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.arrays import list_arrays, open_array
from catena.errors import ConfigError, GeometryError
from catena.inference import load_network
from catena.plan import Selection
from catena.run import run
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.model import AUTOCONTEXT, ModelConfig
from local_shape_descriptors.predicter import predict
from local_shape_descriptors.task import TASK

MODELS: dict[str, dict[str, Any]] = {
    "flat": {"type": "mtlsd", "dimensions": 2},
    "rsunet": {"type": "aff", "architecture": "rsunet", "feature_maps": [2, 4]},
    # validation must know the offsets of the head, not those of the model
    "own": {"type": "aff", "heads": {"affinities": {"neighbourhood": "aff6"}}},
    "mutex": {"type": "aff", "neighbourhood": [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, -3, 0], [0, 0, -3]]},
}


def train_and_run(
    settings: dict[str, Any],
    model: dict[str, Any],
    inputs: dict[str, str] | None = None,
    crop: int = 0,
    **selection: Any,
) -> Path:
    settings = {**settings, "inputs": inputs or {}}
    settings["model"] = {"feature_maps": 2, "growth": 2, "levels": 1, **model}
    edge = crop or (36 if model["type"] in AUTOCONTEXT else 24)
    settings["train"] = {"iterations": 3, "input_shape_vox": [edge] * 3, "learning_rate": 1e-3, "min_labelled": 0.2}
    settings["predict"] = {"block_shape_vox": [16, 16, 18], "precision": "float32"}
    settings["execution"]["train"] = {"data_workers": 0, "threads": 1}
    run(TASK, LocalShapeDescriptorsConfig.parse(settings), Selection(**selection))
    return Path(settings["output"]) / settings["experiment"]


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("kind", "arrays"),
    [
        ("aff", "pred_affs fragments segmentation"),
        ("mtlsd", "pred_affs pred_lsds fragments segmentation"),
        ("lsd", "pred_lsds"),
        ("aclsd", "pred_affs pred_lsds fragments segmentation"),
        (
            "mtlsdmito",
            "pred_affs pred_lsds pred_mitochondria fragments segmentation mitochondria_fragments mitochondria",
        ),
        ("flat", "pred_affs pred_lsds fragments segmentation"),
        ("rsunet", "pred_affs fragments segmentation"),
        ("mutex", "pred_affs fragments segmentation"),
        ("own", "pred_affs fragments segmentation"),
    ],
)
def test_model_types(settings: dict[str, Any], em: dict[str, str], kind: str, arrays: str) -> None:
    settings["volumes"]["phantom"]["other_labels"] = {"mitochondria": em["mitochondria"]}
    if kind == "mutex":
        settings["fragments"] = {**settings["fragments"], "method": "mutex"}
    folder = train_and_run(settings, {"type": kind} | MODELS.get(kind, {}))
    assert (folder / "first/checkpoints/best.pt").exists() == (kind == "aclsd")
    found = list_arrays(folder / "volumes/phantom/volume.zarr")
    assert found == sorted(f"volumes/{each}" for each in arrays.split())


@pytest.mark.usefixtures("in_this_process")
def test_a_first_network_that_is_trained_already_stays_what_it_is(settings: dict[str, Any]) -> None:
    first = train_and_run({**settings, "experiment": "first"}, {"type": "lsd"}, last="train") / "checkpoints/best.pt"
    inputs = {"first": str(first)}
    folder = train_and_run(settings, {"type": "acrlsd", "normalisation": "batch"}, inputs)
    assert "volumes/segmentation" in list_arrays(folder / "volumes/phantom/volume.zarr")
    assert not (folder / "first").exists()
    before, pair = (load_network(path).network.state_dict() for path in (first, folder / "checkpoints/best.pt"))
    for name, weights in before.items():
        np.testing.assert_array_equal(pair[f"first.{name}"], weights)


def test_prediction_in_blocks_is_that_in_memory(settings: dict[str, Any], em: dict[str, str]) -> None:
    folder = train_and_run(settings, {"type": "mtlsd", "padding": "same"}, last="predict")
    memory = predict(open_array(em["raw"]).read(), folder / "checkpoints/best.pt", device="cpu", precision="float32")
    volumes = folder / "volumes/phantom/volume.zarr/volumes"
    for head, name in (("affinities", "pred_affs"), ("lsds", "pred_lsds")):
        blocks = open_array(volumes / name).read()
        assert blocks.shape == memory[head].shape
        assert np.abs(blocks.astype(int) - memory[head]).max() <= 1


@pytest.mark.usefixtures("in_this_process")
def test_long_range_neighbourhood_is_stored_with_its_offsets(settings: dict[str, Any]) -> None:
    offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-3, 0, 0]]
    folder = train_and_run(settings, {"type": "aff", "neighbourhood": offsets}, last="predict")
    array = open_array(folder / "volumes/phantom/volume.zarr/volumes/pred_affs")
    assert array.affinity_offsets == tuple(Coordinate(each) for each in offsets)


def test_a_crop_that_does_not_suit_the_pair_is_refused_before_the_first_is_trained(settings: dict[str, Any]) -> None:
    with pytest.raises(GeometryError, match=r"z = 35 \(nearest legal: 34 or 36\).*two networks one after the other"):
        train_and_run(settings, {"type": "aclsd"}, crop=35)
    assert not (Path(settings["output"]) / "e/first").exists()


def test_a_network_that_cannot_predict_in_blocks_is_refused_before_it_is_trained(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="normalisation group depends on where patches lie"):
        train_and_run(settings, {"type": "aff", "normalisation": "group"})
    assert not (Path(settings["output"]) / "e/checkpoints").exists()


@pytest.mark.parametrize(
    ("voxel_size", "downsampling"),
    [((8, 8, 8), ((2, 2, 2), (2, 2, 2))), ((40, 8, 8), ((1, 2, 2), (1, 2, 2)))],
)
def test_network_follows_the_voxel_size(voxel_size: tuple[int, ...], downsampling: tuple[tuple[int, ...], ...]) -> None:
    assert ModelConfig(levels=2).network(Coordinate(voxel_size)).unet.downsampling == downsampling
