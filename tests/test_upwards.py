"""Words that run upwards: by hand on pages of a few boxes."""

import numpy as np
import pytest

from zoo import upwards

LINE = [(100, 60 + 40 * row, 80, 20) for row in range(5)]  # left, top, width, height: five level words
LABEL = (20, 100, 20, 90)  # and a label that runs upwards


def boxes(*places) -> np.ndarray:
    corners = [[[x, y], [x + w, y], [x + w, y + h], [x, y + h]] for x, y, w, h in places]
    return np.array(corners, "float32").reshape(-1, 4, 2)


def upward(*places) -> np.ndarray:
    return np.roll(boxes(*places), 1, axis=1)


def test_the_part_of_a_page_around_words_that_run_upwards():
    part = upwards.part(boxes(*LINE, LABEL), (400, 300))
    assert part == (0, 0, 80, 400, 20.0, 20.0)  # two heights beside it, three lengths before and after, to the edges
    wide = upwards.part(boxes(*LINE, (220, 500, 20, 40)), (1000, 300))
    assert wide == (180, 380, 280, 660, 20.0, 20.0)


def test_a_page_of_few_pixels_is_looked_at_as_a_whole():
    part = upwards.Part(0, 50, 80, 400, 20.0, 18.0)
    assert upwards.widened(part, (400, 300), 120_000) == (0, 0, 300, 400, 20.0, 18.0)
    assert upwards.widened(part, (400, 300), 119_999) == part


@pytest.mark.parametrize(
    "others",
    [
        [],
        [(20, 100, 10, 30)],  # narrow: a letter, or a rule
        [(20, 100, 16, 25)],  # no longer than words are high
        [(20, 100, 60, 60)],  # neither wide nor high
        [(20 + 30 * i, 300, 20, 90) for i in range(5)],  # as many as level ones: the page lies on its side
    ],
    ids=["none", "narrow", "short", "square", "many"],
)
def test_most_pages_have_no_such_part(others):
    assert upwards.part(boxes(*LINE, *others), (400, 300)) is None


def test_no_page_of_high_boxes_alone_and_no_empty_one_has_such_a_part():
    assert upwards.part(boxes(LABEL), (400, 300)) is None
    assert upwards.part(boxes(), (400, 300)) is None


def test_words_of_a_turned_part_are_wide_or_beside_a_wide_one():
    found = boxes(
        (0, 100, 60, 20),  # wide
        (70, 101, 20, 18),  # short, half a height after it
        (120, 100, 20, 20),  # short, two heights further
        (70, 112, 20, 18),  # beside it, but in another line
        (0, 200, 40, 10),  # wide, but low: a letter on its side
        (0, 300, 10, 40),  # level text, which is high here
    )
    assert upwards.words(found, 20.0).tolist() == [True, True, False, False, False, False]
    assert upwards.words(found[:0], 20.0).shape == (0,)


def test_words_stand_for_what_they_cover():
    page = boxes(*LINE, LABEL, (22, 60, 16, 16), (60, 300, 16, 16))
    words = upward((18, 40, 24, 152))
    assert upwards.taken(page, words).tolist() == [True]
    assert upwards.covered(page, words).tolist() == [False] * 5 + [True, True, False]


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([(18, 60, 24, 132), (110, 50, 30, 180)], [True, False]),  # the second one lies across level words
        ([(18, 100, 24, 40), (18, 150, 24, 40)], [False, False]),  # none is plainly a word
        ([(250, 60, 24, 132)], [False]),  # where nothing high was found
        ([(18, 60, 24, 132), (18, 200, 24, 30)], [True, True]),  # a short one in its line
        ([(18, 60, 24, 132), (50, 200, 24, 30)], [True, False]),  # a short one in no line
        ([(18, 60, 24, 132), (18, 340, 24, 30)], [True, False]),  # far away in it
        ([(18, 60, 24, 132), (18, 300, 24, 30), (18, 440, 24, 30)], [True, True, True]),  # but for one between
    ],
    ids=["across", "short", "elsewhere", "line", "aside", "far", "links"],
)
def test_which_words_are_taken(words, taken):
    assert upwards.taken(boxes(*LINE, LABEL), upward(*words)).tolist() == taken


@pytest.mark.parametrize(
    ("word", "letter", "taken"),
    [
        ((18, 200, 24, 40), (20, 210, 22, 12), True),
        ((18, 200, 24, 40), (20, 210, 36, 12), False),  # wider than the word is high: a level word
        ((60, 200, 24, 40), (62, 210, 22, 12), False),  # in no line with another
        ((18, 200, 50, 90), (20, 210, 40, 12), False),  # more than so much higher than that
    ],
    ids=["letter", "word", "aside", "high"],
)
def test_what_is_level_in_a_word_may_be_one_of_its_letters(word, letter, taken):
    page = boxes(*LINE, LABEL, letter)
    assert upwards.taken(page, upward((18, 60, 24, 132), word)).tolist() == [True, taken]


@pytest.mark.parametrize(
    ("others", "taken"),
    [
        ([(200, 220, 22, 60)], True),  # a high box in it, too
        ([], False),
        ([(200, 220, 22, 60), (150, 290, 60, 20)], False),  # a level word lies across it
        ([(200, 220, 22, 60), (199, 285, 24, 12), (150, 310, 40, 20)], True),  # another letter; a word beside it
    ],
    ids=["high", "none", "across", "beside"],
)
def test_a_word_with_level_letters_may_stand_by_itself_where_a_high_box_was(others, taken):
    page = boxes(*LINE[:2], LABEL, (200, 204, 22, 12), *others)
    assert upwards.taken(page, upward((18, 60, 24, 132), (198, 195, 26, 110))).tolist() == [True, taken]


def test_the_part_holds_what_is_no_level_word_above_and_below_high_boxes():
    pieces = [(24, 300, 16, 16), (22, 380, 14, 12), (60, 400, 16, 16)]  # the last one stands beside them
    part = upwards.part(boxes(*LINE, LABEL, *pieces, (15, 450, 30, 14)), (900, 300))
    assert part == (0, 0, 80, 662, 20.0, 20.0)
