"""A run whose graph store changes under it: what lies in another store is neither done nor begun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

import catena.run as runner
from catena.arrays import create_array
from catena.errors import ConfigError
from catena.experiment import ExperimentConfig
from catena.graphs import GraphStore, TableSchema, open_store, sqlite_url
from catena.graphs.sqlite import SQLiteStore
from catena.graphs.transfer import copy_graph
from catena.plan import Selection
from catena.run import run
from catena.task import Input, Job, Output, Stage, StageReport, Task

BLOCKS = 4
SCHEMA = TableSchema({"id": "uint64"}, key=("id",))


class Settings(ExperimentConfig):
    store: str = "a"
    factor: int = 10


class Count(Stage):
    """Write `factor` · block into every block, with done marks as Daisy keeps them: beside the results."""

    name, version = "count", 1
    stop_after = BLOCKS

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        return {}

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        return {"rows": Output("rows", "table")}

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        return {"factor": config.factor}

    def run(self, job: Job, progress: Any) -> StageReport:
        config: Any = job.config
        table = job.table(self.outputs(config, job.volume)["rows"])
        with open_graph(config, job.volume) as store:
            store.create(table, SCHEMA)
            for block in range(BLOCKS):
                if block == Count.stop_after:
                    raise KeyboardInterrupt
                mark = job.staging / f"done_{block}"
                if not mark.exists():
                    store.write_block(table, block, {"id": np.array([block * config.factor])})
                    mark.touch()
        return StageReport()


def open_graph(config: Settings, volume: str) -> GraphStore:
    return open_store(sqlite_url(config.volume_folder(volume) / f"{config.store}.sqlite"))


TASK = Task("count", Settings, (Count(),), targets=("count",), open_graph=open_graph)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    array = create_array(
        tmp_path / "data.zarr/raw",
        roi=Roi((0, 0, 0), (16, 16, 16)),
        voxel_size=Coordinate(8, 8, 8),
        dtype="uint8",
        chunk_shape_vox=Coordinate(2, 2, 2),
    )
    volumes = {"v": {"raw": str(array.path)}}
    return {"task": "count", "experiment": "e", "output": str(tmp_path / "runs"), "volumes": volumes}


def actions(values: Mapping[str, Any], **changes: Any) -> list[str]:
    return [each.action for each in run(TASK, Settings.parse({**values, **changes}), Selection())]


def rows(values: Mapping[str, Any], **changes: Any) -> list[int]:
    with open_graph(Settings.parse({**values, **changes}), "v") as store:
        assert store.tables() == ("rows",)
        return [int(each) for each in store.read("rows")["id"]]


def stop(values: Mapping[str, Any], after: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Count, "stop_after", after)
        with pytest.raises(KeyboardInterrupt):
            actions(values, **changes)


def test_another_store_is_filled_and_the_first_one_still_counts(values: dict[str, Any]) -> None:
    assert actions(values) == ["made"]
    assert actions(values, store="b") == ["made"]
    assert rows(values) == rows(values, store="b") == [0, 10, 20, 30]
    assert actions(values) == actions(values, store="b") == ["done"]


def test_an_outdated_table_in_a_store_that_is_taken_up_again_does_not_count(values: dict[str, Any]) -> None:
    actions(values)
    actions(values, store="b", factor=20)
    assert actions(values, factor=20) == ["made"]
    assert rows(values, factor=20) == [0, 20, 40, 60]


def test_done_marks_hold_for_the_store_that_has_the_rows(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(values, 3, monkeypatch)
    stop(values, 2, monkeypatch, store="b")
    stop(values, 1, monkeypatch)  # nothing of b's two blocks may count here
    assert actions(values) == ["made"]
    assert rows(values) == [0, 10, 20, 30]


def test_an_attempt_goes_on_where_its_rows_are(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop(values, 3, monkeypatch)
    written: list[int] = []
    write_block = SQLiteStore.write_block
    monkeypatch.setattr(
        SQLiteStore, "write_block", lambda self, *given: (written.append(given[1]), write_block(self, *given))
    )
    assert actions(values) == ["made"]
    assert written == [3]


def test_marks_of_a_deleted_store_do_not_count(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stop(values, 3, monkeypatch)
    for file in (Path(values["output"]) / "e/volumes/v").glob("a.sqlite*"):
        file.unlink()
    assert actions(values) == ["made"]
    assert rows(values) == [0, 10, 20, 30]


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("survived", range(3))
def test_a_kill_between_any_two_steps_of_publishing_a_table_is_repaired(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    actions(values)
    with monkeypatch.context() as patch:
        steps = iter(range(survived))

        def dying(function: Any, counts: Any) -> Any:
            def step(*given: Any, **options: Any) -> Any:
                if counts(*given) and next(steps, None) is None:
                    raise Killed
                return function(*given, **options)

            return step

        patch.setattr(SQLiteStore, "rename", dying(SQLiteStore.rename, lambda *given: True))
        patch.setattr(
            SQLiteStore, "set_metadata", dying(SQLiteStore.set_metadata, lambda _, key, *rest: key == "published_rows")
        )
        with pytest.raises(Killed):
            actions(values, factor=20)
    assert actions(values, factor=20) == ["done"]  # made before, and published now
    assert rows(values, factor=20) == [0, 20, 40, 60]


def test_long_work_is_not_redone_in_another_store_without_yes(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    actions(values)
    monkeypatch.setattr(runner, "LONG_S", 0.0)
    with pytest.raises(ConfigError, match=r"say --yes to do so; or bring the graph over.*: catena graph copy"):
        actions(values, store="b")
    settings = [Settings.parse({**values, "store": store}) for store in ("a", "b")]
    with open_graph(settings[0], "v") as source, open_graph(settings[1], "v") as target:
        copy_graph(source, target)
    assert actions(values, store="b") == ["done"]
    assert rows(values, store="b") == [0, 10, 20, 30]
