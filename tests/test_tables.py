"""TableCenterNet: its enlargement against a loop, its cells from maps drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.cells import CellFinder, cell_finder
from zoo.decoding.cells import boxes, place, table
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


# ---------------------------------------------------------------- rows and columns

MAPS = ("logits", "offset", "corners", "centres", "logical", "span")


def test_cells_and_their_places_are_those_that_doctr_reads():
    """Some cells find few of their corners, and are trusted less."""
    with np.load(Path(__file__).parent / "golden" / "tables.npz") as file:
        maps = [file[f"read/{name}"] for name in MAPS]
        golden = {key.removeprefix("found/"): value for key, value in file.items() if key.startswith("found/")}
    cells, scores, places = table(*maps, stride=1)
    np.testing.assert_allclose(scores, golden["scores"], rtol=1e-5)
    assert 0 < (scores < 0.5).sum() < len(scores)
    first, last, top, bottom = golden["logical"].T
    np.testing.assert_array_equal(places, np.stack([top, bottom, first, last], 1))
    height, width = maps[0].shape[:2]
    cells = cells / [width, height]
    low, high = cells.min(1).clip(0, 1), cells.max(1).clip(0, 1)
    np.testing.assert_allclose(low, golden["polygons"].min(1), atol=1e-5)
    np.testing.assert_allclose(high, golden["polygons"].max(1), atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "span", "expected"),
    [
        ((2.1, 4.0, 3.9, 1.8), 2.2, (1, 2)),  # the left corners agree on 2
        ((1.4, 3.1, 2.9, 1.6), 2, (0, 1)),  # the right ones on 3, where the next cell begins
        ((1.4, 2.6, 3.3, 1.7), 1, (1, 1)),  # neither; the left are nearer to each other: 1.55
        ((1.2, 2.6, 3.4, 2.8), 1, (1, 1)),  # neither; the right are nearer: 3.0
        ((0.2, 1.2, 1.3, 0.3), 0.2, (0, 0)),  # no less than the first, no fewer than one
        ((1.3, 1.4, 1.2, 2.8), 3, (0, 2)),  # a cell ends no sooner than its span
    ],
)
def test_a_place_by_the_sides_that_agree(columns, span, expected):
    known = np.array([columns, (1, 1, 2, 2)]).T
    assert place(known, np.array([span, 1])) == (0, 0, *expected)


def drawn() -> dict[str, np.ndarray]:
    """Maps of one cell from (16, 16) to (48, 32) pixels in a picture of 64 × 64, in row 3 and column 2."""
    maps = {"logits": 2, "offset": 2, "corners": 8, "centres": 8, "logical": 2, "span": 2}
    result = {key: np.zeros((1, 16, 16, channels), "float32") for key, channels in maps.items()}
    result["logits"] -= 9
    result["logits"][0, 6, 8, 0] = 2
    result["corners"][0, 6, 8] = 4, 2, -4, 2, -4, -2, 4, -2
    for x, y in ((4, 4), (12, 4), (12, 8), (4, 8)):
        result["logits"][0, y, x, 1] = 2
        result["centres"][0, y, x] = np.tile([x - 8, y - 6], 4)
        result["logical"][0, y, x] = 3 + (x > 4), 4 + (y > 4)
    result["span"][0, 6, 8] = 1
    return result


def test_a_cell_lies_on_the_page():
    """A page of 128 × 96 is seen at half its size. Its corners are those of the maps, so the score stands."""
    asked = []

    def run(batch):
        asked.append(batch.shape)
        return drawn()

    find = CellFinder(run, size=(64, 64), multiple=64)
    (cell,) = find(np.full((128, 96, 3), 255, "uint8"))
    assert asked == [(1, 64, 64, 3)] and cell.rows == (3, 3) and cell.columns == (2, 2)
    np.testing.assert_allclose(cell.polygon, [[32, 32], [96, 32], [96, 64], [32, 64]])
    assert cell.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert cell.to_dict()["rows"] == [3, 3]
    assert (
        CellFinder(lambda batch: drawn(), size=(64, 64), multiple=64, threshold=0.99)(np.ones((9, 9, 3), "uint8")) == []
    )
    with pytest.raises(TypeError, match="decoded without unclip"):
        CellFinder(run, unclip=1)
    with pytest.raises(ValueError, match="unet is a model for segmentation; one for tables is needed"):
        cell_finder("unet")
