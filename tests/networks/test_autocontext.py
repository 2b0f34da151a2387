"""Two networks as one: shapes, positions, rounding, and what is trained."""

from __future__ import annotations

import pytest
import torch
from funlib.geometry import Coordinate
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.errors import ConfigError, GeometryError
from catena.inference import prepare_raw
from catena.networks import (
    AutocontextConfig,
    AutocontextNetwork,
    NetworkConfig,
    UNetConfig,
    build_network,
    network_shapes,
    parse_network_config,
)

ONE = (((3, 3, 3),),)
FIRST = UNetConfig(feature_maps=2, growth=1, downsampling=((2, 2, 2),), kernels_down=ONE * 2, activation="elu")
SECOND = FIRST.model_copy(update={"downsampling": ((1, 3, 3),)})


def config(with_raw: bool = True, first: UNetConfig = FIRST, second: UNetConfig = SECOND, **settings: object):
    return AutocontextConfig(
        first=NetworkConfig(unet=first, heads={"lsds": 4}),
        second=NetworkConfig(in_channels=4 + with_raw, unet=second, heads={"affinities": 3}),
        with_raw=with_raw,
        **settings,
    )


def make(**given_settings: object) -> AutocontextNetwork:
    torch.manual_seed(0)
    return build_network(config(**given_settings))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("wanted", [(1, 1, 1), (7, 9, 14)])
def test_modules_do_what_the_arithmetic_says(padding: str, wanted: tuple[int, int, int]) -> None:
    first, second = (each.model_copy(update={"padding": padding}) for each in (FIRST, SECOND))
    network = make(first=first, second=second)
    shape = network.input_shape_vox(Coordinate(wanted))
    found = network(torch.zeros(1, 1, *shape))
    output = network.output_shape_vox(shape)
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "lsds": (1, 4, *output),
        "affinities": (1, 3, *output),
    }
    assert all(o >= w for o, w in zip(output, wanted, strict=True))


def test_steps_and_context_are_those_of_both() -> None:
    shapes = network_shapes(config())
    assert shapes.equivariance_vox == (2, 6, 6)
    first, second = network_shapes(config().first), network_shapes(config().second)
    smallest = shapes.input_shape_vox(Coordinate(1, 1, 1))
    begin = shapes.output_begin_vox(smallest)
    # The first's outputs begin whole steps of its own before the second's.
    from_first = begin - first.output_begin_vox(first.input_shape_vox(Coordinate(1, 1, 1)))
    assert from_first % first.equivariance_vox == (0, 0, 0)
    assert all(a >= b for a, b in zip(from_first, second.context_vox, strict=True))
    with pytest.raises(GeometryError, match=r"nearest legal.*two networks one after the other.*\(2, 2, 2\) apart"):
        shapes.check_input_shape(Coordinate(41, 40, 40))


@settings(max_examples=20, deadline=None)
@given(st.tuples(*(st.integers(0, 40) for _ in range(3))))
def test_output_begins_at_the_same_place_for_all_shapes(more: tuple[int, int, int]) -> None:
    shapes = network_shapes(config())
    smallest = shapes.input_shape_vox(Coordinate(1, 1, 1))
    larger = shapes.input_shape_vox(Coordinate(1, 1, 1) + Coordinate(more))
    assert shapes.output_begin_vox(larger) == shapes.output_begin_vox(smallest)
    begin, output = shapes.output_begin_vox(larger), shapes.output_shape_vox(larger)
    assert all(b + o <= n for b, o, n in zip(begin, output, larger, strict=True))


@pytest.mark.parametrize("with_raw", [True, False])
def test_is_one_network_on_the_rounded_prediction_of_the_other(with_raw: bool) -> None:
    network = make(with_raw=with_raw).eval()
    shape = network.input_shape_vox(Coordinate(4, 8, 9))
    x = torch.rand(1, 1, *shape) * 2 - 1
    with torch.no_grad():
        found, lsds = network(x), network.first(x)["lsds"]
        stored = (lsds * 255).round().to(torch.uint8).numpy()
        crop, between = network.shapes.crop_vox, network.shapes.passed_on_vox(shape)
        seen = torch.from_numpy(prepare_raw(stored))[(..., *box(crop, between))]
        if with_raw:
            begin = network.first.shapes.output_begin_vox(shape) + crop
            seen = torch.cat((seen, x[(..., *box(begin, between))]), dim=1)
        expected = network.second(seen)["affinities"]
    assert torch.equal(found["affinities"], expected)
    at = network.shapes.output_begin_vox(shape) - network.first.shapes.output_begin_vox(shape)
    assert torch.equal(found["lsds"], lsds[(..., *box(at, Coordinate(expected.shape[2:])))])


def test_what_is_seen_is_rounded() -> None:
    """Without the rounding, nearly equal descriptors would not give equal affinities."""
    network = make(with_raw=False).eval()
    x = torch.rand(1, 1, *network.input_shape_vox(Coordinate(2, 2, 2)))
    head = network.first.heads["lsds"]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(0.001)
        before = network(x)
        head.bias.fill_(0.002)
        after = network(x)
    assert torch.equal(before["affinities"], after["affinities"])
    assert not torch.equal(before["lsds"], after["lsds"])


@pytest.mark.parametrize("train_first", [False, True])
def test_the_gradient_reaches_the_first_if_it_is_trained(train_first: bool) -> None:
    network = make(train_first=train_first, first=FIRST.model_copy(update={"normalisation": "batch"})).train()
    assert network.first.training == train_first
    statistics = {name: each.clone() for name, each in network.first.state_dict().items()}
    network(torch.randn(1, 1, *network.input_shape_vox(Coordinate(2, 2, 2))))["affinities"].sum().backward()
    gradients = [each.grad for each in network.first.parameters()]
    assert all((each is not None) == train_first for each in gradients)
    assert all(each.grad is not None for each in network.second.parameters())
    changed = [name for name, each in network.first.state_dict().items() if not torch.equal(each, statistics[name])]
    assert bool(changed) == train_first
    assert network.config.trained_heads == ({"lsds": 4, "affinities": 3} if train_first else {"affinities": 3})


def test_the_first_is_taken_from_a_network_trained_alone() -> None:
    network = make()
    alone = build_network(NetworkConfig(unet=FIRST.model_copy(update={"padding": "same"}), heads={"lsds": 4}))
    network.load_first(alone)
    assert all(torch.equal(network.first.state_dict()[name], each) for name, each in alone.state_dict().items())
    other = build_network(NetworkConfig(unet=FIRST, heads={"lsds": 5}))
    with pytest.raises(ConfigError, match=r"cannot be initialised with this one: heads\.lsds is 5, not 4"):
        network.load_first(other)


def test_configuration_survives_a_checkpoint_and_old_ones_are_read() -> None:
    for each in (config(), config().first):
        assert parse_network_config(each.model_dump(mode="json")) == each
    old = config().first.model_dump(mode="json", exclude={"architecture": True, "unet": {"residual", "skip"}})
    assert parse_network_config(old) == config().first
    with pytest.raises(ConfigError, match=r"here: unknown architecture 'vgg' \(valid names: autocontext, unet\)"):
        parse_network_config({"architecture": "vgg"}, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"with_raw": False}, "second.in_channels is 5, but it is given 4: 4 of lsds$"),
        ({"passed_on": "shapes"}, r"no head shapes; it has \['lsds'\]"),
        ({"second": {"in_channels": 5, "heads": {"lsds": 3}}}, "both networks have a head lsds"),
        (
            {"second": {"in_channels": 5, "unet": {"padding": "same"}}},
            "padding of the first is valid",
        ),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AutocontextConfig.parse({**config().model_dump(), **change})


def box(begin: Coordinate, shape: Coordinate) -> tuple[slice, ...]:
    return tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))
