"""ViT: a transformer over patches of the image. Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929.

    image (B, H, W, 3) → patches (B, S = H/h · W/w, C) → token and positions (B, 1 + S, C) → encoder (B, 1 + S, C)

Equal to docTR's `vit_s` and `vit_b`. It gives one sequence instead of a pyramid, whose first element has seen the whole
image, the others are the patches row by row. The image's size is fixed: each patch has a learnt code of its position.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import layers

from zoo.attention import Tokens, encoder


class Size(NamedTuple):
    width: int  # channels
    depth: int  # blocks
    heads: int


SIZES = {
    "vit_s": Size(384, 12, 6),
    "vit_b": Size(768, 12, 12),
    "vit_test": Size(16, 2, 2),
}
RATIO = 4  # the feed-forward layers are so many times wider


def vit(image, size: str, patch: tuple[int, int]):
    """(B, 1 + S, C) of a normalised image (B, H, W, 3).

    Args:
        image: pixels of about unit variance; H and W are known.
        size: a key of `SIZES`.
        patch: height and width of a patch in pixels.

    Raises:
        ValueError: there is no such size, or patches do not fill the image.
    """
    if size not in SIZES:
        raise ValueError(f"no ViT is named {size!r}; there are: {', '.join(SIZES)}")
    width, depth, heads = SIZES[size]
    for side, of in zip(image.shape[1:3], patch, strict=True):
        if side is None or side % of:
            raise ValueError(f"an image of {image.shape[1:3]} has no whole number of patches of {tuple(patch)}")
    x = layers.Conv2D(width, tuple(patch), tuple(patch), name="patches")(image)
    x = layers.Reshape((-1, width), name="sequence")(x)
    x = Tokens(name="embedding")(x)
    return encoder(x, depth, heads, RATIO * width, "block")
