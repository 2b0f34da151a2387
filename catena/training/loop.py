"""The training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from catena.errors import ConfigError, StageError
from catena.interruption import Interruption
from catena.networks import (
    AnyNetworkConfig,
    BaseNetwork,
    Loss,
    architecture_differences,
    build_network,
    parse_network_config,
    total_loss,
)
from catena.networks.losses import DEFAULT_LOSS, Offsets
from catena.training.checkpoints import Checkpoints
from catena.training.config import TrainConfig, TrainExecution
from catena.training.dataset import Batch, CropDataset, OpenCrops, batches, dead_workers_explained
from catena.training.log import TrainingLog

OBJECTIVE = "voi_sum"
"""The figure that validation returns and the best network minimises."""

Validate = Callable[[BaseNetwork, int], Mapping[str, float]]
"""Scores a network after some number of iterations; the result holds ``OBJECTIVE``."""


Initial = Callable[[BaseNetwork], None]
"""Changes the weights of a network that is not trained yet, for example to those of another one."""


class Progress(Protocol):
    """How the loop tells how far it is; as :class:`catena.task.Progress`."""

    def __call__(self, done: float, total: float, message: str = "") -> None:
        """Report `done` of `total` iterations."""
        ...


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes
    ----------
    checkpoint
        The network to use, ``checkpoints/best.pt``: the best one validated or, without validation, the last.
    iteration
        How many iterations that network was trained.
    metrics
        What validation found for it.
    iterations_per_second, waiting_for_data
        Speed of this process, and the fraction of its time in which it waited for crops.
    """

    checkpoint: Path
    iteration: int
    metrics: dict[str, float]
    iterations_per_second: float = 0.0
    waiting_for_data: float = 0.0


def train(
    network_config: AnyNetworkConfig,
    open_crops: OpenCrops,
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    losses: Mapping[str, Sequence[Loss]] | None = None,
    offsets: Mapping[str, Offsets] | None = None,
    initial: Initial | None = None,
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
    terms, offsets = loss_terms(network_config, losses or {}, offsets or {}), offsets or {}
    run = _Run.open(network_config, Path(folder), config, seed, execution, dict(user_config or {}), initial)
    if run.iteration >= config.iterations:
        return run.result()
    dataset = CropDataset(
        open_crops, seed=seed, start=run.iteration, stop=config.iterations, batch_size=config.batch_size
    )
    with (
        dead_workers_explained(),
        TrainingLog(Path(folder), list(terms), run.iteration) as log,
        Interruption(second_acts=True) as stop,
        closing(_timed(batches(dataset, execution.data_workers), run.clock)) as data,
    ):
        for batch in data:
            learning_rate = run.set_learning_rate(config.learning_rate_at(run.iteration))
            batch = batch.to(run.device)
            predictions = run.forward(batch.raw)
            lost = {
                head: total_loss(
                    terms[head], predictions[head], batch.targets[head], batch.weights[head], offsets.get(head)
                )
                for head in terms
            }
            loss = torch.stack(list(lost.values())).sum()
            run.check_finite(loss, lost)
            run.step(loss)
            run.iteration += 1

            log.losses(run.iteration, learning_rate, loss.item(), {head: each.item() for head, each in lost.items()})
            if progress:
                progress(run.iteration, config.iterations, run.describe(loss.item()))
            if run.iteration % execution.images_every == 0:
                log.images(run.iteration, batch, predictions)
                log.rates(run.iteration, run.clock.per_second, run.clock.waiting_fraction)

            last = run.iteration == config.iterations
            validated = validate is not None and (last or run.iteration % config.validation_interval == 0)
            if validated and validate is not None:
                log.metrics(run.iteration, run.validate(validate))
            if validated or last or stop.signal or run.iteration % execution.checkpoint_every == 0:
                log.flush()
                run.save()
            if stop.signal:
                break
    if stop.signal:  # in the last iteration too: what follows training must not begin
        raise KeyboardInterrupt(
            f"training stopped by {stop.signal.name} after iteration {run.iteration} of {config.iterations}; "
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


@dataclass
class _Clock:
    """Time since the start, and how much of it went into waiting for crops."""

    begin: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    batches: int = 0

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.begin

    @property
    def per_second(self) -> float:
        return self.batches / self.elapsed if self.batches else 0.0

    @property
    def waiting_fraction(self) -> float:
        return self.waited / self.elapsed if self.batches else 0.0


def _timed(items: Iterator[Batch], clock: _Clock) -> Generator[Batch]:
    while True:
        asked = time.perf_counter()
        batch = next(items, None)
        if batch is None:
            return
        if clock.batches == 0:
            clock.begin = time.perf_counter()  # opening data and starting workers are not the pipeline's speed
        else:
            clock.waited += time.perf_counter() - asked
        clock.batches += 1
        yield batch


@dataclass
class _Run:
    """Everything that a checkpoint holds, and where checkpoints go."""

    network: BaseNetwork
    forward: nn.Module
    optimiser: torch.optim.Optimizer
    fabric: Any
    checkpoints: Checkpoints
    user_config: dict[str, Any]
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=lambda: {"history": {}, "best": None})
    clock: _Clock = field(default_factory=_Clock)

    @classmethod
    def open(
        cls,
        network_config: AnyNetworkConfig,
        folder: Path,
        config: TrainConfig,
        seed: int,
        execution: TrainExecution,
        user_config: dict[str, Any],
        initial: Initial | None = None,
    ) -> _Run:
        """Build network and optimiser, and load the latest checkpoint into them if there is one."""
        if execution.threads:
            torch.set_num_threads(execution.threads)
        fabric = _fabric(execution, config.precision)
        torch.manual_seed(seed)
        # Channels last is twice as fast on a CPU and no slower on a GPU.
        network = build_network(network_config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)
        forward, fabric_optimiser = fabric.setup(network, optimiser)
        checkpoints = Checkpoints(folder / "checkpoints", execution.keep_checkpoints)
        run = cls(network, forward, fabric_optimiser, fabric, checkpoints, user_config)
        if not run._resume() and initial is not None:
            initial(network)
        return run

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.fabric.device
        return device

    def _resume(self) -> bool:
        """Load the latest checkpoint, and say whether there was one."""
        state = self.checkpoints.latest()
        if state is None:
            return False
        found = parse_network_config(state["network_config"], f"{self.checkpoints.folder}: network_config")
        if found != self.network.config:
            there, here = (each.model_dump(mode="json") for each in (found, self.network.config))
            raise ConfigError(
                f"{self.checkpoints.folder} holds checkpoints of another architecture "
                f"({architecture_differences(there, here)}); "
                "train into another folder, or give the model those settings"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration = state["iteration"]
        self.metrics = state["metrics"]
        set_random_states(state["random_states"])
        self._keep()
        return True

    def set_learning_rate(self, learning_rate: float) -> float:
        """Set and return the learning rate of the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def check_finite(self, loss: Tensor, losses: Mapping[str, Tensor]) -> None:
        """Refuse to go on from a loss that is not a number; weights are still those of the last step."""
        if not torch.isfinite(loss):
            shown = ", ".join(f"{head} {each.item()}" for head, each in losses.items())
            there = self.checkpoints.iterations()
            raise StageError(
                f"the loss of iteration {self.iteration + 1} is not finite ({shown}); "
                f"the latest checkpoint is that of iteration {there[-1] if there else 'none'}. Lower "
                "train.learning_rate, set train.precision to float32, or look for NaN in raw"
            )

    def step(self, loss: Tensor) -> None:
        """Change the weights by the gradient of `loss`."""
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimiser.step()

    def validate(self, validate: Validate) -> dict[str, float]:
        """Score the network without touching what training depends on."""
        self.network.eval()
        states = random_states()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in validate(self.network, self.iteration).items()}
        set_random_states(states)
        self.network.train()
        if OBJECTIVE not in metrics:
            raise ConfigError(f"validation must return '{OBJECTIVE}' among its figures, found {sorted(metrics)}")
        self.metrics["history"][self.iteration] = metrics
        best = self.metrics["best"]
        if best is None or metrics[OBJECTIVE] < self.metrics["history"][best][OBJECTIVE]:
            self.metrics["best"] = self.iteration
        return metrics

    def save(self) -> None:
        """Write a checkpoint, then drop those no longer needed."""
        self.checkpoints.save(
            {
                "network_config": self.network.config.model_dump(mode="json"),
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "iteration": self.iteration,
                "random_states": random_states(),
                "user_config": self.user_config,
                "metrics": self.metrics,
            }
        )
        self._keep()

    def _keep(self) -> None:
        best = self.metrics["best"]
        if best is not None and best in self.checkpoints.iterations():
            self.checkpoints.mark_best(best)
        self.checkpoints.prune(best)

    def describe(self, loss: float) -> str:
        """Say in a few words how training goes."""
        best = self.metrics["best"]
        scored = f", best {OBJECTIVE} {self.metrics['history'][best][OBJECTIVE]:.3f}" if best is not None else ""
        rate, waiting = self.clock.per_second, self.clock.waiting_fraction
        return f"loss {loss:.4f}{scored}, {rate:.2f} it/s, {waiting:.0%} waiting for data"

    def result(self) -> Trained:
        """Name the checkpoint to use; without validation the last one counts as the best."""
        best = self.metrics["best"]
        iteration = self.iteration if best is None else best
        self.checkpoints.mark_best(iteration)
        return Trained(
            checkpoint=self.checkpoints.best_path,
            iteration=iteration,
            metrics=dict(self.metrics["history"].get(best, {})),
            iterations_per_second=self.clock.per_second,
            waiting_for_data=self.clock.waiting_fraction,
        )


def random_states() -> dict[str, Any]:
    """Return torch's random states; crops carry their own seeds."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def set_random_states(states: Mapping[str, Any]) -> None:
    """Restore what :func:`random_states` returned, on as many GPUs as there are."""
    torch.set_rng_state(states["torch"])
    for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, index)


def _fabric(execution: TrainExecution, precision: str) -> Any:
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    for name in ("lightning.fabric", "lightning.pytorch"):  # they announce the precision on stderr
        logging.getLogger(name).setLevel(logging.WARNING)
    # Without naming the environment, Fabric takes a Slurm job's, and warns wherever srun is installed.
    fabric = Fabric(
        accelerator=execution.device,
        devices=1,
        precision="bf16-mixed" if _use_bfloat16(execution.device, precision) else "32-true",
        plugins=[LightningEnvironment()],
    )
    if fabric.device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    return fabric


def _use_bfloat16(device: str, precision: str) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device != "cpu" and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
