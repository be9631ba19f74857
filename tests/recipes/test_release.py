"""Releases: three files or none, weights that score as the run's do, and golden outputs that are kept."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import zoo
from recipes import origin, recipe, release, train
from zoo import cli, registry, runtime, weights


@pytest.fixture
def run(small, tmp_path):
    return made("crnn_mobilenet_v3_small", small, tmp_path / "run")


def made(name, small, folder):
    """The folder of a run with a small network's weights."""
    card = zoo.card(name)
    weights.save(small(name), folder / "weights.safetensors", dtype="float32")
    how = replace(recipe.find(f"{card.task}.{name}"), options=card.test_options, validation=4, rate=0.1)
    (folder / "recipe.json").write_text(json.dumps(asdict(how)))
    table = {"file": "weights.safetensors", "data": ["synthetic words"], "seconds": 12.5, "device": "abacus"}
    options = {**card.options, **card.test_options}
    trained = replace(card, options=options, weights=table, results={"validation": {"score": 0.25}})
    registry.write_card(trained, folder / "card.toml")
    return folder


@pytest.fixture
def cards(tmp_path, monkeypatch):
    folder = tmp_path / "cards"
    folder.mkdir()
    original = registry.CARDS / "crnn_mobilenet_v3_small.toml"
    (folder / original.name).write_bytes(original.read_bytes())
    monkeypatch.setattr(registry, "CARDS", folder)
    return folder


def test_every_model_with_weights_gives_its_golden_outputs():
    """Here, on this machine and framework, what its weights gave where they were released."""
    released = [name for name in zoo.names() if zoo.card(name).weights]
    differences = {name: release.check(name) for name in released}
    assert {name: value for name, value in differences.items() if value > 1e-3} == {}


def test_a_run_becomes_a_model(run, cards, small, capsys):
    assert cli.main(["release", str(run)]) == 0
    out = capsys.readouterr().out
    name = "crnn_mobilenet_v3_small"
    assert {path.name for path in cards.iterdir()} == {
        f"{name}{end}" for end in (".toml", ".safetensors", ".golden.npz")
    }
    card = zoo.card(name)
    file = cards / f"{name}.safetensors"
    assert card.weights["sha256"] == weights.sha256(file) and card.weights["size"] == file.stat().st_size
    assert card.weights["sha256"] in out and "difference" in out
    assert (
        card.weights["recipe"].startswith(f"recipes.recognition.{name}, options=")
        and "rate=0.1" in card.weights["recipe"]
    )
    kept = ("data", "seconds", "device", "dtype", "version")
    assert [card.weights[key] for key in kept] == [["synthetic words"], 12.5, "abacus", "float16", zoo.__version__]
    assert card.results == {"validation": {"score": 0.25}}
    assert card.params == sum(int(np.prod(v.shape)) for v in small(name).trainable_variables)
    assert card.gflops == 0  # those of the card before are of another network
    assert release.check(name) < 1e-3
    half = weights.read(file)
    for variable in small(name).trainable_variables:
        np.testing.assert_allclose(half[variable.path], np.asarray(variable), atol=2e-3, rtol=2e-3)


def test_values_of_the_run_that_the_released_card_keeps_otherwise_are_told(run, cards, capsys):
    """What a run says of reading was chosen for other weights, or by hand: it stays as released, but not unsaid."""
    trained = registry.card(run)
    registry.write_card(
        replace(trained, reading={**trained.reading, "min_confidence": 0.8, "beam": 4}), run / "card.toml"
    )
    name = "crnn_mobilenet_v3_small"
    registry.write_card(
        replace(card := zoo.card(name), reading={**card.reading, "min_confidence": 0.3, "temperature": 0.9}),
        cards / f"{name}.toml",
    )
    assert cli.main(["release", str(run)]) == 0
    err = capsys.readouterr().err
    assert "min_confidence = 0.3 stays as released; the run has 0.8" in err
    assert "temperature = 0.9 stays as released; the run has 0.862" in err
    assert "beam = none stays as released; the run has 4" in err
    assert "height" not in err
    assert zoo.card(name).reading == {**card.reading, "min_confidence": 0.3, "temperature": 0.9}


@pytest.mark.slow
def test_a_models_onnx_file_goes_with_its_weights(run, cards, monkeypatch, capsys):
    monkeypatch.setattr(release, "validate", lambda *args: 0.5)
    name = release.release(run).card.name
    assert cli.main(["release", name, "--onnx"]) == 0
    file = cards / f"{name}.onnx"
    assert str(file) in capsys.readouterr().out and zoo.card(name).weights["onnx"] == weights.sha256(file)
    strips = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype("uint8")
    found = runtime.connect(name)(strips)["logits"]
    np.testing.assert_allclose(found, np.asarray(registry.load(name)(strips)["logits"]), atol=1e-3)
    assert "onnx" not in release.release(run).card.weights and not file.exists()  # of other weights
    assert cli.main(["release", str(run), "--onnx"]) == 0  # a run's own, for a machine without a framework
    assert {path.name for path in run.iterdir()} == {"card.toml", "recipe.json", "run.onnx", "weights.safetensors"}
    np.testing.assert_allclose(runtime.connect(run)(strips)["logits"], found, atol=2e-3)


def test_what_has_no_onnx_file_of_its_own_is_said(capsys):
    assert cli.main(["release", "unet", "--onnx"]) == 1
    assert "unet has no weights of its own" in capsys.readouterr().err
    with pytest.raises(release.ReleaseError, match="read by parts of its network"):
        release.write_onnx("ocrnet_mobilenet_v3_large")


def test_other_weights_do_not_give_the_golden_outputs(run, cards):
    done = release.release(run)
    tensors = weights.read(cards / done.card.weights["file"])
    network = registry.load(done.card.name)
    (bias,) = [key for key, value in tensors.items() if value.shape == (11,)]  # of ten digits and the blank
    tensors[bias] = tensors[bias] + 0.1
    weights.assign(network, tensors)
    weights.save(network, cards / done.card.weights["file"], dtype="float32")
    table = {key: value for key, value in done.card.weights.items() if key != "sha256"}
    registry.write_card(replace(done.card, weights=table), cards / f"{done.card.name}.toml")
    assert release.check(done.card.name) > 1e-3


def test_results_of_other_weights_do_not_stay(run, cards, monkeypatch):
    monkeypatch.setattr(release, "validate", lambda *args: 0.5)
    first = release.release(run, dtype="float32").card
    measured = replace(first, results={**first.results, "iiit5k_words/test": {"alnum": 0.5}})
    registry.write_card(measured, cards / f"{first.name}.toml")
    assert "iiit5k_words/test" in release.release(run, dtype="float32").card.results
    assert "iiit5k_words/test" not in release.release(run, dtype="float16").card.results


def test_a_release_that_would_score_lower_is_refused_and_leaves_nothing(run, cards, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in cards.iterdir()}
    scores = iter((0.9, 0.8))
    monkeypatch.setattr(release, "validate", lambda *args: next(scores))
    assert cli.main(["release", str(run)]) == 1
    err = capsys.readouterr().err
    assert "score 0.8000 instead of 0.9000" in err and "logits differ by up to" in err and "--dtype float32" in err
    assert {path.name: path.read_bytes() for path in cards.iterdir()} == before


@pytest.mark.parametrize("options", [[], ["--onnx"]])
def test_a_place_that_cannot_be_written_is_told_before_the_work(run, cards, monkeypatch, capsys, options):
    def full(dir):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    monkeypatch.setattr(registry, "load", lambda name: pytest.fail("it was not told at once"))
    before = sorted(run.parent.rglob("*"))
    assert cli.main(["release", str(run), *options]) == 1
    name = "run.onnx" if options else "crnn_mobilenet_v3_small.toml"
    assert f"{name} cannot be written" in capsys.readouterr().err
    assert sorted(run.parent.rglob("*")) == before


def test_another_name_and_no_run(run, cards, monkeypatch, capsys):
    monkeypatch.setattr(release, "validate", lambda *args: 0.5)
    assert release.release(run, "mine").card.name == "mine"
    assert "mine" in zoo.names()
    (run / train.RECIPE).unlink()
    assert cli.main(["release", str(run)]) == 1
    assert "holds no recipe.json" in capsys.readouterr().err
    assert cli.main(["release", str(cards)]) == 1
    assert "holds no card.toml" in capsys.readouterr().err
    with pytest.raises(release.ReleaseError, match="golden.npz is not there"):
        release.check("crnn_mobilenet_v3_small")


def test_a_run_of_a_model_in_a_folder_needs_a_name(run, cards, tmp_path):
    """One that was pruned, say: named after its path it would be written there, and not among the models."""
    how = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(how | {"model": str(tmp_path / "narrow")}))
    with pytest.raises(release.ReleaseError, match="narrow' is a path, .*give a name by --name"):
        release.release(run)
    assert not list(tmp_path.glob("narrow*"))


def test_no_model_of_another_task_is_replaced(run, cards):
    """Its card would keep how its network was read."""
    detector = replace(zoo.card("crnn_mobilenet_v3_small"), task="detection", name="finder")
    registry.write_card(detector, cards / "finder.toml")
    before = {path.name: path.read_bytes() for path in cards.iterdir()}
    with pytest.raises(release.ReleaseError, match="finder is a model for detection, and .*run for recognition; give"):
        release.release(run, "finder")
    assert {path.name: path.read_bytes() for path in cards.iterdir()} == before


@pytest.fixture
def of_one_size(small, tmp_path):
    return made("lenet5", small, tmp_path / "lenet")


def test_a_network_of_one_size_is_released(of_one_size, cards, monkeypatch):
    monkeypatch.setattr(release, "validate", lambda *args: 0.5)
    name = release.release(of_one_size).card.name
    with np.load(release.golden_path(cards, name)) as golden:
        assert golden["image"].shape == (1, 64, 96, 3)
    assert release.check(name) < 1e-3
    assert release.picture("layout", (36, None)).shape == (1, 36, 128, 3)


def test_golden_pictures_are_as_tasks_take_them():
    assert release.picture("recognition").shape == (1, 32, 128, 3)
    assert release.picture("detection").shape == (1, 128, 128, 3)
    np.testing.assert_array_equal(release.picture("detection"), release.picture("detection"))
    assert release.part(np.zeros((1, 128, 128, 1))).shape == (1, 32, 32, 1)


def test_a_spotters_golden_outputs_are_its_map_and_a_words_text(small):
    network = small("ocrnet_mobilenet_v3_large")
    image = release.picture("spotting")
    assert release.sides(network) == (None, None)
    before = release.logits(network, image)
    outputs = network.output
    assert before.shape[1] == 128 * 128 + 32 * outputs["text"].shape[-1] and release.part(before).shape[0] == 1
    head = network.get_layer("word_logits").bias
    head.assign(head + 1)
    changed = release.logits(network, image)[0] != before[0]
    assert not changed[: 128 * 128].any() and changed[128 * 128 :].all()


def test_no_card_names_a_folder_of_the_machine():
    how = replace(
        recipe.find("recognition.crnn_mobilenet_v3_small"),
        start="/home/me/runs/before,/home/me/words",
        real=("sroie", "/home/me/cased"), replay=("/home/me/signs",), target="/home/me/x",
    )  # fmt: skip
    told = release.origin_of(how, "recognition")
    assert "/home" not in told
    assert "start=before,words, " in told and "real=('sroie', 'cased'), replay=('signs',), " in told
    assert "target=x" in told


@pytest.mark.parametrize(("platform", "told"), [("gpu", "2 x NVIDIA H200"), ("cpu", r"\d+ cores of .+")])
def test_a_card_names_the_accelerators_of_jax(platform, told, monkeypatch):
    devices = [SimpleNamespace(platform=platform, device_kind="NVIDIA H200")] * 2
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=lambda: devices))
    assert re.fullmatch(told, origin.device())
