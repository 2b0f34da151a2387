"""Kill master, workers and database server once at every fault point, and compare with a run that was never killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks.faults.declared import declared_fault_points
from benchmarks.faults.experiment import CHECKPOINT, digests, start
from benchmarks.result import Figure, show
from catena.blockwise.faults import FAULT_VARIABLE, ONCE_VARIABLE, VICTIM_VARIABLE
from catena.graphs.url import PASSWORD_VARIABLE

MONGODB = "CATENA_TEST_MONGODB_URI"
EVERYTHING = "*"
OF_THE_SERVER = "*@graph.*,*@publish.*,*@agglomerate.*,*@fragments.*"
OTHERWISE = ("lookup_tables.step=0.05",)
"""Settings by which a few quick stages have other results."""
HANDFUL = (
    "fragments.worker@fragments.after_arrays,agglomerate.worker@graph.before_commit,lookup_tables.master@publish.*"
)
PATIENT = ("execution.default.max_retries=50", "execution.default.max_worker_restarts=500")
MOST_RUNS = 500


@dataclass(frozen=True)
class Case:
    """A store, and who is killed: the processes of the run, or (`victim`) the server that a file names."""

    name: str
    store: str
    points: str
    victim: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """Which points were hit (``PLACE@NAME``), and in how many results the run then differed."""

    hits: set[str]
    differences: int


def measure_points(config: Path, expected: dict[str, str], smoke: bool) -> dict[str, Figure]:
    """Return how many points were hit, over all places and stores, and how many results then differed.

    Parameters
    ----------
    config
        The experiment's file.
    expected
        Results of an unbroken run, whose network all others use that do not train.
    """
    outcomes: dict[str, Outcome] = {}
    with cases(smoke) as found:
        for number, case in enumerate(found):
            trained = config.parent / "runs" / "unbroken" / CHECKPOINT
            settings = [] if number == 0 and not smoke else [f"inputs.checkpoint={trained}"]
            outcomes[case.name] = hit_all(config, case, expected, settings)
    declared = declared_fault_points()
    rows = []
    for name, outcome in outcomes.items():
        missed = sorted(declared - {each.partition("@")[2] for each in outcome.hits})
        rows.append((name, str(len(outcome.hits)), str(outcome.differences), "" if smoke else ", ".join(missed)))
    show("fault points", ("killed", "points hit, by place", "differences", "never hit"), rows)
    return {
        "fault_points_hit": Figure(sum(len(each.hits) for each in outcomes.values()), "points", "higher"),
        "fault_point_differences": Figure(sum(each.differences for each in outcomes.values()), "results", "lower"),
    }


@contextmanager
def cases(smoke: bool) -> Iterator[list[Case]]:
    """Give what is to be killed here; what cannot be is named with the reason."""
    from tests.graphs.postgresql_server import PASSWORD, PostgreSQLServer, kept_up, reason_against

    points = HANDFUL if smoke else EVERYTHING
    found = [Case("processes, sqlite", "sqlite", points)]
    if os.environ.get(MONGODB) is None:
        print(f"mongodb left out: {MONGODB} names no server that workers could share", flush=True)
    else:
        found.append(Case("processes, mongodb", os.environ[MONGODB], points))
    reason = reason_against()
    if smoke or reason is not None:
        print(f"postgresql left out: {reason or 'only in the full benchmark'}", flush=True)
        yield found
        return
    server, before = PostgreSQLServer(), os.environ.get(PASSWORD_VARIABLE)
    os.environ[PASSWORD_VARIABLE] = PASSWORD
    found.append(Case("processes, postgresql", server.url(), points))
    found.append(Case("server, postgresql", server.url(), OF_THE_SERVER, server.folder / "data" / "postmaster.pid"))
    try:
        with kept_up(server):
            yield found
    finally:
        server.remove()
        del os.environ[PASSWORD_VARIABLE]
        if before is not None:
            os.environ[PASSWORD_VARIABLE] = before


def hit_all(config: Path, case: Case, expected: dict[str, str], settings: Sequence[str]) -> Outcome:
    """Run again until a run ends by itself, everything being killed once at each of the case's points.

    Then with other settings and back, so that runs are killed while results take the place of earlier ones.

    Raises
    ------
    RuntimeError
        If a run fails by itself, or the end does not come.
    """
    name = f"points_{uuid4().hex[:8]}"
    settings = [*settings, *PATIENT, f"agglomerate.store={case.store}"]
    hits = config.parent / f"hits_{name}"
    hits.mkdir()
    variables = {FAULT_VARIABLE: case.points, ONCE_VARIABLE: str(hits)}
    if case.victim is not None:
        variables[VICTIM_VARIABLE] = str(case.victim)
    for other in ((), OTHERWISE, ()) if case.points == EVERYTHING else ((),):
        run_to_the_end(config, name, case, [*settings, *other], variables)
    found = digests(config, name, *settings)
    differences = sum(found[key] != expected[key] for key in found)
    print(f"{case.name}: {len(list(hits.iterdir()))} points hit, {differences} differences", flush=True)
    return Outcome({each.name for each in hits.iterdir()}, differences)


def run_to_the_end(config: Path, name: str, case: Case, settings: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run again until a run ends by itself, unless it fails by itself or the end does not come: RuntimeError."""
    for _ in range(MOST_RUNS):
        process = start(config, name, *settings, variables=variables)
        _, errors = process.communicate()
        if process.returncode == 0:
            return
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{case.name}: a run ended with {process.returncode}: {errors.decode()[-3000:]}")
    raise RuntimeError(f"{case.name}: still not done after {MOST_RUNS} runs")
