from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from funlib.geometry import Coordinate
from matplotlib.image import imread

from catena.cli_view import view_augmentations
from catena.errors import ConfigError, DataError
from catena.nodes.augment_config import AugmentConfig
from catena.nodes.augment_parts import parts
from catena.viewing.contact_sheet import Panel, outlined, outlines, write_contact_sheet
from local_shape_descriptors import augmentation_sheet
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.task import TASK
from tests.local_shape_descriptors.small_experiment import small_experiment


def experiment(folder: Path, **settings: Any) -> Path:
    """Write an experiment that trains on the whole of a small volume."""
    values = {**small_experiment(folder), **settings}
    values["volumes"]["phantom"]["regions"] = {"train": {"z": [0, 24]}}
    values["model"] |= {"padding": "same"}
    values["train"] = {"input_shape_vox": [12, 16, 16]}
    path = folder / "e.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_command_draws_every_crop_with_each_part_in_a_column_of_its_own(tmp_path, capsys):
    config = experiment(
        tmp_path, augment={"copy_paste": {"min_voxels": 20}, "extra": [{"scipy.ndimage.gaussian_filter": {"sigma": 1}}]}
    )
    picture = tmp_path / "sheets" / "augmentations.png"
    view_augmentations(config, output=picture, number=2)
    assert f"wrote {picture}" in capsys.readouterr().out
    assert picture.stat().st_size > 10_000
    first = imread(picture)
    # crop, all, mirror, deform, intensity, noise, copy paste, extra: eight columns, two rows
    assert 3 < first.shape[1] / first.shape[0] < 6
    view_augmentations(config, output=picture, number=2)
    np.testing.assert_array_equal(imread(picture), first)


def test_what_runs_within_the_training_step_is_shown_alone_and_among_all(tmp_path, monkeypatch):
    blur = {"scipy.ndimage.gaussian_filter": {"sigma": 3}, "within": "step"}
    off = {"mirror": [], "transpose": [], "extra": [blur]}
    off |= {"deform": {"probability": 0}, "intensity": {"scale": [1, 1], "shift": [0, 0]}}
    off |= {"noise": {"noise_probability": 0, "blur_probability": 0}}
    drawn = []
    monkeypatch.setattr(augmentation_sheet, "write_contact_sheet", lambda path, rows, *_, **__: drawn.extend(rows))
    config = LocalShapeDescriptorsConfig.parse(yaml.safe_load(experiment(tmp_path, augment=off).read_text()))
    augmentation_sheet.write_augmentation_sheet(config, tmp_path / "a.png", 1)
    ((crop, together, *_, alone),) = drawn
    assert alone.image.std() < 0.7 * crop.image.std()
    np.testing.assert_allclose(together.image, alone.image, atol=1e-5)


def test_without_training_crops_there_is_nothing_to_draw(tmp_path):
    config = LocalShapeDescriptorsConfig.parse(small_experiment(tmp_path))
    with pytest.raises(ConfigError, match="there are no training crops to augment"):
        TASK.view_augmentations(config, tmp_path / "a.png", 1)


def test_an_unknown_augmentation_is_refused_before_the_first_stage(tmp_path):
    values = small_experiment(tmp_path) | {"augment": {"extra": ["scipy.ndimage.gausian_filter"]}}
    with pytest.raises(ConfigError, match=r"has no 'gausian_filter' \(did you mean 'gaussian_filter'"):
        TASK.stage("train").check(LocalShapeDescriptorsConfig.parse(values), "")


def test_parts_are_alone_and_happen_to_every_crop():
    config = AugmentConfig.parse({"stripes": {}, "extra": [{"a.Blur": {"p": 0.2}}, "b.Blur"]})
    alone = parts(config.resolved(Coordinate(40, 4, 4)))
    assert list(alone) == [
        "mirror and transpose",
        "deform",
        "intensity",
        "noise",
        "defects",
        "stripes",
        "Blur",
        "Blur 2",
    ]
    assert alone["deform"].deform.probability == 1
    assert alone["deform"].mirror == alone["deform"].transpose == ()
    assert alone["stripes"].deform is None
    assert alone["Blur"].extra[0].arguments == {"p": 1.0}
    assert alone["defects"].defects.missing_probability == pytest.approx(0.3)
    assert "defects" not in parts(AugmentConfig().resolved(Coordinate(8, 8, 8)))
    assert parts(AugmentConfig(enabled=False)) == {}


def test_outlines_lie_inside_labels():
    #   0 0 1 1 1
    #   0 0 1 1 1
    labels = np.array([[0, 0, 1, 1, 1]] * 2)
    assert outlines(labels).tolist() == [[False, False, True, False, False]] * 2
    picture = outlined(Panel(np.zeros((2, 5), np.float32), labels))
    assert (picture[:, [0, 1, 3, 4]] == 128).all()
    assert not (picture[:, 2] == picture[:, 2, :1]).all()


def test_a_sheet_whose_rows_and_titles_differ_is_refused(tmp_path):
    panel = Panel(np.zeros((2, 2), np.float32), np.zeros((2, 2), int))
    with pytest.raises(DataError, match=r"1 by 2 panels was given rows of \[1\]"):
        write_contact_sheet(tmp_path / "a.png", [[panel]], ["a", "b"], ["1"])
