"""Settings of training: what changes the result, and apart from it what does not."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from catena.config import Config

Positive = Annotated[int, Field(ge=1)]
Unit = Annotated[float, Field(ge=0, le=1)]


class TrainConfig(Config):
    """How a network is trained. Every field changes the result."""

    iterations: int = Field(100_000, ge=1, description="Optimisation steps.")
    batch_size: int = Field(1, ge=1, description="Crops per step.")
    input_shape_vox: tuple[Positive, Positive, Positive] | None = Field(
        None, description="Network input per crop, voxels z, y, x. Default: chosen for the network."
    )
    learning_rate: float = Field(0.5e-4, gt=0)
    betas: tuple[Unit, Unit] = Field((0.95, 0.999), description="Averaging constants of adam and adamw.")
    schedule: Literal["constant", "cosine", "step", "plateau"] = Field(
        "constant",
        description="'cosine' lets the learning rate fall to a hundredth over all iterations; 'step' multiplies it by "
        "gamma every step_iterations; 'plateau' does so when validation has not become better for patience times.",
    )
    warmup_iterations: int = Field(0, ge=0, description="Iterations over which the learning rate rises from 0.")
    min_labelled: Unit = Field(0.5, description="Smallest fraction of labelled voxels of a crop.")
    validate_every: int | None = Field(
        None, ge=1, description="Iterations between validations; the best network is kept. Default: a tenth of all."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Of the network's arithmetic; 'auto' is bfloat16 where the processor or GPU is made for it. "
        "'float16' is for GPUs; its loss is scaled so that small gradients survive.",
    )
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: float | None = Field(None, ge=0, description="Default: 0.01 for adamw, none for the others.")
    step_iterations: int | None = Field(None, ge=1, description="Schedule 'step': iterations from fall to fall.")
    gamma: float = Field(0.1, gt=0, lt=1, description="Schedules 'step' and 'plateau': factor of each fall.")
    patience: int = Field(3, ge=1, description="Schedule 'plateau': validations in a row without a new best.")
    gradient_clip: float | None = Field(
        None, gt=0, description="Largest norm of the gradient of all weights; a larger one is scaled down to it."
    )
    accumulate: int = Field(
        1, ge=1, description="Batches per step: as a batch that many times as large, in the memory of one."
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep an exponential moving average of the weights, such as 0.999, and validate and export that.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.warmup_iterations >= self.iterations:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) must be fewer than iterations ({self.iterations})"
            )
        if (self.schedule == "step") != (self.step_iterations is not None):
            raise ValueError(
                f"schedule is {self.schedule} and step_iterations is {self.step_iterations}; schedule 'step' needs "
                "step_iterations, and the others have none"
            )
        return self

    def learning_rate_at(self, iteration: int, scores: Sequence[float] = ()) -> float:
        """Return the learning rate of an iteration (counted from 0), a function of nothing else.

        Parameters
        ----------
        iteration
            Steps done before.
        scores
            What validation has found so far, in order, lower being better; for the schedule 'plateau'.

        Examples
        --------
        >>> config = TrainConfig(iterations=100, learning_rate=1.0, schedule="cosine", warmup_iterations=10)
        >>> [round(config.learning_rate_at(i), 2) for i in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.51, 0.01]
        >>> config = TrainConfig(iterations=100, learning_rate=1.0, schedule="step", step_iterations=40)
        >>> [round(config.learning_rate_at(i), 2) for i in (0, 39, 40, 99)]
        [1.0, 1.0, 0.1, 0.01]
        """
        if iteration < self.warmup_iterations:
            return self.learning_rate * (iteration + 1) / self.warmup_iterations
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "step":
            return self.learning_rate * self.gamma ** (iteration // (self.step_iterations or 1))
        if self.schedule == "plateau":
            return self.learning_rate * self.gamma ** plateaus(scores, self.patience)
        part = (iteration - self.warmup_iterations) / (self.iterations - self.warmup_iterations)
        return self.learning_rate * (0.01 + 0.99 * (1 + cos(pi * part)) / 2)

    @property
    def validation_interval(self) -> int:
        """Iterations between validations."""
        return self.validate_every or max(1, self.iterations // 10)

    @property
    def crops_per_step(self) -> int:
        """Crops that one step of the optimiser learns from."""
        return self.batch_size * self.accumulate

    def fingerprinted(self) -> dict[str, Any]:
        """Return the fields as plain values, without those that came later and say what was done before them.

        So that a network trained by an earlier version stays trained.
        """
        values, fields = self.model_dump(mode="json"), type(self).model_fields
        return {name: each for name, each in values.items() if name not in _LATER or each != fields[name].default}


_LATER = (
    "optimiser",
    "momentum",
    "weight_decay",
    "step_iterations",
    "gamma",
    "patience",
    "gradient_clip",
    "accumulate",
    "ema_decay",
)


def plateaus(scores: Sequence[float], patience: int) -> int:
    """Return how often `patience` scores in a row were no better (lower) than the best before them.

    >>> plateaus([3.0, 2.0, 2.0, 2.5, 2.2, 1.9], patience=2)
    1
    """
    count, worse, best = 0, 0, float("inf")
    for score in scores:
        worse = 0 if score < best else worse + 1
        best = min(best, score)
        if worse == patience:
            count, worse = count + 1, 0
    return count


class TrainExecution(Config):
    """Where and how training runs.

    No field changes the result, up to rounding, which differs between devices, numbers of them and compilers.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(
        1,
        ge=1,
        description="GPUs, or processes on a CPU, that share the crops of every step; batch_size times accumulate must "
        "be a multiple of it.",
    )
    data_workers: int = Field(
        1, ge=0, description="Processes that prepare crops, per device; 0 prepares them where the network is trained."
    )
    targets: Literal["crop", "step"] = Field(
        "crop",
        description="Where targets are made of labels: crop, by the data workers; step, in the training step on the "
        "network's device, for GPUs that wait for data. Distances to rims always come with the crops.",
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of the network on a CPU, per process. Default: all cores, shared out."
    )
    compile: bool = Field(
        False,
        description="Translate the network with torch.compile: minutes at the start, faster steps on a GPU. Rounds "
        "differently, as another device does.",
    )
    checkpoint_every: int = Field(250, ge=1, description="Iterations between checkpoints; validation makes one too.")
    keep_checkpoints: int = Field(2, ge=1, description="Latest checkpoints to keep, besides the best.")
    images_every: int = Field(250, ge=1, description="Iterations between image panels for TensorBoard.")
