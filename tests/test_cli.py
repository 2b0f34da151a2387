"""The command as a user meets it."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
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

from catena.arrays import create_array, open_array
from catena.cli import main
from data_prep.synthetic import synthesise
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.template import lsd_sigma_nm

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


SHAPE = (20, 30, 30)


def write_raw(path: Path, voxel_size: tuple[int, int, int], values: np.ndarray[Any, Any] | None = None) -> str:
    """Write an array: noise, unless there are values."""
    values = np.random.default_rng(0).integers(1, 255, SHAPE, np.uint8) if values is None else values
    array = create_array(
        path,
        roi=Roi((0, 0, 0), Coordinate(values.shape) * Coordinate(voxel_size)),
        voxel_size=Coordinate(voxel_size),
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(values.shape),
    )
    array.write(array.roi, values)
    return str(path)


def init(catena: Catena, *arguments: str | Path) -> Any:
    """Return the configuration that `catena init` prints."""
    done = catena("init", "local_shape_descriptors", *arguments)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_help_lists_every_command_and_shows_examples() -> None:
    shown = catena_in_a_process("--help").stdout
    assert all(command in shown for command in COMMANDS)
    assert all(f"catena {command} " in shown.partition("Examples")[2] for command in ("init", "run", "segment"))


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


def test_regions_share_out_what_is_labelled(catena: Catena, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a.zarr/raw", (30, 6, 6))
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:14, :, 2:22] = 7
    path = write_raw(tmp_path / "a.zarr/labels", (30, 6, 6), labels)
    found = init(catena, "--raw", raw, "--labels", path)["volumes"]["volume"]["regions"]
    bounds = {"train": [4, 10], "validation": [10, 12], "test": [12, 14]}
    assert found == {name: {"z": z, "x": [2, 22]} for name, z in bounds.items()}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones(SHAPE, np.float32), "integer labels, found .*a.zarr/labels float32"),
        (np.zeros(SHAPE, np.uint32), "has no labelled voxel"),
        (np.ones((2, 30, 30), np.uint32), "labelled in 2 section.*training, validation and test need 3 at least"),
    ],
)
def test_init_refuses_labels_that_cannot_be_trained_on(
    catena: Catena, tmp_path: Path, labels: np.ndarray[Any, Any], message: str
) -> None:
    raw = write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))
    path = write_raw(tmp_path / "a.zarr/labels", (8, 8, 8), labels)
    refused = catena("init", "local_shape_descriptors", "--raw", raw, "--labels", path)
    assert refused.returncode == 1
    assert re.search(message, refused.stderr)


def test_init_quotes_what_yaml_would_misread(catena: Catena, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a #b: c.zarr/raw", (8, 8, 8))
    found = init(catena, "--raw", raw, "--labels", raw, "--name", "1e3")
    assert (found["experiment"], found["volumes"]["volume"]["raw"]) == ("1e3", raw)
    assert found["volumes"]["volume"]["labels"] == raw
    refused = catena("init", "local_shape_descriptors", "--raw", raw, "--name", "my exp: 1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "'my exp: 1' is used as a folder name: letters" in refused.stderr


def test_init_makes_the_folder_and_names_the_file_it_writes(catena: Catena, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))
    path = tmp_path / "my experiments" / "one.yaml"
    done = catena("init", "local_shape_descriptors", "--raw", raw, "-o", path)
    assert f"next: catena run '{path}'" in done.stdout
    assert f"# Run:      catena run '{path}' " in path.read_text()
    for place in (path / "two.yaml", tmp_path):  # below a file, and a folder itself
        refused = catena("init", "local_shape_descriptors", "--raw", raw, "-o", place)
        assert refused.returncode == 1
        assert f"cannot write {place}: " in refused.stderr


@pytest.mark.parametrize(
    ("config", "voxel_size"),
    [
        ("fib25_published", (8, 8, 8)),
        ("hemibrain", (8, 8, 8)),
        ("zebrafinch", (20, 9, 9)),
        ("snemi3d_published", (30, 6, 6)),
        ("cremi_published", (40, 4, 4)),
        ("demo_anisotropic", (40, 8, 8)),
    ],
)
def test_descriptors_reach_as_far_as_in_our_own_configurations(config: str, voxel_size: tuple[float, ...]) -> None:
    values = yaml.safe_load((ROOT / f"configs/local_shape_descriptors/{config}.yaml").read_text())
    assert lsd_sigma_nm(voxel_size) == values["model"]["lsd_sigma_nm"]


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the clone with the wheel of this clone installed, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    packages = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {each for each in packages if not each.endswith(".dist-info")} == {
        "catena",
        "data_prep",
        "local_shape_descriptors",
    }
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return site


def run_installed(site: Path, folder: Path, *arguments: str) -> Shown:
    """Call Python in a folder, with nothing but what is installed in `site` and the libraries it needs."""
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Shown(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_built_wheel_runs_outside_the_clone(site: Path, tmp_path: Path) -> None:
    code = "import catena, local_shape_descriptors.task as t; print(catena.__file__, t.__file__)"
    where = run_installed(site, tmp_path, "-c", code).stdout.split()
    assert all(each.startswith(str(site)) for each in where)
    raw = write_raw(tmp_path / "a.zarr/raw", (8, 8, 8))
    written = run_installed(site, tmp_path, "-m", "catena", "init", "local_shape_descriptors", "--raw", raw)
    assert "task: local_shape_descriptors" in written.stdout
    listed = run_installed(site, tmp_path, "-m", "catena", "pretrained").stdout
    assert all(each.stem in listed for each in ROOT.glob("local_shape_descriptors/weights/*.json"))


def take_compiled_kernels(site: Path) -> None:
    """Spare an installation half a minute of compiling what is compiled in the clone, from the very same source."""
    for compiled in ROOT.glob("catena/**/__pycache__/*.nb[ic]"):
        source = compiled.parents[1] / f"{compiled.name.split('.')[0]}.py"
        installed = site / source.relative_to(ROOT)
        if source.exists() and filecmp.cmp(source, installed, shallow=False):
            shutil.copystat(source, installed)  # numba looks at time and size
            shutil.copy(compiled, installed.parent / "__pycache__" / compiled.name)


@pytest.mark.slow
def test_the_built_wheel_segments_with_the_network_it_brings(site: Path, tmp_path: Path) -> None:
    take_compiled_kernels(site)
    values = synthesise(Coordinate(24, 24, 24), Coordinate(8, 8, 8), seed=1).raw
    write_raw(tmp_path / "a.zarr/raw", (8, 8, 8), values)
    command = ("-m", "catena", "segment", "--pretrained", "fib25", "a.zarr/raw", "-o", "out.zarr")
    run_installed(site, tmp_path, *command)
    config = yaml.safe_load((tmp_path / "out.zarr.run/fib25/config.yaml").read_text())
    assert Path(config["inputs"]["checkpoint"]).is_relative_to(site)
    found = open_array(tmp_path / "out.zarr/volumes/segmentation")
    assert found.roi == Roi((0, 0, 0), (192, 192, 192))  # nm
    assert found.voxel_size == Coordinate(8, 8, 8)
    assert found.dtype == np.uint64
    assert found.read(found.roi).any()
