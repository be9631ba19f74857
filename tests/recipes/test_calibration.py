"""Confidence against hand-worked numbers, and a network that boasts by a known factor."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from recipes import calibration, metrics
from recipes.data import datasets
from zoo import cli, registry
from zoo.charset import Charset
from zoo.reading import Recognizer

DIGITS = "0123456789"


def test_calibration_error_by_hand():
    """Two bins: at 0.9 a half is right, 0.4 off for four words; at 0.3 none is, 0.3 off for one: (4·0.4 + 0.3) / 5."""
    confidence, right = np.array([0.9, 0.9, 0.9, 0.9, 0.3]), np.array([1, 1, 0, 0, 0], bool)
    assert metrics.calibration_error(confidence, right, bins=2) == pytest.approx(1.9 / 5)
    assert metrics.calibration_error(np.ones(3), np.ones(3, bool)) == 0
    assert metrics.calibration_error(np.zeros(0), np.zeros(0, bool)) == 0


def test_thresholds_by_hand():
    confidence, right = np.array([0.2, 0.95, 0.9, 0.5, 0.5]), np.array([0, 1, 1, 1, 0], bool)
    assert calibration.threshold(confidence, right, 1.0) == (0.9, 0.4)
    assert calibration.threshold(confidence, right, 0.7) == (0.5, 0.8)  # 3 of 4; both at 0.5 or none
    assert calibration.threshold(confidence, right, 0.5) == (0.2, 1.0)
    assert calibration.threshold(np.array([0.9]), np.array([False]), 0.9) is None


def test_surprise_by_hand():
    assert calibration.surprise(np.array([0.5, 0.25]), np.array([True, False])) == pytest.approx(
        -np.log(0.5 * 0.75) / 2
    )
    assert np.isfinite(calibration.surprise(np.array([1.0]), np.array([False])))


BOAST = 3.0


def boasting(batch: np.ndarray) -> dict[str, np.ndarray]:
    """One step for a strip, whose first pixels choose its logits: those of a modest network, three times as large."""
    seeds = batch[:, 0, 0, :2].astype(int) @ (256, 1)
    modest = np.stack([np.random.default_rng(seed).normal(0, 1.5, 11) for seed in seeds])
    modest[:, 10] = -9  # never the blank
    return {"logits": BOAST * modest[:, None].astype("float32")}


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Crops whose digits are drawn by what the modest network would say of them, all held out; and a card of ours."""
    rows, rng = [], np.random.default_rng(0)
    for index in range(1500):
        pixels = np.zeros((32, 32, 3), "uint8")
        pixels[..., 0], pixels[..., 1] = divmod(index, 256)
        logits = boasting(pixels[None])["logits"][0, 0, :10] / BOAST
        share = np.exp(logits) / np.exp(logits).sum()
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append(json.dumps({"image": f"{index}.png", "text": DIGITS[rng.choice(10, p=share)]}))
    (tmp_path / "labels.jsonl").write_text("\n".join(rows))
    card = registry.card("crnn_mobilenet_v3_small")
    small = replace(
        card, folder=tmp_path, weights={}, results={}, options={"charset": "digits"},
        reading={"height": 32, "widths": [32], "min_confidence": 0.6},
    )  # fmt: skip
    registry.write_card(small, tmp_path / "card.toml")
    monkeypatch.setattr(datasets, "held_out", lambda entry: True)
    monkeypatch.setattr("zoo.runtime.connect", lambda name, runtime: boasting)
    return tmp_path


def test_a_network_that_boasts_is_cooled_down(words, capsys):
    found = calibration.calibrate(str(words), [words])
    assert found.words == 1500 and found.temperature == pytest.approx(BOAST, rel=0.15)
    assert found.before > 0.2 and found.after < 0.04
    sure, share = found.thresholds[0.9]
    assert 0.6 < sure < 0.95 and 0.005 < share < 0.3
    recognizer = Recognizer(boasting, Charset("digits"), widths=[32], temperature=found.temperature)
    entries = datasets.read(words)
    scores = np.array([reading.score for reading in recognizer([entry.read() for entry in entries])])
    plain = np.array(
        [r.score for r in Recognizer(boasting, Charset("digits"), widths=[32])([e.read() for e in entries])]
    )
    assert np.mean(scores < found.min_confidence) == pytest.approx(np.mean(plain < 0.6), abs=0.01)

    assert cli.main(["calibrate", str(words), "--data", str(words), "--write"]) == 0
    assert f"temperature        {found.temperature}" in capsys.readouterr().out
    reading = tomllib.loads((words / "card.toml").read_text())["reading"]
    assert reading["temperature"] == found.temperature and reading["min_confidence"] == found.min_confidence
    again = calibration.calibrate(str(words), [words])  # the card's own temperature does not count twice
    assert again.temperature == found.temperature and again.min_confidence == pytest.approx(
        found.min_confidence, abs=2e-3
    )


def test_a_missing_picture_is_told_and_the_rest_calibrates(words, capsys):
    whole = calibration.calibrate(str(words), [words])
    (words / "7.png").unlink()
    assert cli.main(["calibrate", str(words), "--data", str(words)]) == 1
    out, err = capsys.readouterr()
    assert f"{whole.words - 1}" in out and "7.png" in err and err.startswith("zoo calibrate: ")
    for path in words.glob("*.png"):
        path.unlink()
    assert cli.main(["calibrate", str(words), "--data", str(words)]) == 1
    assert "none of the 1500 pictures can be read" in capsys.readouterr().err


def test_what_cannot_be_calibrated(tmp_path, words, monkeypatch):
    with pytest.raises(ValueError, match="db_mobilenet_v3_large is a model for detection"):
        calibration.calibrate("db_mobilenet_v3_large", [words])
    monkeypatch.setattr(datasets, "held_out", lambda entry: False)
    with pytest.raises(ValueError, match="no word of `train` is held out"):
        calibration.calibrate(str(words), [words])


def test_a_card_that_cannot_be_written_is_told_first(words, monkeypatch, capsys):
    def barred(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", barred)
    monkeypatch.setattr(calibration, "calibrate", lambda *args, **options: pytest.fail("it was not told at once"))
    assert cli.main(["calibrate", str(words), "--data", str(words), "--write"]) == 1
    assert "card.toml cannot be written" in capsys.readouterr().err
