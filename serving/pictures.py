"""Encoded pictures as what a network is given, by TensorFlow's own operations, each task as the reading path does it.

    detection, segmentation, layout, tables   a page at the top left of zeros of the card's size, and its "scale"
    recognition                               a strip of the card's height, then zeros up to the next of its widths
    classification                            a character stretched to the size; a word or page in the middle of zeros

JPEG (turned as its EXIF orientation says), PNG, GIF and BMP are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from serving import graph_strips

PAGES = ("detection", "segmentation", "layout", "tables")  # tasks of which the picture is a page
Prepare = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def preparation(task: str, reading: Mapping[str, Any]) -> Prepare:
    """The function from encoded images (B,) string to {"image": (B, H, W, 3) uint8}; of pages it adds "scale" (B, 2).

    Args:
        task: of PAGES, "recognition" or "classification".
        reading: a card's values for reading.
    """
    if task == "recognition":
        height, widths = reading["height"], sorted(reading["widths"])
        return lambda data: {"image": strips(data, height, widths)}
    size = (int(reading["size"][0]), int(reading["size"][1]))
    if task == "classification":
        return lambda data: {"image": fitted(data, size, reading["picture"] == "character")}
    return lambda data: letterboxes(data, size)


def letterboxes(data: tf.Tensor, size: tuple[int, int]) -> dict[str, tf.Tensor]:
    """Pages at the top left of zeros: "image" (B, *size, 3) uint8, "scale" (B, 2) x and y to pixels of the page."""

    def one(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = graph_strips.decode(encoded)
        sides = tf.shape(image)[:2]
        inner = graph_strips.inner_size(sides, size)
        scale = tf.reverse(tf.cast(sides / inner, tf.float32), [0])  # x, y
        return tf.ensure_shape(graph_strips.pad(graph_strips.resize(image, inner), size), (*size, 3)), scale

    specs = (tf.TensorSpec((*size, 3), tf.uint8), tf.TensorSpec((2,), tf.float32))
    image, scale = tf.map_fn(one, data, fn_output_signature=specs)
    return {"image": image, "scale": scale}


def strips(data: tf.Tensor, height: int, widths: list[int]) -> tf.Tensor:
    """(B, height, W, 3) uint8, W being the narrowest of the widths that holds the widest strip."""
    widest = widths[-1]

    def one(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = graph_strips.decode(encoded)
        inner = tf.minimum(graph_strips.strip_width(tf.shape(image)[:2], height), widest)
        resized = graph_strips.resize(image, tf.stack([height, inner]))
        return tf.ensure_shape(graph_strips.pad(resized, (height, widest)), (height, widest, 3)), inner

    specs = (tf.TensorSpec((height, widest, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    cut, inner = tf.map_fn(one, data, fn_output_signature=specs)
    enough = tf.boolean_mask(widths, tf.constant(widths) >= tf.reduce_max(inner))
    return cut[:, :, : enough[0]]


def fitted(data: tf.Tensor, size: tuple[int, int], stretched: bool) -> tf.Tensor:
    """(B, *size, 3) uint8: as `zoo.classifying.Classifier.fitted`.

    Args:
        stretched: to the size, else as large as that lets it be, in the middle of zeros.
    """

    def one(encoded: tf.Tensor) -> tf.Tensor:
        image = graph_strips.decode(encoded)
        inner = tf.constant(size) if stretched else graph_strips.inner_size(tf.shape(image)[:2], size)
        before = (tf.constant(size) - inner) // 2
        after = tf.constant(size) - inner - before
        edges = tf.concat([tf.stack([before, after], 1), [[0, 0]]], 0)
        return tf.ensure_shape(tf.pad(graph_strips.resize(image, inner), edges), (*size, 3))

    return tf.map_fn(one, data, fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8))
