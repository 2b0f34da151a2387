"""What a model's section of the configuration stands for."""

from __future__ import annotations

from typing import Any

import pytest

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
    ],
)
def test_what_makes_no_model(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig.parse(values, "model")
