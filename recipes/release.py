"""From a run's folder to a released model: weights in half precision, golden outputs, and the card that names them.

Golden outputs are what the released weights gave when they were released, for a picture kept with them: whoever loads
them later, with another framework or on another machine, can see that they still do (`check`).
"""

from __future__ import annotations

import datetime
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import zoo
from recipes import optimizer, origin, recipe, train
from recipes.recipe import Recipe
from zoo import decoding, registry, runtime, weights
from zoo.files import check_writable, replacing, sha256
from zoo.registry import Card

LOSS = 0.005  # of the validation score, that half precision may cost
SIZES = {"recognition": (32, 128)}  # of the golden picture, (height, width)
USUAL = (128, 128)
SEED = 20


class ReleaseError(RuntimeError):
    """A run that is not released; the message says why and what would do."""


@dataclass(frozen=True)
class Release:
    """What was released.

    Attributes:
        card: with the weights' file, checksum and origin.
        difference: the largest one between logits of the trained weights and those of the file.
        score: of the trained weights, on the synthetic samples of validation.
        kept: the same of the weights in the file.
        otherwise: values of [reading] that the run's card has otherwise than the released one, which keeps its own: of
            each that and the run's, None where there is none.
    """

    card: Card
    difference: float
    score: float
    kept: float
    otherwise: dict[str, tuple[Any, Any]]


def release(
    run: str | Path,
    name: str = "",
    *,
    dtype: str = "float16",
    device: str = "",
    folder: Path | None = None,
) -> Release:
    """Writes NAME.safetensors, NAME.golden.npz and NAME.toml of a run; either all three are replaced or none.

    Args:
        run: folder of a run.
        name: of the model; by default the recipe's.
        dtype: in which weights are stored where that keeps them: "float16" or "float32".
        device: on which the run was made; by default what the run's card says, or this machine.
        folder: of the cards; by default that of the package.

    Raises:
        ReleaseError: the weights in the file score lower than those of the run, or the name is a path, or that of a
            model for another task.
        UnknownName, CardError, WeightsError: the folder holds no finished validation, or other weights than it says.
        OSError: the folder of the cards cannot be written.
    """
    run, folder = Path(run), folder or registry.CARDS
    trained, how = registry.card(run), stored_recipe(run)
    name = name or how.model
    if Path(name).name != name:
        raise ReleaseError(f"{name!r} is a path, as of a model that zoo compress wrote; give a name by --name")
    released = folder / f"{name}.toml"
    if released.is_file() and (other := registry.read_card(released).task) != trained.task:
        raise ReleaseError(f"{name} is a model for {other}, and {run} for {trained.task}; give another name by --name")
    check_writable(released)
    network = registry.load(run)
    image = picture(trained.task, sides(network))
    exact = logits(network, image)
    score = validate(network, trained, how)
    with (
        replacing(folder / f"{name}.safetensors") as tensors,
        replacing(golden_path(folder, name)) as golden,
        replacing(folder / f"{name}.toml") as toml,
    ):
        weights.save(network, tensors, dtype)
        weights.assign(network, weights.read(tensors))
        stored = logits(network, image)
        difference, kept = float(np.abs(stored - exact).max()), validate(network, trained, how)
        if kept < score - LOSS:
            raise ReleaseError(
                f"{run}: as {dtype} the weights score {kept:.4f} instead of {score:.4f} (logits differ by up to "
                f"{difference:.3g}); release them with --dtype float32"
            )
        card = describe(trained, how, name, folder, tensors, dtype, device, network)
        np.savez_compressed(golden, image=image, logits=part(stored))
        registry.write_card(card, toml)
    (folder / f"{name}.onnx").unlink(missing_ok=True)  # of other weights
    card = registry.read_card(folder / f"{name}.toml")
    pairs = {key: (card.reading.get(key), trained.reading.get(key)) for key in card.reading | trained.reading}
    otherwise = {key: (own, other) for key, (own, other) in pairs.items() if own != other}
    return Release(card, difference, score, kept, otherwise)


def write_onnx(name: str | Path) -> Card:
    """Writes NAME.onnx of a model beside its weights, by which it is read where there is no framework.

    Args:
        name: of a released model, or a run's folder.

    Returns:
        The card, which names it now.

    Raises:
        ReleaseError: the model has no weights of its own, or is read by several networks.
    """
    card = registry.card(name)
    if "file" not in card.weights:
        raise ReleaseError(f"{name} has no weights of its own; give the name of a model that has, or a run's folder")
    if card.task == "spotting":
        raise ReleaseError(f"{name} is read by parts of its network, each by a file of its own")
    path = card.folder / f"{card.name}.onnx"
    check_writable(path)
    runtime.export(registry.load(name), path, decoding.needed(card.reading), small=True)
    card = replace(card, weights={**card.weights, "onnx": sha256(path)})
    alone = card.folder / train.CARD
    registry.write_card(card, alone if alone.is_file() else card.folder / f"{card.name}.toml")
    return card


def describe(
    trained: Card, how: Recipe, name: str, folder: Path, file: Path, dtype: str, device: str, network: keras.Model
) -> Card:
    """The card of a release: what is known of the model, its weights' origin, and the scores of the run."""
    released = folder / f"{name}.toml"
    known = registry.read_card(released) if released.is_file() else trained
    digest = weights.sha256(file)
    table: dict[str, Any] = {
        "file": f"{name}.safetensors",
        "sha256": digest,
        "size": file.stat().st_size,
        "dtype": dtype,
        "recipe": origin_of(how, trained.task),
        "data": trained.weights.get("data", []),
        "seconds": round(trained.weights.get("seconds", 0.0), 1),
        "device": device or trained.weights.get("device") or origin.device(),
        "date": datetime.date.today().isoformat(),
        "version": zoo.__version__,
    }
    written = trained.weights.get("commit")
    table |= {"commit": written} if written else origin.commit()
    # Scores of other weights say nothing of these.
    earlier = known.results if known.weights.get("sha256") == digest else {}
    return replace(
        known,
        name=name,
        folder=folder,
        builder=trained.builder,
        options=trained.options,
        params=optimizer.parameters(network.trainable_variables),
        gflops=known.gflops if known.options == trained.options else 0.0,
        weights=table,
        results=trained.results | earlier,
    )


def stored_recipe(run: Path) -> Recipe:
    """The recipe in a run's folder.

    Raises:
        ReleaseError: there is none.
    """
    path = run / train.RECIPE
    if not path.is_file():
        raise ReleaseError(f"{run} holds no {train.RECIPE}; give the folder of a run of zoo train")
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    values.pop("data", None)  # where the data sets were
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Recipe(**fields)


def origin_of(how: Recipe, task: str) -> str:
    """The module of a recipe and what was set otherwise: "recipes.recognition.crnn_vgg16_bn, steps=100".

    Of paths the last part stands for all: no card names a folder of the machine that trained.
    """
    if not (name := recipe.of_card(how.model, task)):
        return how.task
    usual, here = asdict(recipe.find(name)), asdict(how)
    here |= {key: Path(here[key]).name for key in ("teacher", "target")}
    here["start"] = ",".join(Path(path).name for path in here["start"].split(","))
    here |= {key: tuple(Path(path).name for path in here[key]) for key in ("real", "replay", "shards")}
    return ", ".join([f"recipes.{name}", *(f"{key}={here[key]}" for key in here if here[key] != usual[key])])


def validate(network: keras.Model, card: Card, how: Recipe) -> float:
    """The score of a network on the synthetic samples of its recipe's validation."""
    task = train.make_task(replace_data(how), card, None)
    with tempfile.TemporaryDirectory() as folder:
        return task.validate(network, Path(folder) / "samples.png")["score"]


def replace_data(how: Recipe) -> Recipe:
    """The recipe without real data, which need not be at hand."""
    return replace(how, real=(), replay=(), shards=())


# ---------------------------------------------------------------- golden outputs


def golden_path(folder: Path, name: str) -> Path:
    """Where the golden outputs of a card lie."""
    return folder / f"{name}.golden.npz"


def sides(network: keras.Model) -> tuple[int | None, int | None]:
    """Height and width of the pictures that a network takes; None where it takes any."""
    image = network.input["image"] if isinstance(network.input, dict) else network.input
    return image.shape[1:3]


def picture(task: str, sides: tuple[int | None, int | None] = (None, None)) -> np.ndarray:
    """A picture (1, H, W, 3) uint8 of squares in all colours, of these sides; of the usual ones where they are None."""
    height, width = (side or usual for side, usual in zip(sides, SIZES.get(task, USUAL), strict=True))
    squares = np.random.default_rng(SEED).integers(0, 256, (1, -(-height // 8), -(-width // 8), 3), np.uint8)
    return squares.repeat(8, 1).repeat(8, 2)[:, :height, :width]


def logits(network: keras.Model, image: np.ndarray) -> np.ndarray:
    """The logits of a network for a batch; of a spotter (1, n) its map and the text of a word that it is told."""
    if not isinstance(network.input, dict):
        return np.asarray(network(image, training=False)["logits"])
    height, width = image.shape[1] - 16, image.shape[2] - 16
    word = np.array([[[[16, 16], [width, 24], [width, height], [16, height - 8]]]], "float32")
    outputs = network({"image": image, "words": word, "columns": np.ones((1, 1, 64), "float32")}, training=False)
    return np.concatenate([np.ravel(outputs[name]) for name in ("logits", "text")])[None]


def part(values: np.ndarray) -> np.ndarray:
    """Every fourth step or, in maps, every fourth row and column of logits: enough to tell networks apart."""
    return values[:, ::4, ::4] if values.ndim == 4 else values[:, ::4]


def check(name: str | Path) -> float:
    """The largest difference between the golden outputs of a card and what its weights, loaded anew, give now.

    Raises:
        ReleaseError: it has none.
    """
    card = registry.card(name)
    path = golden_path(card.folder, card.name)
    if not path.is_file():
        raise ReleaseError(f"{path} is not there; zoo release writes it")
    with np.load(path) as golden:
        return float(np.abs(part(logits(registry.load(name), golden["image"])) - golden["logits"]).max())
