"""Charts to read beside others: axes whose labels run upwards and aslant, heads of tables that do, legends, stamps.

    python bench/charts.py FOLDER [--pages 15]
    python bench/peers.py FOLDER [--readers ocrzoo tesseract rapidocr]

Matplotlib draws them, in fonts and by code that no detector of this zoo has learnt from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

TITLES = (
    "Rainfall by station", "Passengers at the busiest stations", "Training and validation loss", "Metals compared",
    "Visitors of the museum", "Yield of winter barley", "Bicycles sold in Denmark", "Length of stay in hospital",
)  # fmt: skip
SIDES = (
    "Millimetres a month", "Passengers per hour", "Cross entropy", "Density in kilograms per cubic metre",
    "Thousands of visitors", "Tonnes per hectare", "Bicycles sold", "Days in the ward",
)  # fmt: skip
NAMES = (
    "Aberdeen", "Birmingham", "Camborne", "Durham", "Eskdalemuir", "Faringdon", "Guildford", "Harrogate", "Inverness",
    "January", "February", "September", "November", "December", "Wednesday", "Thursday", "Saturday",
    "Copper", "Aluminium", "Magnesium", "Titanium", "Tungsten", "Manganese", "Vanadium",
    "Oatmeal", "Raspberry", "Cucumber", "Asparagus", "Pumpkin", "Cinnamon", "Hazelnut",
)  # fmt: skip
HEADS = ("Fire safety", "First aid", "Manual handling", "Data protection", "Food hygiene", "Lone working")
STAMP = "Report 2604.11873 of 14 June 2026"
FACES = ("DejaVu Sans", "DejaVu Serif", "STIXGeneral", "DejaVu Sans Mono")  # Matplotlib has these with it


def page(number: int, path: Path) -> list[str]:
    """Draws the chart of this number; all that is written on it."""
    rng = np.random.default_rng(number)
    kind, turn = ("bars", "lines", "heads")[number % 3], (45, 90, 30, 60, -45)[number // 3 % 5]
    matplotlib.rcParams.update({"font.family": FACES[number % len(FACES)], "font.size": int(rng.integers(8, 13))})
    figure, axes = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")
    said = [TITLES[number % len(TITLES)]]
    axes.set_title(said[0])
    if kind == "heads":
        heads = list(rng.permutation(HEADS))[:4]
        names = list(rng.permutation(NAMES))[:5]
        cells = [[str(value) for value in row] for row in rng.integers(10, 1000, (5, 4))]
        grid = axes.table(cells, rowLabels=names, loc="center", cellLoc="center")
        axes.axis("off")
        for (row, column), cell in grid.get_celld().items():
            cell.set_height(0.09)
            if column >= 0:
                cell.set_width(0.14)
            if row == 0 and column >= 0:
                axes.text(0.24 + 0.14 * column, 0.75, heads[column], rotation=90, transform=axes.transAxes)
        said += [*heads, *names, *(value for row in cells for value in row)]
    else:
        side = SIDES[number % len(SIDES)]
        axes.set_ylabel(side)
        names = list(rng.permutation(NAMES))[:6]
        values = rng.integers(20, 400, 6)
        if kind == "bars":
            axes.bar(names, values, color=rng.uniform(0.2, 0.9, (6, 3)))
            for place, value in enumerate(values):
                axes.text(place, value, f"{value}", ha="center", va="bottom")
            said += map(str, values)
        else:
            for label in ("measured", "expected"):
                axes.plot(names, rng.integers(20, 400, 6), label=label)
                said.append(label)
            axes.legend()
        axes.tick_params(axis="x", labelrotation=turn)
        for label in axes.get_xticklabels():
            label.set_ha("right" if 0 < turn < 90 else "left" if turn < 0 else "center")
            label.set_rotation_mode("anchor" if abs(turn) < 90 else "default")
        said += [side, *names]
    if number % 2:
        figure.get_layout_engine().set(rect=(0, 0, 0.94, 1))
        figure.text(0.995, 0.5, STAMP, rotation=90, va="center", ha="right", color="grey")
        said.append(STAMP)
    figure.canvas.draw()
    if kind != "heads":
        low, high = axes.get_ylim()
        said += [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    figure.savefig(path, dpi=int(rng.integers(100, 180)))
    pyplot.close(figure)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=15)
    args = parser.parse_args()
    images = args.folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    labels = []
    for number in range(args.pages):
        said = page(number, images / f"{number}.png")
        labels.append({"image": f"images/{number}.png", "split": "test", "page_text": "\n".join(said)})
    lines = [json.dumps(label, ensure_ascii=False) for label in labels]
    (args.folder / "labels.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
