"""Networks as SavedModels that TensorFlow Serving can serve.

    name ─► zoo.load ─► what reading needs ─► signatures ─► NAME/.tmp-…/ ─► gate ─► NAME/VERSION/

    saved_models/NAME/VERSION/
      saved_model.pb, variables/                      "serving_default": encoded images (B,) string → logits
                                                      "pixels": (B, H, W, 3) uint8 → logits
      assets.extra/tf_serving_warmup_requests         run by a server before it serves the version
      assets.extra/manifest.json                      checksums, versions of the software, the card

"serving_default" prepares a picture as the reading path does. A detector letterboxes it to the card's size (it lies at
the top left; zeros below and on the right) and also returns "scale" (B, 2): a point (x, y) of it, times this, is one of
the picture. A recognizer brings it to its height and puts zeros on the right up to the next of the card's
widths. JPEG, PNG, GIF and BMP are decoded; an EXIF orientation is not applied.

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from serving import wire
from serving.models import version_numbers
from serving.servable import DEFAULT_SIGNATURE, WARMUP, Servable
from zoo import decoding, registry
from zoo.files import sha256

PIXELS = "pixels"  # the signature of images that are already prepared
MANIFEST = "assets.extra/manifest.json"
DEFAULTS: dict[str, dict[str, Any]] = {
    "detection": {"size": [1024, 1024]},
    "recognition": {"height": 32, "widths": [64, 128, 256, 512]},
}
TOLERANCE = 1e-3  # of the largest logit: the graph may sum in another order than the network
MULTIPLE = 32  # of a detector's height and width


class ExportError(RuntimeError):
    """An export that was refused; nothing of it is left. The text says why."""


@dataclass(frozen=True)
class Plan:
    """A network to be exported, and how its pictures are prepared.

    Attributes:
        name: of the model, and of its folder.
        task: "detection" or "recognition".
        network: from (B, H, W, 3) pixels to the outputs that reading needs, of most networks {"logits"} alone.
        reading: "size" of a detector; "height" and "widths" of a recognizer; in pixels.
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
    """
    plan = plan_of(network, weights, reading)
    home = Path(folder) / plan.name
    if version is not None and (home / str(version)).exists():
        raise ExportError(f"{home / str(version)} exists; give another version, or none to count up")
    temporary = home / f".tmp-{secrets.token_hex(4)}"  # not a number, so that no server takes it for a version
    try:
        temporary.mkdir(parents=True)
        write(plan, temporary)
        _write_manifest(plan, temporary, verify(temporary, plan))
        return _publish(temporary, home, version)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def plan_of(network: Any, weights: Any = "default", reading: Mapping[str, Any] | None = None) -> Plan:
    """What `export` writes for these arguments.

    Raises:
        ExportError: it cannot be exported.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"an export needs KERAS_BACKEND=tensorflow, not {keras.backend.backend()}")
    card = None
    if not isinstance(network, keras.Model):
        card = registry.card(network)
        network = registry.load(network, weights)
    outputs = network.output if isinstance(network.output, dict) else {"logits": network.output}
    kinds = {4: "detection", 3: "recognition"}
    task = card.task if card else kinds.get(len(outputs["logits"].shape), "unknown")
    if task not in DEFAULTS:
        raise ExportError(f"{network.name} is for {task}; exported are {' and '.join(DEFAULTS)}")
    chosen = {**DEFAULTS[task], **(card.reading if card else {}), **(reading or {})}
    name = card.name if card else network.name
    known = asdict(card) if card else {}
    known.pop("folder", None)  # says something of this machine, not of the model
    kept = {output: outputs[output] for output in decoding.needed(chosen)}
    return Plan(name, task, keras.Model(network.inputs, kept, name=name), chosen, known)


# --- signatures ------------------------------------------------------------------------------------------------------


def write(plan: Plan, folder: Path) -> None:
    """Writes the SavedModel and its warm-up requests into a folder."""
    module = tf.Module(plan.name)
    module.tensors = [variable.value for variable in plan.network.variables]  # never the Keras variables: see above
    tf.saved_model.save(module, str(folder), signatures=_signatures(plan))
    (folder / WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for request in _requests(plan):
            log = wire.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def _signatures(plan: Plan) -> dict[str, Any]:
    height = plan.reading["height"] if plan.task == "recognition" else None
    prepare = preparation(plan)

    @tf.function(input_signature=[tf.TensorSpec([None, height, None, 3], tf.uint8, name="image")])
    def pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return _run(plan.network, image)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def encoded(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared = prepare(image_bytes)
        return {**_run(plan.network, prepared.pop("image")), **prepared}

    return {DEFAULT_SIGNATURE: encoded, PIXELS: pixels}


def _run(network: keras.Model, image: tf.Tensor) -> dict[str, tf.Tensor]:
    return network(tf.cast(image, network.inputs[0].dtype), training=False)


def preparation(plan: Plan) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The function from encoded images (B,) string to {"image": (B, H, W, 3) uint8}; a detector's adds "scale"."""
    if plan.task == "detection":
        size = tuple(plan.reading["size"])
        if any(side % MULTIPLE for side in size):
            raise ExportError(f"the size of {plan.name} is {size}; both sides must be multiples of {MULTIPLE}")
        return lambda data: _letterboxes(data, size)
    height, widths = plan.reading["height"], sorted(plan.reading["widths"])
    return lambda data: {"image": _strips(data, height, widths)}


def _letterboxes(data: tf.Tensor, size: tuple[int, int]) -> dict[str, tf.Tensor]:
    def one(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = _decode(encoded)
        sides = tf.shape(image)[:2]
        factor = tf.reduce_min(tf.constant(size, tf.float64) / tf.cast(sides, tf.float64))
        inner = tf.clip_by_value(tf.cast(tf.round(tf.cast(sides, tf.float64) * factor), tf.int32), 1, size)
        scale = tf.cast(sides / inner, tf.float32)[::-1]  # x, y
        return _pad(_resize(image, inner), size), scale

    specs = (tf.TensorSpec((*size, 3), tf.uint8), tf.TensorSpec((2,), tf.float32))
    image, scale = tf.map_fn(one, data, fn_output_signature=specs)
    return {"image": image, "scale": scale}


def _strips(data: tf.Tensor, height: int, widths: list[int]) -> tf.Tensor:
    """(B, height, W, 3) uint8, W being the narrowest of the widths that holds the widest strip."""
    widest = widths[-1]

    def one(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = _decode(encoded)
        sides = tf.cast(tf.shape(image), tf.float64)
        inner = tf.clip_by_value(tf.cast(tf.round(sides[1] * height / sides[0]), tf.int32), 1, widest)
        return _pad(_resize(image, tf.stack([height, inner])), (height, widest)), inner

    specs = (tf.TensorSpec((height, widest, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    strips, inner = tf.map_fn(one, data, fn_output_signature=specs)
    enough = tf.boolean_mask(widths, tf.constant(widths) >= tf.reduce_max(inner))
    return strips[:, :, : enough[0]]


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """(H, W, 3) uint8; grey becomes RGB, and a PNG's alpha is laid over white."""
    image = tf.io.decode_image(encoded, channels=0, expand_animations=False)  # (H, W, 1 to 4)
    count = tf.shape(image)[2]
    # Other formats have no alpha; the fourth channel of a BMP is unused, and often zero.
    clear = tf.logical_and(tf.strings.substr(encoded, 0, 4) == b"\x89PNG", count % 2 == 0)
    colour = tf.cond(count < 3, lambda: tf.repeat(image[..., :1], 3, 2), lambda: image[..., :3])
    return tf.ensure_shape(
        tf.cond(clear, lambda: _over_white(colour, image[..., -1:]), lambda: colour), (None, None, 3)
    )


def _over_white(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    opaque = tf.cast(alpha, tf.float32) / 255
    return tf.cast(tf.round(tf.cast(colour, tf.float32) * opaque + 255 * (1 - opaque)), tf.uint8)


def _resize(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """As `zoo.image.resize`: averages where it shrinks, interpolates linearly where it grows."""
    shrinks = tf.reduce_prod(size) < tf.reduce_prod(tf.shape(image)[:2])
    resized = tf.cond(
        shrinks,
        lambda: tf.image.resize(image, size, tf.image.ResizeMethod.AREA),
        lambda: tf.image.resize(image, size, tf.image.ResizeMethod.BILINEAR),
    )
    return tf.cast(tf.round(resized), tf.uint8)


def _pad(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.ensure_shape(tf.pad(image, [[0, size[0] - height], [0, size[1] - width], [0, 0]]), (*size, 3))


# --- warm-up, gate, manifest, publishing -----------------------------------------------------------------------------


def _requests(plan: Plan) -> Iterator[Any]:
    """Requests that take a server through the shapes it will see."""
    for inputs, signature in _examples(plan):
        request = wire.PredictRequest()
        request.model_spec.name = plan.name
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(wire.encode(value))
        yield request


def _examples(plan: Plan) -> Iterator[tuple[dict[str, Any], str]]:
    if plan.task == "detection":
        height, width = plan.reading["size"]
        prepared, batches = [(height, width)], [[(height // 2, width)]]  # few: each takes seconds
    else:
        height = plan.reading["height"]
        prepared = [(height, width) for width in plan.reading["widths"]]
        batches = [[(height, 3 * height)], [(2 * height, 3 * height), (height, height)]]
    for size in prepared:
        yield {"image": _picture(*size)[None]}, PIXELS
    for sizes in batches:
        pngs = [cv2.imencode(".png", _picture(*size))[1].tobytes() for size in sizes]
        yield {"image_bytes": pngs}, DEFAULT_SIGNATURE


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
        for name, expected in _run(plan.network, image).items():
            _compare(f'{plan.name}: "{signature}"', name, answer, expected.numpy())
    return served.signatures


def _compare(what: str, name: str, answer: Mapping[str, np.ndarray], expected: np.ndarray) -> None:
    given = answer.get(name)
    if given is None or given.shape != expected.shape:
        shapes = {name: array.shape for name, array in answer.items()}
        raise ExportError(f"{what} answers {shapes}; the network gives {name} {expected.shape}")
    difference, limit = np.abs(given - expected).max(), TOLERANCE * max(0.01, np.abs(expected).max())
    if not difference <= limit:  # also false for NaN
        raise ExportError(f"{what} differs from the network by {difference:.3g}; at most {limit:.3g} is allowed")


def _write_manifest(plan: Plan, folder: Path, signatures: Mapping[str, Any]) -> None:
    manifest = {
        "name": plan.name,
        "task": plan.task,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "software": {"tensorflow": tf.__version__, "keras": keras.__version__, "python": platform.python_version()},
        "parameters": int(sum(np.prod(variable.shape) for variable in plan.network.variables)),
        "reading": plan.reading,
        "signatures": {
            name: {"inputs": _describe(signature.inputs), "outputs": _describe(signature.outputs)}
            for name, signature in signatures.items()
            if name in (DEFAULT_SIGNATURE, PIXELS)  # TensorFlow adds one of its own
        },
        "card": plan.card,
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
