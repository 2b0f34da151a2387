"""One training under way: network, optimiser, average, and the checkpoints that hold them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from catena.augmentation.in_step import Augmented, StepAugmentation
from catena.blockwise.execution import available_cores
from catena.errors import ConfigError, StageError
from catena.networks import (
    AnyNetworkConfig,
    BaseNetwork,
    Loss,
    architecture_differences,
    build_network,
    parse_network_config,
    total_loss,
)
from catena.networks.losses import Offsets
from catena.training.checkpoints import BEST, Checkpoints
from catena.training.clock import Clock
from catena.training.config import TrainConfig, TrainExecution
from catena.training.dataset import Batch, CropDataset, MakeTargets, OpenCrops
from catena.training.fabric import open_fabric
from catena.training.failed_batch import failed_batch_path, save_failed_batch
from catena.training.optimisation import AveragedWeights, gradient_norm, make_optimiser
from catena.training.place import Place
from catena.training.random_states import random_states, set_random_states

OBJECTIVE = "voi_sum"
"""The figure that validation returns and the best network minimises."""

Validate = Callable[[BaseNetwork, int], Mapping[str, float]]
"""Scores a network after some number of iterations; the result holds ``OBJECTIVE``."""

Initial = Callable[[BaseNetwork], None]
"""Changes the weights of a network that is not trained yet, for example to those of another one."""

_MAY_CHANGE = ("iterations", "validate_every")  # on going on from a checkpoint: longer, or scored more often


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


@dataclass(frozen=True)
class Training:
    """What is to be trained, and how; all that a process needs to be told. See :func:`catena.training.train`."""

    network_config: AnyNetworkConfig
    open_crops: OpenCrops
    folder: Path
    config: TrainConfig
    terms: Mapping[str, Sequence[Loss]]
    offsets: Mapping[str, Offsets]
    seed: int
    execution: TrainExecution
    user_config: dict[str, Any]
    augmentation: StepAugmentation | None
    targets: MakeTargets | None
    validated: bool

    def dataset(self, start: int, place: Place) -> CropDataset:
        """Return a process's crops of all steps from `start` on."""
        return CropDataset(
            self.open_crops,
            seed=self.seed,
            start=start,
            stop=self.config.iterations,
            batch_size=self.config.batch_size,
            accumulate=self.config.accumulate,
            process=place.rank,
            processes=place.size,
        )

    def settings(self) -> dict[str, Any]:
        """Return as plain values what weights depend on, beside architecture and data."""
        extras = self.augmentation.extras if self.augmentation else ()
        return {
            **({"augmentation": [each.model_dump(mode="json") for each in extras]} if extras else {}),
            "seed": self.seed,
            "train": self.config.model_dump(mode="json"),
            "losses": {head: [each.model_dump(mode="json") for each in terms] for head, terms in self.terms.items()},
            "offsets": {head: [list(each) for each in offsets] for head, offsets in self.offsets.items()},
        }

    def require_same(self, state: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on from a checkpoint that was trained otherwise.

        Raises
        ------
        ConfigError
            Naming the differences.
        """
        found = parse_network_config(state["network_config"], f"{folder}: network_config")
        if found != self.network_config:
            there, here = (each.model_dump(mode="json") for each in (found, self.network_config))
            raise ConfigError(
                f"{folder} holds checkpoints of another architecture ({architecture_differences(there, here)}); "
                "train into another folder, or give the model those settings"
            )
        there, here = (_comparable(each) for each in (state.get("training", self.settings()), self.settings()))
        if there != here:
            raise ConfigError(
                f"{folder} holds checkpoints of a training with other settings "
                f"({architecture_differences(there, here)}); train into another folder, or with those settings"
            )


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that may not change, those that an earlier version did not know being at their defaults."""
    train = TrainConfig.parse({**settings["train"]}, "the checkpoint's training.train").model_dump(mode="json")
    return {**settings, "train": {name: each for name, each in train.items() if name not in _MAY_CHANGE}}


@dataclass
class TrainingRun:
    """A training under way in one of its processes: what changes from step to step, and where checkpoints go."""

    training: Training
    place: Place
    network: BaseNetwork
    forward: nn.Module
    optimiser: torch.optim.Optimizer
    fabric: Any
    checkpoints: Checkpoints | None
    average: AveragedWeights | None
    augmented: Augmented | None = None
    iteration: int = 0
    metrics: dict[str, Any] = field(default_factory=lambda: {"history": {}, "best": None})
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def open(cls, training: Training, place: Place, initial: Initial | None = None) -> TrainingRun:
        """Build network and optimiser, and load the latest checkpoint into them if there is one."""
        config, execution = training.config, training.execution
        if execution.threads or place.size > 1:
            torch.set_num_threads(execution.threads or max(1, available_cores() // place.local_size))
        fabric = open_fabric(execution, config.precision, place)
        checkpoints = _open_checkpoints(training) if place.leads else None
        state = checkpoints.latest() if checkpoints else None
        if state is not None and checkpoints is not None:
            training.require_same(state, checkpoints.folder)
        if place.size > 1:
            state = fabric.broadcast(state)
        torch.manual_seed(training.seed)
        # Channels last is twice as fast on a CPU and no slower on a GPU.
        network = build_network(training.network_config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if state is None and initial is not None:
            initial(network)
        average = AveragedWeights(copy.deepcopy(network), config.ema_decay) if config.ema_decay else None
        optimiser = make_optimiser(network.parameters(), config)
        # The network of the leading process is copied to the others here.
        forward, optimiser = fabric.setup(torch.compile(network) if execution.compile else network, optimiser)
        if average is not None:
            average.network.to(fabric.device)
        augmented = training.augmentation.open() if training.augmentation else None
        run = cls(training, place, network, forward, optimiser, fabric, checkpoints, average, augmented)
        if state is not None:
            run._resume(state)
        return run

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.fabric.device
        return device

    @property
    def result_network(self) -> BaseNetwork:
        """The network that is validated and exported: the average, where there is one."""
        return self.network if self.average is None else self.average.network

    def _resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state.get("unaveraged", state["network"]))
        if self.average is not None:
            self.average.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._precision.load_state_dict(state.get("scaler", {}))
        self.iteration = state["iteration"]
        self.metrics = state["metrics"]
        set_random_states(state["random_states"])
        self._keep()

    @property
    def _precision(self) -> Any:
        """Fabric's arithmetic, with the scale of the loss where it is float16."""
        return self.fabric.strategy.precision

    def set_learning_rate(self) -> float:
        """Set and return the learning rate of the next step."""
        history = self.metrics["history"]
        scores = [history[iteration][OBJECTIVE] for iteration in sorted(history)]
        learning_rate = self.training.config.learning_rate_at(self.iteration, scores)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def backward(self, parts: Sequence[Batch]) -> tuple[Tensor, Batch, dict[str, Tensor]]:
        """Compute the gradient of the loss over all batches of a step.

        Returns
        -------
        tuple
            Losses ``(processes, heads)``, and of the last batch itself and its predictions.
        """
        self.optimiser.zero_grad(set_to_none=True)
        crops, lost = sum(each.size for each in parts), torch.zeros((), device=self.device)
        for index, part in enumerate(parts):
            batch = self._given(part)
            with self._apart_until_last(index == len(parts) - 1):
                predictions = self.forward(batch.raw)
                losses = self._losses(predictions, batch)
                if len(parts) > 1:
                    losses = losses * (batch.size / crops)
                self.fabric.backward(losses.sum())
            lost = lost + losses.detach()
        return self.place.gathered(lost), batch, predictions

    def _given(self, part: Batch) -> Batch:
        """Return on the device what the network gets of a batch: the same each time."""
        batch = part.to(self.device)
        if self.training.targets is not None:
            batch = batch.with_targets(self.training.targets)
        return batch if self.augmented is None else replace(batch, raw=self.augmented(batch.raw, batch.seeds))

    def _losses(self, predictions: Mapping[str, Tensor], batch: Batch) -> Tensor:
        terms, offsets = self.training.terms, self.training.offsets
        return torch.stack(
            [
                total_loss(terms[head], predictions[head], batch.targets[head], batch.weights[head], offsets.get(head))
                for head in terms
            ]
        )

    def _apart_until_last(self, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients with the other processes once per step only."""
        if self.place.size == 1 or last:
            return nullcontext()
        context: AbstractContextManager[Any] = self.fabric.no_backward_sync(self.forward)
        return context

    def check_finite(self, lost: Tensor, parts: Sequence[Batch]) -> None:
        """Refuse to go on from what is not a number; weights are still those of the last step.

        Raises
        ------
        StageError
            Naming the files that hold the crops of this step.
        """
        bad = ~torch.isfinite(lost).all(dim=1)
        if bad.any():
            mean = lost.mean(dim=0)
            what = "loss"
            shown = ", ".join(f"{head} {each.item()}" for head, each in zip(self.training.terms, mean, strict=True))
        elif self._scaled or torch.isfinite(norm := gradient_norm(self.network.parameters())):
            return
        else:
            bad[:], what, shown = True, "gradient", f"norm {norm.item()}"
        self._stop_at(what, shown, [process for process, each in enumerate(bad.tolist()) if each], parts)

    @property
    def _scaled(self) -> bool:
        """Whether the loss is scaled, and a step left out where the scale was too large."""
        return getattr(self._precision, "scaler", None) is not None

    def _stop_at(self, what: str, shown: str, processes: Sequence[int], parts: Sequence[Batch]) -> None:
        folder, failed, rank = self.training.folder, self.iteration + 1, self.place.rank
        if rank in processes:
            given = [self._given(part) for part in parts]  # made again rather than kept: it lies on the device
            save_failed_batch(folder, given, iteration=failed, seed=self.training.seed, process=rank)
        self.fabric.barrier()
        there = self.checkpoints.iterations() if self.checkpoints else []
        files = ", ".join(str(failed_batch_path(folder, failed, process)) for process in processes)
        raise StageError(
            f"the {what} of iteration {failed} is not finite ({shown}); "
            f"the latest checkpoint is that of iteration {there[-1] if there else 'none'}. The crops are in {files}. "
            "Lower train.learning_rate, set train.gradient_clip, or train.precision to float32, or look for NaN in raw"
        )

    def step(self) -> None:
        """Change the weights by the gradient, and their average by the weights."""
        config, parameters = self.training.config, list(self.network.parameters())
        if config.gradient_clip is not None:
            if self._scaled:
                self._precision.unscale_gradients(getattr(self.optimiser, "optimizer", self.optimiser))
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.add(self.network, self.iteration + 1)

    def shared(self, lost: Tensor) -> tuple[float, dict[str, float]]:
        """Return the loss over all processes, in all and per head."""
        mean = lost.mean(dim=0)
        return mean.sum().item(), dict(zip(self.training.terms, mean.tolist(), strict=True))

    def any_process(self, here: bool) -> bool:
        """Tell whether something holds in any process."""
        return here if self.place.size == 1 else bool(self.place.gathered(torch.tensor(here, device=self.device)).any())

    def validate(self, validate: Validate | None) -> dict[str, float]:
        """Score the network without touching what training depends on; in the leading process, for all of them."""
        if validate is not None and self.place.leads:
            self._score(validate)
        if self.place.size > 1:
            self.metrics = self.fabric.broadcast(self.metrics)
        metrics: dict[str, float] = self.metrics["history"][self.iteration]
        return metrics

    def _score(self, validate: Validate) -> None:
        network = self.result_network
        network.eval()
        states = random_states()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in validate(network, self.iteration).items()}
        set_random_states(states)
        self.network.train()
        if OBJECTIVE not in metrics:
            raise ConfigError(f"validation must return '{OBJECTIVE}' among its figures, found {sorted(metrics)}")
        if wrong := ", ".join(f"{name} {each}" for name, each in metrics.items() if not math.isfinite(each)):
            raise StageError(
                f"validation after iteration {self.iteration} is not finite ({wrong}); is there a labelled voxel in "
                "every region 'validation'? Choose regions with labels (volumes.NAME.regions), or look for NaN in raw"
            )
        self.metrics["history"][self.iteration] = metrics
        best = self.metrics["best"]
        if best is None or metrics[OBJECTIVE] < self.metrics["history"][best][OBJECTIVE]:
            self.metrics["best"] = self.iteration

    def save(self) -> None:
        """Write a checkpoint, then drop those no longer needed; the leading process does so."""
        if self.checkpoints is None:
            return
        state = {
            "network_config": self.network.config.model_dump(mode="json"),
            "network": self.result_network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "iteration": self.iteration,
            "random_states": random_states(),
            "user_config": self.training.user_config,
            "metrics": self.metrics,
            "training": self.training.settings(),
        }
        if self.average is not None:
            state["unaveraged"] = self.network.state_dict()
        if self._scaled:
            state["scaler"] = self._precision.state_dict()
        self.checkpoints.save(state)
        self._keep()

    def _keep(self) -> None:
        best = self.metrics["best"]
        if self.checkpoints is None:
            return
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
        if self.checkpoints is not None:
            self.checkpoints.mark_best(iteration)
        self.fabric.barrier()  # no process returns before the file is there
        return Trained(
            checkpoint=_folder(self.training) / BEST,
            iteration=iteration,
            metrics=dict(self.metrics["history"].get(best, {})),
            iterations_per_second=self.clock.per_second,
            waiting_for_data=self.clock.waiting_fraction,
        )


def _folder(training: Training) -> Path:
    return training.folder / "checkpoints"


def _open_checkpoints(training: Training) -> Checkpoints:
    return Checkpoints(_folder(training), training.execution.keep_checkpoints)
