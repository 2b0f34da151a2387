"""Drawing settings, and going on where a search was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catena.segmentation import FragmentsConfig
from catena.tuning.config import TuneConfig
from catena.tuning.search import search
from catena.tuning.trials import Trial, TrialStore, best_of

SPACE = TuneConfig(trials=12, random_trials=4, methods=("basins", "seeded"))


class Valley:
    """Scores are best for seeds in windows of 7 voxels and a threshold of 0.4; may be killed."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.scored: list[FragmentsConfig] = []
        self.killed_at = killed_at

    def __call__(self, fragments: FragmentsConfig) -> dict[str, dict[str, float]]:
        if len(self.scored) == self.killed_at:
            raise KeyboardInterrupt
        self.scored.append(fragments)
        voi = abs(fragments.threshold - 0.4) + (abs(fragments.seed_window - 7) if fragments.method == "seeded" else 9)
        return {"mean": {"threshold": 0.2, "voi_sum": voi + 1}, "hist_quant_75": {"threshold": 0.3, "voi_sum": voi}}


def run(path: Path, score: Valley, space: TuneConfig = SPACE, seed: int = 0) -> list[Trial]:
    return search(TrialStore(path), "study", space, FragmentsConfig(), score, seed=seed)


def what(trials: list[Trial]) -> list[Any]:
    return [(trial.number, trial.drawn, trial.settings, trial.results) for trial in trials]


def test_a_killed_search_makes_the_trials_of_one_that_ran_through(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.sqlite", Valley())
    part, rest, none = Valley(killed_at=7), Valley(), Valley()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a.sqlite", part)
    assert what(run(tmp_path / "a.sqlite", rest)) == what(whole)
    assert len(part.scored) + len(rest.scored) == 13  # the configured settings and twelve trials, none of them twice
    assert what(run(tmp_path / "a.sqlite", none)) == what(whole)
    assert none.scored == []


def test_more_trials_go_on_from_fewer(tmp_path: Path) -> None:
    fewer, more = SPACE.model_copy(update={"trials": 5}), Valley()
    run(tmp_path / "a.sqlite", Valley(), fewer)
    assert what(run(tmp_path / "a.sqlite", more)) == what(run(tmp_path / "whole.sqlite", Valley()))
    assert len(more.scored) == 7
    assert len(run(tmp_path / "a.sqlite", more, fewer)) == 6


def test_trials_depend_on_the_seed_and_learn_from_those_before(tmp_path: Path) -> None:
    space = SPACE.model_copy(update={"trials": 30})
    trials = run(tmp_path / "a.sqlite", Valley(), space)
    assert what(run(tmp_path / "b.sqlite", Valley(), space, seed=1)) != what(trials)
    late = [trial.settings["method"] for trial in trials[-10:]]
    assert late.count("seeded") >= 8  # the better method
    best = best_of(trials)
    assert best.merge_function == "hist_quant_75"
    assert best.value < trials[0].value


def test_the_same_settings_are_scored_once(tmp_path: Path) -> None:
    fixed = {"threshold": (0.5, 0.5), "grow": (8, 8), "distance_cap": (16, 16)}
    score = Valley()
    trials = run(tmp_path / "a.sqlite", score, TuneConfig(trials=4, methods=("basins",), **fixed))
    assert len(score.scored) == 1  # they are the configured ones
    assert {trial.value for trial in trials} == {trials[0].value}


def test_an_sqlite_that_knows_no_strict_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> str:
        TrialStore(tmp_path / name)
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            ((statement,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'trials'").fetchall()
        return str(statement)

    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    assert made("strict.sqlite").endswith(") STRICT")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    assert made("old.sqlite").endswith("number))")
