"""Backbones and layers of other projects in our networks and recipes: keras-hub's and keras-cv's, where installed.

The rest holds without them: `pip install 'ocrzoo[hub]'`.
"""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import zoo
from recipes import recipe, train
from recipes.data import preprocessing
from zoo import registry, weights
from zoo.backbones import backbone
from zoo.backbones.foreign import instance

SIZES = {"stackwise_num_repeats": [1, 1, 1, 1], "growth_rate": 4}
BACKBONES = {
    "keras_hub": {"class": "keras_hub.models:DenseNetBackbone", "compression_ratio": 0.5, **SIZES},
    "keras_hub, residual": {
        "class": "keras_hub.models:ResNetBackbone", "input_conv_filters": [64], "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [1, 1, 1, 1],
        "stackwise_num_strides": [1, 2, 2, 2], "block_type": "basic_block",
    },
    "keras_cv": {"class": "keras_cv.models:DenseNetBackbone", "include_rescaling": False, **SIZES},
    "keras_cv, residual": {
        "class": "keras_cv.models:ResNetBackbone", "stackwise_filters": [64, 64, 64, 64],
        "stackwise_blocks": [1, 1, 1, 1], "stackwise_strides": [1, 2, 2, 2], "include_rescaling": False,
        "block_type": "basic_block",
    },
}  # fmt: skip
LAYERS = {
    "Keras, contrast": {"class": "keras.layers:RandomContrast", "factor": 0.5},
    "Keras, brightness": {"class": "keras.layers:RandomBrightness", "factor": 0.4},
    "keras-cv, colours": {"class": "keras_cv.layers:RandomChannelShift", "value_range": (0, 255), "factor": 0.4},
    "keras-cv, hue": {"class": "keras_cv.layers:RandomHue", "value_range": (0, 255), "factor": 0.5},
}
UNSEEDED = {"keras-cv, hue"}  # it draws from TensorFlow's global generator, whatever its seed
PIXELS = np.random.default_rng(5).integers(0, 256, (2, 32, 48, 3)).astype("uint8")


def tower() -> keras.Model:
    """A backbone such as keras-hub has, of a convolution for each level."""
    x = image = keras.Input((None, None, 3))
    maps = {}
    for level in range(1, 6):
        x = layers.Conv2D(2 * level, 3, 2, padding="same", activation="relu", name=f"stage{level}")(x)
        maps[f"P{level}"] = x
    model = keras.Model(image, x, name="tower")
    model.pyramid_outputs = maps
    return model


def skip_without(project: str) -> None:
    if not project.startswith("keras."):
        pytest.importorskip(project.partition(".")[0], reason="pip install 'ocrzoo[hub]'")


# ---------------------------------------------------------------- backbones


def test_any_model_with_a_pyramid_is_a_backbone_and_keeps_its_weights():
    model, picture = tower(), np.random.default_rng(0).random((1, 64, 96, 3), "float32")
    network = zoo.build("db_resnet50", features=model, channels=16)
    assert {id(v) for v in model.variables} <= {id(v) for v in network.variables}
    image = keras.Input((None, None, 3))
    maps = keras.Model(image, backbone(model, image))(picture)
    assert [tuple(x.shape[1:]) for x in maps] == [(16, 24, 4), (8, 12, 6), (4, 6, 8), (2, 3, 10)]
    np.testing.assert_allclose(maps[-1], model(picture), rtol=1e-5)
    before = np.asarray(network(255 * picture)["logits"])
    model.get_layer("stage1").kernel.assign(np.zeros((3, 3, 3, 2)))
    assert np.abs(np.asarray(network(255 * picture)["logits"]) - before).max() > 0


def test_a_model_without_levels_is_refused():
    model = tower()
    del model.pyramid_outputs["P5"]
    with pytest.raises(ValueError, match=r"tower has no maps P5 of strides 4 to 32; it has P1, P2, P3, P4"):
        zoo.build("db_resnet50", features=model)
    with pytest.raises(ValueError, match="it has no levels"):
        zoo.build("db_resnet50", features=keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()]))


@pytest.mark.parametrize(
    "name", ["os:system", "keras_hub.models:from_preset", "keras.layers:Dense", "DenseNetBackbone"]
)
def test_a_card_may_name_backbones_of_known_projects_alone(name):
    with pytest.raises(ValueError, match=r"is not of the form keras_hub.models:NAME or keras_cv.models:NAME"):
        zoo.build("db_resnet50", features={"class": name})


@pytest.mark.parametrize("given", BACKBONES.values(), ids=list(BACKBONES))
def test_backbones_of_other_projects(given, tmp_path):
    """They serve a detector, whose weights survive the way over a card and a file."""
    skip_without(given["class"])
    card = zoo.card("db_resnet50")
    options, known = {"features": given, "channels": 16}, {"file": "weights.safetensors"}
    registry.write_card(replace(card, options=options, weights=known, results={}), tmp_path / "card.toml")
    network = zoo.build(tmp_path)
    weights.save(network, tmp_path / "weights.safetensors", dtype="float32")
    page = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3)).astype("uint8")
    expected = np.asarray(network(page, training=False)["logits"])
    assert expected.shape == (1, 64, 96, 1) and expected.std() > 0
    np.testing.assert_allclose(zoo.load(tmp_path)(page, training=False)["logits"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names("detection"))
def test_a_backbone_of_another_project_serves_every_detector(name):
    skip_without("keras_hub")
    options = {key: value for key, value in zoo.card(name).test_options.items() if key != "features"}
    network = zoo.build(name, features=BACKBONES["keras_hub"], **options)
    page = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3)).astype("uint8")
    for value in network(page, training=False).values():
        assert np.isfinite(value).all()


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("name", LAYERS)
def test_layers_change_the_pictures_of_a_batch_and_a_step_is_the_same_again(name):
    given = LAYERS[name]
    skip_without(given["class"])
    targets = {"y": np.arange(2)}

    def run(seed):
        return preprocessing.through(lambda step: (PIXELS, targets), [given], seed)

    pixels, told = run(7)(3)
    assert pixels.dtype == np.uint8 and pixels.shape == PIXELS.shape and told is targets
    assert np.abs(pixels.astype(int) - PIXELS).mean() > 1
    if name not in UNSEEDED:
        np.testing.assert_array_equal(run(7)(3)[0], pixels)
    assert (run(7)(4)[0] != pixels).any() and (run(8)(3)[0] != pixels).any()


def test_layers_of_other_sizes_and_other_modules_are_refused():
    with pytest.raises(ValueError, match="their size must stay"):
        preprocessing.applied({"class": "keras.layers:RandomCrop", "height": 8, "width": 8}, PIXELS, 1)
    with pytest.raises(ValueError, match=r"is not of the form keras.layers:NAME or keras_cv.layers:NAME"):
        preprocessing.applied({"class": "builtins:print"}, PIXELS, 1)
    with pytest.raises(ValueError, match="keras.layers has no class Nothing"):
        instance({"class": "keras.layers:Nothing"}, ["keras.layers"])


def test_layers_are_tried_before_a_run_begins():
    for given, message in (
        ({"class": "keras.layers:RandomCrop", "height": 8, "width": 8}, "their size must stay"),
        ({"class": "keras.layers:Nothing"}, "keras.layers has no class Nothing"),
        ({"class": "keras.layers:RandomContrast", "fctor": 1}, "RandomContrast does not take .*'fctor': 1.*'factor'"),
        ({"class": "keras.layers:RandomContrast"}, "RandomContrast does not take .*'factor'"),
    ):
        with pytest.raises(ValueError, match=message):
            preprocessing.through(lambda step: (PIXELS, {}), [given], 0)


def test_layers_that_draw_nothing_take_no_seed():
    given = {"class": "keras.layers:Rescaling", "scale": 0.5}
    pixels, _ = preprocessing.through(lambda step: (PIXELS, {}), [given], 0)(0)
    np.testing.assert_array_equal(pixels, (PIXELS * np.float32(0.5)).round().astype("uint8"))


def test_a_recipe_trains_on_what_its_layers_make():
    usual = replace(recipe.find("classification.lenet5"), batch=2, real=(), easy=100)
    plain, _ = train.assemble(usual).task.batch(0)
    varied, _ = train.assemble(replace(usual, layers=(LAYERS["Keras, brightness"],))).task.batch(0)
    assert varied.shape == plain.shape and (varied != plain).any()
