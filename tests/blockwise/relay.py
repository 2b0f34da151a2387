"""A TCP relay between workers and master whose connections a test breaks."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading


class Relay:
    """Listens on a port of its own and passes bytes on to `port`, both of the loopback interface."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._broken = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def break_connections(self) -> None:
        """Reset all connections, and every new one until :meth:`mend`."""
        with self._lock:
            self._broken = True
            for pair in self._pairs:
                _reset(pair)
            self._pairs.clear()

    def mend(self) -> None:
        """Let new connections through."""
        with self._lock:
            self._broken = False

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._listener.close()
        self.break_connections()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._lock:
                if self._broken:
                    _reset((near,))
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the master has ended
                    _reset((near,))
                    continue
                self.connections += 1
                self._pairs.append((near, far))
            threading.Thread(target=_pass_on, args=(near, far), daemon=True).start()


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not data:
                    key.data.shutdown(socket.SHUT_WR)
                    return
                key.data.sendall(data)


def _reset(sockets: tuple[socket.socket, ...]) -> None:
    """Close so that the other side sees a reset rather than an orderly end."""
    for each in sockets:
        with contextlib.suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
