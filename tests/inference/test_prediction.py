from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import ConfigError, DataError, GeometryError
from catena.inference import Predictor, mirrored_reader, predict_array, prepare_raw
from catena.networks import Network, NetworkConfig, UNetConfig, build_network

SMALL = UNetConfig(feature_maps=3, growth=1.5, kernels_down=(((3, 3, 3),),) * 3)
VARIANTS = {
    "valid": SMALL,
    "same": SMALL.model_copy(update={"padding": "same", "upsampling": "projected"}),
    "cropped": SMALL.model_copy(update={"equivariant_crop": True, "upsampling": "transposed"}),
    "anisotropic": UNetConfig(
        feature_maps=3,
        growth=1.5,
        downsampling=((1, 2, 2), (2, 3, 3)),
        kernels_down=(((1, 3, 3), (1, 3, 3)), ((3, 3, 3),), ((3, 3, 3),)),
        padding="same",
        normalisation="batch",
    ),
}


def make(unet: UNetConfig, in_channels: int = 1) -> Network:
    torch.manual_seed(1)
    network = build_network(NetworkConfig(in_channels=in_channels, unet=unet, heads={"affinities": 3, "other": 1}))
    for head in network.heads.values():
        head.weight.data *= 4  # spread the output over the range of uint8
    return network


def volume(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def in_blocks(predictor: Predictor, raw: NDArray[np.uint8], block: Coordinate) -> dict[str, NDArray[np.uint8]]:
    shape = Coordinate(raw.shape[-3:])
    heads = predictor.network.config.heads
    found = {name: np.zeros((channels, *shape), dtype=np.uint8) for name, channels in heads.items()}
    for begin in product(*(range(0, n, size) for n, size in zip(shape, block, strict=True))):
        core = Coordinate(min(size, n - b) for b, n, size in zip(begin, shape, block, strict=True))
        window = tuple(slice(b, b + n) for b, n in zip(begin, core, strict=True))
        for name, values in predictor.block(mirrored_reader(raw), Coordinate(begin), core).items():
            found[name][(slice(None), *window)] = values
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_blocks_predict_what_the_whole_volume_does(name: str, precision: str) -> None:
    raw = volume((13, 26, 23))
    network = make(VARIANTS[name])
    whole = Predictor(network, precision=precision).array(raw)  # type: ignore[arg-type]
    # Blocks off the patch grid, patches smaller than blocks, two at a time.
    small = Predictor(network, precision=precision, memory_gb=5e-3, batch_size=2)  # type: ignore[arg-type]
    for head, values in in_blocks(small, raw, Coordinate(7, 15, 13)).items():
        assert np.abs(values.astype(int) - whole[head]).max() <= 1
        assert values.std() > 5


def test_patches_off_the_grid_would_differ() -> None:
    """The alignment is needed: blocks that count from elsewhere predict other values."""
    raw = volume((24, 24, 24))
    predictor = Predictor(make(VARIANTS["valid"]))
    read = mirrored_reader(raw)
    aligned = predictor.block(read, Coordinate(4, 4, 4), Coordinate(8, 8, 8))["affinities"]
    one_off = predictor.block(
        lambda begin, shape: read(begin + Coordinate(1, 1, 1), shape), Coordinate(3, 3, 3), Coordinate(8, 8, 8)
    )["affinities"]
    assert np.abs(aligned.astype(int) - one_off).max() > 1


def test_every_voxel_is_the_network_on_mirrored_context() -> None:
    network = make(VARIANTS["valid"])
    raw = volume((9, 10, 11))
    context = tuple(network.context_vox)
    padded = np.pad(raw, [(c, c + 3) for c in context], mode="reflect")  # smaller than its context: mirrored often
    shape = network.input_shape_vox(Coordinate(raw.shape))
    x = torch.from_numpy(prepare_raw(padded))[None, None, : shape[0], : shape[1], : shape[2]]
    with torch.no_grad():
        expected = network.eval()(x)["affinities"][0, :, :9, :10, :11].numpy() * 255
    found = predict_array(network, raw)["affinities"]
    assert np.abs(found - expected).max() <= 0.51
    assert found.dtype == np.uint8


def test_padded_network_feels_no_padding() -> None:
    """A padded network gives the values of its unpadded interior, at the volume's border too."""
    network = make(VARIANTS["same"])
    raw = np.full((16, 16, 16), 100, dtype=np.uint8)
    raw[8, 8, 8] = 101  # not constant, which is refused
    found = predict_array(network, raw)["affinities"].astype(int)
    assert np.ptp(found.reshape(3, -1), axis=1).max() <= 1  # a uniform volume, mirrored, is uniform


def test_batches_and_memory_change_nothing_and_progress_is_told() -> None:
    network, raw = make(VARIANTS["valid"]), volume((20, 24, 28))
    told: list[tuple[int, int]] = []
    whole = Predictor(network, memory_gb=1).array(raw)["affinities"]
    batched = Predictor(network, memory_gb=0.003, batch_size=3).array(raw, progress=lambda *each: told.append(each))
    assert np.abs(whole.astype(int) - batched["affinities"]).max() <= 1
    assert len(told) > 1
    assert told[-1][0] == told[-1][1]


def test_heads_can_be_chosen_and_channels_are_taken() -> None:
    network = make(VARIANTS["valid"], in_channels=2)
    raw = volume((2, 8, 9, 10))
    found = Predictor(network).array(raw, heads=["other"])
    assert {name: each.shape for name, each in found.items()} == {"other": (1, 8, 9, 10)}
    with pytest.raises(ConfigError, match=r"no head \['affs'\]; it has \['affinities', 'other'\]"):
        Predictor(network).array(raw, heads=["affs"])
    with pytest.raises(DataError, match=r"raw has shape \(1, .*; the network and its context need \(2, "):
        Predictor(network).array(raw[0])


def test_bad_raw_is_refused() -> None:
    predictor = Predictor(make(VARIANTS["valid"]))
    with pytest.raises(DataError, match="constant: every voxel"):
        predictor.array(np.full((8, 8, 8), 7, dtype=np.uint8))
    with pytest.raises(DataError, match="1 voxels that are NaN"):
        predictor.array(np.where(np.arange(512).reshape(8, 8, 8) == 3, np.nan, 0.5))
    with pytest.raises(DataError, match="found shape"):
        predictor.array(volume((8, 8)))
    with pytest.raises(DataError, match="the network and its context need"):
        predictor.block(lambda begin, shape: volume((8, 8, 8)), Coordinate(0, 0, 0), Coordinate(8, 8, 8))
    with pytest.raises(GeometryError, match="empty block"):
        predictor.block(mirrored_reader(volume((8, 8, 8))), Coordinate(0, 0, 0), Coordinate(0, 8, 8))


def test_constant_block_of_a_varied_volume_is_predicted() -> None:
    raw = volume((8, 8, 60))
    raw[..., :52] = 0
    found = Predictor(make(VARIANTS["valid"])).block(mirrored_reader(raw), Coordinate(0, 0, 0), Coordinate(8, 8, 4))
    assert found["affinities"].shape == (3, 8, 8, 4)


def test_refuses_what_the_device_cannot_do() -> None:
    network = make(VARIANTS["valid"])
    with pytest.raises(ConfigError, match="float16 is for GPUs"):
        Predictor(network, precision="float16")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU here"):
            Predictor(network, device="cuda")
    with pytest.raises(ConfigError, match="normalisation: group"):
        Predictor(make(UNetConfig(feature_maps=8, growth=1, normalisation="group")))
