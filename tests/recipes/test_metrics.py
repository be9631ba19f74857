"""Scores against hand-worked numbers and slow, plain definitions."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes import metrics

TEXTS = st.text("abc", max_size=6)


def bars(*spans) -> np.ndarray:
    """Boxes of height 1 from a to b."""
    return np.array([[[a, 0], [b, 0], [b, 1], [a, 1]] for a, b in spans], "float32").reshape(-1, 4, 2)


def counted(found, true, ignore=()):
    marks = np.zeros(len(true), bool)
    marks[list(ignore)] = True
    return metrics.matches(bars(*found), bars(*true), marks)


def test_hmean():
    assert metrics.hmean(3, 4, 6) == pytest.approx({"precision": 0.75, "recall": 0.5, "hmean": 0.6})
    assert metrics.hmean(0, 0, 0) == pytest.approx({"precision": 1, "recall": 1, "hmean": 1})
    assert metrics.hmean(0, 0, 5) == pytest.approx({"precision": 0, "recall": 0, "hmean": 0})
    assert metrics.hmean(0, 5, 0)["hmean"] == 0


def test_overlaps():
    found, true = bars((0, 10), (20, 30)), bars((5, 15), (0, 10), (30, 40))
    np.testing.assert_allclose(metrics.overlaps(found, true), [[1 / 3, 1, 0], [0, 0, 0]], atol=1e-6)


def test_each_box_is_matched_once_and_the_total_overlap_decides():
    assert counted([(0, 10), (1, 11)], [(0, 10)]) == (1, 2, 1)
    # The best pair alone, (0.5, 10.5) with (0, 10), would leave the others without a match.
    assert counted([(0.5, 10.5), (-3, 7)], [(0, 10), (3, 13)]) == (2, 2, 2)
    assert counted([(0, 4)], [(0, 10)]) == (0, 1, 1)


def test_ignored_places_count_neither_way():
    assert counted([(0, 10), (20, 30)], [(0, 10), (20, 30)], ignore=[1]) == (1, 1, 1)
    assert counted([(0, 10), (22, 24)], [(0, 10), (20, 30)], ignore=[1]) == (1, 1, 1)  # lies within it
    assert counted([(0, 10), (26, 36)], [(0, 10), (20, 30)], ignore=[1]) == (1, 2, 1)  # 4 of its 10 do
    # A box that matches a word counts although most of it lies on an ignored place.
    assert counted([(0, 10)], [(0, 10), (0, 100)], ignore=[1]) == (1, 1, 1)


def test_nothing_found_or_nothing_true():
    assert counted([], [(0, 1)]) == (0, 0, 1)
    assert counted([(0, 1)], []) == (0, 1, 0)


def plain_edits(read: str, true: str) -> int:
    """Levenshtein's recursion, as it is defined."""

    @cache
    def least(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (read[i - 1] != true[j - 1]))

    return least(len(read), len(true))


@given(TEXTS, TEXTS)
def test_edits(read, true):
    assert metrics.edits(read, true) == plain_edits(read, true)


def test_cer_is_summed_over_the_texts():
    assert metrics.cer(["kitten", ""], ["sitting", "abc"]) == pytest.approx((3 + 3) / 10)


def test_forms_of_texts():
    assert metrics.exact("e\u0301") == "é"
    assert metrics.caseless("STRASSE") == metrics.caseless("Straße")
    assert metrics.alnum("Nº\u202f12.50 €, 5° ﬁn—É") == "no12505finé"


@given(st.lists(TEXTS), st.lists(TEXTS))
def test_bag_counts_each_word_as_often_as_it_stands_there(read, true):
    both, ours, theirs = metrics.bag(read, true)
    assert ours == len([text for text in read if text]) and theirs == len([text for text in true if text])
    left = [text for text in true if text]
    same = 0
    for text in read:
        if text in left:
            left.remove(text)
            same += 1
    assert both == same


def test_bag_of_lines():
    assert metrics.bag(["Total 12,50", "-", "total"], ["TOTAL", "TOTAL", "1250 EUR"]) == (3, 3, 4)


# ---------------------------------------------------------------- average precision


def page(*boxes) -> metrics.Boxes:
    """Boxes of height 10 from (left, right, class, score)."""
    rows = np.array(boxes, float).reshape(-1, 4)
    corners = np.stack([rows[:, 0], 0 * rows[:, 0], rows[:, 1], 0 * rows[:, 0] + 10], 1)
    return metrics.Boxes(corners, rows[:, 2].astype(int), rows[:, 3])


def test_average_precision_by_hand():
    """Two true boxes. The surest found overlaps one by 0.8, the next nothing, the third the other wholly.

    Up to .80 precisions are 1 at recall 1/2 and 2/3 at recall 1: of the 101 recalls 0 to 0.50 are 51. From .85 on the
    first is wrong: of the second box alone, found third, precision is 1/3 up to recall 1/2.
    """
    true, found = page((0, 100, 0, 1), (200, 300, 0, 1)), page((200, 300, 0, 0.5), (500, 600, 0, 0.7), (0, 80, 0, 0.9))
    expected = [(51 + 50 * 2 / 3) / 101] * 7 + [51 / 3 / 101] * 3
    np.testing.assert_allclose(metrics.average_precisions([found], [true], 2)[0], expected)
    scores = metrics.mean_average_precision([found], [true], 2)  # the second class stands nowhere
    assert scores == pytest.approx({"map": np.mean(expected), "ap50": expected[0], "ap75": expected[0]})


def test_a_true_box_is_taken_once_and_by_its_class():
    true = page((0, 100, 0, 1), (0, 100, 1, 1))
    found = page((0, 100, 0, 0.9), (0, 100, 0, 0.8))
    each = metrics.average_precisions([found], [true], 2)
    np.testing.assert_allclose(each, [[1] * 10, [0] * 10])  # what is found twice comes after all is found
    other = page((500, 600, 0, 1))  # of another page: of 3 found, the first is right, and of 2 true
    np.testing.assert_allclose(metrics.average_precisions([found, page((0, 100, 0, 0.5))], [true, other], 1), 51 / 101)


def test_only_the_surest_hundred_of_a_page_count():
    many = page(*[(0, 100, 0, 0.9)] + [(300, 400, 0, 0.8)] * (metrics.MOST - 1) + [(600, 700, 0, 0.1)])
    true = page((0, 100, 0, 1), (600, 700, 0, 1))
    np.testing.assert_allclose(metrics.average_precisions([many], [true], 1)[0], 51 / 101)


def test_without_boxes_nothing_is_wrong():
    empty = page()
    assert metrics.mean_average_precision([empty], [empty], 3) == {"map": 1, "ap50": 1, "ap75": 1}
    assert metrics.mean_average_precision([empty], [page((0, 9, 0, 1))], 3)["map"] == 0
