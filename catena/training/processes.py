"""One training as several processes: started here, or all at once by torchrun.

Process 0, the leader, is the one that was asked to train: it alone reads and writes checkpoints, validates and reports.
The others follow: they are told what to do, and end with it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from catena.errors import CatenaError, ConfigError, StageError
from catena.training.config import TrainConfig
from catena.training.place import PATIENCE, Place, Work
from catena.training.torchrun import by_torchrun, torchrun

_FAREWELL_S = 5.0
_GRACE_S = 60.0
_POLL_S = 0.2


@contextmanager
def started(follow: Work, devices: int) -> Iterator[Place]:
    """Yield this process's place among all that train, having started those that follow.

    Leaving ends them, whatever the reason; and where one of them ends before its time, so does this process.

    Parameters
    ----------
    follow
        What the others do.
    devices
        How many processes there shall be, unless torchrun has started them.

    Raises
    ------
    StageError
        If a follower died.
    CatenaError
        Whatever a follower raised.
    """
    if by_torchrun():
        yield torchrun().next_training(follow)
    elif devices == 1:
        yield Place()
    else:
        with _spawned(follow, devices) as place:
            yield place


def require_devices(devices: int, config: TrainConfig, gpu: bool) -> None:
    """Refuse more devices than there are on this machine, or than share the crops of a step evenly.

    Raises
    ------
    ConfigError
        Saying how many there are.
    """
    processes = int(os.environ["WORLD_SIZE"]) if by_torchrun() else devices
    if config.crops_per_step % processes:
        raise ConfigError(
            f"{processes} processes cannot share {config.crops_per_step} crops per step (train.batch_size "
            f"{config.batch_size} times train.accumulate {config.accumulate}) evenly; make it a multiple of {processes}"
        )
    if by_torchrun():
        started_here = int(os.environ["LOCAL_WORLD_SIZE"])
        if devices not in (1, started_here):
            raise ConfigError(
                f"execution.train.devices is {devices}, but torchrun has started {started_here} processes on this "
                "machine; leave devices out, or give both the same number"
            )
        devices = started_here
    if devices == 1:
        return
    if gpu:
        import torch

        there, what = torch.cuda.device_count(), "GPUs"
    else:
        from catena.blockwise.execution import available_cores

        there, what = available_cores(), "CPU cores"
    if devices > there:
        raise ConfigError(f"execution.train.devices is {devices}, but there are only {there} {what} here")


@contextmanager
def _spawned(follow: Work, devices: int) -> Iterator[Place]:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, devices, is_master=True, timeout=PATIENCE, wait_for_workers=False)
    followers = [_Follower.start(follow, rank, devices, store.port) for rank in range(1, devices)]
    done = threading.Event()
    threading.Thread(target=watch, args=(followers, done), daemon=True, name="followers").start()
    in_order = False
    try:
        yield Place(0, devices, 0, devices, store)
        in_order = True
    except KeyboardInterrupt:
        in_order = True
        raise
    except RuntimeError as error:  # so does torch report a connection that another process has left
        if not isinstance(error, CatenaError) and (cause := _failure(followers)):
            raise cause from error
        raise
    finally:
        done.set()
        for each in followers:
            each.end(_FAREWELL_S if in_order else 0.0)


@dataclass(frozen=True)
class _Follower:
    """A process started here, and the line on which it says what went wrong."""

    rank: int
    process: Any
    line: Connection

    @classmethod
    def start(cls, follow: Work, rank: int, size: int, port: int) -> _Follower:
        context = multiprocessing.get_context("spawn")  # CUDA and thread pools do not survive a fork
        here, there = context.Pipe(duplex=False)
        # not a daemon: those may have no children, and it starts data workers
        process = context.Process(target=_follow_here, args=(follow, rank, size, port, os.getpid(), there))
        process.start()
        there.close()
        return cls(rank, process, here)

    def failure(self) -> CatenaError | None:
        """Return why it has failed, if it has."""
        if self.process.exitcode in (None, 0):
            return None
        if self.line.poll():
            try:
                found: CatenaError = self.line.recv()
                return found
            except EOFError:
                pass  # it died without a word
        code = self.process.exitcode
        return StageError(
            f"process {self.rank + 1} of those that train together died (exit code {code}). If memory ran out, "
            "lower train.batch_size or train.input_shape_vox; running again goes on from the last checkpoint"
        )

    def end(self, within_s: float) -> None:
        """Wait for its end, and kill it if that does not come."""
        self.process.join(within_s)
        if self.process.is_alive():
            self.process.kill()  # its data workers die with it
            self.process.join()
        self.line.close()


def _failure(followers: Sequence[_Follower]) -> CatenaError | None:
    """Return why the first of the followers has failed, which takes a moment to show."""
    deadline = time.monotonic() + _FAREWELL_S
    while time.monotonic() < deadline:
        for each in followers:
            if (failure := each.failure()) is not None:
                return failure
        time.sleep(_POLL_S)
    return None


def watch(followers: Sequence[Any], done: threading.Event, grace_s: float = _GRACE_S) -> None:
    """End this process if a follower has died and training has not noticed: a GPU waits for a lost one for ever."""
    while not done.wait(_POLL_S):
        dead = [each.rank + 1 for each in followers if each.process.exitcode]
        if dead and not done.wait(grace_s):
            print(f"error: process {dead[0]} of those that train together died", file=sys.stderr, flush=True)
            os._exit(1)


def _follow_here(follow: Work, rank: int, size: int, port: int, leader: int, line: Connection) -> None:
    """Be a follower: die with the leader, do the work, and say what went wrong."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until training begins, which notes it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != leader:
            os._exit(1)
    try:
        store = TCPStore("127.0.0.1", port, size, is_master=False, timeout=PATIENCE)
        follow(Place(rank, size, rank, size, store))
    except KeyboardInterrupt:
        pass  # the leader tells
    except CatenaError as error:
        line.send(error)
        os._exit(1)
    except RuntimeError as error:
        line.send(StageError(f"process {rank + 1} of those that train together failed: {error}"))
        os._exit(1)
