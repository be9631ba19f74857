"""Detectors learn from the maps and by the loss of their builder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zoo
from recipes import losses, recipe
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
def test_maps_and_loss_are_those_of_the_builder(name, page, monkeypatch):
    loss, maps, outputs = KINDS[name]
    how = replace(recipe.find(f"detection.{name}"), batch=2, size=(64, 96))
    ours = task.make(how, zoo.card(name), None)
    monkeypatch.setattr(ours, "page", lambda index: page)
    pixels, target = ours.batch(0)
    assert pixels.shape == (2, 64, 96, 3) and {key: value.shape for key, value in target.items()} == {
        key: (2, 64, 96) for key in maps
    }
    assert ours.loss is loss
    value = np.asarray(ours.loss(target, {key: np.zeros((2, 64, 96, 1), "float32") for key in outputs}))
    assert value.shape == (2,) and np.isfinite(value).all() and (value > 0).all()


def test_every_recipe_of_this_task_is_known():
    found = [recipe.find(name) for name in recipe.names()]
    builders = {zoo.card(how.model).builder for how in found if how.task == task.__name__}
    assert builders == task.KINDS.keys()
