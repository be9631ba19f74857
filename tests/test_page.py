"""What was read, as values: text, equality, and to plain Python and back."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from zoo.charset import Reading
from zoo.page import Block, Document, Line, Page, Word, assemble


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


BOXES = np.stack([box(60, 0, 90, 10), box(0, 0, 50, 10), box(0, 20, 50, 30), box(0, 100, 50, 110), box(0, 40, 9, 50)])
READINGS = [
    Reading("world", 0.5, (1.0, 1.0, 1.0, 1.0, 0.5)),
    Reading("hello", 0.9, (0.9, 1.0, 1.0, 1.0, 1.0)),
    Reading("again", 1.0, (1.0,) * 5),
    Reading("bye", 1.0, (1.0,) * 3),
    Reading("", 1.0, ()),
]


@pytest.fixture
def page() -> Page:
    return Page("a.png", 1, 100, 120, assemble(BOXES, READINGS, [0.7, 0.8, 0.9, 0.6, 0.5]), 0.25)


def test_words_stand_in_reading_order_and_empty_ones_are_left_out(page):
    assert page.text == "hello world\nagain\n\nbye"
    assert [line.text for line in page.lines] == ["hello world", "again", "bye"]
    assert [block.text for block in page.blocks] == ["hello world\nagain", "bye"]
    world = page.words[1]
    assert (world.text, world.confidence, world.characters[-1], world.detection) == ("world", 0.5, 0.5, 0.7)
    np.testing.assert_array_equal(world.polygon, BOXES[0])
    assert world.polygon.dtype == np.float32


def test_a_document_is_its_pages(page):
    document = Document((page, replace(page, number=2)))
    assert len(document) == 2 and document[1].number == 2 and [p.number for p in document] == [1, 2]
    assert document.text == page.text + "\f" + page.text
    assert len(document.words) == 8


def lines(*texts: str) -> Block:
    return Block(tuple(Line(tuple(Word(text, 1.0, box(0, 0, 9, 9)) for text in line.split())) for line in texts))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["an invoice", "of May"], "an invoice of May"),
        (["the descrip-", "tion of improve-", "ments made"], "the description of improvements made"),
        (["inter-", "natio-", "nal"], "international"),  # a line of one word
        (["from Alsace-", "Lorraine in 1870-", "1871"], "from Alsace-Lorraine in 1870-1871"),
        (["ends in a -", "dash", "--", "so"], "ends in a - dash -- so"),
        (["a divi\u00ad", "sion and a rela\u2010", "tion"], "a division and a relation"),
        (["(com-", "pounds)"], "(compounds)"),
        (["the last line-"], "the last line-"),
        (["f-", "sharp"], "f-sharp"),  # one letter is not divided
        ([], ""),
    ],
)
def test_a_paragraph_is_lines_in_a_row_and_words_across_their_ends(texts, expected):
    assert lines(*texts).paragraph == expected


def test_paragraphs_are_those_of_all_blocks_and_pages():
    page = Page("a.png", 1, 9, 9, (lines("one di-", "vided"), lines("two")))
    assert page.paragraphs == ("one divided", "two")
    assert Document((page, page)).paragraphs == ("one divided", "two") * 2


def test_nothing_read():
    assert assemble(np.zeros((0, 4, 2)), [], []) == ()
    page = Page("a.png", 1, 10, 10)
    assert (page.text, page.words, page.lines) == ("", (), ())
    assert Document((page,)).text == ""


def test_to_plain_values_and_back(page):
    document = Document((page,))
    plain = json.loads(json.dumps(document.to_dict()))
    again = Document.from_dict(plain)
    assert again == document
    assert again[0].seconds == 0.25
    assert again.words[0].polygon.dtype == np.float32


def test_equality_sees_all_but_the_time(page):
    assert page == replace(page, seconds=9.0)
    word = page.words[0]
    assert hash(word) == hash(replace(word))
    for change in ({"text": "x"}, {"confidence": 0.1}, {"polygon": word.polygon + 1}, {"characters": ()}):
        other = replace(word, **change)
        assert other != word
        assert replace(page, blocks=(Block((Line((other,)),)),)) != page
    assert word != "hello"


def test_values_do_not_change(page):
    with pytest.raises(FrozenInstanceError):
        page.words[0].text = "other"
    assert Word("a", 1.0, box(0, 0, 1, 1)).words[0].text == "a"
