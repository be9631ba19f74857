"""Classes of a page's pixels, by a network's maps. NumPy and OpenCV only, as all that reads.

page (H, W, 3) → letterbox → run → logits of the page's part → as large as the page → class of each pixel (H, W)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from zoo import image, registry

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


class Segmenter:
    """The class of each pixel of a page.

    Args:
        run: from (1, H, W, 3) uint8 to {"logits": (1, H, W, K)}.
        labels: names of the classes, K of them.
        size: (height, width) in pixels into which a page is fitted.
        multiple: of the sides of what `run` is given.
    """

    def __init__(self, run: Run, *, labels: Sequence[str], size: Sequence[int] = (512, 512), multiple: int = 64):
        self.run, self.labels = run, tuple(labels)
        self.size, self.multiple = (int(size[0]), int(size[1])), multiple

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W) uint8, places in `labels`, of a page (H, W, 3) uint8, or as `image.from_array` takes it.

        Raises:
            ValueError: it is no picture, or the network has another number of classes.
        """
        pixels = image.from_array(np.asarray(pixels))
        batch, scale = image.letterbox(pixels, self.size, self.multiple)
        logits = np.asarray(self.run(batch[None])["logits"])[0]
        if logits.shape[-1] != len(self.labels):
            raise ValueError(f"the network tells {logits.shape[-1]} classes; there are {len(self.labels)} labels")
        height, width = pixels.shape[:2]
        rows, columns = round(height / scale[1]), round(width / scale[0])
        inner = np.ascontiguousarray(logits[:rows, :columns])
        # Logits are enlarged, not classes: the border between two regions then runs between pixels.
        large = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
        return large.reshape(height, width, -1).argmax(-1).astype("uint8")


def segmenter(name: str | os.PathLike, runtime: str = "auto") -> Segmenter:
    """The segmenter with the network of a card, a spotter's among them.

    Raises:
        LookupError: there is no such card.
        ValueError: the card is of another task, or there is no such runtime.
    """
    from zoo import runtime as runtimes

    card = registry.card(name)
    if card.task == "spotting":
        (run,) = runtimes.connect_parts(name, runtime, ["segment"])
        return Segmenter(run, labels=card.reading["labels"], size=card.reading["size"])
    card = registry.card_for(name, "segmentation")
    return Segmenter(runtimes.connect(name, runtime), **card.reading)
