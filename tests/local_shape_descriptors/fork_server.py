"""A process that has imported everything, and forks off it runs and workers that then need not: ``… SOCKET``.

Who connects sends a line of JSON, ``{"target": name in forked, "arguments": […], "log": path, "variables": {…}}``, and
receives the exit code (negative for a signal) once the process has ended. It is killed when the connection closes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import tempfile
import traceback

import forked
from kernels import call_segmentation

from catena.graphs import postgresql
from catena.inference import load_network, save_network
from catena.networks import NetworkConfig, UNetConfig, build_network
from local_shape_descriptors.task import TASK

_TICK_S = 0.01


def load_all() -> None:
    """Call what is compiled or imported at its first use, for that to happen here rather than in every process."""
    with tempfile.TemporaryDirectory() as folder:
        config = NetworkConfig(unet=UNetConfig(feature_maps=1, growth=1, downsampling=()), heads={"affinities": 3})
        save_network(f"{folder}/any.safetensors", build_network(config))
        load_network(f"{folder}/any.safetensors")
    call_segmentation()
    assert TASK.stages  # it is there, with what it imports


def serve(path: str) -> None:
    """Serve until the process that started this one is gone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    running: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([sys.stdin, listener, *running.values()], [], [], _TICK_S)
        if sys.stdin in readable:  # closed
            for process in running:
                os.kill(process, signal.SIGKILL)
            return
        for process, connection in running.items():
            if connection in readable:
                os.kill(process, signal.SIGKILL)
        if listener in readable:
            connection, _ = listener.accept()
            running[fork(connection, [listener, *running.values()])] = connection
        for process in list(running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                finish(running.pop(process), os.waitstatus_to_exitcode(status))


def finish(connection: socket.socket, code: int) -> None:
    """Tell how a process ended, if there is anybody to hear it."""
    with connection:
        try:
            connection.sendall(str(code).encode())
        except BrokenPipeError:
            return


def fork(connection: socket.socket, others: list[socket.socket]) -> int:
    """Start what is asked for, and return its process number."""
    request = json.loads(connection.makefile().readline())
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for each in (connection, *others):
            each.close()
        code = be(request)
    finally:
        os._exit(code)
    raise AssertionError("unreachable")


def be(request: dict[str, object]) -> int:
    """Do what is asked for, and return the exit code."""
    os.environ.clear()
    os.environ.update(request["variables"])  # type: ignore[arg-type]
    for stream, number in ((os.devnull, 0), (request["log"], 1), (request["log"], 2)):
        os.dup2(os.open(str(stream), os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644), number)
    try:
        getattr(forked, str(request["target"]))(*request["arguments"])  # type: ignore[misc]
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    load_all()
    postgresql.FIRST_PATIENCE_S = 60.0  # a server that is killed recovers in seconds only where nothing else runs
    serve(sys.argv[1])
