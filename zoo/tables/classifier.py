"""docTR's names in classifiers: those of torchvision, or numbers where docTR stacks the layers itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from zoo.tables.resnet31 import resnet31
from zoo.tables.rows import MATRIX, Rows, conv, layer_norm, norm
from zoo.tables.starnet import starnet
from zoo.tables.textnet import textnet
from zoo.tables.trunks import TRUNK, trunk
from zoo.tables.viptr import vip
from zoo.tables.vit import vit
from zoo.tables.vit_det import vit_det


def rows(options: Mapping[str, Any]) -> Rows:
    features = str(options["features"])
    prefix, linear = _names(features)
    for path, source in _trunk(features):
        keys = tuple(prefix + key.removeprefix(f"{TRUNK}.") for key in source.keys)
        yield path, source._replace(keys=tuple(map(_numbered, keys)) if features == "resnet34_wide" else keys)
    if features.startswith("vit_det"):
        yield from layer_norm("4.norm", "mean_norm")
    if features.startswith("starnet"):
        yield from norm("5.0", "mean_norm")
    for ours, theirs in linear.items():
        yield from conv(theirs, ours, bias=True, axes=MATRIX)


def _trunk(features: str) -> Rows:
    if features.endswith("resnet31"):
        return resnet31("resnet31", context=features.startswith("magc"))
    own: dict[str, Callable[[str], Rows]]
    own = {"starnet": starnet, "textnet": textnet, "vit_det": vit_det, "vit": vit, "vip": vip}
    return next((make for start, make in own.items() if features.startswith(start)), trunk)(features)


def _names(features: str) -> tuple[str, dict[str, str]]:
    """What stands before the backbone's names, and the names of the linear layers by ours."""
    if features.startswith("mobilenet"):
        return "features.", {"hidden": "classifier.0", "logits": "classifier.3"}
    if features.startswith("vgg"):
        return "features.", {"logits": "classifier"}
    last = {
        "textnet": "7.2", "resnet34_wide": "10", "resnet31": "13", "magc_resnet31": "13", "vit_det": "4.fc",
        "vit": "2.head", "vip": "6.fc", "starnet": "5.3",
    }  # fmt: skip
    return "", {"logits": next((key for start, key in last.items() if features.startswith(start)), "fc")}


def _numbered(key: str) -> str:
    """The stem's convolution, normalization, ReLU and pool are 0 to 3, the stages 4 to 7."""
    key = re.sub(r"^layer(\d)", lambda match: str(int(match[1]) + 3), key)
    return re.sub(r"^(conv|bn)1", lambda match: {"conv": "0", "bn": "1"}[match[1]], key)
