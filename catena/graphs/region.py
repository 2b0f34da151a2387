"""The part of a graph that lies in a region of the volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.errors import StoreError
from catena.graphs.schema import TableSchema
from catena.graphs.store import GraphStore

POSITION = "position_"
"""With this the names of the columns begin that hold a node's place, in nm: ``position_0`` is z."""

_PIECE_ROWS = 500_000


def read_region(
    store: GraphStore,
    begin_nm: Sequence[float],
    end_nm: Sequence[float],
    nodes: str = "nodes",
    edges: str | None = None,
    blocks: Iterable[int] | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Read the nodes that lie in a region, and the edges that belong to them.

    Parameters
    ----------
    store
        Where.
    begin_nm, end_nm
        Lower corner, inclusive, and upper corner, exclusive; ``z, y, x``.
    nodes
        Table with a key of one column, the id, and the columns ``position_0``, ``position_1``, ….
    edges
        Table with the columns ``u`` and ``v``; None for no edges.
    blocks
        Blocks that own the nodes, such as :meth:`catena.blockwise.blocks.BlockGrid.blocks_intersecting` returns for the
        region; the edges of a node's block are those whose `u` it is. Rows of other blocks are not read. None reads
        the whole tables, piece by piece, so that memory grows with what lies in the region only.

    Returns
    -------
    tuple
        All columns of the nodes, ordered by id, and of the edges, ordered by their key (no columns if `edges` is None).
        An edge is returned if its `u` lies in the region, wherever its `v` does: neighbouring regions share no edge
        and leave none out, as with funlib.persistence.

    Raises
    ------
    StoreError
        If a table is not there, or the nodes have no positions with as many axes.

    Examples
    --------
    >>> from catena.blockwise.blocks import BlockGrid
    >>> def part(store: GraphStore, grid: BlockGrid, roi):
    ...     return read_region(store, roi.begin, roi.end, edges="edges", blocks=grid.blocks_intersecting(roi))
    """
    wanted = None if blocks is None else [int(block) for block in blocks]
    schema = store.schema(nodes)
    positions = _positions(schema, nodes, len(begin_nm), len(end_nm))
    inside = [
        _where(piece, _within(piece, positions, begin_nm, end_nm))
        for piece in store.iterate(nodes, blocks=wanted, rows=_PIECE_ROWS)
    ]
    found = schema.joined(tuple(schema.columns), inside)
    if edges is None:
        return found, {}
    ids = found[schema.key[0]]
    belonging = [
        _where(piece, np.isin(piece["u"], ids)) for piece in store.iterate(edges, blocks=wanted, rows=_PIECE_ROWS)
    ]
    schema = store.schema(edges)
    return found, schema.joined(tuple(schema.columns), belonging)


def _positions(schema: TableSchema, table: str, *axes: int) -> list[str]:
    names = [name for name in schema.columns if name.startswith(POSITION)]
    if any(each != len(names) for each in axes) or not names or len(schema.key) != 1:
        raise StoreError(
            f"table {table!r}: a region of {axes[0]} to {axes[-1]} axes needs nodes with one id and as many columns "
            f"{POSITION}0, {POSITION}1, …; found the key {schema.key} and the columns {list(schema.columns)}"
        )
    return sorted(names)


def _within(
    piece: dict[str, NDArray[Any]], positions: Sequence[str], begin: Sequence[float], end: Sequence[float]
) -> NDArray[np.bool_]:
    inside = np.ones(len(piece[positions[0]]), dtype=bool)
    for name, low, high in zip(positions, begin, end, strict=True):
        inside &= (piece[name] >= low) & (piece[name] < high)
    return inside


def _where(piece: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    return {name: values[chosen] for name, values in piece.items()}
