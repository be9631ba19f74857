"""Pieces of words are put together, and words are left apart."""

from __future__ import annotations

import numpy as np
import pytest

from recipes import language as counting
from zoo import joining
from zoo.charset import Reading
from zoo.joining import around, joined, neighbours, together
from zoo.language import Language, language
from zoo.reading import Reader, Recognizer

WORDS = {"description": 8.0, "invoice": 8.0, "improvements": 8.0, "due": 8.0, "amount": 8.0, "the": 20.0, "total": 9.0}


@pytest.fixture(scope="module")
def english(tmp_path_factory) -> Language:
    path = tmp_path_factory.mktemp("language") / "small.npz"
    counting.count({**WORDS, **dict.fromkeys("bfghjkqwxyz", 1.0)}, path)
    return language(path)


def box(left: float, right: float, top: float = 0, bottom: float = 20) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def turned(boxes: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (boxes @ np.array([[c, s], [-s, c]])).astype("float32")


def reading(text: str, score: float = 0.9) -> Reading:
    return Reading(text, score, (score,) * len(text))


def test_the_gains_of_a_text_and_of_its_end(english):
    """Each letter's, and the end's after the last, by hand from the table."""
    total, state = 0.0, 0
    for character in "due":
        column = english.letters.index(character)
        total, state = total + english.gains[state, column], english.following[state, column]
    assert english.total("due") == pytest.approx(total + english.gains[state, english.end])
    assert english.total("") == 0


@pytest.mark.parametrize("degrees", [0, 7, -60, 180])
def test_boxes_that_run_into_each_other_along_a_line(degrees):
    boxes = np.array([
        box(0, 100), box(96, 150),  # 4 of 20 pixels: pieces
        box(151, 200), box(200, 260),  # apart, and touching
        box(300, 400), box(390, 450, 15, 35),  # the next line
        box(500, 600), box(520, 580, 5, 15),  # one within the other
        box(700, 760), box(756, 764, 10, 20),  # a small mark at the foot of a word
    ], "float32")  # fmt: skip
    first, second, overlap = neighbours(turned(boxes, degrees))
    found = dict(zip(first.tolist(), second.tolist(), strict=True))
    assert found == {0: 1, 8: 9}
    np.testing.assert_allclose(overlap, [0.2, 0.2], atol=1e-4)


def test_of_several_neighbours_that_which_overlaps_most():
    boxes = np.array([box(0, 100), box(97, 150), box(92, 140)], "float32")
    first, second, overlap = neighbours(boxes)
    assert (first.tolist(), second.tolist()) == ([0], [2]) and overlap[0] == pytest.approx(0.4)
    assert [len(values) for values in neighbours(boxes[:0])] == [0, 0, 0]


def test_many_boxes_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 400, (2, 300))
    boxes = np.array([box(a, a + 40, b, b + 12) for a, b in zip(x, y, strict=True)], "float32")
    whole = neighbours(boxes)
    monkeypatch.setattr(joining, "ROWS", 7)
    for one, other in zip(whole, neighbours(boxes), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(whole[0]) > 20


@pytest.mark.parametrize(
    ("left", "right", "overlap", "expected"),
    [
        ("Descr", "iption", 0.2, "Description"),
        ("improve", "ements", 0.4, "improvements"),  # a letter that both have seen
        ("amount", "due", 0.2, None),
        ("0,", "00", 0.2, "0,00"),
        ("148", "40", 0.2, "14840"),
        ("95550", "0189", 0.2, "955500189"),
        ("95550", "0189", 0.34, "95550189"),  # so much overlap is a digit
        ("12-", "-06-2018", 0.3, "12-06-2018"),
        ("invoice", ":", 0.3, "invoice:"),
        ("(", "due", 0.3, "(due"),
        ("due", "(total)", 0.3, None),
        ("total", "40170", 0.3, None),
        ("No.", "49", 0.3, None),
        ("7", "due", 0.3, None),
    ],
)
def test_what_two_pieces_say_together(english, left, right, overlap, expected):
    assert together(left, right, overlap, english) == expected


def test_a_word_of_two_pieces(english):
    boxes = np.array([box(0, 60), box(100, 150), box(56, 90, 2, 18), box(147, 160, 0, 24)], "float32")
    readings = [reading("Descr", 0.9), reading("due", 0.8), reading("iption", 0.7), reading("amount", 0.6)]
    found, scores, texts = joined(boxes, np.float32([0.5, 0.6, 0.7, 0.8]), readings, english)
    assert [text.text for text in texts] == ["Description", "due", "amount"]
    assert texts[0].score == 0.7 and texts[0].characters == (0.9,) * 5 + (0.7,) * 6
    np.testing.assert_allclose(found[0], box(0, 90))
    np.testing.assert_allclose(scores, [0.5, 0.6, 0.8])
    np.testing.assert_array_equal(boxes[0], box(0, 60))  # what was given is as it was


def test_a_letter_seen_twice_is_there_once_with_its_score(english):
    boxes = np.array([box(0, 60), box(52, 90)], "float32")
    _, _, (word,) = joined(boxes, np.ones(2, "float32"), [reading("improve", 0.9), reading("ements", 0.7)], english)
    assert word.text == "improvements" and word.characters == (0.9,) * 7 + (0.7,) * 5


def test_a_third_piece_and_what_is_empty_stay(english):
    boxes = np.array([box(0, 40), box(36, 70), box(66, 100), box(96, 120)], "float32")
    readings = [reading("14"), reading("15"), reading("92"), Reading("", 1.0, ())]
    _, _, texts = joined(boxes, np.ones(4, "float32"), readings, english)
    assert [text.text for text in texts] == ["1415", "92", ""]


def test_the_box_around_two_is_as_the_wider_one_lies():
    two = turned(np.array([box(0, 100), box(95, 103, 12, 26)], "float32"), 10)
    np.testing.assert_allclose(around(*two), turned(np.array(box(0, 103, 0, 26)), 10), atol=1e-4)


@pytest.mark.parametrize("spelling", [True, False])
def test_a_reader_puts_words_together_where_it_asks_a_language(english, spelling):
    boxes = np.array([box(0, 60), box(56, 90)], "float32")
    said = iter(["Descr", "iption"])
    recognizer = Recognizer(lambda batch: {}, "latin", spelling=english if spelling else "")
    recognizer.__class__ = type(
        "Said", (Recognizer,), {"__call__": lambda self, crops: [reading(next(said)) for _ in crops]}
    )
    page = Reader(lambda pixels: (boxes, np.ones(2, "float32")), recognizer, upright=True).read(
        np.full((20, 100, 3), 255, "uint8")
    )
    assert [word.text for word in page.words] == (["Description"] if spelling else ["Descr", "iption"])


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
