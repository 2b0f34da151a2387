"""Download kubectl while an image is built, and refuse it if it is not what its publisher says it is."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import urllib.request
from pathlib import Path

RELEASES = "https://dl.k8s.io/release"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def fetch(url: str) -> bytes:
    """Return what `url` holds."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def main(version: str, target: Path) -> None:
    """Write kubectl of `version` (``v1.31.4``) to `target`."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        sys.exit(f"KUBECTL_VERSION must be of the form v1.31.4, found {version!r}")
    url = f"{RELEASES}/{version}/bin/linux/{ARCHITECTURES[platform.machine()]}/kubectl"
    binary, expected = fetch(url), fetch(f"{url}.sha256").decode().strip()
    found = hashlib.sha256(binary).hexdigest()
    if found != expected:
        sys.exit(f"{url} has the checksum {found}, expected {expected}")
    target.write_bytes(binary)
    target.chmod(0o755)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
