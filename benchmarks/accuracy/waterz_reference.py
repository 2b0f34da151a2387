"""The published way from affinities to segments, by the libraries that it was published with.

Sheridan et al. 2022, as in `lsds` (``lsd.post.fragments``) and the scripts around it: distance to the boundary, its
maxima as seeds, a watershed that floods boundaries too, then waterz with a quantile of the affinities. waterz has a
watershed of its own, too. Nothing of ours takes part, and the whole volume is one block: waterz at its best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import waterz
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label, maximum_filter
from skimage.segmentation import watershed

from catena.segmentation.block_agglomeration import silenced, waterz_expression

SEED_DISTANCE = 10
BOUNDARY = 0.5
MERGE_FUNCTION = "hist_quant_75"


def published_fragments(affinities: NDArray[np.uint8], seed_distance: int = SEED_DISTANCE) -> NDArray[np.uint64]:
    """Return the fragments of isotropic data.

    Parameters
    ----------
    affinities
        (3, z, y, x), 255 = 1.
    seed_distance
        Width of the window of which a seed is the maximum, voxels.
    """
    distance = distance_transform_edt(affinities.mean(axis=0) > BOUNDARY * 255)
    seeds, _ = label(maximum_filter(distance, seed_distance) == distance)
    return np.asarray(watershed(-distance, seeds), np.uint64)


def waterz_fragments(affinities: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the fragments of waterz's own watershed on affinities (3, z, y, x), with its default thresholds."""
    with silenced():
        return np.array(next(waterz.agglomerate(_as_float(affinities), [0.0])), np.uint64)


def waterz_tables(
    affinities: NDArray[np.uint8],
    fragments: NDArray[np.uint64],
    thresholds: Sequence[float],
    merge_function: str = MERGE_FUNCTION,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Merge fragments with waterz.

    Parameters
    ----------
    affinities
        (3, z, y, x), 255 = 1.
    fragments
        (z, y, x).
    thresholds
        Ascending.
    merge_function
        As ``agglomerate.merge_function``.

    Returns
    -------
    ids, tables
        (n,) the fragments, and (t, n) the segment of each at every threshold.
    """
    ids, first = np.unique(fragments, return_index=True)
    with silenced():
        made = waterz.agglomerate(
            _as_float(affinities),
            list(thresholds),
            fragments=fragments.copy(),  # waterz merges in place
            scoring_function=waterz_expression(merge_function),
        )
        return ids, np.stack([segmentation.ravel()[first] for segmentation in made])


def _as_float(affinities: NDArray[np.uint8]) -> NDArray[np.float32]:
    return affinities.astype(np.float32) / np.float32(255)
