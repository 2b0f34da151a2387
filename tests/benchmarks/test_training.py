"""The training benchmark: both sides make the same crops, and the better of several rates counts."""

from __future__ import annotations

from pathlib import Path

import gunpowder as gp
import numpy as np
import pytest

from benchmarks.training import gunpowder_reference as reference
from benchmarks.training import in_turns
from benchmarks.training.experiment import step_experiment


def test_the_best_of_either_side_counts(tmp_path: Path) -> None:
    rates = iter([1.0, 20.0, 3.0, 10.0])
    counts: list[int] = []

    def side(experiment: object, count: int) -> float:
        counts.append(count)
        return next(rates)

    assert in_turns(None, (side, side), (5, 2), 2) == (3.0, 20.0)  # type: ignore[arg-type]
    assert counts == [5, 2, 5, 2]


@pytest.mark.filterwarnings("ignore")
def test_gunpowder_makes_crops_as_ours_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference.gp, "PreCache", lambda **_: gp.SimpleAugment())  # in this process
    experiment = step_experiment(tmp_path, smoke=True)
    with gp.build(reference._pipeline(experiment)) as pipeline:
        batch = pipeline.request_batch(reference._request(experiment, seed=1))
    with experiment.crops() as crop:
        ours = crop(1)
    for key, mine in ((reference.RAW, ours.raw), (reference.AFFS, ours.targets["affinities"])):
        assert batch[key].data.shape == (1, *mine.shape)
    assert batch[reference.LSDS].data.shape == (1, *ours.targets["lsds"].shape)
    assert -1.3 < batch[reference.RAW].data.min() < batch[reference.RAW].data.max() < 1.3
    theirs = batch[reference.AFFS].data
    assert set(np.unique(theirs)) == {0.0, 1.0} == set(np.unique(ours.targets["affinities"]))
    assert abs(theirs.mean() - ours.targets["affinities"].mean()) < 0.4
