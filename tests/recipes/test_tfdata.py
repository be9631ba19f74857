"""Augmentation as TensorFlow operations, and packed data sets as tf.data: by values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_shards import write_crops

from recipes.data import datasets, graph, records, shards

SHAPE = (60, 90, 3)


def page() -> tuple[np.ndarray, np.ndarray]:
    """Two black spots on white, and the polygons around them."""
    image = np.full(SHAPE, 255, "uint8")
    boxes = [(22, 12, 28, 18), (61, 37, 67, 43)]
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 0
    corners = [[[x0, y0], [x1, y0], [x1, y1], [x0, y1]] for x0, y0, x1, y1 in boxes]
    return image, np.array(corners, "float32")


def ink(image: np.ndarray) -> np.ndarray:
    """Centres (2, 2) of the ink in the left and the right half, x then y, and its sizes."""
    dark = 255.0 - np.asarray(image, "float64").mean(-1)
    middles = []
    for part in (slice(0, 44), slice(44, None)):
        half = dark[:, part]
        y, x = np.indices(half.shape) + 0.5
        middles.append([(x * half).sum() / half.sum() + part.start, (y * half).sum() / half.sum()])
    return np.array(middles)


def test_nothing_changes_at_strength_0():
    image, polygons = page()
    for number in range(3):
        same, still = graph.augment(image, polygons, (0, number), 0.0)
        np.testing.assert_array_equal(same, image)
        np.testing.assert_array_equal(still, polygons)
    values = tf.constant(np.random.default_rng(0).integers(0, 256, SHAPE), tf.float32)
    for change in (graph.colour, graph.shadow, graph.blur, graph.noise):
        np.testing.assert_allclose(change(values, graph.Draws((1, 2)), 0.0), values, atol=1e-3)
    for move in (graph.perspective, graph.elastic):
        same, still = move(tf.constant(image), tf.constant(polygons), graph.Draws((1, 2)), 0.0)
        np.testing.assert_array_equal(same, image)
        np.testing.assert_allclose(still, polygons, atol=1e-3)


@pytest.mark.parametrize("move", [graph.perspective, graph.elastic])
def test_polygons_follow_the_ink(move):
    image, polygons = page()
    moved = []
    for number in range(5):
        pixels, found = move(tf.constant(image), tf.constant(polygons), graph.Draws((3, number)), 2.0)
        np.testing.assert_allclose(found.numpy().mean(1), ink(pixels), atol=0.35)
        moved.append(np.abs(found.numpy().mean(1) - polygons.mean(1)).max())
    assert max(moved) > 1 and pixels.shape == SHAPE


def test_a_homography_of_four_points():
    source = np.array([[0, 0], [4, 0], [4, 2], [0, 2]], "float32")
    target = np.array([[1, 1], [5, 2], [6, 4], [0, 3]], "float32")
    matrix = graph.homography(tf.constant(source), tf.constant(target))
    np.testing.assert_allclose(graph.transformed(tf.constant(source), matrix), target, atol=1e-4)
    shift = graph.homography(tf.constant(source), tf.constant(source + [3, -1], tf.float32))
    np.testing.assert_allclose(shift, [[1, 0, 3], [0, 1, -1], [0, 0, 1]], atol=1e-5)


def test_values_between_pixels():
    values = np.array([[[0.0], [10.0]], [[20.0], [30.0]]], "float32")
    places = np.array([[0.0, 0.0], [0.5, 0.0], [0.25, 1.0], [0.5, 0.5], [9.0, -3.0]], "float32")
    np.testing.assert_allclose(graph._bilinear(tf.constant(values), places)[:, 0], [0, 5, 22.5, 15, 10])


def test_light_and_lenses():
    x = tf.constant(np.full(SHAPE, 128.0, "float32"))
    tinted = graph.colour(x, graph.Draws((0, 1))).numpy()
    assert np.ptp(tinted, axis=(0, 1)).max() == 0 and (np.abs(tinted[0, 0] - 128) <= 0.2 * 128 + 25).all()
    shaded = graph.shadow(x, graph.Draws((0, 1))).numpy()
    assert shaded.max() <= 128 and shaded.min() >= 64 and np.ptp(shaded) > 10
    spot = np.zeros(SHAPE, "float32")
    spot[30, 45] = 90
    blurred = graph.blur(tf.constant(spot), graph.Draws((0, 1))).numpy()
    assert blurred.sum() == pytest.approx(270, rel=1e-4) and blurred[30, 45, 0] == blurred.max() < 90
    np.testing.assert_allclose(blurred[30, 44], blurred[31, 45], rtol=1e-5)
    grain = graph.noise(x, graph.Draws((0, 1))).numpy() - 128
    assert 1 <= grain.std() <= 18 and abs(grain.mean()) < 1 and np.ptp(grain, axis=-1).max() == 0
    photo = np.random.default_rng(0).integers(0, 256, SHAPE).astype("uint8")
    packed = graph.jpeg(tf.constant(photo), graph.Draws((0, 1))).numpy()
    assert packed.shape == SHAPE and (packed != photo).any() and abs(packed.mean() - photo.mean()) < 5


def test_the_stage_depends_on_the_seed_and_the_number_alone():
    image, polygons = page()
    pages = tf.data.Dataset.from_tensors({"image": image, "polygons": polygons}).repeat(6)
    first = list(graph.augmented(pages, seed=1).as_numpy_iterator())
    again = list(graph.augmented(pages.skip(2), seed=1, first=2).as_numpy_iterator())
    for ours, theirs in zip(first[2:], again, strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        np.testing.assert_array_equal(ours["polygons"], theirs["polygons"])
    assert len({row["image"].tobytes() for row in first}) > 3
    assert all(row["image"].shape == SHAPE and row["image"].dtype == np.uint8 for row in first)


# ---------------------------------------------------------------- packed data sets


@pytest.fixture
def packed(tmp_path) -> Path:
    shards.pack(write_crops(tmp_path / "mine", [str(n) for n in range(11)]), tmp_path / "packed", per_shard=3)
    return tmp_path / "packed"


def texts(found: tf.data.Dataset) -> list[str]:
    return [row["text"].numpy().decode() for row in found]


def test_workers_share_the_records_of_an_epoch(packed):
    parts = [texts(graph.read([packed], 1, worker=worker, workers=2)) for worker in range(2)]
    assert sorted(parts[0] + parts[1], key=int) == [str(n) for n in range(11)]
    assert parts[0] == texts(graph.read([packed], 1, worker=0, workers=2))
    assert texts(graph.read([packed], 1)) != texts(graph.read([packed], 1, epoch=1))
    assert texts(graph.read([packed], 1).skip(4)) == texts(graph.read([packed], 1))[4:]


@pytest.mark.parametrize("name", ["turned.jpg", "seen through.png", "scan.tif"])
def test_pictures_are_those_that_recipes_learn_from(tmp_path, name):
    """TensorFlow turns no photograph, shows what is transparent as black, and knows no TIFF."""
    turn = Image.Exif()
    turn[0x0112] = 6  # a quarter turn to the right
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 4), np.uint8)
    picture = Image.fromarray(pixels if name.endswith("png") else pixels[..., :3].copy())
    picture.save(tmp_path / name, **({"exif": turn} if name.endswith("jpg") else {}))
    polygon = [[2.0, 3.0], [9.0, 3.0], [9.0, 8.0], [2.0, 8.0]]
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": name, "words": [{"polygon": polygon, "text": "Hi"}]}))
    shards.pack(tmp_path, tmp_path / "packed", "train")
    (row,), (entry,) = graph.read([tmp_path / "packed"]), datasets.read(tmp_path)
    assert row["image"].shape == ((40, 20, 3) if name.endswith("jpg") else (20, 40, 3))
    np.testing.assert_array_equal(row["image"], entry.read())
    np.testing.assert_array_equal(row["polygons"], [polygon])


def test_strips_are_bucketed_by_width(packed):
    """Crops of 12 x 10 to 12 x 20 become 24 high: 20 to 40 wide."""
    batches = list(graph.bucketed(graph.read([packed]), 24, (28, 64), 2))
    assert sorted(t.decode() for batch in batches for t in batch["text"].numpy()) == sorted(map(str, range(11)))
    for batch in batches:
        wide = {int(text) >= 5 for text in batch["text"].numpy()}
        assert len(wide) == 1 and batch["image"].shape[1] == 24 and (batch["image"].shape[2] > 28) == wide.pop()


def test_damage_and_loss_are_errors(packed):
    path = packed / "00001.tfrecord"
    data = bytearray(path.read_bytes())
    data[records.HEAD + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        texts(graph.read([packed]))
    path.unlink()
    with pytest.raises(shards.ShardError, match=r"00001\.tfrecord is gone"):
        graph.read([packed])
