"""The rows of the table, as markdown and as figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks.result import Figure
from catena.evaluation import ZERO_POLICIES, Scores, ZeroPolicy

COLUMNS = (
    "row",
    "command",
    "zeros as one object",
    "zeros filled",
    "common voxels",
    "threshold",
    "iterations",
    "training",
)
UNITS = {"voi_split": "bit", "voi_merge": "bit", "voi_sum": "bit", "adapted_rand_error": ""}
NONE = "–"


@dataclass(frozen=True)
class Row:
    """One line: scores of the test region, and how they were come by.

    Attributes
    ----------
    name, what
        For figures, and for people.
    command
        Makes the row.
    scores
        By policy for zeros.
    threshold
        Chosen on validation; None for what was not segmented here.
    iterations, training
        Of the network, and for how long or on what.
    seconds
        Of training, where it was done here.
    """

    name: str
    what: str
    command: str
    scores: Mapping[ZeroPolicy, Scores] = field(default_factory=dict)
    threshold: float | None = None
    iterations: int | None = None
    training: str = NONE
    seconds: float | None = None

    def cells(self) -> list[str]:
        """Return the line's cells."""
        return [
            self.what,
            f"`{self.command}`",
            *(cell(self.scores.get(policy)) for policy in ZERO_POLICIES),
            NONE if self.threshold is None else f"{self.threshold:g}",
            NONE if self.iterations is None else f"{self.iterations:,}",
            self.training,
        ]

    def figures(self) -> dict[str, Figure]:
        """Return the scores under every policy, and the time of training."""
        found = {}
        for policy, scores in self.scores.items():
            for key, unit in (
                ("voi_split", "bit"),
                ("voi_merge", "bit"),
                ("voi_sum", "bit"),
                ("adapted_rand_error", ""),
            ):
                found[f"{self.name}_{policy}_{key}"] = Figure(getattr(scores, key), unit, "lower")
        if self.seconds is not None:
            found[f"{self.name}_train_seconds"] = Figure(self.seconds, "s", "lower")
        return found


def cell(scores: Scores | None) -> str:
    """Return scores as they stand in a cell.

    >>> cell(Scores(0.5, 0.25, 0.1))
    '0.500 + 0.250 = 0.750; 0.100'
    """
    if scores is None:
        return NONE
    return f"{scores.voi_split:.3f} + {scores.voi_merge:.3f} = {scores.voi_sum:.3f}; {scores.adapted_rand_error:.3f}"


def markdown(rows: Iterable[Row]) -> str:
    """Return the table: VOI split + merge = sum, bits; adapted Rand error."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures_of(rows: Iterable[Row]) -> dict[str, Figure]:
    """Return the figures of all rows."""
    return {name: figure for row in rows for name, figure in row.figures().items()}
