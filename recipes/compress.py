"""Smaller models: channels cut out, weights held at zero, numbers of eight bits; and a guard of what that costs.

    zoo compress MODEL --data FOLDER --output FILE.onnx --most-loss 0.01      eight bits, for onnxruntime
    zoo compress MODEL --data FOLDER --output DIR                             the same as a model that zoo read takes
    zoo compress MODEL --data FOLDER --output FILE.tflite                     eight bits, for LiteRT
    zoo compress MODEL --prune 0.3 --output DIR                               fewer channels: a model to go on from
    zoo train RECIPE --run RUN --set model=DIR start=DIR                      it learns again what it lost
    zoo train RECIPE --run RUN --start MODEL --set sparsity=0.7               most weights become 0 while it learns
    zoo train RECIPE --run RUN --start MODEL --set bits=8                     it learns to bear eight bits

A score is that of held-out pictures of the data's `train` split, read as a user's are. Where it falls by more than is
allowed, nothing is written.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import zoo
from recipes import optimizer, rounding, train
from recipes.data import datasets
from recipes.recipe import Recipe
from zoo import decoding, narrow, registry, runtime, weights
from zoo.files import check_writable, replacing
from zoo.reading import Detector, Recognizer, Spotter, spotter_of
from zoo.registry import Card

METHODS = ("static", "dynamic")
MULTIPLIED = ("MatMul", "Gemm", "LSTM")  # by "dynamic"; convolutions of this kind are slower than plain ones
LOOKS = ("size", "multiple", "small")  # what a spotter is shown of a page
WHOLE = 1024  # pixels of the sides of pages for which a spotter's file is made
TASKS = {
    "recognition": "recipes.recognition.task", "detection": "recipes.detection.task",
    "spotting": "recipes.spotting.task",
}  # fmt: skip


class CompressionError(RuntimeError):
    """A model that is not written, since it would read too badly; the message says how badly."""


# ---------------------------------------------------------------- scores


class Exam:
    """Held-out pictures of a data set's `train` split, and the score of whatever runs a model on them.

    Args:
        model: name of a card, or a run's folder.
        data: folder of a data set.
        limit: pictures at most, pages or words.
        shown: pages of the rest of the split that calibrate, at most; of words eight times as many.
        closer: whether a detector looks at small print once more, in pictures of sizes of their own.

    Raises:
        ValueError: the split holds none that are held out, or the model is of another task.
    """

    def __init__(self, model: str, data: Path, limit: int = 200, shown: int = 8, closer: bool = True):
        self.card = registry.card(model)
        if self.card.task not in TASKS:
            raise ValueError(f"{model} is for {self.card.task}; there are scores for {', '.join(TASKS)}")
        self.reading = {"size": (1024, 1024), "multiple": 256, **self.card.reading}
        if not closer:
            self.reading["small"] = 0.0
            if self.card.task == "spotting":  # one shape of pages, since features are as large
                self.reading |= {"size": (WHOLE, WHOLE), "multiple": WHOLE}
        few = 8 * shown if self.card.task == "recognition" else shown  # words say less than pages
        how = Recipe(model=model, task=TASKS[self.card.task], real=(str(data.resolve()),), few=few, validation=limit)
        self.task = train.make_task(how, self.card, None)
        held = datasets.spread([sample for samples in self.task.held.values() for sample in samples], limit)
        kept = [sample for samples in self.task.real.values() for sample in samples]
        if self.card.task != "recognition":
            held, kept = self.task.samples(data.name, held), self.task.samples(data.name, kept)
        self.samples, self.others = held, kept
        if not self.samples:
            raise ValueError(f"{data}: nothing of its `train` split is held out for a score; give a larger data set")

    def reader(self, run: Any) -> Detector | Recognizer | Spotter:
        """What reads with a model that runs anywhere; of a spotter with both of its calls."""
        if self.card.task == "spotting":
            return spotter_of(self.card, run, **{key: self.reading[key] for key in LOOKS if key in self.reading})
        if self.card.task == "detection":
            return Detector(run, **self.reading)
        task = self.task
        return Recognizer(run, task.charset, height=task.height, widths=task.widths, decoding=task.decoding)

    def score(self, run: Any) -> float:
        """The share of words that are read right; of pages the harmonic mean of precision and recall, of boxes by a
        detector, of words by a spotter."""
        right, found, true = self.task.counts(self.reader(run), self.samples).sum(0)
        return float(2 * right / max(1, found + true))

    def batches(self, run: runtime.Run) -> list[np.ndarray]:
        """What a model is given when it reads pictures that are not in the exam."""
        seen: list[np.ndarray] = []

        def recorded(batch: np.ndarray):
            seen.append(batch)
            return run(batch)

        self.task.counts(self.reader(recorded), self.others)
        return seen


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What compression came to: bytes and scores, before and after."""

    path: Path
    sizes: tuple[int, int]
    scores: tuple[float, float]


def guard(scores: tuple[float, float], most_loss: float, what: str) -> None:
    """Nothing, where the score fell by no more than is allowed.

    Raises:
        CompressionError: it fell by more.
    """
    before, after = scores
    if not before - after <= most_loss:
        raise CompressionError(
            f"{what} scores {after:.4f} and the model {before:.4f}: {before - after:.4f} less, and {most_loss:g} are "
            "allowed; nothing was written. What would do: more pictures to calibrate by, another method, a model "
            "trained with --set bits=8, or a larger --most-loss"
        )


# ---------------------------------------------------------------- eight bits, after training


def to_onnx(
    model: str,
    data: Path,
    output: Path,
    *,
    method: str = "",
    most_loss: float = 0.01,
    limit: int = 200,
    shown: int = 8,
    quantize: Callable[..., None] | None = None,
) -> Outcome:
    """The ONNX file of a model in eight bits, which `zoo.runtime.onnx_run` runs; written if it reads well enough.

    Args:
        model: name of a card, or a run's folder.
        data: folder of a data set, whose held-out pictures decide.
        output: the file; or a folder, which is then a model that reads by the file, and by Keras as it did.
        method: "static": weights and what flows between layers are whole numbers, whose ranges are those of some
            pictures; "dynamic": weights, and what flows into matrix products, by the ranges of each picture. By
            default what docs/compression.md found better: "dynamic" of recognizers, "static" of detectors.
        most_loss: by which the score may fall.
        limit: pictures of the exam at most.
        shown: pages whose ranges are taken, at most; of words eight times as many.
        quantize: from (float file, file, batches, method) to nothing; by default onnxruntime's own.

    Raises:
        CompressionError: it would fall by more.
        ValueError: there is no such method.
        FileExistsError: the folder holds a model already.
        OSError: it cannot be written.
    """
    if not method:
        method = "dynamic" if registry.card(model).task == "recognition" else "static"
    if method not in METHODS:
        raise ValueError(f"method={method}: there are {', '.join(METHODS)}")
    if registry.card(model).task == "spotting":
        raise ValueError(
            f"{model} is read by two networks: there is no ONNX file of it; --output FILE.tflite holds both"
        )
    if (output / train.CARD).exists():
        raise FileExistsError(f"{output / train.CARD} exists; take an empty folder for --output")
    file = output if output.suffix else output / f"{output.resolve().name}.onnx"
    check_writable(file)
    exam = Exam(model, data, limit, shown)
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        runtime.export(registry.load(model), plain, decoding.needed(exam.card.reading))
        run = runtime.onnx_run(plain)
        (quantize or quantized)(plain, small, exam.batches(run) if method == "static" else [], method)
        scores = exam.score(run), exam.score(runtime.onnx_run(small))
        done = _passed(exam, file, (plain, small), scores, most_loss, method)
    return done if output.suffix else _as_model(exam.card, done, method)


def _as_model(card: Card, done: Outcome, method: str) -> Outcome:
    """Writes what makes a model of a folder that holds its ONNX file: its weights, and a card that names both."""
    source, folder = weights.obtain(card), done.path.parent
    with replacing(folder / train.WEIGHTS) as temporary:
        shutil.copyfile(source, temporary)
    facts = {key: value for key, value in card.weights.items() if key != "url"}
    facts |= {
        "file": train.WEIGHTS,
        "onnx": weights.sha256(done.path),
        "recipe": f"zoo compress {card.name} ({method})",
    }
    registry.write_card(dataclasses.replace(card, weights=facts, results={}), folder / train.CARD)
    return dataclasses.replace(done, path=folder)


def to_litert(
    model: str,
    data: Path,
    output: Path,
    *,
    method: str = "dynamic",
    most_loss: float = 0.01,
    limit: int = 200,
    shown: int = 8,
) -> Outcome:
    """The LiteRT file of a model in eight bits, which `zoo.litert_file.run` runs; written if it reads well enough.

    It has a signature for each width of a recognizer's strips, or each shape of a detector's pages by a third of their
    longer side; what a detector looks at once more, from closer, is not among these. A spotter's takes square pages.

    Args:
        model, data, output, most_loss, limit, shown: as of `to_onnx`.
        method: "dynamic" or "static", as of `zoo.litert_file.write`.

    Raises:
        CompressionError: the score would fall by more.
        ValueError: there is no such method, or not for this model.
        zoo.litert_file.LitertError: LiteRT lacks what the network asks for.
    """
    from zoo import litert_file

    if method not in METHODS:
        raise ValueError(f"method={method}: there are {', '.join(METHODS)}")
    check_writable(output)
    exam = Exam(model, data, limit, shown, closer=False)
    network, opened = registry.load(model), litert_file.run  # type: Any, Any
    if exam.card.task == "spotting":
        divided, size, widths = runtime.parts(exam.card, network), exam.reading["size"], exam.card.reading["widths"]
        opened = litert_file.run_parts

        def write(path: Path, how: str, batches: Sequence[np.ndarray]) -> None:
            litert_file.write_parts(divided.locate, divided.read, path, tuple(size), widths, how)
    else:
        needed = runtime.inference(network, decoding.needed(exam.card.reading))

        def write(path: Path, how: str, batches: Sequence[np.ndarray]) -> None:
            litert_file.write(needed, path, shapes(exam.card), how, batches)

    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.tflite", Path(folder) / "small.tflite"
        write(plain, "float", [])
        run = opened(plain, runtime.cores())
        write(small, method, exam.batches(run) if method == "static" and exam.card.task != "spotting" else [])
        scores = exam.score(run), exam.score(opened(small, runtime.cores()))
        return _passed(exam, output, (plain, small), scores, most_loss, method)


def shapes(card: Card) -> list[tuple[int, int]]:
    """(height, width) of the pictures that a model's file of fixed sizes takes, in pixels."""
    if card.task == "recognition":
        return [(int(card.reading["height"]), int(width)) for width in card.reading["widths"]]
    longer = max(map(int, card.reading.get("size", (1024, 1024))))
    shorter = sorted({-(-longer * part // 3 // 32) * 32 for part in (1, 2, 3)})
    return [(longer, side) for side in shorter] + [(side, longer) for side in shorter[:-1]]


def _passed(
    exam: Exam, output: Path, files: tuple[Path, Path], scores: tuple[float, float], most_loss: float, method: str
) -> Outcome:
    """Writes the smaller of two files, if the guard lets it pass."""
    guard(scores, most_loss, f"{exam.card.name} in eight bits ({method})")
    plain, small = files
    with replacing(output) as temporary:
        temporary.write_bytes(small.read_bytes())
    return Outcome(output, (plain.stat().st_size, small.stat().st_size), scores)


def quantized(plain: Path, small: Path, batches: Sequence[np.ndarray], method: str) -> None:
    """Writes the eight-bit file of an ONNX file: weights by channel, what flows by tensor.

    Weights are of seven bits (`rounding.WEIGHTS`), and by "static" what is nearest to the picture is as it was.
    """
    import onnx
    from onnxruntime import InferenceSession, quantization

    from zoo.onnx_file import rounded

    if method == "dynamic":
        onnx.save(rounded(plain, MULTIPLIED), small)
        return

    class Batches(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            session = InferenceSession(str(plain), providers=["CPUExecutionProvider"])
            self.name, self.left = session.get_inputs()[0].name, iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {self.name: batch}

    operations = ["Conv", "ConvTranspose", "MatMul", "Gemm"]
    nodes = [node.name for node in onnx.load(plain).graph.node if node.op_type in operations]
    quantization.quantize_static(
        plain, small, Batches(), quant_format=quantization.QuantFormat.QDQ, per_channel=True, reduce_range=True,
        op_types_to_quantize=operations, nodes_to_exclude=nodes[: rounding.SPARED],
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


# ---------------------------------------------------------------- fewer channels


def prune(model: str, share: float, folder: Path, multiple: int = 8) -> Path:
    """The folder of a model with fewer channels, to go on from: `zoo.load(folder)` takes it.

    Args:
        model: name of a card, or a run's folder.
        share: of the channels that can go, those of each layer that matter least.
        folder: to be written.
        multiple: what is left of a layer's channels is a multiple of this.

    Raises:
        ValueError: the share is not in (0, 1), or no channel can go, or the model is a spotter.
        FileExistsError: the folder holds a model already.
        OSError: it cannot be written.
    """
    if not 0 < share < 1:
        raise ValueError(f"prune={share}: the share of channels is between 0 and 1")
    path = folder / train.CARD
    if path.exists():
        raise FileExistsError(f"{path} exists; take an empty folder for --output")
    check_writable(path)
    card = registry.card(model)
    if card.task == "spotting":
        raise ValueError(
            f"{model} is read by two networks, into which one with fewer channels is not divided; "
            "--output FILE.tflite has eight bits"
        )
    network = registry.load(model)
    smaller, filters = narrow.cut(network, narrow.least(network, share, multiple))
    if not filters:
        raise ValueError(f"prune={share}: no channel of {card.name} can go; give a larger share")
    weights.save(smaller, folder / train.WEIGHTS, dtype="float32")
    registry.write_card(_card(card, smaller, filters, folder / train.WEIGHTS), path)
    return folder


def _card(card: Card, network: keras.Model, filters: dict[str, int], file: Path) -> Card:
    """The card of a model that was cut; of one that had been cut before, too."""
    options = {"of": card.builder, **card.options, "filters": {**card.options.get("filters", {}), **filters}}
    facts = {
        "file": file.name,
        "sha256": weights.sha256(file),
        "size": file.stat().st_size,
        "dtype": "float32",
        "recipe": f"zoo compress {card.name} --prune, not trained since",
        "version": zoo.__version__,
    }
    return dataclasses.replace(
        card, builder="zoo.narrow:narrowed", options={**options, "of": card.options.get("of", card.builder)},
        weights=facts, results={}, published={}, params=optimizer.parameters(network.trainable_variables), gflops=0.0,
    )  # fmt: skip
