"""Exports: what is in them, that they answer like the network and like the reading path, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2
from toys import LOCAL

from serving import client as clients
from serving import export as exports
from serving.client import Client
from serving.export import ExportError, export, plan_of, preparation, verify, write
from serving.models import version_numbers
from serving.server import Server
from zoo import cli, registry, runtime
from zoo import image as images
from zoo.charset import Charset
from zoo.detection.db import db
from zoo.reading import Detector, Reader, Recognizer
from zoo.recognition.crnn import crnn

WIDTHS = [32, 64, 128]
SIZE = (96, 128)
PAGE = (256, 320)


@pytest.fixture(scope="module")
def recognizer() -> keras.Model:
    keras.utils.set_random_seed(1)
    return crnn(features="mobilenet_v3_test_r", charset="digits", units=8, name="tiny_crnn")


@pytest.fixture
def small() -> keras.Model:
    """A network of the same contract that is exported in a second."""
    keras.utils.set_random_seed(3)
    image = keras.Input((32, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, (32, 4), strides=(32, 4), name="columns")(x)  # (B, 1, W/4, 4)
    x = keras.layers.Reshape((-1, 4))(x)
    return keras.Model(image, {"logits": keras.layers.Dense(3, name="logits")(x)}, name="small")


@pytest.fixture(scope="module")
def detector() -> keras.Model:
    keras.utils.set_random_seed(2)
    return db(features="mobilenet_v3_test", channels=16, name="tiny_db")


def ink() -> keras.Model:
    """A detector without training: text is where it is dark."""
    image = keras.Input((None, None, 3), name="image")
    dark = keras.layers.AveragePooling2D((9, 13), strides=1, padding="same")(image)
    at = keras.initializers.Constant
    logits = keras.layers.Conv2D(1, 1, kernel_initializer=at(-0.1), bias_initializer=at(65), name="logits")(dark)
    return keras.Model(image, {"logits": logits}, name="ink")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, recognizer, detector):
    """A folder with the networks exported."""
    folder = tmp_path_factory.mktemp("saved_models")
    assert export(recognizer, folder, reading={"widths": WIDTHS}) == folder / "tiny_crnn" / "1"
    assert export(detector, folder, reading={"size": SIZE}) == folder / "tiny_db" / "1"
    assert export(ink(), folder, reading={"size": PAGE}) == folder / "ink" / "1"
    return folder


@pytest.fixture(scope="module")
def client(folder):
    with Server(folder, "127.0.0.1:0") as server, Client(f"127.0.0.1:{server.port}", options=LOCAL) as connected:
        yield connected


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: smooth colours and sharp words."""
    coarse = np.random.default_rng(seed).integers(90, 255, (4, 5, 3), "uint8")
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.putText(picture, "3.1415", (2, height * 3 // 4), cv2.FONT_HERSHEY_SIMPLEX, height / 40, (20, 0, 60), 2)
    return picture


def encode(picture: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


# --- what lies there -------------------------------------------------------------------------------------------------


def test_weights_are_written_once(folder, recognizer):
    path = str(folder / "tiny_crnn" / "1" / "variables" / "variables")
    shapes = [shape for name, shape in tf.train.list_variables(path) if "OBJECT_GRAPH" not in name]
    assert sorted(map(tuple, shapes)) == sorted(tuple(v.shape) for v in recognizer.variables)


def test_a_detector_is_exported_without_its_training_head(folder, detector):
    path = str(folder / "tiny_db" / "1" / "variables" / "variables")
    count = sum(1 for name, _ in tf.train.list_variables(path) if "OBJECT_GRAPH" not in name)
    kept = [v for v in detector.variables if not v.path.startswith(("border", "threshold"))]
    assert count == len(kept) < len(detector.variables)


def test_the_manifest_holds_the_checksum_of_every_file(folder):
    version = folder / "tiny_db" / "1"
    manifest = json.loads((version / "assets.extra" / "manifest.json").read_text())
    files = {str(p.relative_to(version)): p for p in version.rglob("*") if p.is_file() and p.name != "manifest.json"}
    assert manifest["sha256"] == {k: hashlib.sha256(p.read_bytes()).hexdigest() for k, p in files.items()}
    assert (manifest["name"], manifest["task"], manifest["reading"]["size"]) == ("tiny_db", "detection", list(SIZE))
    assert manifest["signatures"]["pixels"] == {
        "inputs": {"image": {"shape": [None, None, None, 3], "dtype": "uint8"}},
        "outputs": {"logits": {"shape": [None, None, None, 1], "dtype": "float32"}},
    }
    assert manifest["software"]["tensorflow"] == tf.__version__


def test_the_official_message_reads_the_warm_up_file(folder):
    path = folder / "tiny_crnn" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    assert {request.model_spec.name for request in requests} == {"tiny_crnn"}
    pixels = [tf.make_ndarray(r.inputs["image"]) for r in requests if r.model_spec.signature_name == "pixels"]
    assert [array.shape for array in pixels] == [(1, 32, width, 3) for width in WIDTHS]
    encoded = [tf.make_ndarray(r.inputs["image_bytes"]) for r in requests if "image_bytes" in r.inputs]
    assert [len(array) for array in encoded] == [1, 2]
    assert all(tf.io.decode_png(item).shape[2] == 1 for array in encoded for item in array)  # grey


def test_versions_count_up_and_nothing_else_is_left(small, tmp_path):
    export(small, tmp_path, version=7)
    assert export(small, tmp_path).name == "8"
    assert sorted(os.listdir(tmp_path / "small")) == ["7", "8"]
    before = (tmp_path / "small" / "7" / "saved_model.pb").stat().st_mtime_ns
    with pytest.raises(ExportError, match=r"7 exists; give another version"):
        export(small, tmp_path, version=7)
    assert (tmp_path / "small" / "7" / "saved_model.pb").stat().st_mtime_ns == before
    assert sorted(os.listdir(tmp_path / "small")) == ["7", "8"]


def test_what_a_killed_export_left_goes_with_a_later_one(tmp_path):
    killed, other = tmp_path / "small" / ".tmp-00000000", tmp_path / "small" / ".tmp-11111111"
    for folder, age in ((killed, 2 * 24 * 3600), (other, 3600)):  # another export may be at work since an hour
        (folder / "variables").mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    exports._make(tmp_path / "small", None, lambda folder: (folder / "saved_model.pb").touch())
    assert sorted(os.listdir(tmp_path / "small")) == [other.name, "1"]


def test_a_version_appears_whole(tmp_path, monkeypatch):
    hidden, home = tmp_path / "m" / ".tmp-1", tmp_path / "m"
    (hidden / "variables").mkdir(parents=True)
    (hidden / "saved_model.pb").write_bytes(b"graph")
    (home / "3").mkdir()
    (home / "3" / "saved_model.pb").write_bytes(b"of another")
    seen = iter([{}, version_numbers(home)])  # another export takes the number between looking and renaming
    (home / "1").mkdir()
    (home / "1" / "x").write_bytes(b"")
    monkeypatch.setattr(exports, "version_numbers", lambda _: next(seen))
    assert exports._publish(hidden, home, None) == home / "4"
    assert (home / "4" / "saved_model.pb").read_bytes() == b"graph" and not hidden.exists()


# --- the gate --------------------------------------------------------------------------------------------------------


def test_keras_own_way_of_saving_is_refused(small, tmp_path):
    plan = plan_of(small, reading={"widths": WIDTHS})
    module = tf.Module()
    module.network = plan.network  # tracks Keras variables: it loads in the C++ server and fails each request
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=exports._signatures(plan))
    with pytest.raises(ExportError, match=r'signature "pixels" fails in the C\+\+ server: Could not find variable'):
        verify(tmp_path / "1", plan)


def test_other_weights_are_refused(small, tmp_path):
    plan = plan_of(small, reading={"widths": WIDTHS})
    write(plan, tmp_path / "1")
    verify(tmp_path / "1", plan)
    kernel = small.get_layer("logits").kernel
    before = kernel.numpy()
    try:
        kernel.assign(before * 1.1)
        with pytest.raises(ExportError, match="differs from the network by"):
            verify(tmp_path / "1", plan)
    finally:
        kernel.assign(before)


def test_a_damaged_export_is_refused(small, tmp_path):
    plan = plan_of(small, reading={"widths": WIDTHS})
    write(plan, tmp_path / "1")
    (tmp_path / "1" / "variables" / "variables.index").unlink()
    with pytest.raises(ExportError, match=r"does not load in the C\+\+ server"):
        verify(tmp_path / "1", plan)


def test_nothing_is_left_of_a_refused_export(small, tmp_path, monkeypatch):
    def wrong(plan, folder):
        module = tf.Module()
        module.network = plan.network
        tf.saved_model.save(module, str(folder), signatures=exports._signatures(plan))

    monkeypatch.setattr(exports, "write", wrong)
    with pytest.raises(ExportError, match="fails in the C"):
        export(small, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_name_with_a_dot(small, tmp_path):
    """As variants of a card have them."""
    variant = keras.Model(small.input, small.output, name="small.lines")
    assert export(variant, tmp_path) == tmp_path / "small.lines" / "1"


def test_a_run_is_exported_whatever_its_folder_is_called(tmp_path):
    run = tmp_path / "Läufe (2)"
    run.mkdir()
    card = registry.card("crnn_mobilenet_v3_small")
    options = {"features": "mobilenet_v3_test_r", "charset": "digits", "units": 8}
    registry.write_card(replace(card, options=options, weights={}, published={}), run / "card.toml")
    plan = plan_of(run, None)
    assert plan.name == run.name
    assert tf.function(plan.network)(tf.zeros((1, 32, 128, 3)))["logits"].shape == (1, 32, 11)


def test_a_full_disk_is_said(small, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, usual[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(ExportError, match=f"{tmp_path / 'small'} cannot be written to: .*File too large"):
            export(small, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(detector, tmp_path):
    with pytest.raises(ExportError, match="both sides must be multiples of 32"):
        export(detector, tmp_path, reading={"size": (100, 128)})
    image = keras.Input((8, 8, 3))
    classes = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)), name="classes")
    with pytest.raises(ExportError, match=r"what classes is for cannot be told from logits of shape \(None, 2\)"):
        export(classes, tmp_path)


# --- answers ---------------------------------------------------------------------------------------------------------


def close(answer: np.ndarray, expected: np.ndarray) -> bool:
    return answer.shape == expected.shape and np.abs(answer - expected).max() < 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 48), (2, 32, 260)])
def test_a_recognizer_answers_like_the_network(client, recognizer, shape):
    batch = np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")
    answer = client.run("tiny_crnn")(batch)
    assert list(answer) == ["logits"] and answer["logits"].shape == (shape[0], shape[2] // 4, 11)
    assert close(answer["logits"], recognizer.predict_on_batch(batch)["logits"])


@pytest.mark.parametrize("shape", [(1, 32, 64), (2, 96, 128), (1, 160, 32)])
def test_a_detector_answers_like_the_network(client, detector, shape):
    batch = np.random.default_rng(0).integers(0, 256, (*shape, 3), "uint8")
    answer = client.run("tiny_db")(batch)
    assert list(answer) == ["logits"]
    assert close(answer["logits"], detector.predict_on_batch(batch)["logits"])


@pytest.mark.parametrize("shape", [(300, 400), (40, 50), (96, 128), (30, 500), (500, 20), (95, 129)])
def test_pages_are_letterboxed_as_the_reading_path_does(detector, shape):
    picture = photograph(*shape)
    prepared = preparation(plan_of(detector, reading={"size": SIZE}))(tf.constant([encode(picture)]))
    expected, scale = images.letterbox(picture, SIZE)
    height, width = expected.shape[:2]
    got = prepared["image"][0].numpy()
    assert got.shape == (*SIZE, 3)
    assert np.abs(got[:height, :width].astype(int) - expected).max() <= 2
    assert not got[height:].any() and not got[:, width:].any()
    assert np.allclose(prepared["scale"][0], scale)


@pytest.mark.parametrize("shape", [(64, 100), (20, 31), (32, 64), (10, 200), (90, 8)])
def test_words_are_made_strips_as_the_reading_path_does(recognizer, shape):
    picture = photograph(*shape)
    prepared = preparation(plan_of(recognizer, reading={"widths": WIDTHS}))(tf.constant([encode(picture)]))
    width = next((w for w in WIDTHS if w >= images.strip_width(picture, 32)), WIDTHS[-1])
    got = prepared["image"][0].numpy()
    assert got.shape == (32, width, 3)
    assert np.abs(got.astype(int) - images.strip(picture, 32, width)).max() <= 2


def test_a_batch_of_words_is_as_wide_as_its_widest_needs(client):
    words = [encode(photograph(32, width)) for width in (20, 60, 33)]
    together = client.predict("tiny_crnn", {"image_bytes": words})["logits"]
    assert together.shape == (3, 64 // 4, 11)
    alone = client.predict("tiny_crnn", [words[1]])
    assert close(together[1:2], alone["logits"])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF"])
def test_encoded_pages_are_read(client, detector, form):
    data = encode(photograph(192, 256), form)
    answer = client.predict("tiny_db", {"image_bytes": [data, data]})
    expected, _ = images.letterbox(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), SIZE)
    reference = detector.predict_on_batch(expected[None])["logits"]
    assert answer["scale"].tolist() == [[2, 2], [2, 2]]
    # Decoders of JPEG differ by a few levels; the logits then differ a little.
    assert np.abs(answer["logits"][0] - reference[0]).max() < 0.05 * np.abs(reference).max()
    assert close(answer["logits"][0], answer["logits"][1])


def test_grey_palette_and_transparent_pictures(recognizer):
    prepare = preparation(plan_of(recognizer, reading={"widths": WIDTHS}))

    def strip(picture: Image.Image) -> np.ndarray:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return prepare(tf.constant([buffer.getvalue()]))["image"][0].numpy()

    colour = Image.fromarray(photograph(32, 64))
    grey = colour.convert("L")
    assert (strip(grey) == np.asarray(grey)[..., None]).all()
    palette = colour.quantize(16)
    assert (strip(palette) == np.asarray(palette.convert("RGB"))).all()
    ink = np.zeros((32, 64, 4), "uint8")  # black everywhere; to be seen only where it is opaque
    ink[8:20, 5:40, 3] = 255
    ink[22:28, 5:40, 3] = 51
    expected = np.full((32, 64, 3), 255, "uint8")
    expected[8:20, 5:40], expected[22:28, 5:40] = 0, 204
    assert (strip(Image.fromarray(ink)) == expected).all()
    assert (strip(Image.fromarray(np.dstack([ink[..., 0], ink[..., 3]]))) == expected).all()  # grey with alpha


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", encode(photograph(32, 64), "JPEG")[:60]])
def test_a_file_that_is_no_picture_is_refused(client, data):
    with pytest.raises(clients.InvalidRequest):
        client.predict("tiny_db", {"image_bytes": [data]})
    with pytest.raises(clients.InvalidRequest):
        client.predict("tiny_crnn", {"image_bytes": [encode(photograph(32, 64)), data]})
    assert client.predict("tiny_crnn", [encode(photograph(32, 64))])["logits"].shape == (1, 16, 11)  # it lives


def test_wrong_pixels_are_refused(client):
    with pytest.raises(clients.InvalidRequest, match="uint8"):
        client.run("tiny_db")(np.zeros((1, 32, 32, 3), "float32"))
    with pytest.raises(clients.ServingError):
        client.run("tiny_db")(np.zeros((1, 32, 32, 4), "uint8"))
    with pytest.raises(clients.NotFound, match=r"Servable not found for request: Latest\(db\)"):
        client.run("db")(np.zeros((1, 32, 32, 3), "uint8"))


@pytest.mark.parametrize("model", ["tiny_db", "tiny_crnn"])
def test_a_batch_of_no_pictures_is_refused_as_in_this_process(client, model):
    with pytest.raises(clients.InvalidRequest, match="a batch of no pictures: give one or more"):
        client.predict(model, {"image": np.zeros((0, 32, 64, 3), "uint8")}, signature="pixels")
    with pytest.raises(clients.InvalidRequest, match="a batch of no pictures: give one or more"):
        client.predict(model, {"image_bytes": np.array([], object)})


@pytest.mark.parametrize("sides", [(64, 97), (33, 64), (64, 0)])
def test_pixels_of_sides_that_a_network_does_not_take_are_refused(client, sides):
    height, width = sides
    with pytest.raises(
        clients.InvalidRequest, match=rf"an image of\] \[{height} {width}\] \[pixels has a side .* multiple of 32"
    ):
        client.predict("tiny_db", {"image": np.zeros((1, *sides, 3), "uint8")}, signature="pixels")


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("tiny_db", (1, 32, 64, 1)),
        ("tiny_db", (1, 32, 64, 4)),
        ("tiny_crnn", (2, 32, 64, 1)),
        ("tiny_crnn", (1, 64, 64, 3)),
        ("tiny_crnn", (1, 16, 64, 3)),
    ],
)
def test_pixels_of_a_shape_that_the_signature_does_not_have_are_refused(client, model, shape):
    wanted = {"tiny_db": r"\(batch, height, width, 3\)", "tiny_crnn": r"\(batch, 32, width, 3\)"}[model]
    sides = " ".join(map(str, shape))
    with pytest.raises(clients.InvalidRequest, match=rf"pixels of shape\] \[{sides}\] \[: {wanted} is taken"):
        client.predict(model, {"image": np.zeros(shape, "uint8")}, signature="pixels")


def test_a_word_is_decoded_as_in_this_process(client, recognizer):
    strip = images.strip(photograph(40, 90), 32, 128)[None]
    here = Charset("digits").decode_batch(recognizer.predict_on_batch(strip)["logits"])[0]
    there = Charset("digits").decode_batch(client.run("tiny_crnn")(strip)["logits"])[0]
    assert there.text == here.text and there.score == pytest.approx(here.score, rel=1e-4)


def test_a_page_read_through_the_server_is_the_page_read_here(client, recognizer):
    page = np.full((*PAGE, 3), 255, "uint8")
    for row, text in enumerate(["one 2", "three", "4 five"]):
        for column, word in enumerate(text.split()):
            where = (20 + 150 * column, 60 + 70 * row)
            cv2.putText(page, word, where, cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 3)
    networks = {"ink": ink(), "tiny_crnn": recognizer}

    def read(run):
        find = Detector(run("ink"), size=PAGE, multiple=32)
        return Reader(find, Recognizer(run("tiny_crnn"), "digits", widths=WIDTHS)).read(page)

    here = read(lambda name: networks[name].predict_on_batch)
    there = read(client.run)
    assert len(here.words) == 5 and there.text == here.text
    for one, other in zip(there.words, here.words, strict=True):
        assert one.polygon == pytest.approx(other.polygon, abs=0.01)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)


# --- by name, and from the command line ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_released_model_by_name(tmp_path):
    path = export("crnn_mobilenet_v3_small", tmp_path, weights=None)
    manifest = json.loads((path / "assets.extra" / "manifest.json").read_text())
    assert manifest["card"]["builder"] == "zoo.recognition.crnn:crnn" and "folder" not in manifest["card"]
    data = path / "variables" / "variables.data-00000-of-00001"
    assert data.stat().st_size < 1.05 * 4 * manifest["parameters"]


def test_a_spotter_is_exported_with_the_language_that_is_asked_for(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(registry, "load", lambda *args: None)
    monkeypatch.setattr(runtime, "parts", lambda card, network: SimpleNamespace(locate=None, view=None, read=None))
    monkeypatch.setattr(exports, "make_spotter", lambda spotting, *args: made.append(spotting))
    command = ["export", "ocrnet_mobilenet_v3_large"]
    assert cli.main(command) == 0 and made.pop().table is not None
    assert cli.main([*command, "--spelling", "none"]) == 0 and made.pop().table is None
    assert cli.main([*command, "--spelling", "klingon"]) == 1 and not made
    assert "there is no language 'klingon'" in capsys.readouterr().err


@pytest.mark.parametrize("make", [exports.export_ocr, lambda folder: export("db_resnet50", folder=folder)])
def test_a_folder_that_cannot_be_written_is_told_before_a_network_is_loaded(make, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda *_, **__: pytest.fail("loaded"))
    (tmp_path / "file").write_text("of another kind")
    with pytest.raises(NotADirectoryError, match=r"file.* cannot be written .*Not a directory.*name a place that can"):
        make(folder=tmp_path / "file")


def test_a_version_that_is_there_is_told_before_a_network_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "load", lambda *_, **__: pytest.fail("loaded"))
    for name in ("lenet5", "ocr"):
        (tmp_path / name / "3").mkdir(parents=True)
        assert cli.main(["export", name, "--version", "3", "--folder", str(tmp_path)]) == 1
        assert f"{tmp_path / name / '3'} exists; give another version" in capsys.readouterr().err


def test_a_version_that_no_server_takes_is_refused(small, tmp_path):
    with pytest.raises(ExportError, match=f"version {2**63}: servers take numbers below"):
        export(small, tmp_path, version=2**63)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_told_before_others_are_exported(monkeypatch, capsys):
    monkeypatch.setattr(exports, "export", lambda *args, **options: pytest.fail("it was not told at once"))
    monkeypatch.setattr(exports, "export_ocr", lambda *args, **options: pytest.fail("it was not told at once"))
    assert cli.main(["export", "ocr", "crnn_mobilenet_v3_small", "no_such_model"]) == 1
    assert "no model is named 'no_such_model'" in capsys.readouterr().err
    assert cli.main(["export", "crnn_mobilenet_v3_small", "deeplabv3_resnet50"]) == 1
    assert "no weights were released for deeplabv3_resnet50" in capsys.readouterr().err
    assert cli.main(["export", "ocr", "ocrnet_mobilenet_v3_large", "unet_small", "--spelling", "none"]) == 1
    assert "unet_small answers with logits" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [sys.executable, "-m", "zoo.cli", "export", "no_such_model", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "no_such_model" in done.stderr and "Traceback" not in done.stderr
