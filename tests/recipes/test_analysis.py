"""Scores by groups, pairs of characters, boxes by height and angle: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import analysis, metrics
from recipes.analysis import Group


def box(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32")
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (corners @ np.array([[c, s], [-s, c]]) + [x, y]).astype("float32")


def test_groups_by_a_value():
    found = analysis.grouped([1, 2, 3, 7, 8, 30], [True, False, True, True, False, False], (3, 8, 12, 20))
    assert found == [Group("under 3", 2, 0.5), Group("3 to under 8", 2, 1.0), Group("8 to under 12", 1, 0.0),
                     Group("20 and more", 1, 0.0)]  # fmt: skip
    assert analysis.grouped([], [], (3, 8)) == []


@pytest.mark.parametrize(
    ("read", "true", "pairs"),
    [
        ("", "", []),
        ("abc", "abc", [("a", "a"), ("b", "b"), ("c", "c")]),
        ("rn", "m", [("m", "r"), ("", "n")]),
        ("1O", "10.", [("1", "1"), ("0", "O"), (".", "")]),
        ("hello", "hllo", [("h", "h"), ("", "e"), ("l", "l"), ("l", "l"), ("o", "o")]),
        ("", "ab", [("a", ""), ("b", "")]),
    ],
)
def test_characters_are_aligned_by_the_fewest_edits(read, true, pairs):
    assert analysis.aligned(read, true) == pairs


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_an_alignment_holds_both_texts_and_as_many_errors_as_edits(read, true):
    pairs = analysis.aligned(read, true)
    assert "".join(a for a, _ in pairs) == true and "".join(b for _, b in pairs) == read
    assert sum(a != b for a, b in pairs) == metrics.edits(read, true)


def test_characters_and_what_they_are_taken_for():
    pairs = [("0", "O"), ("0", "0"), ("l", "1"), ("0", "O"), ("a", "a"), ("", "x"), ("l", "")]
    assert analysis.characters(pairs) == [Group("0", 3, 1 / 3), Group("l", 2, 0.0), Group("a", 1, 1.0)]
    assert analysis.confusions(pairs)[0] == (("0", "O"), 2)
    assert {pair for pair, _ in analysis.confusions(pairs)} == {("0", "O"), ("l", "1"), ("", "x"), ("l", "")}


def test_heights_and_angles_of_boxes():
    boxes = np.stack([box(5, 5, 40, 10), box(50, 50, 30, 12, 30), box(50, 50, 30, 12, 180), box(9, 9, 20, 8, -90)])
    np.testing.assert_allclose(analysis.heights(boxes), [10, 12, 12, 8], atol=1e-4)
    np.testing.assert_allclose(analysis.angles(boxes), [0, 30, 0, 90], atol=1e-3)


def test_boxes_by_height():
    """Two small ones, of which one is found; a large one found; a false small one; one found on an illegible place."""
    true = np.stack([box(0, 0, 40, 10), box(0, 50, 40, 10), box(0, 100, 90, 30), box(200, 200, 40, 10)])
    found = np.stack([box(1, 0, 40, 10), box(0, 101, 90, 30), box(300, 10, 40, 10), box(201, 200, 40, 10)])
    page = analysis.boxes(found, true, np.array([False, False, False, True]))
    assert page.right.tolist() == [True, True, False] and page.met.tolist() == [True, False, True]
    assert page.errors == 2
    assert analysis.hmeans([page, page], analysis.heights, (12, 24)) == [
        ("under 12", 4, {"precision": 0.5, "recall": 0.5, "hmean": 0.5}),
        ("24 and more", 2, {"precision": 1.0, "recall": 1.0, "hmean": 1.0}),
    ]
    nothing = analysis.boxes(np.zeros((0, 4, 2), "float32"), true[:1], np.array([False]))
    assert analysis.hmeans([nothing], analysis.angles, (2,)) == [
        ("under 2", 1, {"precision": 0.0, "recall": 0.0, "hmean": 0.0})
    ]


def test_a_right_box_counts_where_the_true_one_does():
    """Found a little too high, beyond the border between two groups: still right among the lower ones."""
    true = np.array([[[0, 0], [40, 0], [40, 11], [0, 11]]], "float32")
    found = np.array([[[0, 0], [40, 0], [40, 13], [0, 13]]], "float32")
    page = analysis.boxes(found, true, np.array([False]))
    whole = {"precision": 1.0, "recall": 1.0, "hmean": 1.0}
    assert analysis.hmeans([page], analysis.heights, (12,)) == [("under 12", 1, pytest.approx(whole))]
