"""The manifest of a worker's job on Kubernetes, and what its state says."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catena.blockwise.execution import ExecutionConfig

OWNER_VARIABLES = ("CATENA_POD_NAME", "CATENA_POD_UID")
"""Where a master that is itself a pod finds its own name and uid, by Kubernetes' downward API."""

_KEPT_S = 3600  # an ended job that nobody has deleted is Kubernetes' to delete
_HOPELESS = frozenset(
    {"ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)


@dataclass(frozen=True)
class PodState:
    """What has become of a worker's container.

    Attributes
    ----------
    phase
        ``waiting``, ``running`` or ``ended``.
    code
        Exit code, once it has ended.
    reason
        Why it waits or has ended, in Kubernetes' words.
    """

    phase: str
    code: int = 0
    reason: str = ""


def job_manifest(
    name: str, run: str, command: Sequence[str], variables: Mapping[str, str], asked: ExecutionConfig
) -> dict[str, Any]:
    """Return the manifest of a job that runs one worker, once, not as root.

    Parameters
    ----------
    name
        Name of the job.
    run
        Label by which all jobs of a run are found; the job and its pod also carry the job's name as a label.
    command, variables
        What to run, with which environment besides the image's own.
    asked
        Image, resources, claims and secrets.
    """
    labels = {"app.kubernetes.io/name": "catena", "app.kubernetes.io/component": "worker", "catena.run": run}
    labels |= {"catena.worker": name}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": _account(),
        "containers": [_container(command, variables, asked)],
        "volumes": [
            {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(asked.claims)
        ],
    }
    spec: dict[str, Any] = {
        "backoffLimit": 0,  # the scheduler replaces workers
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if asked.time_h is not None:
        spec["activeDeadlineSeconds"] = max(1, round(asked.time_h * 3600))
    metadata = {"name": name, "labels": labels, **_owner()}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def state_of(items: Sequence[Mapping[str, Any]]) -> PodState:
    """Return what has become of a worker, from its job and the job's pod as Kubernetes lists them."""
    if not any(each["kind"] == "Job" for each in items):
        return PodState("ended", 128 + signal.SIGKILL, "its job has been deleted")
    pods = [each for each in items if each["kind"] == "Pod"]
    if not pods:
        return PodState("waiting", reason="no pod yet")
    status = pods[-1].get("status", {})
    containers = status.get("containerStatuses") or [{}]
    state = containers[0].get("state", {})
    if "terminated" in state:
        ended = state["terminated"]
        return PodState("ended", int(ended.get("exitCode", 1)), str(ended.get("reason", "")))
    if status.get("phase") == "Failed":  # evicted, or past its deadline: the container's end was not seen
        return PodState("ended", 1, str(status.get("reason", "Failed")))
    if "running" in state:
        return PodState("running")
    reason = str(state.get("waiting", {}).get("reason", status.get("phase", "")))
    return PodState("ended", 1, reason) if reason in _HOPELESS else PodState("waiting", reason=reason)


def _container(command: Sequence[str], variables: Mapping[str, str], asked: ExecutionConfig) -> dict[str, Any]:
    resources = {"cpu": str(asked.cores_per_worker)}
    if asked.memory_gb is not None:
        resources["memory"] = f"{math.ceil(asked.memory_gb * 1024)}Mi"
    if asked.gpus:
        resources["nvidia.com/gpu"] = str(asked.gpus)
    return {
        "name": "worker",
        "image": asked.image,
        "command": list(command),
        "workingDir": os.getcwd(),  # where the master resolves the relative paths of a configuration
        "env": [{"name": name, "value": value} for name, value in sorted(variables.items())],
        "envFrom": [{"secretRef": {"name": secret}} for secret in asked.secrets],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": f"claim-{number}", "mountPath": folder} for number, folder in enumerate(asked.claims.values())
        ],
    }


def _account() -> dict[str, Any]:
    """Return who a worker is: the master's own user, that both may write the same files; never root."""
    account: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if os.getuid() != 0:
        account |= {"runAsUser": os.getuid(), "runAsGroup": os.getgid()}
    return account


def _owner() -> dict[str, Any]:
    """Return the reference to the master's own pod, with which Kubernetes deletes what it has left."""
    name, uid = (os.environ.get(variable) for variable in OWNER_VARIABLES)
    if not name or not uid:
        return {}
    return {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]}
