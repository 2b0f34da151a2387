"""One augmentation of a batch of crops, wherever the batch is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from catena.augmentation.adapter import Arrays, Context
from catena.augmentation.choice import adapt
from catena.augmentation.dense_labels import DenseLabels
from catena.augmentation.randomness import seeded
from catena.augmentation.roles import Role
from catena.errors import CatenaError, ConfigError, DataError
from catena.nodes.extra_config import Kind


class BatchAugmentation:
    """Apply any augmentation to arrays with roles, on the device they are on.

    A result is a function of the arrays and the seed; global random states stay what they were.

    Parameters
    ----------
    augmentation
        Of Kornia, torchvision v2 or MONAI, or a callable (see :mod:`catena.augmentation.callables`).
    kind
        What it does, if that cannot be told from its class.
    value_range
        Intensities that become 0 and 1 for the augmentation, and are what images are clipped to.
    """

    def __init__(self, augmentation: Any, kind: Kind | None = None, value_range: tuple[float, float] = (-1, 1)):
        self._adapter = adapt(augmentation, kind)
        self.value_range = value_range

    @property
    def kind(self) -> Kind:
        """What the augmentation does."""
        return self._adapter.kind

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._adapter.name

    def check(self, roles: Mapping[str, Role], voxel_size: tuple[float, float, float] = (1, 1, 1)) -> None:
        """Refuse arrays that this augmentation would make wrong; draws no random number of anyone's.

        Raises
        ------
        ConfigError
            If it moves voxels under targets that depend on directions, would turn axes of different
            voxel size into one another, would interpolate labels, or changes the shape of crops.
        """
        context = Context(roles, voxel_size)
        self._adapter.check_roles(context)
        with seeded(0), explained(self.name, "a small crop"):
            self._adapter.try_out(context)

    def __call__(
        self,
        arrays: Mapping[str, Tensor],
        roles: Mapping[str, Role],
        seed: int,
        voxel_size: tuple[float, float, float] = (1, 1, 1),
    ) -> Arrays:
        """Return all arrays, those augmented that are to be.

        Parameters
        ----------
        arrays
            By name, ``(b, c, z, y, x)``, all on one device; of one shape unless only images change.
            Images are float, labels int64, masks of any dtype, vectors float ``(b, 3, z, y, x)``.
        roles
            For every array.
        seed
            Of this batch.

        Raises
        ------
        ConfigError
            As :meth:`check`, or if the augmentation itself fails.
        """
        context = Context({name: roles[name] for name in arrays}, voxel_size, seed)
        self._adapter.check_roles(context)
        dense = {name: DenseLabels.of(arrays[name]) for name in context.names("labels") if self.kind != "intensity"}
        given = {name: self._given(name, array, context, dense) for name, array in arrays.items()}
        shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
        with seeded(seed), explained(self.name, shapes), torch.no_grad():
            changed = self._adapter.apply(given, context)
        results = dict(arrays)
        for name, array in changed.items():
            results[name] = self._taken(name, array, arrays[name], context, dense)
        return results

    def _given(self, name: str, array: Tensor, context: Context, dense: Mapping[str, DenseLabels]) -> Tensor:
        """Return what the augmentation sees of an array."""
        if name in dense:
            return dense[name].values
        values = array.to(torch.float32)
        low, high = self.value_range
        return (values - low) / (high - low) if context.roles[name] == "image" else values

    def _taken(
        self, name: str, array: Tensor, before: Tensor, context: Context, dense: Mapping[str, DenseLabels]
    ) -> Tensor:
        """Check what the augmentation made of an array, and return it as the array was."""
        if array.shape != before.shape:
            raise self._adapter.refusal(
                f"changes the shape of {name} from {tuple(before.shape)} to {tuple(array.shape)}"
            )
        role = context.roles[name]
        if role == "image":
            low, high = self.value_range
            return (array.clamp(0, 1) * (high - low) + low).to(before.dtype)
        if role == "mask" and not bool(
            torch.isin(array, torch.cat([torch.unique(before), before.new_zeros(1)]).to(array)).all()
        ):
            raise self._adapter.refusal(f"interpolates {name}: there are values that it did not have")
        if name in dense:
            try:
                return dense[name].restore(array)
            except DataError as error:
                raise self._adapter.refusal(f"cannot be used with labels ({name}): {error}") from error
        return array.to(before.dtype)


@contextmanager
def explained(name: str, shapes: str) -> Iterator[None]:
    """Turn whatever an augmentation of another package raises into an error that names it."""
    try:
        yield
    except CatenaError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} failed on {shapes}: {type(error).__name__}: {error}") from error
