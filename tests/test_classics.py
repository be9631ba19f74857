"""The classics: their parts by hand-worked values, their sizes against the papers' and torchvision's."""

from __future__ import annotations

import math

import numpy as np
import pytest

import zoo
from zoo.classification.lenet import Sampling, squash


def test_squash_keeps_one():
    found = np.asarray(squash(np.array([-1.0, 0.0, 1.0, 50.0], "float32")))
    np.testing.assert_allclose(found, [-1, 0, 1, 1.7159], atol=1e-4)
    assert found[2] == pytest.approx(1.7159 * math.tanh(2 / 3), rel=1e-6)


def test_sampling_weighs_means():
    layer = Sampling()
    layer.build((None, 2, 4, 2))
    layer.factor.assign([2, 1])
    layer.offset.assign([0, 10])
    image = np.arange(16, dtype="float32").reshape(1, 2, 4, 2)
    # The first map holds 0 2 4 6 | 8 10 12 14: means 5 and 9; the second 1 more at each place.
    np.testing.assert_allclose(np.asarray(layer(image)), [[[[10, 16], [18, 20]]]])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # C1 156, S2 12, C3 2416 (of which the paper drops 900), S4 32, C5 48 120, F6 10 164, output 850
        ("lenet5", 61_750),
        ("alexnet", 57_044_810),  # torchvision's, for 10 classes
        ("densenet121", 6_964_106),  # torchvision's, for 10 classes
    ],
)
def test_sizes_for_ten_digits(name, params):
    network = zoo.build(name, classes=10)
    assert sum(int(np.prod(variable.shape)) for variable in network.trainable_variables) == params


def test_lenet_sees_grey_alone():
    """Normalised colours of one mean give one answer: the network of 1998 had no others."""
    network = zoo.build("lenet5", classes=10)
    image = np.full((1, 32, 32, 3), 120.0, "float32")
    image[:, 8:24, 12:20] = 20
    std = network.get_layer("normalize").scale
    other = image + np.array([1, -1, 0]) / np.array(std) * 0.1
    np.testing.assert_allclose(network(image)["logits"], network(other.astype("float32"))["logits"], atol=1e-4)
