"""LiteRT files: the same as the network, for each size, with the weights in them once."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from zoo import cli, litert_file, registry, runtime
from zoo.sampling import RegionAlign

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="files are made of TensorFlow's graphs")


@pytest.fixture(scope="module")
def map_network() -> keras.Model:
    """A small network of maps at half the sides, which answers zeros below and on the right of a picture with zeros."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", use_bias=False)(x)
    return keras.Model(image, {"logits": keras.layers.Conv2D(2, 1, use_bias=False)(x)})


@pytest.fixture(scope="module")
def recognizer() -> keras.Model:
    keras.utils.set_random_seed(1)
    card = registry.card("crnn_mobilenet_v3_small")
    return runtime.inference(registry.build(card.name, **{**card.options, **card.test_options}))


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def test_the_smallest_size_that_holds_a_picture_is_taken():
    sizes = [(64, 64), (64, 96), (96, 64), (128, 128)]
    assert litert_file.holding((64, 64), sizes) == (64, 64)
    assert litert_file.holding((65, 20), sizes) == (96, 64)
    assert litert_file.holding((65, 65), sizes) == (128, 128)
    with pytest.raises(ValueError, match="a picture of 32x129 pixels; this file takes 64x64, 64x96, 96x64, 128x128"):
        litert_file.holding((32, 129), sizes)


def test_a_network_on_another_framework_has_no_file(map_network, monkeypatch, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="made of TensorFlow's graphs: KERAS_BACKEND=tensorflow, not jax"):
        litert_file.write(map_network, tmp_path / "maps.tflite", [(64, 32)])
    assert list(tmp_path.iterdir()) == []


def test_a_file_answers_as_the_network_for_each_of_its_sizes(map_network, tmp_path):
    path = tmp_path / "maps.tflite"
    litert_file.write(map_network, path, [(64, 32), (32, 64), (32, 64)])
    run = litert_file.run(path)
    for shape in ((2, 64, 32, 3), (1, 32, 64, 3)):
        batch = pictures(*shape)
        np.testing.assert_allclose(run(batch)["logits"], map_network.predict_on_batch(batch)["logits"], atol=1e-5)


def test_regions_of_a_map_are_brought_to_one_size_in_a_file(tmp_path):
    """As Faster R-CNN does; LiteRT's quick kernels take no mean of seven axes."""
    keras.utils.set_random_seed(2)
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    corners = keras.layers.Dense(8, "sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
    boxes = keras.layers.Reshape((2, 4))(corners) * np.array([8, 8, 32, 32], "float32")
    level = keras.layers.AveragePooling2D(4)(x)
    network = keras.Model(image, {"logits": RegionAlign(3, usual=64.0)([boxes, level])})
    batch = pictures(2, 32, 32, 3)
    litert_file.write(network, tmp_path / "regions.tflite", [(32, 32)])
    found = litert_file.run(tmp_path / "regions.tflite")(batch)["logits"]
    assert found.shape == (2, 2, 3, 3, 3) and np.ptp(found) > 0.01
    np.testing.assert_allclose(found, network.predict_on_batch(batch)["logits"], atol=1e-5)


def test_a_smaller_picture_is_seen_among_zeros_and_its_part_of_the_map_is_given(map_network, tmp_path):
    path, batch = tmp_path / "maps.tflite", pictures(1, 50, 31, 3)
    litert_file.write(map_network, path, [(64, 32)])
    padded = np.pad(batch, ((0, 0), (0, 14), (0, 1), (0, 0)))
    wanted = map_network.predict_on_batch(padded)["logits"][:, :25, :16]
    found = litert_file.run(path)(batch)["logits"]
    assert found.shape == (1, 25, 16, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="a picture of 64x33 pixels"):
        litert_file.run(path)(pictures(1, 64, 33, 3))
    with pytest.raises(ValueError, match=r"a batch of no pictures, of shape \(0, 64, 32, 3\)"):
        litert_file.run(path)(pictures(0, 64, 32, 3))


def test_eight_bits_are_nearly_the_same(map_network, tmp_path):
    path, batch = tmp_path / "maps.tflite", pictures(3, 64, 32, 3)
    wanted = map_network.predict_on_batch(batch)["logits"]
    litert_file.write(map_network, path, [(64, 32)], "static", [batch, pictures(1, 99, 99, 3)])  # that is left out
    difference = np.abs(litert_file.run(path)(batch)["logits"] - wanted).max() / np.abs(wanted).max()
    assert 1e-6 < difference < 0.05


def test_what_cannot_be_is_said_and_nothing_written(map_network, recognizer, tmp_path):
    path = tmp_path / "file.tflite"
    with pytest.raises(ValueError, match="method=4: there are float, dynamic, static"):
        litert_file.write(map_network, path, [(64, 32)], "4")
    with pytest.raises(ValueError, match="give some"):
        litert_file.write(map_network, path, [(64, 32)], "static")
    with pytest.raises(ValueError, match="has recurrent layers.*method=dynamic"):
        litert_file.write(recognizer, path, [(32, 64)], "static", [pictures(1, 32, 64, 3)])
    assert not list(tmp_path.iterdir())


def test_what_litert_cannot_run_is_told_by_the_command(tmp_path, monkeypatch, capsys):
    image = keras.Input((None, None, 3), name="image")
    network = keras.Model(image, {"logits": keras.ops.det(image[:, :3, :3, 0])}, name="squares")
    monkeypatch.setattr(
        "recipes.compress.to_litert", lambda model, data, path: litert_file.write(network, path, [(32, 32)])
    )
    path = tmp_path / "small.tflite"
    assert cli.main(["compress", "lenet5", "--data", str(tmp_path), "--output", str(path)]) == 1
    assert "zoo compress: LiteRT has no way to run squares: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_opened_is_told_and_not_written(map_network, tmp_path, monkeypatch):
    def fail(path):
        raise RuntimeError("tensorflow/lite/kernels/concatenation.cc: failed to prepare\nNode number 3")

    monkeypatch.setattr(litert_file, "run", fail)
    with pytest.raises(litert_file.LitertError, match="no way to run .*failed to prepare$"):
        litert_file.write(map_network, tmp_path / "maps.tflite", [(64, 32)])
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_than_its_network_is_not_written(map_network, tmp_path, monkeypatch):
    monkeypatch.setattr(litert_file, "run", lambda path: lambda batch: {"logits": np.zeros((1, 32, 16, 2))})
    (tmp_path / "maps.tflite").write_bytes(b"what was there before")
    with pytest.raises(litert_file.LitertError, match="logits of its LiteRT file differs by"):
        litert_file.write(map_network, tmp_path / "maps.tflite", [(64, 32)])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there before"]


def test_a_full_place_for_temporary_files_is_told_and_nothing_written(map_network, tmp_path, monkeypatch):
    tf = pytest.importorskip("tensorflow")

    def full(*args, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "saved_model.pb; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="cannot be written to: .*No space left on device; TMPDIR names another place"):
        litert_file.write(map_network, tmp_path / "maps.tflite", [(64, 32)])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_recurrent_networks_run_and_weights_are_in_the_file_once(recognizer, tmp_path):
    one, three, small = (tmp_path / f"{name}.tflite" for name in ("one", "three", "small"))
    sizes = [(32, 64), (32, 96), (32, 128)]
    litert_file.write(recognizer, one, sizes[:1])
    litert_file.write(recognizer, three, sizes)
    litert_file.write(recognizer, small, sizes, "dynamic")
    weights = 4 * recognizer.count_params()
    assert three.stat().st_size - one.stat().st_size < 0.7 * 2 * one.stat().st_size
    assert one.stat().st_size > weights and small.stat().st_size < three.stat().st_size
    for width in (64, 96, 128):
        batch = pictures(2, 32, width, 3)
        wanted = recognizer.predict_on_batch(batch)["logits"]
        np.testing.assert_allclose(litert_file.run(three)(batch)["logits"], wanted, atol=1e-4)
        assert np.abs(litert_file.run(small)(batch)["logits"] - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.slow
def test_a_spotters_parts_run_as_they_do_in_process(tmp_path):
    """Words in two batches of the file's, the second not full."""
    keras.utils.set_random_seed(2)
    card = registry.card("ocrnet_mobilenet_v3_large")
    network = registry.build(card.name, **{**card.options, **card.test_options})
    divided, path = runtime.parts(card, network), tmp_path / "spotter.tflite"
    litert_file.write_parts(divided.locate, divided.read, path, (64, 64), [32, 48])
    locate, read = litert_file.run_parts(path)
    page = pictures(1, 64, 64, 3)
    seen, wanted = locate(page), divided.locate.predict_on_batch(page)
    assert seen.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(seen[name], value, atol=1e-4)
    corners = np.array([[4, 6], [50, 8], [50, 24], [4, 22]], "float32")
    words = corners + np.arange(litert_file.WORDS + 3, dtype="float32")[None, :, None, None]
    columns = (np.arange(48) < 40).astype("float32") * np.ones((1, words.shape[1], 1), "float32")
    told = {"words": words, "columns": columns}
    views = divided.view.predict_on_batch({"image": page.astype("float32"), "features": seen["features"], **told})
    np.testing.assert_allclose(read(views)["text"], divided.read.predict_on_batch(views)["text"], atol=1e-4)
    with pytest.raises(ValueError, match=r"takes pages of 64 by 64, not \(1, 64, 128, 3\); read with size=\(64, 64\)"):
        locate(pictures(1, 64, 128, 3))
    with pytest.raises(ValueError, match="recurrent layers"):
        litert_file.write_parts(divided.locate, divided.read, path, (64, 64), [32], "static")
