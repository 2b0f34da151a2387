from __future__ import annotations

import pytest
import torch
from funlib.geometry import Coordinate
from torch import Tensor

from catena.errors import ConfigError, GeometryError
from catena.networks import RSUNET, Network, NetworkConfig, UNetConfig, build_network, unet_for_voxel_size
from catena.networks.blocks import build_block
from catena.networks.upsampling import Linear

MIXED = UNetConfig(
    feature_maps=2,
    growth=1.5,
    downsampling=((1, 2, 2), (3, 2, 3)),
    kernels_down=(((1, 3, 3), (1, 5, 3)), ((3, 3, 3),), ((3, 3, 3), (3, 1, 3))),
)
VARIANTS = {
    "plain": UNetConfig(feature_maps=2, growth=1.5),
    "mixed": MIXED,
    "cropped": MIXED.model_copy(update={"equivariant_crop": True}),
    "odd crop": UNetConfig(
        feature_maps=2, growth=1, downsampling=((3, 3, 3),), kernels_up=(((1, 3, 3),),), equivariant_crop=True
    ),
    "transposed": UNetConfig(feature_maps=2, growth=1.5, upsampling="transposed"),
    "projected": UNetConfig(feature_maps=2, growth=1.5, upsampling="projected"),
    "batch": UNetConfig(feature_maps=2, growth=1.5, normalisation="batch", activation="silu"),
    "residual": MIXED.model_copy(update={"residual": True, "normalisation": "batch"}),
    "residual symmetric": MIXED.model_copy(update={**RSUNET, "feature_maps": (2, 3, 4)}),
    "residual symmetric, cropped": MIXED.model_copy(
        update={**RSUNET, "feature_maps": (2, 3, 2), "equivariant_crop": True, "normalisation": "none"}
    ),
    "linear": UNetConfig(
        feature_maps=2,
        growth=1.5,
        upsampling="linear",
        downsampling=((2, 4, 3),),
        pre_activation=True,
        activation="silu",
    ),
    "2D": unet_for_voxel_size(Coordinate(8, 8, 8), levels=2, dimensions=2, feature_maps=2, growth=1.5),
    "no levels": UNetConfig(feature_maps=2, downsampling=()),
}


def make(unet: UNetConfig, **settings: object) -> Network:
    torch.manual_seed(0)
    if unet.activation == "relu":  # so few of them may all be dead
        unet = unet.model_copy(update={"activation": "elu"})
    return build_network(NetworkConfig(unet=unet, **{"heads": {"affinities": 3}, **settings})).double().eval()


@torch.no_grad()
def predict(network: Network, x: Tensor) -> Tensor:
    return network(x)["affinities"]


def test_heads_channels_and_range() -> None:
    network = make(UNetConfig(feature_maps=2, growth=1.5), in_channels=2, heads={"affinities": 3, "descriptors": 10})
    with torch.no_grad():
        found = network(torch.randn(2, 2, 44, 48, 44, dtype=torch.double))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "affinities": (2, 3, 4, 8, 4),
        "descriptors": (2, 10, 4, 8, 4),
    }
    assert found["affinities"].dtype == torch.float32
    assert 0 < found["affinities"].min() < found["affinities"].max() < 1


@pytest.mark.parametrize("name", VARIANTS)
def test_modules_do_what_the_arithmetic_says(name: str) -> None:
    network = make(VARIANTS[name])
    for wanted in (Coordinate(1, 1, 1), Coordinate(7, 12, 9)):
        shape = network.input_shape_vox(wanted)
        found = predict(network, torch.zeros(1, 1, *shape, dtype=torch.double))
        assert found.shape[2:] == tuple(network.output_shape_vox(shape))


@pytest.mark.parametrize("name", VARIANTS)
def test_output_lies_where_the_arithmetic_says_and_shifts_by_the_step(name: str) -> None:
    """Two inputs cut one step apart from one volume agree where their outputs overlap, by position."""
    network = make(VARIANTS[name])
    step, wanted = network.equivariance_vox, network.equivariance_vox * 2
    shape = network.input_shape_vox(wanted)
    larger = network.input_shape_vox(network.output_shape_vox(shape) + step)
    volume = torch.randn(1, 1, *(larger + step), dtype=torch.double)
    whole = predict(network, _window(volume, step, larger))
    part = predict(network, _window(volume, step, shape))
    begin = network.shapes.output_begin_vox(shape) - network.shapes.output_begin_vox(larger)
    assert begin == Coordinate(0, 0, 0)
    torch.testing.assert_close(part, _window(whole, begin, part.shape[2:]), atol=1e-6, rtol=0)
    shifted = predict(network, _window(volume, step * 2, shape))
    overlap = Coordinate(part.shape[2:]) - step
    torch.testing.assert_close(
        _window(shifted, Coordinate(0, 0, 0), overlap), _window(part, step, overlap), atol=1e-6, rtol=0
    )


def test_a_shift_by_less_than_the_step_is_not_equivariant() -> None:
    network = make(VARIANTS["plain"])
    volume = torch.randn(1, 1, 49, 48, 48, dtype=torch.double)
    first, second = predict(network, volume[:, :, :48]), predict(network, volume[:, :, 1:])
    assert (first[:, :, 1:] - second[:, :, :-1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", VARIANTS)
def test_output_depends_on_the_context_and_nothing_beyond(name: str) -> None:
    """The gradient of an output voxel reaches just as far as stated."""
    network = make(VARIANTS[name])
    shape = network.input_shape_vox(network.equivariance_vox * 2)
    x = torch.randn(1, 1, *shape, dtype=torch.double, requires_grad=True)
    output = network(x)["affinities"]
    index = tuple(n // 2 for n in output.shape[2:])
    output[(0, slice(None), *index)].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].abs().nonzero()
    position = torch.tensor(index) + torch.tensor(network.shapes.output_begin_vox(shape))
    reach = (touched - position).abs().amax(dim=0)
    assert all(r <= bound for r, bound in zip(reach.tolist(), network.shapes.reach_vox, strict=True))
    assert reach.min() >= (0 if name == "2D" else 1)


@pytest.mark.parametrize("name", [name for name in VARIANTS if "crop" not in name])
def test_without_padding_computes_what_the_padded_network_does_far_from_its_border(name: str) -> None:
    unet = VARIANTS[name].model_copy(update={"padding": "same"})
    padded = make(unet)
    plain = padded.without_padding()
    step, context = padded.equivariance_vox, padded.context_vox
    size = Coordinate(-(-(2 * c + 2 * s) // s) * s for c, s in zip(context, step, strict=True))
    x = torch.randn(1, 1, *size, dtype=torch.double)
    inner = predict(padded, x)
    # Pooling windows of both must lie alike: shift the valid network's input until they do.
    begin = _aligned_begin(plain, step)
    shape = _largest_legal(plain, size - begin)
    valid = predict(plain, _window(x, begin, shape))
    at = begin + plain.shapes.output_begin_vox(shape)
    low = Coordinate(max(c, a) for c, a in zip(context, at, strict=True))
    high = Coordinate(min(n - c, a + o) for n, c, a, o in zip(size, context, at, valid.shape[2:], strict=True))
    assert min(high - low) >= 1
    torch.testing.assert_close(_window(valid, low - at, high - low), _window(inner, low, high - low), atol=1e-6, rtol=0)
    assert plain.unet.state_dict().keys() == padded.unet.state_dict().keys()
    assert next(plain.parameters()).data_ptr() == next(padded.parameters()).data_ptr()


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_linear_upsampling_is_interpolation_where_it_is_local(factor: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 5, 6, dtype=torch.double)
    factors = (1, factor, 2)
    everywhere = torch.nn.functional.interpolate(
        x, scale_factor=tuple(map(float, factors)), mode="trilinear", align_corners=False
    )
    torch.testing.assert_close(Linear(factors, padded=True)(x), everywhere)
    inside = everywhere[:, :, :, factor // 2 : -(factor // 2), 1:-1]
    torch.testing.assert_close(Linear(factors, padded=False)(x), inside)


def test_residual_blocks_add_their_cropped_input() -> None:
    block = build_block(2, 2, ((3, 3, 3), (1, 3, 1)), UNetConfig(residual=True))
    for each in block.parameters():
        torch.nn.init.zeros_(each)
    x = torch.rand(1, 2, 5, 6, 7)
    assert torch.equal(block(x), x[:, :, 1:-1, 2:-2, 1:-1])


def test_old_weights_have_kept_their_names() -> None:
    names = set(make(UNetConfig(downsampling=((2, 2, 2),), upsampling="projected", normalisation="batch")).state_dict())
    assert names >= {"unet.down.0.weight", "unet.down.1.running_mean", "unet.below.block.3.bias"}
    assert names >= {"unet.upsample.0.weight", "unet.up.0.weight", "heads.affinities.bias"}


def test_predicting_leaves_training_as_it_was() -> None:
    network = make(VARIANTS["batch"]).train()
    plain = network.without_padding().to(torch.float32)
    assert not plain.training
    assert network.training
    assert all(each.requires_grad and each.dtype == torch.double for each in network.parameters())
    assert not any(each.requires_grad for each in plain.parameters())


def test_normalisation_over_the_patch_is_refused_for_prediction() -> None:
    with pytest.raises(ConfigError, match="normalisation: group"):
        make(UNetConfig(feature_maps=8, growth=2, normalisation="group")).without_padding()


def test_refuses_wrong_inputs() -> None:
    network = make(VARIANTS["plain"])
    with pytest.raises(GeometryError, match=r"takes \(batch, 1, z, y, x\); found the shape \(1, 2, 44, 44, 44\)"):
        network(torch.zeros(1, 2, 44, 44, 44))
    with pytest.raises(GeometryError, match=r"z = 45 \(nearest legal: 44 or 48\)"):
        network(torch.zeros(1, 1, 45, 44, 44))


def _window(x: Tensor, begin: Coordinate, shape: Coordinate | torch.Size) -> Tensor:
    return x[(..., *(slice(b, b + n) for b, n in zip(begin, shape, strict=True)))]


def _aligned_begin(plain: Network, step: Coordinate) -> Coordinate:
    """Begin at which a valid network's pooling windows lie on multiples of the step."""
    unet = plain.config.unet
    lost = Coordinate(0, 0, 0)
    stride = Coordinate(1, 1, 1)
    for kernels, factor in zip(unet.passes_down, unet.downsampling, strict=False):
        lost += Coordinate(sum(k[axis] // 2 for k in kernels) for axis in range(3)) * stride
        stride *= Coordinate(factor)
    return Coordinate(-each % s for each, s in zip(lost, step, strict=True))


def _largest_legal(plain: Network, bound: Coordinate) -> Coordinate:
    shape = plain.input_shape_vox(Coordinate(1, 1, 1))
    step = plain.equivariance_vox
    return Coordinate(n + (b - n) // s * s for n, b, s in zip(shape, bound, step, strict=True))
