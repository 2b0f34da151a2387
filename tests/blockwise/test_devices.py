from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from catena.blockwise import devices
from catena.blockwise.devices import claim_gpu, gpu_names, one_worker_per_gpu
from catena.blockwise.execution import ExecutionConfig
from catena.errors import OutputError

CLAIM = """
import sys
from pathlib import Path
from catena.blockwise.devices import claim_gpu
print(claim_gpu(Path(sys.argv[1]), 2), flush=True)
sys.stdin.read()
"""


class Worker:
    """A process that claims one of two GPUs and holds it until it is ended."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", CLAIM, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.gpu = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_workers_claim_different_gpus_and_one_that_is_restarted_takes_the_free_one(tmp_path):
    workers = [Worker(tmp_path) for _ in range(3)]
    try:
        assert [each.gpu for each in workers] == [0, 1, 0]  # the third shares
        workers[1].kill()
        workers.append(Worker(tmp_path))
        assert workers[3].gpu == 1
    finally:
        for each in workers:
            each.kill()


def test_a_process_keeps_its_gpu_and_another_job_has_its_own(tmp_path):
    assert [claim_gpu(tmp_path / "a", 2), claim_gpu(tmp_path / "a", 2), claim_gpu(tmp_path / "b", 2)] == [0, 0, 0]


def test_locks_are_named_after_the_gpus_that_other_processes_may_number_otherwise(monkeypatch):
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    assert gpu_names(2) == ["0", "1"]
    monkeypatch.setenv(devices.VISIBLE, "3, GPU-7f")
    assert gpu_names(2) == ["3", "GPU-7f"]


def test_without_gpu_or_folder_a_claim_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no GPU to claim"):
        claim_gpu(tmp_path, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot claim a GPU"):
        claim_gpu(tmp_path / "file", 1)


def test_one_worker_per_gpu_unless_asked_otherwise(monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 3)
    assert one_worker_per_gpu(ExecutionConfig()).workers == 3
    assert one_worker_per_gpu(ExecutionConfig(workers=2)).workers == 2
    assert one_worker_per_gpu(ExecutionConfig(launcher="slurm")) == ExecutionConfig(launcher="slurm")
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    assert one_worker_per_gpu(ExecutionConfig()) == ExecutionConfig()
