"""That the benchmark of synthesis counts the voxels it makes, on both kinds of volumes."""

import pytest
from funlib.geometry import Coordinate

from benchmarks import synthesis


def test_voxels_a_second_are_those_of_the_volume_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "SMOKE_SHAPE", Coordinate(8, 16, 16))
    made = []
    monkeypatch.setattr(synthesis, "seconds_for", lambda *volume: made.append(volume) or 0.001)
    figures = synthesis.measure(smoke=True)
    assert made == [(Coordinate(8, 16, 16), Coordinate(8, 8, 8)), (Coordinate(8, 16, 16), Coordinate(40, 8, 8))]
    rates = {name: figure.value for name, figure in figures.items()}
    assert rates == pytest.approx({"synthesis_mvox_per_s": 2.048, "anisotropic_synthesis_mvox_per_s": 2.048})
    assert all(figure.better == "higher" for figure in figures.values())


def test_a_volume_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    whole = synthesis.synthesise
    monkeypatch.setattr(
        synthesis, "synthesise", lambda *volume, **options: shapes.append(whole(*volume, **options).raw.shape)
    )
    assert synthesis.seconds_for(Coordinate(8, 12, 16), Coordinate(8, 8, 8)) > 0
    assert shapes == [(8, 12, 16)]
