"""docTR's names in classifiers: those of torchvision, or numbers where docTR stacks the layers itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recipes.convert import MATRIX, Rows, _conv, backbone
from recipes.tables.textnet import textnet


def rows(options: Mapping[str, Any]) -> Rows:
    features = str(options["features"])
    prefix, linear = _names(features)
    for path, source in textnet(features) if features.startswith("textnet") else backbone(features):
        keys = tuple(prefix + key.removeprefix("feat_extractor.") for key in source.keys)
        yield path, source._replace(keys=tuple(map(_numbered, keys)) if features == "resnet34_wide" else keys)
    for ours, theirs in linear.items():
        yield from _conv(theirs, ours, bias=True, axes=MATRIX)


def _names(features: str) -> tuple[str, dict[str, str]]:
    """What stands before the backbone's names, and the names of the linear layers by ours."""
    if features.startswith("mobilenet"):
        return "features.", {"hidden": "classifier.0", "logits": "classifier.3"}
    if features.startswith("vgg"):
        return "features.", {"logits": "classifier"}
    if features.startswith("textnet"):
        return "", {"logits": "7.2"}
    return "", {"logits": "10" if features == "resnet34_wide" else "fc"}


def _numbered(key: str) -> str:
    """The stem's convolution, normalization, ReLU and pool are 0 to 3, the stages 4 to 7."""
    key = re.sub(r"^layer(\d)", lambda match: str(int(match[1]) + 3), key)
    return re.sub(r"^(conv|bn)1", lambda match: {"conv": "0", "bn": "1"}[match[1]], key)
