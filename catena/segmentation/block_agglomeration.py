"""Agglomeration of one block with waterz, as published."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import fastremap
import numpy as np
import waterz
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import ConfigError, GeometryError
from catena.segmentation.boundary import ShortRange, quantise, short_range_channels
from catena.segmentation.config import parse_merge_function
from catena.segmentation.edges import edge_statistics
from catena.segmentation.fragments import owner
from catena.segmentation.graph_index import rows_of
from catena.segmentation.merge_tree import joining_scores
from catena.segmentation.union_find import flatten, unite_pairs

PREBUILT = (
    "mean",
    *(f"hist_quant_{q}{form}" for q in range(10, 100, 5) for form in ("", "_initmax")),
)
"""Merge functions that the waterz wheel has compiled; for others it needs a compiler, boost's headers and witty."""


def agglomerate_block(
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    fragments: NDArray[np.uint64],
    merge_function: str,
    *,
    forced: NDArray[np.uint64] | None = None,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
    """Merge the fragments of a block with waterz up to threshold 1 and return when contacts disappeared.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8, or floating point in [0, 1]: the block with context.
    affinity_offsets
        Offset of every channel in voxels; only the short-range ones are used.
    fragments
        (z, y, x) uint64 of the same voxels.
    merge_function
        ``mean``, ``hist_quant_Q`` or ``hist_quant_Q_initmax``.
    forced
        (m, 2) uint64 pairs of pieces that are one fragment; those whose both ends lie in the array are joined first.

    Returns
    -------
    u, v
        (n,) uint64, u < v: every contact in the array, context included, ordered. A block keeps only those it owns
        (:func:`owned_edges`).
    merge_score
        (n,) float64 in [0, 1]: the score at which the ends were merged, 0 within one fragment, 1 if never.

    Raises
    ------
    ConfigError
        If there is no such merge function, or if waterz cannot compile it here.
    GeometryError
        If shapes do not fit together or a short-range offset is missing.
    DataError
        If the affinities are of another dtype or range.
    """
    function = waterz_expression(merge_function)
    affinities = quantise(affinities)
    if fragments.shape != affinities.shape[1:]:
        raise GeometryError(f"fragments have shape {fragments.shape}, affinities {affinities.shape[1:]} (z, y, x)")
    channels = short_range_channels(affinity_offsets, affinities.shape[0])
    contacts = edge_statistics(affinities, affinity_offsets, fragments, bins=0)
    if len(contacts) == 0:
        return contacts.u, contacts.v, np.empty(0, np.float64)
    ids = fastremap.unique(fragments)
    ids = np.concatenate([np.zeros(1, np.uint64), ids[ids > 0]])  # waterz: 0 is background
    whole = _joined(ids, forced)
    dense = whole[np.searchsorted(ids, fragments)].astype(np.uint64)
    a, b, score = _merge_history(affinities, channels, dense, 1.0, function)
    rows_u, rows_v = rows_of(ids, contacts.u, "contacts"), rows_of(ids, contacts.v, "contacts")
    scores = joining_scores(ids.size, a, b, score, whole[rows_u], whole[rows_v])
    return contacts.u, contacts.v, scores


def owned_edges(u: NDArray[np.uint64], block_index: int, block_shape_vox: Coordinate) -> NDArray[np.bool_]:
    """Return which edges a block writes: those whose lower fragment `u` is its own.

    Parameters
    ----------
    u
        (n,) uint64, the lower fragment id of each edge.
    block_index
        Row-major index of the block.
    block_shape_vox
        Shape of a full block.

    Raises
    ------
    DataError
        If an id is 0, the background.
    """
    return cast(NDArray[np.bool_], owner(u, block_shape_vox) == block_index)


def merge_below(
    fragments: NDArray[np.uint32], affinities: NDArray[np.uint8], channels: ShortRange, threshold: float
) -> NDArray[np.uint32]:
    """Return fragments merged by waterz with the mean affinity, as long as the score is below `threshold`."""
    merged = fragments.astype(np.uint64)
    _merge_history(affinities, channels, merged, threshold, waterz_expression("mean"))
    return merged.astype(np.uint32)


def waterz_expression(merge_function: str) -> str:
    """Return the C++ type that waterz calls this merge function.

    >>> waterz_expression("mean")
    'OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>'

    Raises
    ------
    ConfigError
        If there is no such merge function, or if it is not prebuilt and what is needed to compile it is missing.
    """
    quantile, initialise_with_maximum = parse_merge_function(merge_function)
    if merge_function not in PREBUILT:
        missing = _missing_to_compile()
        if missing:
            raise ConfigError(
                f"waterz has no prebuilt {merge_function}, and to compile it lacks {', '.join(missing)}; install that,"
                " use agglomerate.scope: graph, or one of the prebuilt functions: mean, hist_quant_10, 15, … 95"
            )
    if quantile is None:
        return "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
    form = "true" if initialise_with_maximum else "false"
    return f"OneMinus<HistogramQuantileAffinity<RegionGraphType, {quantile}, ScoreValue, 256, {form}>>"


def _missing_to_compile() -> list[str]:
    compilers = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    roots = [sys.prefix, os.environ.get("CONDA_PREFIX", ""), "/usr", "/usr/local", "/opt/homebrew"]
    folders = [Path(root) / "include" for root in roots if root]
    folders += [Path(each) for each in os.environ.get("CPLUS_INCLUDE_PATH", "").split(os.pathsep) if each]
    found = {
        "a C++ compiler": any(each and shutil.which(each) for each in compilers),
        "boost's headers (libboost-dev)": any((folder / "boost" / "multi_array.hpp").is_file() for folder in folders),
        "the package witty": find_spec("witty") is not None,
    }
    return [what for what, there in found.items() if not there]


def _joined(ids: NDArray[np.uint64], forced: NDArray[np.uint64] | None) -> NDArray[np.int64]:
    """Return for each row the first row of its fragment, after forced edges within the block are joined."""
    parent = np.arange(ids.size)
    if forced is not None and forced.size:
        pairs = forced.reshape(-1, 2)
        pairs = pairs[np.isin(pairs, ids).all(axis=1)]
        rows = np.searchsorted(ids, pairs).astype(np.int64)
        unite_pairs(parent, np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1]))
        flatten(parent)
    return parent


def _merge_history(
    affinities: NDArray[np.uint8], channels: ShortRange, fragments: NDArray[np.uint64], threshold: float, function: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Run waterz, change `fragments` in place, and return its merges in their order.

    waterz has no word for sections that do not touch: between them it is given empty ones.
    """
    apart = 2 if channels.z is None else 1
    shape = (apart * fragments.shape[0], *fragments.shape[1:])
    merged = np.zeros(shape, np.uint64)
    merged[::apart] = fragments
    values = np.zeros((3, *shape), np.float32)
    for axis, channel in enumerate((channels.z, channels.y, channels.x)):
        if channel is not None:
            values[axis, ::apart] = affinities[channel] / np.float32(255)
    with silenced():
        _, history = next(
            waterz.agglomerate(
                values,
                [threshold],
                fragments=merged,
                scoring_function=function,
                return_merge_history=True,
            )
        )
    fragments[:] = merged[::apart]
    merges = cast(list[dict[str, Any]], history)
    a = np.fromiter((each["a"] for each in merges), np.int64, len(merges))
    b = np.fromiter((each["b"] for each in merges), np.int64, len(merges))
    return a, b, np.fromiter((each["score"] for each in merges), np.float64, len(merges))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what waterz prints, also from C++, out of the standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
