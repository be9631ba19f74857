"""Domain adaptation: its losses by hand, and toy domains where labels of one alone mislead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops
from safetensors.numpy import load_file

from recipes import adapt, beside, optimizer, step, train
from recipes.data import folders
from recipes.recipe import Recipe
from recipes.recognition import task as recognition
from zoo import registry

HOW = Recipe(model="toy", task="", rate=0.05, warmup=0, steps=150, ema=0.9, decay=0, batch=64, target="theirs")


# ---------------------------------------------------------------- losses


def test_mmd_by_hand():
    """Points 0, 1 and 2, 4 on a line, kernel exp(-d²/4): e(0) = 1, e(1), e(4), e(9) and e(16) for their distances."""
    one, other = np.array([[0.0], [1.0]], "float32"), np.array([[2.0], [4.0]], "float32")
    e = {d2: np.exp(-d2 / 4) for d2 in (1, 4, 9, 16)}
    across = (e[4] + e[16] + e[1] + e[9]) / 4
    assert float(adapt.mmd(one, other, [4.0])) == pytest.approx(e[1] + e[4] - 2 * across, abs=1e-6)
    biased = (2 + 2 * e[1]) / 4 + (2 + 2 * e[4]) / 4 - 2 * across
    assert float(adapt.mmd(one, other, [4.0], biased=True)) == pytest.approx(biased, abs=1e-6)
    several = [float(adapt.mmd(one, other, [width])) for width in (1.0, 4.0)]
    assert float(adapt.mmd(one, other, [1.0, 4.0])) == pytest.approx(sum(several), abs=1e-6)


def test_mmd_has_no_bias_and_grows_with_the_distance():
    """Of samples of one distribution its mean is 0, that of the biased form is not; scales of the features are one."""
    rng = np.random.default_rng(0)
    same = [rng.normal(size=(2, 12, 3)).astype("float32") for _ in range(300)]
    plain = [float(adapt.mmd(a, b, [6.0])) for a, b in same]
    assert abs(np.mean(plain)) < 3 * np.std(plain) / np.sqrt(300) and min(plain) < 0
    assert np.mean([float(adapt.mmd(a, b, [6.0], biased=True)) for a, b in same]) > 0.05
    x, y = rng.normal(size=(2, 40, 3)).astype("float32")
    far = [float(adapt.mmd(x, y + shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert far == sorted(far) and far[3] > 1
    assert float(adapt.mmd(100 * x, 100 * y + 200)) == pytest.approx(far[3], rel=1e-3)


def test_the_gradient_comes_back_reversed():
    x, strength = np.array([[1.0, -2.0], [3.0, 4.0]], "float32"), np.array([[0.5], [2.0]], "float32")
    np.testing.assert_allclose(np.asarray(adapt.reverse(x, strength)), x)
    found = gradient(lambda x: ops.sum(adapt.reverse(x, strength) ** 2), x)
    np.testing.assert_allclose(found, -strength * 2 * x, rtol=1e-6)


def test_mmd_pulls_the_samples_together():
    """Its gradient is that of its differences, and points from the one set to the other."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 2)).astype("float32"), (rng.normal(size=(5, 2)) + 2).astype("float32")
    found = gradient(lambda x: adapt.mmd(x, y, [2.0, 8.0]), x)
    assert (found.mean(0) < 0).all()  # downhill is towards larger values
    for index in ((0, 0), (3, 1)):
        moved = [x.copy(), x.copy()]
        moved[0][index] -= 1e-2
        moved[1][index] += 1e-2
        low, high = (float(adapt.mmd(m, y, [2.0, 8.0])) for m in moved)
        assert found[index] == pytest.approx((high - low) / 2e-2, rel=2e-2, abs=1e-3)


def logits_of(rows: list[list[float]]) -> np.ndarray:
    """Logits (1, T, K) whose softmax are the rows."""
    return np.log(np.array([rows], "float32"))


def test_a_teacher_teaches_the_text_that_it_is_sure_of():
    """Path "a-b" with probability 0.9 · 0.8 · 0.9 = 0.648 > 0.8²; the loss is CTC's of "ab" over two characters."""
    known = logits_of([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8], [0.05, 0.9, 0.05]])
    student = logits_of([[0.5, 0.2, 0.3], [0.2, 0.2, 0.6], [0.3, 0.5, 0.2]])
    paths = 0.5 * 0.6 * 0.5 + 0.5 * 0.2 * 0.5 + 0.5 * 0.2 * 0.5 + 0.3 * 0.2 * 0.5 + 0.5 * 0.2 * 0.2
    assert float(adapt.pseudo_text(known, student, 0.8)[0]) == pytest.approx(-np.log(paths) / 2, rel=1e-5)
    assert float(adapt.pseudo_text(known, student, 0.81)[0]) == 0  # 0.648 < 0.81²
    assert float(adapt.pseudo_text(known, student, 0.0)[0]) == pytest.approx(-np.log(paths) / 2, rel=1e-5)  # any text
    blank = logits_of([[0.01, 0.01, 0.98]] * 3)
    assert float(adapt.pseudo_text(blank, student, 0.5)[0]) == 0


def test_a_teacher_teaches_characters_up_to_the_end():
    """ "b", then the end (class 2); the third step does not count for either."""
    known = logits_of([[0.1, 0.9, 0.0001], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]])
    student = logits_of([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]])
    wanted = -(np.log(0.3) + np.log(0.6)) / 2
    assert float(adapt.pseudo_characters(known, student, 0.8)[0]) == pytest.approx(wanted, rel=1e-4)
    assert float(adapt.pseudo_characters(known, student, 0.86)[0]) == 0  # 0.72 < 0.86²
    assert float(adapt.pseudo_characters(known, student, 0.0)[0]) == pytest.approx(wanted, rel=1e-4)


def test_a_teacher_teaches_pixels_that_it_is_sure_of():
    known = np.log(np.array([[[0.95, 0.5], [0.04, 0.2]]]) / (1 - np.array([[[0.95, 0.5], [0.04, 0.2]]])))[..., None]
    student = np.zeros((1, 2, 2, 1), "float32")
    student[0, 0, 0], student[0, 1, 0] = np.log(3), np.log(1 / 3)  # probabilities 3/4 of text and of no text
    found = adapt.pseudo_pixels(known.astype("float32"), student, 0.9)
    assert float(found[0]) == pytest.approx(-np.log(0.75), rel=1e-5)
    classes = logits_of([[0.97, 0.02, 0.01], [0.5, 0.3, 0.2]])[:, None]  # (1, 1, 2, 3)
    given = logits_of([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])[:, None]
    assert float(adapt.pseudo_pixels(classes, given, 0.9)[0]) == pytest.approx(-np.log(0.6), rel=1e-5)


# ---------------------------------------------------------------- toy domains


class Shifted:
    """A dot of three values says whether it is text. Where there are labels, the first and the third tell; the third of
    all other dots is large and tells nothing."""

    sources = ("dots",)

    def dots(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.integers(0, 2, count)
        x = rng.normal(scale=0.3, size=(count, 3))
        x[:, 0] += 2 * truth - 1
        return x, truth

    def ours(self, rng, count):
        x, truth = self.dots(rng, count)
        x[:, 2] += 2 * truth - 1
        return x, truth

    def theirs(self, rng, count):
        x, truth = self.dots(rng, count)
        x[:, 2] += 2
        return x, truth

    def batch(self, number: int):
        x, truth = self.ours(np.random.default_rng((1, number)), HOW.batch)
        return x.reshape(-1, 1, 1, 3).astype("float32"), {"y": truth.astype("float32")}

    def loss(self, targets, outputs):
        z = outputs["logits"][:, 0, 0, 0]
        return ops.maximum(z, 0) - z * targets["y"] + ops.log1p(ops.exp(-ops.abs(z)))

    def unlabelled(self, paths):
        return lambda rng, shape: self.theirs(rng, shape[0])[0].reshape(shape).astype("float32")

    def right(self, network: keras.Model) -> float:
        """The share of the others' dots that are told right."""
        x, truth = self.theirs(np.random.default_rng(0), 500)
        return float(np.mean((np.asarray(network(x.reshape(-1, 1, 1, 3)))[:, 0, 0, 0] > 0) == truth))


class Turned(Shifted):
    """Two clouds of dots; the middles of the others' are turned by 75 degrees."""

    def ours(self, rng, count):
        return self.dots(rng, count)

    def theirs(self, rng, count):
        x, truth = self.dots(rng, count)
        middle, turn = 2 * truth - 1, np.deg2rad(75)
        x[:, 0] += middle * (np.cos(turn) - 1)
        x[:, 1] += middle * np.sin(turn)
        return x, truth


def dot_network(hidden: int) -> tuple[keras.Model, keras.Model]:
    """(B, 1, 1, 3) → {"logits": (B, 1, 1, 1)}, and the same without the name."""
    image = keras.Input((1, 1, 3), name="image")
    x = keras.layers.Dense(hidden, name="hidden")(image)
    logits = keras.layers.Dense(1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name="toy"), keras.Model(image, logits)


@pytest.fixture
def card(monkeypatch, tmp_path) -> registry.Card:
    """A card of a detector; the toy's backbone ends in its hidden layer, and its pictures are dots."""
    monkeypatch.setattr(beside, "trunk", lambda network, card: network.get_layer("hidden").output)
    monkeypatch.setattr(beside, "pictures", lambda *given: [Path("dots")])
    monkeypatch.setattr(adapt.augment, "degrade", lambda dot, rng, strength: dot + rng.normal(0, 0.3, dot.shape))
    return registry.card("db_mobilenet_v3_large")


def learnt(how: Recipe, card: registry.Card, task: Shifted, seed: int) -> float:
    keras.utils.set_random_seed(seed)
    network, logits = dot_network(8)
    learner, taught = beside.prepare(how, card, network, task, None)
    adam = optimizer.make(how, learner)
    doer = step.make(learner, taught.loss, adam, step.devices())
    list(doer.losses(taught, 0, how.steps))
    doer.sync()
    with optimizer.Averaged(learner, adam):
        return task.right(logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [HOW, replace(HOW, adapt_weight=10.0, rate=0.003, steps=300, ema=0.98)], ids=["mmd", "adversarial"]
)
def test_labels_that_mislead_are_not_followed_where_domains_are_drawn_together(card, how, request):
    name = request.node.callspec.id
    alone = [learnt(replace(how, target=""), card, Shifted(), seed) for seed in range(2)]
    helped = [learnt(replace(how, adapt=name), card, Shifted(), seed) for seed in range(2)]
    assert max(alone) < 0.75 < 0.85 < min(helped), (alone, helped)


@pytest.mark.slow
def test_a_teacher_leads_from_what_is_known_to_what_is_near(card):
    alone = [learnt(replace(HOW, target=""), card, Turned(), seed) for seed in range(2)]
    helped = [learnt(replace(HOW, adapt="teacher", confident=0.8), card, Turned(), seed) for seed in range(2)]
    assert max(alone) < 0.85 < 0.97 < min(helped), (alone, helped)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_teacher_is_the_average_of_the_weights(card, policy):
    """θ' after steps with weights θ0, θ1, θ2 is what Tarvainen's rule gives: α = 0, 1/2, 2/3 where `ema` is above."""
    how = replace(HOW, adapt="teacher", ema=0.99)
    with train.precision(policy):
        network, _ = dot_network(2)
        learner, taught = beside.prepare(how, card, network, Shifted(), None)
    seen = []
    for number in range(3):
        pixels, targets = taught.batch(number)
        kernel = network.get_layer("logits").kernel
        kernel.assign(np.full((2, 1), number**2 + 1e-4, "float32"))  # more digits than half precision has
        seen.append(number**2 + 1e-4)
        learner({"image": pixels, **{name: targets[name] for name in taught.told}}, training=True)
    average = next(v for v in learner.lesson.averages if v.path.endswith("logits.kernel"))
    np.testing.assert_allclose(np.asarray(average), np.mean(seen), rtol=1e-5)
    assert not {id(v) for v in learner.lesson.averages} & {id(v) for v in learner.trainable_variables}


def toy(name: str, **options) -> keras.Model:
    """A recognizer of digits that is traced at once, with a backbone by name and a batch normalization."""
    image = keras.Input((32, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Conv2D(8, (32, 8), strides=(32, 4), padding="same", name="columns")(x)
    x = keras.layers.BatchNormalization(momentum=0.8, name="hidden")(x)
    x = keras.layers.Dense(11, dtype="float32", name="classes")(keras.layers.ReLU(name="relu")(x))
    return keras.Model(image, {"logits": keras.layers.Reshape((-1, 11), name="logits")(x)}, name="toy")


@pytest.mark.parametrize("name", ["teacher", "adversarial"])
def test_an_adapted_run_that_broke_goes_on_and_is_a_model(tmp_path, monkeypatch, name):
    """The average that teaches and the classifier of domains are in the checkpoint; the weights hold neither."""
    folders.write_words(tmp_path / "theirs", 5, 12, "digits", 4)
    monkeypatch.setattr(registry, "build", toy)
    monkeypatch.setattr(beside, "trunk", lambda network, card: network.get_layer("hidden").output)
    monkeypatch.setattr(train.plots, "curves", lambda *paths: None)
    monkeypatch.setattr(recognition.plots, "words", lambda *given: None)
    how = replace(
        HOW, model="crnn_mobilenet_v3_small", task="recipes.recognition.task", options={"charset": "digits"},
        batch=4, steps=4, longest=4, widest=64, adapt=name, confident=0.01, checkpoint_every=2, validate_every=4,
        validation=4,
    )  # fmt: skip
    train.train(how, tmp_path / "whole", tmp_path, verbose=False)
    save = train.Checkpoint.save

    def broken(self, step, best):
        save(self, step, best)
        raise OSError("the power went off")

    with monkeypatch.context() as patch:
        patch.setattr(train.Checkpoint, "save", broken)
        with pytest.raises(OSError, match="the power went off"):
            train.train(how, tmp_path / "parts", tmp_path, verbose=False)
    train.train(how, tmp_path / "parts", tmp_path, verbose=False)
    whole, parts = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(value, parts[key])
    stored = load_file(tmp_path / "parts/weights.safetensors")
    assert {key.partition("/")[0] for key in stored} == {"columns", "hidden", "classes"} and len(whole) > len(stored)
    assert registry.card(tmp_path / "parts").weights["data"] == ["synthetic words", "theirs without labels"]
    registry.load(tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "sparsity", "variables"), [("teacher", 0.5, 4 + 1 + 4), ("adversarial", 0, 4 + 4)])
def test_two_devices_learn_what_one_learns(lesson, sparsity, variables):
    """The classifier of domains, the average that teaches and the masks of a sparse network included."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, str(here / "taught.py"), lesson, "0", str(sparsity)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["difference"] < 1e-5 and found["variables"] == variables, found


# ---------------------------------------------------------------- what is refused, and what is drawn


def test_what_cannot_be_taught_says_why(card):
    network, _ = dot_network(2)
    for how, message in (
        (replace(HOW, adapt="cyclegan"), "adapt=cyclegan: there are mmd, adversarial, teacher, contrastive, masked"),
        (replace(HOW, adapt="cyclegan", target=""), "adapt=cyclegan: there are mmd"),
        (replace(HOW, adapt="mmd", target=""), "give their folder by --set target=DIR"),
        (replace(HOW, adapt="", target="theirs"), "target=theirs is looked at by a lesson alone: give one of mmd"),
    ):
        with pytest.raises(ValueError, match=message):
            beside.prepare(how, card, network, Shifted(), None)
    told = keras.Model({"image": network.input, "tokens": keras.Input((3,), name="tokens")}, network.output)
    with pytest.raises(ValueError, match="learns from more than the picture"):
        beside.prepare(replace(HOW, adapt="mmd"), card, told, Shifted(), None)
    with pytest.raises(ValueError, match="adapt=mmd: lessons are for detection and recognition; toy is for tables"):
        beside.prepare(replace(HOW, adapt="mmd"), replace(card, task="tables"), network, object(), None)


@pytest.mark.parametrize(("name", "takes"), [("db_resnet50", True), ("psenet_resnet50", False), ("ctpn_vgg16", False)])
def test_a_teacher_is_one_of_a_single_map(small, name, takes):
    """Seven kernels or ten anchors at a pixel are no classes, of which the likeliest would be the one."""
    how = replace(HOW, adapt="teacher", model=name)
    if takes:
        assert adapt.Teacher(how, registry.card(name), small(name)).distance is adapt.pseudo_pixels
        return
    with pytest.raises(ValueError, match=f"adapt=teacher teaches one map of text; {name} gives logits"):
        adapt.Teacher(how, registry.card(name), small(name))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"adapt": "mmd", "batch": 1}, "adapt=mmd"),
        ({"adapt": "contrastive", "batch": 4, "accumulate": 4}, "adapt=contrastive"),
        ({"adapt": "", "target": "", "teacher": "crnn_mobilenet_v3_small", "alike": 2.0, "batch": 1}, "alike=2.0"),
    ],
)
def test_a_picture_alone_is_compared_with_none(tmp_path, monkeypatch, given, what):
    """Of one picture in a part the discrepancy is nan, and all others are nothing to be unlike."""
    folders.write_words(tmp_path / "theirs", 5, 2, "digits", 4)
    known = registry.card("crnn_mobilenet_v3_small")
    monkeypatch.setattr(registry, "card", lambda name: replace(known, options={**known.options, "charset": "digits"}))
    monkeypatch.setattr(registry, "build", toy)
    monkeypatch.setattr(registry, "load", toy)
    monkeypatch.setattr(beside, "trunk", lambda network, card: network.get_layer("hidden").output)
    how = replace(
        HOW, model="crnn_mobilenet_v3_small", task="recipes.recognition.task", options={"charset": "digits"}, **given
    )
    with pytest.raises(train.RunError, match=f"{what} compares the pictures"):
        train.assemble(how, tmp_path)
    train.assemble(replace(how, batch=2 * how.batch), tmp_path)


def test_pictures_are_found_without_their_labels(tmp_path):
    from PIL import Image

    for index in range(7):
        Image.fromarray(np.full((20, 10 + 10 * index, 3), 30 * index, "uint8")).save(tmp_path / f"{index}.png")
    assert len(beside.pictures(tmp_path.parent, tmp_path.name)) == 7
    assert [path.name for path in beside.pictures(None, str(tmp_path), 2)] == ["0.png", "3.png"]
    labels = '{"image": "4.png", "text": "a"}', '{"image": "5.png", "text": "", "split": "test"}'
    (tmp_path / "labels.jsonl").write_text("\n".join(labels))
    assert [path.name for path in beside.pictures(tmp_path, "")] == ["4.png"]
    with pytest.raises(ValueError, match="target=nothing: there is no folder .*nothing; it is under --data, or a path"):
        beside.pictures(tmp_path, "nothing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        beside.pictures(tmp_path, "nothing")
    (tmp_path / "labels.jsonl").write_text(labels[1])
    with pytest.raises(ValueError, match="names no picture of `train` that is not held out; give a folder of pictures"):
        beside.pictures(tmp_path, "")


def test_a_note_beside_pictures_is_no_file_of_labels(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((20, 30, 3), "uint8")).save(tmp_path / "a.png")
    (tmp_path / "readme.txt").write_text("scanned in May")
    assert [path.name for path in beside.pictures(tmp_path, "")] == ["a.png"]
    (tmp_path / "labels.jsonl").write_text("scanned in May")
    with pytest.raises(ValueError, match="labels.jsonl:1"):
        beside.pictures(tmp_path, "")


def test_few_labels_are_taught_beside_all_pictures(tmp_path):
    from PIL import Image

    class Seen(Shifted):
        def unlabelled(self, paths):
            self.paths = paths
            return super().unlabelled(paths)

    for index in range(7):
        Image.fromarray(np.zeros((20, 30, 3), "uint8")).save(tmp_path / f"{index}.png")
    task, card = Seen(), registry.card("db_mobilenet_v3_large")
    beside.prepare(replace(HOW, adapt="teacher", target=str(tmp_path), few=2), card, dot_network(2)[0], task, None)
    assert len(task.paths) == 7


def test_strips_are_drawn_that_are_as_wide_as_the_batch(tmp_path):
    from PIL import Image

    paths = []
    for index, width in enumerate((30, 50, 60, 64, 90, 96)):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(np.full((32, width, 3), 40 * (index + 1), "uint8")).save(paths[-1])
    how = replace(HOW, model="crnn_mobilenet_v3_small", options={"charset": "digits"})
    draw = recognition.make(how, registry.card(how.model), None).unlabelled(paths)
    strips = np.concatenate([draw(np.random.default_rng(seed), (2, 32, 64, 3)) for seed in range(20)])
    assert strips.shape == (40, 32, 64, 3) and strips.dtype == np.uint8
    filled = (strips.max((1, 3)) > 0).sum(1)
    assert filled.min() > 40 and len(set(filled.tolist())) > 2  # 50, 60 and 64, more or less
    np.testing.assert_array_equal(draw(np.random.default_rng(0), (2, 32, 64, 3)), strips[:2])
    assert draw(np.random.default_rng(1), (3, 32, 16, 3)).shape == (3, 32, 16, 3)  # all are wider: squeezed
