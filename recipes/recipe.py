"""Recipe: what one training run is. A recipe file holds one, called RECIPE; the trainer says how it is carried out."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import pkgutil
import types
import typing
from dataclasses import dataclass, field
from typing import Any

import recipes
from zoo import limits

COUNTED = (
    "batch", "steps", "accumulate", "checkpoint_every", "validate_every", "validation", "longest", "widest", "windows",
)  # fmt: skip
SHARES = (
    "real_share", "together", "quoted", "hardest", "hand", "floor", "smoothing", "ema", "teacher_share", "sparsity",
    "hidden", "confident", "layer_decay",
)  # fmt: skip
OTHERS = (
    "few", "easy", "warmup", "patience", "unfreeze_every", "rate", "decay", "clip", "aligned", "alike", "pull",
    "adapt_weight",
)  # fmt: skip
RANGES = (  # what fields may be
    dict.fromkeys(COUNTED, (1, math.inf))
    | dict.fromkeys(SHARES, (0, 1))
    | dict.fromkeys(OTHERS, (0, math.inf))
    | {"seed": (0, 2**32 - 1)}
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one run is. Each field may be set from the command line: `--set rate=5e-4`, several names as real=A,B, or
    as JSON where one has a comma: `--set 'real=["A,B"]'`."""

    model: str  # name of a card
    task: str  # module of recipes that makes batches, loss and scores: "recipes.recognition.task"
    options: dict[str, Any] = field(default_factory=dict)  # of the builder, over those of the card: a:1,b:x, or JSON
    start: str = ""  # name or path of the weights to begin with, or several, with commas; "" is random
    seed: int = 0  # of weights, synthetic samples and augmentation

    real: tuple[str, ...] = ()  # data sets under --data whose `train` splits are mixed in
    real_share: float = 0.3  # part of the samples that is taken from them
    shards: tuple[str, ...] = ()  # packed data sets, under --data or as paths, that are taken from instead of `real`
    few: int = 0  # pictures of each of them, or of what pretraining looks at, at most; 0 is all
    replay: tuple[str, ...] = ()  # data sets of which half of the other samples are, so that they are not forgotten
    layers: tuple[dict[str, Any], ...] = ()  # of Keras or keras-cv that batches go through, JSON: data.preprocessing
    easy: int = 0  # samples over which synthetic words rise from clean print to the hardest
    size: tuple[int, int] = (384, 384)  # height and width of a detector's samples, pixels
    longest: int = 20  # characters of a synthetic word at most
    together: float = 0.0  # share of what is read that is neighbouring words; the alphabet has a space then
    language: str = ""  # of synthetic texts, such as "french": words of its list side by side; "" is words of all
    quoted: float = 0.0  # share of these that are parts of the real sets' texts, drawn anew; needs a language
    hardest: float = 1.0  # of what can happen to a synthetic word, from 0, clean print, to 1, all of it
    hand: float = 0.0  # share of words as by other hands: slanted and stretched, synthetic ones in fonts of writing
    aligned: float = 0.0  # weight of a recognizer's loss on the places of synthetic characters; it learns sooner
    widest: int = 256  # pixels of a recognizer's strips at most

    batch: int = 64  # samples in a step, over all devices
    steps: int = 20_000  # of the optimizer
    rate: float = 1e-3  # peak learning rate
    warmup: int = 200  # steps to reach it
    floor: float = 0.02  # learning rate at the end, as a part of the peak; cosine in between
    decay: float = 1e-4  # weight decay of AdamW
    clip: float = 5.0  # norm to which the gradient is clipped; 0 is none
    smoothing: float = 0.0  # probability that classes and characters of attention share, whatever is true
    ema: float = 0.999  # momentum of the average of the weights; 0 is none
    precision: str = "float32"  # of the layers; or mixed_float16, mixed_bfloat16; onednn_bfloat16 is for processors
    accumulate: int = 1  # parts in which a device goes through its share of a batch, for want of memory

    teacher: str = ""  # a card or a run to learn from beside the labels; "" is none
    teacher_share: float = 0.5  # part of the loss that is the distance to the teacher's logits
    soften: float = 2.0  # temperature of both
    alike: float = 0.0  # weight of the distance between how alike samples are by the features of both

    sparsity: float = 0.0  # share of each kernel's weights, the smallest, that become 0 in the first half of the steps
    bits: int = 0  # 8 trains as if weights and what flows between layers were whole numbers of eight bits

    adapt: str = ""  # what pictures without labels teach beside the labels: a key of `recipes.beside.LESSONS`
    target: str = ""  # these pictures: a folder, or a data set whose texts are not looked at; under --data, or a path
    adapt_weight: float = 1.0  # of that lesson's loss beside the task's
    windows: int = 4  # adapt=contrastive: stretches of a strip that are compared
    temperature: float = 0.2  # adapt=contrastive: by which likeness is divided
    patch: tuple[int, int] = (16, 16)  # adapt=masked: height and width of what is hidden, pixels
    hidden: float = 0.5  # adapt=masked: share of a picture that is hidden
    confident: float = 0.9  # adapt=teacher: least probability, for each character or pixel, of what it teaches

    freeze: tuple[str, ...] = ()  # layers that stay as they are: names, or patterns such as block1*
    layer_decay: float = 1.0  # the rate of each group of layers, counted from the outputs, over that of the next
    unfreeze_every: int = 0  # steps after which one more group, counted from the outputs, begins to learn
    pull: float = 0.0  # weight of the squared distance to the weights at the start

    checkpoint_every: int = 200  # steps; a kill loses no more than these
    validate_every: int = 1000  # steps, a multiple of checkpoint_every
    validation: int = 400  # samples at most
    patience: int = 0  # validations in a row without a better score that end a run; 0 is never

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            limits.within(low, high, **{name: getattr(self, name)})
        for name in ("soften", "temperature"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name}={value}: it is above 0, and finite, as one divides by it")
        limits.sides(2, size=self.size, patch=self.patch)
        if self.bits not in (0, 8):
            raise ValueError(f"bits={self.bits}: it is 0 or 8")
        if self.validate_every % self.checkpoint_every:
            raise ValueError(
                f"validate_every={self.validate_every} is no multiple of checkpoint_every={self.checkpoint_every}"
            )

    def override(self, assignments: list[str]) -> Recipe:
        """The recipe with "key=value" assignments applied, each value read as the field's type.

        Raises:
            ValueError: no such field, or a value of another type.
        """
        changes = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            kinds = typing.get_type_hints(type(self))
            if not equals or key not in kinds:
                raise ValueError(f"--set {assignment}: give one of {', '.join(kinds)} as key=value")
            changes[key] = _value(key, text, kinds[key])
        return dataclasses.replace(self, **changes)


def _value(key: str, text: str, kind: Any) -> Any:
    """`text` read as `kind`, which is str, int, float, a tuple of one of them or of dict, or dict."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if key == "layers":
        return _layers(text)
    try:
        if origin is tuple:
            parts = tuple(arguments[0](part) for part in _listed(text) or text.split(",") if part)
            if arguments[-1] is not Ellipsis and len(parts) != len(arguments):
                raise ValueError(f"{len(parts)} values")
            return parts
        if origin is dict and text.startswith("{"):
            return json.loads(text)
        if origin is dict:
            pairs = (part.partition(":") for part in text.split(",") if part)
            return {name: value if name == "charset" else _plain(value) for name, _, value in pairs}
        return kind(text)
    except ValueError:
        raise ValueError(f"--set {key}={text}: {key} is {kind if arguments else kind.__name__}") from None


def _listed(text: str) -> list[str]:
    """The texts of a list in JSON; none where it is no such list, but a pattern such as [ab]*, say."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(part, str) for part in found) else []


def _layers(text: str) -> tuple[dict[str, Any], ...]:
    """The field `layers` of JSON, a list of objects."""
    try:
        found = json.loads(text or "[]")
        if not isinstance(found, list) or not all(isinstance(layer, dict) for layer in found):
            raise ValueError(found)
    except ValueError:
        example = json.dumps([{"class": "keras.layers:RandomContrast", "factor": 0.3}])
        raise ValueError(f"--set layers={text}: layers is JSON: {example}") from None
    return tuple(found)


def _plain(text: str) -> Any:
    """An option's value: a whole number, a number, true or false, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def names() -> list[str]:
    """All recipes, as `zoo train` takes them: "recognition.crnn_mobilenet_v3_small"."""
    found = pkgutil.walk_packages(recipes.__path__, "recipes.")
    folders = (
        "detection", "recognition", "classification", "segmentation", "layout", "tables", "spotting", "pretraining",
    )  # fmt: skip
    paths = (module.name.split(".") for module in found if not module.ispkg)
    return sorted(
        f"{path[1]}.{path[2]}"
        for path in paths
        if len(path) == 3 and path[1] in folders and path[2] not in ("task", "targets")
    )


def of_card(name: str, task: str) -> str:
    """The recipe named after a card, as "recognition.crnn_vgg16_bn_mine" is after "crnn_vgg16_bn.mine"; "" for none."""
    own = f"{task}.{name.replace('.', '_')}"
    return own if own in names() else ""


def find(name: str) -> Recipe:
    """The RECIPE of the module `recipes.NAME`.

    Raises:
        ValueError: there is none.
    """
    if name not in names():
        raise ValueError(f"no recipe is named {name!r}; there are: {', '.join(names())}")
    module: types.ModuleType = importlib.import_module(f"recipes.{name}")
    return module.RECIPE
