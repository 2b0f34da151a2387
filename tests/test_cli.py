"""The command as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.cli import main
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

ROOT = Path(__file__).parent.parent
COMMANDS = [
    "run",
    "plan",
    "train",
    "predict",
    "segment",
    "evaluate",
    "view",
    "view-augmentations",
    "view-errors",
    "status",
    "config",
    "init",
    "graph",
    "synthesise",
]


class Shown(NamedTuple):
    """What became of a command."""

    returncode: int
    stdout: str
    stderr: str


Catena = Callable[..., Shown]


def catena_in_a_process(*arguments: str | Path, **options: Any) -> Shown:
    command = [sys.executable, "-m", "catena", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return Shown(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def catena(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Catena]:
    """Call the command in this process: a process of its own takes a second."""
    monkeypatch.setenv("CATENA_DEBUG", "0")  # the command sets it
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str | Path) -> Shown:
        monkeypatch.setattr(sys, "argv", ["catena", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Shown(end.value.code, *capsys.readouterr())

    yield call
    signal.signal(signal.SIGTERM, handler)


def write_raw(path: Path, voxel_size: tuple[int, int, int]) -> str:
    array = create_array(
        path,
        roi=Roi((0, 0, 0), Coordinate(20, 30, 30) * Coordinate(voxel_size)),
        voxel_size=Coordinate(voxel_size),
        dtype="uint8",
        chunk_shape_vox=Coordinate(20, 30, 30),
    )
    array.write(array.roi, np.zeros((20, 30, 30), np.uint8))
    return str(path)


def test_help_lists_every_command() -> None:
    shown = catena_in_a_process("--help").stdout
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(catena: Catena, command: str) -> None:
    shown = catena(command, "--help").stdout
    assert "Examples" in shown
    assert f"catena {command}" in " ".join(shown.split())


def test_unknown_command_and_missing_file_exit_with_a_line() -> None:
    unknown = catena_in_a_process("rum")
    assert unknown.returncode == 2
    assert "No such command 'rum'" in unknown.stderr
    missing = catena_in_a_process("run", "nowhere.yaml")
    assert (missing.returncode, missing.stderr.strip()) == (1, "error: no configuration file at nowhere.yaml")


@pytest.mark.parametrize("arguments", [("run", "nowhere.yaml", "--debug"), ("--debug", "run", "nowhere.yaml")])
def test_debug_shows_the_traceback_wherever_it_stands(arguments: tuple[str, ...]) -> None:
    shown = catena_in_a_process(*arguments)
    assert shown.returncode == 1
    assert "Traceback (most recent call last)" in shown.stderr
    assert "in load_yaml" in shown.stderr
    assert shown.stderr.strip().endswith("no configuration file at nowhere.yaml")


@pytest.mark.parametrize("command", ["run", "train", "predict", "segment", "evaluate"])
def test_every_command_that_runs_stages_can_be_told_yes(catena: Catena, command: str) -> None:
    missing = catena(command, "nowhere.yaml", "--yes")
    assert missing.stderr.strip() == "error: no configuration file at nowhere.yaml"


@pytest.mark.parametrize(
    ("what", "heavy"),
    [
        ("import catena.cli as cli; cli._add_registered_commands()", ("torch", "gunpowder", "numba", "zarr")),
        # what every worker of every stage waits for
        ("import local_shape_descriptors.task", ("torch", "gunpowder", "scipy.ndimage", "matplotlib")),
    ],
)
def test_starts_without_the_heavy_libraries(what: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys\n{what}\nprint([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.parametrize(
    ("voxel_size", "downsampling", "per_section"),
    [((8, 8, 8), [[2, 2, 2]] * 3, False), ((40, 8, 8), [[1, 2, 2], [1, 2, 2], [2, 2, 2]], True)],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_init_writes_a_configuration_that_suits_the_voxel_size(
    catena: Catena,
    tmp_path: Path,
    voxel_size: tuple[int, int, int],
    downsampling: list[list[int]],
    per_section: bool,
    labelled: bool,
) -> None:
    raw = write_raw(tmp_path / "a.zarr/raw", voxel_size)
    labels = ["--labels", write_raw(tmp_path / "a.zarr/labels", voxel_size)] if labelled else []
    path = tmp_path / "experiment.yaml"
    done = catena("init", "local_shape_descriptors", "--raw", raw, *labels, "-o", path)
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load(path.read_text())
    config = LocalShapeDescriptorsConfig.parse(values)
    assert values["model"]["downsampling"] == downsampling
    assert config.fragments.per_section is per_section
    assert (0 in (config.augment.transpose or ())) is not per_section
    assert bool(config.scored_with("train")) is labelled
    assert all(b <= n for b, n in zip(config.fragments.block_shape_vox or (), (20, 30, 30), strict=True))
    again = catena("init", "local_shape_descriptors", "--raw", raw, "-o", path)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_config_prints_defaults_and_overrides(catena: Catena, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))
    path = tmp_path / "e.yaml"
    path.write_text(
        yaml.safe_dump({"task": "local_shape_descriptors", "experiment": "e", "volumes": {"v": {"raw": raw}}})
    )
    shown = yaml.safe_load(catena("config", path, "train.iterations=7").stdout)
    assert shown["train"]["iterations"] == 7
    assert shown["agglomerate"]["merge_function"] == "hist_quant_75"
    assert "nothing has been run yet" in catena("status", path, f"output={tmp_path}").stdout


def test_a_plan_that_cannot_fit_is_an_error(catena: Catena, tmp_path: Path) -> None:
    volumes = {"v": {"raw": write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))}}
    values = {"task": "local_shape_descriptors", "experiment": "e", "volumes": volumes, "output": str(tmp_path)}
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump({**values, "inputs": {"checkpoint": "none.pt"}}))
    planned = catena("plan", path, "--quick", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["fits"]
    refused = catena("plan", path, "--quick", "agglomerate.memory_gb=1e-9")
    assert refused.returncode == 1
    assert "does not fit: 1 problem(s)" in refused.stdout


@pytest.mark.slow
def test_the_built_wheel_runs_outside_the_clone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    packages = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {each for each in packages if not each.endswith(".dist-info")} == {
        "catena",
        "data_prep",
        "local_shape_descriptors",
    }
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    where = [
        sys.executable,
        "-c",
        "import catena, local_shape_descriptors.task as t; print(catena.__file__, t.__file__)",
    ]
    shown = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(each.startswith(str(site)) for each in shown.split())
    raw = write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))
    done = catena_in_a_process("init", "local_shape_descriptors", "--raw", raw, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "task: local_shape_descriptors" in done.stdout
    listed = catena_in_a_process("pretrained", cwd=tmp_path, env=environment)
    assert listed.returncode == 0, listed.stderr
    assert all(each.stem in listed.stdout for each in ROOT.glob("local_shape_descriptors/weights/*.json"))
