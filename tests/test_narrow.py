"""Networks with fewer channels are equal to those whose channels are silent."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

import zoo
from zoo import narrow, registry


def stirred(name: str) -> keras.Model:
    """A card's network at its test options, with biases and statistics that are all different."""
    keras.utils.set_random_seed(0)
    network = zoo.build(name, **zoo.card(name).test_options)
    rng = np.random.default_rng(0)
    for variable in network.weights:
        if len(variable.shape) == 1:
            low, high = (0.5, 1.5) if "variance" in variable.path or "gamma" in variable.path else (-0.2, 0.2)
            variable.assign(rng.uniform(low, high, variable.shape))
    return network


def logits(network: keras.Model, height: int = 32) -> np.ndarray:
    image = np.random.default_rng(1).integers(0, 256, (1, height, 64, 3)).astype("uint8")
    return np.asarray(network(image, training=False)["logits"])


@pytest.mark.parametrize(
    ("name", "height"),
    [("crnn_mobilenet_v3_small", 32), ("db_mobilenet_v3_large", 64), ("db_resnet50", 64), ("linknet_resnet18", 64)],
)
def test_a_cut_network_gives_what_the_masked_one_gives(name, height):
    network = stirred(name)
    whole = logits(network, height)
    gone = narrow.least(network, 0.5, multiple=2)
    smaller, filters = narrow.cut(network, gone)
    narrow.masked(network, gone)
    wanted = logits(network, height)
    np.testing.assert_allclose(logits(smaller, height), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(wanted - whole).max() > 1e-3 * np.abs(whole).max()
    assert [v.path for v in smaller.weights] == [v.path for v in network.weights]
    assert len(filters) > 5 and smaller.count_params() < 0.75 * network.count_params()


def test_its_card_builds_it_again(tmp_path):
    card = zoo.card("crnn_mobilenet_v3_small")
    network = stirred(card.name)
    smaller, filters = narrow.cut(network, narrow.least(network, 0.5, multiple=2))
    options = {**card.options, **card.test_options, "of": card.builder, "filters": filters}
    again = narrow.narrowed(**options)
    assert [(v.path, v.shape) for v in again.weights] == [(v.path, v.shape) for v in smaller.weights]
    again.set_weights(smaller.get_weights())
    np.testing.assert_allclose(logits(again), logits(smaller), rtol=1e-5, atol=1e-5)
    options = {**card.options, "features": "mobilenet_v3_test_r", "of": card.builder, "filters": filters}
    registry.write_card(
        replace(card, builder="zoo.narrow:narrowed", options=options, weights={}), tmp_path / "card.toml"
    )
    assert registry.card(tmp_path).options["filters"] == filters


def toy() -> keras.Model:
    """Two branches that are added, then a gate; 3 → 4 channels."""
    image = keras.Input((4, 4, 3), name="image")
    a = keras.layers.Conv2D(4, 1, name="a")(image)
    b = keras.layers.Conv2D(4, 1, name="b")(image)
    x = keras.layers.Add(name="sum")([a, b])
    gate = keras.layers.Conv2D(4, 1, activation="sigmoid", name="gate")(x)
    x = keras.layers.Multiply(name="gated")([x, gate])
    return keras.Model(image, {"logits": keras.layers.Conv2D(2, 1, name="logits")(x)})


def test_what_is_added_or_gated_is_one_channel():
    found = narrow.channels(toy())
    roots = {name: [found.root(channel) for channel in ids] for name, ids in found.made.items()}
    assert roots["a"] == roots["b"] == roots["gate"] and len(set(roots["a"])) == 4
    assert found.free() == set(roots["a"])  # neither those of the picture nor of the logits


def test_the_channels_with_the_smallest_kernels_go():
    """Σ|w| by channel: a has 3, 9, 6, 1 and b 1, 1, 1, 1, each over its mean of 4.75 and 1; the gate's are equal."""
    network = toy()
    for name, sizes in (("a", [1, 3, 2, 1 / 3]), ("b", [1 / 3] * 4), ("gate", [1] * 4)):
        layer = network.get_layer(name)
        layer.kernel.assign(np.broadcast_to(np.array(sizes, "float32"), layer.kernel.shape))
    found = narrow.channels(network)
    roots = [found.root(channel) for channel in found.made["a"]]
    assert narrow.least(network, 0.25, multiple=1) == {roots[3]}
    assert narrow.least(network, 0.5, multiple=1) == {roots[3], roots[0]}
    assert narrow.least(network, 0.5, multiple=4) == set()


def test_a_channel_that_a_sigmoid_makes_of_nothing_stays_unless_it_is_a_gate():
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Conv2D(4, 1, name="a")(image)
    x = keras.layers.Activation("sigmoid", name="half")(x)
    network = keras.Model(image, {"logits": keras.layers.Conv2D(2, 1, name="logits")(x)})
    assert narrow.channels(network).free() == set()


def test_a_card_cannot_have_anything_called():
    with pytest.raises(ValueError, match="of='os:system' is not of the form"):
        narrow.narrowed(of="os:system", filters={})
