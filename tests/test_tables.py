"""TableCenterNet: its enlargement against a loop, its cells from maps drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

import zoo
from zoo.decoding.cells import boxes
from zoo.layout.tablecenternet import Enlarge

RNG = np.random.default_rng(13)


@pytest.mark.parametrize("factor", [2, 4])
def test_an_enlargement_is_a_transposed_convolution(factor):
    """Each pixel puts its window, cut at the edges, around its place: y = factor · i - factor / 2 + k."""
    layer = Enlarge(factor)
    x = RNG.normal(0, 1, (1, 3, 2, 2)).astype("float32")
    found = np.asarray(layer(x))
    kernel, half = np.asarray(layer.kernel)[..., 0], factor // 2
    whole = np.zeros((factor * 2 + factor * 3, factor * 2 + factor * 2, 2))
    for i, j in np.ndindex(3, 2):
        whole[factor * i :, factor * j :][: 2 * factor, : 2 * factor] += x[0, i, j] * kernel
    expected = whole[half:, half:][: 3 * factor, : 2 * factor]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_peak_is_a_cell():
    """A centre at (3, 2), a quarter of a pixel further right, of a cell 2 wide and 1 high; its neighbour is lower."""
    logits = np.full((6, 8, 2), -9.0, "float32")
    logits[2, 3, 0], logits[2, 4, 0], logits[5, 7, 0] = 3, 2, -1
    offset, corners = np.zeros((6, 8, 2), "float32"), np.zeros((6, 8, 8), "float32")
    offset[2, 3] = 0.25, 0
    corners[2, 3] = 1, 0.5, -1, 0.5, -1, -0.5, 1, -0.5
    cells, scores = boxes(logits, offset, corners, stride=4)
    np.testing.assert_allclose(cells, [[[9, 6], [17, 6], [17, 10], [9, 10]]])
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-3))], rtol=1e-6)
    assert len(boxes(logits, offset, corners, threshold=0.2)[0]) == 2
    assert len(boxes(logits, offset, corners, threshold=0.2, count=1)[0]) == 1
    assert boxes(logits, offset, corners, threshold=0.99)[0].shape == (0, 4, 2)


def test_every_map_has_a_quarter_of_the_image():
    card = zoo.card("tablecenternet")
    network = zoo.build("tablecenternet", **card.test_options)
    assert {key: value.shape[-1] for key, value in network.output.items()} == {
        "logits": 2, "offset": 2, "corners": 8, "centres": 8, "logical": 2, "span": 2,
    }  # fmt: skip
    shape = network.compute_output_shape((1, 64, 96, 3))["logits"]
    assert shape == (1, 16, 24, 2)
