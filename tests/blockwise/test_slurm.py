"""Workers as jobs of a real Slurm, a cluster of one node that these tests start."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, reason_against
from smoothing import BLOCKS, done, finish, wait_for, workers

from catena.blockwise import ExecutionConfig
from catena.blockwise.launchers.host import master_address
from catena.blockwise.launchers.slurm import SlurmLauncher
from catena.errors import ConfigError

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    try:
        master_address(None)
    except ConfigError as error:
        pytest.skip(str(error))
    running = SlurmCluster(cpus=2)
    try:
        yield running
    finally:
        running.remove()


@pytest.fixture
def slurm(cluster: SlurmCluster, start: Start, monkeypatch: pytest.MonkeyPatch) -> Start:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)

    def begin(sleep_s: float = 0.0, *, prefix: tuple[str, ...] = (), **asked: object) -> subprocess.Popen[str]:
        return start(sleep_s, {"launcher": "slurm", **asked}, prefix)

    return begin


def test_the_same_result_as_on_one_machine(slurm: Start, cluster: SlurmCluster, volume: Path) -> None:
    """With more workers than fit: two wait in the queue while the others do the work, and are not waited for."""
    asked = {"workers": 4, "memory_gb": 0.125, "time_h": 0.1, "queue": "spare", "extra": ["--comment=test"]}
    assert finish(lambda: slurm(**asked), volume) == f"REPORT {BLOCKS} 0\n"
    assert cluster.jobs() == []
    assert "block 0 done" in "".join(log.read_text() for log in (volume / "stage/logs").iterdir())


def test_a_cancelled_worker_is_replaced(slurm: Start, cluster: SlurmCluster, volume: Path) -> None:
    master = slurm(sleep_s=0.1)
    wait_for(lambda: done(volume) >= 2)
    cluster.ask("scancel", cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()[0])
    assert finish(lambda: master, volume) == f"REPORT {BLOCKS} 0\n"
    assert (volume / "stage/logs/worker_2.log").exists()


def test_a_worker_that_cannot_be_submitted_ends_the_run(slurm: Start) -> None:
    printed, _ = slurm(queue="nowhere").communicate(timeout=120)
    assert "before its first block: srun: error: Unable to allocate resources: Invalid partition name" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_job(slurm: Start, cluster: SlurmCluster, volume: Path, number: signal.Signals) -> None:
    master = slurm(sleep_s=0.2, workers=3)
    wait_for(lambda: done(volume) >= 2)
    assert len(cluster.jobs()) == 3
    master.send_signal(number)
    printed, _ = master.communicate(timeout=120)
    assert master.returncode == 130
    assert printed.startswith(f"STOPPED smooth: stopped by {number.name}, ")
    assert (cluster.jobs(), workers(volume)) == ([], [])


def test_a_killed_master_leaves_no_job(slurm: Start, cluster: SlurmCluster, volume: Path) -> None:
    """Neither those in the middle of a long block nor the one that still waits in the queue."""
    master = slurm(sleep_s=60, workers=3)
    wait_for(lambda: len(list((volume / "stage/running").glob("*"))) == 2)
    assert len(cluster.jobs()) == 3
    master.kill()
    master.communicate()
    wait_for(lambda: not cluster.jobs() and not workers(volume))


def test_what_is_left_is_cancelled_at_the_next_start(slurm: Start, cluster: SlurmCluster, volume: Path) -> None:
    """As after the master's machine went down, and with it the process that would have cancelled the jobs."""
    master = slurm(sleep_s=60)
    wait_for(lambda: len(list((volume / "stage/running").glob("*"))) == 2)
    (reaper,) = _children(master.pid, b"scancel")
    os.kill(reaper, signal.SIGKILL)
    master.kill()
    master.communicate()
    (left,) = set(cluster.jobs())
    assert finish(slurm, volume) == f"REPORT {BLOCKS} 0\n"
    assert left not in cluster.jobs()


def test_a_master_that_is_itself_a_job(slurm: Start, volume: Path) -> None:
    """Its workers are jobs of their own: as steps of its job they would not have the memory that they ask for."""
    in_a_job = ("srun", "--quiet", "--mem=200M", "--cpus-per-task=1")
    master = slurm(prefix=in_a_job, workers=1, memory_gb=0.5)
    assert finish(lambda: master, volume) == f"REPORT {BLOCKS} 0\n"


def test_the_command_says_what_is_asked_for(tmp_path: Path) -> None:
    launcher = SlurmLauncher.__new__(SlurmLauncher)
    launcher.execution = ExecutionConfig(
        launcher="slurm",
        cores_per_worker=4,
        memory_gb=1.5,
        gpus=2,
        queue="gpu",
        time_h=0.75,
        account="em",
        extra=("--qos=long",),
    )
    command = launcher.submit_command("catena-1", tmp_path / "log", ["work"])
    assert command[0] == "srun"
    assert command[-2:] == ["--qos=long", "work"]
    options = "--cpus-per-task=4 --mem=1536M --gres=gpu:2 --partition=gpu --time=45 --account=em --job-name=catena-1"
    assert set(options.split()) < set(command)


def _children(parent: int, word: bytes) -> list[int]:
    """Return the children of a process whose command line contains `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if ours and word in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has just ended
            continue
    return found
