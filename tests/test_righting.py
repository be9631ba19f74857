"""Pages that lie are found out by how they read, and read as if they were upright."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from zoo import geometry, image, righting
from zoo.charset import Charset, Reading
from zoo.reading import Reader, Spotter

WORDS = [(x, y) for y in range(40, 400, 40) for x in (40, 160)]  # top left corners of bars of 80 by 16 pixels


def page(words=WORDS) -> np.ndarray:
    """Bars whose upper half is darker: their "text" is upright."""
    pixels = np.full((480, 320, 3), 255, "uint8")
    for x, y in words:
        pixels[y : y + 8, x : x + 80], pixels[y + 8 : y + 16, x : x + 80] = 0, 120
    return pixels


def find(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bars as they lie; one that stands is taken for five signs, one below the other."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((pixels[..., 0] < 200).astype("uint8"))
    boxes = []
    for x, y, width, height, _ in stats[1:]:
        parts = 1 if width > height else 5
        for part in range(parts):
            top, bottom = y + part * height // parts, y + (part + 1) * height // parts
            boxes.append([[x, top], [x + width, top], [x + width, bottom], [x, bottom]])
    found = np.array(boxes, "float32").reshape(-1, 4, 2)
    return found, np.ones(len(found))


class Recognizer:
    """Reads a bar as "word", an inverted one badly, anything else as one sign; counts what it was given."""

    def __init__(self):
        self.given = 0

    def __call__(self, crops):
        self.given += len(crops)
        return [self.one(crop) for crop in crops]

    @staticmethod
    def one(crop: np.ndarray) -> Reading:
        if crop.shape[1] < 2 * crop.shape[0]:
            return Reading("i", 0.5, (0.5,))
        dark_above = crop[: len(crop) // 2].mean() < crop[len(crop) // 2 :].mean()
        text, each = ("word", 0.97) if dark_above else ("pJom", 0.7)
        return Reading(text, each**4, (each,) * 4)


@pytest.mark.parametrize("turns", range(4))
def test_a_page_is_read_however_it_lies(turns):
    whole, recognizer = page(), Recognizer()
    lying = np.ascontiguousarray(np.rot90(whole, turns))
    read = Reader(find, recognizer).read(lying).pages[0]
    assert [word.text for word in read.words] == ["word"] * len(WORDS)
    true = geometry.turned(np.array([[x, y] for x, y in WORDS], "float32"), whole.shape[:2], turns)
    np.testing.assert_allclose(sorted(word.polygon[0].tolist() for word in read.words), sorted(true.tolist()), atol=1)
    assert (read.width, read.height) == lying.shape[1::-1]
    if turns == 0:
        assert recognizer.given == len(WORDS)  # nothing is looked at twice


LETTERS = Charset("wordpJmi")


def spotter() -> Spotter:
    """Finds the bars and reads each from its strip, as `Recognizer.one` would."""

    def locate(batch):
        return {"logits": np.where(batch[..., :1] < 200, 9.0, -9.0).astype("float32")}

    def read(views):
        words = [Recognizer.one(strip[:, strip.any((0, 2))]) for strip in views["strips"] if strip.any()]
        text = np.full((len(views["strips"]), 8, len(LETTERS) + 1), -30.0, "float32")
        for row, word in zip(text, words, strict=False):
            row[:, LETTERS.blank] = 0
            for place, (letter, sure) in enumerate(zip(word.text, word.characters, strict=True)):
                row[2 * place, [LETTERS.characters.index(letter), LETTERS.blank]] = np.log([sure, 1 - sure])
        return {"text": text}

    return Spotter(locate, read, LETTERS, size=(480, 480), multiple=32, unclip=0, wanted=16)


@pytest.mark.parametrize("turns", range(4))
def test_a_spotters_page_is_read_however_it_lies(turns):
    whole, read = page(), Reader(spotter(), None).read(np.ascontiguousarray(np.rot90(page(), turns))).pages[0]
    assert [word.text for word in read.words] == ["word"] * len(WORDS)
    true = geometry.turned(np.array([[x, y] for x, y in WORDS], "float32"), whole.shape[:2], turns)
    np.testing.assert_allclose(sorted(word.polygon[0].tolist() for word in read.words), sorted(true.tolist()), atol=2)


def test_a_spotter_reads_crops_of_any_sizes():
    pixels = page()
    crops = [pixels[40:56, 40:120], np.repeat(pixels[40:56, 40:120], 3, 0)[:, :64], pixels[40:56, 40:120][::-1]]
    assert [reading.text for reading in spotter().recognize(crops)] == ["word", "i", "pJom"]
    assert spotter().recognize([]) == []


@pytest.mark.parametrize(("wide", "looked"), [(5, False), (2, True)])
def test_a_page_of_few_wide_words_is_not_looked_at_on_its_side(wide, looked):
    """Seven words that are hardly read, as on a photograph; where most are high, the page may lie on its side."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], "float32")
    boxes = np.array([corners * ((60, 20) if i < wide else (20, 22)) + (10, 40 * i) for i in range(7)], "float32")
    seen = []

    def find(pixels):
        seen.append(pixels.shape)
        return np.zeros((0, 4, 2), "float32"), np.zeros(0)

    readings = [Reading("ab", 0.04, (0.2, 0.2))] * 7
    assert righting.misread(np.zeros((300, 400, 3), "uint8"), boxes, readings, find, lambda crops: []) == 0
    assert bool(seen) == looked


def test_pages_that_are_said_to_be_upright_are_read_as_they_come():
    lying = np.ascontiguousarray(np.rot90(page(), 2))
    read = Reader(find, Recognizer(), upright=True).read(lying).pages[0]
    assert {word.text for word in read.words} == {"pJom"}


def test_a_classifier_may_be_mistaken_by_a_half_turn():
    """What it says is where the search begins."""
    lying = np.ascontiguousarray(np.rot90(page(), 1))
    read = Reader(find, Recognizer(), turns=lambda pixels: 3).read(lying).pages[0]
    assert {word.text for word in read.words} == {"word"}


def nothing(*_):
    raise AssertionError("nothing needs to be looked at")


@pytest.mark.parametrize(("roll", "turns"), [(1, 1), (-1, 3)], ids=["upwards", "downwards"])
def test_words_that_run_up_or_down_tell_without_a_look(roll, turns):
    """Ten tall words that were read from below, or from above, and two that lie level."""
    tall = np.array([[[x, 20], [x + 9, 20], [x + 9, 90], [x, 90]] for x in range(0, 150, 15)], "float32")
    level = np.array([[[0, y], [50, y], [50, y + 9], [0, y + 9]] for y in (100, 120)], "float32")
    boxes = np.concatenate([np.roll(tall, roll, 1), level])
    readings = [Reading("word", 0.81, (0.9, 1, 0.9, 1))] * len(boxes)
    assert righting.running(boxes, readings) == pytest.approx((6.48, *((32.4, 0) if roll > 0 else (0, 32.4))))
    assert righting.misread(page(), boxes, readings, nothing, nothing) == turns
    upright = np.concatenate([level] * 6)
    assert righting.misread(page(), upright, readings, nothing, nothing) == 0


def test_a_page_on_its_side_of_which_hardly_a_box_was_found_is_turned():
    lying = np.ascontiguousarray(np.rot90(page()))
    boxes, readings = find(lying)[0][:2], [Reading("i", 0.5, (0.5,))] * 2
    assert righting.misread(lying, boxes, readings, find, Recognizer()) == 1
    few = np.ascontiguousarray(np.rot90(page(WORDS[: righting.FEWEST - 1])))
    assert righting.misread(few, boxes, readings, find, Recognizer()) == 0


def test_few_boxes_do_not_turn_a_page():
    lying = np.ascontiguousarray(np.rot90(page(WORDS[: righting.FEWEST - 1]), 2))
    read = Reader(find, Recognizer()).read(lying).pages[0]
    assert {word.text for word in read.words} == {"pJom"}


def test_little_text_does_not_turn_a_page():
    """Ten signs read well upside down and badly as they are: too few to believe."""
    pixels, recognizer = page(WORDS[:10]), Recognizer()
    boxes, _ = find(pixels)
    recognizer.one = lambda crop: Reading("i", 0.6, (0.6,))  # type: ignore[method-assign]
    as_it_is = [Reading("i", 0.1, (0.1,))] * len(boxes)
    assert righting.misread(pixels, boxes, as_it_is, find, recognizer) == 0
    recognizer.one = lambda crop: Reading("ill", 0.9, (0.9,) * 3)  # type: ignore[method-assign]
    assert righting.misread(pixels, boxes, as_it_is, find, recognizer) != 0


def test_what_reads_badly_any_way_up_stays_as_it_is():
    """Signs in a picture: nothing reads clearly better than anything else."""
    pixels, recognizer = page(), Recognizer()
    recognizer.one = lambda crop: Reading("i", 0.4, (0.4,))  # type: ignore[method-assign]
    boxes, _ = find(pixels)
    assert righting.misread(pixels, boxes, recognizer([pixels] * len(boxes)), find, recognizer) == 0


@pytest.mark.parametrize("shape", [(400, 100), (100, 400), (3, 5), (1, 1)])
def test_a_band_lies_along_the_longer_side_in_the_middle(shape):
    pixels = np.arange(shape[0] * shape[1]).reshape(*shape, 1)
    band = righting._band(pixels)
    long, short = max(shape), min(shape)
    assert max(band.shape[:2]) == long and min(band.shape[:2]) == min(short, max(1, long // righting.BAND))
    assert abs(float(band.mean()) - float(pixels.mean())) <= max(shape)


def test_what_a_language_makes_of_a_page_does_not_count():
    """A text that is spelt by a language may be sure, though the picture's characters are not."""
    spelt, read = Reading("word", 0.95, (0.9, 0.4, 0.5, 0.9)), Reading("word", 0.95, (0.99, 0.98, 0.99, 0.99))
    assert righting.sure([spelt]) == pytest.approx(4 * 0.9 * 0.4 * 0.5 * 0.9)
    assert righting.sure([read, Reading("", 1.0, ())]) == pytest.approx(4 * 0.99**3 * 0.98)


# ---------------------------------------------------------------- askew


def boxes(*turns: float, wide: float = 60) -> np.ndarray:
    """Boxes of 12 pixels' height that are turned clockwise by so many degrees, far from each other."""
    corners = np.array([[0, 0], [wide, 0], [wide, 12], [0, 12]])
    radians = np.radians(turns)
    rotation = np.stack([np.cos(radians), np.sin(radians), -np.sin(radians), np.cos(radians)], -1).reshape(-1, 2, 2)
    return (corners @ rotation + np.arange(len(turns))[:, None, None] * 100).astype("float32")


@pytest.mark.parametrize(
    ("turns", "degrees"),
    [
        ([-18, -19, -18, -17, -20, -18], -18),
        ([12] * 6 + [40, -40, 80, -5], 12),
        ([12] * 6 + [102] * 2, 12),  # two that run downwards beside them
        ([5] * 10, 0),
        ([12] * 5, 0),  # of so few none is told
        ([12] * 5 + [30, -30, 3, 44], 0),
        ([-30] * 6 + [0] * 3, 0),  # names below an axis
        ([], 0),
    ],
)
def test_a_page_is_askew_by_what_most_long_boxes_are(turns, degrees):
    assert righting.slant(boxes(*turns), (400, 300)) == pytest.approx(degrees, abs=0.01)


def test_numbers_that_stand_level_tell_of_slanted_names():
    names = boxes(*[-30] * 12)
    assert righting.slant(names, (400, 300)) == pytest.approx(-30, abs=0.01)
    assert righting.slant(np.concatenate([names, boxes(*[0] * 4, wide=20)]), (400, 300)) == 0
    assert righting.slant(boxes(*[-30] * 12, wide=20), (400, 300)) == 0  # what is short does not tell


def test_a_strip_that_would_be_far_larger_is_not_levelled():
    assert righting.slant(boxes(*[20] * 9), (3000, 1000)) == pytest.approx(20, abs=0.01)
    assert righting.slant(boxes(*[20] * 9), (30_000, 1000)) == 0


@pytest.mark.parametrize("degrees", [-37.0, 8.5, 20.0])
def test_a_levelled_page_holds_the_whole_of_it_where_its_matrix_says(degrees):
    pixels = np.full((90, 140, 3), (200, 210, 220), "uint8")
    marks = {(3, 3): (255, 0, 0), (134, 5): (0, 255, 0), (70, 45): (0, 0, 255), (8, 84): (0, 0, 0)}
    for (x, y), colour in marks.items():
        pixels[y - 2 : y + 3, x - 2 : x + 3] = colour
    level, back = image.levelled(pixels, degrees)
    assert level.shape[:2] == image.level_size(pixels.shape[:2], degrees)
    assert (level[0, 0] == (200, 210, 220)).all()
    there = geometry.moved(np.array([*marks], "float32") + 0.5, cv2.invertAffineTransform(back))
    for (x, y), colour in zip(there, marks.values(), strict=True):
        assert (level[int(y), int(x)] == colour).all()  # the middle of each mark
    # A line that runs down by so many degrees on the page is level.
    start, end = geometry.moved(np.array([[0, 0], [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]]),
                                cv2.invertAffineTransform(back))  # fmt: skip
    np.testing.assert_allclose(end - start, (1, 0), atol=1e-5)


def find_turned(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bars at any angle, grey ones too."""
    contours, _ = cv2.findContours((pixels[..., 0] < 200).astype("uint8"), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = geometry.rectangles([contour[:, 0] for contour in contours if len(contour) > 20])
    return found, np.ones(len(found))


@pytest.mark.parametrize("degrees", [-25, 12])
@pytest.mark.parametrize("upright", [False, True])
def test_a_page_askew_is_read_level(degrees, upright):
    turn = cv2.getRotationMatrix2D((160, 240), -degrees, 1)
    turn[:, 2] += 80
    askew = cv2.warpAffine(page(), turn, (480, 640), borderValue=(255, 255, 255))
    seen: list[np.ndarray] = []

    def look(pixels):
        seen.append(pixels)
        return find_turned(pixels)

    read = Reader(look, Recognizer(), upright=upright).read(askew).pages[0]
    assert [word.text for word in read.words] == ["word"] * len(WORDS)
    true = geometry.moved(np.array(WORDS, "float32"), turn)
    found = np.array([word.polygon[0] for word in read.words])
    assert np.linalg.norm(true[:, None] - found[None], axis=2).min(1).max() < 3
    assert (read.width, read.height) == (480, 640)
    angles = [geometry.angles(find_turned(pixels)[0]) for pixels in seen]
    np.testing.assert_allclose(angles[0], degrees, atol=1.5)
    assert len(seen) == 1 if upright else np.abs(angles[1]).max() < 1.5


def test_a_spotters_page_askew_is_read_level():
    class Finds(Spotter):
        def __init__(self):
            self.detector = None

        def __call__(self, pixels):
            boxes, scores = find_turned(pixels)
            return boxes, scores, Recognizer()([image.crop(pixels, box) for box in boxes])

        def recognize(self, crops):
            return Recognizer()(crops)

    turn = cv2.getRotationMatrix2D((160, 240), -20, 1)
    askew = cv2.warpAffine(page(), turn, (320, 480), borderValue=(255, 255, 255))
    read = Reader(Finds(), None).read(askew).pages[0]
    boxes = np.array([word.polygon for word in read.words])
    assert len(boxes) >= 14 and {word.text for word in read.words} == {"word"}
    np.testing.assert_allclose(geometry.angles(boxes), 20, atol=2)
    dark = [askew[int(y), int(x), 0] for x, y in boxes.mean(1)]
    assert max(dark) < 200  # they lie where the bars are
