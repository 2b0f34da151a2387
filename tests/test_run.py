"""The runner on a toy task: double(x) → square(double), per volume, after one experiment-wide stage."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from rich.console import Console

import catena.publishing as publishing
import catena.run as runner
from catena.arrays import create_array, open_array
from catena.errors import ArrayNotFoundError, ConfigError, DataError, OutputError
from catena.experiment import ExperimentConfig
from catena.ledger import Ledger
from catena.plan import Selection, plan
from catena.progress import ConsoleReporter
from catena.run import run
from catena.status import print_status
from catena.task import Given, Input, Job, Made, Output, Stage, StageReport, Task, input_path


class ToyConfig(ExperimentConfig):
    factor: int = 2
    power: int = 2
    workers: int = 1


class Learn(Stage):
    name, version, per_volume = "learn", 1, False
    calls = 0
    text = "weights"

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        return {}

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        return {"checkpoints": Output("checkpoints", "folder", content="best")}

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        return {}

    def run(self, job: Job, progress: Any) -> StageReport:
        Learn.calls += 1
        folder = job.staged(self.outputs(job.config, "")["checkpoints"])
        folder.mkdir(exist_ok=True)
        (folder / "best").write_text(Learn.text)
        return StageReport()


class Scale(Stage):
    name, version = "scale", 1
    calls = 0
    fail: BaseException | None = None

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        raw = config.volume(volume).raw
        return {"raw": Given(raw), "checkpoint": Made("learn", "checkpoints", "")}

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        return {"scaled": Output("volume.zarr/volumes/scaled", "array")}

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        return {"factor": config.factor}

    def run(self, job: Job, progress: Any) -> StageReport:
        Scale.calls += 1
        if Scale.fail is not None:
            raise Scale.fail
        config: Any = job.config
        raw = open_array(job.inputs["raw"].path)  # type: ignore[union-attr]
        array = create_array(
            job.staged(self.outputs(config, job.volume)["scaled"]),
            roi=raw.roi,
            voxel_size=raw.voxel_size,
            dtype="uint8",
            chunk_shape_vox=raw.chunk_shape_vox,
        )
        array.write(raw.roi, raw.read() * config.factor)
        progress(1, 1)
        return StageReport(blocks={"done": 1}, voxels=8)


class Total(Stage):
    name, version = "total", 1
    calls = 0

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        return {"scaled": Made("scale", "scaled", volume)}

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        return {"total": Output("total.txt", "file")}

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        return {"power": config.power}

    def run(self, job: Job, progress: Any) -> StageReport:
        Total.calls += 1
        config: Any = job.config
        values = open_array(input_path(job, "scaled")).read().astype(int)
        job.staged(self.outputs(config, job.volume)["total"]).write_text(str(int((values**config.power).sum())))
        return StageReport()


TASK = Task("toy", ToyConfig, (Learn(), Scale(), Total()), targets=("total",))


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catena.task.load_task", lambda name: TASK)
    for stage in (Learn, Scale, Total):
        monkeypatch.setattr(stage, "calls", 0)


def write_raw(path: Path, value: int = 3) -> None:
    array = create_array(
        path,
        roi=Roi((0, 0, 0), (16, 16, 16)),
        voxel_size=Coordinate(8, 8, 8),
        dtype="uint8",
        chunk_shape_vox=Coordinate(2, 2, 2),
        overwrite=True,
    )
    array.write(array.roi, np.full((2, 2, 2), value, np.uint8))


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    write_raw(tmp_path / "data.zarr/raw")
    volumes = {"a": {"raw": str(tmp_path / "data.zarr/raw")}}
    return {"task": "toy", "experiment": "e", "output": str(tmp_path / "runs"), "volumes": volumes}


def actions(values: Mapping[str, Any], **selection: Any) -> dict[str, str]:
    return {each.node.label: each.action for each in run(TASK, ToyConfig.parse(values), Selection(**selection))}


ALL_MADE = {"learn": "made", "a: scale": "made", "a: total": "made"}
ALL_DONE = {"learn": "done", "a: scale": "done", "a: total": "done"}


def total(values: Mapping[str, Any]) -> int:
    return int((Path(values["output"]) / "e/volumes/a/total.txt").read_text())


def test_everything_runs_once_and_then_nothing(values: dict[str, Any]) -> None:
    assert actions(values) == ALL_MADE
    assert total(values) == 8 * 6**2
    assert actions(values) == ALL_DONE
    assert (Learn.calls, Scale.calls, Total.calls) == (1, 1, 1)
    assert not list((Path(values["output"]) / "e/volumes/a/.staging").iterdir())


def test_a_change_redoes_exactly_what_depends_on_it(values: dict[str, Any]) -> None:
    actions(values)
    assert actions({**values, "power": 3}) == {**ALL_DONE, "a: total": "made"}
    assert actions({**values, "power": 3, "factor": 3}) == {**ALL_MADE, "learn": "done"}
    assert total(values) == 8 * 9**3


def test_execution_settings_and_moved_data_redo_nothing(values: dict[str, Any], tmp_path: Path) -> None:
    actions(values)
    (tmp_path / "data.zarr").rename(tmp_path / "moved.zarr")
    moved = {**values, "workers": 7, "volumes": {"a": {"raw": str(tmp_path / "moved.zarr/raw")}}}
    assert actions(moved) == ALL_DONE


def test_changed_content_at_the_same_path_is_noticed(values: dict[str, Any], tmp_path: Path) -> None:
    actions(values)
    write_raw(tmp_path / "data.zarr/raw", value=4)
    assert actions(values) == {**ALL_MADE, "learn": "done"}
    assert total(values) == 8 * 8**2


def test_other_bytes_of_a_checkpoint_redo_what_used_it(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actions(values)
    monkeypatch.setattr(Learn, "text", "other weights")
    assert actions(values, redo="learn") == ALL_MADE


def test_raised_version_redoes_the_stage_and_says_why(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actions(values)
    monkeypatch.setattr(Total, "version", 2)
    outcomes = run(TASK, ToyConfig.parse(values))
    assert outcomes[-1].action == "made"
    assert outcomes[-1].reason == "version: 1 → 2"


def test_lost_output_is_made_again(values: dict[str, Any]) -> None:
    actions(values)
    (Path(values["output"]) / "e/volumes/a/total.txt").unlink()
    assert actions(values) == {**ALL_DONE, "a: total": "made"}


def test_what_is_to_be_told_is_told_once_and_only_where_a_stage_runs(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Scale, "notes", lambda self, config, volume: [f"[1, {config.factor}] is used"])
    values["volumes"]["b"] = values["volumes"]["a"]
    with ConsoleReporter() as reporter:
        run(TASK, ToyConfig.parse(values), reporter=reporter)
        first = capsys.readouterr().out
        run(TASK, ToyConfig.parse(values), reporter=reporter)
    assert first.count("note: ") == 1
    assert first.startswith("note: [1, 2] is used\n")
    assert "note: " not in capsys.readouterr().out


def test_what_a_stage_cannot_have_stops_the_run_before_the_first(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Stage, config: Any, volume: str) -> None:
        raise ConfigError(f"no srun for {volume}")

    with monkeypatch.context() as absent:
        absent.setattr(Total, "check", refuse)
        with pytest.raises(ConfigError, match="no srun for a"):
            actions(values)
        assert Learn.calls == 0
    assert actions(values) == ALL_MADE
    monkeypatch.setattr(Total, "check", refuse)
    assert actions(values) == ALL_DONE  # what is done needs no cluster


def test_redo_runs_the_stage_and_those_below(values: dict[str, Any]) -> None:
    actions(values)
    assert actions(values, redo="scale") == {**ALL_MADE, "learn": "done"}


def test_only_runs_what_the_selection_needs(values: dict[str, Any]) -> None:
    assert actions(values, last="scale") == {"learn": "made", "a: scale": "made"}
    with pytest.raises(ConfigError, match=r"a: scale has to run first .* begin at 'total'"):
        actions({**values, "factor": 5}, first="total", last="total")


def test_the_old_result_stays_until_the_new_one_is_complete(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    actions(values)
    monkeypatch.setattr(Scale, "fail", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        actions({**values, "factor": 5})
    array = open_array(Path(values["output"]) / "e/volumes/a/volume.zarr/volumes/scaled")
    assert np.all(array.read() == 6)
    assert actions(values) == ALL_DONE


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the runner may catch it and tidy up."""


@pytest.mark.parametrize("survived", range(5))
def test_a_kill_between_any_two_steps_of_publishing_is_repaired(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Publishing `scale` a second time renames twice, removes and writes the ledger: stop before each."""
    actions(values)
    changed = {**values, "factor": 5}
    steps = {"left": survived}

    def dying(function: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            if steps["left"] == 0:
                raise Killed
            steps["left"] -= 1
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_remove", dying(publishing._remove))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Ledger, "publish", dying(Ledger.publish))
        patch.setattr(runner, "to_yaml", lambda config: "")
        try:
            actions(changed, last="scale")
        except Killed:
            pass
        else:
            pytest.fail("the runner was not interrupted: the test does not reach every step")
    assert actions(changed)["a: total"] == "made"
    assert total(changed) == 8 * 15**2
    volumes = Path(values["output"]) / "e/volumes/a/volume.zarr/volumes"
    assert sorted(each.name for each in volumes.iterdir()) == [".zgroup", "scaled"]


def test_long_work_is_not_redone_without_yes(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actions(values)
    monkeypatch.setattr(runner, "LONG_S", 0.0)
    with pytest.raises(ConfigError, match=r"would redo work .*say --yes"):
        actions({**values, "factor": 5})
    assert actions({**values, "factor": 5}, yes=True) == {**ALL_MADE, "learn": "done"}
    assert actions({**values, "factor": 5}) == ALL_DONE


def test_a_long_unfinished_attempt_is_not_thrown_away_without_yes(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scale, "fail", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        actions(values)
    staging = Path(values["output"]) / "e/volumes/a/.staging"
    kept = list(staging.iterdir())
    written = (Path(values["output"]) / "e/config.yaml").read_text()
    monkeypatch.setattr(Scale, "fail", None)
    monkeypatch.setattr(runner, "LONG_S", 0.0)
    with pytest.raises(ConfigError, match=r"would redo work .*say --yes"):
        actions({**values, "factor": 5})
    assert list(staging.iterdir()) == kept
    assert (Path(values["output"]) / "e/config.yaml").read_text() == written
    assert actions(values) == {**ALL_MADE, "learn": "done"}


def test_the_seconds_of_a_killed_attempt_are_on_record(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What SIGKILL leaves is the record as it was when the stage last reported progress."""
    seen: list[float] = []

    class Watching(runner.Reporter):
        def begin(self, node: Any, reason: str) -> Any:
            def look(done: float, total: float, message: str = "") -> None:
                with Ledger(Path(values["output"]) / "e/ledger.sqlite", read_only=True) as ledger:
                    record = ledger.read("a", "scale", "staged")
                assert record is not None
                assert record.state == "running"
                seen.append(record.seconds)

            return look

    run_scale = Scale.run

    def slow(self: Scale, job: Job, progress: Any) -> StageReport:
        time.sleep(0.05)
        return run_scale(self, job, progress)

    monkeypatch.setattr(Scale, "run", slow)
    monkeypatch.setattr(runner, "RECORD_EVERY_S", 0.0)
    run(TASK, ToyConfig.parse(values), reporter=Watching())
    assert len(seen) == 1
    assert seen[0] >= 0.05


@pytest.mark.parametrize("broken", ["move_into_place", "to_yaml"])
def test_a_failure_to_publish_or_to_write_the_configuration_is_an_output_error(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(runner, broken, refuse)
        for _ in range(2):  # the second run meets it while it finishes publishing
            with pytest.raises(OutputError, match="No space left on device"):
                actions(values)
    assert actions(values)["a: total"] == "made"


def test_full_disk_is_an_output_error_and_can_be_resumed(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scale, "fail", OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match=r"a: scale: .*No space left on device"):
        actions(values)
    monkeypatch.setattr(Scale, "fail", None)
    assert actions(values) == {**ALL_MADE, "learn": "done"}


def test_verified_inputs_notice_what_a_sample_misses(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actions(values, verify_inputs=True)
    assert actions(values, verify_inputs=True) == ALL_DONE
    monkeypatch.setattr("catena.node_fingerprints.hash_content", lambda array: "something else")
    with pytest.raises(DataError, match="has changed since it was last verified"):
        actions(values, verify_inputs=True)


def test_a_folder_in_place_of_a_file_is_refused(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(values["output"])).mkdir()
    given = {"file": Given(values["output"], kind="file")}
    monkeypatch.setattr(Learn, "inputs", lambda self, config, volume: given)
    with pytest.raises(ArrayNotFoundError, match="is a folder, not a file"):
        actions(values)
    given["file"] = Given(values["output"] + "/nowhere", kind="file")
    with pytest.raises(ArrayNotFoundError, match="nowhere does not exist"):
        actions(values)


def test_publishing_is_finished_as_it_was_begun_whatever_the_settings_are_now(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(self: Any, config: Any, volume: str) -> Mapping[str, Output]:
        return {"total": Output(f"total_{config.power}.txt", "file")}

    publish = runner._publish

    def killed(run: Any, node: Any, job: Any, record: Any) -> None:
        if node.stage == "total":
            raise Killed
        publish(run, node, job, record)

    monkeypatch.setattr(Total, "outputs", named)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_publish", killed)
        with pytest.raises(Killed):
            actions({**values, "power": 3})
    assert actions({**values, "power": 2}) == {**ALL_DONE, "a: total": "made"}
    folder = Path(values["output"]) / "e/volumes/a"
    assert [(folder / f"total_{power}.txt").read_text() for power in (3, 2)] == [str(8 * 6**3), str(8 * 6**2)]


def status(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the state that is shown for each stage."""
    console = Console(file=io.StringIO(), width=250)
    print_status(TASK, ToyConfig.parse(values), console)
    rows = [line.split("│") for line in console.file.getvalue().splitlines() if "│" in line]  # type: ignore[attr-defined]
    return {row[1].strip(): row[2].strip() for row in rows}


def test_status_says_what_a_run_would_change_and_writes_nothing(values: dict[str, Any]) -> None:
    actions(values)
    folder = Path(values["output"])
    before = {each: each.stat().st_mtime_ns for each in folder.rglob("*")}
    assert status(values) == dict.fromkeys(ALL_DONE, "done")
    shown = status({**values, "factor": 5})
    assert shown["learn"] == "done"
    assert shown["a: scale"] == "changed: config.factor: 2 → 5"
    assert shown["a: total"].startswith("changed: ")
    assert {each: each.stat().st_mtime_ns for each in folder.rglob("*")} == before


def test_redo_of_a_stage_that_is_not_planned_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'total' cannot be redone by this run, which has only: learn, scale"):
        actions(values, last="scale", redo="total")


def test_a_needed_stage_that_does_not_apply_is_named(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scale, "applies", lambda self, config, volume: False)
    with pytest.raises(ConfigError, match="a: total needs a: scale, which this configuration rules out"):
        actions(values)


def test_unknown_stage_and_volume_are_refused(values: dict[str, Any]) -> None:
    config = ToyConfig.parse(values)
    with pytest.raises(ConfigError, match=r"no stage 'scael' \(did you mean 'scale'\?\)"):
        plan(TASK, config, Selection(last="scael"))
    with pytest.raises(ConfigError, match="no volume 'b'; the volumes are: a"):
        plan(TASK, config, Selection(volume="b"))
