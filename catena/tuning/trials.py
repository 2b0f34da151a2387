"""Finished trials: what was tried and how it scored, kept so that a killed search goes on where it was."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catena.errors import OutputError
from catena.sqlite import strict_option

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    study TEXT NOT NULL, number INTEGER NOT NULL, drawn TEXT NOT NULL, settings TEXT NOT NULL, results TEXT NOT NULL,
    seconds REAL NOT NULL, PRIMARY KEY (study, number))"""

Results = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Trial:
    """One choice of fragments, and what the merge functions made of it.

    Attributes
    ----------
    number
        From 0; -1 for the configuration's own settings, which were not drawn.
    drawn
        What the sampler drew, by its own names.
    settings
        The settings of fragments.
    results
        By merge function: the best ``threshold`` and the scores there; ``voi_sum`` is what is minimised.
    """

    number: int
    drawn: Mapping[str, Any]
    settings: Mapping[str, Any]
    results: Results
    seconds: float = 0.0

    @property
    def merge_function(self) -> str:
        """The best one; the first of several."""
        return min(self.results, key=lambda name: self.results[name]["voi_sum"])

    @property
    def scores(self) -> Mapping[str, float]:
        """Threshold and scores of the best merge function."""
        return self.results[self.merge_function]

    @property
    def value(self) -> float:
        """What is minimised."""
        return self.scores["voi_sum"]


def best_of(trials: Iterable[Trial]) -> Trial:
    """Return the best trial; the earliest of several."""
    return min(trials, key=lambda trial: trial.value)


class TrialStore:
    """Finished trials of any number of studies in a SQLite file, a row and a transaction each.

    A trial that was cut short leaves nothing: it is made again.

    Raises
    ------
    OutputError
        If the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._run(_SCHEMA + strict_option())

    def read(self, study: str) -> list[Trial]:
        """Return the finished trials of a study in their order."""
        rows = self._run(
            "SELECT number, drawn, settings, results, seconds FROM trials WHERE study = ? ORDER BY number", study
        )
        return [
            Trial(number, json.loads(drawn), json.loads(settings), json.loads(results), seconds)
            for number, drawn, settings, results, seconds in rows
        ]

    def write(self, study: str, trial: Trial) -> None:
        """Add a finished trial."""
        values = [json.dumps(each) for each in (trial.drawn, trial.settings, trial.results)]
        self._run("INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?)", study, trial.number, *values, trial.seconds)

    def _run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise OutputError(f"cannot use {self.path}, which holds the trials: {error}") from error


def to_csv(trials: Sequence[Trial]) -> str:
    """Return a table with a row for every merge function of every trial."""
    settings = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    scores = list(dict.fromkeys(name for trial in trials for each in trial.results.values() for name in each))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *settings, "merge_function", *scores, "seconds"])
    for trial in trials:
        for function, result in trial.results.items():
            own = [trial.settings.get(name, "") for name in settings]
            shown = [result.get(name, "") for name in scores]
            label = "configured" if trial.number < 0 else trial.number
            writer.writerow([label, *own, function, *shown, round(trial.seconds, 3)])
    return text.getvalue()
