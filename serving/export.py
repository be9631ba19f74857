"""Networks as SavedModels that TensorFlow Serving can serve.

    name ─► zoo.load ─► what reading needs ─► signatures ─► NAME/.tmp-…/ ─► gate ─► NAME/VERSION/

    saved_models/NAME/VERSION/
      saved_model.pb, variables/                      "serving_default": encoded images (B,) string → logits
                                                      "pixels": (B, H, W, 3) uint8 → logits
      assets.extra/tf_serving_warmup_requests         run by a server before it serves the version
      assets.extra/manifest.json                      checksums, versions of the software, the card

The answer holds each output that reading needs by its name, of most networks "logits" alone. "serving_default" prepares
a picture as the reading path does: see `serving.pictures`. Of a page it also returns "scale" (B, 2): a point (x, y) of
the prepared picture, times this, is one of the page.

Two traps of Keras 3 are avoided. A SavedModel that tracks Keras variables loads in the C++ server and then fails every
request, and Keras' own export writes all weights twice; so a plain `tf.Module` tracks the TensorFlow variables. Every
export is loaded as the C++ server loads it and compared with the network before it is published under its number, by a
rename: a server that polls the folder never sees half a version.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from serving import graph, graph_language, graph_spotting, pictures, wire
from serving.models import VERSIONS, version_numbers
from serving.servable import DEFAULT_SIGNATURE, WARMUP, Servable, StatusError
from zoo import alike, decoding, registry, runtime
from zoo.charset import Charset
from zoo.files import check_writable, sha256
from zoo.language import WEIGHT
from zoo.layers import multiple
from zoo.reading import DETECTOR, RECOGNIZER, spelt

PIXELS = "pixels"  # the signature of images that are already prepared
MANIFEST = "assets.extra/manifest.json"
DEFAULTS: dict[str, dict[str, Any]] = {
    **{task: {"size": [1024, 1024]} for task in pictures.PAGES},
    "recognition": {"height": 32, "widths": [64, 128, 256, 512]},
    "classification": {"size": [32, 32], "picture": "character"},
}
HIDDEN = ".tmp-"  # what a folder's name begins with until it is published: no number, so no server takes it for one
OLD = 24 * 3600  # seconds from which on nobody writes into such a folder any more
TOLERANCE = 1e-3  # of the largest logit: the graph may sum in another order than the network
MULTIPLE = 32  # of a page's height and width, where the network leaves them free


class ExportError(RuntimeError):
    """An export that was refused; nothing of it is left. The text says why."""


@dataclass(frozen=True)
class Plan:
    """A network to be exported, and how its pictures are prepared.

    Attributes:
        name: of the model, and of its folder.
        task: a key of `DEFAULTS`.
        network: from (B, H, W, 3) pixels to the outputs that reading needs, of most networks {"logits"} alone.
        reading: "height" and "widths" of a recognizer, "size" of others, in pixels; "picture" of a classifier.
        card: what the manifest says of the model.
    """

    name: str
    task: str
    network: keras.Model
    reading: Mapping[str, Any]
    card: Mapping[str, Any] = field(default_factory=dict)


def export(
    network: str | os.PathLike | keras.Model,
    folder: str | os.PathLike = "saved_models",
    *,
    version: int | None = None,
    weights: str | os.PathLike | None = "default",
    reading: Mapping[str, Any] | None = None,
) -> Path:
    """The folder of the new version, folder/NAME/VERSION.

    Args:
        network: a name of the zoo, the folder of a run, or a network; its name is then that of the model.
        folder: of all models.
        version: None counts up from the highest that is there, beginning with 1.
        weights: of a named network, as `zoo.load` takes them.
        reading: how pictures are prepared, over what the card says; see `Plan`.

    Raises:
        ExportError: the version exists, or what was written does not answer like the network when it is served.
        zoo.registry.UnknownName, zoo.weights.WeightsError: from loading.
        OSError: the folder cannot be written.
    """
    _check(Path(folder) / (network if isinstance(network, keras.Model) else registry.card(network)).name, version)
    if not isinstance(network, keras.Model) and registry.card(network).task == "spotting":
        spotting = spotting_of(network, weights, reading)
        return make_spotter(spotting, _cards(network), folder, registry.card(network).name, version)
    plan = plan_of(network, weights, reading)

    def fill(temporary: Path) -> None:
        write(plan, temporary)
        facts = {"name": plan.name, "task": plan.task, "reading": plan.reading, "card": plan.card}
        _write_manifest(temporary, facts, plan.network.variables, verify(temporary, plan))

    return _make(Path(folder) / plan.name, version, fill)


def _check(home: Path, version: int | None) -> None:
    """Passes if this version of a model could be written to its folder, before it is loaded."""
    if version is not None and version >= VERSIONS:
        raise ExportError(f"version {version}: servers take numbers below {VERSIONS}")
    if version is not None and (home / str(version)).exists():
        raise ExportError(f"{home / str(version)} exists; give another version, or none to count up")
    check_writable(home / HIDDEN)


def _make(home: Path, version: int | None, fill: Callable[[Path], None]) -> Path:
    """The folder of a model's new version, which `fill` has filled."""
    _check(home, version)
    _sweep(home)
    temporary = home / f"{HIDDEN}{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        return _publish(temporary, home, version)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # it has versions, as it should
            home.rmdir()


def _sweep(home: Path) -> None:
    """Removes what exports that were killed left in a model's folder; others may be writing there now."""
    for left in home.glob(f"{HIDDEN}*"):
        with suppress(OSError):  # of another that sweeps
            if time.time() - left.stat().st_mtime > OLD:
                shutil.rmtree(left, ignore_errors=True)


def plan_of(network: Any, weights: Any = "default", reading: Mapping[str, Any] | None = None) -> Plan:
    """What `export` writes for these arguments.

    Raises:
        ExportError: it cannot be exported.
    """
    _need_tensorflow()
    card = None
    if not isinstance(network, keras.Model):
        card = registry.card(network)
        network = registry.load(network, weights)
    outputs = network.output if isinstance(network.output, dict) else {"logits": network.output}
    task = card.task if card else _task(network.name, outputs["logits"].shape)
    chosen = {**DEFAULTS[task], **(card.reading if card else {}), **(reading or {})}
    name = card.name if card else network.name
    known = asdict(card) if card else {}
    known.pop("folder", None)  # says something of this machine, not of the model
    kept = {output: outputs[output] for output in decoding.needed(chosen)}
    plan = Plan(name, task, keras.Model(network.inputs, kept, name=network.name), chosen, known)
    _check_sizes(plan)
    return plan


def _task(name: str, shape: tuple[int | None, ...]) -> str:
    """What a network without a card is for, as the shape of its logits tells."""
    kinds = {4: "detection", 3: "recognition"}
    if len(shape) not in kinds:
        hint = "give the name of a card, or the folder of a run"
        raise ExportError(f"what {name} is for cannot be told from logits of shape {shape}; {hint}")
    return kinds[len(shape)]


def _check_sizes(plan: Plan) -> None:
    """Pictures are to be prepared as the network takes them."""
    fixed = tuple(plan.network.inputs[0].shape[1:3])
    for size in _sizes(plan):
        if any(side and side != given for side, given in zip(fixed, size, strict=True)):
            raise ExportError(f"{plan.name} takes pictures of {fixed}, and they would be prepared as {size}")
        if plan.task in pictures.PAGES and None in fixed and any(side % MULTIPLE for side in size):
            raise ExportError(f"the size of {plan.name} is {size}; both sides must be multiples of {MULTIPLE}")


def _sizes(plan: Plan) -> list[tuple[int, int]]:
    """Height and width of each shape in which pictures are prepared."""
    if plan.task != "recognition":
        return [(plan.reading["size"][0], plan.reading["size"][1])]
    return [(plan.reading["height"], width) for width in plan.reading["widths"]]


def _need_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"an export needs KERAS_BACKEND=tensorflow, not {keras.backend.backend()}")


# --- the whole reading path ------------------------------------------------------------------------------------------


def export_ocr(
    detection: str | os.PathLike = DETECTOR,
    recognition: str | os.PathLike = RECOGNIZER,
    folder: str | os.PathLike = "saved_models",
    *,
    name: str = "ocr",
    version: int | None = None,
    spelling: str | os.PathLike | Sequence[str] | None = None,
) -> Path:
    """The folder of a new version of a model that reads pages: see `serving.graph`.

    Args:
        detection, recognition: names of the zoo, or folders of runs.
        folder: of all models.
        name: of the model.
        version: None counts up from the highest that is there, beginning with 1.
        spelling: a language, or several, of which the one that a page is in is asked where the recognizer is in doubt,
            see `zoo.language`; "" is none. By default what the recognizer's card says.

    Raises:
        ExportError: the version exists, the networks cannot be put together so, or what was written answers otherwise
            when it is served.
        FileNotFoundError, ValueError: there is no such language.
        OSError: the folder cannot be written.
    """
    _check(Path(folder) / name, version)
    reading = reading_of(detection, recognition, spelling)
    return make_ocr(reading, _cards(detection, recognition), folder, name, version)


def make_ocr(
    reading: graph.Reading, cards: Mapping[str, Any], folder: str | os.PathLike, name: str, version: int | None = None
) -> Path:
    """As `export_ocr`, of networks at hand."""
    variables = [*reading.detector.variables, *reading.recognizer.variables, *_of(reading.table)]
    values = {"detection": dict(reading.detection), "recognition": dict(reading.recognition)}
    examples = {"recognize": [_png(reading.height, 3 * reading.height)]}
    return _make_reader(
        graph.signatures(reading), variables, reading.size, examples, values, cards, folder, name, version
    )


def make_spotter(
    spotting: graph_spotting.Spotting,
    card: Mapping[str, Any],
    folder: str | os.PathLike,
    name: str,
    version: int | None = None,
) -> Path:
    """The folder of a new version of a spotter that reads pages: see `serving.graph_spotting`."""
    variables = {id(v): v for network in (spotting.locator, spotting.reader) for v in network.variables}
    signatures = graph_spotting.signatures(spotting)
    return _make_reader(
        signatures,
        [*variables.values(), *_of(spotting.table)],
        spotting.size,
        {},
        spotting.reading,
        card,
        folder,
        name,
        version,
    )


def spotting_of(
    name: str | os.PathLike, weights: Any = "default", reading: Mapping[str, Any] | None = None
) -> graph_spotting.Spotting:
    """The network of a spotter's card, and how pages are read by it: by `reading` over what the card says.

    Raises:
        ExportError: Keras runs on another framework.
        FileNotFoundError, ValueError: there is no such language.
    """
    _need_tensorflow()
    card = registry.card(name)
    values = {**DEFAULTS["detection"], **card.reading, **(reading or {})}
    charset = Charset(card.options["charset"])
    table = _table(values, charset)
    divided = runtime.parts(card, registry.load(name, weights))
    return graph_spotting.Spotting(divided.locate, divided.view, divided.read, values, charset, table=table)


def _table(values: Mapping[str, Any], charset: Charset) -> graph_language.Table | None:
    """The language that a card's values for reading name."""
    spelling = spelt(values.get("spelling", ""), charset, values.get("spelling_weight", WEIGHT))
    return graph_language.Table(spelling) if spelling else None


def _of(table: graph_language.Table | None) -> list[Any]:
    return table.variables if table else []


def _make_reader(
    signatures: Mapping[str, Callable],
    variables: Sequence[Any],
    size: tuple[int, int],
    examples: Mapping[str, list[bytes]],
    values: Mapping[str, Any],
    cards: Mapping[str, Any],
    folder: str | os.PathLike,
    name: str,
    version: int | None,
) -> Path:
    """The folder of a new version of a model that reads pages by functions of encoded pictures."""
    functions = {
        key: tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        for key, function in signatures.items()
    }
    functions[DEFAULT_SIGNATURE] = functions["read"]
    page = _png(size[0] // 2, size[1])
    examples = {"read": [page], "detect": [page], **examples}
    requests = [_request(name, key, {"image_bytes": pictures}) for key, pictures in examples.items()]

    def fill(temporary: Path) -> None:
        _save(variables, functions, requests, temporary)
        signatures = _verify_ocr(temporary, name, functions, examples)
        facts = {"name": name, "task": "reading", "reading": dict(values), "card": dict(cards)}
        _write_manifest(temporary, facts, variables, signatures)

    return _make(Path(folder) / name, version, fill)


def reading_of(
    detection: str | os.PathLike,
    recognition: str | os.PathLike,
    spelling: str | os.PathLike | Sequence[str] | None = None,
) -> graph.Reading:
    """The networks of two cards, and how pages are read by them, spelt as `export_ocr` says.

    Raises:
        ExportError: a graph cannot do what a card asks for.
    """
    _need_tensorflow()
    chosen = {"detection": registry.card(detection), "recognition": registry.card(recognition)}
    for task, card in chosen.items():
        if card.task != task:
            raise ExportError(f"{card.name} is for {card.task}; one for {task} is needed: zoo list --task {task}")
    decode = chosen["detection"].reading.get("decode")
    if decode:
        raise ExportError(
            f"{chosen['detection'].name}: a graph makes boxes of maps of text, not by {decode}; take another detector"
        )
    detector, recognizer = (runtime.inference(registry.load(name)) for name in (detection, recognition))
    found, read = ({**DEFAULTS[task], **chosen[task].reading} for task in ("detection", "recognition"))
    if spelling is not None:
        read["spelling"] = str(spelling) if isinstance(spelling, os.PathLike) else spelling
    charset = Charset(chosen["recognition"].options["charset"])
    return graph.Reading(detector, recognizer, found, read, charset, _table(read, charset))


def _cards(*names: str | os.PathLike) -> dict[str, Any]:
    cards = [asdict(registry.card(name)) for name in names]
    return {card["task"]: {key: value for key, value in card.items() if key != "folder"} for card in cards}


def _verify_ocr(
    folder: Path, name: str, functions: Mapping[str, Any], examples: Mapping[str, list[bytes]]
) -> dict[str, Any]:
    """The signatures of an export that, loaded by the C++ loader, answers as its functions do here.

    Raises:
        ExportError: it does not.
    """
    try:
        served = Servable(folder)
        for signature, pictures in examples.items():
            answer = served.predict(signature, {"image_bytes": wire.encode(pictures)})
            expected = {key: value.numpy() for key, value in functions[signature](tf.constant(pictures)).items()}
            for key in expected:
                _same(f'{name}: "{signature}", {key}', answer[key], expected[key])
    except (tf.errors.OpError, StatusError, ValueError, OSError) as error:
        raise ExportError(f"{name}: the export fails in the C++ server: {error}") from error
    return served.signatures


def _same(what: str, answer: np.ndarray, expected: np.ndarray) -> None:
    if answer.shape != expected.shape:
        raise ExportError(f"{what} has shape {answer.shape} when it is served; here it has {expected.shape}")
    near = np.array_equal(answer, expected) if expected.dtype == object else np.allclose(answer, expected, atol=0.05)
    if not near:
        raise ExportError(f"{what} is another when it is served")


# --- signatures ------------------------------------------------------------------------------------------------------


def write(plan: Plan, folder: Path) -> None:
    """Writes the SavedModel and its warm-up requests into a folder."""
    _save(plan.network.variables, _signatures(plan), _requests(plan), folder)


def _save(variables: Sequence[Any], signatures: Mapping[str, Any], requests: Iterable[Any], folder: Path) -> None:
    module = tf.Module()
    module.tensors = [variable.value for variable in variables]  # never the Keras variables: see above
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        (folder / WARMUP).parent.mkdir()
        with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
            for request in requests:
                log = wire.PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())
    except tf.errors.OpError as error:  # TensorFlow's files know no OSError
        raise ExportError(f"{folder.parent} cannot be written to: {error.message}") from error


def _signatures(plan: Plan) -> dict[str, Any]:
    _, height, width, _ = plan.network.inputs[0].shape
    prepare, shape = preparation(plan), [None, height or plan.reading.get("height"), width, 3]
    network, kind = graph.once(plan.network, shape), plan.network.inputs[0].dtype
    sides = multiple(plan.network)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="image")])
    def pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return network(tf.cast(_of_sides(_some(_of_shape(image)), sides), kind))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def encoded(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared = prepare(_some(image_bytes))
        return {**network(tf.cast(prepared.pop("image"), kind)), **prepared}

    return {DEFAULT_SIGNATURE: encoded, PIXELS: pixels}


def _some(pictures: tf.Tensor) -> tf.Tensor:
    """Pictures; without any, a run ends and says so: operations would tell of shapes within the network."""
    return _given(pictures, tf.shape(pictures)[0] > 0, "a batch of no pictures: give one or more")


def _of_shape(image: tf.Tensor) -> tf.Tensor:
    """Pictures of the shape that a signature has; a run of others ends and says so: servers need not check shapes."""
    wanted = image.shape.as_list()
    names = zip(wanted, ("batch", "height", "width", ""), strict=True)
    would_do = f"({', '.join(str(side or name) for side, name in names)})"
    given = tf.shape(tf.compat.v1.placeholder_with_default(image, None))  # else taken to be what the signature has
    four = tf.concat([given, [0] * 4], 0)[:4]  # whatever the rank
    same = (four == [side or 0 for side in wanted]) | [side is None for side in wanted]
    right = tf.reduce_all(same) & (tf.size(given) == 4)
    return _given(image, right, "pixels of shape", given, f": {would_do} is taken")


def _of_sides(image: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pictures whose sides are multiples of a number; a run of others ends and says so."""
    sides = tf.shape(image)[1:3]
    even = tf.reduce_all((sides > 0) & (sides % multiple == 0))
    return _given(image, even, "an image of", sides, f"pixels has a side that is 0 or no multiple of {multiple}")


def _given(pictures: tf.Tensor, right: tf.Tensor, *told: Any) -> tf.Tensor:
    """The pictures, where they are right; otherwise a run ends and says what is told."""
    with tf.control_dependencies([tf.debugging.Assert(right, told, summarize=8)]):
        return tf.identity(pictures)


def _run(network: keras.Model, image: tf.Tensor) -> dict[str, tf.Tensor]:
    return network(tf.cast(image, network.inputs[0].dtype), training=False)


def preparation(plan: Plan) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The function from encoded images (B,) string to {"image": (B, H, W, 3) uint8}; of pages it adds "scale"."""
    return pictures.preparation(plan.task, plan.reading)


# --- warm-up, gate, manifest, publishing -----------------------------------------------------------------------------


def _requests(plan: Plan) -> Iterator[Any]:
    """Requests that take a server through the shapes it will see."""
    for inputs, signature in _examples(plan):
        yield _request(plan.name, signature, inputs)


def _request(model: str, signature: str, inputs: Mapping[str, Any]) -> Any:
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(wire.encode(value))
    return request


def _examples(plan: Plan) -> Iterator[tuple[dict[str, Any], str]]:
    height, width = _sizes(plan)[0]
    if plan.task in pictures.PAGES:
        batches = [[(height // 2, width)]]  # few: each takes seconds
    else:
        batches = [[(height, 3 * height)], [(2 * height, 3 * height), (height, height)]]
    for size in _sizes(plan):
        yield {"image": _picture(*size)[None]}, PIXELS
    for sizes in batches:
        yield {"image_bytes": [_png(*size) for size in sizes]}, DEFAULT_SIGNATURE


def _png(height: int, width: int) -> bytes:
    grey = _picture(height, width)[..., :1]  # a third of the bytes, which every export holds several times
    return cv2.imencode(".png", grey)[1].tobytes()


def _picture(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: black words on white, in lines of about 32 pixels."""
    picture = np.full((height, width, 3), 255, "uint8")
    for number, bottom in enumerate(range(min(24, height), height + 1, 32)):
        text = f"{number + 1} pcs. 12.50 EUR, total 2026-03-0{number % 10}"
        cv2.putText(picture, text, (4, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2, cv2.LINE_AA)
    return picture


def verify(folder: str | os.PathLike, plan: Plan) -> dict[str, Any]:
    """The signatures of an export that, when it is served, answers like the network.

    It is loaded by the graph loader, as TensorFlow Serving does, and each warm-up request is compared.

    Raises:
        ExportError: it does not load, a request fails, or an answer is another.
    """
    try:
        served = Servable(folder)
    except Exception as error:  # the loader raises many kinds
        raise ExportError(f"{plan.name}: the export does not load in the C++ server: {error}") from error
    prepare = preparation(plan)
    for request in _requests(plan):
        signature = request.model_spec.signature_name
        try:
            answer = served.predict(signature, request.inputs)
        except Exception as error:
            raise ExportError(f'{plan.name}: signature "{signature}" fails in the C++ server: {error}') from error
        inputs = {name: wire.decode(tensor) for name, tensor in request.inputs.items()}
        image = inputs["image"] if signature == PIXELS else prepare(tf.constant(inputs["image_bytes"]))["image"]
        expected = {name: value.numpy() for name, value in _run(plan.network, image).items()}
        answer = alike.paired(plan.network, answer, expected)
        for name, value in expected.items():
            _compare(f'{plan.name}: "{signature}"', name, answer, value)
    return served.signatures


def _compare(what: str, name: str, answer: Mapping[str, np.ndarray], expected: np.ndarray) -> None:
    given = answer.get(name)
    if given is None or given.shape != expected.shape:
        shapes = {name: array.shape for name, array in answer.items()}
        raise ExportError(f"{what} answers {shapes}; the network gives {name} {expected.shape}")
    difference, limit = np.abs(given - expected).max(), TOLERANCE * max(0.01, np.abs(expected).max())
    if not difference <= limit:  # also false for NaN
        raise ExportError(f"{what} differs from the network by {difference:.3g}; at most {limit:.3g} is allowed")


def _write_manifest(
    folder: Path, facts: Mapping[str, Any], variables: Sequence[Any], signatures: Mapping[str, Any]
) -> None:
    manifest = {
        **facts,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "software": {"tensorflow": tf.__version__, "keras": keras.__version__, "python": platform.python_version()},
        "parameters": int(sum(np.prod(variable.shape) for variable in variables)),
        "signatures": {
            name: {"inputs": _describe(signature.inputs), "outputs": _describe(signature.outputs)}
            for name, signature in signatures.items()
            if not name.startswith("__")  # TensorFlow's own
        },
        "sha256": {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n", "utf-8")


def _describe(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Shapes and types by name; None is a free side."""

    def sides(shape: Any) -> list[int | None]:
        return [dim.size if dim.size >= 0 else None for dim in shape.dim]

    return {
        name: {"shape": sides(info.tensor_shape), "dtype": tf.as_dtype(info.dtype).name}
        for name, info in sorted(tensors.items())
    }


def _publish(temporary: Path, home: Path, version: int | None) -> Path:
    """Renames the folder to its number once all of it is on the disk."""
    for path in [*temporary.rglob("*"), temporary]:
        _flush(path)
    while True:
        target = home / str(version if version is not None else max(version_numbers(home), default=0) + 1)
        try:
            os.rename(temporary, target)
        except OSError:
            if not target.exists():
                raise
            if version is not None:
                raise ExportError(f"{target} has come into being meanwhile; give another version") from None
            continue  # another export was faster; count on
        _flush(home)
        return target


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
