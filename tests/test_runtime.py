"""Where networks run: each runtime gives what the network gives, few traces, and a cache that spares the framework."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from zoo import onnx_file, registry, runtime, weights
from zoo.reading import RECOGNIZER
from zoo.registry import Card


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def networks():
    """A tiny detector and a tiny recognizer, with batches of two shapes for each."""
    found = registry.card("db_mobilenet_v3_large")
    read = registry.card("crnn_mobilenet_v3_small")
    return [
        (registry.build(found.name, **found.test_options), [pixels(1, 64, 64, 3), pixels(2, 96, 32, 3)]),
        (registry.build(read.name, **read.test_options), [pixels(1, 32, 64, 3), pixels(3, 32, 128, 3)]),
    ]


@pytest.fixture
def run_folder(tmp_path, networks):
    """A run's folder with a tiny recognizer and its weights."""
    network, _ = networks[1]
    card = registry.card("crnn_mobilenet_v3_small")
    folder = tmp_path / "tiny"
    weights.save(network, folder / "weights.safetensors", dtype="float32")
    fields = {
        key: getattr(card, key) for key in ("task", "builder", "summary", "paper", "licence", "params", "reading")
    }
    known = {"file": "weights.safetensors", "sha256": weights.sha256(folder / "weights.safetensors")}
    registry.write_card(
        Card(name="tiny", folder=folder, options=card.test_options, test_options={}, weights=known, **fields),
        folder / "card.toml",
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1], ids=["detector", "recognizer"])
def test_both_runtimes_give_what_the_network_gives(networks, tmp_path, index):
    network, batches = networks[index]
    path = tmp_path / "network.onnx"
    runtime.export(network, path)
    assert list(tmp_path.iterdir()) == [path]  # nothing half written
    here, exported = runtime.in_process(network), runtime.onnx_run(path)
    for batch in batches:
        expected = np.asarray(network(batch)["logits"])
        for run in (here, exported):
            given = run(batch)
            assert list(given) == ["logits"] and given["logits"].dtype == np.float32
            np.testing.assert_allclose(given["logits"], expected, rtol=1e-4, atol=1e-5)


def test_a_batch_without_pictures_is_refused_alike(networks):
    for run in (runtime.in_process(networks[1][0]), runtime.connect(RECOGNIZER, "onnxruntime")):
        for _ in range(2):
            run(np.zeros((1, 32, 64, 3), "uint8"))
            with pytest.raises(
                ValueError, match=r"a batch of no pictures, of shape \(0, 32, 64, 3\): give one or more"
            ):
                run(np.zeros((0, 32, 64, 3), "uint8"))


def test_a_network_is_traced_once_or_twice(networks, monkeypatch):
    from keras import layers

    traces = 0
    call = layers.Rescaling.call

    def counted(self, inputs):
        nonlocal traces
        traces += 1
        return call(self, inputs)

    run = runtime.in_process(networks[1][0])
    monkeypatch.setattr(layers.Rescaling, "call", counted)
    for count in (1, 2, 4, 8):
        for width in (32, 64, 96, 128):
            assert run(pixels(count, 32, width, 3))["logits"].shape == (count, width // 4, 11)
    assert 1 <= traces <= 3


@pytest.mark.parametrize("name", ["craft_vgg16_bn", "deeplabv3_mobilenet_v3_large"])
def test_images_of_one_height_and_several_widths_run_where_convolutions_are_dilated(name, small):
    run = runtime.in_process(small(name))
    for shape in ((64, 64), (64, 96), (64, 32), (96, 32)):
        batch = pixels(1, *shape, 3)
        np.testing.assert_allclose(run(batch)["logits"], small(name)(batch)["logits"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"image of \(64, 90\) pixels has a side that is no multiple of"):
        run(pixels(1, 64, 90, 3))


START = """
import json, sys
import numpy as np
from zoo import runtime
run = runtime.connect(sys.argv[1])
batch = np.random.default_rng(0).integers(0, 256, (3, 32, 128, 3), dtype=np.uint8)
heavy = [name for name in ("tensorflow", "keras", "tf2onnx", "jax", "torch") if name in sys.modules]
print(json.dumps({"heavy": heavy, "logits": run(batch)["logits"].tolist()}))
"""


def test_the_second_start_imports_no_framework(run_folder, networks, tmp_path, monkeypatch):
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    path = runtime.onnx_path(registry.card(run_folder))
    assert not path.exists()
    first = runtime.connect(run_folder)
    assert path.is_file() and path.is_relative_to(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", START, run_folder], capture_output=True, text=True, check=True
    )  # fmt: skip
    second = json.loads(done.stdout)
    assert second["heavy"] == [] and done.stderr == ""
    batch = pixels(3, 32, 128, 3)
    np.testing.assert_allclose(second["logits"], first(batch)["logits"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second["logits"], networks[1][0](batch)["logits"], rtol=1e-4, atol=1e-5)


def test_a_cache_that_cannot_be_written_is_told_before_a_network_is_loaded(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OCRZOO_CACHE", str(run_folder / "card.toml"))
    monkeypatch.setattr(registry, "load", lambda name: pytest.fail("loaded"))
    with pytest.raises(OSError, match=r"\.onnx cannot be written .* by OCRZOO_CACHE; the runtime tensorflow does"):
        runtime.connect(run_folder)


def test_what_a_killed_start_left_in_the_cache_is_cleared_away(run_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime, "_write", lambda network, path: path.touch())
    monkeypatch.setattr(runtime, "onnx_run", str)
    path = runtime.onnx_path(registry.card(run_folder))
    path.parent.mkdir(parents=True)
    left = path.with_name(f".{path.stem}.0123abcd.onnx")
    left.write_bytes(b"half")
    assert runtime.connect(run_folder) == str(path)
    assert path.is_file() and not left.exists()


BARE = """
import sys
for name in ("tensorflow", "keras", "tf2onnx", "jax", "torch"):
    sys.modules[name] = None  # as if it were not installed
from zoo.cli import main
sys.exit(main(["read", sys.argv[1]]))
"""


def test_the_default_pair_reads_where_there_is_no_framework(tmp_path):
    page = Path(__file__).parents[1] / "samples" / "receipt.jpg"
    environment = os.environ | {"OCRZOO_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(page)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "Thank you for shopping!" in done.stdout and "22.96" in done.stdout
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", [name for name in registry.names() if "onnx" in registry.card(name).weights])
def test_a_file_beside_the_weights_answers_as_the_network(name):
    card = registry.card(name)
    height, width = (card.reading["height"], 160) if card.task == "recognition" else (128, 96)
    batch = pixels(2, height, width, 3)
    wanted = np.asarray(registry.load(name)(batch, training=False)["logits"])
    found = runtime.connect(name, "onnxruntime")(batch)["logits"]
    alike = onnx_file.ALIKE_SMALL if card.task == "recognition" else onnx_file.ALIKE  # recurrent layers in eight bits
    np.testing.assert_allclose(found, wanted, atol=alike * np.abs(wanted).max())


def test_recurrent_layers_of_a_small_file_multiply_in_eight_bits(tmp_path):
    """With weights of 1 and 0.5 in turn, which eight bits hold, and all else of 0 or 1: a step's numbers by hand."""
    from keras import Input, Sequential, layers

    network = Sequential([Input((4, 2)), layers.LSTM(3, return_sequences=True)])
    kernel = np.tile(np.array([1.0, 0.5], "float32")[:, None], 12)
    network.set_weights([kernel, np.zeros((3, 12), "float32"), np.zeros(12, "float32")])
    given = np.array([[[1, 0], [0, 1], [1, 1], [0, 0]]], "float32")
    wanted, path = network.predict_on_batch(given), tmp_path / "lstm.onnx"
    network.export(path, format="onnx", verbose=False)
    model = onnx_file.rounded(path)
    assert "DynamicQuantizeLSTM" in [node.op_type for node in model.graph.node]
    stored = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    rounded = [x for x in stored if x.dtype == np.int8 and x.size > 12]
    assert sorted(x.size for x in rounded) == [2 * 12, 3 * 12]
    assert max(np.abs(x.astype(int)).max() for x in rounded) == 64  # 255 · 64 + 255 · 64 is less than 2¹⁵
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: given})
    gates = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(found[0, 0], np.full(3, gates * np.tanh(gates * np.tanh(1.0))), atol=2e-3)
    np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_the_file_of_a_folder_that_was_renamed_is_found(run_folder):
    path = run_folder / "tiny.onnx"
    path.write_bytes(b"network")
    card = registry.card(run_folder)
    registry.write_card(replace(card, weights={**card.weights, "onnx": weights.sha256(path)}), run_folder / "card.toml")
    other = run_folder.rename(run_folder.with_name("renamed"))
    assert (
        weights.verified(runtime.onnx_path(registry.card(other)), weights.sha256(other / "tiny.onnx")).name == path.name
    )
    (other / "second.onnx").write_bytes(b"")  # which of both?
    assert runtime.onnx_path(registry.card(other)) == other / "renamed.onnx"


def test_a_file_beside_the_weights_that_changed_is_not_run(run_folder):
    card, path = registry.card(run_folder), run_folder / "tiny.onnx"
    path.write_bytes(b"others")
    registry.write_card(replace(card, weights={**card.weights, "onnx": "0" * 64}), run_folder / "card.toml")
    assert runtime.onnx_path(registry.card(run_folder)) == path
    with pytest.raises(weights.WeightsError, match=r"tiny.onnx: SHA-256 is [0-9a-f]{64}, not 0{64} as in the card"):
        runtime.connect(run_folder)
    path.unlink()
    with pytest.raises(weights.WeightsError, match="tiny.onnx is not there"):
        runtime.connect(run_folder)


def test_large_constants_are_halved_where_that_keeps_them():
    """3 times 0.1 in half precision, and what it does not keep: few values, values that are too large for it."""
    values = {
        "large": np.full(2048, 0.1, "float32"),
        "few": np.full(8, 0.1, "float32"),
        "vast": np.full(2048, 1e6, "float32"),
    }
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    nodes = [helper.make_node("Mul", ["x", name], [f"{name}_3"]) for name in values]
    results = [helper.make_tensor_value_info(f"{name}_3", TensorProto.FLOAT, [None]) for name in values]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "toy", given, results, constants)
    model = onnx_file.halved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    assert [t.data_type == TensorProto.FLOAT16 for t in model.graph.initializer] == [True, False, False]
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString())
    large, few, vast = session.run(None, {"x": np.array([3], "float32")})
    np.testing.assert_array_equal(large, 3 * np.full(2048, np.float16(0.1)).astype("float32"))
    np.testing.assert_array_equal(few, 3 * values["few"])
    np.testing.assert_array_equal(vast, 3 * values["vast"])


def test_several_networks_are_opened_together(run_folder, tmp_path, monkeypatch):
    """Side by side once their files are there; before, one by one, since each is built by the framework."""
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    here, working, most = threading.Lock(), set(), []
    opened = runtime.onnx_run

    def watched(path):
        with here:
            working.add(threading.get_ident())
            most.append(len(working))
        return opened(path)

    batch = pixels(2, 32, 64, 3)
    first, again = runtime.connect_several([run_folder, run_folder])
    np.testing.assert_array_equal(first(batch)["logits"], again(batch)["logits"])
    monkeypatch.setattr(runtime, "onnx_run", watched)
    for run in runtime.connect_several([run_folder] * 2, "onnxruntime"):
        np.testing.assert_array_equal(run(batch)["logits"], first(batch)["logits"])
    assert len(most) == 2 and threading.main_thread().ident not in working
    with pytest.raises(ValueError, match="no runtime is named 'openvino'"):
        runtime.connect_several([run_folder], "openvino")


def test_what_a_run_took_is_kept_for_the_next():
    """A run of the detector needs some 160 MB: the system hands them out once, not in pages of 4 KB each time anew."""
    resource = pytest.importorskip("resource")  # of Unix alone
    run = runtime.onnx_run(runtime.onnx_path(registry.card("db_mobilenet_v3_large")))
    batch = np.zeros((1, 768, 768, 3), np.uint8)
    handed = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        run(batch)
        handed.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert max(handed[1:]) < 2000, handed


def test_memory_that_is_shared_already_stays_so(run_folder, monkeypatch):
    """Whoever uses onnxruntime beside us may have registered an allocator: an older one then refuses another."""
    import onnxruntime

    def refuse(*args):
        raise RuntimeError("an allocator of this kind is registered")

    monkeypatch.setattr(onnxruntime, "create_and_register_allocator", refuse)
    runtime._share_memory.cache_clear()
    batch = pixels(2, 32, 64, 3)
    try:
        assert runtime.connect(run_folder, "onnxruntime")(batch)["logits"].dtype == np.float32
    finally:
        runtime._share_memory.cache_clear()  # the tests after it share memory


def test_other_weights_have_another_file(run_folder):
    card = registry.card(run_folder)
    before = runtime.onnx_path(card)
    assert runtime.onnx_path(card) == before
    changed = Card(**{**vars(card), "weights": {**card.weights, "sha256": "0" * 64}})
    wider = Card(**{**vars(card), "options": {**card.options, "units": 16}})
    unsigned = Card(**{**vars(card), "weights": {"file": card.weights["file"]}})
    assert len({before, *map(runtime.onnx_path, (changed, wider))}) == 3
    assert runtime.onnx_path(unsigned) == before  # the file's own checksum
    (run_folder / "weights.safetensors").write_bytes(b"others")
    assert runtime.onnx_path(unsigned) != before


@pytest.mark.parametrize(
    ("owner", "name", "value", "kind", "told"),
    [
        (runtime, "_converters", False, ModuleNotFoundError, "TensorFlow and tf2onnx"),
        # Networks on JAX have no graphs of TensorFlow, also where that is installed.
        (keras.backend, "backend", "jax", ValueError, "made of TensorFlow's graphs: KERAS_BACKEND=tensorflow, not jax"),
    ],
)
def test_auto_runs_in_process_where_nothing_can_be_converted(
    owner, name, value, kind, told, run_folder, monkeypatch, tmp_path
):
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(owner, name, lambda: value)
    run = runtime.connect(run_folder)
    assert run(pixels(1, 32, 64, 3))["logits"].shape == (1, 16, 11)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(kind, match=told):
        runtime.connect(run_folder, "onnxruntime")
    assert list((tmp_path / "cache" / "onnx").glob("*.onnx")) == []


def test_an_unknown_runtime_lists_those_there_are(run_folder):
    with pytest.raises(ValueError, match="no runtime is named 'openvino'; there are: auto, onnxruntime, keras"):
        runtime.connect(run_folder, "openvino")


def test_a_damaged_cached_file_is_made_again(run_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    path = runtime.onnx_path(registry.card(run_folder))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    run = runtime.connect(run_folder, "onnxruntime")
    assert run(pixels(1, 32, 64, 3))["logits"].shape == (1, 16, 11)


def test_cores():
    assert runtime.cores() >= 1
