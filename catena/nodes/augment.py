"""Any augmentation as a gunpowder node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gunpowder as gp
import numpy as np
import torch
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray
from torch import Tensor

from catena.augmentation.batch import BatchAugmentation
from catena.augmentation.roles import Role
from catena.errors import ConfigError
from catena.nodes.extra_config import Kind
from catena.nodes.reject import reseeded

_STREAM = 100


class Augment(gp.BatchFilter):
    """Apply an augmentation of Kornia, torchvision v2 or MONAI, or any callable, to arrays with roles.

    Parameters are drawn once per batch, from the request's seed alone, and applied to all arrays:
    images are interpolated, labels, masks and vectors never are, and vectors are turned. Intensity
    augmentations see images only. One that mixes crops is given a second crop, drawn with another
    seed, and its labels become objects of their own.

    A geometric augmentation must come before targets that depend on directions, and every array of
    a request must have a role, so that none is left behind.

    Parameters
    ----------
    augmentation
        An object such as ``kornia.augmentation.RandomMotionBlur3D(3, 35.0, 0.5)``, or a callable (see
        :mod:`catena.augmentation.callables`).
    roles
        What the arrays are; ``(z, y, x)`` or ``(c, z, y, x)``, of one voxel size.
    kind
        What the augmentation does, if that cannot be told from its class.
    stream
        Number that tells several such nodes of one pipeline apart, so that they draw different numbers.
    value_range
        Intensities that the augmentation sees as 0 and 1, and to which images are clipped.

    Raises
    ------
    ConfigError
        When the pipeline is built, if the augmentation cannot be used on such arrays.

    Examples
    --------
    >>> import kornia.augmentation as K
    >>> raw, labels = gp.ArrayKey("RAW"), gp.ArrayKey("LABELS")
    >>> node = Augment(K.RandomRotation3D((0.0, 0.0, 30.0)), {raw: "image", labels: "labels"})
    >>> node.augmentation.kind
    'geometric'
    """

    def __init__(
        self,
        augmentation: Any,
        roles: Mapping[gp.ArrayKey, Role],
        *,
        kind: Kind | None = None,
        stream: int = 0,
        value_range: tuple[float, float] = (-1, 1),
    ):
        self.augmentation = BatchAugmentation(augmentation, kind, value_range)
        self.roles = dict(roles)
        self.stream = stream
        self._names = _names(self.roles)

    def setup(self) -> None:
        """Announce what changes, and refuse what cannot be right."""
        sizes = {self.spec[key].voxel_size for key in self.roles}
        if len(sizes) > 1:
            raise ConfigError(f"{self.augmentation.name}: arrays must have one voxel size, found {sorted(sizes)}")
        self._voxel_size = next(iter(sizes))
        self.augmentation.check(self._roles(self.roles), self._sizes)
        if self.augmentation.kind == "intensity":
            self.enable_autoskip()
            for key in self._images():
                self.updates(key, self.spec[key])

    def prepare(self, request: gp.BatchRequest) -> gp.BatchRequest | None:
        """Ask for all images in the whole box of the request, and for other arrays with some context."""
        if self.augmentation.kind == "intensity":
            return None
        for key in request.array_specs:
            if key not in self.roles:
                raise ConfigError(
                    f"{self.augmentation.name} moves voxels, and {key} passes it without a role: give it one, or add "
                    "the node that makes it after this one"
                )
        self._total = request.get_total_roi()
        for key, spec in request.array_specs.items():
            image = self.roles[key] == "image"
            spec.roi = self._total if image else with_context(spec.roi, self._total, self._voxel_size)
        self._needed = request
        return request

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> gp.Batch:
        """Augment; arrays that were asked for in part come back in part."""
        seed = int(np.random.SeedSequence([request.random_seed, _STREAM + self.stream]).generate_state(1)[0])
        keys = [key for key in self.roles if key in batch]
        if self.augmentation.kind == "intensity":
            keys = [key for key in keys if self.roles[key] == "image"]
        batches = [batch]
        if self.augmentation.kind == "mix":
            other = reseeded(self._needed, seed)
            batches.append(self.get_upstream_provider().request_batch(other))
        crops = {self._names[key]: torch.stack([self._tensor(key, each[key]) for each in batches]) for key in keys}
        changed = self.augmentation(crops, self._roles(keys), seed, self._sizes)
        result = gp.Batch()
        for key in keys:
            result[key] = self._array(key, changed[self._names[key]][0], batch[key], request[key].roi)
        return result

    def on_batch(self, tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        """Apply the same augmentation within the training step, to a whole batch on its device.

        Parameters
        ----------
        tensors
            ``(b, c, z, y, x)`` by name of the key, for as many of the node's arrays as there are;
            labels int64. Parameters are drawn for every crop.
        seed
            Of this batch.
        """
        roles: dict[str, Role] = {str(key): role for key, role in self.roles.items()}
        unknown = [name for name in tensors if name not in roles]
        if unknown:
            raise ConfigError(
                f"{self.augmentation.name}: {', '.join(unknown)} has no role; there are {', '.join(roles)}"
            )
        return self.augmentation(tensors, roles, seed, getattr(self, "_sizes", (1.0, 1.0, 1.0)))

    @property
    def _sizes(self) -> tuple[float, float, float]:
        z, y, x = self._voxel_size
        return float(z), float(y), float(x)

    def _images(self) -> list[gp.ArrayKey]:
        return [key for key, role in self.roles.items() if role == "image"]

    def _roles(self, keys: Any) -> dict[str, Role]:
        return {self._names[key]: self.roles[key] for key in keys}

    def _tensor(self, key: gp.ArrayKey, array: gp.Array) -> Tensor:
        """Return an array as ``(c, z, y, x)``, with 0 where the whole box was not asked for."""
        values = array.data
        if self.augmentation.kind != "intensity":
            values = padded(values, array.spec.roi, self._total, self._voxel_size)
        if self.roles[key] == "labels":
            values = values.astype(np.int64)
        channels = values if values.ndim == 4 else values[None]
        return torch.from_numpy(np.ascontiguousarray(channels))

    def _array(self, key: gp.ArrayKey, tensor: Tensor, before: gp.Array, roi: Roi) -> gp.Array:
        values = tensor.numpy().astype(before.data.dtype)
        spec = before.spec.copy()
        if self.augmentation.kind != "intensity":
            spec.roi = self._total
        return gp.Array(values if before.data.ndim == 4 else values[0], spec).crop(roi)


def _names(roles: Mapping[gp.ArrayKey, Role]) -> dict[gp.ArrayKey, str]:
    """Name arrays by their role; further ones of a role are numbered from 2."""
    names: dict[gp.ArrayKey, str] = {}
    for key, role in roles.items():
        before = sum(roles[each] == role for each in names)
        names[key] = f"{role}_{before + 1}" if before else role
    return names


def with_context(roi: Roi, total: Roi, voxel_size: Coordinate) -> Roi:
    """Return what of `total` may come to lie in `roi` when crops are mirrored, or turned in plane.

    The box, its mirror image about the centre of `total`, and half of what its diagonal in plane is
    longer than its edges. Less than all of `total`, so that a crop's fraction of labelled voxels
    still is that of the voxels it trains on.
    """
    mirrored = Roi(total.begin + total.end - roi.end, roi.shape)
    both = roi.union(mirrored)
    diagonal = float(np.hypot(*both.shape[1:]))
    margin = [
        0,
        *(-(-(diagonal - edge) / 2 // size) * size for edge, size in zip(both.shape[1:], voxel_size[1:], strict=True)),
    ]
    grown = both.grow(Coordinate(margin), Coordinate(margin))
    return grown.intersect(total)


def padded(values: NDArray[Any], roi: Roi, total: Roi, voxel_size: Coordinate) -> NDArray[Any]:
    """Return `values`, which cover `roi`, in an array of zeros that covers `total`."""
    if roi == total:
        return values
    whole = np.zeros((*values.shape[:-3], *(total.shape / voxel_size)), values.dtype)
    whole[(..., *((roi - total.begin) / voxel_size).to_slices())] = values
    return whole
