"""Compression: rounding and masks by hand, the guard, and what is written or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops
from safetensors import SafetensorError

import zoo
from recipes import compress, optimizer, rounding, step, train
from recipes.data import folders
from recipes.recipe import Recipe
from zoo import cli, litert_file, registry, runtime, weights

HOW = Recipe(model="toy", task="", rate=0.05, warmup=0, steps=60, ema=0.9, decay=0, batch=32)


# ---------------------------------------------------------------- rounding


def test_weights_are_rounded_by_channel():
    """Scales 0.64/64 = 0.01 and 6.4/64 = 0.1."""
    kernel = np.array([[0.64, -6.4], [0.333, 0.333]], "float32")
    found = np.asarray(rounding.fake_weights(kernel, -1))
    np.testing.assert_allclose(found, [[0.64, -6.4], [0.33, 0.3]], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(rounding.fake_weights(kernel.T, 0)), found.T, rtol=1e-5)


def test_values_are_rounded_in_256_steps_with_zero_among_them():
    """From -0.5 to 2.05 a step is 0.01 and zero the fiftieth; from 1 on the range still begins at 0."""
    x = np.array([-3, -0.5, -0.004, 0, 0.0149, 2.05, 9], "float32")
    found = np.asarray(rounding.fake_values(x, np.float32(-0.5), np.float32(2.05)))
    np.testing.assert_allclose(found, [-0.5, -0.5, 0, 0, 0.01, 2.05, 2.05], atol=1e-6)
    assert float(rounding.fake_values(np.float32(0.1), np.float32(1.0), np.float32(2.55))) == pytest.approx(
        0.1, abs=1e-6
    )


def test_gradients_go_through_rounding_but_not_beyond_the_range():
    x = np.array([-3.0, 0.123, 9.0], "float32")
    low, high = np.float32(-0.5), np.float32(2.05)
    found = gradient(lambda x: ops.sum(3 * rounding.fake_values(x, low, high)), x)
    np.testing.assert_allclose(found, [0, 3, 0])
    kernel = np.array([[1.0, 2.0], [0.3, 0.4]], "float32")
    np.testing.assert_allclose(
        gradient(lambda k: ops.sum(2 * rounding.fake_weights(k, -1)), kernel), 2 * np.ones((2, 2))
    )


class Line:
    """Rows of numbers and a sum of them that is asked for."""

    def batch(self, number: int):
        x = np.random.default_rng(number).normal(size=(32, 1, 1, 4)).astype("float32")
        return x, {"y": x[:, 0, 0] @ np.array([0.5, -1.0, 2.0, 0.05], "float32")}

    def loss(self, targets, outputs):
        return (outputs["logits"][:, 0, 0, 0] - targets["y"]) ** 2


def line() -> keras.Model:
    image = keras.Input((1, 1, 4), name="image")
    x = keras.layers.Conv2D(16, 1, name="one")(image)
    return keras.Model(image, {"logits": keras.layers.Dense(1, dtype="float32", name="logits")(x)})


def test_a_rounded_network_learns_and_is_what_rounding_makes_of_its_weights():
    keras.utils.set_random_seed(0)
    network = line()
    learner = rounding.prepare(8, network, network, spared=0)
    paths = [variable.path for variable in network.weights]
    adam = optimizer.make(replace(HOW, ema=0), learner)
    doer = step.make(learner, Line().loss, adam, step.devices())
    losses = list(doer.losses(Line(), 0, 60))
    doer.sync()
    assert np.mean(losses[-10:]) < 0.05 * np.mean(losses[:5])  # answers beyond the usual range are cut
    assert paths == [variable.path for variable in network.weights]  # ranges are the learner's
    ranges = {v.path.rpartition("/")[2]: np.asarray(v) for v in learner.non_trainable_variables}
    assert set(ranges) == {"one_in", "one_out", "logits_in", "logits_out"} and ranges["one_in"][2] == 60
    x = Line().batch(999)[0]
    known = {v.path: np.asarray(v) for v in network.weights}
    rounded = lambda x, name: np.asarray(rounding.fake_values(x, *ranges[name][:2]))  # noqa: E731
    kernels = {name: np.asarray(rounding.fake_weights(known[f"{name}/kernel"], -1)) for name in ("one", "logits")}
    hidden = rounded(rounded(x, "one_in")[:, 0, 0] @ kernels["one"][0, 0] + known["one/bias"], "one_out")
    wanted = rounded(rounded(hidden, "logits_in") @ kernels["logits"] + known["logits/bias"], "logits_out")
    np.testing.assert_allclose(np.asarray(network(x)["logits"])[:, 0, 0], wanted, atol=1e-5)
    plain = line()
    plain.set_weights(network.get_weights())
    assert np.abs(np.asarray(plain(x)["logits"])[:, 0, 0] - wanted).max() > 1e-4
    with pytest.raises(ValueError, match="bits=4"):
        rounding.prepare(4, network, network)


def test_what_flows_out_is_rounded_after_normalization_and_before_the_activation():
    """As a file does, where the normalization is a part of the convolution and the activation is not; ranges are those
    of one batch. What has an activation of its own is rounded before it, too."""
    keras.utils.set_random_seed(1)
    image = keras.Input((3, 3, 2), name="image")
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("hard_silu", name="active")(x)
    x = keras.layers.Conv2D(1, 3, activation="sigmoid", name="gate")(x)
    network = keras.Model(image, x)
    learner = rounding.prepare(8, network, network, spared=0)
    batch = np.random.default_rng(0).normal(size=(8, 3, 3, 2)).astype("float32")
    learner(batch, training=True)
    before = {v.path: np.asarray(v) for v in network.weights}
    assert np.abs(before["norm/moving_mean"]).max() > 0  # the batch was seen by it, too
    ranges = {v.name: np.asarray(v) for v in learner.variables if v.name.endswith(("_in", "_out"))}
    assert set(ranges) == {"conv_in", "conv_out", "gate_in", "gate_out"}
    rounded = lambda x, name: np.asarray(rounding.fake_values(x, *ranges[name][:2]))  # noqa: E731
    made = rounded(batch, "conv_in") @ np.asarray(rounding.fake_weights(before["conv/kernel"], -1))[0, 0]
    scale = before["norm/gamma"] / np.sqrt(before["norm/moving_variance"] + 1e-3)
    made = rounded((made - before["norm/moving_mean"]) * scale + before["norm/beta"], "conv_out")
    active = rounded(made * np.clip(made / 6 + 0.5, 0, 1), "gate_in")
    kernel = np.asarray(rounding.fake_weights(before["gate/kernel"], -1))
    gate = rounded(np.einsum("bhwc,hwco->bo", active, kernel) + before["gate/bias"], "gate_out")
    found = np.asarray(network(batch, training=False))
    np.testing.assert_allclose(found[:, 0, 0], 1 / (1 + np.exp(-gate)), atol=1e-5)


def test_what_is_nearest_to_the_picture_is_not_rounded():
    image = keras.Input((3, 3, 2), name="image")
    x = image
    for name in ("one", "two", "three"):
        x = keras.layers.Conv2D(4, 1, name=name)(x)
    network = keras.Model(image, x)
    ranges = [v.name for v in rounding.prepare(8, network, network).non_trainable_variables]
    assert ranges == ["three_in", "three_out"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_rounded_network_learns_in_half_precision(policy):
    """Ranges are of float32, and a channel whose weights are all 0 stays 0: its scale is too small for half."""
    keras.utils.set_random_seed(0)
    with train.precision(policy):
        network = line()
        learner = rounding.prepare(8, network, network, spared=0)
        adam = optimizer.make(replace(HOW, ema=0), learner)
    kernel = network.get_layer("one").kernel
    kernel.assign(np.where(np.arange(16) == 3, 0.0, np.asarray(kernel)))
    doer = step.make(learner, Line().loss, adam, step.devices())
    losses = list(doer.losses(Line(), 0, 60))
    doer.sync()
    assert np.mean(losses[-10:]) < 0.05 * np.mean(losses[:5])
    ranges = [np.asarray(v) for v in learner.non_trainable_variables]
    assert all(seen.dtype == np.float32 and seen[2] == 60 for seen in ranges)
    x = Line().batch(999)[0]
    assert np.isfinite(np.asarray(network(x)["logits"])).all()


# ---------------------------------------------------------------- sparse


def test_a_sparse_network_keeps_its_zeros_while_it_learns():
    """After half of the steps the smallest are 0, in the average, too; before, ever more of them (cubic)."""
    keras.utils.set_random_seed(0)
    network, how = line(), replace(HOW, sparsity=0.75, steps=60)
    adam = optimizer.make(how, network)
    doer = step.make(network, Line().loss, adam, step.devices())
    kernel, shares = network.get_layer("one").kernel, []
    for start in range(0, 60, 10):
        losses = list(doer.losses(Line(), start, start + 10))
        doer.sync()
        shares.append(float(np.mean(np.asarray(kernel) == 0)))
    # the masks of steps 0, 10, 20 and 30: 0.75 · (1 - (1 - t)³) of the weights less one, and the least itself
    wanted = [(int(0.75 * (1 - (1 - n / 30) ** 3) * 63) + 1) / 64 for n in (0, 10, 20, 30)]
    np.testing.assert_allclose(shares, [*wanted, wanted[-1], wanted[-1]], atol=1e-6)
    zeros = np.asarray(kernel) == 0
    with optimizer.Averaged(network, adam):
        np.testing.assert_array_equal(np.asarray(kernel)[zeros], 0)
    assert np.mean(losses) < 0.5  # of 5.3
    assert len([v for v in adam.variables if "mask" in v.path]) == 2  # they are in checkpoints; biases have none


# ---------------------------------------------------------------- eight bits in a file, and the guard


def test_the_guard_lets_pass_what_is_allowed():
    compress.guard((0.8, 0.79), 0.0101, "it")
    compress.guard((0.8, 0.9), 0.0, "it")
    with pytest.raises(compress.CompressionError, match="scores 0.7000 and the model 0.8000: 0.1000 less"):
        compress.guard((0.8, 0.7), 0.05, "it")
    with pytest.raises(compress.CompressionError):
        compress.guard((0.8, float("nan")), 0.05, "it")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory) -> Path:
    """A data set of synthetic numbers."""
    return folders.write_words(tmp_path_factory.mktemp("data") / "numbers", 3, 60, "digits", 4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A recognizer in a folder: a tiny CRNN that knows nothing."""
    keras.utils.set_random_seed(0)
    folder, card = tmp_path_factory.mktemp("model"), registry.card("crnn_mobilenet_v3_small")
    options = {**card.options, **card.test_options}
    network = registry.build(card.name, **options)
    weights.save(network, folder / "weights.safetensors", dtype="float32")
    facts = {"file": "weights.safetensors", "sha256": weights.sha256(folder / "weights.safetensors")}
    params = optimizer.parameters(network.trainable_variables)
    made = replace(card, options=options, weights=facts, published={}, results={}, params=params)
    registry.write_card(made, folder / "card.toml")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", compress.METHODS)
def test_a_file_of_eight_bits_is_smaller_and_nearly_the_same(reader, numbers, tmp_path, method):
    import onnx

    path = tmp_path / "small.onnx"
    done = compress.to_onnx(str(reader), numbers, path, method=method, most_loss=1.0)
    assert done.path == path and path.stat().st_size == done.sizes[1]
    kinds = [(tensor.data_type, np.prod(tensor.dims)) for tensor in onnx.load(path).graph.initializer]
    small = sum(size for kind, size in kinds if kind == onnx.TensorProto.INT8)
    assert small > (0.3 if method == "static" else 0.1) * zoo.load(reader).count_params()
    strips = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype("uint8")
    wanted = np.asarray(zoo.load(reader)(strips, training=False)["logits"])
    found = runtime.onnx_run(path)(strips)["logits"]
    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 1e-6 < difference < 0.1, difference


@pytest.mark.slow
def test_a_recognizer_whose_convolutions_are_rounded_reads_on(tmp_path):
    """It read 0.39 of receipts' words in place of 0.92 with all of them rounded, the two nearest to the picture, too.
    What learns to bear eight bits is rounded likewise."""
    name = "crnn_mobilenet_v3_small.european"
    data = folders.write_words(tmp_path / "words", 5, 200, "french", 8)
    done = compress.to_onnx(name, data, tmp_path / "small.onnx", method="static", most_loss=0.05, limit=100)
    assert done.scores[0] > 0.6 and done.sizes[1] < 0.8 * done.sizes[0]
    exam, network = compress.Exam(name, data, 100), zoo.load(name)
    run = runtime.in_process(network)
    learner = rounding.prepare(8, network, network)
    learner.learning = True
    for batch in exam.batches(runtime.onnx_run(runtime.onnx_path(exam.card))):
        network(batch)
    learner.learning = False
    assert exam.score(run) == pytest.approx(done.scores[1], abs=0.05)


@pytest.mark.slow
def test_a_folder_of_eight_bits_is_a_model(reader, numbers, tmp_path):
    folder = tmp_path / "eight"
    options = ["--data", str(numbers), "--output", str(folder), "--most-loss", "1"]
    assert cli.main(["compress", str(reader), *options]) == 0
    assert registry.card(folder).weights["recipe"].endswith("(dynamic)")  # as is better for recognizers
    strips = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype("uint8")
    found = runtime.connect(folder)(strips)["logits"]
    np.testing.assert_array_equal(found, runtime.onnx_run(folder / "eight.onnx")(strips)["logits"])
    wanted = np.asarray(zoo.load(reader)(strips, training=False)["logits"])
    np.testing.assert_array_equal(np.asarray(zoo.load(folder)(strips, training=False)["logits"]), wanted)
    assert 1e-6 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    with pytest.raises(FileExistsError, match="take an empty folder"):
        compress.to_onnx(str(reader), numbers, folder)


@pytest.mark.slow
def test_a_litert_file_of_eight_bits_is_smaller_and_reads_as_much(reader, numbers, tmp_path):
    path = tmp_path / "small.tflite"
    assert cli.main(["compress", str(reader), "--data", str(numbers), "--output", str(path), "--most-loss", "1"]) == 0
    run, network = litert_file.run(path), zoo.load(reader)
    for width in registry.card(reader).reading["widths"]:
        strips = np.random.default_rng(0).integers(0, 256, (1, 32, width, 3)).astype("uint8")
        wanted = np.asarray(network(strips, training=False)["logits"])
        assert np.abs(run(strips)["logits"] - wanted).max() < 0.1 * np.abs(wanted).max()
    with pytest.raises(compress.CompressionError, match="and -3 are allowed"):
        compress.to_litert(str(reader), numbers, tmp_path / "none.tflite", most_loss=-3)
    with pytest.raises(ValueError, match="recurrent layers"):
        compress.to_litert(str(reader), numbers, tmp_path / "none.tflite", method="static")
    assert [file.name for file in tmp_path.iterdir()] == ["small.tflite"]


def test_sizes_of_files_are_those_that_are_read():
    card = registry.card("crnn_mobilenet_v3_small")
    assert compress.shapes(card) == [(32, width) for width in card.reading["widths"]]
    card = replace(card, task="detection", reading={"size": [768, 768]})
    assert compress.shapes(card) == [(768, 256), (768, 512), (768, 768), (256, 768), (512, 768)]


@pytest.mark.slow
def test_a_file_that_reads_badly_is_not_written(reader, numbers, tmp_path, monkeypatch):
    """The model reads all, as it happens; its file, whose logits an accident turned round, nothing."""

    def accident(plain: Path, small: Path, batches, method: str) -> None:
        import onnx

        assert batches and batches[0].dtype == np.uint8  # what the model sees when it reads
        graph = onnx.load(plain)
        for tensor in graph.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim > 1:
                tensor.CopyFrom(onnx.numpy_helper.from_array(-3 * values, tensor.name))
        onnx.save(graph, small)

    wanted = compress.Exam(str(reader), numbers)
    texts = iter([[sample.text for sample in wanted.samples], [""] * len(wanted.samples)])

    def counts(self, recognizer, samples):
        recognizer([sample.image for sample in samples])
        if len(samples) != len(wanted.samples):  # those that calibrate
            return np.ones((1, 3), int)
        pairs = zip(next(texts), samples, strict=True)
        return np.array([(text == sample.text, 1, 1) for text, sample in pairs], int)

    monkeypatch.setattr("recipes.recognition.task.Task.counts", counts)
    (tmp_path / "small.onnx").write_bytes(b"what was there before")
    with pytest.raises(compress.CompressionError, match=r"scores 0.0000 and the model 1.0000.*nothing was written"):
        compress.to_onnx(str(reader), numbers, tmp_path / "small.onnx", method="static", quantize=accident)
    assert (tmp_path / "small.onnx").read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_the_command_says_what_it_needs(tmp_path, capsys):
    assert cli.main(["compress", "crnn_mobilenet_v3_small", "--output", str(tmp_path / "small.onnx")]) == 1
    assert "--data names the data set" in capsys.readouterr().err
    with pytest.raises(ValueError, match="method=4: there are static, dynamic"):
        compress.to_onnx("crnn_mobilenet_v3_small", tmp_path, tmp_path / "small.onnx", method="4")
    with pytest.raises(ValueError, match="method=4: there are static, dynamic"):
        compress.to_litert("crnn_mobilenet_v3_small", tmp_path, tmp_path / "small.tflite", method="4")
    command = ["compress", "crnn_mobilenet_v3_small", "--data", str(tmp_path), "--output", str(tmp_path / "small.bin")]
    assert cli.main(command) == 1
    assert "small.bin: name FILE.onnx, FILE.tflite, or a folder" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match="unet is for segmentation; there are scores for recognition, detection, spotting"
    ):
        compress.Exam("unet", tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no data set .*gone: it is no folder$"):
        compress.Exam("crnn_mobilenet_v3_small", tmp_path / "gone")
    with pytest.raises(ValueError, match="is read by two networks.*FILE.tflite holds both"):
        compress.to_onnx("ocrnet_mobilenet_v3_large", tmp_path, tmp_path / "spotter.onnx")


@pytest.mark.parametrize("write", [compress.to_onnx, compress.to_litert])
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, write):
    monkeypatch.setattr(compress, "Exam", lambda *args, **options: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"small\.x cannot be written \(.*file: Not a directory\)"):
        write("crnn_mobilenet_v3_small", tmp_path, tmp_path / "file" / "small.x")
    with pytest.raises(OSError, match="is a folder; name a file"):
        (tmp_path / "made.x").mkdir()
        write("crnn_mobilenet_v3_small", tmp_path, tmp_path / "made.x")


# ---------------------------------------------------------------- fewer channels


def test_a_folder_that_cannot_be_written_is_told_before_channels_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda name: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        compress.prune("crnn_mobilenet_v3_small", 0.3, tmp_path / "file" / "narrow")


def test_a_spotter_has_no_fewer_channels(tmp_path):
    with pytest.raises(ValueError, match="is read by two networks, .*FILE.tflite has eight bits"):
        compress.prune("ocrnet_mobilenet_v3_large", 0.3, tmp_path / "narrow")
    assert not (tmp_path / "narrow").exists()


def test_a_full_disk_leaves_no_empty_folder(reader, tmp_path, monkeypatch):
    def full(*args, **options):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(weights.WeightsError, match="narrow/weights.safetensors cannot be written"):
        compress.prune(str(reader), 0.5, tmp_path / "narrow", multiple=2)
    assert not (tmp_path / "narrow").exists()


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("small.onnx", [], "small.onnx: --prune writes a folder"),
        ("small.tflite", [], "small.tflite: --prune writes a folder"),
        ("narrow", ["--data", "somewhere"], "--prune takes --output alone"),
        ("narrow", ["--most-loss", "0"], "--prune takes --output alone"),
    ],
)
def test_pruning_refuses_what_is_of_eight_bits(tmp_path, capsys, monkeypatch, output, options, message):
    monkeypatch.setattr(compress, "prune", lambda *args: pytest.fail("it was not told at once"))
    command = ["compress", "crnn_mobilenet_v3_small", "--prune", "0.3", "--output", str(tmp_path / output), *options]
    assert cli.main(command) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_pruned_model_is_one_to_go_on_from(reader, tmp_path):
    folder = compress.prune(str(reader), 0.5, tmp_path / "pruned", multiple=2)
    card, network = registry.card(folder), zoo.load(folder)
    assert card.builder == "zoo.narrow:narrowed" and card.options["charset"] == "digits"
    assert card.params == optimizer.parameters(network.trainable_variables) < 0.9 * registry.card(reader).params
    again = compress.prune(str(folder), 0.5, tmp_path / "twice", multiple=2)
    assert registry.card(again).params < card.params and zoo.load(again).count_params() < network.count_params()
    with pytest.raises(FileExistsError, match="take an empty folder"):
        compress.prune(str(reader), 0.5, folder)
    with pytest.raises(ValueError, match="prune=1"):
        compress.prune(str(reader), 1, tmp_path / "none")
    how = Recipe(
        model=str(folder), task="recipes.recognition.task", start=str(folder), batch=4, steps=2, longest=4, widest=64,
        checkpoint_every=2, validate_every=2, validation=4,
    )  # fmt: skip
    parts = train.assemble(how)
    np.testing.assert_array_equal(
        np.asarray(parts.network.get_layer("stem_conv").kernel), np.asarray(network.get_layer("stem_conv").kernel)
    )
    assert json.loads(json.dumps(card.options["filters"]))["stem_conv"] < 16


def test_a_spotters_file_sees_whole_pages_of_one_size(tmp_path):
    """Even where its card has it look at small print once more, from closer."""
    data = folders.write_pages(tmp_path / "pages", 3, 24)
    name = "ocrnet_mobilenet_v3_large"
    assert registry.card(name).reading["small"] > 0
    spotter = compress.Exam(name, data, 2, 1, closer=False).reader((None, None))
    assert (spotter.detector.size, spotter.detector.multiple, spotter.detector.small) == ((1024, 1024), 1024, 0)
    assert compress.Exam(name, data, 2, 1).reader((None, None)).detector.small > 0
