"""Cards are read, checked and written; names lead to them; `import zoo` stays light."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import registry, runtime
from zoo.registry import CARDS, Card, CardError, UnknownName, read_card, write_card

TEXT = """
task = "recognition"
builder = "zoo.recognition.crnn:crnn"
summary = "Reads."
paper = "https://example.org/paper"
licence = "Apache-2.0"
params = 12_345

[options]
features = "mobilenet_v3_small_r"

[test_options]
units = 8

[reading]
height = 32
"""
SHA = "0123456789abcdef" * 4


def card_file(folder: Path, text: str = TEXT, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_card_holds_what_its_file_says(tmp_path):
    card = read_card(card_file(tmp_path))
    assert card.name == "mine"
    assert card.folder == tmp_path.resolve()
    assert card.params == 12345
    assert card.options == {"features": "mobilenet_v3_small_r"}
    assert card.weights == {} and card.results == {}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("licence =", "license =", "license: unknown key; is 'licence' meant?"),
        ("[reading]", "[extras]", "extras: unknown key"),
        ('summary = "Reads."\n', "", "summary: missing key"),
        ("12_345", '"many"', "params: 'many' should be a whole number"),
        ("12_345", "true", "params: True should be a whole number"),
        ("12_345", "0", "params: 0 is not the number"),
        ('"recognition"', '"reading"', "task: 'reading' is none of detection"),
        ("crnn:crnn", "crnn.crnn", "builder: 'zoo.recognition.crnn.crnn' is not of the form"),
        ("zoo.recognition.crnn:crnn", "os:system", "builder: 'os:system' is not of the form"),
        ("height = 32", "height = ", "not TOML"),
        ("height = 32", f'[weights]\nsha256 = "{SHA}"', "weights: either 'file' or 'url'"),
        ("height = 32", '[weights]\nfile = "a"\nurl = "b"', "weights: either 'file' or 'url'"),
        ("height = 32", '[weights]\nurl = "http://x/y"', "weights: 'sha256' is missing"),
        ("height = 32", '[weights]\nfile = "y"\nsha256 = "12AB"', "weights: sha256: '12AB' is not 64"),
        ("height = 32", '[weights]\nfile = "y"\nsize = "big"', "weights: size: 'big' should be a whole number"),
        ("height = 32", "[results]\nhmean = 0.5", "results.hmean: 0.5 is not a table"),
        ("height = 32", '[results."a/b"]\nhmean = [1]', 'results."a/b".hmean: [1] is neither'),
    ],
)
def test_a_wrong_card_is_refused_by_file_and_key(tmp_path, old, new, complaint):
    assert old in TEXT
    path = card_file(tmp_path, TEXT.replace(old, new))
    with pytest.raises(CardError) as caught:
        read_card(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_a_written_card_reads_as_it_was(tmp_path):
    card = dataclasses.replace(
        read_card(card_file(tmp_path)),
        weights={"file": "mine.safetensors", "sha256": SHA, "seconds": 1.5e9, "data": ["sroie/train", 'own \\ "x"\n']},
        results={
            "sroie/test": {"hmean": 0.1 + 0.2, "pages": 347, "command": "zoo evaluate mine", "lost": float("inf")}
        },
        reading={"size": [1024, 768], "rotated": True, "nested": {"à b": [1.0, -2.5e-7]}},
    )
    write_card(card, tmp_path / "mine.toml")
    assert read_card(tmp_path / "mine.toml") == card
    assert os.listdir(tmp_path) == ["mine.toml"]


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
tables = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.one_of(scalars, st.lists(scalars)))


@given(options=tables, reading=st.dictionaries(st.text("ab-_.é \n"), tables))
def test_any_options_survive_writing(tmp_path_factory, options, reading):
    folder = tmp_path_factory.mktemp("card")
    card = Card("any", folder, "detection", "zoo.a:b", "", "", "", 1, options, {}, reading)
    write_card(card, folder / "any.toml")
    assert read_card(folder / "any.toml") == card


def test_what_is_no_card_is_not_written(tmp_path):
    path = card_file(tmp_path)
    card = read_card(path)
    for broken in (dataclasses.replace(card, task="none"), dataclasses.replace(card, options={"x": object()})):
        with pytest.raises(CardError):
            write_card(broken, path)
    assert path.read_text() == TEXT
    assert os.listdir(tmp_path) == ["mine.toml"]


@pytest.mark.parametrize("name", zoo.names())
def test_released_cards_are_as_the_tools_write_them(name, tmp_path):
    """So that `zoo release` and a hand do not undo each other's form."""
    write_card(zoo.card(name), tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_text() == (CARDS / f"{name}.toml").read_text()


def test_names_by_task():
    assert {"db_resnet50", "db_mobilenet_v3_large"} <= set(zoo.names("detection"))
    assert {"crnn_vgg16_bn", "crnn_mobilenet_v3_small", "crnn_mobilenet_v3_large"} <= set(zoo.names("recognition"))
    assert zoo.names() == sorted(zoo.names())
    assert not set(zoo.names("detection")) & set(zoo.names("recognition"))
    with pytest.raises(ValueError, match="'ocr'.*detection, recognition"):
        zoo.names("ocr")


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownName, match=r"'db_resnet5'.*nearest: db_resnet50"):
        zoo.card("db_resnet5")
    with pytest.raises(UnknownName, match="nearest: crnn_vgg16_bn"):
        zoo.load("CRNN_VGG16")
    with pytest.raises(UnknownName, match="there are: .*db_resnet50"):
        zoo.build("qqqq")


def test_a_run_is_named_by_its_folder(tmp_path, monkeypatch):
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    with pytest.raises(UnknownName, match=r"first' holds no card\.toml"):
        zoo.card(run)
    (run / "recipe.json").touch()
    with pytest.raises(UnknownName, match=r"first' holds no card\.toml yet: the first validation writes it"):
        zoo.card(run)
    card_file(run, name="card.toml")
    monkeypatch.chdir(tmp_path)
    for name in (run, str(run), "runs/first", "runs/first/"):
        assert zoo.card(name).name == "first"
        assert zoo.card(name).folder == run.resolve()


@pytest.mark.parametrize("name", ["Läufe (2)", "-x", "数据"])
def test_a_run_is_read_whatever_its_folder_is_called(tmp_path, name):
    """TensorFlow's scopes take a few characters only."""
    run = tmp_path / name
    run.mkdir()
    card_file(run, name="card.toml")
    network = zoo.build(run, charset="abc", units=8)
    assert zoo.card(run).name == name
    assert runtime.in_process(network)(np.zeros((1, 32, 32, 3), "uint8"))["logits"].shape == (1, 8, 4)


def test_a_wrong_builder_is_named(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    card_file(run, TEXT.replace("crnn:crnn", "crnn:cnn"), "card.toml")
    with pytest.raises(CardError, match="has no function 'cnn'"):
        zoo.build(run)
    card_file(run, TEXT.replace("crnn:crnn", "krnn:crnn"), "card.toml")
    with pytest.raises(CardError, match=r"no module 'zoo\.recognition\.krnn'"):
        zoo.build(run)


def test_without_a_framework_building_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for module in [key for key in sys.modules if key.startswith(("zoo.recognition", "zoo.backbones", "zoo.layers"))]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ocrzoo\[tensorflow\]'"):
        zoo.build("crnn_mobilenet_v3_small")


def test_a_framework_that_keras_is_told_to_use_and_lacks(monkeypatch):
    def absent(module):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    monkeypatch.setattr(registry.importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match="No module named 'jax'.*KERAS_BACKEND=tensorflow would do"):
        zoo.build("crnn_mobilenet_v3_small")


@pytest.mark.parametrize("name", ["crnn_mobilenet_v3_small", "db_mobilenet_v3_large", "unet_small", "lenet5"])
def test_channels_first_are_refused_by_their_name(name):
    """Layers take the order from Keras's settings, and the network is written for the other one."""
    keras = pytest.importorskip("keras")
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="'channels_first'; networks here take .*'channels_last'"):
            zoo.build(name)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_public_names_are_there():
    for name in zoo.__all__:
        assert getattr(zoo, name).__name__ == name
        assert name in dir(zoo)
    with pytest.raises(AttributeError, match="no attribute 'loda'"):
        _ = zoo.loda
    assert zoo.build is registry.build


def test_importing_and_listing_import_no_framework():
    heavy = ["tensorflow", "keras", "jax", "torch", "cv2", "onnxruntime", "PIL", "pypdfium2"]
    code = f"""
import sys, zoo
assert set(sys.modules) & {{"zoo.registry", "zoo.weights", "numpy"}} == set(), "import zoo imports more than itself"
from zoo.cli import main
assert main(["list"]) == main(["recipes"]) == 0
found = [name for name in {heavy} if name in sys.modules]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "db_resnet50" in done.stdout and "detection.db_resnet50" in done.stdout and done.stderr == ""
