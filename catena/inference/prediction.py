"""Predict blocks and volumes: one code path for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from torch import Tensor

from catena.arrays import reflect
from catena.errors import ConfigError, DataError, StageError
from catena.inference.patches import PatchGrid, plan_patches
from catena.inference.preparation import check_raw, prepare_raw
from catena.networks.base import BaseNetwork

Read = Callable[[Coordinate, Coordinate], NDArray[Any]]
"""``read(begin_vox, shape_vox)`` returns raw ``(z, y, x)`` or ``(c, z, y, x)``.

It is asked for context beyond the volume's border, and mirrors the volume there, as
``Array.read(roi, outside="reflect")`` does.
"""
Precision = Literal["float32", "bfloat16", "float16"]
Progress = Callable[[int, int], None]
"""Called with patches done and patches in all."""

_Item = TypeVar("_Item")


class Predictor:
    """A network made ready to predict.

    Whatever the blocks, the patches and the batches, a voxel gets the same value, up to rounding: the
    network pads nowhere, sees real or mirrored context everywhere, and its patches lie on one grid.

    Parameters
    ----------
    network
        Trained with valid or padded convolutions.
    device
        As torch names it.
    precision
        Of convolutions; the sigmoid is always taken in float32. ``bfloat16`` is two to four times
        faster on GPUs and on CPUs with AVX512-BF16, ``float16`` is for GPUs only.
    memory_gb
        What a batch of patches may take on the device, roughly. It bounds the patches' size. Larger
        patches waste less context.
    batch_size
        Patches evaluated at once, never across blocks.
    intensity_range
        See :func:`catena.inference.prepare_raw`.

    Raises
    ------
    ConfigError
        If the network's values depend on where patches lie, or the device is not there.
    """

    def __init__(
        self,
        network: BaseNetwork,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        memory_gb: float = 2.0,
        batch_size: int = 1,
        intensity_range: tuple[float, float] | None = None,
    ) -> None:
        self.device = _available(device, precision)
        # Channels last is two to four times faster on a CPU and lets tensor cores work without copies.
        plain = network.without_padding().to(self.device)
        self.network: BaseNetwork = plain.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.precision = precision
        self.batch_size = batch_size
        self.intensity_range = intensity_range
        self.largest_input_vox = int(memory_gb * 1e9 / batch_size / self._bytes_per_voxel())

    def block(
        self,
        read: Read,
        begin_vox: Coordinate,
        shape_vox: Coordinate,
        heads: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> dict[str, NDArray[np.uint8]]:
        """Predict one block.

        Parameters
        ----------
        read
            Called once, for the block and its context.
        begin_vox, shape_vox
            The block, in voxels from the volume's first voxel. All blocks of a volume must count from
            the same voxel.
        heads
            Which heads to return. Default: all.

        Returns
        -------
        dict of ndarray
            Per head ``(c, z, y, x)`` uint8, probability times 255, rounded.

        Raises
        ------
        GeometryError
            If the block is empty.
        DataError
            If raw cannot be used (see :func:`catena.inference.prepare_raw`) or `read` returned
            another shape or number of channels.
        StageError
            If the device's memory does not suffice.
        """
        names = self._heads(heads)
        grid = plan_patches(self.network.shapes, begin_vox, shape_vox, self.largest_input_vox)
        raw = self._checked(read(grid.read_begin_vox, grid.read_shape_vox), grid)
        channels = self.network.config.heads
        outputs = {name: np.empty((channels[name], *shape_vox), dtype=np.uint8) for name in names}
        patches, done = list(grid), 0
        for batch in _batches(patches, self.batch_size):
            predicted = self._predict(np.stack([self._cut(raw, begin, grid) for begin in batch]), names)
            for name in names:
                for begin, patch in zip(batch, predicted[name], strict=True):
                    _paste(outputs[name], patch, begin + grid.begin_vox - begin_vox, grid.output_shape_vox)
            done += len(batch)
            if progress:
                progress(done, len(patches))
        return outputs

    def array(
        self, raw: NDArray[Any], heads: Sequence[str] | None = None, progress: Progress | None = None
    ) -> dict[str, NDArray[np.uint8]]:
        """Predict a whole volume in memory, every voxel of it; the context beyond is mirrored.

        Parameters
        ----------
        raw
            ``(z, y, x)`` or ``(c, z, y, x)``.
        heads
            Which heads to return. Default: all.

        Raises
        ------
        DataError
            If raw cannot be used, constant raw included.
        """
        if raw.ndim not in (3, 4):
            raise DataError(f"raw must be (z, y, x) or (c, z, y, x); found shape {raw.shape}")
        check_raw(raw, self.intensity_range)
        return self.block(mirrored_reader(raw), Coordinate(0, 0, 0), Coordinate(raw.shape[-3:]), heads, progress)

    def _bytes_per_voxel(self) -> int:
        """Bound the peak of memory per input voxel: features joined and convolved at full resolution."""
        return self.network.config.peak_maps * (4 if self.precision == "float32" else 2)

    def _heads(self, heads: Sequence[str] | None) -> list[str]:
        known = self.network.config.heads
        names = list(known) if heads is None else list(heads)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(f"the network has no head {unknown}; it has {sorted(known)}")
        return names

    def _checked(self, raw: NDArray[Any], grid: PatchGrid) -> NDArray[Any]:
        raw = raw if raw.ndim == 4 else raw[None]
        expected = (self.network.config.in_channels, *grid.read_shape_vox)
        if raw.shape != expected:
            raise DataError(f"raw has shape {raw.shape}; the network and its context need {expected}")
        return raw

    def _cut(self, raw: NDArray[Any], begin: Coordinate, grid: PatchGrid) -> NDArray[np.float32]:
        window = tuple(slice(b, b + n) for b, n in zip(begin, grid.input_shape_vox, strict=True))
        return prepare_raw(raw[(slice(None), *window)], self.intensity_range)

    def _predict(self, batch: NDArray[np.float32], names: list[str]) -> dict[str, NDArray[np.uint8]]:
        x = torch.from_numpy(batch).to(self.device).contiguous(memory_format=torch.channels_last_3d)
        lower = None if self.precision == "float32" else getattr(torch, self.precision)
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, dtype=lower, enabled=lower is not None):
                predicted = self.network(x)
                return {name: _to_uint8(predicted[name]) for name in names}
        except torch.OutOfMemoryError as error:
            raise StageError(
                f"patches of shape {batch.shape} do not fit into the memory of {self.device}; lower memory_gb or "
                "batch_size"
            ) from error


def predict_array(network: BaseNetwork, raw: NDArray[Any], **settings: Any) -> dict[str, NDArray[np.uint8]]:
    """Predict a volume in memory; `settings` are those of :class:`Predictor`.

    Returns
    -------
    dict of ndarray
        Per head ``(c, z, y, x)`` uint8, probability times 255, rounded.

    Raises
    ------
    DataError
        If raw cannot be used.

    Examples
    --------
    >>> from catena.networks import NetworkConfig, UNetConfig, build_network
    >>> network = build_network(NetworkConfig(unet=UNetConfig(feature_maps=2, growth=2), heads={"affinities": 3}))
    >>> raw = np.arange(20**3, dtype=np.float32).reshape(20, 20, 20) / 20**3
    >>> predict_array(network, raw)["affinities"].shape
    (3, 20, 20, 20)
    """
    return Predictor(network, **settings).array(raw)


def mirrored_reader(raw: NDArray[Any]) -> Read:
    """Return a reader of an array in memory that mirrors it at its borders, however large the context."""

    def read(begin_vox: Coordinate, shape_vox: Coordinate) -> NDArray[Any]:
        values = raw
        for axis, begin, length in zip((-3, -2, -1), begin_vox, shape_vox, strict=True):
            values = np.take(values, reflect(np.arange(begin, begin + length), raw.shape[axis]), axis=axis)
        return values

    return read


def _available(device: str | torch.device, precision: Precision) -> torch.device:
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU here; use device cpu")
    if device.type == "cpu" and precision == "float16":
        raise ConfigError("precision float16 is for GPUs; on a CPU use bfloat16 or float32")
    return device


def _to_uint8(probability: Tensor) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = (probability * 255).round_().to(torch.uint8).cpu().numpy()
    return values


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _paste(target: NDArray[np.uint8], patch: NDArray[np.uint8], begin: Coordinate, used_shape_vox: Coordinate) -> None:
    """Copy the used part of a patch, which begins at `begin` of the target, as far as it lies inside."""
    inside, source = [], []
    for b, used, size in zip(begin, used_shape_vox, target.shape[1:], strict=True):
        low, high = max(b, 0), min(b + used, size)
        inside.append(slice(low, high))
        source.append(slice(low - b, high - b))
    target[(slice(None), *inside)] = patch[(slice(None), *source)]
