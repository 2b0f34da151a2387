"""Which stores may be used from where: SQLite serves one host and a local file system only."""

from __future__ import annotations

import re
from pathlib import Path

from catena.errors import StoreError

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph"}
    | {"glusterfs", "orangefs", "pvfs2", "wekafs", "9p", "davfs", "panfs", "fuse.sshfs", "fuse.ceph", "fuse.s3fs"}
    | {"fuse.glusterfs", "fuse.beegfs", "fuse.rclone", "fuse.gcsfuse", "fuse.juicefs"}
)
_MOUNTS = Path("/proc/self/mountinfo")
_OTHERS = "a server's store: postgresql://USER@HOST/DATABASE or mongodb://HOST/DATABASE"


def require_local_filesystem(path: str | Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a path on a network file system, where SQLite's shared memory and locks do not work.

    Parameters
    ----------
    path
        File or folder, which need not exist yet.
    mounts
        Table of mounts in the form of Linux's ``mountinfo``; where there is none, nothing is refused.

    Raises
    ------
    StoreError
        Naming the file system and the stores to use instead.
    """
    kind, mount = file_system_of(Path(path), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{path} lies on a network file system ({kind} at {mount}), where SQLite is unsafe; use {_OTHERS}"
        )


def require_reach(url: str, spans_hosts: bool) -> None:
    """Refuse, before the first block, a store that the workers of a run could not share.

    Parameters
    ----------
    url
        The store's URL.
    spans_hosts
        Whether the run's launcher starts workers on other hosts.

    Raises
    ------
    StoreError
        If `url` names SQLite and the run spans hosts, or the file lies on a network file system.
    """
    if not url.startswith("sqlite:///"):
        return
    if spans_hosts:
        raise StoreError(f"{url} serves a single host, and this launcher starts workers on others; use {_OTHERS}")
    require_local_filesystem(url.removeprefix("sqlite:///"))


def file_system_of(path: Path, mounts: Path = _MOUNTS) -> tuple[str, str]:
    """Return the type of the file system that holds `path` and where it is mounted; empty if unknown."""
    if not mounts.exists():
        return "", ""
    resolved = path.resolve()
    best = ("", "")
    for line in mounts.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        mount = _unescape(fields.split()[4])
        # a later mount on the same point hides an earlier one
        if resolved.is_relative_to(mount) and len(mount) >= len(best[1]):
            best = (rest.split()[0], mount)
    return best


def _unescape(text: str) -> str:
    """Undo ``mountinfo``'s octal escapes of blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
