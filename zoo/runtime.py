"""Where a network runs: from a card's name to `run`, the callable from a batch (B, H, W, 3) uint8 to named logits.

    keras         the network in this process, on the framework that Keras uses; "tensorflow" is another name of it
    onnxruntime   an ONNX file of it: that beside its weights, for which no framework is imported, or else one that is
                  made on first use and kept in the cache for later starts

A network is reduced first to the outputs that reading needs: what only training needs is neither run nor exported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo import decoding, registry, weights
from zoo.files import check_writable, clear, locked

if TYPE_CHECKING:
    import keras

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]

Call = Callable[[Any], dict[str, np.ndarray]]  # of a batch, or of named arrays

PARTS = ("locate", "read")  # of a spotter, by which it reads
LOGITS = ("logits",)  # the outputs that most networks are read by; `zoo.decoding.needed` says those of a card
EXPORT = 4  # counted up when what an ONNX file holds changes: see `zoo.onnx_file`
NEEDS_FRAMEWORK = "pip install 'ocrzoo[tensorflow]' gives what is missing"


def connect(name: str | os.PathLike, runtime: str = "auto") -> Run:
    """The `run` of a card, in this process.

    Args:
        name: of a released model, or a run's folder.
        runtime: a key of `RUNTIMES`; "auto" takes onnxruntime where the cache holds the ONNX file or it can be made.

    Raises:
        ValueError: there is no such runtime.
        ModuleNotFoundError: it is not installed.
    """
    return RUNTIMES[_chosen(runtime, onnx_path(registry.card(name)))](name)


def connect_several(names: Sequence[str | os.PathLike], runtime: str = "auto") -> list[Run]:
    """The `run` of each card, as `connect` gives it; ONNX files that are there are opened side by side.

    Raises:
        ValueError, ModuleNotFoundError: as `connect` does.
    """
    paths = [onnx_path(registry.card(name)) for name in names]
    made = _chosen(runtime, *paths) == "onnxruntime" and all(path.is_file() for path in paths)
    if not made:  # frameworks load one network at a time, and know what they were told in this thread alone
        return [connect(name, runtime) for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(connect, names, [runtime] * len(names)))


def connect_parts(name: str | os.PathLike, runtime: str = "auto", wanted: Sequence[str] = PARTS) -> tuple[Call, ...]:
    """The calls of a spotter's card, in this process: by default the `run` that locates words, and what reads them.

    Args:
        name, runtime: as for `connect`.
        wanted: names of parts, as the module of its builder divides it.

    Raises:
        ValueError, ModuleNotFoundError: as `connect` does.
    """
    card = registry.card(name)
    paths = [onnx_path(card, part) for part in wanted]
    if _chosen(runtime, *paths) != "onnxruntime":
        return parts_in_process(card, registry.load(name), wanted)
    divided = cache(lambda: parts(card, registry.load(name)))  # only if a file must be made, and then once

    def network(part: str) -> keras.Model:
        return getattr(divided(), part)

    return tuple(
        _onnx(path, f"{name}, {part}", partial(network, part)) for path, part in zip(paths, wanted, strict=True)
    )


def parts(card: registry.Card, network: keras.Model) -> Any:
    """The parts of a spotter's network by name, as the module of its builder divides it."""
    return importlib.import_module(card.builder.partition(":")[0]).parts(network)


def parts_in_process(card: registry.Card, network: keras.Model, wanted: Sequence[str] = PARTS) -> tuple[Call, ...]:
    """The calls of a spotter's network in this process."""
    divided = parts(card, network)
    return tuple(call(getattr(divided, part)) for part in wanted)


def _chosen(runtime: str, *paths: Path) -> str:
    if runtime == "auto":
        runtime = "onnxruntime" if all(path.is_file() for path in paths) or _can_convert() else "keras"
    if runtime not in RUNTIMES:
        raise ValueError(f"no runtime is named {runtime!r}; there are: auto, {', '.join(RUNTIMES)}")
    return runtime


def remote(server: str, model: str) -> Run:
    """The `run` of a model on a server at "host:port". The one place where reading reaches into `serving`."""
    from serving.client import Client

    return Client(server).run(model)


# ---------------------------------------------------------------- Keras


def _load_keras(name: str | os.PathLike) -> Run:
    return in_process(registry.load(name), decoding.needed(registry.card(name).reading))


def in_process(network: keras.Model, outputs: Sequence[str] = LOGITS) -> Run:
    """The `run` of a network in this process. It is traced once or twice, whatever the shapes it is given."""
    return call(inference(network, outputs))


def call(network: keras.Model) -> Call:
    """What gives all outputs of a network, or of a part of one, in this process."""
    step = _step(network)
    names = network.input.keys() if isinstance(network.input, dict) else ()

    def run(batch: Any) -> dict[str, np.ndarray]:
        if names:  # Keras goes by the order of what it is given, more than it asks for included
            batch = {name: batch[name] for name in names}
        else:
            check_batch(batch)
        return {key: np.asarray(value) for key, value in step(batch).items()}

    return run


def _step(network: keras.Model) -> Callable[[Any], Mapping[str, Any]]:
    """A network's outputs for a batch."""
    if _framework() == "tensorflow":
        from zoo import tracing

        return tracing.step(network)
    network.compile(jit_compile=False)  # XLA is several times slower on CPUs, and compiles for every shape
    return network.predict_on_batch


def check_batch(batch: Any) -> None:
    """Nothing, where a batch has a picture.

    Raises:
        ValueError: it has none, which frameworks tell in words of their own, or answer.
    """
    if not len(batch):
        raise ValueError(f"a batch of no pictures, of shape {np.shape(batch)}: give one or more")


def inference(network: keras.Model, outputs: Sequence[str] = LOGITS) -> keras.Model:
    """The part of a network, from the image, that these outputs need."""
    import keras

    image = network.input["image"] if isinstance(network.input, dict) else network.input
    return keras.Model(image, {name: network.output[name] for name in outputs}, name=network.name)


# ---------------------------------------------------------------- ONNX


def _load_onnx(name: str | os.PathLike) -> Run:
    card = registry.card(name)
    if "onnx" in card.weights:
        return onnx_run(weights.verified(onnx_path(card), card.weights["onnx"]))
    return _onnx(onnx_path(card), str(name), lambda: inference(registry.load(name), decoding.needed(card.reading)))


def _onnx(path: Path, name: str, network: Callable[[], keras.Model]) -> Call:
    """The `run` of a file in the cache, which is made of the network if it is not there."""
    if run := _cached(path):
        return run
    try:
        check_writable(path)
    except OSError as error:
        raise type(error)(f"{error}, by OCRZOO_CACHE; the runtime tensorflow does without") from None
    with locked(path.with_name(f".{path.name}.lock")):  # another process may be making it
        if run := _cached(path):
            return run
        clear(path)
        print(f"making {path} for {name}, once", file=sys.stderr)
        _write(network(), path)
    return onnx_run(path)


def _cached(path: Path) -> Call | None:
    """The `run` of a file in the cache; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    from onnxruntime.capi import onnxruntime_pybind11_state as kinds

    try:
        return onnx_run(path)
    except (kinds.InvalidProtobuf, kinds.InvalidGraph, kinds.Fail) as error:
        print(f"{path} is damaged and made again: {error}", file=sys.stderr)
        return None


def onnx_path(card: registry.Card, part: str = "") -> Path:
    """Where a card's ONNX file is: beside its weights, or where the cache keeps it, under another name for other
    weights, options or versions."""
    from zoo import __version__

    if "onnx" in card.weights and not part:
        path = card.folder / f"{card.name}.onnx"
        others = [] if path.is_file() or not (card.folder / "card.toml").is_file() else [*card.folder.glob("*.onnx")]
        return others[0] if len(others) == 1 else path  # of a run's folder that was renamed; its checksum tells

    needed = decoding.needed(card.reading)
    known = [EXPORT, __version__, card.builder, card.options, needed, weights.identity(card)]
    state = json.dumps(known, sort_keys=True)
    name = f"{card.name}-{part}" if part else card.name
    return weights.cache() / "onnx" / f"{name}-{hashlib.sha256(state.encode()).hexdigest()[:16]}.onnx"


def export(network: keras.Model, path: str | os.PathLike, outputs: Sequence[str] = LOGITS, small: bool = False) -> None:
    """Writes the ONNX file of a network's outputs, whole or not at all; batch and image sizes stay free.

    Args:
        network: to be written.
        path: of the file.
        outputs: those that it is to give.
        small: see `zoo.onnx_file.write`.

    Raises:
        ModuleNotFoundError: no converter is installed.
        ValueError: Keras runs on another framework.
    """
    _write(inference(network, outputs), path, small)


def _write(network: keras.Model, path: str | os.PathLike, small: bool = False) -> None:
    if not _converters():
        raise ModuleNotFoundError(f"an ONNX file is made with TensorFlow and tf2onnx; {NEEDS_FRAMEWORK}")
    if (framework := _framework()) != "tensorflow":
        raise ValueError(f"ONNX files are made of TensorFlow's graphs: KERAS_BACKEND=tensorflow, not {framework}")
    from zoo import onnx_file

    onnx_file.write(network, path, small)


def onnx_run(path: str | os.PathLike, threads: int | None = None) -> Call:
    """The `run` of an ONNX file, by onnxruntime on as many threads as this process has cores.

    A file of one input is called with it, one of several with a mapping from their names.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 3  # errors
    options.enable_mem_pattern = False  # it keeps memory for each shape of input: on pages of all sizes twice as much
    options.add_session_config_entry("session.use_env_allocators", "1")
    _share_memory()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [given.name for given in session.get_inputs()]
    names = [output.name for output in session.get_outputs()]

    def run(batch: Any) -> dict[str, np.ndarray]:
        if isinstance(batch, np.ndarray):
            check_batch(batch)
            fed = {inputs[0]: batch}
        else:
            fed = {name: batch[name] for name in inputs}
        return dict(zip(names, session.run(names, fed), strict=True))

    return run


@cache
def _share_memory() -> None:
    """Lets all networks of this process take memory from one place, and keep what a run took for the next.

    Where each has a place of its own, two hold what one run at a time needs; where it is given back after each run, the
    system clears a page's features anew each time, which takes an eighth of the time.
    """
    import onnxruntime

    kind, purpose = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    usual = onnxruntime.OrtArenaCfg(0, 0, -1, -1)  # no limit; it grows by powers of two
    with contextlib.suppress(Exception):  # who uses onnxruntime beside us has registered one: older ones refuse another
        onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, purpose), usual)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _can_convert() -> bool:
    """Whether ONNX files can be made here; networks on another framework have no graphs of TensorFlow."""
    return _converters() and _framework() == "tensorflow"


def _converters() -> bool:
    return all(importlib.util.find_spec(module) for module in ("tensorflow", "tf2onnx"))


def _framework() -> str:
    import keras

    return keras.backend.backend()


RUNTIMES: Mapping[str, Callable[[str | os.PathLike], Run]] = {
    "onnxruntime": _load_onnx,
    "keras": _load_keras,
    "tensorflow": _load_keras,
}
