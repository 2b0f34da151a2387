"""A Slurm cluster of one node, of the tests' own: munged, slurmctld and slurmd in a temporary folder, on free ports.

``python tests/blockwise/slurm_cluster.py COMMAND...`` runs a command on such a cluster.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "squeue", "sinfo")
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
_START_S = 120.0
_PR_SET_PDEATHSIG = 1

_CONFIG = """
ClusterName=catena
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PluginDir={plugins}
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=128
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=2
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes={host} MaxTime=INFINITE State=UP
"""


def reason_against() -> str | None:
    """Return why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"Slurm is not installed (no {', '.join(missing)}); apt-get install slurm-wlm munge"
    if os.getuid() != 0:
        return "slurmd and slurmctld of the tests run as root only"
    return None


class SlurmCluster:
    """A cluster that is made and started at once; its daemons die with the process that made it.

    Parameters
    ----------
    cpus
        Cores the node claims to have, and so the number of one-core jobs that run at once.
    """

    def __init__(self, cpus: int = 2, memory_mb: int = 2048) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="catena_slurm_"))
        self._daemons: list[subprocess.Popen[bytes]] = []
        try:
            self._configure(cpus, memory_mb)
            self._start()
        except BaseException:
            self.remove()
            raise

    @property
    def environment(self) -> Mapping[str, str]:
        """What Slurm's commands need in their environment to find this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands on this cluster and return what it prints."""
        asked = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        if asked.returncode:
            raise RuntimeError(f"{' '.join(command)}: {asked.stdout}{asked.stderr}")
        return asked.stdout

    def jobs(self) -> list[str]:
        """Return the names of jobs that wait, run or are ending."""
        return self.ask("squeue", "--noheader", "--format=%j").split()

    def remove(self) -> None:
        """Cancel all jobs, stop the daemons and remove the folder."""
        if len(self._daemons) == 3:
            subprocess.run(["scancel", "--user=root"], env=os.environ | self.environment, check=False)
            deadline = time.monotonic() + 60
            while self.jobs() and time.monotonic() < deadline:
                time.sleep(0.05)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(3)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self, cpus: int, memory_mb: int) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "plugstack.conf").write_text("")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        controller_port, node_port = _free_ports(2)
        values = {
            "host": socket.gethostname().split(".")[0],
            "controller_port": controller_port,
            "node_port": node_port,
            "folder": self.folder,
            "plugins": _plugins(),
            "cpus": cpus,
            "memory_mb": memory_mb,
        }
        (self.folder / "slurm.conf").write_text(_CONFIG.format(**values))

    def _start(self) -> None:
        folder = self.folder
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            f"--socket={folder}/munge.socket",
            f"--key-file={folder}/munge.key",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        )
        self._await(lambda: (folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D", "-i", "-f", f"{folder}/slurm.conf")
        self._daemon("slurmd", "-D", "-f", f"{folder}/slurm.conf")
        self._await(self._idle)

    def _idle(self) -> bool:
        command = ["sinfo", "--noheader", "--partition=main", "--format=%t"]
        asked = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        return asked.stdout.strip() == "idle"

    def _daemon(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None
        with (self.folder / f"{name}.out").open("wb") as output:
            self._daemons.append(
                subprocess.Popen(
                    [program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=os.environ | self.environment,
                    preexec_fn=_quit_with_parent,
                    cwd=self.folder,
                )
            )

    def _await(self, condition: object) -> None:
        assert callable(condition)
        deadline = time.monotonic() + _START_S
        while not condition():
            if time.monotonic() > deadline or any(each.poll() is not None for each in self._daemons):
                raise RuntimeError("Slurm does not start\n" + self._logs())
            time.sleep(0.05)

    def _logs(self) -> str:
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")


def _plugins() -> str:
    """Return the folder of Slurm's plugins, which a private configuration must name."""
    found = next(Path("/usr/lib").glob("*/slurm-wlm/auth_munge.so"), None) or next(
        Path("/usr/lib").glob("**/slurm*/auth_munge.so"), None
    )
    return str(found.parent) if found else "/usr/lib/slurm"


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _quit_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(command: list[str]) -> int:
    """Run `command` on a cluster that lives as long as it does."""
    reason = reason_against()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    cluster = SlurmCluster()
    try:
        return subprocess.run(command, env=os.environ | cluster.environment, check=False).returncode
    finally:
        cluster.remove()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["sinfo"]))
