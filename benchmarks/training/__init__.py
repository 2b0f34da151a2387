"""Training: crops with their targets, and whole training steps, beside gunpowder with `lsds` on the same data.

Data side: the published crops of FIB-25 (196³ voxels of raw, 92³ of affinities and shape descriptors), two processes
each: our data workers, and gunpowder's ``PreCache`` behind the published pipeline. Steps: the network and the crops
of ``configs/local_shape_descriptors/fib25.yaml``, trained by us and by ``gunpowder.torch.Train``, two threads and two
data processes each, float32. Both are run in turns, since the machine may not be equally idle all the time; the best
rate of each counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, show
from benchmarks.training import gunpowder_reference as theirs
from benchmarks.training import ours
from benchmarks.training.experiment import Experiment, data_experiment, step_experiment

REPEATS = 2


@dataclass(frozen=True)
class Counts:
    """How many batches and steps are timed, of ours and of theirs."""

    batches: tuple[int, int] = (40, 16)
    steps: tuple[int, int] = (16, 12)
    repeats: int = REPEATS


SMOKE = Counts(batches=(3, 3), steps=(2, 2), repeats=1)


def measure(smoke: bool = False) -> dict[str, Figure]:
    """Return rates of both, and how many times as fast we are."""
    counts = SMOKE if smoke else Counts()
    with tempfile.TemporaryDirectory() as folder:
        data, step = (make(Path(folder), smoke) for make in (data_experiment, step_experiment))
        made = in_turns(data, (ours.batches_per_second, theirs.batches_per_second), counts.batches, counts.repeats)
        trained = in_turns(step, (ours.steps_per_second, theirs.steps_per_second), counts.steps, counts.repeats)
    show(
        f"training beside gunpowder, {data.source}",
        ("what", "raw", "targets", "ours per s", "gunpowder per s", "times as fast"),
        [
            (name, *each.shapes(), *rates, rates[0] / rates[1])
            for name, each, rates in (
                ("batches", data, made),
                ("training steps", step, trained),
            )
        ],
    )
    return {
        "data_speedup_vs_gunpowder": Figure(made[0] / made[1], "x", "higher"),
        "step_speedup_vs_gunpowder": Figure(trained[0] / trained[1], "x", "higher"),
        "batches_per_s": Figure(made[0], "1/s", "higher"),
        "gunpowder_batches_per_s": Figure(made[1], "1/s", "higher"),
        "steps_per_s": Figure(trained[0], "1/s", "higher"),
        "gunpowder_steps_per_s": Figure(trained[1], "1/s", "higher"),
    }


def in_turns(
    experiment: Experiment,
    sides: tuple[Callable[[Experiment, int], float], Callable[[Experiment, int], float]],
    counts: tuple[int, int],
    repeats: int,
) -> tuple[float, float]:
    """Return the best rate of either side."""
    found = [[side(experiment, count) for side, count in zip(sides, counts, strict=True)] for _ in range(repeats)]
    first, second = (max(rates) for rates in zip(*found, strict=True))
    return first, second
