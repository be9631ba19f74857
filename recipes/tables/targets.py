"""What TableCenterNet learns from: centres and corners of cells, and their places. Xiao and Yang 2025.

https://arxiv.org/abs/2504.17522, section 3.2; docTR's targets but for logical places in a cell, which are those of its
perspective. All in pixels of the maps, a quarter of the picture's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

CELLS = 300  # at most
CORNERS = 4 * CELLS
NEAR = 0.7  # intersection over union that a cell keeps if its centre is moved by the radius of its peak
CORNER = 2  # radius of a corner's peak


def maps(cells: np.ndarray, places: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The targets of one picture. Cells without an area do not count, nor do those beyond `CELLS`.

    Args:
        cells: (N, 4, 2) in pixels of the maps, clockwise from the top left.
        places: (N, 4) first and last row, first and last column, from 0.
        size: (h, w) of the maps.

    Returns:
        float32 "peaks" (h, w, 2) of centres and corners, "logical" (h, w, 2) column and row from 1, and "inside"
        (h, w), where they count. Of cells "cell" (CELLS,) which there are, "cell_at" (CELLS,) the pixel of the centre,
        int32, row by row, "to_corners" (CELLS, 8) centre - corners, "spans" (CELLS, 2) columns and rows, "touched"
        (CELLS, 4) int32 pixels of the corners, "corner_of" (CELLS, 4) int32 which of the CORNERS · 4 vectors to a
        centre is that of the corner. Of corners "corner" (CORNERS,), "corner_at" int32, "to_centres" (CORNERS, 8)
        corner - centres. "rest" (CELLS + CORNERS, 2): what pixels are short of.
    """
    height, width = size
    limit = np.array([width - 1, height - 1], "float32")
    result = _empty(size)
    seen: dict[tuple[int, int], int] = {}
    kept = [i for i in range(min(len(cells), CELLS)) if (np.ptp(cells[i].clip(0, limit), axis=0) > 0).all()]
    for index in kept:
        corners = cells[index].clip(0, limit).astype("float32")
        low, high = corners.min(0), corners.max(0)
        centre = (low + high) / 2
        pixel = centre.astype(int)
        result["cell"][index], result["cell_at"][index] = 1, pixel[1] * width + pixel[0]
        result["rest"][index] = centre - pixel
        result["to_corners"][index] = (centre - corners).ravel()
        first_row, last_row, first_column, last_column = places[index]
        result["spans"][index] = last_column - first_column + 1, last_row - first_row + 1
        peak(result["peaks"][..., 0], pixel, max(0, int(radius(*np.ceil(high - low)))))
        at = corners.astype(int)
        result["touched"][index] = at[:, 1] * width + at[:, 0]
        for turn in range(4):
            _corner(result, seen, index, turn, corners[turn], centre, width)
    _logical(result, cells[kept], places[kept])
    return result


def _empty(size: tuple[int, int]) -> dict[str, np.ndarray]:
    shapes = {
        "peaks": (*size, 2), "logical": (*size, 2), "inside": size, "cell": (CELLS,), "to_corners": (CELLS, 8),
        "spans": (CELLS, 2), "corner": (CORNERS,), "to_centres": (CORNERS, 8), "rest": (CELLS + CORNERS, 2),
    }  # fmt: skip
    numbers = {"cell_at": (CELLS,), "touched": (CELLS, 4), "corner_of": (CELLS, 4), "corner_at": (CORNERS,)}
    result = {key: np.zeros(shape, "float32") for key, shape in shapes.items()}
    return result | {key: np.zeros(shape, "int32") for key, shape in numbers.items()}


def _corner(
    result: dict[str, np.ndarray],
    seen: dict[tuple[int, int], int],
    cell: int,
    turn: int,
    corner: np.ndarray,
    centre: np.ndarray,
    width: int,
) -> None:
    """Notes corner number `turn` of a cell; corners of one pixel are one."""
    pixel = corner.astype(int)
    key = (int(pixel[0]), int(pixel[1]))
    index = seen.setdefault(key, len(seen))
    if not result["corner"][index]:
        result["corner"][index], result["corner_at"][index] = 1, pixel[1] * width + pixel[0]
        result["rest"][CELLS + index] = corner - pixel
        peak(result["peaks"][..., 1], pixel, CORNER)
    result["to_centres"][index, 2 * turn : 2 * turn + 2] = corner - centre
    result["corner_of"][cell, turn] = 4 * index + turn


def peak(canvas: np.ndarray, pixel: np.ndarray, reach: int) -> None:
    """Draws a bell of height 1 and three deviations around a pixel (x, y), where it is higher than what is there."""
    (x, y), (height, width), deviation = pixel, canvas.shape, (2 * reach + 1) / 6
    window = np.s_[max(0, y - reach) : min(height, y + reach + 1), max(0, x - reach) : min(width, x + reach + 1)]
    down, right = np.mgrid[window]
    bell = np.exp(-((right - x) ** 2 + (down - y) ** 2) / (2 * deviation**2))
    canvas[window] = np.maximum(canvas[window], bell)


def radius(width: float, height: float) -> float:
    """How far a centre may be moved so that the cell and the moved one overlap by `NEAR` (Law and Deng 2018).

    https://arxiv.org/abs/1808.01244, section 3.2, as it is used since: the least of three cases, of which two take
    more than they need to.
    """
    both, product = width + height, width * height
    cases = (
        (1, both, product * (1 - NEAR) / (1 + NEAR)),
        (4, 2 * both, product * (1 - NEAR)),
        (4 * NEAR, -2 * NEAR * both, product * (NEAR - 1)),
    )
    return min((b + math.sqrt(max(b**2 - 4 * a * c, 0))) / 2 for a, b, c in cases)


def _logical(result: dict[str, np.ndarray], cells: np.ndarray, places: np.ndarray) -> None:
    """Column and row of each pixel of a cell, growing from its start to its end; of cells that overlap the smaller."""
    height, width = result["inside"].shape
    areas = [cv2.contourArea(cell.astype("float32")) for cell in cells]
    for index in np.argsort(areas, kind="stable"):
        first_row, last_row, first_column, last_column = (int(value) + 1 for value in places[index])
        ends = first_column, last_column + 1, first_row, last_row + 1
        square = np.array([[a, b] for a, b in ((0, 2), (1, 2), (1, 3), (0, 3))])
        whole = np.array(ends, "float32")[square]
        low = np.floor(cells[index].min(0)).clip(0).astype(int)
        high = np.minimum(np.ceil(cells[index].max(0)).astype(int) + 1, (width, height))
        if (low >= high).any() or areas[index] <= 0:
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        matrix = cv2.getPerspectiveTransform(cells[index].astype("float32"), whole)
        found = cv2.perspectiveTransform(np.stack([x, y], -1).reshape(1, -1, 2).astype("float64"), matrix)
        found = found.reshape(*x.shape, 2)
        start, stop = whole[0], whole[2]
        own = ((found >= start - 1e-4) & (found <= stop + 1e-4)).all(-1) & (result["inside"][y, x] == 0)
        result["logical"][y[own], x[own]], result["inside"][y[own], x[own]] = found[own], 1
