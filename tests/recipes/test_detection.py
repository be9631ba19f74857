"""Detectors learn from the maps and by the loss of their architecture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zoo
from recipes import losses, recipe, train
from recipes.detection import task

KINDS = {
    "db_resnet34": (losses.db, {"region", "mask", "border", "border_mask"}, {"logits", "threshold"}),
    "fast_tiny": (losses.fast, {"region", "mask", "text"}, {"logits", "kernel"}),
    "linknet_resnet18": (losses.linknet, {"region", "mask", "text"}, {"logits"}),
}


@pytest.fixture(scope="module")
def page() -> task.Page:
    return task.synthetic(np.random.default_rng(3))


@pytest.mark.parametrize("name", KINDS)
def test_maps_and_loss_are_those_of_the_architecture(name, page, monkeypatch):
    loss, maps, outputs = KINDS[name]
    how = replace(recipe.find(f"detection.{name}"), batch=2, size=(64, 96))
    ours = train.make_task(how, zoo.card(name), None)
    monkeypatch.setattr(ours, "page", lambda index: page)
    pixels, target = ours.batch(0)
    assert pixels.shape == (2, 64, 96, 3) and {key: value.shape for key, value in target.items()} == {
        key: (2, 64, 96) for key in maps
    }
    assert ours.loss is loss
    value = np.asarray(ours.loss(target, {key: np.zeros((2, 64, 96, 1), "float32") for key in outputs}))
    assert value.shape == (2,) and np.isfinite(value).all() and (value > 0).all()


@pytest.mark.parametrize("name", [name for name in recipe.names() if name.startswith("detection.")])
def test_outputs_fit_the_loss_of_the_recipe(name, page, monkeypatch, small):
    """The network of every detector gives what its loss asks for, whatever recipe it was derived from."""
    how = recipe.find(name)
    how = replace(how, batch=1, size=(64, 96))
    ours = train.make_task(how, zoo.card(how.model), None)
    monkeypatch.setattr(ours, "page", lambda index: page)
    pixels, target = ours.batch(0)
    value = np.asarray(ours.loss(target, small(how.model)(pixels, training=False)))
    assert value.shape == (1,) and np.isfinite(value).all()
