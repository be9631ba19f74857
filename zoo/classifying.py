"""Classes of whole pictures: characters, or by how many quarter turns a word or a page lies. NumPy and OpenCV only.

picture (H, W, 3) → fitted to the network's size → run → logits (K,) → label and probability
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from zoo import image, registry
from zoo.charset import Charset

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]
BATCH = 64  # pictures at once


class Classifier:
    """The class of each of some pictures.

    Args:
        run: from (B, H, W, 3) uint8 to {"logits": (B, K)}.
        size: (height, width) in pixels of what `run` is given.
        picture: "character", "word" or "page". A character is stretched to the size; others lie in the middle of black.
        charset: of a classifier of characters, the alphabet, its name or its characters.
        angles: of others, degrees by which a picture of each class is turned, clockwise.

    Raises:
        ValueError: it is not known what the classes mean.
    """

    def __init__(
        self,
        run: Run,
        *,
        size: Sequence[int],
        picture: str,
        charset: str | None = None,
        angles: Sequence[int] | None = None,
    ):
        if (charset is None) == (angles is None):
            raise ValueError("a classifier has a charset, or angles")
        self.run, self.picture = run, picture
        self.size = (int(size[0]), int(size[1]))
        self.angles = tuple(angles or ())
        self.labels = list(Charset(charset).characters) if charset else list(map(str, self.angles))

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """The label of each picture (H, W, 3) uint8, or as `image.from_array` takes it, and its probability.

        Raises:
            ValueError: one of them is no picture, or they are one alone.
        """
        if isinstance(pictures, np.ndarray) and pictures.ndim < 4:
            raise ValueError(f"give a list of pictures, not an array of shape {pictures.shape}")
        found: list[tuple[str, float]] = []
        for start in range(0, len(pictures), BATCH):
            batch = np.stack([self.fitted(picture) for picture in pictures[start : start + BATCH]])
            logits = np.asarray(self.run(batch)["logits"], "float64")
            power = np.exp(logits - logits.max(-1, keepdims=True))
            shares = power / power.sum(-1, keepdims=True)
            found += [(self.labels[row.argmax()], float(row.max())) for row in shares]
        return found

    def turns(self, picture: np.ndarray, least: float = 0.0) -> int:
        """By how many quarter turns against the clock a picture lies; 0 where that is less probable than `least`."""
        ((label, share),) = self([picture])
        return round(-int(label) / 90) % 4 if share >= least else 0

    def fitted(self, picture: np.ndarray) -> np.ndarray:
        """A picture at the size that the network is given."""
        picture = image.from_array(np.asarray(picture))
        if self.picture == "character":
            return image.resize(picture, *self.size)
        factor = min(self.size[0] / picture.shape[0], self.size[1] / picture.shape[1])
        height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        result = np.zeros((*self.size, 3), "uint8")
        result[top : top + height, left : left + width] = image.resize(picture, height, width)
        return result


def classifier(name: str | os.PathLike, runtime: str = "auto", server: str | None = None) -> Classifier:
    """The classifier with the network of a card.

    Args:
        name: a card's name or a run's folder.
        runtime: where the network runs: see `zoo.runtime`.
        server: "host:port" of a model server that has it, in place of `runtime`.

    Raises:
        LookupError: there is no such card.
        ValueError: the card is of another task, or there is no such runtime.
    """
    from zoo import runtime as runtimes

    card = registry.card_for(name, "classification")
    run = runtimes.remote(server, card.name) if server else runtimes.connect(name, runtime)
    return Classifier(run, **card.reading)
