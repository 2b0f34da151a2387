"""Colours: labels by a hash of their id, affinities and descriptors as red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catena.errors import DataError, GeometryError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio, odd
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_LIGHTNESS = np.array([0.60, 0.80, 0.70])
_CHROMA = np.array([0.17, 0.12])

# OKLab → cube roots of cone responses → linear sRGB (Ottosson 2020)
_LAB_TO_CONES = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def label_colours(labels: ArrayLike) -> NDArray[np.uint8]:
    """Return a colour for every label; the same id has the same colour in every picture.

    The hue moves by the golden ratio from one id to the next, so that ids near one another lie far
    apart on the colour circle; lightness and chroma follow a second hash. Colours are drawn in
    OKLCH, where equal steps look equal.

    Parameters
    ----------
    labels
        Non-negative integers of any shape.

    Returns
    -------
    NDArray
        uint8 ``(…, 3)``, red, green, blue; 0 is black.

    Raises
    ------
    DataError
        If the labels are not integers.
    """
    ids = np.asarray(labels)
    if ids.dtype.kind not in "bui":
        raise DataError(f"labels must be integers, found {ids.dtype}")
    unique, place = np.unique(ids, return_inverse=True)
    palette = _palette(unique.astype(np.uint64))
    colours: NDArray[np.uint8] = palette[place.reshape(ids.shape)]
    return colours


def _palette(ids: NDArray[np.uint64]) -> NDArray[np.uint8]:
    turn = (ids * _GOLDEN) >> np.uint64(11)
    hue = 2 * np.pi * turn.astype(np.float64) / 2.0**53
    mixed = (ids ^ (ids >> np.uint64(30))) * _MIX
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _GOLDEN
    lightness = _LIGHTNESS[(mixed >> np.uint64(33)) % np.uint64(3)]
    chroma = _CHROMA[(mixed >> np.uint64(50)) % np.uint64(2)]
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    colours = _to_srgb((lab @ _LAB_TO_CONES.T) ** 3 @ _CONES_TO_RGB.T)
    colours[ids == 0] = 0
    return colours


def _to_srgb(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    clipped = np.clip(linear, 0, 1)
    curved = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    colours: NDArray[np.uint8] = np.rint(curved * 255).astype(np.uint8)
    return colours


def channels_as_rgb(channels: NDArray[Any]) -> NDArray[np.uint8]:
    """Show the first three channels as red, green and blue.

    For affinities these are the nearest neighbours along z, y and x: white inside, dark on a
    membrane, coloured where a membrane lies across one axis only. For descriptors they are the mean
    offsets along z, y and x, 0.5 grey being a voxel at its object's local centre.

    Parameters
    ----------
    channels
        ``(c, …)``, uint8 (x · 255) or float in [0, 1]; values outside are clipped. One channel is
        shown in grey, with two the blue stays dark.

    Returns
    -------
    NDArray
        uint8 ``(…, 3)``.

    Raises
    ------
    GeometryError
        If there is no channel.
    DataError
        If the channels are neither uint8 nor float.
    """
    if channels.ndim < 2 or not len(channels):
        raise GeometryError(f"expected channels first, (c, ...), found shape {channels.shape}")
    shown = channels[:3]
    if shown.dtype.kind == "f":
        shown = np.rint(np.clip(np.nan_to_num(shown), 0, 1) * 255).astype(np.uint8)
    elif shown.dtype != np.uint8:
        raise DataError(f"channels must be uint8 or float in [0, 1], found {channels.dtype}")
    if len(shown) == 1:
        shown = np.repeat(shown, 3, axis=0)
    missing = np.zeros((3 - len(shown), *shown.shape[1:]), np.uint8)
    return np.moveaxis(np.concatenate([shown, missing]), 0, -1)


def image_as_rgb(image: NDArray[Any], limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Show intensities in grey.

    Parameters
    ----------
    image
        Any shape, integer or float.
    limits
        Intensities shown as black and white; the 0.5th and 99.5th percentile if None.

    Returns
    -------
    NDArray
        uint8 ``(…, 3)``.
    """
    low, high = limits or contrast_limits(image)
    scaled = (image.astype(np.float32) - low) / (high - low)
    grey = np.rint(np.clip(np.nan_to_num(scaled), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def contrast_limits(image: NDArray[Any]) -> tuple[float, float]:
    """Return the intensities to show as black and white; always apart, also for a constant image."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(each) for each in np.percentile(finite, [0.5, 99.5]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def overlay_labels(image: NDArray[np.uint8], labels: NDArray[Any], alpha: float = 0.45) -> NDArray[np.uint8]:
    """Blend the colours of `labels` ``(y, x)`` over an image ``(y, x, 3)``; label 0 leaves it as it is."""
    weight = np.where(labels != 0, alpha, 0.0)[..., None]
    blended: NDArray[np.uint8] = np.rint(image * (1 - weight) + label_colours(labels) * weight).astype(np.uint8)
    return blended
