"""Documents written out: what comes back from a parser of each form is what went in."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import formats
from zoo.page import Block, Document, Line, Page, Word


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def document(*texts: str, source: str = "images/a.jpg") -> Document:
    words = tuple(Word(text, 0.5, box(40 * i, 2, 40 * i + 30, 22.4), (0.5,)) for i, text in enumerate(texts))
    page = Page(source, 3, 200, 100, (Block((Line(words),)),) if words else (), 0.12345)
    return Document((page,))


def test_text():
    assert formats.as_text(document("été", "à")) == "été à\n"
    assert formats.as_text(document()) == "\n"


def test_paragraphs_are_a_line_each():
    page = document("a")[0]
    block = Block((*document("an divi-")[0].lines, *document("sion")[0].lines))
    pages = Document((replace(page, blocks=(block, *page.blocks)), page))
    assert formats.as_paragraphs(pages) == "an division\na\na\n"
    assert formats.as_paragraphs(document()) == ""


def test_json_comes_back_whole():
    written = formats.as_json(document("é", "b"))
    assert Document.from_dict(json.loads(written)) == document("é", "b")
    assert "é" in written


def test_names_of_bytes_that_are_no_utf_8_can_be_written_and_come_back():
    name = b"page-\xff-\xc3\xa9.png".decode("utf-8", "surrogateescape")
    for written in (formats.as_json(document("é", source=name)), formats.as_jsonl(document("é", source=name))):
        back = json.loads(written.encode("utf-8"))
        assert (back["pages"][0]["source"] if "pages" in back else back["image"]) == name and "é" in written


def test_json_lines_are_what_the_scores_are_counted_on():
    both = Document((document("a", "b")[0], document()[0]))
    first, second = map(json.loads, formats.as_jsonl(both).splitlines())
    assert first == {
        "image": "images/a.jpg",
        "page": 3,
        "width": 200,
        "height": 100,
        "words": [
            {"polygon": [[0, 2], [30, 2], [30, 22.4], [0, 22.4]], "text": "a", "confidence": 0.5},
            {"polygon": [[40, 2], [70, 2], [70, 22.4], [40, 22.4]], "text": "b", "confidence": 0.5},
        ],
        "seconds": 0.1235,
    }
    assert second["words"] == []


def by_class(root, name: str) -> list[ElementTree.Element]:
    return [element for element in root.iter() if element.get("class") == name]


def test_hocr():
    root = ElementTree.fromstring(formats.as_hocr(document("a<b", '"&', source='x "1" & <2>.png')).encode())
    assert root.tag == "{http://www.w3.org/1999/xhtml}html"
    (page,), (area,), (line,) = (by_class(root, name) for name in ("ocr_page", "ocr_carea", "ocr_line"))
    assert page.get("title") == 'image "x %221%22 & <2>.png"; bbox 0 0 200 100; ppageno 2'
    assert area.get("title") == line.get("title") == "bbox 0 2 70 22"
    words = by_class(line, "ocrx_word")
    assert [word.text for word in words] == ["a<b", '"&']
    assert words[1].get("title") == "bbox 40 2 70 22; x_wconf 50"
    assert "".join(line.itertext()) == 'a<b "&'
    identities = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identities) == 5 == len(set(identities))


def test_hocr_of_nothing():
    assert by_class(ElementTree.fromstring(formats.as_hocr(Document(()))), "ocr_page") == []
    (page,) = by_class(ElementTree.fromstring(formats.as_hocr(document())), "ocr_page")
    assert len(page) == 0


def test_hocr_has_all_that_xml_can_hold():
    written = formats.as_hocr(document("a\U0001f600\U00020bb7\x01\ud800\uffff", source="\U0001f600\nb\tc\r.png"))
    root = ElementTree.fromstring(written.encode())
    assert [word.text for word in by_class(root, "ocrx_word")] == ["a\U0001f600\U00020bb7"]
    (page,) = by_class(root, "ocr_page")
    assert page.get("title").startswith('image "\U0001f600\nb\tc\r.png"; bbox')


@given(st.text(), st.text())
def test_hocr_is_xml_whatever_was_read(text, source):
    root = ElementTree.fromstring(formats.as_hocr(document(text, source=source)).encode())
    assert len(by_class(root, "ocrx_word")) == 1


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_every_format_ends_in_a_new_line(name):
    assert formats.FORMATS[name](document("a")).endswith("\n")


# ---------------------------------------------------------------- picture


def page_of(*words: Word, width: int = 200, height: int = 100) -> Page:
    return Page("a", 1, width, height, tuple(Block((Line((word,)),)) for word in words))


def test_colours_go_from_red_to_green():
    assert formats.colour(0) == formats.UNSURE == formats.colour(-1)
    assert formats.colour(0.5) == formats.DOUBT
    assert formats.colour(1) == formats.SURE == formats.colour(2)
    assert formats.colour(0.25)[0] == round((formats.UNSURE[0] + formats.DOUBT[0]) / 2)


def halves(picture: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    return picture[:, :width], picture[:, -width:]


def test_overlay_marks_words_and_writes_them_beside():
    white = np.full((100, 200, 3), 255, "uint8")
    word = Word("Hi", 1.0, box(20, 30, 60, 50))
    left, right = halves(formats.overlay(white, page_of(word)), 200)
    assert (white == 255).all()  # the page itself is not drawn on
    np.testing.assert_allclose(left[30, 40], formats.SURE, atol=25)  # the frame, its edges smoothed
    assert 200 < left[40, 40].mean() < 254  # a tint
    assert (left[60:] == 255).all()
    ink = (right < 200).any(-1)
    rows, columns = np.nonzero(ink)
    assert rows.min() >= 28 and rows.max() <= 52 and columns.min() >= 20 and columns.max() <= 60
    assert np.ptp(columns) > 12 and np.ptp(rows) > 8


def test_turned_text_is_drawn_turned():
    white = np.full((100, 200, 3), 255, "uint8")
    upwards = np.array([[50, 90], [50, 10], [70, 10], [70, 90]], "float32")
    _, right = halves(formats.overlay(white, page_of(Word("llllllllll", 1.0, upwards))), 200)
    rows, columns = np.nonzero((right < 200).any(-1))
    assert np.ptp(rows) > 40 and np.ptp(columns) < 24


@pytest.mark.parametrize("text", ["é", "ç", "Ù", "ß", "€", "£", "฿", "—"])
def test_the_font_knows_the_characters(text):
    drawn, unknown = (formats._mask(c, 60) for c in (text, "\U0010fffe"))
    assert drawn.max() == 255
    assert drawn.shape != unknown.shape or (drawn != unknown).any()


def test_overlay_of_a_reduced_page_and_of_odd_words():
    reduced = np.full((50, 100, 3), 255, "uint8")  # of a page of 200 by 400
    words = [
        Word("big", 0.9, box(40, 40, 200, 80)),
        Word("point", 0.1, box(5, 5, 5, 5)),
        Word("outside", 0.1, box(390, 190, 500, 260)),
        Word("", 0.1, box(0, 100, 50, 120)),
    ]
    picture = formats.overlay(reduced, page_of(*words, width=400, height=200))
    left, right = halves(picture, 100)
    assert left.shape == right.shape == (50, 100, 3)
    np.testing.assert_allclose(left[10, 30], formats.colour(0.9), atol=25)
    assert (right[8:22, 8:52] < 200).any()


def test_overlay_is_not_larger_than_asked_for():
    picture = formats.overlay(np.zeros((400, 300, 3), "uint8"), page_of(width=300, height=400), side=200)
    assert picture.shape[0] == 200
    assert halves(picture, 150)[1].min() == 255


def test_parts_are_painted_over_and_named_below():
    page = np.full((300, 400, 3), 200, "uint8")
    classes = np.zeros((300, 400), "uint8")
    classes[100:, :200], classes[100:, 200:] = 1, 2
    picture = formats.parts(page, classes, ["background", "text", "title"], side=200)
    assert picture.shape[1] == 200 and picture.shape[0] > 150
    assert (picture[20, 20] == 200).all()  # the background is left
    for column, index in ((50, 1), (150, 2)):
        np.testing.assert_allclose(picture[120, column], 100 + formats.COLOURS[index] // 2, atol=1)
    legend = picture[150:].astype(int)
    for half, index in ((legend[:, :100], 1), (legend[:, 100:], 2)):
        assert (np.abs(half - formats.COLOURS[index]).max(-1) < 3).sum() > 30
    assert (page == 200).all()
