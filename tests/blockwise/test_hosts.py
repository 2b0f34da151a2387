"""Workers and master on two hosts, and what lies between: addresses, broken connections, cut links."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from funlib.geometry import Coordinate
from host_launcher import NAMESPACE_VARIABLE, RelayedLauncher
from smoothing import BLOCK_SHAPE, BLOCKS, ROI, done, finish, require_smoothed, wait_for, workers

from catena.blockwise import BlockGrid, ExecutionConfig, WorkerSpec, run_blockwise
from catena.blockwise.launchers import LAUNCHERS
from catena.blockwise.launchers.host import master_address
from catena.errors import ConfigError

Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "0.0.0.0"])
def test_an_address_that_leads_nowhere_else_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"is a loopback address.* set execution\.default\.host"):
        master_address(host)


def test_the_address_given_is_taken_if_it_exists() -> None:
    assert master_address("192.0.2.17") == "192.0.2.17"
    with pytest.raises(ConfigError, match=r"'no-such-host\.invalid' is not known here; set execution\.default\.host"):
        master_address("no-such-host.invalid")


def test_the_address_found_is_the_names_then_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    names, routes = ["127.0.1.1", "10.1.2.3"], ["192.0.2.1"]
    monkeypatch.setattr("catena.blockwise.launchers.host._addresses", lambda name: names)
    monkeypatch.setattr("catena.blockwise.launchers.host._outward", lambda: routes)
    assert master_address(None) == "10.1.2.3"
    names.pop()
    assert master_address(None) == "192.0.2.1"
    routes.pop()
    with pytest.raises(ConfigError, match=r"no address but loopback \(127\.0\.1\.1\); set execution\.default\.host"):
        master_address(None)


def test_workers_reconnect(volume: Path, entries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections are reset, and new ones for a second; the blocks in hand are done again, by the same workers."""
    monkeypatch.setitem(LAUNCHERS, "relayed", RelayedLauncher)
    monkeypatch.setattr(RelayedLauncher, "relay", None)
    arguments = {"source": f"{volume}/v.zarr/source", "target": f"{volume}/v.zarr/target", "sleep_s": 0.1}
    one = Coordinate(1, 1, 1)

    def break_connections() -> None:
        wait_for(lambda: done(volume) >= 4)
        assert RelayedLauncher.relay is not None
        RelayedLauncher.relay.break_connections()
        time.sleep(1)
        RelayedLauncher.relay.mend()

    breaking = threading.Thread(target=break_connections)
    breaking.start()
    report = run_blockwise(
        "smooth",
        BlockGrid(ROI, one, BLOCK_SHAPE, one),
        WorkerSpec("blockwise_entries:smooth", arguments),
        volume / "stage",
        ExecutionConfig(launcher="relayed", workers=2),
    )
    breaking.join()
    assert RelayedLauncher.relay is not None
    assert RelayedLauncher.relay.connections >= 4
    RelayedLauncher.relay.close()
    assert (report.done, report.failed, report.worker_deaths) == (BLOCKS, 0, 0)
    assert "it will be done again" in "".join(log.read_text() for log in (volume / "stage/logs").iterdir())
    require_smoothed(volume)


class TwoHosts:
    """Two network namespaces and the link between them."""

    def __init__(self) -> None:
        mark = f"{os.getpid() % 10**6}"
        self.master, self.worker = f"catena-m{mark}", f"catena-w{mark}"
        self._link = f"cw{mark}"
        for namespace in (self.master, self.worker):
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
        ends = ("link", "add", f"cm{mark}", "netns", self.master, "type", "veth")
        _ip(*ends, "peer", "name", self._link, "netns", self.worker)
        for namespace, end, address in (
            (self.master, f"cm{mark}", "10.77.0.1"),
            (self.worker, self._link, "10.77.0.2"),
        ):
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", end)
            _ip("-n", namespace, "link", "set", end, "up")

    def link(self, state: str) -> None:
        _ip("-n", self.worker, "link", "set", self._link, state)

    def remove(self) -> None:
        for namespace in (self.master, self.worker):
            _ip("netns", "delete", namespace)


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespaces can be made here")
    made = TwoHosts()
    try:
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("cut_s", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_link_between_two_hosts_is_cut(start: Start, volume: Path, hosts: TwoHosts, cut_s: int) -> None:
    master = start(
        0.2,
        {"launcher": "other_host", "host": "10.77.0.1"},
        ("ip", "netns", "exec", hosts.master),
        **{NAMESPACE_VARIABLE: hosts.worker},
    )
    wait_for(lambda: done(volume) >= 4)
    hosts.link("down")
    time.sleep(1)
    kept = done(volume)
    time.sleep(cut_s - 1)
    assert kept == done(volume) < BLOCKS  # the workers did lie on the other side
    hosts.link("up")
    assert finish(lambda: master, volume) == f"REPORT {BLOCKS} 0\n"
    assert workers(volume) == []
    assert len(list((volume / "stage/logs").iterdir())) == 2  # none had to be replaced


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
