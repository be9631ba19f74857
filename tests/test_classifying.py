"""Classes of whole pictures: what is shown to the network, what it is taken to say, and pages that are read upright."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_reading import blank_page, make_reader, write

from recipes import evaluate
from zoo import geometry, image, reading
from zoo.cells import CellFinder
from zoo.classifying import Classifier, classifier
from zoo.image import ImageError
from zoo.regions import Finder
from zoo.segmenting import Segmenter

SAMPLE = Path(__file__).parents[1] / "samples" / "receipt.jpg"
ANGLES = (0, -90, 180, 90)  # a quarter turn against the clock is -90


def bright(batch: np.ndarray) -> dict[str, np.ndarray]:
    """Logits by which side of a picture is bright: left, bottom, right, top, as of a page bright at the left."""
    half = batch.shape[1] // 2
    sides = [batch[:, :, :half], batch[:, half:], batch[:, :, half:], batch[:, :half]]
    return {"logits": np.stack([side.mean((1, 2, 3)) for side in sides], -1) / 10}


def pages(**options) -> Classifier:
    return Classifier(bright, size=(32, 32), picture="page", angles=ANGLES, **options)


def left_bright(height: int = 60, width: int = 40) -> np.ndarray:
    picture = np.zeros((height, width, 3), "uint8")
    picture[:, : width // 2] = 255
    return picture


@pytest.mark.parametrize("turns", range(4))
def test_turns_are_counted_against_the_clock(turns):
    picture = np.rot90(left_bright(), turns)
    ((label, share),) = pages()([picture])
    assert label == str(ANGLES[turns]) and share > 0.9
    assert pages().turns(picture) == turns


def test_who_is_not_certain_turns_nothing():
    grey = np.rot90(left_bright(64, 64) // 60 + 100, 2)
    ((label, share),) = pages()([grey])
    assert label == "180" and share < 0.5
    assert pages().turns(grey, least=0.5) == 0 and pages().turns(grey) == 2


def test_probabilities_by_hand():
    """exp(0), exp(ln 3), 0: a quarter and three quarters."""
    classify = Classifier(
        lambda batch: {"logits": np.log([[1.0, 3.0, 1e-9]])}, size=(8, 8), picture="character", charset="abc"
    )
    ((label, share),) = classify([np.zeros((5, 9, 3), "uint8")])
    assert label == "b" and share == pytest.approx(0.75, abs=1e-6)


def test_many_pictures_come_in_batches():
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return bright(batch)

    found = Classifier(run, size=(32, 32), picture="page", angles=ANGLES)(
        [np.rot90(left_bright(), k) for k in range(4)] * 20
    )
    assert [label for label, _ in found] == list(map(str, ANGLES)) * 20 and sizes == [64, 16]


def test_characters_are_stretched_and_pages_are_not():
    character = Classifier(bright, size=(32, 32), picture="character", charset="ab")
    white = np.full((10, 40, 3), 255, "uint8")
    assert (character.fitted(white) == 255).all()
    assert np.flatnonzero(pages().fitted(white).any((1, 2))).tolist() == list(range(12, 20))


@pytest.mark.parametrize("turns", range(4))
def test_the_shipped_network_tells_how_the_sample_lies(turns):
    picture = np.rot90(next(image.pages(SAMPLE)).pixels, turns)
    assert reading.turns_by(reading.ORIENTATION)(picture) == turns


def test_classes_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="a charset, or angles"):
        Classifier(bright, size=(32, 32), picture="page")
    with pytest.raises(ValueError, match="crnn_vgg16_bn is a model for recognition; one for classification"):
        classifier("crnn_vgg16_bn")
    with pytest.raises(ValueError, match="lenet5 does not tell how pages lie"):
        reading.turns_by("lenet5", "keras")


# ---------------------------------------------------------------- pages that are read upright


@pytest.mark.parametrize("turns", range(4))
def test_points_of_a_turned_picture(turns):
    """A point stays on what it showed."""
    picture = np.arange(15 * 20).reshape(15, 20)
    points = np.array([[3.5, 7.5], [19.5, 0.5]])
    moved = geometry.turned(points, picture.shape, turns)
    after = np.rot90(picture, turns)
    for (x, y), (u, v) in zip(points, moved, strict=True):
        assert after[int(v), int(u)] == picture[int(y), int(x)]


@pytest.mark.parametrize("turns", range(4))
def test_a_page_that_lies_is_read_upright(turns):
    page = blank_page(300, 512)
    places = {text: write(page, text, x, y) for text, x, y in [("012", 40, 40), ("345", 200, 40), ("6789", 40, 90)]}
    lying = np.ascontiguousarray(np.rot90(page, turns))
    (read,) = make_reader(turns=lambda pixels: turns).read(lying).pages
    assert read.text == "012 345\n6789"
    assert (read.height, read.width) == lying.shape[:2]
    for word in read.words:
        np.testing.assert_allclose(word.polygon, geometry.turned(places[word.text], page.shape[:2], turns), atol=1.5)


# ---------------------------------------------------------------- scores


def test_scores_of_a_classifier_of_pages(tmp_path, monkeypatch):
    """Two pages: all turns of one are told; the other is bright at the right, and each turn is taken for another."""
    rows = []
    for name, picture in {"a": left_bright(), "b": left_bright()[:, ::-1]}.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        rows.append(json.dumps({"image": f"{name}.png", "words": [], "page_text": "x", "split": "test"}))
    (tmp_path / "labels.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr("zoo.runtime.connect", lambda name, runtime: bright)
    (result,) = evaluate.evaluate(["mobilenet_v3_small_page_orientation"], tmp_path)
    scores = result.scores
    assert scores["pictures"] == 2 and scores["accuracy"] == 0.5 and scores["kept"] == 0.5 and scores["turned"] == 0.5


def test_scores_of_a_classifier_of_characters(tmp_path, monkeypatch):
    """ "0" and "1" are of its alphabet, "é0" is none: one of two is right."""
    rows = []
    for index, text in enumerate(("0", "1", "é0")):
        Image.fromarray(left_bright()).save(tmp_path / f"{index}.png")
        rows.append(json.dumps({"image": f"{index}.png", "text": text, "split": "test"}))
    (tmp_path / "labels.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr(
        "zoo.runtime.connect", lambda name, runtime: lambda batch: {"logits": np.eye(126)[[1] * len(batch)]}
    )
    (result,) = evaluate.evaluate(["lenet5"], tmp_path)
    assert (result.scores["pictures"], result.scores["accuracy"]) == (2, 0.5)


def odd_pictures() -> list[np.ndarray]:
    """The same picture in each form in which arrays come: RGB, grey, RGBA, numbers from 0 to 1, deep."""
    grey = np.full((30, 20), 255, np.uint8)
    grey[5:9, 3:12] = 0
    rgb = np.repeat(grey[..., None], 3, -1)
    return [
        rgb,
        grey,
        grey[..., None],
        np.dstack([rgb, np.full_like(grey, 255)]),
        rgb / 255,
        rgb.astype("uint16") * 257,
    ]


def test_whatever_takes_a_picture_takes_it_in_every_form():
    """Classifier, segmenter and finders of regions and cells give their network the same pixels."""
    seen = []

    def run(batch):
        seen.append(batch)
        raise StopIteration  # what comes of it is told elsewhere

    both = {"run": run, "size": (64, 64)}
    takers = [
        lambda pixels: Classifier(picture="page", angles=(0, 90, 180, 270), **both)([pixels]),
        Segmenter(labels=["a", "b"], **both),
        Finder(labels=["a"], **both),
        CellFinder(multiple=32, **both),
    ]
    for take in takers:
        seen.clear()
        for picture in odd_pictures():
            with pytest.raises(StopIteration):
                take(picture)
        for batch in seen[1:]:
            np.testing.assert_array_equal(batch, seen[0])
        for picture in (np.zeros((0, 5, 3), "uint8"), np.zeros((9, 9, 2), "uint8"), "page.png"):
            with pytest.raises(ImageError, match=r"1, 3 or 4 channels would do"):
                take(picture)


def test_one_picture_in_place_of_several_is_told():
    classify = Classifier(lambda batch: {}, picture="page", size=(32, 32), angles=(0, 90, 180, 270))
    with pytest.raises(ValueError, match=r"give a list of pictures, not an array of shape \(30, 20, 3\)"):
        classify(odd_pictures()[0])
