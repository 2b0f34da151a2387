"""Print what a project needs, one requirement a line: a layer of the image that outlives changes of its code."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(project_file: Path, extras: list[str]) -> None:
    """Print the requirements of the project that `project_file` describes, and of some of its extras."""
    project = tomllib.loads(project_file.read_text())["project"]
    optional = [each for extra in extras for each in project["optional-dependencies"][extra]]
    print(*project["dependencies"], *optional, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
