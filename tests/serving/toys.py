"""What the tests of serving share: a model made of a few operations, cards made small, and how a version appears."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

import zoo
from zoo import registry, weights

LOCAL = [("grpc.use_local_subchannel_pool", 1)]  # else a port that was dead stays so for a while, in all tests


def write_toy(folder: Path, offset: float) -> None:
    """A SavedModel whose default signature answers y = x / 2 + offset; others take strings, matrices, and time."""
    import tensorflow as tf

    module = tf.Module()
    module.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def line(x):
        return {"y": x / 2 + module.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def text(s):
        return {"same": s, "length": tf.strings.length(s)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name=name) for name in "pq"])
    def two(p, q):
        return {"sum": p + q, "product": p * q}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.bfloat16, name="x")])
    def half(x):
        return {"y": x * 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def large(x):
        return {"y": tf.tile(x[:, None], [1, 2**21])}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="rounds")])
    def slow(rounds):
        matrix = tf.random.uniform([500, 500])
        for _ in tf.range(rounds):
            matrix = tf.linalg.matmul(matrix, matrix) / 500
        return {"y": tf.reduce_sum(matrix) * 0 + module.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        labels = tf.tile(tf.constant([["small", "great"]]), [tf.shape(x)[0], 1])
        return {"classes": labels, "scores": tf.concat([1 - x, x], 1) + module.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        return {"outputs": x / 2 + module.offset}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def picture(image):
        def read(data):
            return tf.reduce_sum(tf.cast(tf.io.decode_image(data, 3, expand_animations=False), tf.int32))

        return {"sum": tf.map_fn(read, image, fn_output_signature=tf.int32)}

    signatures = {"serving_default": line, "text": text, "two": two, "half": half, "large": large, "slow": slow}
    signatures |= {"classify": classify, "regress": regress, "picture": picture}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def publish(source: Path, target: Path) -> None:
    """A copy that appears at once."""
    hidden = target.parent / f".tmp-{target.name}"
    shutil.copytree(source, hidden)
    hidden.rename(target)


def write_run(name: str, folder: Path, **reading) -> Path:
    """A run's folder with the network of a card at its test options, and random weights; `reading` stands over the
    card's."""
    card = zoo.card(name)
    folder.mkdir()
    known = {"file": "weights.safetensors"}
    options, reading = card.options | card.test_options, card.reading | reading
    registry.write_card(
        replace(card, options=options, weights=known, results={}, reading=reading), folder / "card.toml"
    )
    network = zoo.build(folder)
    rng = np.random.default_rng(3)
    for variable in network.weights:
        variable.assign(np.asarray(variable) + 0.02 * rng.normal(size=variable.shape))
    weights.save(network, folder / "weights.safetensors", dtype="float32")
    return folder
