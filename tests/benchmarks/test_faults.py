"""What the benchmark of kills counts as a kill, and what as an error."""

import subprocess
import sys

import pytest

from benchmarks.faults.kills import killed


def python(source: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_run_that_does_not_end_is_killed() -> None:
    process = python("import time; time.sleep(60)")
    assert killed(process, 0.1, "e")
    assert process.returncode == -9


def test_a_run_that_finished_before_was_not_killed() -> None:
    assert not killed(python(""), 30, "e")


def test_a_run_that_fails_by_itself_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"run e ended with 3: no such stage"):
        killed(python("import sys; sys.stderr.write('no such stage'); sys.exit(3)"), 30, "e")
