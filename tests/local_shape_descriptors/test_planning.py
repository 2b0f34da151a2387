"""What is said of a run before it is made, against the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zarr
from funlib.geometry import Coordinate

from catena.blockwise.launchers import LAUNCHERS, LocalLauncher
from catena.config import apply_overrides
from catena.inference import save_network
from catena.networks import build_network
from catena.plan import Selection
from catena.planning import RunEstimate, estimate_run, print_estimate, to_json
from catena.planning.sampling import folder_bytes
from catena.run import run
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.task import TASK

BLOCKWISE = ("fragments", "agglomerate", "segmentation")


def estimate(settings: dict[str, Any], *overrides: str, **options: Any) -> RunEstimate:
    config = LocalShapeDescriptorsConfig.parse(apply_overrides(settings, list(overrides)))
    return estimate_run(TASK, config, **options)


def test_an_estimate_comes_true(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAUNCHERS, "local", LocalLauncher)  # a forked worker shares much of its memory
    settings["execution"] = {"default": {"workers": 1}}
    settings["volumes"]["phantom"] |= {"rois": [{"x": [0, 36]}, {"y": [32, 48]}], "regions": {}}
    settings["segmentation"] = {"threshold": 0.5}
    config = LocalShapeDescriptorsConfig.parse(settings)
    found = estimate_run(TASK, config, samples=2)
    assert found.fits
    assert not config.folder.exists()  # nothing is published, nothing is left
    outcomes = {each.node.stage: each for each in run(TASK, config, Selection(last="segmentation"))}
    folder = config.volume_folder("phantom")
    for stage in BLOCKWISE:
        blocks = outcomes[stage].report.blocks
        assert (found.stage(stage, "phantom").blocks, found.stage(stage, "phantom").skipped) == (30, 6)
        assert (blocks["done"], blocks["skipped"]) == (30, 6)
    with open_graph(config, "phantom", "r") as store:
        rows = {"nodes": store.count("nodes"), "edges": store.count("edges_hist_quant_75")}
        rows |= {"statistics": store.count("edge_statistics")}
    estimated = {**found.stage("fragments", "phantom").rows, **found.stage("agglomerate", "phantom").rows}
    for name, count in rows.items():
        assert count / 2 < estimated[name] < count * 2, name
    for stage in ("fragments", "segmentation"):
        size = folder_bytes(folder / f"volume.zarr/volumes/{stage}")
        assert size / 2 < found.stage(stage, "phantom").stored_bytes[stage] < size * 2, stage
        assert found.stage(stage, "phantom").array_bytes[stage] == found.stage(stage, "phantom").voxels * 8
    tables = sum(found.stage(stage, "phantom").table_bytes for stage in BLOCKWISE)
    assert (folder / "rag.sqlite").stat().st_size / 2 < tables < (folder / "rag.sqlite").stat().st_size * 2
    for stage in BLOCKWISE:
        peak = outcomes[stage].report.figures["peak_memory_mb"] * 1e6
        assert peak / 1.5 < found.stage(stage, "phantom").memory_bytes < peak * 1.5
    after = estimate_run(TASK, config)
    assert after.stages == ()
    assert "phantom: segmentation" in after.done


def test_predictions_are_sampled_with_a_network_and_fragments_from_them(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    del settings["inputs"]
    settings["model"] = {"feature_maps": 2, "growth": 2, "levels": 1}
    settings["predict"] = {"block_shape_vox": [16, 16, 16]}
    stated = estimate(settings)
    assert stated.unknown[0] == "train"
    assert stated.stage("predict", "phantom").sampled_blocks == 0
    assert any("no trained network yet; its rates are stated" in each for each in stated.notes)
    config = LocalShapeDescriptorsConfig.parse(settings)
    path = tmp_path / "untrained.safetensors"
    save_network(path, build_network(config.model.network(Coordinate(8, 8, 8))))
    found = estimate(settings, f"inputs.checkpoint={path}", samples=1)
    for stage in ("predict", *BLOCKWISE):
        each = found.stage(stage, "phantom")
        assert (each.blocks, each.sampled_blocks) == (36, 4)
        assert each.memory_bytes > 5e7
        assert each.hours is not None
    assert set(found.stage("predict", "phantom").stored_bytes) == {"affinities", "lsds"}


def vast(settings: dict[str, Any], folder: Path, *shape: int) -> dict[str, Any]:
    """Settings for affinities of any size: an array without a chunk."""
    array = zarr.open_group(str(folder / "vast.zarr")).create_dataset("affs", shape=(3, *shape), dtype="u1")
    array.attrs.update({"voxel_size": [8, 8, 8], "offsets": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]})
    volumes = {"vast": {"inputs": {"affinities": str(folder / "vast.zarr/affs")}}}
    return {**{key: each for key, each in settings.items() if key not in ("inputs", "fragments")}, "volumes": volumes}


def test_a_plan_that_does_not_fit_is_refused_and_the_proposed_blocks_do(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = vast(settings, tmp_path, 512, 512, 600)
    roomy = estimate(settings, quick=True, machine_bytes=10**12)
    assert roomy.fits
    need = roomy.stage("fragments", "vast").memory_bytes
    tight = estimate(settings, quick=True, machine_bytes=int(1.4 * need))
    assert not tight.fits
    assert "vast: fragments: 2 worker(s) with blocks of 128 x 128 x 128 voxels need about" in tight.problems[0]
    (shape,) = [each for each in tight.proposals if each.startswith("fragments.block_shape_vox=")]
    better = estimate(settings, shape, quick=True, machine_bytes=int(1.4 * need))
    assert better.fits
    assert better.stage("fragments", "vast").memory_bytes > 0.5 * need  # as large as may be


def test_fewer_workers_are_proposed_too(settings: dict[str, Any]) -> None:
    settings["execution"] = {"default": {"workers": 3}}
    need = estimate(settings, quick=True).stage("fragments", "phantom").memory_bytes
    found = estimate(settings, quick=True, machine_bytes=2 * need + 10**6)
    assert "execution.fragments.workers=2" in found.proposals
    assert estimate(settings, quick=True, workers=2, machine_bytes=2 * need + 10**6).fits


def test_the_memory_asked_of_a_cluster_is_what_a_worker_may_take(settings: dict[str, Any]) -> None:
    settings["agglomerate"] = {"store": "postgresql://me@db/graphs"}
    settings["execution"] = {"default": {"launcher": "slurm", "workers": 1000, "memory_gb": 4, "host": "master"}}
    assert estimate(settings, quick=True, machine_bytes=1).fits
    assert any(
        "4.29 GB" not in each for each in estimate(settings, "execution.default.memory_gb=0.1", quick=True).problems
    )


@pytest.mark.parametrize(
    ("override", "options", "problem"),
    [
        ("seed=0", {"free_bytes": 1000}, "are free where they go"),
        ("agglomerate.memory_gb=0.000001", {}, "takes about 0.0 GB"),
    ],
)
def test_disk_and_graph_have_to_fit(
    settings: dict[str, Any], override: str, options: dict[str, Any], problem: str
) -> None:
    found = estimate(settings, override, quick=True, **options)
    assert not found.fits
    assert any(problem in each for each in found.problems)


def test_ids_beyond_63_bits_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    found = estimate(vast(settings, tmp_path, 2**21, 2**21, 2**22), quick=True)
    assert any("need ids beyond 63 bits" in each for each in found.problems)


def test_small_blocks_are_called_wasteful_and_better_ones_proposed(settings: dict[str, Any]) -> None:
    found = estimate(settings, "fragments.block_shape_vox=[8, 8, 8]", quick=True)
    assert found.fits
    assert "read" in found.warnings[0]
    better = next(each for each in found.proposals if each.startswith("fragments.block_shape_vox="))
    assert better != "fragments.block_shape_vox=[8, 8, 8]"
    assert not estimate(settings, better, quick=True).warnings


def test_boxes_count_before_it_is_known_where_raw_is_empty(settings: dict[str, Any]) -> None:
    boxes = [{"x": [0, 36]}, {"y": [32, 48]}]
    settings["volumes"]["phantom"] |= {"rois": boxes, "regions": {}, "skip_empty": True}
    found = estimate(settings, quick=True)
    assert found.stage("content", "phantom").blocks == 1
    assert (found.stage("fragments", "phantom").blocks, found.stage("fragments", "phantom").skipped) == (30, 6)
    assert any("where raw is empty is not known yet" in each for each in found.notes)


def test_the_table_ends_in_a_verdict(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_estimate(estimate(settings, quick=True))
    shown = capsys.readouterr().out
    assert "phantom: agglomerate" in shown
    assert shown.splitlines()[-1].startswith("fits: about ")
    print_estimate(estimate(settings, quick=True, free_bytes=1))
    assert capsys.readouterr().out.splitlines()[-1].startswith("does not fit: 1 problem(s)")
    values = json.loads(to_json(estimate(settings, quick=True)))
    assert values["fits"] is True
    assert values["stages"][0]["blocks"] == 36
