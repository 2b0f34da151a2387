import sys

import matplotlib.image
import numpy as np
import pytest

from catena.errors import ConfigError
from catena.evaluation import Scores, Sweep
from catena.viewing import plots
from catena.viewing.plots import write_voi_plot

THRESHOLDS = np.array([0.0, 0.5, 1.0])


def sweep(*sums: tuple[float, float]) -> Sweep:
    split, merge = np.array(sums).T
    return Sweep(THRESHOLDS, split, merge, np.zeros(3))


VALIDATION = sweep((3, 0.1), (1, 0.5), (0.2, 4))
TEST = sweep((3.3, 0.2), (1.2, 0.6), (0.3, 4.5))


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures instead of writing them."""
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure) or path)
    return figures


def legend(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]


def test_curves_go_through_their_scores_and_mark_the_threshold(drawn):
    write_voi_plot("x.png", {"validation": VALIDATION, "test": TEST}, 0.5)

    lines = drawn[0].axes[0].get_lines()
    assert np.array_equal(lines[0].get_xydata(), [[0.1, 3], [0.5, 1], [4, 0.2]])  # merge, split
    assert np.array_equal(lines[1].get_xydata(), [[0.5, 1]])
    assert np.array_equal(lines[3].get_xydata(), [[0.6, 1.2]])
    assert legend(drawn[0])[:2] == ["validation, threshold 0.5: 1.50", "test, threshold 0.5: 1.80"]


def test_baseline_and_references_are_points(drawn):
    write_voi_plot("x.png", {"test": TEST}, 0.5, baseline=Scores(2, 2.5, 1), references={"FFN": Scores(1.1, 1, 0.2)})

    points = [line.get_xydata().tolist() for line in drawn[0].axes[0].get_lines()[2:4]]
    assert points == [[[2.5, 2]], [[1, 1.1]]]
    assert legend(drawn[0])[1:3] == ["no-learning baseline: 4.50", "FFN: 2.10"]


def test_voi_plot_is_written(tmp_path):
    path = write_voi_plot(tmp_path / "plots/voi.png", {"test": TEST}, 0.5, title="A title")

    picture = mpl_read(path)
    assert picture.shape[:2] == (880, 1040)
    assert picture.std() > 0.01


def test_a_perfect_sweep_can_be_drawn(tmp_path):
    write_voi_plot(tmp_path / "voi.png", {"test": sweep((0, 0), (0, 0), (0, 0))}, 0.5)

    assert mpl_read(tmp_path / "voi.png").std() > 0.01


def test_threshold_must_have_been_swept(tmp_path):
    with pytest.raises(ConfigError, match=r"0\.3 was not swept"):
        write_voi_plot(tmp_path / "voi.png", {"test": TEST}, 0.3)
    with pytest.raises(ConfigError, match="at least one region"):
        write_voi_plot(tmp_path / "voi.png", {}, 0.3)


def test_no_global_state_of_pyplot_is_touched(tmp_path):
    write_voi_plot(tmp_path / "voi.png", {"test": TEST}, 0.5)

    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def mpl_read(path):
    return matplotlib.image.imread(path)[..., :3]
