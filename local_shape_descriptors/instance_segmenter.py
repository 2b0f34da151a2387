"""Segment a volume that fits into memory: no experiment, no blocks and no database, but the same kernels and rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import ConfigError
from catena.segmentation import AgglomerateConfig, FragmentsConfig, segment
from local_shape_descriptors.heads import SHORT
from local_shape_descriptors.predicter import predict, trained_model

if TYPE_CHECKING:
    from catena.inference import LoadedNetwork

AFFINITIES = "affinities"
"""The head that neurons are segmented from."""


def segment_volume(
    raw: NDArray[Any],
    checkpoint: str | Path,
    voxel_size: Coordinate,
    *,
    threshold: float,
    affinity_offsets: Sequence[Coordinate] | None = None,
    fragments: FragmentsConfig | None = None,
    agglomerate: AgglomerateConfig | None = None,
    mask: NDArray[np.generic] | None = None,
    device: str | None = None,
) -> NDArray[np.uint64]:
    """Segment raw with a trained network.

    Parameters
    ----------
    raw
        ``(z, y, x)`` uint8, uint16, or floating point in [0, 1].
    checkpoint
        Of training, or a ``.safetensors`` file; its network must predict affinities.
    voxel_size
        In world units, z, y, x.
    threshold
        In [0, 1]: fragments merge where scores are below it.
    affinity_offsets
        Of every channel of the affinities, in voxels, where the checkpoint does not tell.
    fragments, agglomerate, mask
        As :func:`catena.segmentation.segment` has them.
    device
        Of prediction, as torch names it. Default: a GPU if there is one.

    Returns
    -------
    ndarray
        ``(z, y, x)`` uint64, 0 where there is no segment.

    Raises
    ------
    ArrayNotFoundError
        If there is no checkpoint.
    ConfigError
        If its network predicts no affinities, or their offsets are neither told nor given.
    DataError
        If raw or the checkpoint cannot be used.
    GeometryError
        If shapes or offsets do not fit together.
    """
    from catena.inference import load_network  # imports torch, which affinities do without

    loaded = load_network(checkpoint)
    if AFFINITIES not in loaded.config.heads:
        raise ConfigError(
            f"{checkpoint} predicts {', '.join(loaded.config.heads)} and no {AFFINITIES}, which are segmented"
        )
    offsets = affinity_offsets or _told_offsets(loaded, checkpoint)
    predicted = predict(raw, loaded, device=device)[AFFINITIES]
    return segment_affinities(
        predicted, offsets, voxel_size, threshold=threshold, fragments=fragments, agglomerate=agglomerate, mask=mask
    )


def segment_affinities(
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    voxel_size: Coordinate,
    *,
    threshold: float,
    fragments: FragmentsConfig | None = None,
    agglomerate: AgglomerateConfig | None = None,
    mask: NDArray[np.generic] | None = None,
) -> NDArray[np.uint64]:
    """Segment affinities, whatever network they are from.

    :func:`catena.segmentation.segment` does the same and keeps fragments and scores, for any number of thresholds.

    Parameters
    ----------
    affinities
        ``(c, z, y, x)`` uint8, or floating point in [0, 1].
    affinity_offsets, voxel_size, fragments, agglomerate, mask
        As :func:`catena.segmentation.segment` has them.
    threshold
        In [0, 1]: fragments merge where scores are below it.

    Returns
    -------
    ndarray
        ``(z, y, x)`` uint64, 0 where there is no segment.

    Raises
    ------
    CatenaError
        As :func:`catena.segmentation.segment` has them.

    Examples
    --------
    Two boxes with a wall between them:

    >>> affinities = np.ones((3, 4, 4, 9), np.float32)
    >>> affinities[:, :, :, 4] = 0.1
    >>> offsets = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
    >>> labels = segment_affinities(affinities, offsets, Coordinate(8, 8, 8), threshold=0.5)
    >>> len(np.unique(labels[labels > 0]))
    2
    """
    found = segment(affinities, affinity_offsets, voxel_size, fragments, agglomerate, [threshold], mask)
    return found.at(threshold)


def _told_offsets(loaded: LoadedNetwork, checkpoint: str | Path) -> tuple[Coordinate, ...]:
    """Return the affinity offsets with which a network says that it was trained."""
    model = trained_model(checkpoint, loaded.metadata)
    if model is None:
        short = ", ".join(str(each) for each in SHORT)
        raise ConfigError(f"{checkpoint} does not tell its affinity offsets; give affinity_offsets, such as {short}")
    return tuple(Coordinate(each) for each in model.offsets(AFFINITIES))
