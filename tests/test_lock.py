from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from catena import lock
from catena.errors import LockedError, OutputError
from catena.lock import ExperimentLock


def hold(folder: str, ready: object) -> None:
    with ExperimentLock(Path(folder)):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(600)


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(120)
    yield process
    process.kill()
    process.join()


def test_a_second_run_is_refused_and_told_who_runs(holder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LockedError, match=f"run by process {holder.pid} on {socket.gethostname()}"):
        ExperimentLock(tmp_path).__enter__()


def test_the_lock_of_a_killed_process_is_stale(holder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert (tmp_path / "lock.json").exists()
    with ExperimentLock(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write_lock(folder: Path, **changes: object) -> None:
    (folder / "lock.json").write_text(json.dumps({**lock.identity(), **changes}))


def test_a_reused_process_id_does_not_keep_a_lock_alive(tmp_path: Path) -> None:
    write_lock(tmp_path, started="1")
    with ExperimentLock(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"boot_id": "another"}, {"pid_namespace": "pid:[1]"}, {"host": "elsewhere"}])
def test_a_process_elsewhere_is_judged_by_its_heartbeat(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    """Two machines may share a name, and two containers a boot: their process ids mean nothing here."""
    write_lock(tmp_path, started="1", heartbeat=time.time(), **elsewhere)
    with pytest.raises(LockedError, match="this experiment is being run by process"):
        ExperimentLock(tmp_path).__enter__()
    write_lock(tmp_path, started="1", heartbeat=time.time() - 2 * lock.STALE_S, **elsewhere)
    with ExperimentLock(tmp_path):
        pass


def test_where_processes_cannot_be_seen_the_heartbeat_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lock(tmp_path, started="1")
    monkeypatch.setattr(lock, "_process_start", lambda pid: None)
    assert lock.held_since(tmp_path) is not None
    monkeypatch.undo()
    assert lock.held_since(tmp_path) is None


def test_a_run_whose_lock_was_taken_over_stops_and_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.05)

    def work() -> None:
        with ExperimentLock(tmp_path):
            write_lock(tmp_path, token="successor")
            time.sleep(120)

    with pytest.raises(LockedError, match="has taken the lock"):
        work()
    assert lock.read_holder(tmp_path / "lock.json")["token"] == "successor"


def test_a_beat_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    renew, failures = ExperimentLock._renew, iter([OSError(28, "No space left on device")] * 2)

    def failing(self: ExperimentLock) -> bool:
        error = next(failures, None)
        if error is not None:
            raise error
        return renew(self)

    monkeypatch.setattr(ExperimentLock, "_renew", failing)
    with ExperimentLock(tmp_path):
        first = lock.read_holder(tmp_path / "lock.json")["heartbeat"]
        wait_for(lambda: lock.read_holder(tmp_path / "lock.json")["heartbeat"] > first)
        assert next(failures, None) is None


def test_a_lock_that_was_removed_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with ExperimentLock(tmp_path):
        (tmp_path / "lock.json").unlink()
        wait_for(lambda: lock.held_since(tmp_path) is not None)
    assert not list(tmp_path.iterdir())


def test_the_heartbeat_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with ExperimentLock(tmp_path):
        first = lock.read_holder(tmp_path / "lock.json")["heartbeat"]
        wait_for(lambda: lock.read_holder(tmp_path / "lock.json")["heartbeat"] > first)


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        ExperimentLock(tmp_path / "file" / "experiment").__enter__()
