"""What training a finder of cells is: its batches of synthetic tables, its validation. A recipe has the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recipes import metrics, plots
from recipes.data import tables
from recipes.data.pipeline import Batch
from recipes.data.tables import Table
from recipes.recipe import Recipe
from recipes.tables import targets
from zoo import decoding, runtime
from zoo.cells import Cell, CellFinder
from zoo.regions import fitted
from zoo.registry import Card

VALIDATION_SEED = 1_000_003
STRIDE = 4  # pixels of the picture for one of the maps


class Task:
    """Batches of tables and maps of their cells.

    Args:
        recipe: what the run is; `size` is that of the pictures.
        card: of the network.
        data: not looked at: no data set at hand says where cells are.
        loss: (targets, outputs) → (B,) parts by name.

    Raises:
        ValueError: the recipe asks for real data.
    """

    def __init__(self, recipe: Recipe, card: Card, data: Path | None, *, loss: Callable):
        if real := recipe.real + recipe.replay:
            raise ValueError(f"{', '.join(real)}: cells are learnt from synthetic tables alone")
        self.recipe, self.reading, self.loss = recipe, card.reading, loss
        self.sources = ["synthetic tables"]

    def table(self, seed: tuple[int, ...]) -> Table:
        """A synthetic table."""
        return tables.table(np.random.default_rng(seed))

    def sample(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The sample number `index` of the run: a picture `recipe.size` large, and its maps."""
        table = self.table((self.recipe.seed, 8, index))
        picture, scale = fitted(table.image, self.recipe.size)
        size = self.recipe.size[0] // STRIDE, self.recipe.size[1] // STRIDE
        return picture, targets.maps(table.cells / scale / STRIDE, table.places, size)

    def batch(self, step: int) -> Batch:
        """Pictures (B, H, W, 3) uint8, and what `targets.maps` gives with a first axis B."""
        samples = [self.sample(step * self.recipe.batch + i) for i in range(self.recipe.batch)]
        pictures, drawn = zip(*samples, strict=True)
        return np.stack(pictures), {key: np.stack([one[key] for one in drawn]) for key in drawn[0]}

    def held_out(self) -> dict[str, list[Table]]:
        """What validation looks at: tables that no step sees."""
        return {"synthetic": [self.table((VALIDATION_SEED, i)) for i in range(self.recipe.validation)]}

    def reader(self, network) -> CellFinder:
        """The network as the reading path uses it."""
        return CellFinder(runtime.in_process(network, decoding.needed(self.reading)), **self.reading)

    def counts(self, find: CellFinder, tables: Sequence[Table]) -> np.ndarray:
        """(N, 3) for each table: cells that were found in their places, that were found, and that are true."""
        return np.array([compared(find(table.image), table)[1:] for table in tables], int).reshape(-1, 3)

    def validate(self, network, picture: Path) -> dict[str, float]:
        """How many cells are found on held-out tables, as a user's are, and how many of them in their place.

        "score" is the harmonic mean of precision and recall of cells in their places, "hmean" that of cells wherever.
        Writes a picture of the first tables with what was found.
        """
        find, counts, shown = self.reader(network), np.zeros(4, int), []
        for table in self.held_out()["synthetic"]:
            cells = find(table.image)
            counts += compared(cells, table)
            shown.append((table.image, outlines(cells), table.cells))
        plots.regions(shown[:4], picture)
        right, placed, found, true = map(int, counts)
        return {"score": metrics.hmean(placed, found, true)["hmean"], **metrics.hmean(right, found, true)}


def compared(cells: Sequence[Cell], table: Table) -> np.ndarray:
    """(4,) how many cells were found that are some, are so in their places, were found, and are true."""
    pairs, placed = matched(cells, table)
    return np.array([len(pairs), len(placed), len(cells), len(table.cells)])


def matched(cells: Sequence[Cell], table: Table) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(found, true) cells of the same outline; and those of them of the same rows and columns, too."""
    pairs, _ = metrics.pair(outlines(cells), table.cells, np.zeros(len(table.cells), bool))
    places = table.places.tolist()
    return pairs, [(i, j) for i, j in pairs if [*cells[i].rows, *cells[i].columns] == places[j]]


def outlines(cells: Sequence[Cell]) -> np.ndarray:
    """(N, 4, 2) of cells."""
    return np.array([cell.polygon for cell in cells], "float32").reshape(-1, 4, 2)
