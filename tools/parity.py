"""Writes docs/parity.md: how near our networks are to docTR's, on which backends, and which exports of them pass.

    python tools/parity.py differences           on TensorFlow
    KERAS_BACKEND=jax python tools/parity.py differences
    python tools/parity.py exports               with TensorFlow
    python tools/parity.py table                 docs/parity.md from what was measured

The same weights and pictures as in tests/parity, drawn from seeds. Exports are made at the cards' test options, once
for all cards that share them, and compared with the network on random pixels. Measurements lie in docs/parity.json;
NAMEs after an action renew those alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parity")]

import seeded  # noqa: E402

import zoo  # noqa: E402
from zoo import conversion, registry, runtime, weights  # noqa: E402
from zoo.files import locked, replacing  # noqa: E402

GOLDEN = ROOT / "tests" / "parity" / "golden"
MEASURED, TABLE = ROOT / "docs" / "parity.json", ROOT / "docs" / "parity.md"
NEAR = 1e-3  # of the largest value: an export that is further off does not pass


# ---------------------------------------------------------------- differences


def difference(name: str) -> dict[str, float | int]:
    """The largest difference of a network's outputs from docTR's as a share of the largest value, and parameters."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        theirs = dict(file)
    state = {key: seeded.tensor(key, tuple(shape)) for key, shape in json.loads(str(theirs["state"])).items()}
    network = zoo.build(name, **seeded.OPTIONS.get(name, {}))
    weights.assign(network, conversion.translate(name, state))
    worst = 0.0
    for shape in seeded.CASES[name]:
        for output, value in network(seeded.picture(name, shape), training=False).items():
            expected = theirs[f"{output}/{shape[1]}x{shape[2]}"]
            ours = seeded.thinned(np.asarray(value))
            worst = max(worst, float(np.abs(ours - expected).max() / np.abs(expected).max()))
    return {"difference": worst, "params": int(theirs["params"])}


# ---------------------------------------------------------------- exports


def saved_model(network, folder: Path) -> Callable:
    """The function of a SavedModel of the network."""
    import tensorflow as tf

    network.export(folder / "saved", format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(str(folder / "saved"))
    return lambda image: served.serve(tf.constant(image, "float32"))["logits"]


def onnx(network, folder: Path) -> Callable:
    """The function of an ONNX file of the network, by onnxruntime."""
    runtime.export(network, folder / "network.onnx")
    run = runtime.onnx_run(folder / "network.onnx", threads=1)
    return lambda image: run(image)["logits"]


def litert(network, folder: Path) -> Callable:
    """The function of a LiteRT file of the network, made for one picture of the size that it is given."""
    import tensorflow as tf

    def logits(image):
        return {"logits": network(image, training=False)["logits"]}

    def run(image: np.ndarray) -> np.ndarray:
        module = tf.Module()
        module.tracked = [variable.value for variable in network.variables]  # or they would not be saved
        module.call = tf.function(logits).get_concrete_function(tf.TensorSpec(image.shape, tf.float32, "image"))
        tf.saved_model.save(module, str(folder / "fixed"), signatures={"serving_default": module.call})
        content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "fixed")).convert()
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        return interpreter.get_signature_runner()(image=image.astype("float32"))["logits"]

    return run


EXPORTS = {"SavedModel": saved_model, "ONNX": onnx, "LiteRT": litert}


def pixels(card: zoo.Card, network) -> np.ndarray:
    """A random picture that the network takes."""
    _, height, width, _ = network.input.shape
    size = (32, 96) if card.task == "recognition" else (64, 96)
    side = (height or size[0], width or size[1])
    return np.random.default_rng(1).integers(0, 256, (1, *side, 3)).astype("uint8")


def exports(name: str) -> dict[str, str]:
    """For each form of export "yes", or why not, of a card's network at its test options."""
    card = zoo.card(name)
    network = runtime.inference(zoo.build(name, **card.test_options))
    rng = np.random.default_rng(2)
    for variable in network.weights:
        value = np.asarray(variable)
        variable.assign(value + rng.uniform(0, 0.05, value.shape))
    image = pixels(card, network)
    expected = np.asarray(network(image, training=False)["logits"])
    result = {}
    for form, make in EXPORTS.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            try:
                found = np.asarray(make(network, Path(folder))(image))
                off = float(np.abs(found - expected).max() / np.abs(expected).max())
                result[form] = "yes" if off <= NEAR else f"off by {off:.1e}"
            except Exception as error:  # whatever a converter makes of it goes into the table
                result[form] = f"no: {type(error).__name__}"
    return result


# ---------------------------------------------------------------- commands


def differences(names: list[str]) -> None:
    """Renews the differences of these names on Keras' backend."""
    import keras

    backend = keras.backend.backend()
    for name in names:
        start = time.monotonic()
        result = difference(name)
        store(name, {"params": result["params"], backend: result["difference"]})
        print(f"{name}: {result['difference']:.1e} on {backend}, {time.monotonic() - start:.0f} s", flush=True)


def all_exports(names: list[str]) -> None:
    """Renews which exports of these names pass."""
    made: dict[str, dict[str, str]] = {}
    for name in names:
        card = registry.card(name)
        state = json.dumps([card.builder, card.test_options, card.reading.get("widths")], sort_keys=True)
        made[state] = made.get(state) or exports(name)
        store(name, {"exports": made[state]})
        print(f"{name}: {made[state]}", flush=True)


def store(name: str, facts: dict) -> None:
    """Adds facts to what MEASURED says of a name; other processes may do so, too."""
    with locked(Path(tempfile.gettempdir()) / "ocrzoo-parity.lock"):
        known = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
        known.setdefault(name, {}).update(facts)
        with replacing(MEASURED) as temporary:
            temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def table() -> None:
    """Writes TABLE."""
    known = json.loads(MEASURED.read_text())
    heads = ["name", "parameters of docTR's", "TensorFlow", "JAX", *EXPORTS]
    lines = [f"| {' | '.join(heads)} |", "| --- | ---: | ---: | ---: " + "| --- " * len(EXPORTS) + "|"]
    for name in seeded.CASES:
        row = known.get(name, {})
        cells = [f"`{name}`", f"{row['params']:_}".replace("_", " ") if "params" in row else ""]
        cells += [f"{row[key]:.1e}" if key in row else "not measured" for key in ("tensorflow", "jax")]
        cells += [row.get("exports", {}).get(form, "not measured") for form in EXPORTS]
        lines.append(f"| {' | '.join(cells)} |")
    text = f"""# Our networks beside docTR's

Written by `make parity`; see `tools/parity.py`. The same weights, drawn from a seed, go into docTR's network on PyTorch
and through the tables of names into ours; both see the same pictures. A difference is the largest of all outputs, as a
share of the largest value; `tests/parity/fresh.py` finds the like with weights drawn anew. An export passes when a file
made at the card's test options gives the network's logits to {NEAR:g} of their largest value.

"""
    with replacing(TABLE) as temporary:
        temporary.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("differences", "exports", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    names = args.names or list(seeded.CASES)
    {"differences": differences, "exports": all_exports, "table": lambda _: table()}[args.action](names)


if __name__ == "__main__":
    main()
