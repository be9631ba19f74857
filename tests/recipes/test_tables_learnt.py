"""Synthetic tables, what TableCenterNet learns from them, its loss as docTR has it, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

import zoo
from recipes import recipe, train
from recipes.data import tables
from recipes.tables import tablecenternet, targets, task
from zoo.cells import Cell
from zoo.decoding.cells import table as decoded

# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("seed", range(6))
def test_cells_tile_a_table(seed):
    """Each place of the grid belongs to one cell; cells lie on the page, as large as they are drawn."""
    drawn = tables.table(np.random.default_rng(seed))
    rows, columns = drawn.places[:, 1].max() + 1, drawn.places[:, 3].max() + 1
    taken = np.zeros((rows, columns), int)
    for first, last, left, right in drawn.places:
        taken[first : last + 1, left : right + 1] += 1
    assert (taken == 1).all()
    height, width = drawn.image.shape[:2]
    assert (drawn.cells >= -1).all() and (drawn.cells <= [width + 1, height + 1]).all()
    for cell, (_, last, _, right) in zip(drawn.cells, drawn.places, strict=True):
        below = np.flatnonzero((drawn.places[:, 0] == last + 1) & (drawn.places[:, 3] == right))
        for other in below:  # a cell begins where the one above ends
            np.testing.assert_allclose(drawn.cells[other, 1], cell[2], atol=0.01)


def test_tables_span_and_are_the_same_for_a_seed():
    spans = [tables.merged(5, 4, np.random.default_rng(seed)) for seed in range(20)]
    assert any(place[1] > place[0] for places in spans for place in places)
    assert any(place[3] > place[2] for places in spans for place in places)
    one, again = (tables.table(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.image, again.image)
    assert one.image.std() > 5  # there is something on the page


# ---------------------------------------------------------------- targets and loss


def perfect(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps of one picture that say what the targets do, around the table what they say at its edge."""
    height, width = drawn["inside"].shape
    row, column = distance_transform_edt(drawn["inside"] == 0, return_distances=False, return_indices=True)
    result = {"logits": 20 * drawn["peaks"] - 10, "logical": drawn["logical"][row, column]}
    of = {"offset": "rest", "corners": "to_corners", "span": "spans", "centres": "to_centres"}
    for name, key in of.items():
        values = np.zeros((height * width, drawn[key].shape[-1]), "float32")
        place = drawn["corner_at"] if name == "centres" else drawn["cell_at"]
        there = drawn["corner"] if name == "centres" else drawn["cell"]
        values[place[there > 0]] = drawn[key][: len(there)][there > 0]
        if name == "offset":
            values[drawn["corner_at"][drawn["corner"] > 0]] = drawn[key][targets.CELLS :][drawn["corner"] > 0]
        result[name] = values.reshape(height, width, -1)
    return result


def test_what_is_decoded_from_targets_is_the_table():
    drawn = tables.table(np.random.default_rng(11))
    shape = tuple(side // 2 + 1 for side in drawn.image.shape[:2])
    maps = perfect(targets.maps(drawn.cells / 2, drawn.places, shape))
    names = ("logits", "offset", "corners", "centres", "logical", "span")
    cells, scores, places = decoded(*(maps[name] for name in names), stride=2)
    known = {tuple(place): cell for place, cell in zip(drawn.places.tolist(), drawn.cells, strict=True)}
    assert {tuple(place) for place in places.tolist()} == known.keys() and (scores > 0.9).all()
    for place, cell in zip(places.tolist(), cells, strict=True):
        np.testing.assert_allclose(cell, known[tuple(place)], atol=2.1)  # corners of one pixel are one


def test_targets_by_hand():
    """A cell from (2, 4) to (10, 8.5) in the second row, of columns 1 and 2."""
    drawn = targets.maps(np.array([[[2, 4], [10, 4], [10, 8.5], [2, 8.5]]]), np.array([[1, 1, 0, 1]]), (12, 16))
    assert drawn["cell"].sum() == 1 and drawn["cell_at"][0] == 6 * 16 + 6
    np.testing.assert_allclose(drawn["rest"][0], [0, 0.25])
    np.testing.assert_allclose(drawn["to_corners"][0], [4, 2.25, -4, 2.25, -4, -2.25, 4, -2.25])
    assert drawn["corner"].sum() == 4 and drawn["corner_at"][:4].tolist() == [66, 74, 8 * 16 + 10, 8 * 16 + 2]
    np.testing.assert_allclose(drawn["to_centres"][1], [0, 0, 4, -2.25, 0, 0, 0, 0])
    np.testing.assert_allclose(drawn["rest"][targets.CELLS + 2], [0, 0.5])
    assert drawn["corner_of"][0].tolist() == [0, 5, 10, 15] and drawn["spans"][0].tolist() == [2, 1]
    np.testing.assert_allclose(drawn["logical"][4, 2], [1, 2], atol=1e-4)
    np.testing.assert_allclose(drawn["logical"][6, 6], [2, 2 + 2 / 4.5], atol=1e-4)
    assert drawn["inside"].sum() == 9 * 5 and drawn["peaks"][6, 6, 0] == 1 and (drawn["peaks"] == 1).sum() == 5
    nothing = targets.maps(np.array([[[2, 4], [10, 4], [10, 4], [2, 4]]]), np.array([[0, 0, 0, 0]]), (12, 16))
    assert not any(value.any() for value in nothing.values())


def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent.parent / "golden" / "tables.npz") as file:
        return dict(file)


def test_the_loss_is_doctrs():
    known = golden()
    maps = {key.removeprefix("loss/"): value[None] for key, value in known.items() if key.startswith("loss/")}
    places = known["places"][:, [2, 3, 0, 1]]
    drawn = targets.maps(known["cells"], places, maps["logits"].shape[1:3])
    parts = tablecenternet.loss({key: value[None] for key, value in drawn.items()}, maps)
    assert sum(float(np.asarray(value)[0]) for value in parts.values()) == pytest.approx(
        float(known["loss/loss"]), rel=1e-4
    )


def test_nothing_is_lost_by_perfect_maps():
    """But for the bells around peaks, which no logit of 10 makes quite right."""
    known = golden()
    drawn = targets.maps(known["cells"], known["places"][:, [2, 3, 0, 1]], (24, 32))
    maps = {key: value[None] for key, value in perfect(drawn).items()}
    parts = tablecenternet.loss({key: value[None] for key, value in drawn.items()}, maps)
    values = {key: float(np.asarray(value)[0]) for key, value in parts.items()}
    assert values["offset"] < 1e-6 and values["corners"] < 1e-6 and values["peaks"] < 5
    worse = tablecenternet.loss({k: v[None] for k, v in drawn.items()}, {k: v + 0.5 for k, v in maps.items()})
    assert all(float(np.asarray(worse[key])[0]) > values[key] for key in ("offset", "corners", "places"))


# ---------------------------------------------------------------- task


def test_cells_are_compared():
    """Of two true cells one is found in its place, the other in another one, and a third is none."""
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], "float32")
    true = tables.Table(np.zeros((1, 1, 3), "uint8"), np.stack([square, square + 20]), np.array([[0] * 4, [1] * 4]))
    found = [Cell((0, 0), (0, 0), 1.0, square + 1), Cell((1, 1), (0, 0), 1.0, square + 20)]
    found.append(Cell((0, 0), (0, 0), 1.0, square + 100))
    assert task.compared(found, true).tolist() == [2, 1, 3, 2]
    assert task.compared([], true).tolist() == [0, 0, 0, 2]


def test_real_data_are_refused():
    with pytest.raises(ValueError, match="sroie: cells are learnt from synthetic tables alone"):
        tablecenternet.make(replace(tablecenternet.RECIPE, real=("sroie",)), zoo.card("tablecenternet"), None)


@pytest.mark.slow
def test_a_network_learns_tables(tmp_path, monkeypatch):
    """Two tables over and over, one of two cells that span rows and columns and a third, one of seven."""
    few = [tables.table(np.random.default_rng(seed)) for seed in (11, 30)]
    monkeypatch.setattr(task.Task, "table", lambda self, seed: few[seed[-1] % 2])
    reading = zoo.card("tablecenternet").reading | {"size": [160, 160], "multiple": 160}
    card = replace(zoo.card("tablecenternet"), reading=reading)
    known = train.registry.card
    monkeypatch.setattr(train.registry, "card", lambda name: card if name == "tablecenternet" else known(name))
    how = replace(
        recipe.find("tables.tablecenternet"), options={"features": "starnet_test", "channels": 64}, size=(160, 160),
        batch=2, steps=250, rate=3e-3, warmup=20, ema=0.9, checkpoint_every=250, validate_every=250, validation=2,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    scores = zoo.card(tmp_path / "run").results["validation"]
    assert scores["hmean"] > 0.8 and scores["score"] > 0.6, scores
