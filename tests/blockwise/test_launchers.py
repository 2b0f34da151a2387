"""Launchers without their clusters: stand-ins for their programs record the calls and really run the workers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from smoothing import BLOCKS, done, finish, wait_for, workers

from catena.blockwise import ExecutionConfig
from catena.blockwise.execution import CLUSTER_SETTINGS, inherit
from catena.blockwise.launchers import LAUNCHERS, require_launcher
from catena.blockwise.launchers.kubernetes_job import job_manifest, state_of
from catena.blockwise.launchers.lsf import LSFLauncher
from catena.errors import ConfigError
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

PROGRAMS = Path(__file__).parent / "programs"
LOCAL = {"launcher": "local", "workers": 2}
HOST = {"host": "192.0.2.1"}
LSF: dict[str, Any] = {"launcher": "lsf", "queue": "em", "memory_gb": 2, "gpus": 1, "time_h": 1.5, "account": "lab"}
KUBERNETES: dict[str, Any] = {
    "launcher": "kubernetes",
    "image": "registry.example/catena:1",
    "memory_gb": 0.5,
    "gpus": 1,
    "time_h": 2,
    "claims": {"volumes": "/data"},
    "secrets": ["graph-password"],
    "extra": ["--namespace=em"],
}

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[list[str]]]:
    """Put the stand-ins on PATH; return how a program was called so far."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    monkeypatch.setenv("CATENA_TEST_CLUSTER", str(folder))
    monkeypatch.setenv("CATENA_TEST_PYTHON", sys.executable)
    monkeypatch.setenv("PATH", f"{PROGRAMS}:{os.environ['PATH']}")

    def called(program: str) -> list[list[str]]:
        lines = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
        return [words[1:] for words in map(json.loads, lines) if words[0] == program]

    return called


def printed_blocks(volume: Path) -> int:
    """Return how many blocks the workers' logs tell of."""
    logs = "".join(log.read_text() for log in (volume / "stage/logs").iterdir())
    return sum(f"block {block} done" in logs for block in range(BLOCKS))


def test_lsf_runs_all_blocks(start: Start, calls: Callable[[str], list[list[str]]], volume: Path) -> None:
    assert finish(lambda: start(0.0, LSF), volume) == f"REPORT {BLOCKS} 0\n"
    submitted = calls("bsub")
    assert len(submitted) == 2
    *words, command = submitted[0]
    assert " ".join(words).startswith("-K -J catena-")
    for option in ("-n 1", "-R span[hosts=1]", "-gpu num=1", "-q em", "-W 1:30", "-P lab", "-R rusage[mem=2048MB]"):
        assert option in " ".join(words)
    assert command.endswith(f"-P -m catena.blockwise.worker {volume}/stage/job.json")
    assert {words[-1] for words in calls("bkill")} == {"0"}
    assert printed_blocks(volume) == BLOCKS


def test_kubernetes_runs_all_blocks(start: Start, calls: Callable[[str], list[list[str]]], volume: Path) -> None:
    assert finish(lambda: start(0.0, KUBERNETES), volume) == f"REPORT {BLOCKS} 0\n"
    assert all(words[0] == "--namespace=em" for words in calls("kubectl"))
    manifests = [json.loads(line) for line in (volume / "cluster/manifests").read_text().splitlines()]
    assert len(manifests) == 2
    kubernetes_validate.validate(manifests[0], "1.30", strict=True)
    assert printed_blocks(volume) == BLOCKS
    assert not list((volume / "cluster/jobs").glob("*/manifest.json"))


@pytest.mark.parametrize("asked", [LSF, KUBERNETES], ids=["lsf", "kubernetes"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_master(
    start: Start, calls: object, volume: Path, asked: dict[str, Any], number: signal.Signals
) -> None:
    master = start(60, asked)
    wait_for(lambda: len(list((volume / "stage/running").glob("*"))) == 2)
    master.send_signal(number)
    master.communicate(timeout=120)
    assert master.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not workers(volume))
    assert done(volume) == 0


def test_every_launcher_has_its_settings() -> None:
    assert set(CLUSTER_SETTINGS) == set(LAUNCHERS)
    assert [LAUNCHERS[name].spans_hosts for name in ("local", "slurm", "lsf", "kubernetes")] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"queue": "gpu"}, "'local' does not know queue; it knows of these settings none"),
        ({"launcher": "kubernetes", "image": "i", "queue": "q", "account": "a"}, "does not know account, queue; it"),
        ({"launcher": "slurm", "claims": {"a": "/a"}}, "'slurm' does not know claims; it knows account, extra, gpus"),
        ({"launcher": "kubernetes"}, "'kubernetes' needs image"),
        ({"launcher": "slurm", "memory": 4}, "unknown key 'memory' .did you mean 'memory_gb'"),
        ({"launcher": "slurm", "time_h": 0}, "'time_h': Input should be greater than 0"),
    ],
)
def test_settings_that_a_launcher_does_not_know(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExecutionConfig.parse(values)


def test_a_section_inherits_from_the_default_of_the_same_launcher() -> None:
    slurm = {"launcher": "slurm", "workers": 64, "queue": "long", "timeout_s": 60}
    assert inherit({"gpus": 1}, slurm) == {**slurm, "gpus": 1}
    assert inherit({"launcher": "local"}, slurm) == {"launcher": "local", "timeout_s": 60}


def test_a_stage_on_another_launcher_than_the_others() -> None:
    """The one section of a configuration that changes from a laptop to a cluster."""
    volumes = {"v": {"raw": "raw.zarr/raw"}}
    execution = {"default": {"launcher": "slurm", "queue": "cpu"}, "predict": {"gpus": 1, "queue": "gpu"}}
    values = {"task": "local_shape_descriptors", "experiment": "e", "volumes": volumes}
    config = LocalShapeDescriptorsConfig.parse({**values, "execution": {**execution, "segmentation": LOCAL}})
    asked = {stage: config.execution.of(stage) for stage in ("fragments", "predict", "segmentation")}
    assert [(each.launcher, each.queue, each.gpus) for each in asked.values()] == [
        ("slurm", "cpu", 0),
        ("slurm", "gpu", 1),
        ("local", None, 0),
    ]
    with pytest.raises(ConfigError, match=r"'execution.predict': .* launcher 'local' does not know gpus"):
        LocalShapeDescriptorsConfig.parse({**values, "execution": {"predict": {"gpus": 1}}})


@pytest.mark.parametrize(("name", "program"), [("slurm", "srun"), ("lsf", "bsub"), ("kubernetes", "kubectl")])
def test_a_program_that_is_not_there(name: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    image = {"image": "i"} if name == "kubernetes" else {}
    with pytest.raises(ConfigError, match=f"launcher '{name}' needs {program}.*not found on PATH.*launcher: local"):
        require_launcher(ExecutionConfig.model_validate({"launcher": name, **image}))


def test_a_worker_in_a_container_of_apptainer(calls: Callable[[str], list[list[str]]], tmp_path: Path) -> None:
    asked = ExecutionConfig.model_validate({**LSF, **HOST, "image": "catena.sif", "extra": ["-app", "em"]})
    launcher = LSFLauncher(asked, tmp_path / "stage/job.json")
    launcher.work(0, "context")
    launcher.stop()
    (words,) = calls("bsub")
    python = f"python -P -m catena.blockwise.worker {tmp_path}/stage/job.json"
    assert words[-3:] == ["-app", "em", f"apptainer exec --nv catena.sif {python}"]


@pytest.mark.parametrize("own", [True, False])
def test_the_manifest_of_a_worker(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATENA_POD_NAME", "master-0")
    monkeypatch.setenv("CATENA_POD_UID", "f1d2" if own else "")
    monkeypatch.setattr("os.getuid", lambda: 1000 if own else 0)
    asked = ExecutionConfig.model_validate({**KUBERNETES, "cores_per_worker": 4})
    manifest = job_manifest("catena-1-0", "catena-1", ["python", "-V"], {"DAISY_CONTEXT": "here"}, asked)
    kubernetes_validate.validate(manifest, "1.30", strict=True)
    assert ("ownerReferences" in manifest["metadata"]) == own
    spec = manifest["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 7200, 3600)
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"].get("runAsUser") == (1000 if own else None)
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "512Mi", "nvidia.com/gpu": "1"}
    assert container["envFrom"] == [{"secretRef": {"name": "graph-password"}}]
    assert container["workingDir"] == os.getcwd()
    assert container["volumeMounts"] == [{"name": "claim-0", "mountPath": "/data"}]
    assert pod["volumes"] == [{"name": "claim-0", "persistentVolumeClaim": {"claimName": "volumes"}}]


JOB = {"kind": "Job"}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], ("ended", 137, "its job has been deleted")),
        ([JOB], ("waiting", 0, "no pod yet")),
        ([JOB, {"kind": "Pod", "status": {"phase": "Pending"}}], ("waiting", 0, "Pending")),
        ([JOB, {"kind": "Pod", "status": {"phase": "Failed", "reason": "Evicted"}}], ("ended", 1, "Evicted")),
        ({"waiting": {"reason": "ContainerCreating"}}, ("waiting", 0, "ContainerCreating")),
        ({"waiting": {"reason": "ImagePullBackOff"}}, ("ended", 1, "ImagePullBackOff")),
        ({"running": {"startedAt": "now"}}, ("running", 0, "")),
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, ("ended", 137, "OOMKilled")),
    ],
)
def test_the_state_of_a_pod(items: Any, expected: tuple[str, int, str]) -> None:
    if isinstance(items, dict):
        items = [JOB, {"kind": "Pod", "status": {"containerStatuses": [{"state": items}]}}]
    state = state_of(items)
    assert (state.phase, state.code, state.reason) == expected
