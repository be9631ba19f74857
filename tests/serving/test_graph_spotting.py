"""A spotter served as one graph reads what it reads here."""

from __future__ import annotations

from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_graph import check, dark, encoded, page, tight, words
from toys import LOCAL

import zoo
from recipes.metrics import edits
from serving import export as exports
from serving import graph_joining, graph_spotting
from serving.client import Client
from serving.server import Server
from zoo import bands, geometry, joining, runtime
from zoo.charset import Charset
from zoo.page import Page
from zoo.reading import Reader, Spotter

LETTERS = "0123456789 "  # of the card's options for tests
VALUES = {
    "size": [256, 256], "multiple": 64, "threshold": 0.5, "box_threshold": 0.6, "unclip": 1.0, "widths": [16, 48, 128],
}  # fmt: skip


@pytest.fixture(scope="module")
def spotting() -> graph_spotting.Spotting:
    """An untrained spotter that takes what is dark for text, so that there are words; what it reads is nonsense."""
    keras.utils.set_random_seed(5)
    card = zoo.card("ocrnet_mobilenet_v3_large")
    network = zoo.build(card.name, **card.test_options)
    for variable in network.weights:  # what is read must differ from word to word
        if variable.path.startswith(("word_recurrent", "word_logits")):
            variable.assign(2 * np.asarray(variable))
    divided = runtime.parts(card, network)
    shared = {"features": divided.locate.output["features"]}
    locator = keras.Model(divided.locate.input, {"logits": dark()(divided.locate.input)["logits"], **shared})
    return graph_spotting.Spotting(locator, divided.view, divided.read, VALUES, Charset(LETTERS))


def reader_of(spotting: graph_spotting.Spotting) -> Reader:
    def call(network):
        return lambda given: {key: value.numpy() for key, value in network(given, training=False).items()}

    spotter = Spotter(call(spotting.locator), call(spotting.reader), spotting.charset, **spotting.reading)
    return Reader(spotter, None, upright=True)


@pytest.fixture(scope="module")
def reader(spotting) -> Reader:
    return reader_of(spotting)


@pytest.fixture(scope="module")
def served(spotting, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    exports.make_spotter(spotting, {"spotting": {}}, folder, "spot")
    with Server(folder, "127.0.0.1:0") as server, Client(f"127.0.0.1:{server.port}", options=LOCAL) as client:
        yield client


def misread(answer: dict, number: int, expected: Page) -> float:
    """The part of the characters of a page that the answer has otherwise; its words lie where they should."""
    wrong = total = 0
    for word in expected.words:
        text, polygon = max(words(answer, number), key=lambda other: geometry.iou(word.polygon, other[1]))
        assert np.abs(polygon - word.polygon).max() < 1.5
        wrong, total = wrong + edits(text, word.text), total + len(word.text)
    return wrong / total


@pytest.mark.slow
def test_pages_are_read_as_by_the_spotter(served, reader):
    """Level, turned, and slanted pages, and one without words, together."""
    matrix = cv2.getRotationMatrix2D((160, 120), 9, 1)
    slanted = cv2.warpAffine(page(), matrix, (320, 240), borderValue=(255, 255, 255))
    pages = [page(), np.full((50, 60, 3), 255, "uint8"), slanted, np.rot90(page()).copy(), 255 - page()]
    answer = served.predict("spot", [encoded(pixels) for pixels in pages])
    assert answer["sizes"].tolist() == [list(pixels.shape[:2]) for pixels in pages]
    assert answer["counts"][1] == 0
    level, slanted, turned, dark = (reader.read(pages[number])[0] for number in (0, 2, 3, 4))
    assert dark.text == level.text
    for number, upright in ((0, level), (3, turned), (4, dark)):  # OpenCV rounds places to 1/32 of a pixel
        assert answer["counts"][number] == len(upright.words) > 10 and misread(answer, number, upright) < 0.05
    assert len({word.text for word in level.words}) > 5
    # Angles are found to an eighth of a degree: what nonsense says of views depends on that here and there.
    assert answer["counts"][2] == len(slanted.words) > 10 and misread(answer, 2, slanted) < 0.15


def test_small_print_is_read_in_bands_as_by_the_spotter(spotting):
    """A page three times as high, of which a first look of 256 pixels sees words too low for what is asked."""
    closer = replace(spotting, reading={**VALUES, "small": 40.0, "wanted": 18.0})
    high = np.concatenate([page()] * 3)
    reader = reader_of(closer)
    looks = list(reader.detector.detector.looks(high))
    assert len(looks) > 1 and {tuple(look.corner) for look in looks} != {(0.0, 0.0)}
    seen = reader.read(high)[0]
    answer = {name: value.numpy() for name, value in graph_spotting.read(closer, tf.constant([encoded(high)])).items()}
    check(answer, 0, seen)
    assert len({word.text for word in seen.words}) > 5
    assert len(seen.words) > len(reader_of(spotting).read(high)[0].words) / 2


def test_unsure_words_are_looked_at_again_as_by_the_spotter(spotting):
    """Of nonsense all is unsure; the second look reads some words otherwise, and surely enough to stand."""
    twice = replace(spotting, reading={**VALUES, "again": 0.999})
    once, seen = reader_of(spotting).read(page())[0], reader_of(twice).read(page())[0]
    assert {word.text for word in once.words} != {word.text for word in seen.words}
    read = tf.function(lambda data: graph_spotting.read(twice, data), [tf.TensorSpec([None], tf.string)])
    empty = np.full((50, 60, 3), 255, "uint8")
    answer = {name: value.numpy() for name, value in read(tf.constant([encoded(page()), encoded(empty)])).items()}
    assert answer["counts"].tolist() == [len(seen.words), 0]
    assert misread(answer, 0, seen) < 0.15 < misread(answer, 0, once)  # places are rounded, see above


@pytest.mark.parametrize("bands", [{}, {"small": 60.0, "wanted": 18.0}])
def test_pieces_of_words_are_put_together_as_by_the_spotter(spotting, bands, monkeypatch):
    """Boxes so wide that many run into each other; two are one word, since this nonsense hardly has spaces."""
    for module in (joining, graph_joining):
        monkeypatch.setattr(module, "SURE", 0.0)
    wide = replace(spotting, reading={**VALUES, **bands, "unclip": 2.0}, charset=Charset("0123456 789"))
    reader = reader_of(wide)
    seen = reader.read(tight())[0]
    answer = {name: value.numpy() for name, value in graph_spotting.read(wide, tf.constant([encoded(tight())])).items()}
    assert answer["counts"].tolist() == [len(seen.words)]
    assert misread(answer, 0, seen) < 0.15
    assert sum(np.ptp(word.polygon[:, 0]) > 80 for word in seen.words) > 1


def test_long_pages_are_read_in_parts_as_by_the_spotter(spotting, reader):
    pages = [cv2.resize(page(), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)] * 5
    long = np.concatenate(pages, 0)
    assert len(bands.parts(long.shape[:2])) == 3
    seen = reader.read(long)[0]
    answer = {key: value.numpy() for key, value in graph_spotting.read(spotting, tf.constant([encoded(long)])).items()}
    found = words(answer, 0)
    assert len(found) == len(seen.words) > 20 and misread(answer, 0, seen) < 0.05
    for word in seen.words:
        assert max(geometry.iou(word.polygon, polygon) for _, polygon in found) > 0.9


@pytest.mark.slow
def test_places_are_those_of_the_spotter(served, reader):
    answer = served.predict("spot", [encoded(page())], signature="detect")
    boxes, scores = reader.detector.detector(page())
    assert answer["counts"].tolist() == [len(boxes)]
    order, found = np.lexsort(boxes[:, 0].T), np.lexsort(answer["polygons"][0][:, 0].T)
    np.testing.assert_allclose(answer["polygons"][0][found], boxes[order], atol=1.5)
    np.testing.assert_allclose(np.sort(answer["detection"][0]), np.sort(scores), atol=1e-3)
