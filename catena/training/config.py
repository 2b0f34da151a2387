"""Settings of training: what changes the result, and apart from it what does not."""

from __future__ import annotations

from math import cos, pi
from typing import Annotated, Literal, Self

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
    betas: tuple[Unit, Unit] = Field((0.95, 0.999), description="Adam's averaging constants.")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="'cosine' lets the learning rate fall to a hundredth over all iterations."
    )
    warmup_iterations: int = Field(0, ge=0, description="Iterations over which the learning rate rises from 0.")
    min_labelled: Unit = Field(0.5, description="Smallest fraction of labelled voxels of a crop.")
    validate_every: int | None = Field(
        None, ge=1, description="Iterations between validations; the best network is kept. Default: a tenth of all."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the network's arithmetic; 'auto' is bfloat16 where the processor or GPU is made for it."
    )

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_iterations >= self.iterations:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) must be fewer than iterations ({self.iterations})"
            )
        return self

    def learning_rate_at(self, iteration: int) -> float:
        """Return the learning rate of an iteration (counted from 0), a function of nothing else.

        >>> config = TrainConfig(iterations=100, learning_rate=1.0, schedule="cosine", warmup_iterations=10)
        >>> [round(config.learning_rate_at(i), 2) for i in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.51, 0.01]
        """
        if iteration < self.warmup_iterations:
            return self.learning_rate * (iteration + 1) / self.warmup_iterations
        if self.schedule == "constant":
            return self.learning_rate
        part = (iteration - self.warmup_iterations) / (self.iterations - self.warmup_iterations)
        return self.learning_rate * (0.01 + 0.99 * (1 + cos(pi * part)) / 2)

    @property
    def validation_interval(self) -> int:
        """Iterations between validations."""
        return self.validate_every or max(1, self.iterations // 10)


class TrainExecution(Config):
    """Where and how training runs. No field changes the result, up to rounding that differs by device."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    data_workers: int = Field(1, ge=0, description="Processes that prepare crops; 0 prepares them in the main one.")
    threads: int | None = Field(None, ge=1, description="Threads of the network on a CPU. Default: all cores.")
    checkpoint_every: int = Field(250, ge=1, description="Iterations between checkpoints; validation makes one too.")
    keep_checkpoints: int = Field(2, ge=1, description="Latest checkpoints to keep, besides the best.")
    images_every: int = Field(250, ge=1, description="Iterations between image panels for TensorBoard.")
