"""The numbered scripts, one after the other, make what ``catena run`` makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml
from small_experiment import results, small_experiment

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "scripts").glob("[0-9]*.py"))

NAMES = [
    "01_predict_blockwise.py",
    "02_extract_fragments_blockwise.py",
    "03_agglomerate_blockwise.py",
    "04_find_segments_full.py",
    "05_extract_segmentation_from_lut.py",
    "06_evaluate.py",
]


@pytest.mark.slow
@pytest.mark.usefixtures("fork_server")
def test_scripts_in_order_make_what_one_run_makes(tmp_path: Path) -> None:
    settings, log = small_experiment(tmp_path), tmp_path / "log"
    assert forked.run_in_child(settings, log) == 0, log.read_text()
    by_scripts = {**settings, "output": str(tmp_path / "by_scripts")}
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(settings))
    arguments = [str(path), f"output={by_scripts['output']}"]
    assert [each.name for each in SCRIPTS] == NAMES
    assert forked.run_script_in_child(SCRIPTS[3], arguments, log) == 1
    assert "has to run first" in log.read_text()
    for script in SCRIPTS:
        assert forked.run_script_in_child(script, arguments, log) == 0, log.read_text()
    assert results(by_scripts) == results(settings)
    assert forked.run_script_in_child(SCRIPTS[1], arguments, log) == 0
    assert "fragments: done in" not in log.read_text().rpartition("seconds")[2]


def test_a_script_tells_what_it_does() -> None:
    shown = subprocess.run([sys.executable, SCRIPTS[1], "--help"], capture_output=True, text=True, check=True).stdout
    assert "Extract fragments from the affinities, block by block." in shown
    assert "--retry-failed" in shown
