"""From a name to a network: cards, and the building and loading of what they describe.

A card is a TOML file. `zoo/cards/NAME.toml` describes a released model; the `card.toml` of a run's folder describes
what was trained there, and the folder's path serves as its name. This module imports no framework: a card gives its
builder by dotted name, and `build` imports it.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zoo.files import replacing

if TYPE_CHECKING:
    import keras

CARDS = Path(__file__).parent / "cards"
TASKS = ("detection", "recognition", "classification", "segmentation", "layout", "tables", "spotting")
PROJECTS = ("doctr",)  # whose weights `zoo.conversion` knows how to take over
FRAMEWORKS = {"keras", "tensorflow", "jax", "torch"}

# Keys of [weights] and their types. `zoo release` writes them.
WEIGHTS: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "file": (str,),  # lies in the card's folder
        "url": (str,),  # instead of `file`; the last part of the path is the file's name
        "sha256": (str,),  # of the file, 64 hexadecimal digits
        "size": (int,),  # of the file, bytes
        "dtype": (str,),  # that most values have in the file
        "onnx": (str,),  # SHA-256 of NAME.onnx beside it, where there is one
        "recipe": (str,),  # module whose RECIPE trained them
        "data": (list,),  # names of the data trained on
        "seconds": (int, float),  # of training
        "device": (str,),  # on which that was
        "date": (str,),  # year-month-day of the release
        "commit": (str,),  # of the code that trained
        "version": (str,),  # of the weights
    }
)

# Keys of [published.PROJECT], all needed: weights that another project published for the network of this name.
PUBLISHED: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "url": (str,),  # of its checkpoint
        "file": (str,),  # name of the checkpoint in a mirror folder
        "sha256": (str,),  # the first digits of the file's, as many as were published, at least 8
    }
)

# What stands behind a key of a written card, for whoever reads the file.
REMARKS = {
    "licence": "of the weights",
    "params": "trainable",
    "gflops": "for one picture of the size in [reading]",
    "[options]": "keyword arguments of the builder",
    "[test_options]": "those that shrink it for the contract test",
    "[reading]": "what the reading path needs to know",
    "[weights]": "written by `zoo release`",
}


class CardError(ValueError):
    """A card that cannot be used; the message names the file and the key."""


class UnknownName(LookupError):
    """A name that no card has; the message lists the nearest ones."""


@dataclass(frozen=True)
class Card:
    """What is known of one model, without building it. Each field is a key of the TOML file but for the first two."""

    name: str
    folder: Path  # in which the file lies
    task: str  # one of TASKS
    builder: str  # "zoo.module:function"
    summary: str  # one line
    paper: str  # link
    licence: str  # of the weights
    params: int  # trainable, at `options`
    options: dict[str, Any]  # keyword arguments of the builder
    test_options: dict[str, Any]  # those that shrink the network for tests
    reading: dict[str, Any]  # what the reading path needs to know, by task
    weights: dict[str, Any] = field(default_factory=dict)  # keys of WEIGHTS; empty where none were released
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # "dataset/split" → scores, command, date, commit
    published: dict[str, dict[str, str]] = field(default_factory=dict)  # project → keys of PUBLISHED
    gflops: float = 0.0  # for one picture of the size in `reading`, 10⁹ additions and multiplications; 0 is unknown

    @property
    def recipe(self) -> str:
        """What `zoo train` calls the recipe of this name, if there is one: a module has no dot in its own."""
        return f"{self.task}.{self.name.replace('.', '_')}"


# The keys of the file and their types, and which of them may be missing.
PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int)}
TOP = {entry.name: PLAIN.get(str(entry.type), (dict,)) for entry in fields(Card)[2:]}
OPTIONAL = {"weights", "results", "published", "gflops"}
NESTED = ("published", "results")  # tables of tables


def names(task: str | None = None) -> list[str]:
    """The released models' names in alphabetical order, of one task or of all.

    Raises:
        ValueError: there is no such task.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"no task is named {task!r}; there are: {', '.join(TASKS)}")
    found = sorted(path.stem for path in CARDS.glob("*.toml"))
    return [name for name in found if task is None or card(name).task == task]


def card(name: str | os.PathLike) -> Card:
    """The card of a released model, or of a run by the path of its folder.

    Raises:
        UnknownName: neither a model nor a folder with a card.toml has this name.
        CardError: the file is not as a card should be.
    """
    released = CARDS / f"{name}.toml"
    if Path(name).name == str(name) and released.is_file():
        return read_card(released)
    if (run := Path(name) / "card.toml").is_file():
        return read_card(run)
    raise UnknownName(_unknown(str(name)))


def card_for(name: str | os.PathLike, task: str) -> Card:
    """The card of a model for a task.

    Raises:
        UnknownName, CardError: as for `card`.
        ValueError: the model is for another task.
    """
    chosen = card(name)
    if chosen.task != task:
        hint = f"zoo list --task {task}"
        raise ValueError(f"{name} is a model for {chosen.task}; one for {task} is needed: {hint}")
    return chosen


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.4)
    if Path(name).is_dir():
        if (Path(name) / "recipe.json").is_file():
            return f"the run {name!r} holds no card.toml yet: the first validation writes it; go on with zoo train"
        return f"the folder {name!r} holds no card.toml, so it is not a run"
    listed = f"the nearest: {', '.join(near)}" if near else f"there are: {', '.join(names())}"
    return f"no model is named {name!r}, and no folder with a card.toml is there; {listed}"


def build(name: str | os.PathLike, **options) -> keras.Model:
    """The network of a card with random weights; `options` stand over those of the card.

    `keras.models.load_model` reads what its `save` wrote, where the builder's module was imported.

    Raises:
        UnknownName, CardError: as for `card`.
        ModuleNotFoundError: no framework is installed, or not the one that Keras is told to use.
        ValueError: Keras is told that channels come first, or an option makes no sense.
    """
    chosen = card(name)
    return _builder(chosen)(**{"name": _scope(chosen.name), **chosen.options, **options})


def _scope(name: str) -> str:
    """The name as a network may have it: TensorFlow's scopes take no spaces, nor letters that are not ASCII."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return plain if re.match(r"[A-Za-z0-9.]", plain) else f"run{plain}"


def _builder(chosen: Card):
    module, _, function = chosen.builder.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in FRAMEWORKS:
            hint = "install one with: pip install 'ocrzoo[tensorflow]'"
            if error.name in ("jax", "torch"):
                hint = f"KERAS_BACKEND or keras.json asks for it; KERAS_BACKEND=tensorflow would do, or {hint}"
            raise ModuleNotFoundError(f"a network needs a framework ({error}); {hint}", name=error.name) from error
        raise CardError(f"{chosen.name}: builder: there is no module {module!r} ({error})") from error
    except AttributeError:
        raise CardError(f"{chosen.name}: builder: {module!r} has no function {function!r}") from None


def load(name: str | os.PathLike, weights: str | os.PathLike | None = "default", **options) -> keras.Model:
    """The network of a card with its weights.

    Args:
        name: of a released model, or the path of a run's folder.
        weights: "default" for those that the card names, else those that another project published, fetched where they
            are not at hand; None for random ones; a project, "doctr", for its own in this network; or the path of a
            safetensors file or of a run's folder.
        **options: stand over those of the card.

    Raises:
        UnknownName, CardError: as for `card`.
        zoo.weights.WeightsError: there are none, or they cannot be had, or are not what the card says.
        ValueError: they do not fit the network.
    """
    from zoo import weights as files  # NumPy: `zoo list` does without

    chosen = card(name)
    if weights is None:
        path = None
    elif weights == "default":
        path = files.obtain(chosen)
    elif weights in PROJECTS:
        path = files.converted(chosen, str(weights))
    else:
        path = files.obtain(card(weights)) if Path(weights).is_dir() else Path(weights)
    network = build(name, **options)
    if path:
        files.assign(network, files.read(path))
    return network


def read_card(path: str | os.PathLike) -> Card:
    """The card in a TOML file. Its name is that of the file, or of the folder when the file is a card.toml.

    Raises:
        CardError: it is not TOML, or a key is unknown, missing or of a wrong type.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not TOML: {error}") from None
    for complaint in _complaints(data):
        raise CardError(f"{path}: {complaint}")
    name = path.resolve().parent.name if path.name == "card.toml" else path.stem
    return Card(name=name, folder=path.resolve().parent, **data)


def _complaints(data: dict) -> Iterator[str]:
    """What is wrong with a card's content; each complaint supposes that those before it are mended."""
    yield from _mistyped(data, TOP, TOP.keys() - OPTIONAL)
    if data["task"] not in TASKS:
        yield f"task: {data['task']!r} is none of {', '.join(TASKS)}"
    module, _, function = data["builder"].partition(":")
    # A card may come with a run from anywhere: it must not be able to call what is not a builder.
    if not (module.startswith("zoo.") and function.isidentifier()):
        yield f"builder: {data['builder']!r} is not of the form 'zoo.module:function'"
    if data["params"] <= 0:
        yield f"params: {data['params']} is not the number of trainable parameters"
    yield from _weights_complaints(data.get("weights", {}))
    yield from _published_complaints(data.get("published", {}))
    for title, table in data.get("results", {}).items():
        if not isinstance(table, dict):
            yield f"results.{title}: {table!r} is not a table of scores"
        for key, value in table.items():
            if not isinstance(value, (int, float, str)):
                yield f'results."{title}".{key}: {value!r} is neither a number nor a text'


def _weights_complaints(weights: dict) -> Iterator[str]:
    if not weights:
        return
    for complaint in _mistyped(weights, WEIGHTS, set()):
        yield f"weights: {complaint}"
    if ("file" in weights) == ("url" in weights):
        yield "weights: either 'file' or 'url' says where they are"
    if "url" in weights and "sha256" not in weights:
        yield "weights: 'sha256' is missing; what comes from a URL must be verified"
    digest = weights.get("sha256", "0" * 64)
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        yield f"weights: sha256: {digest!r} is not 64 hexadecimal digits in lower case"


def _published_complaints(published: dict) -> Iterator[str]:
    for project, facts in published.items():
        if not isinstance(facts, dict):
            yield f"published.{project}: {facts!r} should be a table"
        for complaint in _mistyped(facts, PUBLISHED, set(PUBLISHED)):
            yield f"published.{project}: {complaint}"
        digest = facts["sha256"]
        if not 8 <= len(digest) <= 64 or set(digest) - set("0123456789abcdef"):
            yield f"published.{project}: sha256: {digest!r} is not 8 to 64 hexadecimal digits in lower case"


def _mistyped(data: dict, kinds: Mapping[str, tuple[type, ...]], required: set[str]) -> Iterator[str]:
    for key, value in data.items():
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, n=1)
            yield f"{key}: unknown key" + (f"; is {near[0]!r} meant?" if near else f"; known: {', '.join(kinds)}")
        elif not isinstance(value, kinds[key]) or isinstance(value, bool):
            expected = " or ".join(_TYPES[kind] for kind in kinds[key])
            yield f"{key}: {value!r} should be {expected}"
    for key in kinds:
        if key in required and key not in data:
            yield f"{key}: missing key"


_TYPES = {str: "a text", int: "a whole number", float: "a number", dict: "a table", list: "a list"}


def write_card(card: Card, path: str | os.PathLike) -> None:
    """Writes the card as TOML, whole or not at all; `read_card` gives an equal one back.

    Raises:
        CardError: it would not be a card; nothing is written.
    """
    data = {entry.name: getattr(card, entry.name) for entry in fields(Card) if entry.name in TOP}
    data = {key: value for key, value in data.items() if value or key not in OPTIONAL}
    for complaint in _complaints(data):
        raise CardError(f"{path}: {complaint}")
    text = "\n".join(_document(data)) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _document(data: dict) -> Iterator[str]:
    """Lines of TOML: plain values, then a section for each table, then one for each publisher and result."""
    for key, value in data.items():
        if not isinstance(value, dict):
            yield f"{key} = {_value(value)}" + _remark(key)
    for key, table in data.items():
        if isinstance(table, dict) and key not in NESTED:
            yield from _section(f"[{key}]", table)
    for key in NESTED:
        for title, table in data.get(key, {}).items():
            yield from _section(f"[{key}.{_key(title)}]", table)


def _section(title: str, table: dict) -> Iterator[str]:
    yield ""
    yield title + _remark(title)
    for key, value in table.items():
        yield f"{_key(key)} = {_value(value)}"


def _remark(key: str) -> str:
    return f"  # {REMARKS[key]}" if key in REMARKS else ""


def _key(key: str) -> str:
    plain = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if plain else _value(key)


def _value(value: Any) -> str:
    """A TOML value. Whole numbers above 9999 have their thousands set apart."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if abs(value) > 9999 else str(value)
        case float():
            return repr(float(value))  # also nan and inf; NumPy's floats write themselves otherwise
        case str():
            return '"' + "".join(map(_character, value)) + '"'
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{ {', '.join(f'{_key(key)} = {_value(entry)}' for key, entry in value.items())} }}"
    raise CardError(f"a card cannot hold {value!r}, a {type(value).__name__}")


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
