"""volara's four stages in a process of their own: ``python -m benchmarks.blockwise.volara_pipeline SETTINGS.json``.

After the example in volara's README, with SQLite and two workers; only the short-range affinities exist here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from funlib.geometry import Coordinate
from volara.blockwise import AffAgglom, ExtractFrags, GraphMWS, Relabel
from volara.datasets import Affs, Labels
from volara.dbs import SQLite
from volara.lut import LUT

SCORE = "adj_weight"


def main(settings: dict[str, Any]) -> None:
    """Run the pipeline in the current folder.

    Parameters
    ----------
    settings
        ``affinities`` (path), ``block`` and ``context`` (voxels), ``workers``, ``bias``, and ``extract``: further
        options of ExtractFrags.
    """
    block, context = Coordinate(settings["block"]), Coordinate(settings["context"])
    workers, bias = settings["workers"], settings["bias"]
    affinities = Affs(
        store=settings["affinities"],
        neighborhood=[Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)],
    )
    graph = SQLite(path="graph.sqlite", edge_attrs={SCORE: "float"})
    fragments, table = Labels(store="volara.zarr/fragments"), LUT(path="lut.npz")
    extract = ExtractFrags(
        db=graph,
        affs_data=affinities,
        frags_data=fragments,
        block_size=block,
        context=context,
        bias=[bias] * 3,
        num_workers=workers,
        **settings["extract"],
    )
    score = AffAgglom(
        db=graph,
        affs_data=affinities,
        frags_data=fragments,
        block_size=block,
        context=context,
        scores={SCORE: affinities.neighborhood},
        num_workers=workers,
    )
    roi = affinities.array("r").roi
    cluster = GraphMWS(db=graph, lut=table, weights={SCORE: (1.0, bias)}, roi=(roi.begin, roi.shape))
    relabel = Relabel(
        frags_data=fragments,
        seg_data=Labels(store="volara.zarr/segments"),
        lut=table,
        block_size=block,
        num_workers=workers,
    )
    (extract + score + cluster + relabel).run_blockwise()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
