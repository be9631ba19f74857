"""Steps on one device, in parts, on two devices, on two machines, in other precisions: the same outcome."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from recipes import fused, optimizer, step, train
from recipes.recipe import Recipe
from zoo.image import ImageError

HERE = Path(__file__).parent
HOW = Recipe(model="", task="", rate=0.1, warmup=0, steps=10, ema=0.5, clip=1.0, decay=0.01)


def lines() -> keras.Model:
    """A network without batch statistics or chance: (B, 4) → (B, 3)."""
    x = keras.Input((4,), name="image")
    y = keras.layers.Dense(5, activation="tanh", name="hidden")(x)
    return keras.Model(x, {"logits": keras.layers.Dense(3, dtype="float32", name="classes")(y)}, name="lines")


def squares(targets, outputs):
    return keras.ops.mean((outputs["logits"] - targets["y"]) ** 2, -1)


class Task:
    """Batches of eight rows of random numbers."""

    told = ()

    def batch(self, number: int):
        rng = np.random.default_rng(number)
        return rng.normal(size=(8, 4)).astype("float32"), {"y": rng.normal(size=(8, 3)).astype("float32")}


def run(how: Recipe, steps: int = 4, rounded: bool = False) -> tuple[list[float], keras.Model, keras.Optimizer]:
    """Losses, network and optimizer after some steps from seed 0."""
    keras.utils.set_random_seed(0)
    network = lines()
    adam = optimizer.make(how, network)
    one = step.make(network, squares, adam, step.devices(), how.accumulate, rounded)
    losses = list(one.losses(Task(), 0, steps))
    one.sync()
    return losses, network, adam


def assert_equal_weights(network: keras.Model, other: keras.Model, tolerance: float = 1e-6) -> None:
    for one, two in zip(network.weights, other.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), atol=tolerance, rtol=0, err_msg=one.path)


def test_embeddings_learn():
    """TensorFlow's gradients of them are slices. Only the rows that are looked up move."""
    x = keras.Input((4,), name="image")
    codes = keras.layers.Embedding(3, 3, name="codes")
    y = codes(keras.ops.cast(x > 0, "int32"))
    network = keras.Model(x, {"logits": keras.ops.mean(y, 1)}, name="looked_up")
    before = np.asarray(codes.embeddings).copy()
    one = step.make(network, squares, optimizer.make(replace(HOW, decay=0.0), network), step.devices(), 2)
    assert np.isfinite(list(one.losses(Task(), 0, 2))).all()
    one.sync()
    assert (np.asarray(codes.embeddings) != before).any(1).tolist() == [True, True, False]


def test_what_is_wrong_with_a_batch_is_told_as_it_was():
    """Not as TensorFlow tells of a function that failed in its graph."""

    class Torn(Task):
        def batch(self, number: int):
            if number == 2:
                raise ImageError("p5.jpg: damaged")
            return super().batch(number)

    network = lines()
    one = step.make(network, squares, optimizer.make(HOW, network), step.devices())
    with pytest.raises(ImageError, match=r"^p5.jpg: damaged$"):
        list(one.losses(Torn(), 0, 4))


def test_batches_of_other_sizes_are_not_traced_again():
    class Growing(Task):
        def batch(self, number: int):
            pixels, targets = super().batch(number)
            return np.repeat(pixels, number + 1, 0), {"y": np.repeat(targets["y"], number + 1, 0)}

    network, traced = lines(), []

    def counted(targets, outputs):
        traced.append(1)
        return squares(targets, outputs)

    one = step.make(network, counted, optimizer.make(HOW, network), step.devices())
    assert len(set(one.losses(Growing(), 0, 4))) == 4
    list(one.losses(Growing(), 4, 6))
    assert len(traced) <= 2


@pytest.mark.parametrize("parts", [2, 8])
def test_parts_of_a_batch_are_worth_the_whole(parts):
    """Also with clipping and an average of the weights, which come after the parts are together."""
    losses, network, adam = run(HOW)
    parted, other, slots = run(replace(HOW, accumulate=parts))
    np.testing.assert_allclose(parted, losses, rtol=1e-5)
    assert_equal_weights(network, other)
    for one, two in zip(adam.variables, slots.variables, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), atol=1e-6)
    assert len(set(losses)) == 4


def test_a_step_is_adamw_by_hand():
    """One step from zero moments: each weight moves by the rate against the sign of its gradient, after decay."""
    keras.utils.set_random_seed(0)
    network = lines()
    before = {v.path: np.asarray(v).copy() for v in network.weights}
    one = step.make(network, squares, optimizer.make(replace(HOW, clip=1e9), network), step.devices())
    list(one.losses(Task(), 0, 1))
    one.sync()
    kernel = np.asarray(network.get_layer("classes").kernel)
    decayed = before["classes/kernel"] * (1 - 0.1 * 0.01)
    np.testing.assert_allclose(np.abs(kernel - decayed), 0.1, rtol=1e-3)
    np.testing.assert_allclose(np.abs(np.asarray(network.get_layer("classes").bias)), 0.1, rtol=1e-3)


def test_rates_fall_from_the_outputs_and_layers_thaw_one_after_the_other():
    network = lines()
    assert optimizer.depth(network) == {
        "hidden/kernel": 1, "hidden/bias": 1, "classes/kernel": 0, "classes/bias": 0,
    }  # fmt: skip
    _, start, _ = run(HOW, 0)
    _, slow, _ = run(replace(HOW, layer_decay=0.1, decay=0.0, ema=0.0), 1)
    move = {
        v.path: np.abs(np.asarray(v) - np.asarray(w)).mean() for v, w in zip(slow.weights, start.weights, strict=True)
    }
    assert move["classes/kernel"] == pytest.approx(0.1, rel=1e-2) and move["hidden/kernel"] == pytest.approx(
        0.01, rel=1e-2
    )
    how = replace(HOW, unfreeze_every=2, decay=0.0, ema=0.0)
    _, held, _ = run(how, 2)
    _, thawed, _ = run(how, 3)
    hidden = [np.asarray(network.get_layer("hidden").kernel) for network in (start, held, thawed)]
    np.testing.assert_array_equal(hidden[0], hidden[1])
    assert np.abs(hidden[2] - hidden[0]).max() > 0.01


def test_weights_are_drawn_to_where_they_began():
    """With a strong pull the weights end nearer to the start, which stays in the optimizer."""
    _, start, _ = run(HOW, 0)
    _, free, _ = run(replace(HOW, decay=0.0, rate=0.02), 30)
    _, held, adam = run(replace(HOW, decay=0.0, rate=0.02, pull=100.0), 30)

    def moved(network):
        return max(
            np.abs(np.asarray(v) - np.asarray(w)).max() for v, w in zip(network.weights, start.weights, strict=True)
        )

    assert moved(held) < 0.5 * moved(free)
    np.testing.assert_array_equal(np.asarray(adam.starts[0]), np.asarray(start.get_layer("hidden").kernel))
    assert any(v is adam.starts[0] for v in adam.variables)  # a checkpoint holds it


def test_half_precision_learns_nearly_the_same():
    losses, network, _ = run(HOW)
    with train.precision("mixed_float16"):
        halved, other, adam = run(HOW)
        assert other.get_layer("hidden").compute_dtype == "float16"
    assert isinstance(adam, keras.optimizers.LossScaleOptimizer)
    np.testing.assert_allclose(halved, losses, rtol=2e-2)
    assert other.get_layer("hidden").kernel.dtype == "float32" and keras.config.dtype_policy().name == "float32"
    assert (
        np.abs(np.asarray(network.get_layer("hidden").kernel) - np.asarray(other.get_layer("hidden").kernel)).max() > 0
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's")
def test_products_of_bfloat16_learn_nearly_the_same(monkeypatch):
    """Layers and weights are float32 all the while; a processor that is slower by it is told apart."""
    losses, _, _ = run(HOW)
    monkeypatch.setattr(fused, "multiplies_bfloat16", lambda: True)
    with train.precision(fused.BFLOAT16):
        rounded, other, _ = run(HOW, rounded=True)
        assert other.get_layer("hidden").compute_dtype == "float32"
    np.testing.assert_allclose(rounded, losses, rtol=2e-2)
    monkeypatch.setattr(fused, "multiplies_bfloat16", lambda: False)
    with pytest.raises(train.RunError, match="neither AVX512_BF16 nor AMX"), train.precision(fused.BFLOAT16):
        pass
    with pytest.raises(train.RunError, match="precision=half: give one of float32, mixed_float16"):
        train.precision("half").__enter__()


def test_a_loss_too_large_for_half_precision_skips_a_step_and_lowers_the_scale():
    with train.precision("mixed_float16"):
        network = lines()
        adam = optimizer.make(HOW, network)
        one = step.make(network, lambda *args: 1e6 * squares(*args), adam, step.devices())
        before = np.asarray(network.get_layer("classes").kernel).copy()
        list(one.losses(Task(), 0, 1))
        one.sync()
        np.testing.assert_array_equal(np.asarray(network.get_layer("classes").kernel), before)
        assert float(keras.ops.convert_to_numpy(adam.dynamic_scale)) < adam.initial_scale


def test_layers_are_frozen_by_name_and_a_name_that_fits_none_is_an_error():
    network = lines()
    train.freeze(network, ["hid*"])
    assert [v.path for v in network.trainable_variables] == ["classes/kernel", "classes/bias"]
    with pytest.raises(train.RunError, match="freeze=block1: no layer of lines .*; give hidden, classes$"):
        train.freeze(network, ["block1"])
    many = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4, name=f"one_{k}") for k in "abc")])
    with pytest.raises(train.RunError, match=r"; give one\*$"):
        train.freeze(many, ["two*"])
    with pytest.raises(train.RunError, match="leaves nothing to learn"):
        train.freeze(network, ["*"])


def test_devices_are_those_of_this_machine():
    with pytest.raises(ValueError, match=r"--devices CPU:77 FOO: this machine has CPU:0"):
        step.devices(["CPU:0", "CPU:77", "foo"])
    for names in (["CPU:0"], ["/device:cpu:0", "CPU:0"]):  # however it is written, and once
        one = step.make(lines(), squares, optimizer.make(HOW, lines()), step.devices(names))
        assert one.replicas == 1


@pytest.mark.parametrize(("backend", "together"), [("tensorflow", True), ("jax", False)])
def test_several_devices_normalize_together_by_what_their_framework_knows(backend, together, monkeypatch):
    """On JAX a batch is one array, however many devices hold it: Keras refuses to bring their statistics together."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    network = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="norm")])
    train.tune(network, 2)
    assert network.get_layer("norm").synchronized is together


def test_several_machines_are_refused_on_jax(monkeypatch):
    """Each would train by itself, and all would write to one folder."""
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 1}}))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="TF_CONFIG names 2 workers.*KERAS_BACKEND=tensorflow"):
        step.devices()


# ---------------------------------------------------------------- slow: several devices, several processes


def script(arguments: list[str], **environment: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE / "devices.py"), *arguments],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_two_devices_are_worth_one(tmp_path):
    """With batch normalization over both, parts, clipping and an average of the weights, all at once."""
    found = result(script(["mirrored", str(tmp_path / "float32")]))
    assert found["replicas"] == 2 and found["difference"] < 1e-6 and found["moved"] > 1e-2, found
    np.testing.assert_allclose(found["losses"][0], found["losses"][1], rtol=1e-5)
    # Without oneDNN, which dies on virtual machines that hide the matrix unit of their processor.
    halved = result(script(["bfloat16", str(tmp_path / "bfloat16")], TF_ENABLE_ONEDNN_OPTS="0"))
    np.testing.assert_allclose(halved["losses"], found["losses"][1], rtol=0.2)
    assert halved["losses"] != found["losses"][1]


def test_one_device_that_was_chosen_is_taken(tmp_path):
    found = result(script(["chosen", str(tmp_path)]))
    assert found["places"] == ["CPU:1"]
    np.testing.assert_allclose(*found["losses"], rtol=1e-5)


def result(process: subprocess.Popen) -> dict:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def workers(folder: Path, *arguments: str) -> list[subprocess.Popen]:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    return [
        script(
            ["worker", str(folder), *arguments],
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]


@pytest.mark.slow
def test_two_machines_go_on_after_one_is_killed(tmp_path):
    whole = workers(tmp_path / "whole")
    outputs = [process.communicate(timeout=600)[0] for process in whole]
    assert [process.returncode for process in whole] == [0, 0], outputs

    first, second = workers(tmp_path / "parts", "0.3")
    deadline = time.monotonic() + 300
    while not (tmp_path / "parts/checkpoint.safetensors").is_file():
        assert time.monotonic() < deadline and second.poll() is None, second.communicate()[0]
        time.sleep(0.05)
    second.kill()
    output, _ = first.communicate(timeout=300)
    second.communicate()
    assert first.returncode not in (0, None) and "another worker is gone" in output, output

    again = workers(tmp_path / "parts")
    outputs = [process.communicate(timeout=600)[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], outputs
    one, other = ((tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts"))
    losses = [[float(line.split(",")[1]) for line in lines[1:]] for lines in (one, other)]
    assert len(losses[0]) == 5
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
