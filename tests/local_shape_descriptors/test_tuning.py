"""The search for the best settings of segmentation."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from catena.config import load_yaml
from catena.errors import ConfigError, DataError, StageError
from catena.tuning.trials import best_of
from local_shape_descriptors import tuning
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.tuning import Tuned, tune

FUNCTIONS = ["mean", "hist_quant_75"]


@pytest.fixture
def tuned(settings: dict[str, Any]) -> dict[str, Any]:
    settings["tune"] = {"trials": 3, "random_trials": 2, "merge_functions": FUNCTIONS}
    return settings


def run_tune(settings: dict[str, Any], **tune_settings: Any) -> Tuned:
    return tune(LocalShapeDescriptorsConfig.parse({**settings, "tune": {**settings["tune"], **tune_settings}}))


def test_a_search_writes_the_best_configuration_a_table_and_a_picture(tuned: dict[str, Any]) -> None:
    found = run_tune(tuned)
    best = best_of(found.trials)
    assert [trial.number for trial in found.trials] == [-1, 0, 1, 2]
    assert best.value <= found.trials[0].results["hist_quant_75"]["voi_sum"]
    config = LocalShapeDescriptorsConfig.parse(load_yaml(found.path))
    assert config == found.config
    assert config.fragments.result_settings() | dict(best.settings) == config.fragments.result_settings()
    assert (config.agglomerate.merge_function, config.segmentation.threshold) == (
        best.merge_function,
        best.scores["threshold"],
    )
    rows = list(csv.DictReader((found.path.parent / "trials.csv").read_text().splitlines()))
    assert [(row["trial"], row["merge_function"]) for row in rows[:4]] == [
        ("configured", "hist_quant_75"),
        ("configured", "mean"),
        ("0", "hist_quant_75"),
        ("0", "mean"),
    ]
    assert min(float(row["voi_sum"]) for row in rows) == pytest.approx(best.value)
    assert (found.path.parent / "trials.png").stat().st_size > 10_000


def test_a_study_is_known_by_what_its_trials_depend_on(tuned: dict[str, Any]) -> None:
    def study(**changes: Any) -> str:
        config = LocalShapeDescriptorsConfig.parse({**tuned, **changes})
        return tuning.study_of(config, config.tune, [tuning.Region(config, "phantom")])

    same = study()
    assert study(tune={**tuned["tune"], "trials": 9}, execution={}) == same
    changed = [
        study(seed=1),
        study(tune={**tuned["tune"], "grow": [0, 2]}),
        study(fragments={**tuned["fragments"], "grow": 2}),
        study(evaluate={"zeros": "filled"}),
        study(lookup_tables={"step": 0.1}),
    ]
    tuned["volumes"]["phantom"]["regions"]["validation"] = {"z": [17, 32]}
    assert len({same, *changed, study()}) == 7


def test_a_mask_whose_voxel_size_the_configuration_gives(tuned: dict[str, Any], tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "mask.zarr/mask"), np.ones((3, 3, 4), np.uint8))
    tuned["volumes"]["phantom"] |= {"mask": str(tmp_path / "mask.zarr/mask"), "mask_voxel_size_nm": [128, 128, 128]}
    region = tuning.Region(LocalShapeDescriptorsConfig.parse(tuned), "phantom")
    assert region.mask is not None
    assert region.identity["mask"] is not None


def test_no_validation_region(tuned: dict[str, Any]) -> None:
    del tuned["volumes"]["phantom"]["regions"]["validation"]
    with pytest.raises(ConfigError, match="nothing to tune on: no volume has labels and a region 'validation'"):
        run_tune(tuned)


@pytest.mark.parametrize(("region", "bounds"), [("train", [0, 17]), ("test", [31, 48])])
def test_a_region_that_overlaps_another(tuned: dict[str, Any], region: str, bounds: list[int]) -> None:
    tuned["volumes"]["phantom"]["regions"][region] = {"z": bounds}
    with pytest.raises(
        ConfigError, match=rf"volumes\.phantom\.regions\.({region}|validation) .* overlaps volumes\.phantom"
    ):
        run_tune(tuned)


def test_a_region_that_overlaps_another_volume_with_the_same_labels(
    tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    phantom = tuned["volumes"]["phantom"]
    container, labels = phantom["labels"].split("/em.zarr")
    monkeypatch.chdir(container)
    other = {"raw": phantom["raw"], "labels": f"./em.zarr{labels}", "regions": {"test": {"z": [20, 30]}}}
    tuned["volumes"]["other"] = other
    phantom["inputs"] = {"affinities": tuned.pop("inputs")["affinities"]}
    with pytest.raises(ConfigError, match=r"overlaps volumes\.other\.regions\.test"):
        run_tune(tuned)


def test_a_region_without_labelled_voxels(tuned: dict[str, Any]) -> None:
    tuned["evaluate"] = {"minimum_label_voxels": 10**9}
    with pytest.raises(DataError, match=r"volumes\.phantom: region validation .* no labelled voxel"):
        run_tune(tuned)


def test_affinities_that_are_not_there_yet(tuned: dict[str, Any]) -> None:
    del tuned["inputs"]
    with pytest.raises(StageError, match="affinities of phantom are not predicted yet; run: catena predict "):
        run_tune(tuned)


def test_without_optuna(tuned: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'catena-em\[tune\]'"):
        run_tune(tuned)


def test_bounds_that_no_setting_has(tuned: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"distance_cap.*greater than or equal to 2"):
        run_tune(tuned, distance_cap=[0, 8])
    with pytest.raises(ConfigError, match=r"grow \[5, 2\]: the lowest value comes first"):
        run_tune(tuned, grow=[5, 2])
