"""Every detector with a decoding of its own learns one small page by heart by its recipe, and finds its words."""

from __future__ import annotations

import csv
import importlib
from dataclasses import replace
from pathlib import Path

import pytest

import zoo
from recipes import recipe, train
from recipes.detection import task
from zoo import registry

HERE = Path(__file__).parent
RECIPES = {name: recipe.find(name) for name in recipe.names() if name.startswith("detection.")}
OWN = [
    name for name, how in RECIPES.items() if how.task == f"recipes.{name}" and "decode" in zoo.card(how.model).reading
]
RATES = {"detection.faster_rcnn_resnet50_fpn": 3e-3}  # of others 1e-2; its dense layers leap from so much


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detection.fast_tiny", *OWN])
def test_a_detector_learns_a_page_by_heart(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    page = importlib.import_module("one_page").page()
    how = recipe.find(name)
    card = zoo.card(how.model)
    small = replace(card, options=card.options | card.test_options, weights={}, results={})
    small = replace(small, reading=card.reading | {"size": [128, 128], "multiple": 128})
    (tmp_path / "tiny").mkdir()
    registry.write_card(small, tmp_path / "tiny/card.toml")
    monkeypatch.setattr(task.Task, "sample", lambda self, index: page)
    monkeypatch.setattr(task.Task, "held_out", lambda self: {"one": [page]})
    how = replace(
        how, model=str(tmp_path / "tiny"), real=(), size=(128, 128), batch=2, steps=300, rate=RATES.get(name, 1e-2),
        warmup=10, ema=0.9, checkpoint_every=100, validate_every=100,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    with (tmp_path / "run/log.csv").open(newline="") as file:
        scores = [float(row["one_hmean"]) for row in csv.DictReader(file)]
    assert scores[-1] == 1, scores
