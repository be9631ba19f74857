"""Pieces of words are put together, and words are left apart."""

from __future__ import annotations

import numpy as np
import pytest

from zoo import joining
from zoo.charset import Charset, Reading
from zoo.joining import around, candidates, joined, kept, neighbours, overlap
from zoo.reading import Reader


def box(left: float, right: float, top: float = 0, bottom: float = 20) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def turned(boxes: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (boxes @ np.array([[c, s], [-s, c]])).astype("float32")


def reading(text: str, score: float = 0.9) -> Reading:
    return Reading(text, score, (score,) * len(text))


@pytest.mark.parametrize(
    ("degrees", "pairs"),
    [(0, {0: 1, 8: 9}), (7, {0: 1, 8: 9}), (180, {0: 1, 8: 9}), (-60, {0: 1, 1: 2, 2: 3, 8: 9, 9: 10})],
)
def test_boxes_that_run_into_each_other_along_a_line_or_stand_close_where_it_is_not_level(degrees, pairs):
    boxes = np.array([
        box(0, 100), box(96, 150),  # 4 of 20 pixels: pieces
        box(151, 200), box(200, 260),  # apart, and touching
        box(300, 400), box(390, 450, 15, 35),  # the next line
        box(500, 600), box(520, 580, 5, 15),  # one within the other
        box(700, 760), box(756, 764, 10, 20),  # a small mark at the foot of a word
        box(773, 800), box(811, 860),  # nine pixels further, and eleven
    ], "float32")  # fmt: skip
    first, second = neighbours(turned(boxes, degrees))
    assert dict(zip(first.tolist(), second.tolist(), strict=True)) == pairs


@pytest.mark.parametrize("rolled", [0, 1, 2, 3])
@pytest.mark.parametrize("degrees", [-40, 30, 47])
def test_pieces_of_a_slanted_label_may_begin_at_any_corner(degrees, rolled):
    """At about 45 degrees, and on a turned page, the corner with which a box begins is chance."""
    label = turned(np.array([box(0, 60), box(64, 100), box(0, 100)], "float32"), degrees)
    pieces = np.stack([label[0], np.roll(label[1], rolled, axis=0)])
    boxes, _, halves = candidates(pieces, np.ones(2, "float32"))
    assert halves.tolist() == [[-1, -1], [-1, -1], [0, 1]]
    np.testing.assert_array_equal(boxes[:2], pieces)
    np.testing.assert_allclose(boxes[2], label[2], atol=1e-3)


def test_of_several_neighbours_that_which_overlaps_most():
    boxes = np.array([box(0, 100), box(97, 150), box(92, 140)], "float32")
    first, second = neighbours(boxes)
    assert (first.tolist(), second.tolist()) == ([0], [2])
    assert [len(values) for values in neighbours(boxes[:0])] == [0, 0]


def test_many_boxes_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 400, (2, 300))
    boxes = np.array([box(a, a + 40, b, b + 12) for a, b in zip(x, y, strict=True)], "float32")
    whole = neighbours(boxes)
    monkeypatch.setattr(joining, "ROWS", 7)
    for one, other in zip(whole, neighbours(boxes), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(whole[0]) > 20


def test_the_box_around_two_is_as_the_wider_one_lies():
    two = turned(np.array([box(0, 100), box(95, 103, 12, 26)], "float32"), 10)
    expected = turned(np.array([box(0, 103, 0, 26)]), 10)
    np.testing.assert_allclose(around(two[:1], two[1:]), expected, atol=1e-4)
    np.testing.assert_allclose(around(two[1:], two[:1]), expected, atol=1e-4)


def test_what_is_read_of_a_page():
    boxes = np.array([box(0, 60), box(100, 150), box(56, 90, 2, 18), box(300, 340)], "float32")
    every, scores, halves = candidates(boxes, np.float32([0.5, 0.6, 0.4, 0.8]))
    np.testing.assert_array_equal(every[:4], boxes)
    np.testing.assert_allclose(every[4:], [box(0, 90)])
    assert halves.tolist() == [[-1, -1]] * 4 + [[0, 2]]
    assert scores == pytest.approx([0.5, 0.6, 0.4, 0.8, 0.4])


def test_of_nothing_there_is_nothing_to_read():
    every, scores, halves = candidates(np.zeros((0, 4, 2), "float32"), np.zeros(0, "float32"))
    assert every.shape == (0, 4, 2) and scores.shape == (0,) and halves.shape == (0, 2)
    assert joined(every, scores, [], halves)[2] == []


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (reading("Description", joining.SURE), [False, True, False, True]),
        (reading("Description", joining.SURE - 0.01), [True, True, True, False]),
        (reading("Des cription", 1.0), [True, True, True, False]),  # two words, which are there already
        (reading("", 1.0), [True, True, True, False]),
    ],
)
def test_two_pieces_are_a_word_if_that_is_surely_read_without_a_space(whole, expected):
    halves = np.array([[-1, -1], [-1, -1], [-1, -1], [0, 2]])
    read = [reading("Descr", 0.99), reading("due"), reading("iption", 0.99), whole]
    assert kept(read, halves)[0].tolist() == expected


def test_a_third_piece_stays_where_what_is_read_does_not_go_on():
    """0 and 1 are a word, so that 1 and 2 are not; 2 and 3 are none, and 3 and 4 may be."""
    halves = np.array([[-1, -1]] * 5 + [[0, 1], [1, 2], [2, 3], [3, 4]])
    read = [*map(reading, "14159"), reading("14"), reading("71"), reading("1 5"), reading("59")]
    chosen, onward = kept(read, halves)
    assert np.flatnonzero(chosen).tolist() == [2, 5, 8] and (onward == -1).all()


@pytest.mark.parametrize(
    ("pieces", "pairs", "expected"),
    [
        (["Descr", "ipt", "Ton"], ["Descript", "iption"], ["Description"]),
        (["20", "I.", "61"], ["20.", ".61"], ["20.61"]),
        (["a", "b", "c"], ["ab", "bc"], ["abc"]),
        (["a", "b", "c"], ["ab", "b c"], ["ab", "c"]),
        (["a", "b", "c", "d"], ["ab", "bc", "cd"], ["abc", "d"]),  # a fourth piece stays
        (["a", "b", "c", "d"], ["ab", "b c", "cd"], ["ab", "cd"]),
    ],
)
def test_a_word_of_three_pieces(pieces, pairs, expected):
    boxes = np.array([box(40 * i, 40 * i + 44) for i in range(len(pieces))], "float32")
    every, scores, halves = candidates(boxes, np.linspace(0.9, 0.6, len(pieces)).astype("float32"))
    assert halves[len(boxes) :].tolist() == [[i, i + 1] for i in range(len(pairs))]
    read = [reading(text) for text in pieces] + [reading(text, 0.99 - 0.02 * i) for i, text in enumerate(pairs)]
    found, sure, words = joined(every, scores, read, halves)
    by_place = sorted(zip(found[:, 0, 0], words, sure, found, strict=True), key=lambda word: word[0])
    assert [word.text for _, word, _, _ in by_place] == expected
    if len(expected[0]) > max(map(len, pairs)):
        _, word, score, polygon = by_place[0]
        np.testing.assert_allclose(polygon, box(0, 124), atol=1e-4)
        assert score == pytest.approx(min(scores[:3])) and word.score == pytest.approx(0.97)
        assert len(word.characters) == len(word.text) and word.characters[-1] == pytest.approx(0.97)


@pytest.mark.parametrize(
    ("text", "rest", "count"),
    [("3.6X2", "6X2.7", 3), ("ab", "cd", 0), ("aa", "aaa", 2), ("ab", "ab", 2), ("x", "", 0), ("…é", "ée", 1)],
)
def test_what_two_readings_have_in_common(text, rest, count):
    assert overlap(text, rest) == count


class Said:
    """A recognizer that reads crops by their widths."""

    def __init__(self, letters: str, **texts: str):
        self.charset, self.texts = Charset(letters), texts

    def __call__(self, crops):
        return [reading(self.texts[f"w{crop.shape[1]}"]) for crop in crops]


@pytest.mark.parametrize(
    ("letters", "whole", "expected"),
    [
        ("Descriptn ", "Description", ["Description"]),
        ("Descriptn ", "De scription", ["Descr", "iption"]),
        ("Descriptn", "Description", ["Descr", "iption"]),  # it would read two words as one
    ],
)
def test_a_reader_asks_a_recognizer_that_knows_spaces(letters, whole, expected):
    boxes = np.array([box(0, 60), box(56, 90)], "float32")
    recognizer = Said(letters, w60="Descr", w34="iption", w90=whole)
    find = lambda pixels: (boxes, np.array([0.5, 0.6], "float32"))  # noqa: E731
    page = Reader(find, recognizer, upright=True).read(np.full((20, 100, 3), 255, "uint8"))
    assert [word.text for word in page.words] == expected
    if len(expected) == 1:
        np.testing.assert_allclose(page.words[0].polygon, box(0, 90))
        assert page.words[0].detection == pytest.approx(0.5)


# ---------------------------------------------------------------- taken apart


def test_a_text_with_spaces_is_its_words():
    boxes = np.array([box(0, 100), box(120, 200)], "float32")
    readings = [Reading("nn nnn", 0.9**5, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), reading("total")]
    found, scores, words = joining.parted(boxes, np.array([0.7, 0.8], "float32"), readings)
    assert [word.text for word in words] == ["nn", "nnn", "total"]
    assert words[0].characters == (0.1, 0.2) and words[1].characters == (0.4, 0.5, 0.6)
    assert [word.score for word in words[:2]] == pytest.approx([0.9**2, 0.9**3])
    edges = np.array([0, 2, 2.55, 5.55]) / 5.55 * 100  # an n is 1 wide, a space 0.55
    np.testing.assert_allclose(found[0], box(0, edges[1]), atol=1e-4)
    np.testing.assert_allclose(found[1], box(edges[2], 100), atol=1e-4)
    np.testing.assert_array_equal(found[2], boxes[1])
    np.testing.assert_allclose(scores, [0.7, 0.7, 0.8])


def test_boxes_are_cut_along_their_text():
    turning = turned(np.array([box(0, 100)]), 30)
    found, _, _ = joining.parted(turning, np.ones(1), [reading("nn nn")])
    np.testing.assert_allclose(turned(found, -30)[0], box(0, 2 / 4.55 * 100), atol=1e-3)


def test_spaces_alone_are_no_word():
    boxes = np.array([box(0, 10), box(20, 30), box(40, 60)], "float32")
    found, scores, words = joining.parted(boxes, np.ones(3), [reading(" "), reading(" a  "), reading("")])
    assert [word.text for word in words] == ["a", ""] and len(found) == len(scores) == 2
    assert words[0].score == pytest.approx(0.9) and words[0].characters == (0.9,)


def test_without_spaces_nothing_changes():
    boxes, readings = np.array([box(0, 10), box(20, 30)], "float32"), [reading("a"), reading("")]
    found, _, words = joining.parted(boxes, np.ones(2), readings)
    assert found is boxes and words == readings
    empty = joining.parted(np.zeros((0, 4, 2), "float32"), np.zeros(0), [])
    assert empty[0].shape == (0, 4, 2) and empty[2] == []


def test_a_reader_gives_words():
    """Two words in one box, by a recognizer that reads a space."""

    def recognizer(crops):
        return [reading("grand total") for _ in crops]

    page = Reader(lambda pixels: (np.array([box(10, 120)], "float32"), np.ones(1)), recognizer, upright=True)
    words = page.read(np.full((40, 140, 3), 255, "uint8")).words
    assert [word.text for word in words] == ["grand", "total"]
    assert words[0].polygon[1, 0] < words[1].polygon[0, 0]


# ---------------------------------------------------------------- closed up


def spaced(texts: list[str], gaps: list[float], wide: float = 16, start: float = 0) -> np.ndarray:
    """Boxes 20 pixels high of texts `wide` pixels a letter, with gaps between them."""
    wides = np.array([wide * len(text) for text in texts])
    left = start + np.cumsum([0, *(wides[:-1] + gaps)])
    return np.array([box(a, a + b) for a, b in zip(left, wides, strict=True)], "float32")


def closed(texts: list[str], boxes: np.ndarray, scores: list[float] | None = None) -> list[str]:
    rates = scores or [0.9] * len(texts)
    found, sure, words = joining.closed_up(boxes, np.ones(len(texts)), [*map(reading, texts, rates)])
    assert len(found) == len(sure) == len(words)
    return [word.text for word in words]


@pytest.mark.parametrize("degrees", [0, 5, -60, 180])
def test_letters_far_apart_are_words(degrees):
    """One by one and some together, in any order; two words where two letters stand twice as far apart as others."""
    texts, order = ["M", "E", "RIT", "o", "f", "total"], [3, 5, 0, 4, 2, 1]
    boxes = np.concatenate([spaced(texts[:5], [8, 8, 18, 8]), [box(0, 90, 40, 60)]]).astype("float32")
    scores = np.array([0.5, 0.4, 0.6, 0.7, 0.8, 0.9], "float32")
    rates = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    places = turned(boxes, degrees)
    found, sure, words = joining.closed_up(places[order], scores[order], [reading(texts[i], rates[i]) for i in order])
    known = {word.text: (quad, score, word) for quad, score, word in zip(found, sure, words, strict=True)}
    assert set(known) == {"MERIT", "of", "total"}
    quad, score, word = known["MERIT"]
    np.testing.assert_allclose(turned(quad[None], -degrees)[0], box(0, 96), atol=1e-3)
    assert score == pytest.approx(0.4) and word.score == pytest.approx((0.9 * 0.8 * 0.7**3) ** 0.2)
    assert word.characters == (0.9, 0.8, 0.7, 0.7, 0.7)
    np.testing.assert_array_equal(known["total"][0], places[5])


@pytest.mark.parametrize(
    ("texts", "gaps", "expected"),
    [
        (list("INVOICE"), [8] * 6, ["INVOICE"]),
        (list("1NV0ICe"), [8] * 6, ["INVOICE"]),  # figures that look like letters
        (list("Rechnun8"), [8] * 7, ["Rechnung"]),
        (list("straße"), [8] * 5, ["straße"]),
        (list("STRAßE"), [8] * 5, ["STRAßE"]),  # one letter each
        (list("GRAMPIAN"), [20.1] * 7, list("GRAMPIAN")),  # further apart than they are high: cells
        (list("ABC"), [8, 8], list("ABC")),  # initials
        (list("1208"), [8] * 3, list("1208")),  # figures
        (list("A1B2C3"), [8] * 5, list("A1B2C3")),
        (["I", "am", "a", "cat"], [8] * 3, ["I", "am", "a", "cat"]),
        (["AB", "CD", "EF"], [8, 8], ["AB", "CD", "EF"]),  # none by itself
        (["A", "x", "B", "-", "C", "y", "D"], [4] * 6, ["A", "x", "B", "-", "C", "y", "D"]),  # "-" is no letter
    ],
)
def test_what_is_a_word_of_spaced_letters(texts, gaps, expected):
    wide = 8 if "am" in texts else 16  # for 20 of height, as print has letters, and as spaced ones are
    assert closed(texts, spaced(texts, gaps, wide)) == expected


def test_nothing_stands_between_the_letters_of_a_word():
    texts = [*"MENU", "page 4"]
    row = spaced(texts[:4], [18] * 3)
    between = np.array([box(51, 67, 2, 22)], "float32")  # between E and N
    assert closed(texts[:4], row) == ["MENU"]
    assert closed(texts, np.concatenate([row, between])) == texts


def test_letters_below_each_other_are_none_of_a_line():
    boxes = np.concatenate([spaced(["A"], [], start=20 * i) + [0, 12 * i] for i in range(6)]).astype("float32")
    assert closed(list("ABCDEF"), boxes) == list("ABCDEF")


def test_a_reader_gives_spaced_words_whole_with_the_confidence_of_all():
    boxes = spaced(list("MENU"), [10] * 3)
    recognizer = lambda crops: [*map(reading, "MENU", [0.99, 0.5, 0.99, 0.99])]  # noqa: E731
    reader = Reader(lambda pixels: (boxes, np.ones(4)), recognizer, upright=True, min_confidence=0.8)
    (word,) = reader.read(np.full((24, 110, 3), 255, "uint8")).words
    assert word.text == "MENU" and word.confidence == pytest.approx((0.99**3 * 0.5) ** 0.25)
    assert len(word.characters) == 4
