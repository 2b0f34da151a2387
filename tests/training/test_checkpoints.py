from __future__ import annotations

import os
import pickle

import pytest
import torch

from catena.errors import ArrayNotFoundError, DataError, OutputError
from catena.training import Checkpoints, load_checkpoint
from catena.training.checkpoints import KEYS


def state(iteration: int) -> dict:
    return {**dict.fromkeys(KEYS, 0), "iteration": iteration, "network": {"w": torch.full((2,), float(iteration))}}


def test_the_latest_is_what_was_saved_last(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for iteration in (5, 100, 20):
        checkpoints.save(state(iteration))
    latest = checkpoints.latest()
    assert latest is not None
    assert latest["iteration"] == 100
    assert latest["network"]["w"].tolist() == [100.0, 100.0]


def test_prune_keeps_the_latest_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for iteration in (1, 2, 3, 4, 5):
        checkpoints.save(state(iteration))
    checkpoints.mark_best(2)
    checkpoints.prune(best=2)
    assert checkpoints.iterations() == [2, 4, 5]
    assert load_checkpoint(checkpoints.best_path)["iteration"] == 2


def test_best_can_be_renamed_and_named_again(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for iteration in (1, 2):
        checkpoints.save(state(iteration))
        checkpoints.mark_best(iteration)
        checkpoints.mark_best(iteration)
    assert load_checkpoint(checkpoints.best_path)["iteration"] == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "best.pt",
        "iteration_00000001.pt",
        "iteration_00000002.pt",
    ]


def test_without_hard_links_the_best_is_a_copy(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1))
    checkpoints.mark_best(1)
    assert load_checkpoint(checkpoints.best_path)["iteration"] == 1


def test_a_write_cut_short_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"cannot write the checkpoint .*iteration_00000002\.pt.*No space left"):
        checkpoints.save(state(2))
    monkeypatch.undo()

    assert checkpoints.iterations() == [1]
    Checkpoints(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["iteration_00000001.pt"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_missing_foreign_and_dangerous_files_are_refused(tmp_path):
    with pytest.raises(ArrayNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nowhere.pt")

    torch.save({"weights": 1}, tmp_path / "foreign.pt")
    with pytest.raises(DataError, match="not a checkpoint of Catena: it has no network_config"):
        load_checkpoint(tmp_path / "foreign.pt")

    (tmp_path / "dangerous.pt").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(DataError, match="is not a checkpoint that can be loaded safely"):
        load_checkpoint(tmp_path / "dangerous.pt")
