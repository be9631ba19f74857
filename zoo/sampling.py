"""Values between the pixels of a map: deformable convolution and attention, regions brought to one size, views of it.

    map (B, H, W, C), points (B, N) → values (B, N, C), each from the four pixels around the point

A point (y, x) counts from the centre of the first pixel. In `keras.ops` alone: the same on TensorFlow and on JAX, with
gradients by the map and by the points, and in every export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

ZERO, REPEAT = "zero", "repeat"  # what lies beyond the edge of a map


def bilinear(maps: Sequence, level, y, x, edge: str = ZERO):
    """(B, N, C) values at points of several maps.

    Args:
        maps: each (B, H_i, W_i, C).
        level: (B, N) int32, the map in which each point lies, or None where there is one map.
        y, x: (B, N) float32, pixels of that map.
        edge: beyond the map there are zeros (`ZERO`), or its outermost pixels are repeated (`REPEAT`).
    """
    batch, channels = ops.shape(maps[0])[0], maps[0].shape[-1]
    heights, widths = ([ops.shape(x)[axis] for x in maps] for axis in (1, 2))
    sizes = [height * width for height, width in zip(heights, widths, strict=True)]
    flat = ops.concatenate([ops.reshape(x, (batch, size, channels)) for x, size in zip(maps, sizes, strict=True)], 1)
    total = sum(sizes[1:], sizes[0])
    height, width, base = (
        _pick(level, [ops.cast(value, "int32") for value in values])
        for values in (heights, widths, [sum(sizes[:i], 0) for i in range(len(sizes))])
    )
    base = base + ops.expand_dims(ops.arange(batch, dtype="int32"), 1) * ops.cast(total, "int32")
    flat = ops.reshape(flat, (-1, channels))
    if edge == REPEAT:
        y = ops.clip(y, 0.0, ops.cast(height - 1, y.dtype))
        x = ops.clip(x, 0.0, ops.cast(width - 1, x.dtype))
    top, left = ops.floor(y), ops.floor(x)
    down, right = (ops.expand_dims(value, -1) for value in (y - top, x - left))
    top, left = ops.cast(top, "int32"), ops.cast(left, "int32")
    (upper, upper_right), (lower, lower_right) = (
        [ops.cast(_value(flat, base, row, column, height, width, edge), y.dtype) for column in (left, left + 1)]
        for row in (top, top + 1)
    )
    upper = upper + (upper_right - upper) * right
    lower = lower + (lower_right - lower) * right
    return upper + (lower - upper) * down


def _value(flat, base, row, column, height, width, edge: str):
    """(B, N, C) values of pixels of maps that begin at `base` in `flat`; beyond an edge what it says."""
    if edge == REPEAT:  # at most one beyond the last
        return ops.take(flat, base + ops.minimum(row, height - 1) * width + ops.minimum(column, width - 1), axis=0)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = base + ops.clip(row, 0, height - 1) * width + ops.clip(column, 0, width - 1)
    return ops.take(flat, index, axis=0) * ops.cast(ops.expand_dims(inside, -1), flat.dtype)


def _pick(level, values: list):
    """(B, N) int32: the value of each point's level; one for all where there are no levels."""
    if level is None:
        return values[0]
    return ops.take(ops.stack([ops.cast(value, "int32") for value in values]), level, axis=0)


def rows(x, index):
    """(B, K, …) rows of x (B, N, …) by their indices (B, K)."""
    count = ops.shape(x)[1]
    offset = ops.expand_dims(ops.arange(ops.shape(x)[0], dtype="int32") * count, 1)
    return ops.take(ops.reshape(x, (-1, *x.shape[2:])), ops.cast(index, "int32") + offset, axis=0)


# ---------------------------------------------------------------- deformable convolution


@keras.saving.register_keras_serializable(__name__)
class DeformConv(layers.Layer):
    """A convolution whose window looks elsewhere at every place: (B, H, W, C) → (B, ⌈H / stride⌉, ⌈W / stride⌉, F).

    Zhu et al. 2018 (version 2, modulated), https://arxiv.org/abs/1811.11168, eq. 1. Beyond the map there are zeros.
    Call it with [x, offsets, weights]: for each of the k·k places of the window, row by row, "offsets"
    (B, H', W', 2·k·k) tell how many pixels further down and right it looks, and "weights" (B, H', W', k·k) how much it
    counts. Equal to torchvision's `deform_conv2d` with padding dilation · (k // 2).

    Args:
        filters: F.
        kernel: side of the window, odd.
        stride: pixels from one place of the window to the next.
        dilation: pixels between the window's places.
    """

    def __init__(self, filters: int, kernel: int = 3, stride: int = 1, dilation: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.stride, self.dilation = filters, kernel, stride, dilation

    def build(self, shapes):
        size, channels = self.kernel_size, shapes[0][-1]
        shape = (size, size, channels, self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")

    def call(self, inputs):
        x, offsets, weights = inputs
        height, width, places = ops.shape(offsets)[1], ops.shape(offsets)[2], self.kernel_size**2
        reach = np.arange(self.kernel_size) - self.kernel_size // 2
        down, right = (grid.ravel() * self.dilation for grid in np.meshgrid(reach, reach, indexing="ij"))
        offsets = ops.reshape(ops.cast(offsets, "float32"), (-1, height, width, places, 2))
        rows = ops.cast(ops.arange(height) * self.stride, "float32")[None, :, None, None]
        columns = ops.cast(ops.arange(width) * self.stride, "float32")[None, None, :, None]
        points = height * width * places
        y = ops.reshape(rows + down.astype("float32") + offsets[..., 0], (-1, points))
        z = ops.reshape(columns + right.astype("float32") + offsets[..., 1], (-1, points))
        values = ops.cast(bilinear([x], None, y, z), self.compute_dtype)
        values = values * ops.reshape(ops.cast(weights, self.compute_dtype), (-1, points, 1))
        values = ops.reshape(values, (-1, height, width, places * x.shape[-1]))
        return ops.matmul(values, ops.reshape(ops.cast(self.kernel, self.compute_dtype), (-1, self.filters)))

    def compute_output_shape(self, shapes):
        return (*shapes[1][:3], self.filters)

    def get_config(self):
        own = {"kernel": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        return super().get_config() | {"filters": self.filters} | own


def deform_conv(x, filters: int, kernel: int, name: str, *, stride: int = 1):
    """A deformable convolution that finds out from `x` where to look; it begins as a plain one of half the weight.

    The layers are `name`, and `name`_offset and `name`_weight, which begin with zeros.
    """
    start = {"kernel_initializer": "zeros", "use_bias": True}
    y, padding = x, "same"
    if stride > 1:
        y, padding = layers.ZeroPadding2D(kernel // 2, name=f"{name}_offset_pad")(x), "valid"
    offsets = layers.Conv2D(2 * kernel**2, kernel, stride, padding, name=f"{name}_offset", **start)(y)
    weights = layers.Conv2D(
        kernel**2, kernel, stride, padding, activation="sigmoid", name=f"{name}_weight", **start
    )(y)  # fmt: skip
    return DeformConv(filters, kernel, stride, name=name)([x, offsets, weights])


# ---------------------------------------------------------------- deformable attention


@keras.saving.register_keras_serializable(__name__)
class DeformAttention(layers.Layer):
    """What queries find at a few points of maps, in several heads: (B, Q, C). Zhu et al. 2020.

    https://arxiv.org/abs/2010.04159, eq. 3, with the turned boxes of docTR's LW-DETR. Call it with queries (B, Q, C),
    boxes (B, Q, 6), each a centre, width and height in shares of the picture's sides, and the sine and cosine of its
    turn, a list of maps (B, h, w, C), and a list of what lies inside of them (B, h, w): 1, or 0 where nothing is seen.
    Points lie at most about a box away from a box's centre when all begins, around it in as many directions as there
    are heads.

    Args:
        heads: among which the channels are shared.
        points: of each head in each map.
    """

    def __init__(self, heads: int, points: int, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision is too coarse for places on a page
        self.heads, self.points = heads, points

    def build(self, queries_shape, boxes_shape, maps_shape, inside_shape):
        width, spots = queries_shape[-1], self.heads * len(maps_shape) * self.points
        start = {"kernel_initializer": "zeros", "dtype": "float32"}
        around = keras.initializers.Constant(self._directions(len(maps_shape)))
        self.offset = layers.Dense(2 * spots, bias_initializer=around, name="offset", **start)
        self.weight = layers.Dense(spots, name="weight", **start)
        self.value = layers.Dense(width, name="value", dtype=self.dtype_policy)
        self.output_projection = layers.Dense(width, name="output", dtype=self.dtype_policy)
        for layer in (self.offset, self.weight, self.output_projection):
            layer.build(queries_shape)
        self.value.build(maps_shape[0])

    def _directions(self, levels: int) -> np.ndarray:
        """The first offsets: each head looks in a direction of its own, its points 1, 2 … steps away (appendix A.4)."""
        angle = np.arange(self.heads) * 2 * np.pi / self.heads
        away = np.stack([np.cos(angle), np.sin(angle)], -1)
        away /= np.abs(away).max(-1, keepdims=True)
        steps = np.arange(1, self.points + 1)[:, None]
        return np.broadcast_to((away[:, None, None] * steps), (self.heads, levels, self.points, 2)).ravel().copy()

    def call(self, queries, boxes, maps, inside):
        count, shape = ops.shape(queries)[1], (self.heads, len(maps), self.points)
        boxes = ops.cast(boxes, "float32")[:, :, None]
        centre, size, sine, cosine = boxes[..., :2], boxes[..., 2:4], boxes[..., 4], boxes[..., 5]
        offset = ops.reshape(self.offset(ops.cast(queries, "float32")), (-1, count, math.prod(shape), 2))
        right, down = ops.unstack(offset / self.points * size * 0.5, axis=-1)  # (B, Q, heads · maps · points)
        x = ops.reshape(centre[..., 0] + right * cosine - down * sine, (-1, count, *shape))
        y = ops.reshape(centre[..., 1] + right * sine + down * cosine, (-1, count, *shape))
        weight = ops.reshape(self.weight(ops.cast(queries, "float32")), (-1, count, self.heads, shape[1] * shape[2]))
        weight = ops.reshape(ops.softmax(weight, -1), (-1, count, *shape))
        found = [
            self._look(self.value(level) * ops.cast(seen, self.compute_dtype)[..., None], x[:, :, :, i], y[:, :, :, i],
                       weight[:, :, :, i])
            for i, (level, seen) in enumerate(zip(maps, inside, strict=True))
        ]  # fmt: skip
        return self.output_projection(sum(found[1:], found[0]))

    def _look(self, value, x, y, weight):
        """(B, Q, C) weighed sums of the values of a map (B, h, w, C) at points (B, Q, heads, points)."""
        (height, width, channels), count = value.shape[1:], ops.shape(x)[1]
        depth = channels // self.heads
        value = ops.transpose(ops.reshape(value, (-1, height, width, self.heads, depth)), (0, 3, 1, 2, 4))

        def spread(given):
            """(B, Q, heads, points) → (B · heads, Q · points)."""
            return ops.reshape(ops.transpose(given, (0, 2, 1, 3)), (-1, count * self.points))

        value = ops.reshape(value, (-1, height, width, depth))
        found = bilinear([value], None, spread(y) * height - 0.5, spread(x) * width - 0.5) * spread(weight)[..., None]
        found = ops.sum(ops.reshape(found, (-1, self.heads, count, self.points, depth)), 3)
        found = ops.reshape(ops.transpose(found, (0, 2, 1, 3)), (-1, count, channels))
        return ops.cast(found, self.compute_dtype)

    def compute_output_shape(self, queries_shape, boxes_shape, maps_shape, inside_shape):
        return queries_shape

    def get_config(self):
        return super().get_config() | {"heads": self.heads, "points": self.points}


# ---------------------------------------------------------------- regions


@keras.saving.register_keras_serializable(__name__)
class RegionAlign(layers.Layer):
    """Regions of a pyramid brought to one size: (B, N, size, size, C).

    He et al. 2017, https://arxiv.org/abs/1703.06870, section 3 (RoIAlign), with the levels of Lin et al. 2016,
    https://arxiv.org/abs/1612.03144, eq. 1. Call it with [boxes, P2, P3, …]: boxes (B, N, 4) are left, top, right,
    bottom in pixels of the image, and Pi has a pixel for each 2^i of these. Equal to torchvision's `roi_align`
    (aligned) within the picture.

    Args:
        size: samples of the result on each side.
        samples: points of each cell on each side, of which the mean is taken.
        usual: √(width · height) of the regions that belong to P4.
    """

    def __init__(self, size: int = 7, samples: int = 2, usual: float = 224.0, **kwargs):
        super().__init__(**kwargs)
        self.size, self.samples, self.usual = size, samples, usual

    def call(self, inputs):
        boxes, maps = ops.cast(inputs[0], "float32"), inputs[1:]
        count, side = ops.shape(boxes)[1], self.size * self.samples
        width, height = (ops.maximum(boxes[..., 2 + i] - boxes[..., i], 1e-3) for i in (0, 1))
        level = 4 + ops.floor(ops.log(ops.sqrt(width * height) / self.usual + 1e-6) / np.log(2.0))  # eq. 1
        level = ops.cast(ops.clip(level, 2, 1 + len(maps)), "int32")  # (B, N)
        scale = ops.exp(-np.log(2.0).astype("float32") * ops.cast(level, "float32"))[..., None]
        part = ((np.arange(side) + 0.5) / side).astype("float32")
        x = (boxes[..., 0, None] + width[..., None] * part) * scale - 0.5  # (B, N, side)
        y = (boxes[..., 1, None] + height[..., None] * part) * scale - 0.5
        shape = (-1, count, side, side)
        grid = [ops.broadcast_to(v, (ops.shape(boxes)[0], *shape[1:])) for v in (y[..., None], x[:, :, None])]
        y, x = (ops.reshape(v, (-1, count * side * side)) for v in grid)
        level = ops.repeat(level - 2, side * side, axis=1)
        values = bilinear(maps, level, y, x, REPEAT)
        channels = maps[0].shape[-1]
        cells = (-1, self.samples, self.size, self.samples, channels)  # LiteRT takes no mean of seven axes
        found = ops.mean(ops.reshape(values, cells), (1, 3))
        return ops.cast(ops.reshape(found, (-1, count, self.size, self.size, channels)), self.compute_dtype)

    def compute_output_shape(self, shapes):
        return (*shapes[0][:2], self.size, self.size, shapes[1][-1])

    def get_config(self):
        return super().get_config() | {"size": self.size, "samples": self.samples, "usual": self.usual}


# ---------------------------------------------------------------- affine views


@keras.saving.register_keras_serializable(__name__)
class AffineView(layers.Layer):
    """What a picture looks like through a matrix: [(B, H, W, C), (B, 6)] → (B, *size, C). Beyond it there are zeros.

    Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025, eq. 1 and 5. The six numbers are the rows of the (2, 3)
    matrix from places of the view to places of the picture; both go from -1 to 1 from edge to edge.

    Args:
        size: height and width of the view, pixels.
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, inputs):
        picture, theta = inputs
        theta = ops.cast(ops.reshape(theta, (-1, 2, 3)), "float32")
        rows, columns = ((2 * np.arange(side) + 1) / side - 1 for side in self.size)
        right, down = np.meshgrid(columns, rows)
        places = np.stack([right.ravel(), down.ravel(), np.ones(right.size)]).astype("float32")  # (3, N)
        source = ops.matmul(theta, places)  # (B, 2, N), eq. 1
        height, width = (ops.cast(ops.shape(picture)[axis], "float32") for axis in (1, 2))
        x, y = ((source[:, i] + 1) * side / 2 - 0.5 for i, side in enumerate((width, height)))
        values = bilinear([picture], None, y, x)  # eq. 5
        return ops.cast(ops.reshape(values, (-1, *self.size, picture.shape[-1])), self.compute_dtype)

    def compute_output_shape(self, shapes):
        return (shapes[0][0], *self.size, shapes[0][-1])

    def get_config(self):
        return super().get_config() | {"size": self.size}


def spatial_transformer(x, size: tuple[int, int], name: str, *, filters: int = 32):
    """The view of `x` (B, H, W, C) that suits what follows: (B, *size, C). It begins as the whole of it.

    Two convolutions, the mean and a dense layer say how to look (section 3.1 of the paper).
    """
    y = x
    for index in (1, 2):
        y = layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"{name}_conv{index}")(y)
        y = layers.MaxPooling2D(2, name=f"{name}_pool{index}")(y)
    y = layers.GlobalAveragePooling2D(name=f"{name}_mean")(y)
    whole = keras.initializers.Constant([1, 0, 0, 0, 1, 0])
    theta = layers.Dense(
        6, kernel_initializer="zeros", bias_initializer=whole, dtype="float32", name=f"{name}_matrix"
    )(y)  # fmt: skip
    return AffineView(size, name=name)([x, theta])


# ---------------------------------------------------------------- perspective views


def projection(quads):
    """Eight numbers a to h for each quadrilateral (…, 4, 2), clockwise from the top left of what is seen in it.

    A place (u, v) of the unit square lies at x = (a·u + b·v + c) / (g·u + h·v + 1), y = (d·u + e·v + f) / (the same):
    Heckbert 1989, "Fundamentals of Texture Mapping and Image Warping", section 2.2.3.
    """
    x0, x1, x2, x3 = (quads[..., i, 0] for i in range(4))
    y0, y1, y2, y3 = (quads[..., i, 1] for i in range(4))
    u1, u2, u = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    v1, v2, v = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = u1 * v2 - u2 * v1
    area = ops.where(ops.abs(area) < 1e-6, 1e-6, area)  # of a quadrilateral that is none, any view will do
    g, h = (u * v2 - u2 * v) / area, (u1 * v - u * v1) / area
    return x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h


@keras.saving.register_keras_serializable(__name__)
class Rectify(layers.Layer):
    """Quadrilaterals of pictures seen straight on: [map, quads, columns] → (B·N, height, W, C).

    The map (B, h, w, C) has a pixel for every `stride` of the picture, quads (B, N, 4, 2) are in pixels of the
    picture, clockwise from the top left. Columns (B, N, W) are ones, as many as the view of each has columns, and then
    zeros: beyond its columns a view is zero. Views are OpenCV's perspective warps; the edge of the map is repeated.

    Args:
        height: rows of a view.
        stride: pixels of the picture for one of the map.
        finer: columns of a view for each one that it is told.
        coarser: columns that it is told for each one of a view.
    """

    def __init__(self, height: int, stride: int, finer: int = 1, coarser: int = 1, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision is too coarse for places on a page
        self.height, self.stride, self.finer, self.coarser = height, stride, finer, coarser

    def call(self, inputs):
        picture, quads, columns = inputs
        a, b, c, d, e, f, g, h = (
            value[..., None, None] for value in projection(ops.cast(quads, "float32") / self.stride)
        )
        columns = ops.cast(columns, "float32")
        count, width = ops.shape(columns)[1], self._wide(ops.shape(columns)[2])
        used = ops.maximum(ops.sum(columns, -1, keepdims=True), 1.0) * (self.finer / self.coarser)
        if self.finer > 1:
            columns = ops.stack([columns] * self.finer, -1)
            columns = ops.reshape(columns, (-1, count, width * self.coarser))
        if self.coarser > 1:
            columns = columns[:, :, :: self.coarser]
        u = ops.minimum((ops.arange(width, dtype="float32") + 0.5) / used, 1.0)[:, :, None]  # (B, N, 1, W)
        v = ((np.arange(self.height) + 0.5) / self.height).astype("float32")[None, None, :, None]
        depth = g * u + h * v + 1
        depth = ops.where(ops.abs(depth) < 1e-6, 1e-6, depth)
        x, y = (a * u + b * v + c) / depth - 0.5, (d * u + e * v + f) / depth - 0.5  # (B, N, height, W)
        points = (-1, count * self.height * width)
        values = bilinear([picture], None, ops.reshape(y, points), ops.reshape(x, points), REPEAT)
        values = ops.reshape(values, (-1, self.height, width, picture.shape[-1]))
        seen = ops.reshape(columns, (-1, 1, width, 1))
        return ops.cast(values * seen, picture.dtype)

    def compute_output_spec(self, inputs):
        picture, _, columns = inputs
        batch, count, width = columns.shape
        rows = batch * count if batch and count else None
        return keras.KerasTensor((rows, self.height, width and self._wide(width), picture.shape[-1]), picture.dtype)

    def _wide(self, width):
        """Columns of views that are told `width`, a multiple of `coarser`."""
        return width * self.finer // self.coarser

    def get_config(self):
        own = {"height": self.height, "stride": self.stride, "finer": self.finer, "coarser": self.coarser}
        return super().get_config() | own
