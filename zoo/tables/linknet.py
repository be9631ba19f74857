"""docTR's names in LinkNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.tables.rows import Rows, conv, conv_norm
from zoo.tables.trunks import trunk


def rows(options: Mapping[str, Any]) -> Rows:
    """A block of the decoder counts convolution, normalization and ReLU; the head does so, too."""
    yield from trunk(options["features"])
    for level in range(4):
        for number in range(3):
            theirs = f"fpn.decoders.{level}"
            names = (f"{theirs}.{3 * number}", f"{theirs}.{3 * number + 1}")
            yield from conv_norm(*names, f"decoder{level + 1}_{number + 1}")
    yield from conv_norm("classifier.0", "classifier.1", "head1")
    yield from conv_norm("classifier.3", "classifier.4", "head2")
    yield from conv("classifier.6", "logits", bias=True)
