"""Workers as jobs of Kubernetes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.command import worker_command, worker_variables
from catena.blockwise.launchers.host import master_address
from catena.blockwise.launchers.jobnames import JobName
from catena.blockwise.launchers.kubernetes_job import PodState, job_manifest, state_of
from catena.blockwise.launchers.launcher import WorkerExit
from catena.blockwise.launchers.processes import WorkerProcesses
from catena.blockwise.launchers.reaper import Reaper
from catena.errors import StageError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_FAILURES = 10


class KubernetesLauncher:
    """Start each worker as a job, applied by ``kubectl`` and followed by its log, which is copied here.

    All jobs of a run carry its label. They are deleted by that label when the run stops; by a process
    that outlives this one if it is killed; when the stage is started again; and, if the master is a pod that says which
    (``CATENA_POD_NAME``, ``CATENA_POD_UID``), by Kubernetes together with that pod.
    """

    spans_hosts: ClassVar[bool] = True
    programs: ClassVar[tuple[str, ...]] = ("kubectl",)

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        self._execution = execution
        self._job_path = job_path
        self._host = master_address(execution.host)
        self._logs = WorkerProcesses(job_path.parent / "logs")
        self._stopping = threading.Event()
        self._name = JobName(job_path.parent)
        for name in self._name.earlier:
            self._kubectl(*_delete(name, wait=True))
        self._name.earlier_ended()
        self._reaper = Reaper(self._command(*_delete(self._name.name, wait=False)))

    @property
    def host(self) -> str:
        """Address of this machine or pod that the workers' pods reach."""
        return self._host

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Create a worker's job, wait until it has ended, and tell how."""
        log = self._logs.log(worker_id)
        if self._stopping.is_set():
            return WorkerExit(-signal.SIGTERM, log)
        job = f"{self._name.name}-{worker_id}"
        variables = worker_variables(context, self._execution.cores_per_worker)
        command = worker_command(self._job_path, "python")
        manifest = job_manifest(job, self._name.name, command, variables, self._execution)
        created = self._kubectl("create", "--filename=-", text=json.dumps(manifest))
        if created.returncode:
            log.write_text(created.stderr)
            return WorkerExit(created.returncode, log)
        ended = self._follow(worker_id, job)
        self._kubectl("delete", "job", job, "--ignore-not-found", "--wait=false")
        return ended

    def _follow(self, worker_id: int, job: str) -> WorkerExit:
        """Wait until a worker runs, copy what it prints until it ends, and return how it ended."""
        log = self._logs.log(worker_id)
        state = self._await(job, "running")
        while state.phase == "running" and not self._stopping.is_set():
            # it ends with the container, or when a connection that stood for long is closed: then it goes on
            self._logs.run(worker_id, self._command("logs", "--follow", f"job/{job}"), os.environ)
            state = self._await(job, "ended", pauses=2)
            if state.phase == "running":
                log.write_text("")  # what it has printed comes again from the beginning
        if state.phase != "ended":
            return WorkerExit(-signal.SIGTERM, log)
        if not log.exists() or not log.stat().st_size:
            log.write_text(self._kubectl("logs", f"job/{job}").stdout)
        if state.reason not in ("", "Completed", "Error"):
            with log.open("a") as end:
                end.write(f"\nKubernetes: {state.reason}\n")
        return WorkerExit.of_shell(state.code, log)

    def _await(self, job: str, phase: str, pauses: int | None = None) -> PodState:
        """Wait until a worker has come to a phase, or has ended; for some pauses only, if so asked."""
        pause, failures = _FIRST_PAUSE_S, 0
        while True:
            listed = self._kubectl("get", "job,pods", f"--selector=catena.worker={job}", "--output=json")
            failures = failures + 1 if listed.returncode else 0
            if failures >= _FAILURES:
                raise StageError(f"kubectl get fails again and again: {listed.stderr.strip()}")
            state = PodState("waiting") if listed.returncode else state_of(json.loads(listed.stdout)["items"])
            if state.phase in (phase, "ended") or pauses == 0 or self._stopping.wait(pause):
                return state
            pauses = None if pauses is None else pauses - 1
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def stop(self, patience_s: float = 0.0) -> None:
        """Start no more workers, give those that run `patience_s` to end by themselves, and delete their jobs."""
        self._logs.end_within(patience_s)
        self._stopping.set()
        self._logs.refuse_more()
        deleted = self._kubectl(*_delete(self._name.name, wait=True))
        self._logs.end()
        if deleted.returncode == 0:
            self._reaper.dismiss()
            self._name.ended()

    def _command(self, *words: str) -> list[str]:
        return ["kubectl", *self._execution.extra, *words]

    def _kubectl(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*words), input=text or "", capture_output=True, text=True, check=False)


def _delete(run: str, wait: bool) -> Sequence[str]:
    patience = ["--wait=true", "--timeout=60s"] if wait else ["--wait=false"]
    # in the foreground: the job is gone only once its pods are
    return ["delete", "job", f"--selector=catena.run={run}", "--ignore-not-found", "--cascade=foreground", *patience]
