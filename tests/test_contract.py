"""What every card promises, at its test options: adding a card adds its tests."""

from __future__ import annotations

import zlib

import keras
import numpy as np
import pytest

import zoo
from zoo import decoding, runtime, weights
from zoo.charset import Charset
from zoo.reading import NOT_READING, Detector, Spotter


def draws(name: str) -> np.random.Generator:
    """Random numbers for a card: the same whatever other tests there are."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def outputs(network, image) -> dict[str, np.ndarray]:
    given = told(image) if isinstance(network.input, dict) else image
    return {key: np.asarray(value) for key, value in network(given, training=False).items()}


def told(image: np.ndarray) -> dict[str, np.ndarray]:
    """What a spotter is given: a page, and the places of two words on it, of which one is narrow."""
    batch, words = len(image), [[[8, 8], [60, 10], [58, 30], [9, 28]], [[70, 40], [90, 40], [90, 50], [70, 50]]]
    columns = np.arange(32) < np.array([[32], [20]])
    return {
        "image": image,
        "words": np.tile(np.array(words, "float32"), (batch, 1, 1, 1)),
        "columns": np.tile(columns.astype("float32"), (batch, 1, 1)),
    }


def pixels(card: zoo.Card, batch: int) -> np.ndarray:
    """Random pictures of a size that suits the task: strips for recognizers, of the one width that some take."""
    widths = card.reading.get("widths", [])
    size = (32, widths[0] if len(widths) == 1 else 96) if card.task == "recognition" else (64, 96)
    return draws(card.name).integers(0, 256, (batch, *size, 3)).astype("uint8")


def promised(card: zoo.Card, network, image: np.ndarray) -> dict[str, tuple[int, ...]]:
    """The shapes of the outputs for an image batch. What a detector gives besides its logits has their shape."""
    batch, height, width, _ = image.shape
    if card.task == "segmentation":
        return {key: (batch, height, width, card.test_options["classes"]) for key in network.output}
    if card.task == "classification":
        return {"logits": (batch, card.test_options["classes"])}
    if card.task == "recognition":
        attention = card.reading.get("decoding") == "attention"
        steps = card.test_options["longest"] + 1 if attention else width // 4
        others = 3 if card.builder == "zoo.recognition.master:master" else 1  # end, start and padding
        return {"logits": (batch, steps, len(Charset(card.test_options["charset"])) + others)}
    if card.task == "spotting":
        characters, classes = len(Charset(card.test_options["charset"])) + 1, card.test_options["classes"]
        channels, at = (
            card.test_options["channels"] // 2,
            lambda part, depth: (batch, height // part, width // part, depth),
        )
        return {
            "logits": at(1, 1), "threshold": at(1, 1), "classes": at(1, classes), "coarse": at(1, classes),
            "characters": at(4, characters), "features": at(4, channels),
            "text": (batch, 2, 16, characters),
        }  # fmt: skip
    if card.task == "layout":
        queries = card.test_options["queries"]
        return {"logits": (batch, queries, card.test_options["classes"]), "boxes": (batch, queries, 6)}
    names = {"logits", *network.output}
    if "decode" not in card.reading:
        return {key: (batch, height, width, 1) for key in names}
    assert names >= set(decoding.needed(card.reading))
    return {key: (batch, *network.compute_output_shape(image.shape)[key][1:]) for key in names}


def chosen(values: dict[str, np.ndarray]) -> set[str]:
    """Outputs with a row for each proposal: their scores choose them, so that rows change places with the weights."""
    boxes = values.get("proposals", values.get("boxes"))
    rows = None if boxes is None else boxes.shape[1]
    return {key for key, value in values.items() if value.shape[1] == rows}


def disturb(network) -> None:
    """Gives each weight a value of its own, batch-norm statistics too, as a trained network has."""
    rng = draws(network.name)
    for variable in network.weights:
        value = np.asarray(variable)
        noise = rng.uniform(0.5, 1.5, value.shape)
        variable.assign(noise if variable.path.endswith("moving_variance") else value + 0.1 * (noise - 1))


@pytest.fixture(scope="module", params=zoo.names())
def card(request) -> zoo.Card:
    return zoo.card(request.param)


@pytest.fixture(scope="module")
def network(card):
    keras.utils.set_random_seed(0)  # the same weights in every run, whatever ran before in this process
    network = zoo.build(card.name, **card.test_options)
    disturb(network)
    return network


def test_logits_are_finite_float32_of_the_promised_shape(card, network):
    image = pixels(card, 2)
    result = outputs(network, image)
    assert {key: value.shape for key, value in result.items()} == promised(card, network, image)
    for value in result.values():
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        assert value.std() > 0


def test_a_detector_finds_boxes_on_a_page(card, network):
    """Whatever a network with random weights sees: boxes lie on the page, each with a score."""
    if card.task != "detection":
        return
    find = Detector(
        runtime.in_process(network, decoding.needed(card.reading)),
        **card.reading | {"size": [128, 128], "multiple": 32},
    )
    boxes, scores = find(pixels(card, 1)[0])
    assert boxes.shape == (len(scores), 4, 2) and boxes.dtype == np.float32
    assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= [96, 64]).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_rows_of_a_batch_are_independent(card, network):
    image = pixels(card, 3)
    together = outputs(network, image)
    for row in range(3):
        alone = outputs(network, image[row : row + 1])
        for key, value in together.items():
            np.testing.assert_allclose(value[row], alone[key][0], rtol=1e-4, atol=1e-4)


def test_pixels_may_be_whole_or_fractional(card, network):
    image = pixels(card, 1)
    for key, value in outputs(network, image).items():
        np.testing.assert_array_equal(value, outputs(network, image.astype("float32"))[key])


def test_a_graph_that_does_not_know_the_sides_gives_the_same(card, network):
    """As TensorFlow traces a network for pictures that it decodes itself, and for batches of training."""
    shape = network.inputs[0].shape
    if keras.backend.backend() != "tensorflow" or card.task == "spotting" or None not in shape[1:]:
        return
    import tensorflow as tf

    spec = tf.TensorSpec(shape, "float32")
    free = tf.function(lambda image: network(image, training=False), input_signature=[spec])
    image = pixels(card, 1).astype("float32")
    answers = free(image)
    for key, value in outputs(network, image).items():
        np.testing.assert_allclose(np.asarray(answers[key]), value, rtol=1e-4, atol=1e-3 * np.abs(value).max())


def test_it_is_built_for_mixed_precision(card, network):
    """With the same weights scores are float32, and numbers, and about the same where none are chosen by rank."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = zoo.build(card.name, **card.test_options)
    finally:
        keras.config.set_dtype_policy(policy)
    assert "float16" in {layer.compute_dtype for layer in half.layers}
    for own, given in zip(half.weights, network.weights, strict=True):
        own.assign(given)
    image = pixels(card, 1)
    whole, seen = outputs(network, image)["logits"], outputs(half, image)["logits"]
    assert seen.dtype == np.float32 and np.isfinite(seen).all()
    if card.task in ("detection", "segmentation", "spotting") and whole.ndim == 4:
        assert np.corrcoef(whole.ravel(), seen.ravel())[0, 1] > 0.99


def test_the_input_is_named_image(card, network):
    told = ["words", "columns"] if card.task == "spotting" else []
    inputs = {tensor.name: tensor for tensor in network.inputs}
    assert set(inputs) == {"image", *told} and len(inputs) == len(network.inputs)
    assert inputs["image"].shape[-1] == 3


def test_a_spotter_reads_words_on_a_page(card, network):
    """Whatever a network with random weights sees: a reading for each box; its parts give what the whole does."""
    if card.task != "spotting":
        return
    page = pixels(card, 1)
    locate, read = runtime.parts_in_process(card, network)
    whole, given = outputs(network, page), told(page)
    shared = locate(page)
    for name, value in shared.items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-4, atol=1e-4)
    views = runtime.parts(card, network).view({**given, "features": shared["features"]}, training=False)
    np.testing.assert_allclose(read(views)["text"], whole["text"][0], rtol=1e-4, atol=1e-4)
    values = {key: value for key, value in card.reading.items() if key not in NOT_READING}
    spot = Spotter(locate, read, card.test_options["charset"], **values | {"size": [128, 128], "multiple": 32})
    boxes, scores, readings = spot(page[0])
    assert boxes.shape == (len(scores), 4, 2) and len(readings) == len(scores)
    assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= [96, 64]).all()


def test_weights_survive_a_round_trip(card, network, tmp_path):
    image = pixels(card, 2)
    expected = outputs(network, image)
    another = zoo.build(card.name, **card.test_options)
    assert not np.allclose(outputs(another, image)["logits"], expected["logits"])
    weights.save(network, tmp_path / "exact.safetensors", dtype="float32")
    assert weights.assign(another, weights.read(tmp_path / "exact.safetensors")) == []
    for key, value in outputs(another, image).items():
        np.testing.assert_array_equal(value, expected[key])

    weights.save(network, tmp_path / "half.safetensors")
    weights.assign(another, weights.read(tmp_path / "half.safetensors"))
    for key, value in outputs(another, image).items():
        if key not in chosen(expected):
            # On the whole: a network of random weights may leap at a single pixel.
            assert np.abs(value - expected[key]).mean() < 0.02 * np.abs(expected[key]).mean()
    sizes = [(tmp_path / name).stat().st_size for name in ("half.safetensors", "exact.safetensors")]
    assert sizes[0] < 0.8 * sizes[1]


def test_variable_paths_are_unique_and_equal_in_two_builds(card, network):
    paths = [variable.path for variable in network.weights]
    assert len(set(paths)) == len(paths)
    again = zoo.build(card.name, **card.test_options)
    assert [variable.path for variable in again.weights] == paths


def test_full_size_has_the_parameters_of_the_card(card):
    network = zoo.build(card.name)
    assert sum(int(np.prod(variable.shape)) for variable in network.trainable_variables) == card.params
    assert network.name == card.name
