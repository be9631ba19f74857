"""The reading path with networks whose answers are known.

Words are drawn as rows of bars, a grey for each digit. The fake detector marks what is dark; the fake recognizer tells
digits by their grey, step by step, as a CTC network would. What is between the two is what is tested.
"""

import gc
import io
import os
import pickle
from dataclasses import replace
from math import ceil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo import image, reading, registry
from zoo.charset import Charset, Reading
from zoo.image import ImageError
from zoo.page import Page
from zoo.reading import Detector, PageError, Reader, Recognizer, Spotter

DIGITS = Charset("digits")
BAR, GAP, HIGH = 14, 8, 24  # pixels


def grey(digit: str) -> int:
    return 15 + 10 * int(digit)


def write(page: np.ndarray, text: str, x: int, y: int) -> np.ndarray:
    """Draws the text and returns its box (4, 2)."""
    for place, digit in enumerate(text):
        left = x + place * (BAR + GAP)
        page[y : y + HIGH, left : left + BAR] = grey(digit)
    right = x + len(text) * (BAR + GAP) - GAP
    return np.array([[x, y], [right, y], [right, y + HIGH], [x, y + HIGH]], "float32")


def blank_page(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, "uint8")


def dark(batch: np.ndarray) -> dict[str, np.ndarray]:
    """A detector: sure of what is dark but not padding, letters of a word joined."""
    (picture,) = batch
    mask = ((picture[..., 0] < 180) & (picture[..., 0] > 3)).astype("uint8")
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), "uint8"))
    return {"logits": np.where(mask, 6.0, -6.0).astype("float32")[None, ..., None]}


def bars(batch: np.ndarray) -> dict[str, np.ndarray]:
    """A recognizer: a step of four columns is a digit when it has one grey, that of the digit; else blank."""
    count, _, width, _ = batch.shape
    steps = batch[:, 13:19, :, 0].reshape(count, 6, width // 4, 4).astype(int)
    mean, spread = steps.mean((1, 3)), steps.max((1, 3)) - steps.min((1, 3))
    digits = np.rint((mean - 15) / 10).astype(int)
    found = (spread < 4) & (digits >= 0) & (digits < 10) & (np.abs(mean - 15 - 10 * digits) < 3)
    return {"logits": 8 * np.eye(11, dtype="float32")[np.where(found, digits, 10)]}


class Recorder:
    """Passes on to `run` and keeps the shapes that it was given."""

    def __init__(self, run):
        self.run, self.shapes = run, []

    def __call__(self, batch):
        assert batch.dtype == np.uint8
        self.shapes.append(batch.shape)
        return self.run(batch)


def make_reader(size: int = 512, **options) -> Reader:
    detector = Detector(dark, size=(size, size), multiple=size // 4, unclip=0)
    return Reader(detector, Recognizer(bars, DIGITS), **options)


# ---------------------------------------------------------------- pages


def test_a_page_is_read_in_order_and_in_place():
    page = blank_page(512, 512)
    places = {text: write(page, text, x, y) for text, x, y in
              [("345", 200, 40), ("012", 40, 40), ("6789", 40, 90), ("55", 300, 400)]}  # fmt: skip
    (read,) = make_reader().read(page).pages
    assert read.text == "012 345\n6789\n\n55"
    assert (read.width, read.height, read.number) == (512, 512, 1) and read.seconds > 0
    for word in read.words:
        np.testing.assert_allclose(word.polygon, places[word.text], atol=1.5)
        assert len(word.characters) == len(word.text)
        assert word.confidence == pytest.approx(np.prod(word.characters))
        assert 0.99 < word.detection <= 1


def test_a_dark_page_is_read_as_on_paper():
    page = blank_page(300, 500)
    write(page, "314", 50, 40)
    light, dark_one = make_reader(512).read(page), make_reader(512).read(255 - page)
    assert light.text == dark_one.text == "314"
    np.testing.assert_array_equal(light[0].words[0].polygon, dark_one[0].words[0].polygon)


def test_polygons_are_in_page_pixels_whatever_the_size(monkeypatch):
    page = blank_page(700, 1600)
    place = write(page, "1234", 600, 300)
    for limit in (10**9, 300_000):  # the second: decoded at a half of its sides
        monkeypatch.setattr(image, "REDUCE_ABOVE", limit)
        (read,) = make_reader(1024).read(page).pages
        assert (read.width, read.height) == (1600, 700)
        assert [word.text for word in read.words] == ["1234"]
        np.testing.assert_allclose(read.words[0].polygon, place, atol=5)


def test_a_detector_with_a_coarser_map():
    page = blank_page(256, 256)
    place = write(page, "777", 64, 128)

    def coarse(batch):
        return {"logits": dark(batch)["logits"][:, ::4, ::4]}

    boxes, scores = Detector(coarse, size=(256, 256), multiple=64, unclip=0)(page)
    np.testing.assert_allclose(boxes, [place], atol=4)
    assert scores.shape == (1,)


@pytest.mark.parametrize("wide", [False, True])
def test_a_long_page_is_read_in_parts(wide):
    """Whole, it would be shrunk until nothing could be read; each word is read once, where it stands."""
    page, expected = blank_page(*((60, 9000) if wide else (9000, 300))), []
    for number in range(40):
        x, y = (220 * number + 20, 20) if wide else (40, 220 * number + 20)
        expected.append((f"{number:02}", write(page, f"{number:02}", x, y)))
    (read,) = make_reader(1024).read(page).pages
    assert [word.text for word in read.words] == [text for text, _ in expected]
    for word, (_, place) in zip(read.words, expected, strict=True):
        np.testing.assert_allclose(word.polygon, place, atol=3)
    assert (read.height, read.width) == page.shape[:2]


def test_small_print_is_looked_at_from_closer():
    """At a quarter of its size words 20 pixels apart run together; seen twice as large they do not."""
    page = blank_page(1024, 700)
    places = [write(page, text, x, y) for y in range(60, 960, 80) for text, x in (("01", 60), ("234", 116))]
    for small, count in ((0.0, 12), (7.0, 24), (5.0, 12)):  # their boxes are 6 pixels high at first
        run = Recorder(dark)
        boxes, scores = Detector(run, size=(256, 256), multiple=64, unclip=0, small=small, wanted=12.0)(page)
        assert len(boxes) == len(scores) == count
        if small == 7.0:
            order = np.lexsort((boxes[:, 0, 0], np.round(boxes[:, 0, 1] / 10)))
            np.testing.assert_allclose(boxes[order], places, atol=3)
            assert len(run.shapes) > 2
            assert max(high * wide for _, high, wide, _ in run.shapes) <= 1.5 * 256 * 256  # bands, not the page
        else:
            assert run.shapes == [(1, 256, 192, 3)]


def test_how_close_and_how_large_a_closer_look_is():
    """After a look at a quarter of the size twice or four times as close, in bands of as many pixels or all at once."""
    page = blank_page(1024, 700)
    for y in range(60, 960, 80):
        write(page, "01234567", 60, y)
    shown = []
    for most, room in ((2.0, 0), (4.0, 0), (4.0, 1024 * 1024)):
        run = Recorder(dark)
        Detector(run, size=(256, 256), multiple=64, unclip=0, small=99.0, wanted=99.0, most=most, room=room)(page)
        assert run.shapes[0] == (1, 256, 192, 3)
        shown.append([(high, wide) for _, high, wide, _ in run.shapes[1:]])
    twice, often, whole = shown
    assert whole == [(1024, 384)]  # of 1024 × 700, what holds text
    assert len(often) > len(twice) > 1
    assert {wide for _, wide in twice} == {192} and {wide for _, wide in often} == {384}
    assert max(high * wide for high, wide in twice + often) < 2 * 256 * 256


def test_a_closer_look_at_nothing_is_none():
    run = Recorder(dark)
    boxes, scores = Detector(run, size=(64, 64), multiple=64, unclip=0, small=50.0)(blank_page(90, 90))
    assert boxes.shape == (0, 4, 2) and scores.shape == (0,) and len(run.shapes) == 1


def upright_bars(batch: np.ndarray) -> dict[str, np.ndarray]:
    """As `bars`, but unsure of bars whose dark end is not on top."""
    top, bottom = batch[:, 2:5].mean((1, 2, 3)), batch[:, -5:-2].mean((1, 2, 3))
    return {"logits": bars(batch)["logits"] * np.where(top < bottom, 1, 0.3)[:, None, None]}


@pytest.mark.parametrize(
    ("turns", "first"), [(0, (60, 200)), (1, (200, 340)), (3, (200, 60))], ids=["level", "upwards", "downwards"]
)
def test_words_that_run_upwards_or_downwards(turns, first):
    """A page turned by quarters, against the clock: the polygon begins where the text does, and goes round with it."""
    page = blank_page(400, 400)
    place = write(page, "12345", 60, 200)
    page[200:206][page[200:206] < 180] = 4  # the dark ends
    reader = Reader(Detector(dark, size=(400, 400), multiple=400, unclip=0), Recognizer(upright_bars, DIGITS))
    (word,) = reader.read(np.rot90(page, turns).copy()).words
    assert word.text == "12345"
    np.testing.assert_allclose(word.polygon[0], first, atol=1.5)
    for _ in range(turns):  # (x, y) goes to (y, 400 - x)
        place = np.stack([place[:, 1], 400 - place[:, 0]], 1)
    np.testing.assert_allclose(word.polygon, place, atol=1.5)


def of_level_print(batch: np.ndarray) -> dict[str, np.ndarray]:
    """As `dark`, but of what is higher than wide it finds the middle alone."""
    logits = dark(batch)["logits"]
    _, parts, places, _ = cv2.connectedComponentsWithStats((logits[0, ..., 0] > 0).astype("uint8"))
    for number, (_, top, wide, high, _) in enumerate(places[1:], 1):
        if high > wide:
            rows = np.arange(logits.shape[1])[:, None]
            ends = (rows < top + high // 4) | (rows >= top + 3 * high // 4)
            logits[0, (parts == number) & ends] = -6
    return {"logits": logits}


@pytest.mark.parametrize(("turns", "first"), [(1, (60, 312)), (3, (84, 210))], ids=["upwards", "downwards"])
def test_words_that_run_upwards_beside_level_ones_are_looked_at_where_they_are_level(turns, first):
    page = blank_page(512, 512)
    for text, x, y in [("345", 200, 40), ("0126", 200, 90), ("6789", 200, 150)]:
        write(page, text, x, y)
        page[y : y + 6][page[y : y + 6] < 180] = 4  # the dark ends
    aside = blank_page(24, 102)
    write(aside, "12345", 0, 0)
    aside[:6][aside[:6] < 180] = 4
    page[210:312, 60:84] = np.rot90(aside, turns)
    recognizer, words = Recognizer(upright_bars, DIGITS), {}
    for asked in (False, True):
        # a part is seen from as near as the page, however small bands of small print are
        detector = Detector(of_level_print, size=(512, 512), multiple=128, unclip=0, aside=asked, room=900)
        words[asked] = {word.text: word for word in Reader(detector, recognizer, min_confidence=0.5).read(page).words}
    assert "12345" not in words[False]
    assert words[True].keys() == {"345", "0126", "6789", "12345"}
    polygon = words[True]["12345"].polygon
    np.testing.assert_allclose(polygon[0], first, atol=1.5)
    np.testing.assert_allclose([polygon.min(0), polygon.max(0)], [(60, 210), (84, 312)], atol=1.5)


def test_a_tall_crop_may_stand_upright():
    page = blank_page(200, 200)
    write(page, "1", 60, 60)
    (word,) = make_reader(200, min_confidence=0.5).read(page).words
    assert word.text == "1"


@pytest.mark.parametrize("degrees", [-25, -7, 10, 30])
def test_slanted_words_are_made_level(degrees):
    page = blank_page(512, 512)
    place = write(page, "20406080", 160, 240)
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1)
    slanted = cv2.warpAffine(page, matrix, (512, 512), borderValue=(255, 255, 255))
    (word,) = make_reader().read(slanted).words
    assert word.text == "20406080"
    np.testing.assert_allclose(word.polygon, place @ matrix[:, :2].T + matrix[:, 2], atol=4)


@pytest.mark.parametrize("degrees", [44.9, 45.1])
def test_words_halfway_between_level_and_downwards_are_read_both_ways(degrees):
    """The smallest rectangle of one lies on its side, and was taken for text that runs upwards."""
    page = blank_page(512, 512)
    place = write(page, "20406080", 160, 240)
    page[240:246][page[240:246] < 180] = 4  # the dark ends
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1)
    slanted = cv2.warpAffine(page, matrix, (512, 512), borderValue=(255, 255, 255))
    place = (place @ matrix[:, :2].T + matrix[:, 2]).astype("float32")

    def on_its_side(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.roll(place, 1, axis=0)[None], np.ones(1, "float32")

    (word,) = Reader(on_its_side, Recognizer(upright_bars, DIGITS), upright=True).read(slanted).words
    assert word.text == "20406080"
    np.testing.assert_allclose(word.polygon, place, atol=1e-3)


def test_a_page_without_text():
    (page,) = make_reader().read(blank_page(300, 200)).pages
    assert (page.words, page.text, page.blocks) == ((), "", ())
    assert (page.width, page.height) == (200, 300)


def test_unsure_words_are_left_out():
    page = blank_page(256, 256)
    write(page, "1", 20, 20)
    write(page, "2345678", 20, 100)
    assert [word.text for word in make_reader(256).read(page).words] == ["1", "2345678"]
    sure = 1 / (1 + 10 * np.exp(-8))  # of one digit
    reader = make_reader(256, min_confidence=sure**3)
    assert [word.text for word in reader.read(page).words] == ["1"]


# ---------------------------------------------------------------- long words


def strip_of(text: str) -> np.ndarray:
    crop = blank_page(HIGH + 8, 2 * GAP + len(text) * (BAR + GAP))
    write(crop, text, GAP, 4)
    return crop


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet=DIGITS.characters, max_size=90), min_size=1, max_size=4))
def test_strips_of_any_length_are_read_whole(texts):
    readings = Recognizer(bars, DIGITS, widths=(64, 128, 256))([strip_of(text) for text in texts])
    assert [reading.text for reading in readings] == texts
    assert all(len(reading.characters) == len(reading.text) for reading in readings)


def path(text: str) -> np.ndarray:
    ids = [10 if c == "-" else int(c) for c in text]
    return (np.eye(11)[ids] * 9).astype("float32")


@pytest.mark.parametrize(
    ("windows", "text"),
    [
        ([(0, "-1-2-3--")], "123"),
        ([(0, "-1-2-3--"), (4, "-3--4-5-")], "12345"),
        # The first window makes an 8 of the character cut at its end, the second a 7 of that at its beginning.
        ([(0, "-1-2--3-4-88"), (4, "7--3-4--5-6-")], "123456"),
        ([(0, "-1-1--1-"), (4, "--1--1--"), (8, "--1---1-")], "1111" + "1"),
    ],
)
def test_join_by_hand(windows, text):
    joined = reading.join([(start, path(steps)) for start, steps in windows], blank=10)
    assert len(joined) == windows[-1][0] + len(windows[-1][1])
    assert DIGITS.decode(joined).text == text


def test_whole_pictures_are_read_without_a_detector(tmp_path):
    for name, text in (("b", "0123"), ("a", "9" * 40)):
        Image.fromarray(strip_of(text)).save(tmp_path / f"{name}.png")
    reader = Reader(None, Recognizer(bars, DIGITS))
    first, second = reader.read(tmp_path).pages
    assert (first.text, second.text) == ("9" * 40, "0123")
    height, width = strip_of("0123").shape[:2]
    assert second.words[0].polygon.tolist() == [[0, 0], [width, 0], [width, height], [0, height]]


# ---------------------------------------------------------------- bad pages


def test_a_stream_goes_on_after_bad_pages(tmp_path):
    page = blank_page(256, 256)
    write(page, "42", 50, 50)
    good, bad, missing, empty = (tmp_path / name for name in ("a/1.png", "a/2.jpg", "none.png", "empty"))
    good.parent.mkdir()
    empty.mkdir()
    Image.fromarray(page).save(good)
    bad.write_bytes(b"\xff\xd8\xff no more")
    results = list(make_reader(256).stream([missing, empty, tmp_path / "a", page]))
    kinds = [type(result) for result in results]
    assert kinds == [PageError, PageError, Page, PageError, Page]
    assert "no such file" in str(results[0]) and "no page in this folder" in str(results[1])
    assert results[3].source == str(bad) and "damaged at its beginning" in results[3].message
    assert [result.text for result in results if isinstance(result, Page)] == ["42", "42"]
    with pytest.raises(ImageError, match=r"2\.jpg"):
        make_reader(256).read(tmp_path / "a")


def test_a_stream_of_one_source_and_its_pictures(tmp_path):
    page = blank_page(64, 128)
    Image.fromarray(page).save(tmp_path / "p.png")
    ((read, picture),) = make_reader(128).stream_pictures(str(tmp_path / "p.png"))
    np.testing.assert_array_equal(picture.pixels, page)
    assert read.source == str(tmp_path / "p.png")
    ((error, nothing),) = make_reader(128).stream_pictures(b"")
    assert isinstance(error, PageError) and nothing is None
    data = (tmp_path / "p.png").read_bytes()
    (entry,) = os.scandir(tmp_path)
    for source in (bytearray(data), memoryview(data), io.BytesIO(data), entry):
        ((_, picture),) = make_reader(128).stream_pictures(source)
        np.testing.assert_array_equal(picture.pixels, page)


def test_what_is_no_fault_of_the_page_is_not_swallowed():
    def broken(batch):
        raise ConnectionError("the server is gone")

    with pytest.raises(ConnectionError):
        list(Reader(Detector(broken), Recognizer(bars, DIGITS)).stream([blank_page(9, 9)]))


# ---------------------------------------------------------------- shapes


@given(st.integers(0, 700))
def test_batches_hold_all_and_waste_little(count):
    sizes = reading.batches(count)
    assert all(size in (1, 2, 4, 8, 16, 32, 64) for size in sizes)
    assert count <= sum(sizes) <= count + (sizes[-1] // 8 if sizes else 0)
    assert len(sizes) <= ceil(count / 64) + 4


def random_page(rng) -> np.ndarray:
    height, width = rng.integers(40, 500, 2)
    page = blank_page(height, width)
    for y in range(8, height - HIGH, 40):
        length = int(rng.integers(1, 12))
        if 8 + length * (BAR + GAP) < width:
            write(page, "".join(map(str, rng.integers(0, 10, length))), 8, y)
    return page


def test_pages_of_all_sizes_have_few_shapes():
    rng = np.random.default_rng(0)
    find, read = Recorder(dark), Recorder(bars)
    detector, recognizer = Detector(find, size=(256, 256), multiple=64), Recognizer(read, DIGITS, widths=(64, 256))
    reader = Reader(detector, recognizer, upright=True)
    for _ in range(300):
        reader.read(random_page(rng))
    assert len(find.shapes) == 300 and len(set(find.shapes)) <= 7
    assert len(read.shapes) >= 300 and len(set(read.shapes)) <= 2 * 7


@pytest.mark.slow
def test_a_thousand_pages_are_traced_few_times_and_take_no_more_memory(monkeypatch):
    """With real networks, tiny ones. Their random weights find nothing, so the fakes answer after them."""
    import psutil
    from keras import layers

    from zoo import runtime
    from zoo.detection.db import db
    from zoo.recognition.crnn import crnn

    traces = 0
    call = layers.Rescaling.call  # the first layer of every network here; Python runs it once for each trace

    def counted(self, inputs):
        nonlocal traces
        traces += 1
        return call(self, inputs)

    finder = runtime.in_process(db(features="mobilenet_v3_test", channels=16))
    recogniser = runtime.in_process(crnn(features="mobilenet_v3_test_r", charset="digits", units=8))
    monkeypatch.setattr(layers.Rescaling, "call", counted)

    def find(batch):
        assert finder(batch)["logits"].shape == (*batch.shape[:3], 1)
        return dark(batch)

    def read(batch):
        assert recogniser(batch)["logits"].shape == (len(batch), batch.shape[2] // 4, 11)
        return bars(batch)

    reader = Reader(Detector(find, size=(128, 128), multiple=32), Recognizer(read, DIGITS, widths=(64, 128)))
    rng = np.random.default_rng(0)
    process = psutil.Process()
    memory = []
    for number in range(1, 1001):
        reader.read(random_page(rng))
        if number in (300, 1000):
            gc.collect()
            memory.append(process.memory_info().rss / 2**20)
    assert 0 < traces <= 6
    assert memory[1] - memory[0] < 25


# ---------------------------------------------------------------- from cards


@pytest.fixture
def connected(monkeypatch):
    """Models by the fakes, without a framework; what was asked for is kept."""
    asked = []

    def connect(name, runtime):
        asked.append((name, runtime))
        return dark if "db" in str(name) else bars

    monkeypatch.setattr("zoo.runtime.connect", connect)
    monkeypatch.setattr("zoo.runtime.remote", lambda server, model: connect(model, server))
    return asked


def test_a_reader_takes_its_values_from_cards_and_options(connected):
    made = reading.reader(threshold=0.4, widths=(32, 64), runtime="keras", min_confidence=0.2, dpi=100)
    assert connected == [("db_mobilenet_v3_large", "keras"), ("crnn_mobilenet_v3_small.european", "keras")]
    assert made.detector.size == (768, 768) and made.detector.options["threshold"] == 0.4
    assert made.detector.options["shrunk"] == 0.6  # as the card says
    alphabet = Charset("european_lines").characters
    assert made.recognizer.widths == (32, 64) and made.recognizer.charset.characters == alphabet
    assert (made.min_confidence, made.dpi) == (0.2, 100)


def test_a_reader_without_detector_and_with_a_server(connected):
    made = reading.reader(None, server="localhost:8500")
    assert made.detector is None
    assert connected == [("crnn_mobilenet_v3_small.european", "localhost:8500")]


def test_a_reader_is_made_anew_where_it_is_sent(connected):
    made = reading.reader(threshold=0.4, widths=(32, 64), dpi=100)
    made.min_confidence = 0.3
    sent = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(made))))
    assert connected[0:2] == connected[2:4] == connected[4:6]
    assert sent.detector.options["threshold"] == 0.4 and sent.recognizer.widths == (32, 64)
    assert (sent.min_confidence, sent.dpi) == (0.3, 100)
    with pytest.raises(TypeError, match="of networks of its own cannot be pickled; zoo.reader makes one by names"):
        pickle.dumps(Reader(None, Recognizer(bars, DIGITS)))


def test_words_on_pages_are_left_out_below_what_the_card_says(connected, monkeypatch):
    """A picture that is one word is read whatever the confidence, and who asks for all words gets them."""
    card = registry.card("crnn_mobilenet_v3_small")
    changed = replace(card, reading=card.reading | {"min_confidence": 0.25})
    monkeypatch.setattr(registry, "card", lambda name, plain=registry.card: changed if "crnn" in name else plain(name))
    assert reading.reader().min_confidence == 0.25
    assert reading.reader(min_confidence=0.0).min_confidence == 0.0
    assert reading.reader(None).min_confidence == 0.0
    assert reading.usual_confidence("crnn_mobilenet_v3_small") == 0.25


def test_wrong_readers_are_refused(connected):
    with pytest.raises(TypeError, match=r"no option of reading is named treshold; there are: .*threshold"):
        reading.reader(treshold=0.4)
    with pytest.raises(ValueError, match="crnn_vgg16_bn is a model for recognition; one for detection is needed"):
        reading.reader("crnn_vgg16_bn")
    with pytest.raises(LookupError, match="db_resnet50"):
        reading.reader("db_resnet5")
    with pytest.raises(ValueError, match="recognition=None: only a spotter reads without a recognizer"):
        reading.reader(recognition=None)
    with pytest.raises(ValueError, match="min_confidence=65: it is a number from 0 to 1"):
        reading.reader(min_confidence=65)
    with pytest.raises(ValueError, match="dpi=0: a PDF is drawn at"):
        reading.reader(dpi=0)
    with pytest.raises(ValueError, match="dpi='200': it is a number"):
        reading.reader(dpi="200")
    assert reading.reader(None, only="amount").recognizer.rule is not None  # a name alone


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("threshold", 2, "threshold=2: it is a number from 0 to 1"),
        ("box_threshold", float("nan"), "box_threshold=nan: it is a number from 0 to 1"),
        ("unclip", -1.5, "unclip=-1.5: it is a number of 0 or more"),
        ("min_size", "big", "min_size='big': it is a number of 0 or more"),
        ("size", 7, "size=7: it holds 2 whole numbers of pixels"),
        ("size", (1024,), r"size=\(1024,\): it holds 2"),
        ("size", (1024, 0), r"size=\(1024, 0\): it holds 2 whole numbers of pixels, each 1 or more"),
        ("multiple", 0, "multiple=0: it is a whole number of pixels, 1 or more"),
        ("small", -1, "small=-1"),
        ("most", 0.5, "most=0.5: it is a number of 1 or more"),
        ("wanted", 0, "wanted=0: it is a number of 1 or more"),
        ("widths", 64, "widths=64: it holds some whole numbers of pixels"),
        ("widths", (), r"widths=\(\)"),
        ("widths", "64", "widths='64'"),
        ("height", 32.5, "height=32.5: it is a whole number of pixels"),
        ("temperature", 0.0, "temperature=0: logits are divided by it"),
        ("temperature", float("inf"), "temperature=inf"),
        ("spelling_weight", float("nan"), "spelling_weight=nan: it is a number of 0 or more"),
        ("beam", True, "beam=True: it is a number of 0 or more"),
        ("again", 1.5, "again=1.5: it is a number from 0 to 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(connected, option, value, told):
    with pytest.raises(ValueError, match=told):
        reading.reader(**{option: value})


@pytest.mark.parametrize("option", ["widths", "height", "spelling_weight", "again", "size", "threshold"])
def test_a_spotter_refuses_them_too(option):
    with pytest.raises(ValueError, match=f"{option}=-1"):
        reading.spotter_of(registry.card("ocrnet_mobilenet_v3_large"), (dark, bars), **{option: -1})


def test_a_temperature_makes_readings_less_sure_and_no_other():
    """One step says 8 for the character and 0 for ten others: at 4, e² against ten times 1."""
    strip = strip_of("3")
    (sure,), (less,) = (Recognizer(bars, DIGITS, temperature=heat)([strip]) for heat in (1.0, 4.0))
    assert sure.text == less.text == "3"
    assert sure.score == pytest.approx(1 / (1 + 10 * np.exp(-8)), abs=1e-5)
    assert less.score == pytest.approx(1 / (1 + 10 * np.exp(-2)), abs=1e-5)


@pytest.mark.parametrize(
    ("again", "texts", "looks"),
    [(0.0, "aaa", [2, 1]), (0.65, "aba", [2, 1, 2]), (0.55, "aaa", [2, 1, 1]), (1.0, "aba", [2, 1, 2, 1])],
)
def test_a_spotter_looks_again_at_what_is_unsure(again, texts, looks):
    """Three words: read as "a" with 0.9, 0.6, 0.5 and, from a sixteenth closer, as "b" with 0.8, 0.7, 0.45."""
    first, second, asked = (0.9, 0.6, 0.5), (0.8, 0.7, 0.45), []
    boxes = np.array([[[0, y], [80, y], [80, y + 16], [0, y + 16]] for y in (0, 32, 64)], "float32")

    def read(views):
        asked.append(int(views["strips"].any((1, 2, 3)).sum()))
        text = np.full((len(views["strips"]), 4, 3), -30.0, "float32")
        for row, down in zip(text, views["down"][:, :, 0, 0], strict=True):  # of 8 rows
            place, closer = int(down.mean() // 32), down[-1] - down[0] < 13
            sure = (second if closer else first)[place]
            row[:, 2], row[1] = 0, np.log((1 - sure) / 2)
            row[1, int(closer)] = np.log(sure)
        return {"text": text}

    def find(logits):
        return boxes, np.ones(3, "float32")

    def locate(batch):
        down = np.broadcast_to(np.arange(96, dtype="float16")[:, None, None], (1, 96, 96, 1))  # in mixed precision
        return {"logits": batch[..., :1], "down": down}

    spotter = Spotter(locate, read, "ab", size=(96, 96), multiple=32, decode=find, again=again, widths=[128])
    found, _, readings = spotter(np.full((96, 96, 3), 255, "uint8"))
    assert "".join(reading.text for reading in readings) == texts
    assert asked == looks
    np.testing.assert_array_equal(found, boxes)  # where words stand does not depend on the look


def test_turned_readings_of_no_text_lose():
    assert reading._sureness(Reading("", 1.0, ())) == 0
    assert reading._sureness(Reading("ab", 0.25, (0.5, 0.5))) == pytest.approx(0.5)


# ---------------------------------------------------------------- up to an end


def test_a_recognizer_of_attention_reads_step_by_step_and_squeezes_long_strips():
    seen = []

    def run(batch):
        seen.append(batch)
        logits = np.zeros((len(batch), 4, 11), "float32")
        logits[:, [0, 1, 2, 3], [7, 7, 10, 3]] = 9  # "77", the end, and something after it
        return {"logits": logits}

    crops = [np.full((32, width, 3), 200, "uint8") for width in (40, 900)]
    readings = Recognizer(run, DIGITS, widths=[128], decoding="attention")(crops)
    assert [reading.text for reading in readings] == ["77", "77"]
    (batch,) = seen  # one strip for each crop: no windows
    assert batch.shape == (2, 32, 128, 3)
    assert (batch[0, :, :40] == 200).all() and (batch[0, :, 40:] == 0).all() and (batch[1] == 200).all()


def test_there_are_two_ways_of_decoding():
    with pytest.raises(ValueError, match='by "ctc" or "attention", not \'beam\''):
        Recognizer(lambda batch: {}, DIGITS, decoding="beam")


@given(height=st.integers(8, 900), width=st.integers(8, 900))
@settings(max_examples=60, deadline=None)
def test_of_a_map_the_part_is_decoded_that_the_page_has_to_the_pixel(height, width):
    """Sides of the page as the network sees it are whole numbers; no row or column of the padding comes along."""
    seen = []

    def decode(logits, *, stride):
        seen.append(logits.shape[:2])
        return np.zeros((0, 4, 2), "float32"), np.zeros(0)

    def run(batch):
        return {"logits": np.zeros((1, batch.shape[1] // 4, batch.shape[2] // 4, 1), "float32")}

    Detector(run, size=(256, 256), multiple=64, decode=decode)(np.zeros((height, width, 3), "uint8"))
    factor = 256 / max(height, width)
    assert seen == [tuple(ceil(max(1, round(side * factor)) / 4) for side in (height, width))]
