"""Runs that are ended from outside: nothing lost, nothing left behind, a rerun goes on."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from smoothing import BLOCKS, done, finish, require_smoothed, wait_for, workers

Start = Callable[..., subprocess.Popen[str]]


def test_an_unbroken_run(start: Start, volume: Path) -> None:
    assert finish(start, volume) == f"REPORT {BLOCKS} 0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(start: Start, volume: Path, number: signal.Signals) -> None:
    master = start(sleep_s=0.3)
    wait_for(lambda: done(volume) >= 2)
    master.send_signal(number)
    printed, _ = master.communicate(timeout=120)
    assert master.returncode == 130
    assert printed.startswith(f"STOPPED smooth: stopped by {number.name}, ")
    assert workers(volume) == []
    kept = done(volume)
    assert 2 <= kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_that_do_not_hear_sigterm_end_with_the_run(start: Start, volume: Path, number: signal.Signals) -> None:
    master = start(sleep_s=60, CATENA_TEST_STUBBORN="1")
    wait_for(lambda: len(list((volume / "stage/running").glob("*"))) == 2)
    master.send_signal(number)
    master.communicate(timeout=120)
    assert master.returncode == (130 if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:  # a master in order waits for them; one killed can not
        assert workers(volume) == []
    wait_for(lambda: not workers(volume))
    assert done(volume) == 0


def test_a_killed_master_leaves_no_workers(start: Start, volume: Path) -> None:
    master = start(sleep_s=0.3)
    wait_for(lambda: done(volume) >= 2)
    assert len(workers(volume)) == 2
    master.kill()
    master.communicate()
    wait_for(lambda: not workers(volume))
    kept = done(volume)
    assert 2 <= kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"


@pytest.mark.parametrize("until", ["started", "working"])
def test_workers_die_with_the_master_at_once(start: Start, volume: Path, until: str) -> None:
    master = start(sleep_s=30)
    wait_for(lambda: workers(volume) if until == "started" else len(list((volume / "stage/running").glob("*"))) == 2)
    master.kill()
    master.communicate()
    wait_for(lambda: not workers(volume))
    assert done(volume) == 0


@pytest.mark.parametrize(
    "point",
    ["smooth.before_arrays:3", "smooth.after_arrays:3", "block.before_done_mark:3", "block.after_done_mark:3"],
)
def test_a_worker_killed_between_any_two_steps_of_a_commit(start: Start, volume: Path, point: str) -> None:
    hits = volume / "hits"
    hits.mkdir()
    master = start(CATENA_FAULT=point, CATENA_FAULT_ONCE=str(hits))
    printed, _ = master.communicate(timeout=120)
    assert [hit.name for hit in hits.iterdir()] == [f"smooth.worker@{point.partition(':')[0]}"]
    assert printed == f"REPORT {BLOCKS} 0\n"
    require_smoothed(volume)


def test_a_master_killed_while_blocks_are_being_marked(start: Start, volume: Path) -> None:
    master = start(sleep_s=0.1, CATENA_FAULT="smooth.master@block.seen_done:2")
    master.communicate(timeout=120)
    assert master.returncode == -signal.SIGKILL
    wait_for(lambda: not workers(volume))
    kept = done(volume)
    assert 0 < kept < BLOCKS
    assert finish(start, volume) == f"REPORT {BLOCKS} {kept}\n"
