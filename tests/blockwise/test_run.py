"""Runs with real worker processes: what is done, what fails, what is kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate

from catena.blockwise import (
    BlockGrid,
    BlockwiseReport,
    ExecutionConfig,
    FailedBlocksError,
    WorkerSpec,
    read_status,
    run_blockwise,
)
from catena.errors import ConfigError, GeometryError, OutputError, StageError

Visit = Callable[..., BlockwiseReport]


def visits(out: Path) -> dict[int, list[str]]:
    """Return the lines that blocks left, by block."""
    return {int(path.stem): path.read_text().splitlines() for path in out.glob("*.block")}


def test_every_block_once_with_its_context(visit: Visit, grid: BlockGrid, out: Path) -> None:
    report = visit()
    assert visits(out) == {block.index: [f"{block.write_roi} {block.read_roi}"] for block in grid}
    assert (report.total, report.done, report.failed, report.skipped, report.resumed) == (18, 18, 0, 0, 0)
    assert report.worker_deaths == 0
    assert report.peak_memory_mb > 1


def test_the_memory_of_a_worker_is_its_own(visit: Visit) -> None:
    held = np.ones(100_000_000)  # the kernel counts it for every process that this one starts
    assert visit().peak_memory_mb < held.nbytes / 1e6


def test_a_rerun_does_nothing(visit: Visit, out: Path, tmp_path: Path) -> None:
    visit()
    for log in (tmp_path / "stage/logs").iterdir():
        log.unlink()
    report = visit({"poisoned": list(range(18))})
    assert (report.done, report.resumed) == (18, 18)
    assert list((tmp_path / "stage/logs").iterdir()) == []  # no worker was started
    assert all(len(lines) == 1 for lines in visits(out).values())


def test_poisoned_blocks_are_named_and_the_others_done(visit: Visit, out: Path) -> None:
    with pytest.raises(FailedBlocksError, match="visit: 2 of 18 blocks failed") as caught:
        visit({"poisoned": [3, 17]}, max_retries=1)
    report = caught.value.report
    assert isinstance(caught.value, StageError)
    assert (report.done, report.failed, report.worker_deaths) == (16, 2, 0)
    assert [failure.block for failure in report.failures] == [3, 17]
    assert report.failures[0].error == "ValueError: block 3 is poisoned"
    assert "block 3: ValueError: block 3 is poisoned (log: " in str(caught.value)
    assert 'raise ValueError(f"block {block.index} is poisoned")' in Path(report.failures[0].log).read_text()
    assert set(visits(out)) == set(range(18)) - {3, 17}
    assert "16 blocks are done and kept; the failed ones are tried again only with --retry-failed" in str(caught.value)


def test_quarantined_blocks_are_left_alone_until_asked_for(visit: Visit, out: Path, tmp_path: Path) -> None:
    with pytest.raises(FailedBlocksError):
        visit({"poisoned": [3]}, max_retries=0)
    logs = list((tmp_path / "stage/logs").iterdir())
    for log in logs:
        log.unlink()
    with pytest.raises(FailedBlocksError, match=r"1 of 18 blocks failed\n.*block 3: ValueError: block 3 is poisoned"):
        visit()  # no longer poisoned, but nobody said so
    assert logs
    assert list((tmp_path / "stage/logs").iterdir()) == []  # no worker was started
    status = read_status(tmp_path / "stage")
    assert status is not None
    assert (status.state, status.done, status.failed, status.left) == ("failed", 17, 1, 0)
    report = visit(retry_failed=True)
    assert (report.done, report.failed, report.resumed) == (18, 0, 17)
    assert all(len(lines) == 1 for lines in visits(out).values())
    assert visit().done == 18


def test_blocks_left_are_done_beside_quarantined_ones(visit: Visit, grid: BlockGrid, out: Path) -> None:
    skip = np.zeros(grid.shape, dtype=bool)
    skip[2] = True
    with pytest.raises(FailedBlocksError):
        visit({"poisoned": [3]}, max_retries=0, skip=skip)
    with pytest.raises(FailedBlocksError, match=r"2 of 18 blocks failed\n.*block 3: .*\n.*block 17: ") as caught:
        visit({"poisoned": [17]}, max_retries=0)
    assert (caught.value.report.done, caught.value.report.failed) == (16, 2)
    assert visit(retry_failed=True).done == 18


def test_a_killed_worker_costs_one_retry(visit: Visit, out: Path) -> None:
    report = visit({"deadly_once": [5]})
    assert (report.done, report.failed, report.worker_deaths) == (18, 0, 1)
    assert all(len(lines) == 1 for lines in visits(out).values())


def test_a_block_that_kills_its_workers_is_given_up(visit: Visit, out: Path) -> None:
    with pytest.raises(FailedBlocksError, match=r"block 5: worker was killed \(SIGKILL\), perhaps .* memory") as caught:
        visit({"deadly": [5]}, max_retries=1)
    assert (caught.value.report.done, caught.value.report.worker_deaths) == (17, 2)
    assert set(visits(out)) == set(range(18)) - {5}


def test_when_all_workers_die_the_stage_is_given_up(visit: Visit) -> None:
    with pytest.raises(FailedBlocksError, match=r"given up after \d+ workers died.*max_worker_restarts") as caught:
        visit({"deadly": list(range(18))}, max_worker_restarts=2, workers=1)
    assert caught.value.report.done == 0
    assert "not tried" in {failure.error for failure in caught.value.report.failures}
    assert visit().done == 18  # any of the blocks might have been the one that kills: none is quarantined


def test_a_block_that_needs_too_much_memory_is_given_up(visit: Visit, out: Path) -> None:
    with pytest.raises(FailedBlocksError, match=r"block 4: .*MemoryError: Unable to allocate 64\.0 GiB") as caught:
        visit({"greedy": [4]}, max_retries=1)
    assert (caught.value.report.done, caught.value.report.worker_deaths) == (17, 0)
    assert set(visits(out)) == set(range(18)) - {4}


def test_a_block_that_hangs_is_given_up(visit: Visit, out: Path) -> None:
    with pytest.raises(FailedBlocksError, match=r"block 0: worker was killed, .* longer than timeout_s=5"):
        visit({"endless": [0]}, max_retries=0, timeout_s=5)
    assert set(visits(out)) == set(range(1, 18))


def test_a_worker_that_cannot_set_up_ends_the_stage(entries: Path, grid: BlockGrid, out: Path, tmp_path: Path) -> None:
    worker = WorkerSpec("blockwise_entries:unable", {"out": "net.pt"})
    with pytest.raises(StageError, match=r"before its first block: RuntimeError: no such checkpoint: net.pt \(log: "):
        run_blockwise("unable", grid, worker, tmp_path / "stage", ExecutionConfig(workers=1))


def test_a_worker_that_cannot_set_up_while_another_works_is_replaced(
    entries: Path, grid: BlockGrid, out: Path, tmp_path: Path
) -> None:
    worker = WorkerSpec("blockwise_entries:visit_unless_second", {"out": str(out), "sleep_s": 0.1})
    report = run_blockwise("visit", grid, worker, tmp_path / "stage", ExecutionConfig(workers=2))
    assert (report.done, report.worker_deaths) == (18, 1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("blockwise_entries", "not of the form 'package.module:function'"),
        ("__main__:work", "not of the form"),
        ("no_such_package.module:work", "cannot be imported"),
        ("catena.no_such_module:work", "there is no module 'catena.no_such_module'"),
    ],
)
def test_an_entry_must_be_importable(grid: BlockGrid, tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        run_blockwise("visit", grid, WorkerSpec(entry), tmp_path / "stage", ExecutionConfig(workers=1))


def test_an_entry_that_is_not_in_its_module(entries: Path, grid: BlockGrid, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no function 'no_such_function'"):
        run_blockwise(
            "visit", grid, WorkerSpec("blockwise_entries:no_such_function"), tmp_path / "s", ExecutionConfig(workers=1)
        )


def test_skipped_blocks(visit: Visit, grid: BlockGrid, out: Path) -> None:
    skip = np.zeros(grid.shape, dtype=bool)
    skip[0] = skip[2, 2, 1] = True
    report = visit(skip=skip)
    assert (report.done, report.skipped) == (11, 7)
    assert set(visits(out)) == set(np.flatnonzero(~skip))
    report = visit()  # now without a mask: the others, and only those
    assert (report.done, report.skipped, report.resumed) == (18, 0, 11)
    assert all(len(lines) == 1 for lines in visits(out).values())
    with pytest.raises(GeometryError, match=r"shape \(2, 2\), the grid of blocks \(3, 3, 2\)"):
        visit(skip=np.zeros((2, 2), dtype=bool))


def test_another_grid_in_the_same_folder(visit: Visit, entries: Path, grid: BlockGrid, tmp_path: Path) -> None:
    visit()
    other = BlockGrid(grid.roi, grid.voxel_size, Coordinate(5, 4, 4), grid.context_vox)
    with pytest.raises(StageError, match="another grid of blocks"):
        run_blockwise("visit", other, WorkerSpec("blockwise_entries:visit"), tmp_path / "stage", ExecutionConfig())


def test_a_folder_that_cannot_be_written(entries: Path, grid: BlockGrid, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*job.json"):
        run_blockwise("visit", grid, WorkerSpec("blockwise_entries:visit"), tmp_path / "file/stage", ExecutionConfig())


def test_unknown_launcher(visit: Visit) -> None:
    with pytest.raises(ConfigError, match=r"unknown launcher 'lokal' .did you mean 'local'"):
        visit(launcher="lokal")


def test_progress_is_told_and_may_end_the_run(visit: Visit, out: Path) -> None:
    told: list[tuple[float, float]] = []

    def tell(done: float, total: float, remark: str) -> None:
        told.append((done, total))
        if done >= 4:
            raise OSError("the screen broke")

    with pytest.raises(OSError, match="the screen broke"):
        visit({"sleep_s": 0.25}, progress=tell)
    assert told[0] == (0, 18)
    assert 4 <= len(visits(out)) < 18
    told.clear()
    report = visit(progress=lambda done, total, remark: told.append((done, total)))
    assert 4 <= report.resumed < 18
    assert told[-1] == (18, 18)


def test_a_worker_closes_what_it_opens_and_keeps_to_its_cores(
    entries: Path, grid: BlockGrid, out: Path, tmp_path: Path
) -> None:
    worker = WorkerSpec("blockwise_entries:closing", {"out": str(out)})
    run_blockwise("closing", grid, worker, tmp_path / "stage", ExecutionConfig(workers=1, cores_per_worker=3))
    assert (out / "opened").exists()
    assert (out / "closed").exists()
    assert (out / "0.threads").read_text() == str({"OMP_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"})


def test_nothing_is_left_in_the_current_folder(visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    visit()
    assert list(here.iterdir()) == []


def test_status_of_a_finished_and_of_a_failed_stage(visit: Visit, tmp_path: Path) -> None:
    assert read_status(tmp_path / "stage") is None
    skip = np.zeros((3, 3, 2), dtype=bool)
    skip[0, 0, 0] = True
    with pytest.raises(FailedBlocksError):
        visit({"poisoned": [9], "sleep_s": 0.01}, skip=skip, max_retries=0)
    status = read_status(tmp_path / "stage")
    assert status is not None
    assert (status.state, status.total, status.done, status.failed, status.skipped, status.left) == (
        "failed",
        18,
        16,
        1,
        1,
        0,
    )
    assert [failure.block for failure in status.failures] == [9]
    assert status.blocks_per_s is not None
    assert status.blocks_per_s > 0
    assert len(status.slowest) == 5
    assert status.slowest[0][1] >= status.slowest[-1][1] > 0.01
    assert status.peak_memory_bytes > 1e6
    visit(retry_failed=True)
    status = read_status(tmp_path / "stage")
    assert status is not None
    assert (status.state, status.done, status.failed, status.skipped, status.left) == ("finished", 18, 0, 0, 0)
    assert status.failures == ()
