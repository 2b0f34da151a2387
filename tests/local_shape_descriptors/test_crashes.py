"""Whatever is killed between any two steps of any commit, a rerun gives the bit-identical result."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import forked
import pytest
from postgresql_server import PASSWORD, PostgreSQLServer, kept_up, running_server
from small_experiment import Results, Settings, results, small_experiment, untrained_network

from benchmarks.faults.declared import declared_fault_points
from catena.blockwise.faults import FAULT_VARIABLE, ONCE_VARIABLE, VICTIM_VARIABLE
from catena.graphs.url import PASSWORD_VARIABLE

BLOCKWISE = ("content", "predict", "fragments", "agglomerate", "segmentation")
KILLS_OF_A_BLOCK = 20
POINTS_OF_THE_GRAPH = "*@graph.*,*@publish.table_*,*@stage.noted_in_store,*@agglomerate.between_tables"
MANY = 200


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    values = small_experiment(tmp_path_factory.mktemp("crashes"))
    values["execution"]["default"]["max_retries"] = KILLS_OF_A_BLOCK
    return values


@pytest.fixture(scope="module")
def unbroken(settings: Settings, fork_server: None, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of a run that nobody killed."""
    log = tmp_path_factory.mktemp("unbroken") / "log"
    assert forked.run_in_child(settings, log) == 0, log.read_text()
    return results(settings)


def run_until_done(settings: Settings, folder: Path, points: str, **variables: str) -> tuple[int, set[str]]:
    """Run again and again, every process dying once at each of `points`; return the master's deaths and the signs."""
    hits, log = folder / "hits", folder / "log"
    hits.mkdir()
    for deaths in range(MANY):
        code = forked.run_in_child(settings, log, **{FAULT_VARIABLE: points, ONCE_VARIABLE: str(hits)}, **variables)
        if code == 0:
            return deaths, {each.name for each in hits.iterdir()}
        assert code == -signal.SIGKILL, log.read_text()[-4000:]
    raise AssertionError(f"still not done after {MANY} runs")


def earlier_settings(settings: Settings, folder: Path) -> Settings:
    """Return settings with which every stage makes something else."""
    network = untrained_network(folder / "other.safetensors", settings, seed=1)
    phantom = {**settings["volumes"]["phantom"], "skip_empty": 254.0}
    return {**settings, "inputs": {"checkpoint": network}, "volumes": {"phantom": phantom}}


@pytest.mark.slow
def test_all_killed_once_at_every_point(settings: Settings, unbroken: Results, tmp_path: Path) -> None:
    broken = {**settings, "output": str(tmp_path / "runs")}
    earlier = earlier_settings(broken, tmp_path)
    assert forked.run_in_child(earlier, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert results(earlier) != unbroken
    deaths, hits = run_until_done(broken, tmp_path, "*")
    assert results(broken) == unbroken
    assert deaths == len([each for each in hits if ".master@" in each])
    for stage in BLOCKWISE:
        points = {each.partition("@")[2] for each in hits if each.startswith(f"{stage}.worker@")}
        assert points >= {"block.before_done_mark", "block.after_done_mark"}
    assert {each.partition("@")[2] for each in hits} == declared_fault_points()


@pytest.fixture
def postgresql(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgreSQLServer]:
    """A server that is started again whenever it has been ended; that of all tests would have much to recover."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with running_server() as server, kept_up(server):
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["processes", "server"])
def test_graph_steps_with_postgresql(
    settings: Settings, unbroken: Results, tmp_path: Path, postgresql: PostgreSQLServer, killed: str
) -> None:
    broken = {**settings, "output": str(tmp_path / "runs"), "agglomerate": {"store": postgresql.url(killed)}}
    variables = {VICTIM_VARIABLE: str(postgresql.folder / "data/postmaster.pid")} if killed == "server" else {}
    deaths, hits = run_until_done(broken, tmp_path, POINTS_OF_THE_GRAPH, **variables)
    assert (deaths == 0) == (killed == "server")
    places = {each.partition("@")[0] for each in hits if "@graph." in each}
    assert places >= {"fragments.worker", "fragments.master", "agglomerate.worker", "agglomerate.master"}
    # a file beside the graph's own says how other programs read it; on a server that is a table
    assert results(broken) == {name: each for name, each in unbroken.items() if not name.endswith("rag-meta.json")}
