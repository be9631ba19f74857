"""What happens to pictures, as TensorFlow operations: a stage of `tf.data` for packed data sets.

    packed = graph.read([Path("PACKED/mine")], seed=0, epoch=0, worker=0, workers=2)   # {"image", "polygons", …}
    pages = graph.augmented(packed, seed=0, strength=1.0).batch(8)

Every draw is a function of the seed and the number of the picture: the order of threads does not matter, and the stage
gives the same again after `skip`. Pictures are (H, W, 3) uint8 and keep their size; polygons (N, P, 2) move along. At
strength 0 nothing changes. `recipes.data.augment` does the like on NumPy, for recipes on any backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from recipes.data import shards
from zoo import image as images

Tensor = Any
GRID = 5  # places on a side of the net by which paper is crumpled
RADIUS = 4  # pixels of a blur's window on either side
OPEN = 4  # shards that are read at a time


# ---------------------------------------------------------------- reading


def read(
    folders: Sequence[Path], seed: int = 0, epoch: int = 0, *, worker: int = 0, workers: int = 1, shuffle: int = 1000
) -> tf.data.Dataset:
    """The records of packed data sets, each once: "image", "text" and "polygons" (N, 4, 2), texts of pages being "".

    Args:
        folders: what `zoo data pack` wrote.
        seed: of the order, with the epoch.
        epoch: another one has another order.
        worker: this process, of `workers`, each of which gets other records.
        workers: how many share the records.
        shuffle: records in the drum from which the next is drawn.

    Raises:
        recipes.data.shards.ShardError: a shard is gone or cut off.
    """
    files = [str(path) for path, _ in shards.Shards(folders).files]
    order = tf.random.experimental.stateless_shuffle(tf.constant(files), (seed, epoch))
    names = tf.data.Dataset.from_tensor_slices(order)
    found = names.interleave(tf.data.TFRecordDataset, cycle_length=OPEN, num_parallel_calls=OPEN, deterministic=True)
    found = found.shard(workers, worker)
    return found.shuffle(shuffle, seed=hash((seed, epoch)) % 2**31).map(_parsed, tf.data.AUTOTUNE, deterministic=True)


def _parsed(record: Tensor) -> dict[str, Tensor]:
    form = {"image": tf.io.FixedLenFeature([], tf.string), "text": tf.io.FixedLenFeature([], tf.string, ""),
            "polygons": tf.io.VarLenFeature(tf.float32)}  # fmt: skip
    found = tf.io.parse_single_example(record, form)
    image, scale = tf.numpy_function(_decoded, [found["image"]], (tf.uint8, tf.float32), stateful=False)
    polygons = tf.reshape(tf.sparse.to_dense(found["polygons"]), (-1, 4, 2)) / tf.ensure_shape(scale, (2,))
    return {"image": tf.ensure_shape(image, (None, None, 3)), "text": found["text"], "polygons": polygons}


def _decoded(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The picture of a file as recipes see it, and its scale: TensorFlow knows few formats, and turns no photograph."""
    picture = next(iter(images.pages(data)))
    return picture.pixels, picture.scale


def bucketed(words: tf.data.Dataset, height: int, widths: Sequence[int], batch: int) -> tf.data.Dataset:
    """Batches of strips of about one width: "image" (B, height, W, 3) uint8, zeros on the right, and "text" (B,).

    Args:
        words: what `read` gives of crops.
        height: of the strips.
        widths: to which strips are filled up; wider ones are squeezed into the last.
        batch: strips in each.
    """

    def strip(word):
        shape = tf.shape(word["image"])
        width = tf.cast(tf.round(shape[1] * height / shape[0]), tf.int32)
        width = tf.clip_by_value(width, 1, max(widths))
        image = tf.image.resize(word["image"], (height, width), antialias=True)
        return {"image": tf.cast(tf.round(image), tf.uint8), "text": word["text"]}

    return words.map(strip, tf.data.AUTOTUNE, deterministic=True).bucket_by_sequence_length(
        lambda word: tf.shape(word["image"])[1],
        bucket_boundaries=[width + 1 for width in widths[:-1]],
        bucket_batch_sizes=[batch] * len(widths),
        padded_shapes={"image": [height, None, 3], "text": []},
    )


# ---------------------------------------------------------------- augmenting


def augmented(pages: tf.data.Dataset, seed: int = 0, strength: float = 1.0, first: int = 0) -> tf.data.Dataset:
    """The pictures as other cameras would have taken them; their polygons move along.

    Args:
        pages: of mappings with "image", and maybe "polygons" (N, P, 2).
        seed: of all draws, with the number of the picture.
        strength: 0 is nothing, 1 the usual, 2 harsh.
        first: number of the first picture, after a `skip`.
    """

    def change(number, page):
        none = tf.zeros((0, 4, 2))
        image, polygons = augment(page["image"], page.get("polygons", none), (seed, number), strength)
        return page | {"image": image} | ({"polygons": polygons} if "polygons" in page else {})

    return pages.enumerate(first).map(change, tf.data.AUTOTUNE, deterministic=True)


def augment(image: Tensor, polygons: Tensor, seed: tuple, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """A picture (H, W, 3) uint8 and its polygons (N, P, 2) after a few accidents, each of which has its chance."""
    draw = Draws(seed)
    shape = tf.shape(image)
    polygons = tf.cast(polygons, tf.float32)
    if_ = lambda chance, change, values: tf.cond(draw() < chance * strength, lambda: change(*values), lambda: values)  # noqa: E731
    image, polygons = if_(0.7, lambda i, p: perspective(i, p, draw, strength), (image, polygons))
    image, polygons = if_(0.3, lambda i, p: elastic(i, p, draw, strength), (image, polygons))
    x = tf.cast(image, tf.float32)
    for chance, change in ((0.4, colour), (0.3, shadow), (0.35, blur), (0.4, noise)):
        (x,) = if_(chance, lambda x, change=change: (change(x, draw, strength),), (x,))
    image = tf.cast(tf.round(tf.clip_by_value(x, 0, 255)), tf.uint8)
    (image,) = if_(0.35, lambda i: (jpeg(i, draw, strength),), (image,))
    return tf.reshape(image, shape), polygons


class Draws:
    """Numbers in [0, 1) by a seed: each call gives the next."""

    def __init__(self, seed: tuple):
        self.seed = tf.cast(tf.stack([tf.cast(part, tf.int64) for part in seed]), tf.int64)
        self.count = 0

    def __call__(self, shape: Sequence = ()) -> Tensor:
        return tf.random.stateless_uniform(shape, self.next())

    def between(self, low: float, high: float, shape: Sequence = ()) -> Tensor:
        return low + (high - low) * self(shape)

    def normal(self, shape: Sequence) -> Tensor:
        return tf.random.stateless_normal(shape, self.next())

    def next(self) -> Tensor:
        self.count += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.count)


# ---------------------------------------------------------------- geometry


def perspective(image: Tensor, polygons: Tensor, draw: Draws, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Turned by up to 5 degrees, its corners moved by up to 4 % of the shorter side; the edge is repeated around it."""
    size = _size(image)
    corners = size * tf.constant([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    moved = corners + draw.between(-0.04 * strength, 0.04 * strength, (4, 2)) * tf.reduce_min(size)
    angle = draw.between(-0.087 * strength, 0.087 * strength)
    turn = tf.stack([tf.stack([tf.cos(angle), tf.sin(angle)]), tf.stack([-tf.sin(angle), tf.cos(angle)])])
    moved = (moved - size / 2) @ turn + size / 2
    back = homography(moved, corners)
    return sampled(image, transformed(_places(image), back)), transformed(polygons, homography(corners, moved))


def elastic(image: Tensor, polygons: Tensor, draw: Draws, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """Pulled here and there by up to 1.5 % of the shorter side, smoothly, as crumpled paper is."""
    reach = 0.015 * strength * tf.reduce_min(_size(image))
    net = draw.between(-1.0, 1.0, (GRID, GRID, 2)) * reach

    def pull(places):  # (…, 2) → (…, 2), of the net laid over the picture
        return _bilinear(net, places / _size(image) * (GRID - 1))

    where = polygons
    for _ in range(6):  # p + pull(p) is where the ink of p comes from; its inverse by iteration
        where = polygons - pull(where)
    places = _places(image)
    return sampled(image, places + pull(places)), where


def homography(source: Tensor, target: Tensor) -> Tensor:
    """(3, 3) that moves four points (4, 2) onto four others: Hartley and Zisserman 2004, section 4.1."""
    rows, zero = [], tf.zeros(3)
    for index in range(4):
        point = tf.concat([source[index], [1.0]], 0)
        x, y = target[index][0], target[index][1]
        rows += [tf.concat([point, zero, -x * source[index]], 0), tf.concat([zero, point, -y * source[index]], 0)]
    values = tf.linalg.solve(tf.stack(rows), tf.reshape(target, (8, 1)))
    return tf.reshape(tf.concat([values[:, 0], [1.0]], 0), (3, 3))


def transformed(points: Tensor, matrix: Tensor) -> Tensor:
    """Points (…, 2) under a homography (3, 3)."""
    moved = tf.einsum("...i,ji->...j", tf.concat([points, tf.ones_like(points[..., :1])], -1), matrix)
    return moved[..., :2] / moved[..., 2:]


def sampled(image: Tensor, places: Tensor) -> Tensor:
    """(H, W, 3) uint8: the picture's values at places (H, W, 2), x then y in pixels from its corner."""
    return tf.cast(tf.round(_bilinear(tf.cast(image, tf.float32), places - 0.5)), tf.uint8)


def _bilinear(values: Tensor, places: Tensor) -> Tensor:
    """Values (H, W, C) between their places (…, 2), where x and y count from the first; beyond an edge its own."""
    last = tf.cast(tf.shape(values)[1::-1] - 1, tf.float32)
    places = tf.clip_by_value(places, 0.0, last)
    low = tf.floor(places)
    part, low = places - low, tf.cast(low, tf.int32)
    high = tf.minimum(low + 1, tf.cast(last, tf.int32))

    def at(x, y):
        return tf.gather_nd(values, tf.stack([y, x], -1))

    x, y = part[..., :1], part[..., 1:]
    top = at(low[..., 0], low[..., 1]) * (1 - x) + at(high[..., 0], low[..., 1]) * x
    bottom = at(low[..., 0], high[..., 1]) * (1 - x) + at(high[..., 0], high[..., 1]) * x
    return top * (1 - y) + bottom * y


def _size(image: Tensor) -> Tensor:
    """(width, height) float32."""
    return tf.cast(tf.shape(image)[1::-1], tf.float32)


def _places(image: Tensor) -> Tensor:
    """(H, W, 2): the middle of each pixel, x then y."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    return tf.cast(tf.stack([columns, rows], -1), tf.float32) + 0.5


# ---------------------------------------------------------------- light and lenses; (H, W, 3) float32 each


def colour(x: Tensor, draw: Draws, strength: float = 1.0) -> Tensor:
    """Gain and offset of each channel changed: by up to 20 %, and 25 levels."""
    gain = 1 + draw.between(-0.2 * strength, 0.2 * strength, (3,))
    return x * gain + draw.between(-25 * strength, 25 * strength, (3,))


def shadow(x: Tensor, draw: Draws, strength: float = 1.0) -> Tensor:
    """Darker by up to a half on one side of a line through the picture, with a soft edge."""
    size, angle = _size(x), draw.between(0.0, 6.2832)
    across = _places(x) - size * draw.between(0.2, 0.8, (2,))
    distance = across[..., 0] * tf.cos(angle) + across[..., 1] * tf.sin(angle)
    soft = tf.reduce_min(size) * draw.between(0.02, 0.15)
    depth = tf.minimum(draw.between(0.15, 0.5) * strength, 0.9)
    return x * (1 - depth * tf.sigmoid(distance / soft))[..., None]


def blur(x: Tensor, draw: Draws, strength: float = 1.0) -> Tensor:
    """Out of focus by up to 1.4 pixels."""
    offsets = tf.range(-RADIUS, RADIUS + 1, dtype=tf.float32)
    window = tf.exp(-((offsets / tf.maximum(draw.between(0.3, 1.4) * strength, 1e-3)) ** 2) / 2)
    window = tf.tile((window / tf.reduce_sum(window))[:, None, None, None], (1, 1, 3, 1))
    edged = tf.pad(x, [[RADIUS, RADIUS], [RADIUS, RADIUS], [0, 0]], "SYMMETRIC")[None]
    once = tf.nn.depthwise_conv2d(edged, window, (1, 1, 1, 1), "VALID")
    return tf.nn.depthwise_conv2d(once, tf.transpose(window, (1, 0, 2, 3)), (1, 1, 1, 1), "VALID")[0]


def noise(x: Tensor, draw: Draws, strength: float = 1.0) -> Tensor:
    """Normal noise with a standard deviation of up to 18 levels, the same in all channels."""
    return x + draw.normal((tf.shape(x)[0], tf.shape(x)[1], 1)) * draw.between(1.0, 18.0) * strength


def jpeg(image: Tensor, draw: Draws, strength: float = 1.0) -> Tensor:
    """Compressed as JPEG with a quality from 25 to 90, and back: uint8."""
    quality = tf.cast(tf.clip_by_value(draw.between(90.0 - 65.0 * strength, 90.0), 5.0, 100.0), tf.int32)
    return tf.io.decode_jpeg(tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality), 3)
