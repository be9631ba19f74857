"""The reading path as a graph, piece by piece and whole, against the one on NumPy and OpenCV."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from toys import LOCAL

from serving import export as exports
from serving import graph, graph_joining, graph_regions, graph_strips, graph_text
from serving.client import Client
from serving.export import ExportError
from serving.server import Server
from zoo import bands, geometry, image, joining, reading, upwards
from zoo.charset import Charset
from zoo.reading import Detector, Reader, Recognizer

# --- regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.6])
def test_regions_are_those_of_opencv(share):
    mask = np.random.default_rng(int(share * 100)).uniform(size=(90, 120)) < share
    found = graph_regions.runs(tf.constant(mask))
    owners = graph_regions.regions(found).numpy()
    count, labels = cv2.connectedComponents(mask.astype("uint8"), connectivity=8)
    mine = np.where(mask, owners[np.maximum(found.numbers.numpy(), 0)] + 1, 0)
    assert owners.max() + 1 == count - 1
    assert len({*zip(mine.ravel().tolist(), labels.ravel().tolist(), strict=True)}) == count  # one for one


def test_a_spiral_is_one_region():
    """A path as long as the map lets it be: pointers must jump far."""
    mask = np.zeros((41, 41), bool)
    low, high = 0, 40
    while low < high:
        mask[low, low : high + 1] = mask[low : high + 1, high] = mask[high, low : high + 1] = True
        mask[low + 2 : high + 1, low] = True
        mask[low + 2, low : low + 3] = True
        low, high = low + 2, high - 2
    count, _ = cv2.connectedComponents(mask.astype("uint8"), connectivity=8)
    found = graph_regions.runs(tf.constant(mask))
    assert graph_regions.regions(found).numpy().max() + 1 == count - 1


def drawn(turn: float, level: int = 0) -> np.ndarray:
    """A map with words of many sizes, turned clockwise but for those of every so many columns, which are level."""
    random = np.random.default_rng(3)
    probability = np.zeros((400, 500), "float32")
    for column, x in enumerate(range(60, 460, 70)):
        own = 0.0 if level and column % level == 0 else turn
        for y in range(50, 370, 30):
            box = cv2.boxPoints(((x, y), (random.uniform(8, 55), random.uniform(4, 12)), own + random.normal(0, 0.5)))
            cv2.fillPoly(probability, [np.intp(box)], random.uniform(0.4, 1.0))
    return probability


@pytest.mark.parametrize("given", [(0.0,), (7.0,), (-30.0,), (-30.0, 2), (25.0, 3), (-52.0, 3)])
@pytest.mark.parametrize("grown", [{"shrunk": 0.6}, {"unclip": 1.5}])
def test_boxes_are_those_of_the_reading_path(given, grown):
    options = {"threshold": 0.3, "box_threshold": 0.5, **grown}
    expected, scores = geometry.polygons(drawn(*given), **options)
    found, sure = (x.numpy() for x in graph_regions.boxes(tf.constant(drawn(*given)), **options))
    assert len(found) == len(expected) > 50
    np.testing.assert_allclose(np.sort(sure), np.sort(scores), atol=1e-6)
    apart = np.abs(expected[:, None] - found[None]).max((2, 3))  # pixels of the corners furthest apart
    assert apart.min(1).max() < 1e-3 and apart.min(0).max() < 1e-3


def test_a_map_without_text():
    found, sure = graph_regions.boxes(tf.zeros((32, 64)))
    assert found.shape == (0, 4, 2) and sure.shape == (0,)


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(5).integers(0, 256, (9, 12, 3), "uint8")
    return cv2.resize(noise, (120, 90), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("turn", range(1, 9))
def test_jpegs_are_decoded_and_turned_as_pillow_does(picture, turn):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a picture", turn
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", exif=exif, quality=80)
    expected = next(image.pages(file.getvalue())).pixels
    np.testing.assert_array_equal(graph_strips.decode(tf.constant(file.getvalue())), expected)


def test_orientations_of_other_writers():
    def jpeg(tiff: bytes) -> tf.Tensor:
        return tf.constant(b"\xff\xd8\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff)

    entry = (0x0112).to_bytes(2, "big") + b"\0\3\0\0\0\1\0\6\0\0"
    assert graph_strips.orientation(jpeg(b"MM\0*\0\0\0\x08\0\1" + entry)) == 6
    little = b"II*\0\x0a\0\0\0\0\0\x01\0\x12\x01\3\0\1\0\0\0\x03\0\0\0"
    assert graph_strips.orientation(jpeg(little)) == 3
    assert graph_strips.orientation(jpeg(b"MM\0*\xff\xff\xff\xff\0\1" + entry)) == 1  # points past the end
    assert graph_strips.orientation(jpeg(b"MM\0*\0\0\0\x08\0\1" + entry.replace(b"\6", b"\x2a"))) == 1
    assert graph_strips.orientation(tf.constant(b"\x89PNG Exif\0\0")) == 1


def test_transparent_and_grey_pictures(picture):
    clear = np.dstack([picture, np.arange(90 * 120).reshape(90, 120) % 256]).astype("uint8")
    for mode, pixels in (("RGBA", clear), ("L", picture[..., 0]), ("LA", clear[..., 2:])):
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels), mode).save(file, "PNG")
        expected = next(image.pages(file.getvalue())).pixels.astype(int)
        assert np.abs(graph_strips.decode(tf.constant(file.getvalue())).numpy() - expected).max() <= 1


@pytest.mark.parametrize("colours", [2, 7, 256])
def test_a_bmp_has_the_colours_of_its_palette(picture, colours):
    """TensorFlow gives the numbers of the colours."""
    decode = tf.function(graph_strips.decode, input_signature=[tf.TensorSpec([], tf.string)])
    grey, palette = Image.fromarray(picture).convert("L"), Image.fromarray(picture).quantize(colours)
    for given in (palette, grey, Image.fromarray(picture)):
        file = io.BytesIO()
        given.save(file, "BMP")
        np.testing.assert_array_equal(decode(file.getvalue()), np.asarray(given.convert("RGB")))


def test_dark_and_pale_pages_are_brought_to_paper_as_by_the_reader(picture):
    decode = tf.function(graph_strips.page, input_signature=[tf.TensorSpec([], tf.string)])
    rng, inverted = np.random.default_rng(9), 0
    for share in np.linspace(0.6, 0.9, 31):
        paper = rng.integers(10, 100, 3)
        pixels = np.where(rng.random((32, 24, 1)) < share, paper, rng.choice([0, 230])).astype("uint8")
        pixels = pixels.repeat(3, 0).repeat(3, 1)  # no specks
        expected = image.on_paper(pixels)
        np.testing.assert_array_equal(decode(encoded(pixels)), expected)
        inverted += int((expected != pixels).any())
    assert 3 < inverted < 20
    for contrast in range(10, 80, 3):
        pixels = (120 + contrast * rng.random((64, 48, 3))).astype("uint8").repeat(2, 0)
        np.testing.assert_array_equal(decode(encoded(pixels)), image.on_paper(pixels))
    np.testing.assert_array_equal(decode(encoded(picture)), picture)
    for share in (0.0003, 0.0005, 0.003, 0.01, 0.2):
        pixels = picture.repeat(6, 0)  # 540 rows: in bands
        pixels[rng.random(pixels.shape) < share] = 0
        pixels[rng.random(pixels.shape[:2]) < share] = 255
        np.testing.assert_array_equal(decode(encoded(pixels)), image.on_paper(pixels))
        assert (image.on_paper(pixels) != pixels).any() == (share > 0.002)
    for share in (0.0005, 0.002, 0.03):
        pixels = picture.repeat(6, 0)
        for y, x in np.argwhere(rng.random(pixels.shape[:2]) < share):
            pixels[y : y + rng.integers(1, 3), x : x + rng.integers(1, 4)] = 255 * rng.integers(0, 2)
        np.testing.assert_array_equal(decode(encoded(pixels)), image.on_paper(pixels))


@pytest.mark.parametrize("size", [(256, 256), (64, 96)])
def test_pages_are_letterboxed(picture, size):
    expected, scale = image.letterbox(picture, size, 32)
    found, inner = graph_strips.letterbox(tf.constant(picture), size, 32)
    assert found.shape == expected.shape
    assert (np.abs(found.numpy().astype(int) - expected) > 1).mean() == 0
    assert (found.numpy() != expected).mean() < 0.02
    np.testing.assert_allclose(np.array([120, 90]) / inner.numpy()[::-1], scale, rtol=1e-6)


def boxes() -> np.ndarray:
    turned = [cv2.boxPoints(((50, 40), (60, 12), turn)) for turn in (-75, -20, 3, 40)]
    straight = [
        [[x, y], [x + w, y], [x + w, y + h], [x, y + h]] for x, y, w, h in ((3.4, 5.6, 40, 9), (70, 60, 50, 30))
    ]
    outside = [[[-8, 20], [30, 18], [31, 33], [-7, 35]], [[100.2, 70], [119.9, 70], [119.9, 89.8], [100.2, 89.8]]]
    return np.float32([*turned, *straight, *outside])


def test_crops_are_those_of_opencv(picture):
    places = graph_strips.places(tf.constant(boxes()), tf.constant(picture))
    assert places.upright.numpy().tolist() == [False] * 4 + [True] * 2 + [False, True]
    for number, box in enumerate(boxes()):
        place = graph_strips.Places(*(values[number] for values in places))
        found, expected = graph_strips.crop(tf.constant(picture), place).numpy(), image.crop(picture, box)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 1.0


@pytest.mark.parametrize("shape", [(20, 70), (45, 300), (16, 500), (16, 900), (50, 3), (1, 1000)])
@pytest.mark.parametrize("split", [True, False])
def test_strips_are_those_of_the_reading_path(picture, shape, split):
    crop = cv2.resize(picture, shape[::-1])
    (expected,) = image.strips([crop], 32, [128], split=split)
    found, starts = graph_strips.strips(tf.constant(crop), 32, 128, split)
    assert starts.numpy().tolist() == expected.starts
    assert np.abs(found.numpy().astype(int) - expected.pixels).max() <= 1


# --- texts -----------------------------------------------------------------------------------------------------------


def random_logits(count: int, length: int) -> np.ndarray:
    logits = np.random.default_rng(count).normal(0, 3, (count, length, 11)).astype("float32")
    logits[..., 10] += 3  # blank
    return logits


def test_texts_are_those_of_the_alphabet():
    logits, charset = random_logits(20, 24), Charset("digits")
    steps = graph_text.steps(tf.constant(logits), charset.blank, 30)
    owners = tf.range(20)
    low, high = graph_text.cuts(steps.blank, owners, tf.zeros_like(owners))
    texts, scores, lengths = graph_text.texts(steps, owners, tf.constant(21), low, high, charset.characters, True)
    expected = charset.decode_batch(logits)
    assert texts.numpy().tolist() == [reading.text.encode() for reading in expected] + [b""]
    np.testing.assert_allclose(scores[:20], [reading.score for reading in expected], rtol=1e-4)
    assert lengths.numpy().tolist() == [len(reading.text) for reading in expected] + [0]


def test_texts_that_end_by_a_class():
    logits, charset = random_logits(20, 24), Charset("digits")
    steps = graph_text.steps(tf.constant(logits), charset.blank, 24)
    whole = tf.fill([20], 24)
    texts, scores, _ = graph_text.texts(steps, tf.range(20), 20, whole * 0, whole, charset.characters, False)
    expected = charset.decode_ended(logits)
    assert texts.numpy().tolist() == [reading.text.encode() for reading in expected]
    np.testing.assert_allclose(scores, [reading.score for reading in expected], rtol=1e-4)


def test_windows_are_joined_where_both_see_nothing():
    charset, starts = Charset("digits"), [0, 18, 36]
    windows = random_logits(3, 32)
    joined = charset.decode(reading.join(list(zip(starts, windows, strict=True)), charset.blank))
    alone = random_logits(1, 32)
    steps = graph_text.steps(tf.constant(np.concatenate([windows, alone])), charset.blank, 32)
    owners = tf.constant([0, 0, 0, 1])
    low, high = graph_text.cuts(steps.blank, owners, tf.constant([*starts, 0]))
    texts, scores, _ = graph_text.texts(steps, owners, tf.constant(2), low, high, charset.characters, True)
    assert texts.numpy().tolist() == [joined.text.encode(), charset.decode(alone[0]).text.encode()]
    np.testing.assert_allclose(scores[0], joined.score, rtol=1e-4)


@pytest.mark.parametrize("turn", [0, 12, 90])
def test_words_stand_in_the_lines_of_the_layout(turn):
    random = np.random.default_rng(turn)
    words = [
        [[x, y], [x + w, y], [x + w, y + 18], [x, y + 18]]
        for y in range(0, 300, 30)
        for x, w in ((10 + random.uniform(0, 9), 60), (90, 30 + random.uniform(0, 40)), (180, 90))
    ]
    centre = geometry._rotation(turn)
    places = np.float32(words)[random.permutation(len(words))] @ centre.T
    level = geometry._upright(places).round(3)
    order = np.lexsort((level[:, 1], level[:, 0]))
    expected = [[int(order[i]) for i in row] for row in geometry.rows(level[order])]
    found, lines = (x.numpy() for x in graph_text.lines(tf.constant(places)))
    assert [found[lines == line].tolist() for line in range(lines.max() + 1)] == expected


def test_no_words_have_no_lines():
    order, lines = graph_text.lines(tf.zeros((0, 4, 2)))
    assert order.shape == lines.shape == (0,)


def test_words_are_read_in_the_same_directions_as_by_the_reader():
    rng = np.random.default_rng(3)
    angles = np.radians(np.r_[rng.uniform(-180, 180, 60), -45, -44.9, -45.1, -90, 90])
    sizes = rng.uniform(5, 80, (len(angles), 2))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sizes[:, None]
    turns = np.stack([np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles)], 1).reshape(-1, 2, 2)
    boxes = (corners @ turns + 200).astype("float32")
    wide, high = sizes.T.round().astype("int32")
    halves = np.full((len(boxes), 2), -1, "int32")
    found = graph.items(*map(tf.constant, (boxes, high, wide, halves))).numpy()
    level = [(place, 0) for place in range(len(boxes))]
    assert sorted(map(tuple, found.tolist())) == sorted(level + reading._turns(boxes, wide, high))


# --- all of it -------------------------------------------------------------------------------------------------------


def dark(size: tuple[int, int] = (256, 256)) -> keras.Model:
    """A detector that takes what is dark around a pixel for text."""
    pixels = keras.Input((None, None, 3), name="image")
    grey = keras.ops.mean(keras.ops.cast(pixels, "float32"), -1, keepdims=True)
    near = keras.layers.AveragePooling2D((3, 9), strides=1, padding="same")(grey)
    near = keras.layers.AveragePooling2D(2)(near)
    return keras.Model(pixels, {"logits": (190 - near) / 10}, name="dark")


def columns() -> keras.Model:
    """A recognizer of a few weights: each column of four pixels is a step."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((32, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.Conv2D(16, (32, 4), strides=(32, 4), name="columns")(x)
    x = keras.layers.Reshape((-1, 16))(x)
    return keras.Model(pixels, {"logits": keras.layers.Dense(11, name="logits", kernel_initializer="normal")(x)})


def page() -> np.ndarray:
    """Words in lines, one of them upright and one turned."""
    pixels = np.full((240, 320, 3), 255, "uint8")
    for number, y in enumerate(range(30, 200, 34)):
        for x, text in ((8, f"No {number}"), (110, "items"), (200, f"{number * 7}.50")):
            cv2.putText(pixels, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2, cv2.LINE_AA)
    upright = np.full((22, 70, 3), 255, "uint8")
    cv2.putText(upright, "TALL", (2, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2, cv2.LINE_AA)
    pixels[100:170, 296:318] = np.rot90(upright)
    cv2.putText(pixels, "a long line of many words", (4, 225), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2, cv2.LINE_AA)
    return pixels


OPTIONS = {"size": [256, 256], "multiple": 64, "threshold": 0.5, "box_threshold": 0.6, "unclip": 1.0}
READING = {"height": 32, "widths": [32, 64, 128], "temperature": 0.7}


@pytest.fixture(scope="module")
def networks() -> graph.Reading:
    return graph.Reading(dark(), columns(), OPTIONS, READING, Charset("digits"))


@pytest.fixture(scope="module")
def reader(networks) -> Reader:
    def run(network):
        return lambda batch: {key: value.numpy() for key, value in network(batch, training=False).items()}

    detector = Detector(run(networks.detector), **OPTIONS)
    return Reader(detector, Recognizer(run(networks.recognizer), "digits", **READING))


def encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def words(answer: dict, number: int) -> list[tuple]:
    count = int(answer["counts"][number])
    rows = zip(answer["texts"][number, :count], answer["polygons"][number, :count], strict=True)
    return [(bytes(text).decode(), polygon) for text, polygon in rows]


def check(answer: dict, number: int, expected) -> None:
    found = words(answer, number)
    assert len(found) == len(expected.words) > 0
    for word in expected.words:
        place = max(range(len(found)), key=lambda i: geometry.iou(word.polygon, found[i][1]))
        text, polygon = found[place]
        assert text == word.text and np.abs(polygon - word.polygon).max() < 1.5
        assert answer["scores"][number, place] == pytest.approx(word.confidence, abs=0.05)


@pytest.fixture(scope="module")
def served(networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    exports.make_ocr(networks, {"detection": {}, "recognition": {}}, folder, "ocr")
    with (
        Server(folder, "127.0.0.1:0") as server,
        Client(f"127.0.0.1:{server.port}", options=LOCAL, timeout=300) as client,
    ):
        yield client


@pytest.mark.slow
def test_pages_are_read_as_by_the_reader(served, reader):
    pages = [page(), np.full((50, 60, 3), 255, "uint8"), page()[:, :100], np.rot90(page()), 255 - page()]
    answer = served.predict("ocr", [encoded(pixels) for pixels in pages])
    assert answer["sizes"].tolist() == [list(pixels.shape[:2]) for pixels in pages]
    assert answer["counts"][1] == 0
    most = answer["counts"].max()
    assert answer["texts"].shape == answer["lines"].shape == (5, most) and answer["polygons"].shape == (5, most, 4, 2)
    for number in (0, 2, 3, 4):
        check(answer, number, reader.read(pages[number])[0])
    assert words(answer, 4) and [text for text, _ in words(answer, 4)] == [text for text, _ in words(answer, 0)]
    empty = answer["texts"][2, answer["counts"][2] :]
    assert set(empty.tolist()) <= {b""}


def tight() -> np.ndarray:
    """Words in lines that nearly touch, once their boxes have grown."""
    pixels = np.full((240, 320, 3), 255, "uint8")
    for number, y in enumerate(range(40, 240, 60)):
        x = 8
        for text in (f"No{number}", "item", f"{number}.50", "and"):
            cv2.putText(pixels, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 2, cv2.LINE_AA)
            x += cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)[0][0] + 10
    return pixels


@pytest.mark.parametrize("letters", ["012345678 ", "0123456789"])
def test_pieces_of_words_are_put_together_as_by_the_reader(networks, reader, letters, monkeypatch):
    """Boxes so wide that many run into each other; two that read as nonsense without a space are one word."""
    for module in (joining, graph_joining):
        monkeypatch.setattr(module, "SURE", 0.0)
    wide, charset = {**OPTIONS, "unclip": 2.0}, Charset(letters)
    detector, recognizer = Detector(reader.detector.run, **wide), Recognizer(reader.recognizer.run, charset, **READING)
    expected = Reader(detector, recognizer, upright=True).read(tight())[0]
    found = graph.read(replace(networks, detection=wide, charset=charset), tf.constant([encoded(tight())] * 2))
    answer = {name: value.numpy() for name, value in found.items()}
    for number in (0, 1):
        check(answer, number, expected)
    assert len(joining.candidates(*detector(tight()))[0]) >= 16 + 8
    wider = sum(np.ptp(word.polygon[:, 0]) > 80 for word in expected.words)
    assert wider > 2 if " " in letters else wider == 0


@pytest.mark.parametrize(("small", "closer"), [(0.0, {}), (30.0, {}), (30.0, {"most": 1.5, "room": 1 << 16})])
def test_small_print_is_looked_at_from_closer_as_by_the_reader(networks, reader, small, closer):
    options = {**OPTIONS, "small": small, "wanted": 2 * small, **closer}
    detector = Detector(reader.detector.run, **options)
    pages = [page(), np.full((50, 60, 3), 255, "uint8"), np.rot90(page())]
    answer = graph.detect(replace(networks, detection=options), tf.constant([encoded(pixels) for pixels in pages]))
    for number, pixels in enumerate(pages):
        boxes, _ = detector(pixels)
        count = int(answer["counts"][number])
        assert count == len(boxes)
        others = answer["polygons"][number, :count].numpy()
        assert all(max(geometry.iou(box, other) for other in others) > 0.9 for box in boxes)
    closer, usual = (find(page())[0] for find in (detector, reader.detector))
    assert (closer.shape != usual.shape or np.abs(closer - usual).max() > 0.5) == bool(small)


def labelled() -> np.ndarray:
    """Words in lines, and one that runs upwards: its pieces are further apart than the detector joins below each other,
    but not beside each other."""
    pixels = page()
    pixels[100:170, 296:318] = 255
    for begin, end in ((60, 98), (104, 120), (126, 142)):
        pixels[begin:end, 298:316] = np.random.default_rng(begin).integers(0, 140, (end - begin, 18, 1))
    return pixels


@pytest.mark.parametrize("closer", [{}, {"small": 30.0, "wanted": 28.0}, {"room": 900}])
def test_words_that_run_upwards_are_looked_for_as_by_the_reader(networks, reader, closer):
    options, pixels = {**OPTIONS, **closer, "aside": True}, labelled()
    detector = Detector(reader.detector.run, **options)
    boxes = detector(pixels)[0]
    (label,) = (box for box in boxes if box[0, 1] > box[1, 1] + 60)
    assert label[:, 0].min() > 280 and label[0, 1] > 140 and label[1, 1] < 60
    assert upwards.covered(boxes, label[None]).sum() == 1  # it stands for its pieces
    read = tf.function(partial(graph.read, replace(networks, detection=options)))
    answer = {name: value.numpy() for name, value in read(tf.constant([encoded(pixels), encoded(page())])).items()}
    expected = Reader(detector, reader.recognizer, upright=True)
    for number, shown in enumerate((pixels, page())):
        check(answer, number, expected.read(shown)[0])
    assert any(word.polygon[:, 0].min() > 280 for word in expected.read(pixels).words)


@pytest.mark.parametrize("closer", [{}, {"small": 30.0, "wanted": 40.0}])
@pytest.mark.parametrize("axis", [0, 1])
def test_long_pages_are_looked_at_in_parts_as_by_the_reader(networks, reader, axis, closer):
    options = {**OPTIONS, "size": [512, 512], **closer}
    detector = Detector(reader.detector.run, **options)
    long = np.concatenate([page()] * 14, axis)
    assert len(bands.parts(long.shape[:2])) > 1
    boxes, scores = detector(long)
    answer = graph.detect(replace(networks, detection=options), tf.constant([encoded(long), encoded(page())]))
    assert answer["counts"].numpy().tolist() == [len(boxes), len(detector(page())[0])] and len(boxes) > 50
    others = answer["polygons"][0].numpy()
    assert all(max(geometry.iou(box, other) for other in others) > 0.9 for box in boxes)
    np.testing.assert_allclose(np.sort(answer["detection"][0]), np.sort(scores), atol=0.02)


@pytest.mark.slow
def test_a_page_alone_is_read_as_among_others(served):
    alone = served.predict("ocr", [encoded(page())], signature="read")
    among = served.predict("ocr", [encoded(page()[:, :100]), encoded(page())], signature="read")
    assert [text for text, _ in words(alone, 0)] == [text for text, _ in words(among, 1)]


@pytest.mark.slow
def test_a_hundred_megapixels_alone_and_among_others(served):
    times = 37
    large = cv2.resize(page(), None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
    assert large.shape[0] * large.shape[1] > 100e6
    data = cv2.imencode(".jpg", large[..., ::-1])[1].tobytes()
    small, alone = served.predict("ocr", [encoded(page())]), served.predict("ocr", [data], timeout=300)
    count = int(small["counts"][0])
    assert alone["sizes"].tolist() == [list(large.shape[:2])] and alone["counts"].tolist() == [count]
    found, known = ([polygon for _, polygon in words(answer, 0)] for answer in (alone, small))
    assert all(max(geometry.iou(one / times, other) for other in known) > 0.8 for one in found)

    among = served.predict("ocr", [*[encoded(page())] * 5, data, *[encoded(page())] * 2], timeout=300)
    texts = [[text for text, _ in words(among, number)] for number in range(8)]
    assert texts[5] == [text for text, _ in words(alone, 0)]
    assert texts[:5] + texts[6:] == [[text for text, _ in words(small, 0)]] * 7


@pytest.mark.slow
def test_lines_are_numbered_in_reading_order(served):
    answer = served.predict("ocr", [encoded(page())])
    lines = answer["lines"][0, : answer["counts"][0]]
    assert (np.diff(lines) >= 0).all() and lines[0] == 0
    tops = answer["polygons"][0, : answer["counts"][0], 0]
    first = tops[lines == 0]
    assert (np.diff(first[:, 0]) > 0).all()


@pytest.mark.slow
def test_finding_and_reading_apart(served, reader):
    found = served.predict("ocr", [encoded(page())], signature="detect")
    boxes_, _ = reader.detector(page())
    assert found["counts"].tolist() == [len(boxes_)]
    crops = [page()[y : y + 30, 4:90] for y in (12, 46)] + [page()[205:232, 4:310]]  # the last one in windows
    answer = served.predict("ocr", [encoded(crop) for crop in crops], signature="recognize")
    expected = reader.recognizer(crops)
    assert [text.decode() for text in answer["texts"]] == [reading.text for reading in expected]
    np.testing.assert_allclose(answer["scores"], [reading.score for reading in expected], rtol=0.05)


@pytest.mark.slow
def test_the_manifest_names_both(served, networks):
    signatures = served.metadata("ocr")
    assert set(signatures) == {"serving_default", "read", "detect", "recognize"}
    assert signatures["read"].inputs["image_bytes"].dtype == "DT_STRING"


def test_a_detector_without_a_map_is_refused():
    with pytest.raises(ExportError, match="makes boxes of maps of text, not by zoo.decoding.east:boxes"):
        exports.reading_of("east_resnet50", "crnn_mobilenet_v3_small")
    with pytest.raises(ExportError, match="is for recognition; one for detection is needed"):
        exports.reading_of("crnn_mobilenet_v3_small", "crnn_mobilenet_v3_small")
