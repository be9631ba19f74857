"""Recipes, what may be set on the command line, and what is told of wrong settings."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

import zoo
from recipes import recipe
from zoo import cli

SMALL = recipe.find("recognition.crnn_mobilenet_v3_small")


def test_recipes_have_the_names_of_the_models_that_they_make():
    assert {name.partition(".")[2] for name in recipe.names()} >= {
        "crnn_mobilenet_v3_large", "crnn_mobilenet_v3_small", "crnn_vgg16_bn", "db_mobilenet_v3_large", "db_resnet50",
    }  # fmt: skip
    for name in recipe.names():
        found, (folder, _, own) = recipe.find(name), name.partition(".")
        if folder == "pretraining":  # of a network of any task, several ways
            assert own.startswith(f"{found.model}_")
        else:
            assert name == f"{zoo.card(found.model).task}.{found.model.replace('.', '_')}"
            assert recipe.of_card(found.model, zoo.card(found.model).task) == name


def test_no_recipe_is_named_after_a_card_that_is_not_there():
    lines = recipe.of_card("crnn_mobilenet_v3_small.lines", "recognition")
    assert lines == "recognition.crnn_mobilenet_v3_small_lines"
    assert recipe.of_card("crnn_mobilenet_v3_small.mine", "recognition") == ""
    assert recipe.of_card("crnn_mobilenet_v3_small.masked", "recognition") == ""  # pretraining has one


def test_recipes_are_listed_with_what_they_are(capsys):
    assert cli.main(["recipes"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(rows) == recipe.names()
    assert rows["recognition.crnn_mobilenet_v3_small"] == "A small recognizer, for laptops and phones."
    assert [name for name, text in rows.items() if not text.endswith(".")] == []  # a line is a whole sentence


def test_values_are_read_as_the_type_of_their_field():
    changed = SMALL.override(
        [
            "rate=5e-4",
            "steps=10",
            "real=a,b",
            "size=64,96",
            "start=runs/x",
            "options=features:test,units:8,x:0.5",
            "seed=2",
        ]
    )
    assert (changed.rate, changed.steps, changed.real, changed.size) == (5e-4, 10, ("a", "b"), (64, 96))
    assert changed.options == {"features": "test", "units": 8, "x": 0.5}
    assert SMALL.override(["options=charset:123,units:8"]).options == {"charset": "123", "units": 8}
    assert (changed.start, changed.seed) == ("runs/x", 2)
    nested = {"features": {"class": "keras_hub.models:DenseNetBackbone", "growth_rate": 32}, "channels": 16}
    assert SMALL.override([f"options={json.dumps(nested)}"]).options == nested
    assert SMALL.override(["real="]).real == ()
    assert SMALL.override(['real=["A,B", "[c]"]']).real == ("A,B", "[c]")
    assert SMALL.override(["freeze=[st]*,b[1]"]).freeze == ("[st]*", "b[1]")
    assert SMALL.override(["freeze=[1]"]).freeze == ("[1]",)
    layers = [
        {"class": "keras.layers:RandomContrast", "factor": 0.3},
        {"class": "keras.layers:RandomBrightness", "factor": 0.1},
    ]
    assert SMALL.override([f"layers={json.dumps(layers)}"]).layers == tuple(layers)
    assert SMALL.override(["layers="]).layers == ()
    assert dataclasses.replace(changed, **dataclasses.asdict(SMALL)) == SMALL  # nothing else was touched


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("speed=3", "give one of model, task"),
        ("rate", "give one of"),
        ("rate=fast", "rate is float"),
        ("steps=1.5", "steps is int"),
        ("size=64", "size is tuple"),
        ("size=64,96,3", "size is tuple"),
        ("size=a,b", "size is tuple"),
        ('options={"units": 8', "options is dict"),
        (
            "layers=keras.layers:RandomContrast",
            'layers is JSON: [{"class": "keras.layers:RandomContrast", "factor": 0.3}',
        ),
        ("layers=[3]", 'layers is JSON: [{"class": "keras.layers:RandomContrast", "factor": 0.3}'),
        ("validate_every=301", "validate_every=301 is no multiple of checkpoint_every="),
        ("checkpoint_every=0", "checkpoint_every=0: it is a number of 1 or more"),
        ("batch=0", "batch=0: it is a number of 1 or more"),
        ("steps=-5", "steps=-5: it is a number of 1 or more"),
        ("rate=nan", "rate=nan: it is a number of 0 or more"),
        ("ema=2", "ema=2.0: it is a number from 0 to 1"),
        ("few=-1", "few=-1: it is a number of 0 or more"),
        ("validation=0", "validation=0: it is a number of 1 or more"),
        ("rate=inf", "rate=inf: it is a number of 0 or more"),
        ("pull=1e999", "pull=inf: it is a number of 0 or more"),
        ("soften=inf", "soften=inf: it is above 0, and finite"),
        ("seed=-1", "seed=-1: it is a number from 0 to 4294967295"),
        ("seed=4294967296", "seed=4294967296: it is a number from 0 to 4294967295"),
        ("bits=4", "bits=4: it is 0 or 8"),
        ("windows=0", "windows=0: it is a number of 1 or more"),
        ("soften=0", "soften=0.0: it is above 0"),
        ("temperature=nan", "temperature=nan: it is above 0"),
        ("size=0,64", "size=(0, 64): it holds 2 whole numbers of pixels, each 1 or more"),
        ("patch=8,-8", "patch=(8, -8): it holds 2 whole numbers of pixels, each 1 or more"),
    ],
)
def test_wrong_settings_are_refused(assignment, message, tmp_path, capsys):
    with pytest.raises(ValueError, match=re.escape(message)):
        SMALL.override([assignment])
    command = ["train", "recognition.crnn_mobilenet_v3_small", "--run", str(tmp_path / "run"), "--set", assignment]
    assert cli.main(command) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("zoo train: ") and message in err
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_is_told_with_those_there_are(tmp_path, capsys):
    assert cli.main(["train", "recognition.nothing", "--run", str(tmp_path / "run")]) == 1
    assert "no recipe is named 'recognition.nothing'; there are: classification." in capsys.readouterr().err
