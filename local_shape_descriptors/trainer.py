"""Train a network to predict affinities, local shape descriptors, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.inference.loading import LoadedNetwork, load_network
from catena.networks import (
    AnyNetworkConfig,
    AutocontextNetwork,
    BaseNetwork,
    NetworkConfig,
    NetworkShapes,
    network_shapes,
)
from catena.nodes.augment_config import AugmentConfig, is_anisotropic
from catena.training.config import TrainConfig, TrainExecution
from catena.training.loop import Initial, Progress, Trained, Validate
from catena.training.loop import train as train_network
from local_shape_descriptors.crops import NeuronCrops
from local_shape_descriptors.heads import NEURONS
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.training_volumes import TrainingVolume, common_voxel_size, open_source, shared_out


def train(
    volumes: Sequence[TrainingVolume],
    folder: str | Path,
    model: ModelConfig | None = None,
    config: TrainConfig | None = None,
    augment: AugmentConfig | None = None,
    *,
    seed: int = 0,
    execution: TrainExecution | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
    user_config: Mapping[str, Any] | None = None,
    first: str | Path | None = None,
) -> Trained:
    """Train on ground truth, from the latest checkpoint in `folder` on.

    Crops lie anywhere in the labelled part of a volume, however small that is: beyond a volume's
    region raw and labels are mirrored, and only voxels inside, whose label is known, enter the loss.

    Parameters
    ----------
    volumes
        All of one voxel size.
    folder
        Receives ``checkpoints/``, ``tensorboard/`` and ``losses.csv``.
    model, config, augment
        What to train, how long and how fast, and how crops are varied.
    seed
        Batch i is a function of (seed, i).
    execution
        Device, data workers, threads, how often to write: none of it changes the result.
    validate
        Scores a network (see :func:`catena.training.train`).
    progress
        Called with iterations done, iterations in all, and a few words.
    user_config
        Plain values kept in every checkpoint.
    first
        Checkpoint of the first network of autocontext (types aclsd, acrlsd), which needs one.

    Returns
    -------
    Trained
        The best checkpoint and what is known about it.

    Raises
    ------
    CatenaError
        Whatever is wrong with data, configuration or disk; see :func:`catena.training.train`.

    Examples
    --------
    >>> volume = TrainingVolume("em.zarr/volumes/raw", "em.zarr/volumes/labels/neuron_ids")
    >>> trained = train([volume], "runs/em", config=TrainConfig(iterations=2000))  # doctest: +SKIP
    """
    model, config = model or ModelConfig(), config or TrainConfig()
    before = open_first(model, first)
    execution = execution or TrainExecution()
    in_step = execution.targets == "step"
    crops = open_crops(volumes, model, config, augment, before.config if before else None, targets_in_step=in_step)
    return train_network(
        crops.network,
        crops,
        folder,
        config,
        seed=seed,
        execution=execution,
        validate=validate,
        progress=progress,
        user_config=user_config,
        losses={head: each.weighted_losses for head, each in crops.model.heads.items()},
        offsets={head: offsets for head in crops.model.heads if (offsets := model.offsets(head))},
        augmentation=crops.in_step,
        targets=crops.step_targets,
        initial=_taking(before.network) if before else None,
    )


def open_first(model: ModelConfig, path: str | Path | None) -> LoadedNetwork | None:
    """Load the first network of autocontext; None for other models.

    Raises
    ------
    ConfigError
        If there is none, or it predicts something else than descriptors.
    """
    if not model.is_autocontext:
        return None
    if path is None:
        raise ConfigError(f"model.type {model.type} begins with a network trained on descriptors; give its checkpoint")
    loaded = load_network(path)
    wanted = model.first_model().channels
    if not isinstance(loaded.config, NetworkConfig) or loaded.config.heads != wanted:
        raise ConfigError(
            f"{path} predicts {dict(loaded.config.heads)}; model.type {model.type} begins with a network of model.type "
            f"lsd, which predicts {wanted}"
        )
    trained = loaded.metadata.get("user_config", {}).get("model", {})
    for name in ("lsd_sigma_nm", "dimensions"):
        if name in trained and trained[name] != getattr(model, name):
            raise ConfigError(
                f"{path} was trained with model.{name} {trained[name]}, this experiment says {getattr(model, name)}; "
                "give it the one of the first network"
            )
    return loaded


def _taking(first: BaseNetwork) -> Initial:
    def initial(network: BaseNetwork) -> None:
        if isinstance(network, AutocontextNetwork):
            network.load_first(first)

    return initial


def open_crops(
    volumes: Sequence[TrainingVolume],
    model: ModelConfig,
    config: TrainConfig,
    augment: AugmentConfig | None = None,
    first: AnyNetworkConfig | None = None,
    *,
    targets_in_step: bool = False,
) -> NeuronCrops:
    """Look at the ground truth, and return the crops that a model is trained on; see :func:`train`.

    With `targets_in_step` they bring labels for the heads whose targets the training step can make.

    Raises
    ------
    CatenaError
        If data, model and crop do not fit together.
    """
    require_labels(model, volumes)
    sources = shared_out([open_source(volume) for volume in volumes])
    voxel_size, units_per_nm = common_voxel_size(sources)
    network = model.network(voxel_size, first if isinstance(first, NetworkConfig) else None)
    shapes = network_shapes(network)
    input_shape = Coordinate(config.input_shape_vox or default_input_shape(shapes, voxel_size, model.dimensions))
    require_reach(model, input_shape)
    return NeuronCrops(
        sources=tuple(each.in_units(units_per_nm) for each in sources),
        network=network,
        model=model.only(network.trained_heads),
        augment=(augment or AugmentConfig()).resolved(voxel_size, model.dimensions),
        voxel_size=voxel_size,
        units_per_nm=units_per_nm,
        input_shape=input_shape,
        output_shape=shapes.output_shape_vox(input_shape),
        output_begin=shapes.output_begin_vox(input_shape),
        min_labelled=config.min_labelled,
        targets_in_step=targets_in_step,
    )


def require_labels(model: ModelConfig, volumes: Sequence[TrainingVolume]) -> None:
    """Refuse a model with a head for which no volume has labels; where some have none, the others teach it.

    Raises
    ------
    ConfigError
        Naming the head and the labels.
    """
    for name, head in model.heads.items():
        if head.labels != NEURONS and not any(head.labels in each.other_labels for each in volumes):
            names = ", ".join(each.name for each in volumes)
            raise ConfigError(
                f"model.heads.{name} is trained on the labels {head.labels!r}, which no training volume has ({names}); "
                f"give volumes.NAME.other_labels.{head.labels}, or take another model.type"
            )


def require_reach(model: ModelConfig, input_shape: Coordinate) -> None:
    """Refuse affinities of voxels that never lie in one crop: nothing could be learnt of them.

    Raises
    ------
    ConfigError
        Naming head and offset.
    """
    for name in model.heads:
        for offset in model.offsets(name):
            if any(abs(step) >= size for step, size in zip(offset, input_shape, strict=True)):
                raise ConfigError(
                    f"model.heads.{name}: the affinity offset {list(offset)} reaches outside the crop of "
                    f"{list(input_shape)} voxels; enlarge train.input_shape_vox or leave the offset out"
                )


def default_input_shape(shapes: NetworkShapes, voxel_size: Coordinate, dimensions: int = 3) -> Coordinate:
    """Return the network input whose output is about 64 voxels wide, or 16 sections of 96 pixels, or one of 192."""
    if dimensions == 2:
        return shapes.input_shape_vox(Coordinate(1, 192, 192))
    return shapes.input_shape_vox(Coordinate(16, 96, 96) if is_anisotropic(voxel_size) else Coordinate(64, 64, 64))
