from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from funlib.geometry import Coordinate, Roi
from matplotlib.image import imread

from catena.arrays import create_array
from catena.cli_view import view_errors
from catena.errors import ArrayNotFoundError, ConfigError, DataError
from catena.evaluation import Contingency, ObjectError, Part, mergers
from local_shape_descriptors import error_sheet, scoring
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.error_sheet import Errors, pairs

SHAPE, VOXEL_SIZE, OFFSET = (8, 16, 20), Coordinate(8, 8, 8), Coordinate(800, 0, 80)


def write(path: Path, values: np.ndarray) -> str:
    roi = Roi(OFFSET, Coordinate(SHAPE) * VOXEL_SIZE)
    array = create_array(
        path, roi=roi, voxel_size=VOXEL_SIZE, dtype=values.dtype, chunk_shape_vox=Coordinate(8, 8, 8), overwrite=True
    )
    array.write(roi, values)
    return str(path)


def experiment(folder: Path, truth: np.ndarray, segmentation: np.ndarray | None, **settings: Any) -> Path:
    """Write an experiment as if it had been run."""
    raw = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    volume = {
        "raw": write(folder / "em.zarr/raw", raw),
        "labels": write(folder / "em.zarr/labels", truth),
        "regions": {"validation": {"z": [0, 4]}, "test": {"z": [4, 8]}},
    }
    if segmentation is not None:
        write(folder / "runs/e/volumes/v/volume.zarr/volumes/segmentation", segmentation)
    values = {"task": "local_shape_descriptors", "experiment": "e", "output": str(folder / "runs")}
    path = folder / "e.yaml"
    path.write_text(yaml.safe_dump({**values, "volumes": {"v": volume}, **settings}))
    return path


def config(path: Path) -> LocalShapeDescriptorsConfig:
    return LocalShapeDescriptorsConfig.parse(yaml.safe_load(path.read_text()))


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    """In every section

     truth       segmentation
    1 1 | 2 2      5 5 5 5
    ---------      -------
    3 3 | 3 3      6 6 | 7      one merger, one split, half of the voxels each
    """
    truth, segmentation = np.full(SHAPE, 3, np.uint64), np.full(SHAPE, 6, np.uint64)
    truth[:, :8, :10], truth[:, :8, 10:] = 1, 2
    segmentation[:, :8], segmentation[:, 8:, 15:] = 5, 7
    return truth, segmentation


def test_the_command_lists_and_draws_mergers_and_splits(tmp_path, labels, capsys):
    picture = tmp_path / "sheets" / "errors.png"
    view_errors(experiment(tmp_path, *labels), output=picture)
    summary, merger, split, wrote = capsys.readouterr().out.splitlines()
    assert summary == ("v, test: 1 segments with several bodies (0.50 bit), 1 bodies in several segments (0.41 bit)")
    assert merger.startswith("  merger of 2 bodies, 0.50 bit: segment 5 = body 1 (50 %), body 2 (50 %), at z, y, x = ")
    assert split.startswith("  split into 2 segments, 0.41 bit: body 3 = segment 6 (75 %), segment 7 (25 %), at z, y")
    found = re.search(r"x = (.*) voxels (.*)", merger)
    vox, nm = ([int(each) for each in re.findall(r"\d+", text)] for text in found.groups())
    assert vox[0] in range(4, 8)
    assert vox[2] == 10
    assert nm == [800 + 8 * vox[0], 8 * vox[1], 80 + 8 * vox[2]]
    assert wrote == f"wrote {picture}"
    assert imread(picture).shape[1] / 200 == pytest.approx(2.15 + 3 * 2.36 + 0.12, abs=0.01)


def test_the_figures_are_those_of_the_scores_and_the_same_in_one_slab_or_many(tmp_path, labels, monkeypatch):
    truth, segmentation = labels
    truth[:, :, 0] = segmentation[:, 0] = 0
    settings = config(experiment(tmp_path, truth, segmentation))
    whole = Errors(settings, "v", "test")
    expected = mergers(Contingency.of(segmentation[4:], truth[4:]))
    assert mergers(whole.counted) == expected
    monkeypatch.setattr(scoring, "SLAB_VOXELS", 2 * 16 * 20)
    parts = Errors(settings, "v", "test")
    assert mergers(parts.counted) == expected
    (one,), (other,) = whole.views(expected[:1]), parts.views(expected[:1])
    assert (one.axis, one.position[2]) == (other.axis, other.position[2]) == (0, 9)


@pytest.mark.parametrize("zeros", ["one_object", "filled", "common"])
def test_voxels_without_a_segment_count_as_in_the_scores(tmp_path, labels, zeros):
    truth, segmentation = labels
    segmentation[:, 8:, 10:] = 0
    settings = config(experiment(tmp_path, truth, segmentation, evaluate={"zeros": zeros}))
    lines: list[str] = []
    error_sheet.write_errors(settings, "v", "test", 4, tmp_path / "a.png", lines.append)
    split = [line for line in lines if "body 3 = " in line]
    if zeros == "one_object":
        assert "body 3 = no segment (50 %), segment 6 (50 %)" in split[0]
    else:  # the gap is filled from both sides; or left out
        assert not any("no segment" in line for line in split)


def test_without_an_error_nothing_is_drawn(tmp_path, labels, capsys):
    truth, _ = labels
    view_errors(experiment(tmp_path, truth, truth + np.uint64(40)), output=tmp_path / "a.png")
    assert capsys.readouterr().out.splitlines() == [
        "v, test: no error: every segment holds one body, and every body lies in one segment",
        "nothing to draw",
    ]
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"volume": "w"}, ConfigError, "no volume 'w'; the volumes are: v"),
        ({"region": "train"}, ConfigError, "no volume has labels and a region 'train'"),
        ({"volume": "v", "region": "tests"}, ConfigError, "no region 'tests' .did you mean 'test'"),
        ({"overrides": ["volumes.v.labels=null"], "volume": "v"}, ConfigError, "volumes.v has no labels"),
        ({"overrides": ["output=elsewhere"]}, ArrayNotFoundError, "no segmentation at elsewhere.*catena segment"),
    ],
)
def test_what_is_missing_is_named(tmp_path, labels, asked, error, message):
    path = experiment(tmp_path, *labels)
    with pytest.raises(error, match=message):
        view_errors(path, **{"output": tmp_path / "a.png", **asked})


def test_a_region_without_labels_is_refused(tmp_path, labels):
    truth, segmentation = labels
    truth[4:] = 0
    for zeros in ("one_object", "common"):
        path = experiment(tmp_path, truth, segmentation, evaluate={"zeros": zeros})
        with pytest.raises(DataError, match=r"region test .* has no labelled voxel"):
            view_errors(path, output=tmp_path / "a.png")


def test_a_segmentation_of_other_settings_is_said_to_be_one(tmp_path, labels, capsys, monkeypatch):
    monkeypatch.setattr("catena.status.why_outdated", lambda task, config, stage, volume: json.dumps([stage, volume]))
    view_errors(experiment(tmp_path, *labels), output=tmp_path / "a.png")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == 'note: this segmentation is not what the configuration makes now (["segmentation", "v"])'


def test_of_parts_that_lie_apart_others_are_shown():
    #   1 | 3 | 2: the two largest, 1 and 2, are joined through 3
    error = ObjectError("merger", 9, 1.0, (Part(1, 50), Part(2, 40), Part(3, 10)))
    assert pairs(error) == [(1, 2), (1, 3), (2, 3)]
    specks = ObjectError("merger", 9, 1.0, (Part(1, 5000), Part(2, 4), Part(3, 3)))
    assert pairs(specks) == [(1, 2)]
