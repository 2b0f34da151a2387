from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from catena import lock
from catena.errors import LockedError, OutputError
from catena.lock import ExperimentLock


def hold(folder: str, ready: object) -> None:
    with ExperimentLock(Path(folder)):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(30)
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


def write_lock(folder: Path, **changes: object) -> None:
    (folder / "lock.json").write_text(json.dumps({**lock.identity(), **changes}))


def test_a_reused_process_id_does_not_keep_a_lock_alive(tmp_path: Path) -> None:
    write_lock(tmp_path, started="1")
    with ExperimentLock(tmp_path):
        pass


def test_a_lock_from_before_the_last_boot_is_stale(tmp_path: Path) -> None:
    write_lock(tmp_path, boot_id="another")
    with ExperimentLock(tmp_path):
        pass


def test_another_host_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    write_lock(tmp_path, host="elsewhere", heartbeat=time.time())
    with pytest.raises(LockedError, match="on elsewhere"):
        ExperimentLock(tmp_path).__enter__()
    write_lock(tmp_path, host="elsewhere", heartbeat=time.time() - 2 * lock.STALE_S)
    with ExperimentLock(tmp_path):
        pass


def test_the_heartbeat_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    with ExperimentLock(tmp_path):
        first = lock.read_holder(tmp_path / "lock.json")["heartbeat"]
        time.sleep(0.2)
        assert lock.read_holder(tmp_path / "lock.json")["heartbeat"] > first


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        ExperimentLock(tmp_path / "file" / "experiment").__enter__()
