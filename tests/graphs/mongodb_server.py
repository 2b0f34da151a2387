"""A MongoDB server in this process: mongomock behind the wire protocol.

The store under test speaks to it through PyMongo itself, over a socket, from any number of processes; so what PyMongo
does with BSON, batches, lost connections and the server's errors is tested too, which mongomock alone would replace.
"""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import bson
import mongomock
from mongomock.collection import Collection

Document = dict[str, Any]

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_REPLY_PREFIX = struct.pack("<iqii", 8, 0, 0, 1)
_HELLO = {"ismaster": True, "isWritablePrimary": True, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 17}
_HELLO |= {"maxBsonObjectSize": 2**24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
_DUPLICATE = 11000


class MongoDBServer:
    """Serve databases that stay when the server is stopped and started again.

    `failures` maps the name of a command to the reply it gets instead of its own. ``hang_up(command, ...)`` makes the
    server close the connection instead of answering, before or after it has run the command.
    """

    def __init__(self) -> None:
        self.failures: dict[str, Document] = {}
        self.hello = dict(_HELLO)
        self.commands: Counter[str] = Counter()
        self.last: dict[str, Document] = {}
        self.data = mongomock.MongoClient()
        self._hang_ups: dict[str, tuple[bool, int]] = {}
        self._unique: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        self._cursors: dict[int, tuple[str, list[Document]]] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self.port = 0
        self.start()

    # -- up and down --------------------------------------------------------------------------

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            _close(connection)
        self._connections.clear()

    def hang_up(self, command: str, done: bool, times: int = 1) -> None:
        self._hang_ups[command] = (done, times)

    def forget_cursors(self) -> None:
        self._cursors.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            for request, code, command in _requests(connection):
                reply = self._answer(command)
                if reply is None:
                    break
                connection.sendall(_packed(request, code, reply))
        except OSError:
            pass  # the client is gone, or the server was stopped
        _close(connection)

    def _answer(self, command: Document) -> Document | None:
        name = next(iter(command))
        with self._lock:
            self.commands[name] += 1
            self.last[name] = command
            done, times = self._hang_ups.get(name, (False, 0))
            if times:
                self._hang_ups[name] = (done, times - 1)
            if times and not done:
                return None
            reply = self.failures.get(name) or self._run(name, command)
            return None if times else {"ok": 1.0} | reply

    # -- commands -----------------------------------------------------------------------------

    def _run(self, name: str, command: Document) -> Document:
        run: Callable[[Document], Document] | None = getattr(self, f"_do_{name.lower()}", None)
        if run is None:
            return {"ok": 0.0, "code": 59, "errmsg": f"no such command: {name}"}
        return run(command)

    def _do_hello(self, command: Document) -> Document:
        return self.hello

    _do_ismaster = _do_hello

    def _do_ping(self, command: Document) -> Document:
        return {}

    _do_endsessions = _do_ping

    def _collection(self, command: Document) -> Collection:
        return self.data[command["$db"]][next(iter(command.values()))]

    def _do_listcollections(self, command: Document) -> Document:
        names = self.data[command["$db"]].list_collection_names()
        return _cursor(f"{command['$db']}.$cmd.listCollections", [{"name": name} for name in names])

    def _do_createindexes(self, command: Document) -> Document:
        collection = self._collection(command)
        for index in command["indexes"]:
            # unique ones are checked here: mongomock compares each new document with all that are there
            collection.create_index(list(index["key"].items()), name=index["name"])
            keys = self._unique.setdefault((command["$db"], collection.name), [])
            if index.get("unique") and tuple(index["key"]) not in keys:
                keys.append(tuple(index["key"]))
        return {}

    def _do_drop(self, command: Document) -> Document:
        self._unique.pop((command["$db"], command["drop"]), None)
        self._collection(command).drop()
        return {}

    def _do_insert(self, command: Document) -> Document:
        collection = self._collection(command)
        indexes = self._unique.get((command["$db"], collection.name), [])
        there = {key: {_values(each, key) for each in collection._store.documents} for key in indexes}
        problems = []
        for index, document in enumerate(command["documents"]):
            if any(_values(document, key) in there[key] for key in indexes):
                problems.append({"index": index, "code": _DUPLICATE, "errmsg": "E11000 duplicate key error"})
                continue
            for key in indexes:
                there[key].add(_values(document, key))
            collection.insert_one(document)
        return {"n": len(command["documents"]) - len(problems)} | ({"writeErrors": problems} if problems else {})

    def _do_update(self, command: Document) -> Document:
        (update,) = command["updates"]
        found = self._collection(command).update_one(update["q"], update["u"], upsert=update.get("upsert", False))
        if found.upserted_id is not None:
            return {"n": 1, "nModified": 0, "upserted": [{"index": 0, "_id": found.upserted_id}]}
        return {"n": found.matched_count, "nModified": found.modified_count}

    def _do_delete(self, command: Document) -> Document:
        (delete,) = command["deletes"]
        collection = self._collection(command)
        remove = collection.delete_one if delete["limit"] else collection.delete_many
        return {"n": remove(delete["q"]).deleted_count}

    def _do_findandmodify(self, command: Document) -> Document:
        found = self._collection(command).find_one_and_update(
            command["query"], command["update"], return_document=command.get("new", False)
        )
        return {"value": found}

    def _do_find(self, command: Document) -> Document:
        collection = self._collection(command)
        cursor = collection.find(command["filter"], command.get("projection"), skip=command.get("skip", 0))
        if "sort" in command:
            cursor = cursor.sort(list(command["sort"].items()))
        found = list(cursor)[: command.get("limit") or None]
        return self._first(f"{command['$db']}.{collection.name}", found, command.get("batchSize", 101))

    def _do_aggregate(self, command: Document) -> Document:
        return _cursor(f"{command['$db']}.x", list(self._collection(command).aggregate(command["pipeline"])))

    def _first(self, namespace: str, found: list[Document], size: int) -> Document:
        number = 0
        if len(found) > size:
            number = next(self._numbers)
            self._cursors[number] = (namespace, found[size:])
        return _cursor(namespace, found[:size], number)

    def _do_getmore(self, command: Document) -> Document:
        number = command["getMore"]
        if number not in self._cursors:
            return {"ok": 0.0, "code": 43, "errmsg": f"cursor id {number} not found"}
        namespace, found = self._cursors[number]
        size = command.get("batchSize", 10**6)
        self._cursors[number] = (namespace, found[size:])
        return _cursor(namespace, found[:size], number if len(found) > size else 0, "nextBatch")

    def _do_killcursors(self, command: Document) -> Document:
        return {}


def _values(document: Document, key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(document.get(name) for name in key)


def _cursor(namespace: str, found: list[Document], number: int = 0, batch: str = "firstBatch") -> Document:
    return {"cursor": {"id": bson.Int64(number), "ns": namespace, batch: found}}


def _close(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


# -- messages ---------------------------------------------------------------------------------


def _requests(connection: socket.socket) -> Iterator[tuple[int, int, Document]]:
    """Yield number, kind and command of each message, with its document sequences put into the command."""
    while header := _received(connection, _HEADER.size):
        length, request, _, code = _HEADER.unpack(header)
        body = _received(connection, length - _HEADER.size)
        yield request, code, _command(body) if code == _OP_MSG else _legacy(body)


def _received(connection: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        piece = connection.recv(length - len(content))
        if not piece:
            return b""
        content += piece
    return bytes(content)


def _command(body: bytes) -> Document:
    at, command, sequences = 4, {}, {}
    while at < len(body):
        (size,) = struct.unpack_from("<i", body, at + 1)
        content = body[at + 1 : at + 1 + size]
        if body[at] == 0:
            command = bson.decode(content)
        else:
            end = content.index(0, 4)
            sequences[content[4:end].decode()] = bson.decode_all(content[end + 1 :])
        at += 1 + size
    return command | sequences


def _legacy(body: bytes) -> Document:
    begin = body.index(0, 4) + 1 + 8
    return bson.decode(body[begin:])


def _packed(request: int, code: int, reply: Document) -> bytes:
    answer, prefix = (_OP_MSG, struct.pack("<iB", 0, 0)) if code == _OP_MSG else (_OP_REPLY, _REPLY_PREFIX)
    content = prefix + bson.encode(reply)
    return _HEADER.pack(_HEADER.size + len(content), 0, request, answer) + content
