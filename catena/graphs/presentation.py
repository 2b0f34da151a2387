"""How a graph in an SQL database looks to funlib.persistence 0.6, and with it to volara."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from catena.errors import StoreError
from catena.graphs.schema import TableSchema

EDGES_VIEW = "edges"
"""The name under which they look for edges."""

_TYPES = {"b": "bool", "i": "int", "u": "int", "f": "float"}


@dataclass(frozen=True)
class Presentation:
    """Which tables are the graph, and what of them is shown.

    The defaults are what volara 1.0.2 insists on; one that wants to read `merge_score` opens the graph with
    ``edge_attrs={"merge_score": "float"}``.

    Attributes
    ----------
    edges
        Table with the columns ``u`` and ``v``.
    begin_nm, end_nm
        Corners of the volume, ``z, y, x``.
    nodes
        Table with the column ``id`` and the columns of the position.
    position
        What the columns of the position begin with: ``position_0``, ``position_1``, …
    node_attributes, edge_attributes
        Further columns.
    """

    edges: str
    begin_nm: tuple[float, ...]
    end_nm: tuple[float, ...]
    nodes: str = "nodes"
    position: str = "position"
    node_attributes: tuple[str, ...] = ("size", "filtered")
    edge_attributes: tuple[str, ...] = ("distance", "merge_score")

    def described(self, nodes: TableSchema, edges: TableSchema) -> dict[str, Any]:
        """Return the metadata that funlib.persistence reads, given the schemas of the two tables.

        Raises
        ------
        StoreError
            If a column is not there.
        """
        axes = len(self.begin_nm)
        positions = {nodes.dtype(f"{self.position}_{axis}") for axis in range(axes)}
        if len(positions) != 1 or edges.key != ("u", "v") or nodes.key != ("id",):
            raise StoreError(f"tables {self.nodes!r} and {self.edges!r} are not nodes by id and edges by u and v")
        begin = [math.floor(each) for each in self.begin_nm]
        return {
            "position_attribute": self.position,
            "directed": False,
            "total_roi_offset": begin,
            "total_roi_shape": [math.ceil(end) - low for end, low in zip(self.end_nm, begin, strict=True)],
            "nodes_table_name": self.nodes,
            "edges_table_name": EDGES_VIEW,
            "endpoint_names": ["u", "v"],
            "node_attrs": {self.position: f"Vec({_type(positions.pop())}, {axes})"}
            | {name: _type(nodes.dtype(name)) for name in self.node_attributes},
            "edge_attrs": {name: _type(edges.dtype(name)) for name in self.edge_attributes},
            "ndims": axes,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the values that :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the presentation that :meth:`to_json` returned, also after it was stored as JSON."""
        parsed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**parsed)


def _type(dtype: np.dtype[Any]) -> str:
    return _TYPES[dtype.kind]
