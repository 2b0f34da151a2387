import numpy as np
import pytest
from matplotlib.image import imread

from catena.errors import DataError
from catena.evaluation import ObjectError, Part
from catena.viewing.error_sheet import (
    STRONG,
    ErrorSection,
    borders,
    describe,
    part_colours,
    pictures,
    write_error_sheet,
)

MERGER = ObjectError("merger", 7, 0.213, (Part(1, 60), Part(2, 40)))


def section(error, truth, segmentation, **changes):
    values = {
        "axis": 0,
        "pixel_nm": (8.0, 8.0),
        "mark": (1, 1),
        "position_vox": (3, 4, 5),
        "position_nm": (24.0, 32.0, 40.0),
        "gap_nm": 8.0,
    }
    truth, segmentation = np.array(truth, np.uint64), np.array(segmentation, np.uint64)
    return ErrorSection(error, np.zeros(truth.shape, np.uint8), truth, segmentation, **{**values, **changes})


def shown_as(picture, colour):
    """Which pixels lie nearer to a colour's hue than to grey and to the other colours."""
    hue = picture.astype(float) - picture.mean(axis=-1, keepdims=True)
    wanted = [each.astype(float) - each.mean() for each in STRONG[:3]]
    fit = np.stack([(hue * each).sum(-1) / np.linalg.norm(each) for each in wanted])
    return (fit.argmax(axis=0) == colour) & (fit.max(axis=0) > 8)


def test_a_merger_is_one_colour_where_the_truth_is_several():
    #   truth          1 1 2 2 4      body 2 goes on outside segment 7, and 4 is not involved
    #   segmentation   7 7 7 9 9
    _, truth, segmentation = pictures(section(MERGER, [[1, 1, 2, 2, 4]] * 4, [[7, 7, 7, 9, 9]] * 4))
    assert shown_as(truth, 0)[0].tolist() == [True, True, False, False, False]
    assert shown_as(truth, 1)[0].tolist() == [False, False, True, True, False]
    assert np.ptp(truth[0, 2].astype(int)) > 2 * np.ptp(truth[0, 3].astype(int))  # faint where it is no error
    assert shown_as(segmentation, 0)[0].tolist() == [True, True, False, False, False]
    assert (segmentation[:, 2] == 255).all()  # the border that is missing
    assert (truth[:, 4] == truth[:, 4, :1]).all()  # grey


def test_a_split_is_several_colours_where_the_truth_is_one():
    #   truth          0 5 5 5 6      what has no segment is a part within the body only
    #   segmentation   0 0 3 4 4
    error = ObjectError("split", 5, 0.5, (Part(3, 5), Part(4, 4), Part(0, 3)))
    _, truth, segmentation = pictures(section(error, [[0, 5, 5, 5, 6]] * 4, [[0, 0, 3, 4, 4]] * 4))
    assert (truth[:, 2:4] == 255).all()
    assert shown_as(truth, 0)[0].tolist() == [False, True, False, False, False]
    assert [shown_as(segmentation, each)[0].tolist() for each in range(3)] == [
        [False, False, True, False, False],
        [False, False, False, True, True],
        [False, True, False, False, False],
    ]


def test_borders_lie_between_parts_that_are_shown():
    #   1 1 2 9 1    9 is not shown
    parts, inside = np.array([[1, 1, 2, 9, 1]]), np.array([[True] * 5])
    assert borders(parts, [2, 1], inside).tolist() == [[False, False, True, False, False]]
    assert not borders(parts, [2, 1], inside & (parts == 1)).any()


def test_captions_count_what_is_no_speck():
    assert describe(MERGER) == "merger of 2 bodies, 0.21 bit"
    specks = ObjectError("split", 3, 0.0004, (Part(1, 9990), Part(2, 6), Part(8, 4)))
    assert describe(specks) == "specks of 2 segments, 0.0004 bit"
    assert list(part_colours(specks)) == [1, 2]
    many = ObjectError("merger", 3, 1, tuple(Part(each, 5) for each in range(1, 10)))
    assert describe(many) == "merger of 9 bodies, 1.00 bit"
    assert list(part_colours(many)) == [1, 2, 3, 4, 5, 6]


def test_a_position_says_when_the_parts_do_not_touch():
    near, far = (section(MERGER, [[1, 2]], [[7, 7]], gap_nm=gap) for gap in (8.0, 80.0))
    nowhere = section(MERGER, [[1, 2]], [[7, 7]], gap_nm=float("inf"))
    assert near.position() == "z, y, x = 3, 4, 5 voxels (24, 32, 40 nm)"
    assert nowhere.position() == near.position() + ", parts far apart"
    assert far.position() == near.position() + ", parts 80 nm apart"


def test_panels_have_physical_proportions(tmp_path):
    labels = np.ones((20, 40), np.uint64)
    tall = section(MERGER, labels, labels * 7, axis=1, pixel_nm=(40.0, 4.0))  # 800 by 160 nm
    flat = section(MERGER, labels, labels * 7)  # 160 by 320 nm
    heights = []
    for rows in ([tall], [tall, flat]):
        heights.append(imread(write_error_sheet(tmp_path / "a.png", rows)).shape[0] / 200)
    assert heights[0] == pytest.approx(0.62 + 2.3 + 0.16, abs=0.02)
    assert 1 < heights[1] - heights[0] < 2  # a flat panel is less high than its caption


def test_a_sheet_without_errors_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one"):
        write_error_sheet(tmp_path / "a.png", [])
