"""What training leaves for the stages below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catena.task import Job
from catena.training.loop import Trained
from local_shape_descriptors import trainer
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.training_stage import TrainStage


def test_a_checkpoint_tells_how_it_was_trained_and_not_where(
    tmp_path: Path, em: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(**more: Any) -> Any:
        """Return what training is told of an experiment, without training."""
        volume = {"raw": em["raw"], "labels": em["labels"], "regions": {"train": {"z": [0, 24]}}, **more.pop("a", {})}
        settings = {"experiment": "e", "output": str(tmp_path), "volumes": {"a": volume}, **more}
        job = Job("local_shape_descriptors", "train", "", LocalShapeDescriptorsConfig.parse(settings), "0")
        best = job.staging / "checkpoints/best.pt"
        given: dict[str, Any] = {}
        monkeypatch.setattr(trainer, "train", lambda *_, **settings: given.update(settings) or Trained(best, 1, {}))
        TrainStage().run(job, lambda *_: None)
        return given["user_config"]

    here = told()
    assert here["train"]["iterations"] == LocalShapeDescriptorsConfig.model_fields["train"].default.iterations
    assert here["regions"]["train"]["a"]["z"] == [0, 24]
    assert set(here) >= {"model", "seed", "augment", "fragments", "agglomerate"}  # packing a network asks for them
    assert str(tmp_path) not in repr(here)
    assert em["raw"] not in repr(here)
    tested = {"regions": {"train": {"z": [0, 24]}, "test": {"z": [24, 48]}}}
    execution = {"default": {"workers": 9}}
    assert told(a=tested, output=str(tmp_path / "b"), segmentation={"threshold": 0.4}, execution=execution) == here
    assert told(seed=1) != here


def test_a_training_that_descriptors_alone_validate_depends_on_where_they_count(em: dict[str, str]) -> None:
    def settings(kind: str, **volume: Any) -> Any:
        regions = {"train": {"z": [0, 24]}, "validation": {"z": [24, 48]}}
        volumes = {"a": {"raw": em["raw"], "labels": em["labels"], "regions": regions}}
        volumes["b"] = volumes["a"] | {"regions": {"validation": {"z": [30, 48]}}} | volume
        values = {"experiment": "e", "volumes": volumes, "model": {"type": kind}}
        return TrainStage().settings(LocalShapeDescriptorsConfig.parse(values), "")

    assert settings("lsd") != settings("lsd", background_labelled=True)
    assert settings("mtlsd") == settings("mtlsd", background_labelled=True)
