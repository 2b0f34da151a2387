"""Draw the models and their networks: ``python docs/_figures/models.py``.

Writes ``docs/images/models.png`` and ``docs/images/unets.png``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parents[1] / "images"
COLOURS = {"data": "#e8e8e8", "network": "#9ecae1", "frozen": "#deebf7", "head": "#fdd0a2", "add": "#c7e9c0"}

Box = tuple[str, float, float, str]
"""What is written in it, centre x and y, kind."""

RAW: Box = ("raw", 0, 0, "data")
NETWORK: Box = ("U-Net", 1.5, 0, "network")
MODELS: dict[str, tuple[list[Box], list[tuple[int, int]]]] = {
    "aff": ([RAW, NETWORK, ("affinities", 3, 0, "head")], [(0, 1), (1, 2)]),
    "lsd": ([RAW, NETWORK, ("lsds", 3, 0, "head")], [(0, 1), (1, 2)]),
    "mtlsd": (
        [RAW, NETWORK, ("lsds", 3, 0.5, "head"), ("affinities", 3, -0.5, "head")],
        [(0, 1), (1, 2), (1, 3)],
    ),
    "mtlsdmito": (
        [
            RAW,
            NETWORK,
            ("lsds", 3, 0.8, "head"),
            ("affinities", 3, 0, "head"),
            ("mitochondria\naffinities", 3, -0.8, "head"),
        ],
        [(0, 1), (1, 2), (1, 3), (1, 4)],
    ),
    "aclsd": (
        [
            RAW,
            ("first\nU-Net", 1.3, 0, "frozen"),
            ("lsds\nuint8", 2.6, 0, "head"),
            ("second\nU-Net", 3.9, 0, "network"),
            ("affinities", 5.2, 0, "head"),
        ],
        [(0, 1), (1, 2), (2, 3), (3, 4)],
    ),
    "acrlsd": (
        [
            RAW,
            ("first\nU-Net", 1.3, 0.4, "frozen"),
            ("lsds\nuint8", 2.6, 0.4, "head"),
            ("second\nU-Net", 3.9, 0, "network"),
            ("affinities", 5.2, 0, "head"),
            ("raw", 2.6, -0.6, "data"),
        ],
        [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 3)],
    ),
}
LEVELS: dict[str, tuple[list[Box], list[tuple[int, int]]]] = {
    "U-Net": (
        [
            ("convolve", 0, 1, "network"),
            ("convolve", 1.2, 1, "network"),
            ("pool", 1.2, 0, "data"),
            ("level\nbelow", 2.4, -1, "frozen"),
            ("repeat\nvoxels", 3.6, 0, "data"),
            ("concatenate", 3.6, 1, "add"),
            ("convolve", 4.8, 1, "network"),
            ("convolve", 6, 1, "network"),
        ],
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 5), (5, 6), (6, 7)],
    ),
    "residual symmetric U-Net": (
        [
            ("convolve\ntwice", 0, 1, "network"),
            ("add\ninput", 1.2, 1, "add"),
            ("pool", 1.2, 0, "data"),
            ("level\nbelow", 2.4, -1, "frozen"),
            ("project,\ninterpolate", 3.6, 0, "data"),
            ("add", 3.6, 1, "add"),
            ("convolve\ntwice", 4.8, 1, "network"),
            ("add\ninput", 6, 1, "add"),
        ],
        [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 5), (5, 6), (6, 7)],
    ),
}


def main() -> None:
    """Draw both pictures."""
    draw(MODELS, IMAGES / "models.png", rows=3, size=(9, 5))
    draw(LEVELS, IMAGES / "unets.png", rows=2, size=(8, 5))


def draw(panels: dict[str, tuple[list[Box], list[tuple[int, int]]]], path: Path, rows: int, size: Any) -> None:
    """Draw boxes and arrows, a panel per name."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, len(panels) // rows, figsize=size, squeeze=False)
    for panel, (name, (boxes, arrows)) in zip(axes.ravel(), panels.items(), strict=True):
        panel.set_title(name, fontsize=11, fontweight="bold", loc="left")
        panel.set_axis_off()
        drawn = [
            panel.text(x, y, words, ha="center", va="center", fontsize=8, bbox=dict(boxstyle="round", fc=COLOURS[kind]))
            for words, x, y, kind in boxes
        ]
        for begin, end in arrows:
            style = {"arrowstyle": "->", "shrinkA": 2, "shrinkB": 2, "color": "#555555"}
            style |= {"patchA": drawn[begin].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
            panel.annotate("", boxes[end][1:3], boxes[begin][1:3], arrowprops=style)
        panel.set_xlim(min(box[1] for box in boxes) - 0.6, max(box[1] for box in boxes) + 0.8)
        panel.set_ylim(min(box[2] for box in boxes) - 0.6, max(box[2] for box in boxes) + 0.6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
