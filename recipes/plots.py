"""Pictures of a run: what was read, where text was found, and how the loss fell."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.files import replacing
from zoo.formats import painted

RIGHT, WRONG, TRUTH = "#2e7d32", "#c62828", "#616161"


def words(shown: Sequence[tuple[np.ndarray, str, str]], path: Path, columns: int = 6) -> None:
    """Writes a sheet of crops, under each what was read: green where right, red with the truth below where not.

    Args:
        shown: (picture (H, W, 3) uint8, read, true) of each.
        path: of a PNG file.
        columns: of the sheet.
    """
    cell, font = (220, 84), _captions(14)
    sheet = Image.new("RGB", (columns * cell[0], max(1, -(-len(shown) // columns)) * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (pixels, read, true) in enumerate(shown):
        x, y = index % columns * cell[0] + 6, index // columns * cell[1] + 4
        picture = Image.fromarray(pixels)
        picture.thumbnail((cell[0] - 12, 40))
        sheet.paste(picture, (x, y))
        draw.text((x, y + 42), read or "(nothing)", RIGHT if read == true else WRONG, font)
        if read != true:
            draw.text((x, y + 58), true, TRUTH, font)
    with replacing(path) as temporary:
        sheet.save(temporary)


def _captions(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font that has accents: DejaVu, which matplotlib brings along; without it Pillow's own, which lacks some."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def regions(shown: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path, columns: int = 0) -> None:
    """Writes pictures side by side with the found polygons in red over the true ones in green.

    Args:
        shown: (picture (H, W, 3) uint8, found (N, 4, 2), true (M, 4, 2)) of each.
        path: of a PNG file.
        columns: of the sheet; 0 puts all into one row.
    """
    pictures = [outlined(pixels, {RIGHT: true, WRONG: found}) for pixels, found, true in shown]
    columns = columns or len(pictures)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    widths = [sum(picture.width + 8 for picture in row) for row in rows]
    heights = [max(picture.height + 8 for picture in row) for row in rows]
    sheet, y = Image.new("RGB", (max(widths), sum(heights)), "white"), 0
    for row, height in zip(rows, heights, strict=True):
        x = 0
        for picture in row:
            sheet.paste(picture, (x, y))
            x += picture.width + 8
        y += height
    with replacing(path) as temporary:
        sheet.save(temporary)


def outlined(pixels: np.ndarray, polygons: Mapping[str, np.ndarray], width: int = 2) -> Image.Image:
    """The picture with polygons (N, 4, 2) of each colour drawn on it, in their order."""
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for colour, members in polygons.items():
        for polygon in members:
            draw.polygon([tuple(map(float, point)) for point in polygon], outline=colour, width=width)
    return picture


def segments(shown: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """Writes pictures side by side, each with its found classes painted over, and with the true ones below.

    Args:
        shown: (picture (H, W, 3) uint8, found (H, W), true (H, W)) of each.
        path: of a PNG file.
    """
    columns = []
    for pixels, *maps in shown:
        for classes in maps:
            picture = Image.fromarray(painted(pixels, classes))
            picture.thumbnail((400, 500))
            columns.append(picture)
    sheet = Image.new("RGB", (408 * len(shown), 2 * 508), "white")
    for index, picture in enumerate(columns):
        sheet.paste(picture, (index // 2 * 408, index % 2 * 508))
    with replacing(path) as temporary:
        sheet.save(temporary)


def curves(log: Path, path: Path) -> bool:
    """Writes loss and scores over the steps of log.csv as a PNG; False where matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for name in rows[-1] if rows else ():
        points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        if name == "loss" or name.startswith("loss_"):  # of training, and its parts
            left.plot(*zip(*points, strict=True), label=name)
        elif name not in ("step", "seconds", "rate") and points:
            right.plot(*zip(*points, strict=True), marker="o", label=name)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="score", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
    return True


def rates(rows: Sequence[tuple[float, float, float]], best: float, path: Path) -> None:
    """Writes the curve of a range test as a PNG.

    Args:
        rows: (rate, loss, smoothed loss) of each step.
        best: the rate that is marked.
        path: of a PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    rate, loss, smooth = zip(*rows, strict=True)
    axes.plot(rate, loss, color="#b0bec5", linewidth=1, label="loss")
    axes.plot(rate, smooth, color="#1565c0", linewidth=2, label="smoothed")
    axes.axvline(best, color=RIGHT, linestyle="--", label=f"suggested: {best:.2g}")
    finite = [value for value in smooth if np.isfinite(value)]
    spread = max(finite) - min(finite) or 1.0
    axes.set(xscale="log", xlabel="rate", ylabel="loss", ylim=(min(finite) - 0.1 * spread, max(finite) + 0.1 * spread))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
