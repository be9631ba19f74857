"""Before a run: the plan, what it measured, the first batch as a picture, and the rate that a range test suggests."""

from __future__ import annotations

import csv
import math
import types
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from recipes import preview, recipe, train
from recipes.recipe import Recipe
from recipes.segmentation import task as segmentation
from zoo import cli, registry

SMALL = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.recognition.task",
    options={"features": "mobilenet_v3_test_r", "charset": "digits", "units": 8},
    batch=4, steps=6, longest=4, widest=64, checkpoint_every=2, validate_every=4, validation=4,
)  # fmt: skip


def test_smoothing_weighs_the_last_loss_most():
    """(0.5 · 1 + 2) / 1.5 and (0.25 · 1 + 0.5 · 2 + 4) / 1.75."""
    np.testing.assert_allclose(preview.smoothed([1, 2, 4], 0.5), [1, 2.5 / 1.5, 5.25 / 1.75])
    np.testing.assert_allclose(preview.smoothed([3.0] * 5), 3)


def test_the_suggested_rate():
    rates = [10 ** (index / 10 - 6) for index in range(60)]
    steady = [10.0] * 20 + [10 - 0.5 * index for index in range(20)] + [0.5 + 3 * index for index in range(20)]
    least = int(np.argmin(preview.smoothed(steady)))
    assert preview.suggested(rates, steady) == pytest.approx(rates[least] / 10)
    smooth = preview.smoothed([10.0] * 10 + [2.0] * 50)  # a fall at once, and a flat bottom to the end
    half = next(index for index, loss in enumerate(smooth) if loss <= (10 + smooth[-1]) / 2)
    assert preview.suggested(rates, [10.0] * 10 + [2.0] * 50) == rates[half]
    assert half < 20
    assert preview.suggested(rates[:30], [10.0] * 10 + [2.0] * 19 + [math.nan]) == rates[half]
    for rising in ([1.0, 2.0, 3.0], [math.nan], []):
        with pytest.raises(train.RunError, match="did not fall at any rate"):
            preview.suggested(rates, rising)


def test_steps_are_timed_without_the_first(monkeypatch):
    clock = iter([0.0, 40.0, 40.0, *(41.0 + 2 * index for index in range(99))])
    monkeypatch.setattr(preview.time, "monotonic", lambda: next(clock))
    asked = []
    step = types.SimpleNamespace(losses=lambda task, start, stop: asked.append(start) or iter([0.0] * (stop - start)))
    first, each = preview.measure(step, None)
    assert (first, each) == (40.0, 31 / 16)  # from 40 to 71 for sixteen
    assert asked == [0, preview.AHEAD]  # batches that were made while the first step was traced do not count
    slow = iter([0.0, 40.0, 40.0, 90.0, 140.0])
    monkeypatch.setattr(preview.time, "monotonic", lambda: next(slow))
    assert preview.measure(step, None) == (40.0, 50.0)  # two, since the second passed the limit


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.26, "0.3 s"), (90, "90.0 s"), (600, "10 min"), (9000, "2.5 h"), (864_000, "10.0 days")]
)
def test_durations(seconds, text):
    assert preview._duration(seconds) == text


def test_captions_are_texts_or_names_of_classes():
    task = train.make_task(SMALL, registry.card(SMALL.model), None)
    _, targets = task.batch(0)
    rows = zip(targets["ids"], targets["length"], strict=True)
    assert preview.captions(task, targets) == [task.charset.text(ids[:length]) for ids, length in rows]
    named = types.SimpleNamespace(names=["a", "b"])
    assert preview.captions(named, {"class": np.array([1, 0, 1])}) == ["b", "a", "b"]


@pytest.mark.parametrize("name", ["detection.db_mobilenet_v3_large", "classification.lenet5"])
def test_the_first_batch_is_drawn(name, tmp_path):
    how = replace(recipe.find(name), batch=2, size=(96, 96), real=())
    task = train.make_task(how, registry.card(how.model), None)
    taught = types.SimpleNamespace(task=types.SimpleNamespace(task=task))  # as by a teacher and a lesson
    preview.show(taught, tmp_path / "new" / "batch.png")
    drawn = np.asarray(Image.open(tmp_path / "new" / "batch.png"))
    if name.startswith("detection"):
        page = task.sample(1)
        left = drawn[:96, 104:200].astype(int)  # the second crop, with outlines where its words are
        assert (np.abs(left - page.image) > 0).any() == bool(len(page.polygons))
        assert (left == page.image).all(-1).mean() > 0.5
    else:
        assert drawn.shape == (84, 4 * 220, 3) and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50


def test_pages_of_classes_are_drawn(tmp_path, monkeypatch):
    pixels, classes = np.full((2, 40, 30, 3), 200, "uint8"), np.zeros((2, 40, 30), "int32")
    classes[:, :20] = 1
    monkeypatch.setattr(segmentation.Task, "batch", lambda self, step: (pixels, {"class": classes}))
    how = recipe.find("segmentation.unet")
    preview.show(train.make_task(how, registry.card(how.model), None), tmp_path / "batch.png")
    drawn = np.asarray(Image.open(tmp_path / "batch.png"))
    assert (drawn[30, 5] == 200).all() and (drawn[5, 5] != 200).any()


def command(folder, *options: str) -> list[str]:
    settings = ["batch=4", "steps=1000"]
    return ["train", "classification.lenet5", "--run", str(folder), *options, "--set", *settings]


def test_a_dry_run_and_a_range_test_leave_no_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(preview, "MEASURED", 2)
    folder = tmp_path / "run"
    assert cli.main(command(folder, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["first_batch.png"]
    for told in (
        "parameters learn",
        "1000 steps of 4",
        "synthetic characters",
        "MB of weights",
        "samples/s",
        "1000 steps",
    ):
        assert told in out
    monkeypatch.setattr(preview.find_rate, "__kwdefaults__", {"steps": 12, "lowest": 1e-4, "highest": 1.0})
    assert cli.main(command(folder, "--find-rate", "--out", str(tmp_path / "curve.png"))) == 0
    assert "suggested: --set rate=" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["first_batch.png"]
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["rate"]) == pytest.approx(1e-4) and 2 <= len(rows) <= 12
    assert float(rows[1]["rate"]) == pytest.approx(1e-4 * 10 ** (4 / 12), rel=1e-5)
    assert Image.open(tmp_path / "curve.png").width > 500


@pytest.mark.parametrize("option", ["--dry-run", "--find-rate"])
def test_a_picture_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, monkeypatch, option):
    monkeypatch.setattr("recipes.train.assemble", lambda *args: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    assert cli.main(command(tmp_path / "run", option, "--out", str(tmp_path / "file" / "curve.png"))) == 1
    assert "curve.png cannot be written" in capsys.readouterr().err


def test_somewhere_to_write_is_asked_for(capsys):
    for options, message in (([], "give --run DIR\n"), (["--dry-run"], "give --run DIR, or --out FILE\n")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "classification.lenet5", *options])
        assert stopped.value.code == 2 and message in capsys.readouterr().err
