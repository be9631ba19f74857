"""SavedModels with operations of TF Text, which TensorFlow Serving has and TensorFlow's wheel has not."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving import wire
from serving.servable import Servable


@pytest.fixture
def unknown(tmp_path):
    """A SavedModel in which an operation is of TF Text, by its name."""
    module = tf.Module()
    module.count = tf.function(
        lambda x: {"y": tf.strings.length(x)}, input_signature=[tf.TensorSpec([None], tf.string, name="x")]
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.count})
    path = tmp_path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in saved.meta_graphs:
        for nodes in (meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)):
            for node in nodes:
                if node.op == "StringLength":
                    node.op = "TFText>NoSuchOperation"
    path.write_bytes(saved.SerializeToString())
    return tmp_path


def test_without_the_package_it_is_named(unknown, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)  # an import of it fails
    with pytest.raises(tf.errors.NotFoundError, match=r"TFText>NoSuchOperation.*pip install tensorflow-text"):
        Servable(unknown)


def test_an_operation_that_the_package_lacks_is_named(unknown, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", types.ModuleType("tensorflow_text"))
    with pytest.raises(tf.errors.NotFoundError, match="TFText>NoSuchOperation") as caught:
        Servable(unknown)
    assert "pip install" not in str(caught.value)


@pytest.mark.slow
def test_words_are_counted(tmp_path):
    """In a process that has not imported the package: `pip install ".[dev]"` has it."""
    import subprocess

    write = (
        "import sys, tensorflow as tf, tensorflow_text as text\n"
        "module = tf.Module()\n"
        "count = lambda x: {'y': text.WhitespaceTokenizer().tokenize(x).row_lengths()}\n"
        "module.count = tf.function(count, input_signature=[tf.TensorSpec([None], tf.string, name='x')])\n"
        "tf.saved_model.save(module, sys.argv[1], signatures={'serving_default': module.count})\n"
    )
    subprocess.run([sys.executable, "-c", write, str(tmp_path)], check=True, capture_output=True)
    counts = Servable(tmp_path).predict("serving_default", {"x": wire.encode([b"one page, four words", b"one"])})
    np.testing.assert_array_equal(counts["y"], [4, 1])
