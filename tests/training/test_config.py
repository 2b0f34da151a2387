from __future__ import annotations

import pytest

from catena.errors import ConfigError
from catena.training import TrainConfig


def test_learning_rate_rises_then_falls():
    config = TrainConfig(iterations=100, learning_rate=2.0, schedule="cosine", warmup_iterations=4)
    rates = [config.learning_rate_at(i) for i in range(100)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[52] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert 0.02 < rates[-1] < 0.03


def test_learning_rate_is_constant_unless_asked_otherwise():
    config = TrainConfig(iterations=10, learning_rate=0.3)
    assert {config.learning_rate_at(i) for i in range(10)} == {0.3}


def test_validation_defaults_to_a_tenth():
    assert TrainConfig(iterations=1000).validation_interval == 100
    assert TrainConfig(iterations=3).validation_interval == 1
    assert TrainConfig(iterations=1000, validate_every=7).validation_interval == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iterations": 10, "warmup_iterations": 10}, "must be fewer than iterations"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"min_labelled": 1.5}, "min_labelled"),
        ({"iteration": 5}, "did you mean 'iterations'"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig.parse(values)
