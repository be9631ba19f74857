"""Versions that are TensorFlow Lite files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from toys import LOCAL, publish

from serving import client as clients
from serving import wire
from serving.client import Client
from serving.server import Server
from serving.tflite import TfLite


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """The folder of a version whose file answers y = 3 x."""
    folder = tmp_path_factory.mktemp("lite") / "toy" / "4"
    folder.mkdir(parents=True)
    module = tf.Module()
    module.triple = tf.function(
        lambda x: {"y": 3 * x}, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")]
    )
    function = module.triple.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], module).convert()
    (folder / "model.tflite").write_bytes(content)
    return folder


def test_batches_of_any_size(lite):
    model = TfLite(lite)
    (signature,) = model.signatures
    (name,), (output,) = model.signatures[signature].inputs, model.signatures[signature].outputs
    for rows in (1, 3, 2):
        x = np.arange(rows, dtype="float32")[:, None]
        assert model.predict(signature, {name: wire.encode(x)})[output].tolist() == (3 * x).tolist()


def test_a_lite_file_is_taken_before_a_saved_model(lite, toys, tmp_path):
    publish(toys / "1", tmp_path / "toy" / "1")
    content = (lite / "model.tflite").read_bytes()
    (tmp_path / "toy" / "1" / "model.tflite").write_bytes(content)
    for tflite, expected in ((True, 12), (False, 4)):
        with (
            Server(tmp_path, "127.0.0.1:0", tflite=tflite) as server,
            Client(f"127.0.0.1:{server.port}", options=LOCAL) as client,
        ):
            answer = client.predict("toy", np.float32([[4]]))
            assert [value.item() for value in answer.values()] == [expected]
            with pytest.raises(clients.InvalidRequest):
                client.predict("toy", {"other": np.float32([[4]])})
