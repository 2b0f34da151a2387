"""Training as a stage: once per experiment, on every volume that has a training region."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.networks import network_shapes
from catena.task import Given, Input, Job, Made, Output, Progress, Stage, StageReport
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, TrainStageConfig
from local_shape_descriptors.fragments import settings_of
from local_shape_descriptors.model import require_local
from local_shape_descriptors.predicter import BEST, checkpoint_path
from local_shape_descriptors.pseudo_labels import pseudo_inputs, pseudo_labelled

if TYPE_CHECKING:
    from catena.networks import BaseNetwork
    from catena.training.loop import Validate
    from local_shape_descriptors.training_volumes import TrainingVolume

Settings = LocalShapeDescriptorsConfig
TOLD = {"task", "experiment", "seed", "model", "augment", "train", "fragments", "agglomerate"}
"""What a checkpoint tells of its experiment: how it was trained, and how its affinities are meant to be segmented.

Not where its data lie, nor what is done with the result: later stages depend on the checkpoint's bytes, and the same
training elsewhere is to make the same file.
"""


class TrainStage(Stage):
    """Train the network of an experiment."""

    name, version, per_volume = "train", 2, False

    def check(self, config: Settings, volume: str) -> None:
        """Refuse augmentations of other packages that are not there, and crops that do not suit two networks.

        A single network refuses its crops itself: its training is the first stage.
        """
        if trained_on(config, "validation"):
            require_local(config.model)
        if TrainFirstStage().applies(config, volume) and config.train.input_shape_vox is not None:
            voxel_size = config.volume(trained_on(config, "train")[0]).grid().voxel_size
            shapes = network_shapes(config.model.network(voxel_size))
            shapes.check_input_shape(Coordinate(config.train.input_shape_vox))
        if config.augment.enabled and config.augment.extra:
            from catena.augmentation.batch import BatchAugmentation
            from catena.augmentation.in_step import StepAugmentation
            from catena.augmentation.resolve import resolve

            for extra in config.augment.extra:
                BatchAugmentation(resolve(extra), extra.kind)
            StepAugmentation(config.augment.within_step).open()

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return raw, labels and masks of all volumes to train or validate on."""
        training = trained_on(config, "train")
        if not training:
            raise ConfigError(
                "nothing to train on: no volume has labels and a region 'train'. Add them, or name a trained network "
                "in inputs.checkpoint"
            )
        inputs: dict[str, Input] = {}
        for name in dict.fromkeys(training + trained_on(config, "validation")):
            settings = config.volume(name)
            paths = {key: getattr(settings, key) for key in ("raw", "labels", "labels_mask")}
            paths |= {f"other_labels.{key}": path for key, path in used_labels(config, name).items()}
            for key, path in paths.items():
                if path is not None:
                    inputs[f"{name}.{key}"] = Given(path, voxel_size_nm=settings.voxel_size_nm)
        return inputs | pseudo_inputs(config) | _first_input(config)

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the folders that training leaves; later stages depend on the best checkpoint's bytes."""
        return _outputs("")

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return all that the weights depend on; validation segments with fixed settings, which do not enter.

        What descriptors are compared with where there are no affinities to segment does enter.
        """
        volumes = [  # in order: which volume a crop is drawn from depends on it
            [name, config.volume(name).background_labelled, config.volume(name).weight]
            for name in trained_on(config, "train")
        ]
        return {
            "seed": config.seed,
            "model": config.model.fingerprinted(),
            "augment": config.augment.model_dump(mode="json"),
            "train": config.train.fingerprinted(),
            "regions": _trained_regions(config),
            "volumes": volumes,
            **_compared_descriptors(config),
        }

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Train, or go on training, in the staging folder."""
        return self._train(job, settings_of(job), job.staging, progress)

    def _train(self, job: Job, config: Settings, folder: Path, progress: Progress) -> StageReport:
        """Train the network of `config` in `folder`."""
        from local_shape_descriptors.trainer import train

        trained = train(
            [*training_volumes(config), *pseudo_labelled(config)],
            folder,
            config.model,
            config.train.plain(),
            config.augment,
            seed=config.seed,
            execution=config.execution.train,
            validate=validation(config),
            progress=progress,
            user_config={**config.model_dump(mode="json", include=TOLD), "regions": _trained_regions(config)},
            first=checkpoint_path(job, "first") if "first" in job.inputs else None,
        )
        best = folder / "checkpoints" / BEST
        if trained.checkpoint != best:
            shutil.copyfile(trained.checkpoint, best)
        return StageReport(
            figures={
                "iterations": config.train.iterations,
                "best_iteration": trained.iteration,
                "iterations_per_second": trained.iterations_per_second,
                "waiting_for_data": trained.waiting_for_data,
                **trained.metrics,
            }
        )


class TrainFirstStage(TrainStage):
    """Train the first network of autocontext, which describes shapes, by itself."""

    name, version, per_volume = "train_first", 1, False
    folder = "first"

    def applies(self, config: Settings, volume: str) -> bool:
        """Where there are two networks, and none is given as the first."""
        return config.model.is_autocontext and config.inputs.first is None

    def check(self, config: Settings, volume: str) -> None:
        """Do nothing: the second network's training has the same augmentation."""

    def inputs(self, config: Settings, volume: str) -> Mapping[str, Input]:
        """Return raw, labels and masks of all volumes to train or validate on."""
        return super().inputs(_of_the_first(config), volume)

    def outputs(self, config: Settings, volume: str) -> Mapping[str, Output]:
        """Return the same as of any training, in a folder of their own."""
        return _outputs(f"{self.folder}/")

    def settings(self, config: Settings, volume: str) -> Mapping[str, Any]:
        """Return all that the first network's weights depend on."""
        return super().settings(_of_the_first(config), volume)

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Train, or go on training, in the staging folder."""
        return self._train(job, _of_the_first(settings_of(job)), job.staging / self.folder, progress)


def _outputs(prefix: str) -> Mapping[str, Output]:
    return {
        "checkpoints": Output(f"{prefix}checkpoints", "folder", content=BEST),
        "tensorboard": Output(f"{prefix}tensorboard", "folder"),
        "losses": Output(f"{prefix}losses.csv", "file"),
    }


def _first_input(config: Settings) -> dict[str, Input]:
    """Return the first network's checkpoint as an input, if there are two."""
    if not config.model.is_autocontext:
        return {}
    if config.inputs.first is not None:
        return {"first": Given(config.inputs.first, kind="file")}
    return {"first": Made(TrainFirstStage.name, "checkpoints", "")}


def _of_the_first(config: Settings) -> Settings:
    """Return the experiment that trains the first network alone."""
    iterations = config.model.first.iterations or config.train.iterations
    values = {**config.train.model_dump(), "iterations": iterations}
    train = TrainStageConfig.parse(values, "model.first.iterations: train")
    return config.model_copy(update={"model": config.model.first_model(), "train": train})


def trained_on(config: Settings, region: str) -> list[str]:
    """Return the volumes with raw and labels in `region`."""
    return [name for name in config.scored_with(region) if config.volume(name).raw is not None]


def _trained_regions(config: Settings) -> dict[str, dict[str, Any]]:
    """Return as plain values the regions, by their use and the volumes' names, that training reads."""
    return {
        region: {name: config.volume(name).regions[region].model_dump(mode="json") for name in names}
        for region in ("train", "validation")
        if (names := trained_on(config, region))
    }


def _compared_descriptors(config: Settings) -> dict[str, Any]:
    """Return what, beside labels and regions, says on which voxels descriptors alone are validated."""
    names = trained_on(config, "validation")
    if "affinities" in config.model.heads or not names:
        return {}
    return {"descriptors_off_rims": {name: config.volume(name).background_labelled for name in names}}


def used_labels(config: Settings, volume: str) -> dict[str, str]:
    """Return the paths, by name, of those other labels of a volume that the model is trained on."""
    there = config.volume(volume).other_labels
    return {name: there[name] for name in config.model.labels() if name in there}


def training_volumes(config: Settings) -> list[TrainingVolume]:
    """Return the ground truth to train on: the training region of every volume that has labels there."""
    from local_shape_descriptors.training_volumes import TrainingVolume

    volumes = []
    for name in trained_on(config, "train"):
        settings = config.volume(name)
        volumes.append(
            TrainingVolume(
                str(settings.raw),
                str(settings.labels),
                settings.labels_mask,
                region=settings.region_roi("train"),
                background_labelled=settings.background_labelled,
                weight=settings.weight,
                voxel_size_nm=settings.voxel_size_nm,
                name=f"volumes.{name}",
                other_labels=used_labels(config, name),
            )
        )
    return volumes


def validation(config: Settings) -> Validate | None:
    """Return the function that segments the validation regions with a network and scores the result.

    Every region is predicted with the real context around it and segmented in memory at all
    thresholds; the figures are means over the regions, each at its own best threshold.
    """
    names = trained_on(config, "validation")
    if not names:
        return None

    def validate(network: BaseNetwork, iteration: int) -> dict[str, float]:
        from local_shape_descriptors.validation import score_network

        scores = [score_network(config, name, network) for name in names]
        return {key: sum(each[key] for each in scores) / len(scores) for key in scores[0]}

    return validate
