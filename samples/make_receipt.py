"""Draws `receipt.jpg`, the page of the README: a till receipt on a desk, photographed from above at an angle.

    python samples/make_receipt.py

It needs Debian's fonts-dejavu (or any DejaVu Sans Mono); nothing in it comes from a data set.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from recipes.data import augment, fonts

TEXT = """\
        GREEN LANE GROCERY
       14 Harbour Street, Leith
        Tel: 0131-555-0142

Date: 21/11/2026       Time: 10:18
Cashier: Morag      Receipt: 004471
----------------------------------
2  Oat milk 1L                3.90
1  Sourdough loaf             3.25
6  Free range eggs            2.60
1  Cheddar, mature            4.85
3  Bananas                    0.96
1  Coffee beans 250g          7.40
----------------------------------
Subtotal                     22.96
VAT 0%                        0.00
TOTAL                GBP     22.96
Card ************7316        22.96
----------------------------------
      Thank you for shopping!
     www.greenlane.example
"""
SIZE, LEADING, MARGIN = 26, 36, 40


def paper(face: Path) -> np.ndarray:
    """The receipt flat on white, (H, W, 3) uint8."""
    font, lines = fonts.font(face, SIZE), TEXT.splitlines()
    width = int(max(font.getlength(line) for line in lines)) + 2 * MARGIN
    image = Image.new("RGB", (width, LEADING * len(lines) + 2 * MARGIN), (248, 246, 240))
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + index * LEADING), line, (52, 50, 58), font)
    return np.asarray(image)


def main() -> None:
    rng = np.random.default_rng(7)
    face = next(path for family in fonts.families() for path in family if path.name == "DejaVuSansMono.ttf")
    flat = paper(face)
    homography, size = augment.perspective(flat.shape[:2], rng, 5.0, 0.035, 0.05)
    grain = cv2.resize(
        rng.normal(0, 1, (size[0] // 2, 12)).astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC
    )
    desk = np.clip(np.array([112, 78, 52]) + 11 * grain[..., None], 0, 255).astype(np.uint8)
    shadow = cv2.warpPerspective(np.full(flat.shape[:2], 255, np.uint8), homography, size[::-1])
    shadow = cv2.GaussianBlur(np.roll(shadow, (9, 7), (0, 1)), (0, 0), 9)[..., None] / 255
    photo = (desk * (1 - 0.5 * shadow)).astype(np.uint8)
    cv2.warpPerspective(flat, homography, size[::-1], photo, cv2.INTER_AREA, cv2.BORDER_TRANSPARENT)
    field = cv2.resize(np.array([[1.02, 0.92], [0.9, 0.72]], np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    photo = np.clip(photo * field[..., None] + rng.normal(0, 4, (*size, 1)), 0, 255).astype(np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 0.7)
    Image.fromarray(photo).save(Path(__file__).parent / "receipt.jpg", quality=85)


if __name__ == "__main__":
    main()
