"""The address of this machine that workers on other machines connect to."""

from __future__ import annotations

import ipaddress
import socket

from catena.errors import ConfigError

_REMEDY = "set execution.default.host to an address of this machine that the workers' machines reach"
_OUTSIDE = ("198.51.100.1", 9)  # of a range kept for documentation; nothing is sent to it


def master_address(configured: str | None) -> str:
    """Return the address at which workers on other machines find this one.

    That is the configured one, else what the name of this machine stands for, else the address from which
    packets leave for elsewhere.

    Raises
    ------
    ConfigError
        If the address is unknown, or is a loopback address, which every machine has for itself.
    """
    if configured is not None:
        addresses = _addresses(configured)
        if not addresses:
            raise ConfigError(f"execution host {configured!r} is not known here; {_REMEDY}")
        if all(_is_loopback(each) for each in addresses):
            raise ConfigError(
                f"execution host {configured!r} is a loopback address, which leads nowhere else; {_REMEDY}"
            )
        return configured
    candidates = [*_addresses(socket.gethostname()), *_outward()]
    found = next((each for each in candidates if not _is_loopback(each)), None)
    if found is None:
        raise ConfigError(f"this machine has no address but loopback ({', '.join(candidates) or 'none'}); {_REMEDY}")
    return found


def _addresses(name: str) -> list[str]:
    """Return the addresses of `name`, IPv4 first as clusters mostly have that alone; none if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(each[4][0]) for each in sorted(found, key=lambda each: each[0] != socket.AF_INET)]


def _outward() -> list[str]:
    """Return the address of the interface with the default route, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_OUTSIDE)
        except OSError:
            return []
        return [str(probe.getsockname()[0])]


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_loopback or parsed.is_unspecified
