"""The LiteRT (TensorFlow Lite) file of a network: one signature for each size of picture, which share the weights.

LiteRT lays out its memory, and its quick kernels, for one size. So a file is made for a few: a signature "768x512"
takes "image" (1, 768, 512, 3) uint8 and gives what the network does. Weights are in the file once, but for "static".
Of a spotter "locate" is the signature that takes a page, and "read_96" that which reads words in views of 96 columns.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo import alike
from zoo.files import replacing
from zoo.runtime import check_batch

Size = tuple[int, int]
Call = Callable[[Any], Mapping[str, np.ndarray]]
METHODS = ("float", "dynamic", "static")
LOCATE, READ = "locate", "read_"  # signatures of a spotter
WORDS = 16  # that it reads at once
LOOPS = {"While", "StatelessWhile"}
ALIKE = 2e-3  # of the largest value: the most by which a file of plain numbers may differ from its network


class LitertError(RuntimeError):
    """A file that is not written, since LiteRT cannot run the network, or not as it is; the message says why."""


def write(
    network: keras.Model,
    path: str | os.PathLike,
    sizes: Iterable[Size],
    method: str = "float",
    batches: Sequence[np.ndarray] = (),
) -> None:
    """Writes the file, whole or not at all.

    Args:
        network: from an image (B, H, W, 3) uint8 to named outputs: see `zoo.runtime.inference`.
        path: of the file.
        sizes: (height, width) of its signatures, pixels.
        method: "float"; "dynamic", weights of eight bits, and what flows into products by the range of each picture;
            "static", all in eight bits, by the ranges of some pictures.
        batches: those pictures, (B, H, W, 3) uint8 each, for "static".

    Raises:
        ValueError: no such method; "static" without pictures; or of a network with loops, as recurrent layers are.
            Or Keras runs on another framework.
        LitertError: LiteRT lacks what the network asks for, or a plain file answers otherwise than the network.
        OSError: the file, or the folder for temporary files, cannot be written.
    """
    if method not in METHODS:
        raise ValueError(f"method={method}: there are {', '.join(METHODS)}")
    if method == "static" and not batches:
        raise ValueError("method=static takes the ranges of values from pictures: give some")
    sizes = sorted(set(sizes))
    functions = {name_of(size): _frozen(network, {"image": _picture(size)}) for size in sizes}
    content = _converted(network.name, functions, method, lambda: _shown(batches, sizes))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        if method == "float":
            _compare(network, temporary, sizes[0])


def write_parts(
    locate: keras.Model,
    read: keras.Model,
    path: str | os.PathLike,
    size: Size,
    widths: Iterable[int],
    method: str = "float",
) -> None:
    """Writes the file of a spotter's two parts, which `zoo.runtime.parts` gives, whole or not at all.

    Args:
        locate: from a page (1, H, W, 3) uint8 to maps and features.
        read: from views of words to "text".
        path: of the file.
        size: (height, width) of pages, pixels.
        widths: of words, as `zoo.reading.Spotter` takes them.
        method: "float" or "dynamic", as of `write`.

    Raises:
        ValueError: no such method; or "static", since what reads has loops. Or Keras runs on another framework.
        LitertError: LiteRT lacks what the network asks for.
    """
    if method not in METHODS:
        raise ValueError(f"method={method}: there are {', '.join(METHODS)}")
    functions = {LOCATE: _frozen(locate, {"image": _picture(size)})}
    high = read.input["strips"].shape[1]
    for width in sorted(set(widths)):
        shapes = {name: (x.shape[1], 2 * width * x.shape[1] // high, x.shape[3]) for name, x in read.input.items()}
        functions[f"{READ}{width}"] = _frozen(read, {n: ((WORDS, *shape), tf.float32) for n, shape in shapes.items()})
    content = _converted(locate.name, functions, method, lambda: ())
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _converted(
    name: str, functions: Mapping[str, Any], method: str, shown: Callable[[], Iterable[tuple[str, dict]]]
) -> bytes:
    """The content of a file whose signatures are these functions."""
    if method == "static" and any(_loops(function) for function in functions.values()):
        raise ValueError(f"{name} has recurrent layers, for which LiteRT has no static ranges: method=dynamic")
    module = tf.Module()
    module.functions = dict(functions)  # kept alive while it is saved
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is to become a package of its own
        try:
            tf.saved_model.save(module, folder, signatures=functions)
        except tf.errors.OpError as error:  # TensorFlow's files know no OSError
            raise OSError(f"{folder} cannot be written to: {error.message}; TMPDIR names another place") from error
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))
        if method != "float":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if method == "static":
            converter.representative_dataset = shown
        try:
            return converter.convert()
        except Exception as error:  # the converter's own kinds are not public
            raise _unable(name, error) from error


def _unable(name: str, error: Exception) -> LitertError:
    told = str(error).strip() or type(error).__name__
    return LitertError(f"LiteRT has no way to run {name}: {told.splitlines()[0]}")


def run(path: str | os.PathLike, threads: int = 1) -> Call:
    """The `run` of a file of `write`, from a batch (B, H, W, 3) uint8 to named outputs; one picture at a time.

    Pictures lie at the top left of those of the nearest size that holds them; of maps their part is given.

    Raises:
        ValueError: when called: the pictures are larger than any of the file's sizes.
    """
    runners = {size_of(name): runner for name, runner in _opened(path, threads).items()}

    def one(picture: np.ndarray) -> dict[str, np.ndarray]:
        inner = picture.shape[:2]
        size = holding(inner, runners)
        outputs = runners[size](image=_laid(picture, size))
        return {key: _part(np.array(value), inner, size) for key, value in outputs.items()}

    def call(batch: Any) -> dict[str, np.ndarray]:
        check_batch(batch)
        rows = [one(picture) for picture in batch]
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}

    return call


def run_parts(path: str | os.PathLike, threads: int = 1) -> tuple[Call, Call]:
    """The calls of a file of `write_parts`, as `zoo.runtime.connect_parts` gives them, for pages of its one size.

    Any number of words is read, so many at a time as the file takes. The first call raises ValueError for pages of
    another size: a reader is told that of the file, as "size" and "multiple", and not to look closer, by small=0.
    """
    runners = _opened(path, threads)
    (taken,) = runners[LOCATE].get_input_details().values()

    def locate(batch: Any) -> dict[str, np.ndarray]:
        if tuple(np.shape(batch)) != (shape := tuple(map(int, taken["shape"]))):
            raise ValueError(
                f"{path} takes pages of {shape[1]} by {shape[2]}, not {np.shape(batch)}; read with "
                f"size={shape[1:3]}, multiple={shape[1]}, small=0"
            )
        return {key: np.array(value) for key, value in runners[LOCATE](image=np.asarray(batch)).items()}

    def read(given: Any) -> dict[str, np.ndarray]:
        count, _, width, _ = given["strips"].shape
        runner, found = runners[f"{READ}{width // 2}"], []
        for start in range(0, count, WORDS):
            part = {name: _words(given[name][start : start + WORDS]) for name in runner.get_input_details()}
            found.append(np.array(runner(**part)["text"])[: count - start])
        return {"text": np.concatenate(found)}

    return locate, read


def _words(views: np.ndarray) -> np.ndarray:
    """`WORDS` views; after the last there are zeros."""
    return np.concatenate([views, np.zeros((WORDS - len(views), *views.shape[1:]), views.dtype)])


def _opened(path: str | os.PathLike, threads: int) -> dict[str, Any]:
    """What runs each signature of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is to become a package of its own
        interpreter = tf.lite.Interpreter(os.fspath(path), num_threads=threads)
    return {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}


def name_of(size: Size) -> str:
    """(768, 512) → "768x512"."""
    return "x".join(map(str, size))


def size_of(name: str) -> Size:
    """ "768x512" → (768, 512)."""
    height, width = map(int, name.split("x"))
    return height, width


def holding(inner: Size, sizes: Iterable[Size]) -> Size:
    """The smallest of the sizes that holds a picture of another.

    Raises:
        ValueError: none does.
    """
    found = [size for size in sizes if _holds(size, inner)]
    if not found:
        raise ValueError(f"a picture of {name_of(inner)} pixels; this file takes {', '.join(map(name_of, sizes))}")
    return min(found, key=lambda size: size[0] * size[1])


def _holds(size: Size, inner: Size) -> bool:
    return size[0] >= inner[0] and size[1] >= inner[1]


def _laid(picture: np.ndarray, size: Size) -> np.ndarray:
    """(1, *size, 3) uint8: the picture at the top left, zeros below and on the right."""
    canvas = np.zeros((1, *size, 3), np.uint8)
    canvas[0, : picture.shape[0], : picture.shape[1]] = picture
    return canvas


def _part(value: np.ndarray, inner: Size, size: Size) -> np.ndarray:
    """Of a map (1, h, w, C) of a picture of a size the part that shows the inner one; all else as it is."""
    if value.ndim != 4 or inner == size:
        return value
    sides = zip(inner, value.shape[1:3], size, strict=True)
    height, width = (-(-side * total // whole) for side, total, whole in sides)
    return value[:, :height, :width]


def _picture(size: Size) -> tuple[tuple[int, ...], Any]:
    return (1, *size, 3), tf.uint8


def _frozen(network: keras.Model, inputs: Mapping[str, tuple[tuple[int, ...], Any]]) -> Any:
    """The concrete function of a network for inputs of shapes and types; its weights are constants, in loops, too."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"LiteRT files are made of TensorFlow's graphs: KERAS_BACKEND=tensorflow, not {keras.backend.backend()}"
        )
    kept = [variable.numpy() for variable in network.trainable_variables]
    others = [variable.numpy() for variable in network.non_trainable_variables]
    told = isinstance(network.input, dict)

    def function(**given):
        constants = [[tf.constant(value) for value in values] for values in (kept, others)]
        return network.stateless_call(*constants, given if told else given["image"], training=False)[0]

    specs = {name: tf.TensorSpec(shape, kind, name=name) for name, (shape, kind) in inputs.items()}
    return tf.function(function).get_concrete_function(**specs)


def _loops(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return any(node.op in LOOPS for node in nodes)


def _shown(batches: Sequence[np.ndarray], sizes: Sequence[Size]) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Each picture under the signature that takes it; those that no size holds are left out."""
    for picture in (picture for batch in batches for picture in batch):
        inner = picture.shape[:2]
        if any(_holds(size, inner) for size in sizes):
            size = holding(inner, sizes)
            yield name_of(size), {"image": _laid(picture, size)}


def _compare(network: keras.Model, path: Path, size: Size) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, *size, 3), "uint8")
    try:
        found = run(path)(picture)
    except RuntimeError as error:  # of what the converter lets pass
        raise _unable(network.name, error) from error
    expected = network.predict_on_batch(picture)
    found = alike.paired(network, found, expected)
    for name, value in expected.items():
        difference = float(np.abs(found[name] - value).max(initial=0))
        if not difference <= ALIKE * max(1.0, float(np.abs(value).max(initial=0))):
            raise LitertError(f"{network.name}: {name} of its LiteRT file differs by {difference:.3g}")
