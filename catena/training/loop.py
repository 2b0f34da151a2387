"""The training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from catena.augmentation.in_step import StepAugmentation
from catena.errors import ConfigError
from catena.interruption import Interruption
from catena.networks import AnyNetworkConfig, Loss
from catena.networks.losses import DEFAULT_LOSS, Offsets
from catena.training.clock import timed
from catena.training.config import TrainConfig, TrainExecution
from catena.training.dataset import MakeTargets, OpenCrops, dead_workers_explained, steps
from catena.training.fabric import chosen_precision, on_gpu
from catena.training.log import opened_log
from catena.training.place import Place
from catena.training.processes import require_devices, started
from catena.training.run import OBJECTIVE, Initial, Trained, Training, TrainingRun, Validate

__all__ = ["OBJECTIVE", "Initial", "Progress", "Trained", "Validate", "loss_terms", "train"]


class Progress(Protocol):
    """How the loop tells how far it is; as :class:`catena.task.Progress`."""

    def __call__(self, done: float, total: float, message: str = "") -> None:
        """Report `done` of `total` iterations."""
        ...


def train(
    network_config: AnyNetworkConfig,
    open_crops: OpenCrops,
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    losses: Mapping[str, Sequence[Loss]] | None = None,
    offsets: Mapping[str, Offsets] | None = None,
    initial: Initial | None = None,
    augmentation: StepAugmentation | None = None,
    targets: MakeTargets | None = None,
    seed: int = 0,
    execution: TrainExecution | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
    user_config: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a network on crops until ``config.iterations``, from the latest checkpoint in `folder` on.

    On a CPU, whatever killed an earlier run at whatever moment, the weights and losses are those of an
    unbroken run, bit by bit, and independent of the number of data workers (with one number of
    threads). Torch's global random state is set from `seed`.

    Parameters
    ----------
    network_config
        What to train; the heads that it trains are the names of the crops' targets.
    open_crops
        Opens the data in whichever process prepares crops.
    folder
        Receives ``checkpoints/``, ``tensorboard/`` and ``losses.csv``.
    losses
        Per head the terms of its loss. Default, also for heads that are not named: mean squared error.
    offsets
        Per head of affinities their offsets, for losses that need them.
    initial
        Called once with the network, before the first iteration of all; not where a checkpoint is there.
    augmentation
        What is done to raw within the step.
    targets
        Makes the targets of those heads for which crops bring labels instead, within the step.
    validate
        Called every ``config.validation_interval`` iterations, and at the end.
    user_config
        Plain values kept in every checkpoint, to tell what it was trained with.

    Raises
    ------
    ConfigError
        If the folder's checkpoint is of another architecture, or a loss is for a head that is not there or
        lacks its offsets.
    StageError
        If the loss is not finite, or a data worker died.
    KeyboardInterrupt
        After Ctrl-C or SIGTERM, once a checkpoint is written.
    """
    config, execution = config or TrainConfig(), execution or TrainExecution()
    if config.schedule == "plateau" and validate is None:
        raise ConfigError("train.schedule plateau goes by what validation finds, and there is nothing to validate on")
    gpu = on_gpu(execution)
    chosen_precision("cuda" if gpu else "cpu", config.precision)
    require_devices(execution.devices, config, gpu)
    training = Training(
        network_config,
        open_crops,
        Path(folder),
        config,
        loss_terms(network_config, losses or {}, offsets or {}),
        dict(offsets or {}),
        seed,
        execution,
        dict(user_config or {}),
        augmentation,
        targets,
        validated=validate is not None,
    )
    with started(partial(_train, training), execution.devices) as place:
        return _train(training, place, initial, validate, progress)


def _train(
    training: Training,
    place: Place,
    initial: Initial | None = None,
    validate: Validate | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train in one of several processes; the functions are called in the leading one."""
    config, execution = training.config, training.execution
    with place.connected(gpu=on_gpu(execution)), dead_workers_explained():
        run = TrainingRun.open(training, place, initial)
        if run.iteration >= config.iterations:
            return run.result()
        dataset, stopped = training.dataset(run.iteration, place), False
        with (
            opened_log(training.folder, list(training.terms), run.iteration, place.leads) as log,
            Interruption(second_acts=True) as stop,
            closing(timed(steps(dataset, execution.data_workers, pinned=run.device.type == "cuda"), run.clock)) as data,
        ):
            for parts in data:
                learning_rate = run.set_learning_rate()
                lost, batch, predictions = run.backward(parts)
                run.check_finite(lost, parts)
                run.step()
                run.iteration += 1

                loss, losses = run.shared(lost)
                log.losses(run.iteration, learning_rate, loss, losses)
                if progress:
                    progress(run.iteration, config.iterations, run.describe(loss))
                if run.iteration % execution.images_every == 0:
                    log.images(run.iteration, batch, predictions)
                    log.rates(run.iteration, run.clock.per_second, run.clock.waiting_fraction)

                last = run.iteration == config.iterations
                validated = training.validated and (last or run.iteration % config.validation_interval == 0)
                if validated:
                    log.metrics(run.iteration, run.validate(validate))
                stopped = run.any_process(stop.signal is not None)
                if validated or last or stopped or run.iteration % execution.checkpoint_every == 0:
                    log.flush()
                    run.save()
                if stopped:
                    break
        if stopped:  # in the last iteration too: what follows training must not begin
            raise KeyboardInterrupt(
                f"training stopped by {stop.name} after iteration {run.iteration} of {config.iterations}; "
                "a checkpoint is written, and the next run goes on from it"
            )
        return run.result()


def loss_terms(
    network_config: AnyNetworkConfig, losses: Mapping[str, Sequence[Loss]], offsets: Mapping[str, Offsets]
) -> dict[str, Sequence[Loss]]:
    """Return the terms of every head's loss, the default where none is given.

    Raises
    ------
    ConfigError
        If a head is not there, has no term, or lacks offsets that a term needs.
    """
    heads = network_config.trained_heads
    unknown = [head for head in losses if head not in heads]
    if unknown:
        raise ConfigError(f"losses are given for {unknown}, but the heads that are trained are {sorted(heads)}")
    terms = {head: losses.get(head, DEFAULT_LOSS) for head in heads}
    for head, each in terms.items():
        if not each:
            raise ConfigError(f"the head {head} has no loss; name at least one, or leave it out for the default")
        found = len(offsets.get(head, ()))
        needing = [type(term).model_fields["type"].default for term in each if term.needs_offsets]
        if needing and found != heads[head]:
            raise ConfigError(
                f"the loss {needing[0]} of the head {head} needs the offset of each of its {heads[head]} channels, "
                f"found {found}; it is for affinities"
            )
    return terms
