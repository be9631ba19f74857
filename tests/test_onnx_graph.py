"""ONNX graphs are made quicker without another value: each change by hand, and whole networks."""

from __future__ import annotations

import copy
import gc

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, checker, helper, numpy_helper
from tf2onnx import optimizer
from tf2onnx.graph import Graph
from tf2onnx.optimizer import optimizer_base

from zoo import onnx_file, registry, runtime
from zoo.onnx_graph import quicker


def model(nodes, constants, kind=TensorProto.FLOAT, outputs=("y",)):
    graph = helper.make_graph(
        [helper.make_node(*args[:3], name=f"node{i}", **(args[3] if len(args) > 3 else {}))
         for i, args in enumerate(nodes)],
        "graph",
        [helper.make_tensor_value_info("x", kind, list("nabc"))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list("defg")) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(made, x):
    checker.check_model(made)
    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )


def kinds(made) -> list[str]:
    return [node.op_type for node in made.graph.node]


def same(make, x, wanted: list[str]) -> None:
    """The quicker graph has these nodes and, to rounding, the same values."""
    before = run(make(), x)
    made = quicker(make())
    assert kinds(made) == wanted
    for one, other in zip(before, run(made, x), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


FLOATS = np.random.default_rng(0).normal(0, 4, (2, 3, 4, 5)).astype("float32")
PICTURE = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), "uint8")
SCALE, SHIFT = np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3])


def picture(scale=SCALE, perm=(0, 3, 1, 2)):
    nodes = [
        ("Cast", ["x"], ["f"], {"to": TensorProto.FLOAT}),
        ("Mul", ["f", "scale"], ["m"]),
        ("Add", ["m", "shift"], ["a"]),
        ("Transpose", ["a"], ["y"], {"perm": list(perm)}),
    ]  # fmt: skip
    return model(nodes, {"scale": scale, "shift": SHIFT}, TensorProto.UINT8)


def test_a_picture_is_turned_into_planes_while_it_is_bytes():
    same(picture, PICTURE, ["Transpose", "Cast", "Mul", "Add"])
    same(lambda: picture(np.float32(0.5)), PICTURE, ["Transpose", "Cast", "Mul", "Add"])


def test_another_turn_stays():
    same(lambda: picture(perm=(0, 1, 3, 2)), PICTURE, ["Cast", "Mul", "Add", "Transpose"])


def gate(top=6.0, scale=1 / 6, outputs=("y",)):
    nodes = [
        ("Add", ["x", "three"], ["a"]), ("Clip", ["a", "zero", "top"], ["c"]), ("Mul", ["c", "scale"], ["s"]),
        ("Mul", ["x", "s"], ["y"]),
    ]  # fmt: skip
    constants = {"three": np.float32(3), "zero": np.float32(0), "top": np.float32(top), "scale": np.float32(scale)}
    return model(nodes, constants, outputs=outputs)


def test_a_hard_sigmoid_becomes_one():
    same(gate, FLOATS, ["HardSigmoid", "Mul"])


@pytest.mark.parametrize("others", [{"top": 4.0}, {"scale": 0.5}, {"outputs": ("y", "c")}])
def test_what_is_no_hard_sigmoid_or_asked_for_stays(others):
    same(lambda: gate(**others), FLOATS, ["Add", "Clip", "Mul", "Mul"])


def enlarged(kernel=2, stride=2, norm=(4, 1, 1), bias=False):
    """As the converter writes it: cut and padded to a size that it computes from the shape."""
    rng = np.random.default_rng(1)
    constants = {
        "kernel": rng.normal(size=(3, 4, kernel, kernel)).astype("float32"), "bias": np.float32([1, 2, 3, 4]),
        "starts": np.int64([0, 0]), "ends": np.int64([8, 10]), "axes": np.int64([2, 3]), "pads": np.zeros(8, "int64"),
        "scale": rng.normal(size=norm).astype("float32"), "shift": rng.normal(size=norm).astype("float32"),
    }  # fmt: skip
    nodes = [
        ("ConvTranspose", ["x", "kernel"] + ["bias"] * bias, ["t"],
         {"strides": [stride] * 2, "kernel_shape": [kernel] * 2}),
        ("Shape", ["t"], ["shape"]), ("Cast", ["shape"], ["unused"], {"to": TensorProto.FLOAT}),
        ("Slice", ["t", "starts", "ends", "axes"], ["cut"]), ("Pad", ["cut", "pads"], ["padded"]),
        ("Mul", ["padded", "scale"], ["m"]), ("Add", ["shift", "m"], ["a"]), ("Relu", ["a"], ["y"]),
    ]  # fmt: skip
    return model(nodes, constants)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [(4, 1, 1), (1, 4, 1, 1), (1,)])
def test_normalization_goes_into_a_transposed_convolution(norm, bias):
    same(lambda: enlarged(norm=norm, bias=bias), FLOATS, ["ConvTranspose", "Relu"])


def test_what_overhangs_is_cut():
    same(lambda: enlarged(kernel=3), FLOATS, ["ConvTranspose", "Slice", "Pad", "Mul", "Add", "Relu"])


def test_a_constant_along_the_width_is_no_normalization():
    nodes = [
        ("ConvTranspose", ["x", "kernel"], ["t"], {"strides": [1, 1], "kernel_shape": [1, 1]}),
        ("Mul", ["t", "ramp"], ["y"]),
    ]
    constants = {"kernel": np.ones((3, 5, 1, 1), "float32"), "ramp": np.arange(5, dtype="float32")}
    same(lambda: model(nodes, constants), FLOATS, ["ConvTranspose", "Mul"])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("sides", [(2, 2), (2, 3), (1, 2)])
def test_two_transposed_convolutions_spread_late(sides, relu):
    rng = np.random.default_rng(2)
    constants = {
        "one": rng.normal(size=(3, 4, sides[0], sides[0])).astype("float32"), "biases": np.float32([1, -2, 3, -4]),
        "other": rng.normal(size=(4, 2, sides[1], sides[1])).astype("float32"),
    }  # fmt: skip
    how = [{"strides": [side] * 2, "kernel_shape": [side] * 2} for side in sides]
    nodes = [
        ("ConvTranspose", ["x", "one", "biases"], ["a"], how[0]), ("Relu", ["a"], ["b"]),
        ("ConvTranspose", ["b" if relu else "a", "other"], ["y"], how[1]),
    ]  # fmt: skip
    nodes = nodes if relu else [nodes[0], nodes[2]]
    wanted = ["Conv", *["Relu"] * relu, "Conv", "DepthToSpace", "DepthToSpace"]
    same(lambda: model(nodes, constants), FLOATS, wanted)


@pytest.mark.parametrize("forgotten", [False, True])
def test_planes_of_one_channel_are_turned_round(forgotten):
    """The converter's way, with the last step forgotten or not."""
    nodes = [("Reshape", ["x", "shape"], ["y" if forgotten else "r"]), ("Squeeze", ["r", "zero"], ["y"])]
    constants = {"shape": np.int64([1, -1, 0, 0, 1]), "zero": np.int64([0])}
    made = quicker(model(nodes[: 1 if forgotten else 2], constants))
    assert kinds(made) == ["Transpose"]
    np.testing.assert_array_equal(run(made, FLOATS[:, :1])[0], FLOATS[:, :1].transpose(0, 2, 3, 1))


def test_a_file_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    image = keras.Input((None, None, 3), name="image")
    maps = keras.layers.Conv2D(2, 1, name="logits")(keras.layers.Rescaling(1 / 255, name="scale")(image))
    network = keras.Model(image, {"logits": maps}, name="toy")
    onnx_file.write(network, tmp_path / "right.onnx")

    def worse(made):
        for given in made.graph.initializer:
            given.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(given) * 2, given.name))
        return made

    monkeypatch.setattr(onnx_file, "quicker", worse)
    with pytest.raises(onnx_file.OnnxError, match="toy: logits of its ONNX file differs by"):
        onnx_file.write(network, tmp_path / "wrong.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["right.onnx"]


def test_few_copies_of_a_network_are_there_while_its_file_is_made(tmp_path, monkeypatch):
    """The converter makes one before each of its passes, which hold each other: large networks took ten gigabytes."""
    image = keras.Input((None, None, 3), name="image")
    network = keras.Model(image, {"logits": keras.layers.Conv2D(2, 1, name="logits")(image)}, name="toy")
    passed, alive = optimizer_base.GraphOptimizerBase.optimize, []

    def optimize(self, graph, iteration):
        alive.append(sum(isinstance(thing, Graph) for thing in gc.get_objects()))
        return passed(self, graph, iteration)

    monkeypatch.setattr(optimizer_base.GraphOptimizerBase, "optimize", optimize)
    onnx_file.write(network, tmp_path / "toy.onnx")
    assert len(alive) > 10 and max(alive) <= 3
    assert optimizer.copy is copy and not gc.get_freeze_count()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_takes_a_shape_of_what_goes_takes_another_as_large(place):
    """The size of a picture as floats, which it is no longer, at each step."""
    made = picture()
    made.graph.node.append(helper.make_node("Shape", [made.graph.node[place].output[0]], ["s"], "size"))
    made.graph.output.append(helper.make_tensor_value_info("s", TensorProto.INT64, [4]))
    before = run(made, PICTURE)
    quicker(made)
    assert kinds(made)[:2] != ["Cast", "Mul"]
    for one, other in zip(before, run(made, PICTURE), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)


def test_a_hard_sigmoid_whose_size_is_asked_for():
    nodes = [
        ("Add", ["x", "three"], ["a"]), ("Clip", ["a", "zero", "six"], ["c"]), ("Mul", ["c", "sixth"], ["y"]),
        ("Shape", ["c"], ["s"]),
    ]  # fmt: skip
    constants = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6), "sixth": np.float32(1 / 6)}
    made = model(nodes, constants)
    made.graph.output.append(helper.make_tensor_value_info("s", TensorProto.INT64, [4]))
    before = run(made, FLOATS)
    assert "HardSigmoid" in kinds(quicker(made))
    for one, other in zip(before, run(made, FLOATS), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_what_a_branch_takes_from_outside_is_kept():
    """A picture's floats as planes, which change places elsewhere, and a constant, both in the body of a branch."""

    def body(name, kind):
        node = helper.make_node(kind, ["m", "three"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, 1, None)])

    branches = {"then_branch": body("t", "Add"), "else_branch": body("e", "Mul")}
    nodes = [
        ("Cast", ["x"], ["c"], {"to": 1}), ("Mul", ["c", "two"], ["m"]), ("Add", ["m", "one"], ["a"]),
        ("Transpose", ["a"], ["p"], {"perm": [0, 3, 1, 2]}), ("ReduceMax", ["p"], ["top"], {"keepdims": 0}),
        ("Greater", ["top", "one"], ["yes"]), ("If", ["yes"], ["y"], branches),
    ]  # fmt: skip
    constants = {"one": np.float32(1), "two": np.float32(2), "three": np.float32(3)}
    made = quicker(model(nodes, constants))
    np.testing.assert_allclose(run(made, FLOATS)[0], 2 * FLOATS + 3 if FLOATS.max() > 0 else 6 * FLOATS, rtol=1e-6)


def test_only_whole_planes_are_pooled():
    def mean(axes, keep=1):
        return model([("ReduceMean", ["x", "axes"], ["y"], {"keepdims": keep})], {"axes": np.int64(axes)})

    same(lambda: mean([2, 3]), FLOATS, ["GlobalAveragePool"])
    same(lambda: mean([-2, -1]), FLOATS, ["GlobalAveragePool"])
    same(lambda: mean([1, 3]), FLOATS, ["ReduceMean"])


@pytest.mark.parametrize("mode", ["align_corners", "half_pixel"])
def test_resizing_to_a_multiple_of_the_size_is_by_a_factor(mode):
    """As the converter writes it: two sides as they are, and the others times three."""
    constants = {
        "zero": np.int64([0]), "two": np.int64([2]), "four": np.int64([4]), "three": np.int64([3]),
        "none": np.float32([]),
    }  # fmt: skip
    nodes = [
        ("Shape", ["x"], ["shape"]), ("Slice", ["shape", "zero", "two", "zero"], ["stay"]),
        ("Slice", ["shape", "two", "four", "zero"], ["grow"]), ("Mul", ["grow", "three"], ["grown"]),
        ("Concat", ["stay", "grown"], ["sizes"], {"axis": 0}),
        ("Resize", ["x", "none", "none", "sizes"], ["y"],
         {"mode": "linear", "coordinate_transformation_mode": mode}),
    ]  # fmt: skip
    same(lambda: model(nodes, constants), FLOATS, ["Resize"])
    other = [*nodes[:3], ("Add", ["grow", "three"], ["grown"]), *nodes[4:]]
    kept = ["Shape", "Slice", "Slice", "Add", "Concat", "Resize"]
    same(lambda: model(other, constants), FLOATS, kept)


def test_what_has_been_made_quicker_stays_as_it_is():
    once = quicker(enlarged()).SerializeToString()
    assert quicker(onnx.load_from_string(once)).SerializeToString() == once


@pytest.mark.parametrize("name", ["db_mobilenet_v3_large", "crnn_mobilenet_v3_small"])
def test_files_of_networks_have_nothing_left_over_and_the_same_values(name, tmp_path):
    network = registry.build(name, **registry.card(name).test_options)
    rng = np.random.default_rng(0)  # not zero, as biases are at first: the converter leaves these out, and is confused
    network.set_weights([weight + rng.uniform(0, 0.2, weight.shape) for weight in network.get_weights()])
    runtime.export(network, tmp_path / "network.onnx")
    made = kinds(onnx.load(tmp_path / "network.onnx"))
    assert "HardSigmoid" in made and "Clip" not in made
    if name.startswith("db"):
        assert made[:2] == ["Transpose", "Cast"] and made.count("DepthToSpace") == 2
        assert "Resize" in made and not {"MatMul", "ConvTranspose", "ReduceMean"} & set(made)
    shape = (2, 64, 96, 3) if name.startswith("db") else (3, 32, 64, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    ours = runtime.in_process(network)(batch)["logits"]
    found = runtime.onnx_run(tmp_path / "network.onnx")(batch)["logits"]
    assert found.shape == ours.shape and np.abs(found - ours).max() < 1e-5 * np.abs(ours).max()
