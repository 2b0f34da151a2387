"""What a model's section of the configuration stands for."""

from __future__ import annotations

from typing import Any

import pytest
from funlib.geometry import Coordinate

from catena.errors import ConfigError
from local_shape_descriptors.heads import NEIGHBOURHOODS, TYPES
from local_shape_descriptors.model import ModelConfig


def parse(**values: Any) -> ModelConfig:
    return ModelConfig.parse(values, "model")


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_brings_its_heads(kind: str) -> None:
    model = parse(type=kind)
    assert list(model.heads) == list(TYPES[kind])
    assert ModelConfig.parse(model.model_dump(mode="json")) == model


def test_mitochondria_have_their_own_labels_and_short_affinities() -> None:
    model = parse(type="mtlsdmito", neighbourhood="fib25", heads={"mitochondria": {"weight": 0.5}})
    assert model.channels == {"lsds": 10, "affinities": 12, "mitochondria": 3}
    assert model.offsets("mitochondria") == NEIGHBOURHOODS["short"]
    assert model.labels() == ("neurons", "mitochondria")
    assert model.heads["mitochondria"].weighted_losses[0].weight == 0.5


def test_further_heads_and_losses_from_configuration_alone() -> None:
    losses = [{"type": "mse"}, {"type": "malis", "weight": 0.1}]
    cells = {"target": "foreground", "losses": [{"type": "bce"}, {"type": "dice", "weight": 2}], "weight": 3}
    model = parse(type="aff", heads={"affinities": {"losses": losses}, "cells": cells})
    assert model.channels == {"affinities": 3, "cells": 1}
    assert [(each.type, each.weight) for each in model.heads["cells"].weighted_losses] == [("bce", 3), ("dice", 6)]  # type: ignore[attr-defined]


def test_a_flat_model_looks_at_sections_only() -> None:
    model = parse(dimensions=2)
    assert model.neighbourhood == ((0, -1, 0), (0, 0, -1))
    assert model.channels == {"lsds": 6, "affinities": 2}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbourhood": "aff13"}, "no neighbourhood is called 'aff13' \\(did you mean 'aff12'"),
        ({"neighbourhood": [[-1, 0, 0], [0, -1, 0], [-1, 0, 0]]}, "names an offset twice"),
        ({"heads": {"cells": {}}}, "heads.cells.target': Field required"),
        ({"heads": {"cells": {"target": "foreground", "neighbourhood": "short"}}}, "is for affinities; its target is"),
        ({"heads": {"affinities": {"losses": [{"type": "msa"}]}}}, "'msa' found .* 'mae', 'mse'"),
        ({"heads": {"affinities": {"losses": [{"type": "tversky", "alfa": 1}]}}}, "no parameter 'alfa' .*'alpha'"),
        ({"dimensions": 2, "neighbourhood": "short"}, "a 2D model has no affinities across sections"),
        ({"dimensions": 2, "downsampling": [[1, 2, 2], [2, 2, 2]]}, r"pools along z; found \[2, 2, 2\]"),
        ({"dimensions": 2, "kernels_up": [[[3, 3, 3]]]}, r"convolves nor pools along z; found \[3, 3, 3\]"),
        ({"heads": {"affs": {"target": "foreground"}}}, "other than 'affs'"),
        ({"heads": {"my-head": {"target": "foreground"}}}, "a head needs a name of letters, digits"),
        ({"heads": {"affinities": {"target": "foreground"}}}, "give a head of that target another name"),
    ],
)
def test_what_makes_no_model(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig.parse(values, "model")


@pytest.mark.parametrize("voxel_size", [(8, 8, 8), (40, 8, 8)])
def test_kernels_follow_the_voxel_size_where_factors_are_given(voxel_size: tuple[int, ...]) -> None:
    factors = [[1, 2, 2], [1, 2, 2]]
    chosen = parse(levels=2).unet(Coordinate(40, 8, 8))
    assert chosen.downsampling == ((1, 2, 2), (1, 2, 2))
    assert parse(downsampling=factors).unet(Coordinate(40, 8, 8)) == chosen
    flat = parse(dimensions=2, downsampling=factors).unet(Coordinate(voxel_size))
    assert {kernel[0] for each in (*flat.passes_down, *flat.passes_up) for kernel in each} == {1}


def test_what_training_does_not_depend_on_is_not_in_its_fingerprint() -> None:
    assert parse(first={"trained": True}).fingerprinted() == parse().fingerprinted()
    assert parse(type="aff", lsd_sigma_nm=7).fingerprinted() == parse(type="aff").fingerprinted()
    pair, longer = parse(type="aclsd"), parse(type="aclsd", first={"iterations": 7})
    assert pair.fingerprinted() == longer.fingerprinted()
    others = parse(type="aclsd", first={"trained": True}, neighbourhood="fib25")
    assert pair.fingerprinted() != others.fingerprinted()
    assert pair.first_model().fingerprinted() == others.first_model().fingerprinted()
    a, b = {"target": "foreground"}, {"target": "contour"}
    assert parse(heads={"a": a, "b": b}).fingerprinted() != parse(heads={"b": b, "a": a}).fingerprinted()
    depth = {"target": "distance", "distance_nm": 8}
    assert parse(heads={"a": depth}).fingerprinted() != parse(heads={"a": {"target": "distance"}}).fingerprinted()
