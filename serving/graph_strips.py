"""Pictures to pages, and places on pages to strips, by TensorFlow's own operations: what `zoo.image` does.

encoded () string ─► decode ─► page (H, W, 3) uint8, on paper ─► letterbox ─► detector
                                    └─► crop ─► strip, or windows of one too wide ─► recognizer
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.graph_loop import joined
from zoo.image import BLANK, CLUMPS, DARK, EDGE, FAR, GREYS, LONGEST_STRIP, PALE, RINGS, SPECKS, UNLIKE

BAND = 256  # rows from which specks are taken at once
HEAD = 65_536  # bytes in which the orientation is sought: it stands in the first segments
ORIENTATION = 0x0112
COLOURS = np.repeat(np.arange(256, dtype="uint8")[:, None], 3, 1)  # of a BMP that lists none


# --- pages -----------------------------------------------------------------------------------------------------------


def decode(encoded: tf.Tensor, turned: bool = True) -> tf.Tensor:
    """(H, W, 3) uint8 RGB; grey becomes RGB, a PNG's alpha is laid over white.

    Args:
        turned: a JPEG is turned as its EXIF orientation says.
    """
    is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    # The exact transform, which Pillow uses too: by the fast one two pixels of three are others.
    flat = tf.cond(
        is_jpeg, lambda: tf.io.decode_jpeg(encoded, 3, dct_method="INTEGER_ACCURATE"), lambda: _decode_other(encoded)
    )
    if turned:
        flat = _turn(flat, orientation(encoded))
    return tf.ensure_shape(flat, (None, None, 3))


def page(encoded: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) uint8: a whole page, as `zoo.image.on_paper` has it."""
    pixels = decode(encoded)
    green = tf.boolean_mask(pixels, tf.range(tf.shape(pixels)[0]) // 16 % 4 == 0)[..., 1:2]

    _, (single, *_, every) = _without_specks(green, RINGS)

    def many(count: tf.Tensor, share: float) -> tf.Tensor:
        return tf.cast(count, tf.float64) >= share * tf.cast(tf.size(green), tf.float64)

    return tf.cond(
        many(every, CLUMPS),
        lambda: _cleaned(pixels, RINGS),
        lambda: tf.cond(many(single, SPECKS), lambda: _cleaned(pixels, RINGS[:1]), lambda: _black_on_white(pixels)),
    )


def _black_on_white(pixels: tf.Tensor) -> tf.Tensor:
    counts = _levels(pixels)
    parts = tf.reduce_sum(counts) * tf.constant([1, EDGE - 1], tf.int64)
    low, high = tf.unstack(tf.searchsorted(tf.cumsum(counts) * EDGE, parts))
    pale = (high - low > BLANK) & (high - low < PALE)
    pixels, counts = tf.cond(pale, lambda: _stretched(pixels, low, high), lambda: (pixels, counts))
    counts = tf.reduce_sum(tf.reshape(counts, [GREYS, -1]), 1)
    most = tf.argmax(counts, output_type=tf.int32)
    darker, brighter = tf.reduce_sum(counts[: tf.maximum(0, most - 1)]), tf.reduce_sum(counts[most + 2 :])
    unlike, every = (tf.cast(count, tf.float64) for count in (darker + brighter, tf.reduce_sum(counts)))
    dark = (most < DARK) & (unlike <= UNLIKE * every) & (brighter > darker)
    return tf.cond(dark, lambda: 255 - pixels, lambda: pixels)


def _cleaned(pixels: tf.Tensor, rings: Sequence[tuple]) -> tf.Tensor:
    """The page without its specks, some rows after the other."""
    height = tf.shape(pixels)[0]

    def step(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        start = number * BAND
        above, below = tf.maximum(start - 2, 0), tf.minimum(start + BAND + 2, height)  # rows more on each side
        clean, _ = _without_specks(pixels[above:below], rings)
        return (clean[start - above : start - above + BAND],)

    (clean,) = joined(-(-height // BAND), step, (tf.uint8,), ([None, None, 3],), parallel=1)
    return clean


def _without_specks(pixels: tf.Tensor, rings: Sequence[tuple]) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The pixels, each that is a speck no darker and no brighter than those around it; and how many the rings up to
    each of them tell."""
    clean, specks, counts = pixels, tf.zeros_like(pixels, tf.bool), []
    for ring, (left, above) in rings:
        high, wide = ring.shape
        margins = [[above, high - 1 - above], [left, wide - 1 - left], [0, 0]]
        darkest, brightest = (_of_the_ring(_with_edges(pixels, margins), ring, f) for f in (tf.minimum, tf.maximum))
        near = tf.clip_by_value(pixels, darkest, brightest)
        far = tf.where(near > pixels, near - pixels, pixels - near) > FAR
        clean, specks = tf.where(far & ~specks, near, clean), specks | far
        counts.append(tf.math.count_nonzero(specks))
    return clean, counts


def _with_edges(pixels: tf.Tensor, margins: list) -> tf.Tensor:
    """The pixels, and so many more on each side, as the outermost are."""
    for more in range(max(max(pair) for pair in margins)):
        pixels = tf.pad(pixels, [[int(side > more) for side in pair] for pair in margins], "SYMMETRIC")
    return pixels


def _of_the_ring(pixels: tf.Tensor, ring: np.ndarray, better: Callable) -> tf.Tensor:
    """The darkest, or the brightest, of the ring (h, w) at each place of pixels (H + h - 1, W + w - 1, C)."""
    height, width = (tf.shape(pixels)[axis] - ring.shape[axis] + 1 for axis in (0, 1))
    parts = [pixels[y : y + height, x : x + width] for y, x in np.argwhere(ring)]
    return functools.reduce(better, parts)


def _levels(pixels: tf.Tensor) -> tf.Tensor:
    grey = tf.reshape(tf.reduce_sum(tf.cast(pixels[::4, ::4], tf.int32), -1) // 3, [-1])
    return tf.math.bincount(grey, minlength=256, maxlength=256, dtype=tf.int64)


def _stretched(pixels: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels with as many times their contrast as they may have, and their levels then."""
    low, high = tf.cast(low, tf.uint8), tf.cast(high, tf.uint8)
    pixels = 255 - (high - tf.clip_by_value(pixels, low, high)) * (255 // (high - low))
    return pixels, _levels(pixels)


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)  # (H, W, 1 to 4)
    count = tf.shape(image)[2]
    # Other formats have no alpha; the fourth channel of a BMP is unused, and often zero.
    clear = tf.logical_and(tf.strings.substr(encoded, 0, 4) == b"\x89PNG", count % 2 == 0)
    table = tf.cond(tf.strings.substr(encoded, 0, 2) == b"BM", lambda: _palette(encoded), lambda: COLOURS)
    colour = tf.cond(count < 3, lambda: tf.gather(table, tf.cast(image[..., 0], tf.int32)), lambda: image[..., :3])
    return tf.cond(clear, lambda: _over_white(colour, image[..., -1:]), lambda: colour)


def _palette(encoded: tf.Tensor) -> tf.Tensor:
    """(256, 3) uint8: the colours of a BMP; greys where it lists none."""
    # Where its pixels begin, and the size of its second header; between both are the colours, as blue, green, red, 0.
    places = tf.io.decode_raw(tf.strings.substr(encoded, 10, 8), tf.int32)
    start = 14 + places[1]
    length = tf.clip_by_value((places[0] - start) // 4, 0, 256) * 4
    listed = tf.reshape(tf.io.decode_raw(tf.strings.substr(encoded, start, length), tf.uint8), [-1, 4])[:, 2::-1]
    table = tf.concat([listed, tf.zeros([256, 3], tf.uint8)], 0)[:256]
    return tf.cond(length > 0, lambda: table, lambda: tf.constant(COLOURS))


def _over_white(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    opaque = tf.cast(alpha, tf.float32) / 255
    return tf.cast(tf.round(tf.cast(colour, tf.float32) * opaque + 255 * (1 - opaque)), tf.uint8)


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """() int32 EXIF orientation of a JPEG, 1 to 8; 1 where it says none."""
    head = tf.strings.substr(encoded, 0, HEAD)
    data = tf.cast(tf.io.decode_raw(tf.strings.join([head, b"\0" * 24]), tf.uint8), tf.int32)
    size = tf.size(data) - 23
    # The segment APP1: its mark, two bytes of length, "Exif" and two zeros, then a TIFF header.
    mark = (0xFF, 0xE1, None, None, 0x45, 0x78, 0x69, 0x66, 0, 0)
    here = tf.ones([size], tf.bool)
    for place, byte in enumerate(mark):
        if byte is not None:
            here &= data[place : place + size] == byte
    found = tf.where(here)[:, 0]
    is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    return tf.cond(
        is_jpeg & (tf.size(found) > 0), lambda: _read_tag(data, tf.cast(found[0], tf.int32)), lambda: tf.constant(1)
    )


def _read_tag(data: tf.Tensor, segment: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF header that follows the ten bytes of a segment's beginning."""
    header = segment + 10
    big = data[header] == 0x4D  # "MM"
    last = tf.size(data) - 1

    def number(places: tf.Tensor, length: int) -> tf.Tensor:
        bytes_ = [tf.gather(data, tf.clip_by_value(places + i, 0, last)) for i in range(length)]
        little = sum(byte * 256**i for i, byte in enumerate(bytes_[:3]))
        large = sum(byte * 256**i for i, byte in enumerate(reversed(bytes_[-3:])))
        return tf.where(big, large, little)

    directory = header + tf.minimum(number(header + 4, 4), last)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 256))
    values = tf.boolean_mask(number(entries + 8, 2), number(entries, 2) == ORIENTATION)
    first = tf.concat([values, [1]], 0)[0]
    return tf.where((first >= 1) & (first <= 8), first, 1)


def _turn(image: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """The picture upright; 5 to 8 swap its sides."""
    image = tf.cond(turn >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    # What is left is mirrored: 2 left to right, 4 top to bottom, 3 both; likewise 6, 8 and 7 of those transposed.
    across = (turn == 2) | (turn == 3) | (turn == 6) | (turn == 7)
    down = (turn == 3) | (turn == 4) | (turn == 7) | (turn == 8)
    image = tf.cond(across, lambda: tf.reverse(image, [1]), lambda: image)
    return tf.cond(down, lambda: tf.reverse(image, [0]), lambda: image)


def resize(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """As `zoo.image.resize`: averages where it shrinks, interpolates linearly where it grows."""
    sides = tf.shape(image)[:2]
    less = tf.reduce_prod(size) < tf.reduce_prod(sides)

    def shrunk() -> tf.Tensor:
        return tf.cast(tf.round(tf.image.resize(image, size, tf.image.ResizeMethod.AREA)), tf.uint8)

    return tf.cond(less & tf.reduce_all(size <= sides), shrunk, lambda: _interpolated(image, size, less))


def _interpolated(image: tf.Tensor, size: tf.Tensor, less: tf.Tensor) -> tf.Tensor:
    """The picture at another size, in OpenCV's integers: 11 bits of weights, of which it drops some on the way.

    In floats an eighth of all pixels would be brighter or darker by one.

    Args:
        less: it has fewer pixels, though one side grows: OpenCV then places the new pixels otherwise.
    """
    top, bottom, below = _neighbours(size[0], tf.shape(image)[0], less)
    left, right, after = _neighbours(size[1], tf.shape(image)[1], less)
    pixels = tf.cast(image, tf.int32)
    lines = tf.gather(pixels, left, axis=1) * (2048 - after)[:, None]
    lines = tf.bitwise.right_shift(lines + tf.gather(pixels, right, axis=1) * after[:, None], 4)
    upper = tf.bitwise.right_shift(tf.gather(lines, top) * (2048 - below)[:, None, None], 16)
    lower = tf.bitwise.right_shift(tf.gather(lines, bottom) * below[:, None, None], 16)
    return tf.cast(tf.bitwise.right_shift(upper + lower + 2, 2), tf.uint8)


def _neighbours(count: tf.Tensor, of: tf.Tensor, less: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """For each of `count` new pixels the two of the old ones between which it lies, and the second's weight of 2048."""
    number = tf.cast(tf.range(count), tf.float64)
    places = tf.cast((number + 0.5) * (of / count) - 0.5, tf.float32)
    first = tf.floor(number * (of / count))
    covered = tf.cast(number + 1 - (first + 1) * (count / of), tf.float32)
    before = tf.where(less, tf.cast(first, tf.int32), tf.cast(tf.floor(places), tf.int32))
    share = tf.where(less, tf.where(covered <= 0, 0.0, covered - tf.floor(covered)), places - tf.floor(places))
    weight = tf.cast(tf.round(tf.where((before < 0) | (before >= of - 1), 0.0, share) * 2048), tf.int32)
    before = tf.clip_by_value(before, 0, of - 1)
    return before, tf.minimum(before + 1, of - 1), weight


def pad(image: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """The picture at the top left of zeros of that height and width."""
    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.pad(image, [[0, size[0] - height], [0, size[1] - width], [0, 0]])


def inner_size(sides: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """(2,) int32 height and width of a page fitted into `size`, its aspect kept."""
    exact = tf.cast(sides, tf.float64)
    factor = tf.reduce_min(tf.constant(size, tf.float64) / exact)
    return tf.clip_by_value(tf.cast(tf.round(exact * factor), tf.int32), 1, size)


def letterbox(image: tf.Tensor, size: tuple[int, int], multiple: int) -> tuple[tf.Tensor, tf.Tensor]:
    """As `zoo.image.letterbox`: (H', W', 3) uint8, and (2,) int32 the height and width that the page takes of it."""
    return _laid(image, inner_size(tf.shape(image)[:2], size), multiple)


def canvas(image: tf.Tensor, factor: tf.Tensor, multiple: int) -> tuple[tf.Tensor, tf.Tensor]:
    """As `zoo.image.canvas`, by a factor () float64; returns what `letterbox` does."""
    exact = tf.cast(tf.shape(image)[:2], tf.float64) * factor
    return _laid(image, tf.maximum(tf.cast(tf.round(exact), tf.int32), 1), multiple)


def _laid(image: tf.Tensor, inner: tf.Tensor, multiple: int) -> tuple[tf.Tensor, tf.Tensor]:
    outer = -(-inner // multiple) * multiple
    return tf.ensure_shape(pad(resize(image, inner), outer), (None, None, 3)), inner


# --- crops -----------------------------------------------------------------------------------------------------------


def sides(quads: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Widths and heights (N,) of quadrilaterals (N, 4, 2), as `zoo.geometry.sides`."""
    edges = tf.norm(tf.roll(quads, -1, 1) - quads, axis=2)
    return (edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2


class Places(NamedTuple):
    """Quadrilaterals on a page, and how each is cut.

    Attributes:
        polygons: (N, 4, 2) float32.
        sizes: (N, 2) int32 height and width of the crops.
        corners: (N, 2) int32 top and left of those that are cut out as they stand.
        upright: (N,) bool, which those are.
        matrices: (N, 8) float64 from a crop's to the page's pixels, for the others.
    """

    polygons: tf.Tensor
    sizes: tf.Tensor
    corners: tf.Tensor
    upright: tf.Tensor
    matrices: tf.Tensor


def places(polygons: tf.Tensor, page: tf.Tensor) -> Places:
    """How `zoo.image.crop` cuts polygons (N, 4, 2) out of a page (H, W, 3)."""
    edges = tf.norm(tf.roll(polygons, -1, 1) - polygons, axis=2)  # top, right, bottom, left
    means = (edges[:, :2] + edges[:, 2:]) / 2
    width, height = tf.unstack(tf.maximum(1, tf.cast(tf.round(means), tf.int32)), axis=1)
    (x0, y0), (x1, y1) = (tf.unstack(polygons[:, i], axis=1) for i in (0, 2))
    straight = tf.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1)
    near = tf.abs(tf.reshape(polygons, [-1, 8]) - straight) <= 0.1 + 1e-5 * tf.abs(straight)
    bounds = tf.shape(page)[:2]
    limit = tf.cast(bounds, tf.float32)
    inside = (x0 >= 0) & (y0 >= 0) & (x1 <= limit[1]) & (y1 <= limit[0]) & (x1 > x0) & (y1 > y0)
    upright = tf.reduce_all(near, 1) & inside
    corners = tf.minimum(tf.cast(tf.round(tf.stack([y0, x0], 1)), tf.int32), bounds - 1)
    sizes = tf.stack([height, width], 1)
    cut = tf.minimum(sizes, bounds - corners)  # a rectangle may end at the page's edge
    sizes = tf.where(upright[:, None], cut, sizes)
    return Places(polygons, sizes, corners, upright, _matrices(sizes, polygons))


def _matrices(sizes: tf.Tensor, polygons: tf.Tensor) -> tf.Tensor:
    """(N, 8) float64 a … h: (x, y) of a crop is ((a x + b y + c) / k, (d x + e y + f) / k), k = g x + h y + 1.

    Pixels are counted from their centres.
    """
    height, width = tf.unstack(tf.cast(sizes, tf.float64), axis=1)
    zero = tf.zeros_like(width)
    x = tf.stack([zero, width, width, zero], 1) - 0.5
    y = tf.stack([zero, zero, height, height], 1) - 0.5
    to = tf.cast(polygons, tf.float64) - 0.5
    one, none = tf.ones_like(x), tf.zeros_like(x)
    of_x = tf.stack([x, y, one, none, none, none, -x * to[..., 0], -y * to[..., 0]], 2)
    of_y = tf.stack([none, none, none, x, y, one, -x * to[..., 1], -y * to[..., 1]], 2)
    system = tf.concat([of_x, of_y], 1)
    flat = tf.abs(tf.linalg.det(system)) < 1e-9  # a quadrilateral without area; the whole page would be as good
    system = tf.where(flat[:, None, None], tf.eye(8, dtype=tf.float64), system)
    return tf.linalg.solve(system, tf.concat([to[..., 0], to[..., 1]], 1)[..., None])[..., 0]


def crop(page: tf.Tensor, place: Places) -> tf.Tensor:
    """(h, w, 3) uint8: one place, its fields without their first axis; what lies outside of the page is white."""

    def cut() -> tf.Tensor:
        return tf.slice(page, tf.concat([place.corners, [0]], 0), tf.concat([place.sizes, [3]], 0))

    def warp() -> tf.Tensor:
        bounds = tf.shape(page)[:2]
        low = tf.reverse(tf.cast(tf.floor(tf.reduce_min(place.polygons, 0)), tf.int32) - 2, [0])
        high = tf.reverse(tf.cast(tf.math.ceil(tf.reduce_max(place.polygons, 0)), tf.int32) + 2, [0])
        low, high = tf.clip_by_value(low, 0, bounds - 1), tf.clip_by_value(high, 1, bounds)
        part = tf.cast(page[low[0] : high[0], low[1] : high[1]], tf.float32)
        top, left = tf.unstack(tf.cast(low, tf.float64))
        a, b, c, d, e, f, g, h = tf.unstack(place.matrices)
        moved = tf.stack([a - left * g, b - left * h, c - left, d - top * g, e - top * h, f - top, g, h])
        turned = tf.raw_ops.ImageProjectiveTransformV3(
            images=part[None],
            transforms=tf.cast(moved[None], tf.float32),
            output_shape=place.sizes,
            fill_value=255.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        return tf.cast(tf.round(turned[0]), tf.uint8)

    return tf.ensure_shape(tf.cond(place.upright, cut, warp), (None, None, 3))


def strip_width(sizes: tf.Tensor, height: int) -> tf.Tensor:
    """(N,) int32: as `zoo.image.strip_width`, of crops (N, 2) of that height and width."""
    exact = tf.cast(sizes, tf.float64)
    wanted = tf.cast(tf.round(exact[..., 1] * height / exact[..., 0]), tf.int32)
    return tf.clip_by_value(wanted, 1, LONGEST_STRIP * height)


def turn(image: tf.Tensor, quarters: tf.Tensor) -> tf.Tensor:
    """The crop turned clockwise by so many quarters, 0 to 3."""
    half = tf.cond(quarters > 1, lambda: tf.reverse(image, [0, 1]), lambda: image)
    return tf.cond(quarters % 2 == 0, lambda: half, lambda: tf.reverse(tf.transpose(half, [1, 0, 2]), [1]))


def strips(image: tf.Tensor, height: int, widest: int, split: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """The strips (S, height, widest, 3) uint8 of a crop, and (S,) int32 the columns at which they begin.

    As `zoo.image.strips`: more than one of a crop too wide, unless it is to be squeezed.
    """
    wanted = strip_width(tf.shape(image)[:2], height)

    def one() -> tuple[tf.Tensor, tf.Tensor]:
        inner = tf.minimum(wanted, widest)
        return pad(resize(image, tf.stack([height, inner])), (height, widest))[None], tf.zeros([1], tf.int32)

    def several() -> tuple[tf.Tensor, tf.Tensor]:
        whole = resize(image, tf.stack([height, wanted]))
        starts = windows(wanted, widest, min(2 * height, widest // 2))
        padded = tf.pad(whole, [[0, 0], [0, widest], [0, 0]])
        columns = tf.gather(padded, starts[:, None] + tf.range(widest)[None], axis=1)  # (height, S, widest, 3)
        return tf.transpose(columns, [1, 0, 2, 3]), starts

    cut, starts = tf.cond((wanted > widest) & split, several, one)
    return tf.ensure_shape(cut, (None, height, widest, 3)), tf.ensure_shape(starts, (None,))


def windows(length: tf.Tensor, window: int, overlap: int, multiple: int = 4) -> tf.Tensor:
    """As `zoo.image.windows`."""
    step = (window - overlap) // multiple
    last = -(-tf.maximum(0, length - window) // multiple)
    gaps = -(-last // step)
    return tf.range(gaps + 1) * last // tf.maximum(1, gaps) * multiple
