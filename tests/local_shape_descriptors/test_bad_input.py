"""Bad input gets a clear error, and nothing is lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.errors import (
    ArrayNotFoundError,
    CatenaError,
    ConfigError,
    DataError,
    GeometryError,
    OutputError,
    StageError,
)
from catena.plan import Selection
from catena.run import run
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.task import TASK

SHAPE = (48, 48, 52)


def write(path: Path, values: np.ndarray, voxel_size: int = 8, offset: int = 0, **options: Any) -> str:
    array = create_array(
        path,
        roi=Roi((offset,) * 3, Coordinate(values.shape[-3:]) * voxel_size),
        voxel_size=Coordinate((voxel_size,) * 3),
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(16, 16, 16),
        **options,
    )
    array.write(array.roi, values)
    return str(path)


def run_all(settings: Mapping[str, Any], **selection: Any) -> Any:
    return run(TASK, LocalShapeDescriptorsConfig.parse(settings), Selection(**selection))


@pytest.fixture
def phantom(settings: dict[str, Any]) -> dict[str, Any]:
    """The section of the volume, to be spoilt."""
    volume: dict[str, Any] = settings["volumes"]["phantom"]
    return volume


@pytest.fixture
def training(settings: dict[str, Any]) -> dict[str, Any]:
    """An experiment that trains a tiny network."""
    del settings["inputs"]
    settings["model"] = {"feature_maps": 2, "growth": 2, "levels": 1}
    settings["train"] = {"iterations": 2, "input_shape_vox": [24, 24, 24], "learning_rate": 1e-3}
    settings["predict"] = {"block_shape_vox": [24, 24, 26]}
    settings["execution"]["train"] = {"data_workers": 0}
    return settings


def test_missing_container(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["raw"] = "nowhere.zarr/volumes/raw"
    with pytest.raises(ArrayNotFoundError, match=r"no container at nowhere\.zarr"):
        run_all(settings)


def test_missing_data_set_names_those_there(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["labels"] = phantom["labels"].replace("neuron_ids", "neurons")
    with pytest.raises(ArrayNotFoundError, match=r"no data set .* there are: .*/neuron_ids, volumes/raw"):
        run_all(settings)


def test_labels_of_another_voxel_size(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    phantom["labels"] = write(tmp_path / "a.zarr/labels", np.ones(SHAPE, np.uint64), voxel_size=4)
    with pytest.raises(GeometryError, match=r"phantom\.labels: .* voxel size of \(4, 4, 4\) nm, .* resample one"):
        run_all(settings)


def test_labels_elsewhere(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    phantom["labels"] = write(tmp_path / "a.zarr/labels", np.ones(SHAPE, np.uint64), offset=8000)
    with pytest.raises(GeometryError, match="no overlap"):
        run_all(settings)


def test_labels_between_voxels(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    phantom["labels"] = write(tmp_path / "a.zarr/labels", np.ones(SHAPE, np.uint64), offset=4)
    with pytest.raises(GeometryError, match="not on the voxel grid"):
        run_all(settings)


def test_region_outside_the_data(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["regions"]["test"] = {"z": [32, 64]}
    with pytest.raises(GeometryError, match=r"regions\.test .* reaches outside"):
        run_all(settings)


def test_regions_that_overlap(training: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["regions"]["validation"] = {"z": [15, 32]}
    with pytest.raises(ConfigError, match=r"regions\.train .* overlaps volumes\.phantom\.regions\.validation"):
        run_all(training, last="train")
    assert not Path(training["output"]).exists()


def test_scored_region_outside_what_is_processed(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["roi"] = {"z": [0, 40]}
    with pytest.raises(GeometryError, match=r"regions\.test .* to be scored, but only"):
        run_all(settings)


def test_roi_beyond_given_affinities(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    offsets = {"offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    small = write(tmp_path / "a.zarr/affs", np.zeros((3, 32, 32, 32), np.uint8), channels=3, attributes=offsets)
    settings["inputs"]["affinities"] = small
    phantom["roi"] = {"z": [0, 48]}
    with pytest.raises(GeometryError, match="reaches beyond the affinities"):
        run_all(settings)


def test_mask_elsewhere(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    phantom["mask"] = write(tmp_path / "a.zarr/mask", np.ones(SHAPE, np.uint8), voxel_size=32, offset=8000)
    with pytest.raises(GeometryError, match=r"phantom\.mask: .* no overlap"):
        run_all(settings)


def test_mask_with_channels(settings: dict[str, Any], phantom: dict[str, Any], tmp_path: Path) -> None:
    phantom["mask"] = write(tmp_path / "a.zarr/mask", np.ones((2, *SHAPE), np.uint8), channels=2)
    with pytest.raises(GeometryError, match=r"phantom\.mask: .* has 2 channels"):
        run_all(settings)


def test_boxes_outside_what_is_processed(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    del phantom["regions"]
    phantom |= {"roi": {"z": [0, 16]}, "rois": [{"z": [16, 32]}, {"z": [32, 48]}]}
    with pytest.raises(GeometryError, match="none of the rois"):
        run_all(settings)


def test_roi_between_voxels(settings: dict[str, Any], phantom: dict[str, Any]) -> None:
    phantom["roi"] = {"z_nm": [4, 100]}
    with pytest.raises(GeometryError, match="not on the voxel grid"):
        run_all(settings)


def test_block_shape_that_is_no_shape(settings: dict[str, Any]) -> None:
    settings["fragments"]["block_shape_vox"] = [16, 0, 16]
    with pytest.raises(ConfigError, match="block shape must be positive"):
        run_all(settings)


def test_unknown_key(settings: dict[str, Any]) -> None:
    settings["agglomerate"] = {"merge_funktion": "mean"}
    with pytest.raises(ConfigError, match=r"'agglomerate.merge_funktion' \(did you mean 'merge_function'\?\)"):
        run_all(settings)


def test_unknown_merge_function(settings: dict[str, Any]) -> None:
    settings["agglomerate"] = {"merge_function": "median"}
    with pytest.raises(ConfigError, match="no merge function 'median'"):
        run_all(settings)


def test_threshold_without_a_table(settings: dict[str, Any]) -> None:
    settings["segmentation"] = {"threshold": 0.333}
    with pytest.raises(CatenaError, match=r"no lookup table at threshold 0\.333; the nearest is 0\.34"):
        run_all(settings)


def test_affinities_without_offsets(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["inputs"]["affinities"] = write(tmp_path / "a.zarr/affs", np.zeros((3, *SHAPE), np.uint8), channels=3)
    with pytest.raises(CatenaError, match="no attribute 'offsets'"):
        run_all(settings)


def test_nothing_to_train_on(training: dict[str, Any]) -> None:
    del training["volumes"]["phantom"]["labels"]
    with pytest.raises(ConfigError, match="nothing to train on"):
        run_all(training)


def test_illegal_network_input(training: dict[str, Any]) -> None:
    training["train"]["input_shape_vox"] = [25, 24, 24]
    with pytest.raises(GeometryError, match=r"z = 25 \(nearest legal: 24 or 26\)"):
        run_all(training)


def test_labels_without_labels(training: dict[str, Any], tmp_path: Path) -> None:
    labels = write(tmp_path / "a.zarr/labels", np.zeros(SHAPE, np.uint64))
    training["volumes"]["phantom"]["labels"] = labels
    with pytest.raises(DataError, match="no labelled voxel"):
        run_all(training)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(SHAPE, 7, np.uint8), "constant"),
        (np.full(SHAPE, 7, np.int32), "dtype int32"),
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
    ],
)
def test_raw_that_cannot_be_used(training: dict[str, Any], tmp_path: Path, values: np.ndarray, message: str) -> None:
    training["volumes"]["phantom"]["raw"] = write(tmp_path / "a.zarr/raw", values)
    with pytest.raises(DataError, match=message):
        run_all(training)


def test_raw_that_cannot_be_predicted(training: dict[str, Any], tmp_path: Path) -> None:
    run_all(training, last="train")
    checkpoint = Path(training["output"]) / "e/checkpoints/best.pt"
    raw = write(tmp_path / "a.zarr/raw", np.full(SHAPE, 7, np.uint8))
    settings = {
        **training,
        "experiment": "f",
        "inputs": {"checkpoint": str(checkpoint)},
        "volumes": {"v": {"raw": raw}},
    }
    with pytest.raises(DataError, match="constant"):
        run_all(settings)


def test_checkpoint_of_another_model(training: dict[str, Any], em: dict[str, str], tmp_path: Path) -> None:
    run_all(training, last="train")
    checkpoint = Path(training["output"]) / "e/checkpoints/best.pt"
    settings = {**training, "experiment": "f", "inputs": {"checkpoint": str(checkpoint)}, "model": {"type": "aff"}}
    with pytest.raises(ConfigError, match=r"predicts lsds \(10\), affinities \(3\), but model.type aff"):
        run_all(settings)
    (tmp_path / "no.pt").write_text("not a checkpoint")
    settings["inputs"] = {"checkpoint": str(tmp_path / "no.pt")}
    with pytest.raises(DataError, match="not a checkpoint"):
        run_all(settings)


def test_checkpoint_of_another_neighbourhood(training: dict[str, Any]) -> None:
    run_all(training, last="train")
    checkpoint = Path(training["output"]) / "e/checkpoints/best.pt"
    settings = {**training, "experiment": "f", "inputs": {"checkpoint": str(checkpoint)}}
    settings["model"] = {**training["model"], "neighbourhood": [[0, 0, -1], [-1, 0, 0], [0, -1, 0]]}
    with pytest.raises(ConfigError, match=r"trained with .* as the neighbourhood of affinities"):
        run_all(settings)


def cli(settings: Mapping[str, Any], folder: Path, *arguments: str) -> list[str]:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(dict(settings)))
    return [sys.executable, "-m", "catena", *(arguments or ("run",)), str(path)]


def test_the_command_prints_a_line_and_no_traceback(settings: dict[str, Any], tmp_path: Path) -> None:
    settings["volumes"]["phantom"]["raw"] = "nowhere.zarr/volumes/raw"
    done = subprocess.run(cli(settings, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: no container at nowhere.zarr"
    debug = subprocess.run([*cli(settings, tmp_path), "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode != 0


def test_output_that_cannot_be_made(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings["output"] = str(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        run_all(settings)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_nothing_is_lost(settings: dict[str, Any], tmp_path: Path) -> None:
    """No file may grow beyond a few kilobytes: what writing meets when the disk is full."""
    limited = subprocess.run(
        cli(settings, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert limited.returncode == 1, limited.stderr
    assert "Traceback" not in limited.stderr
    assert limited.stderr.startswith("error: ")
    run_all(settings, last="segmentation")
    assert open_array(tmp_path / "runs/e/volumes/phantom/volume.zarr/volumes/segmentation").read().any()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_the_run_goes_on(
    settings: dict[str, Any], tmp_path: Path, sent: signal.Signals
) -> None:
    process = subprocess.Popen(cli(settings, tmp_path), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    marks = tmp_path / "runs/e/volumes/phantom/.staging"
    deadline = time.monotonic() + 120
    while not list(marks.glob("fragments-*/blockwise/progress.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "runs/e/lock.json").exists()
    run_all(settings)
    assert (tmp_path / "runs/e/volumes/phantom/preview.png").exists()


def test_a_failing_block_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    run_all(settings, last="fragments")
    chunk = Path(settings["inputs"]["affinities"])
    volume = tmp_path / "runs/e/volumes/phantom/volume.zarr/volumes/fragments"
    assert volume.exists()
    assert chunk.exists()
    spoilt = next(each for each in sorted(volume.iterdir()) if not each.name.startswith("."))
    spoilt.write_bytes(b"spoilt")
    with pytest.raises(StageError, match=r"blocks failed[\s\S]*block 0"):
        run_all(settings, last="agglomerate")
    assert os.path.exists(volume)
