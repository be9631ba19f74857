"""The trainer: exact resumption, what it refuses, what a run's folder holds, and that it learns."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow import make_ndarray
from tensorflow.compat.v1.train import summary_iterator

import zoo
from recipes import optimizer, recipe, train
from recipes.data import synthetic
from recipes.recipe import Recipe
from recipes.recognition import task as recognition
from zoo import registry, weights
from zoo.charset import Reading

HERE = Path(__file__).parent
SMALL = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.recognition.task",
    options={"features": "mobilenet_v3_test_r", "charset": "digits", "units": 8},
    batch=4, steps=6, rate=1e-2, warmup=2, ema=0.9, longest=4, widest=64,
    checkpoint_every=2, validate_every=4, validation=4,
)  # fmt: skip


def toy(name: str = "toy", **options) -> keras.Model:
    """A recognizer of two layers that is traced at once, with all that a resumed run must know: a batch normalization's
    averages and a dropout's random state."""
    image = keras.Input((32, None, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Conv2D(8, (32, 8), strides=(32, 4), padding="same", name="columns")(x)
    x = keras.layers.BatchNormalization(momentum=0.8, name="norm")(x)
    x = keras.layers.Dropout(0.3, name="drop")(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.Dense(11, dtype="float32", name="classes")(x)
    return keras.Model(image, {"logits": keras.layers.Reshape((-1, 11), name="logits")(x)}, name=name)


@pytest.fixture
def built(monkeypatch) -> list[keras.Model]:
    """The toy in place of every network; holds those that were built."""
    made: list[keras.Model] = []

    def build(name, **options):
        made.append(toy())
        return made[-1]

    monkeypatch.setattr(registry, "build", build)
    return made


@pytest.fixture
def plain(built, monkeypatch):
    """Runs of the toy that draw no pictures, for tests of many runs."""
    monkeypatch.setattr(train.plots, "curves", lambda *paths: None)
    monkeypatch.setattr(train.report, "write", lambda *args: None)
    monkeypatch.setattr("recipes.recognition.task.plots.words", lambda *args: None)


def rows(run: Path) -> list[dict[str, str]]:
    """log.csv without the times."""
    with (run / "log.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    first, second = (weights.read(run / "weights.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])


# ---------------------------------------------------------------- what a run leaves


def test_a_run_is_a_model(built, tmp_path):
    train.train(replace(SMALL, ema=0.0, steps=4), tmp_path / "run", verbose=False)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "recipe.json", "log.csv", "curves.png", "samples.png", "checkpoint.safetensors", "weights.safetensors",
        "card.toml", "tensorboard", "report.html",
    }  # fmt: skip
    log = rows(tmp_path / "run")
    assert [row["step"] for row in log] == ["2", "4"]
    assert log[0]["score"] == "" and 0 <= float(log[1]["score"]) <= 1
    events = [event for path in (tmp_path / "run/tensorboard").iterdir() for event in summary_iterator(str(path))]
    shown = {
        (event.step, value.tag): float(make_ndarray(value.tensor)) for event in events for value in event.summary.value
    }
    assert shown[4, "loss"] == pytest.approx(float(log[1]["loss"])) and (4, "score") in shown and (2, "rate") in shown
    strips = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype("uint8")
    (trained,) = built
    loaded = zoo.load(tmp_path / "run")
    assert loaded is not trained
    np.testing.assert_array_equal(
        np.asarray(loaded(strips, training=False)["logits"]), np.asarray(trained(strips, training=False)["logits"])
    )
    card = zoo.card(tmp_path / "run")
    assert card.options["charset"] == "digits" and card.results["validation"]["step"] == 4
    assert (card.params, card.gflops) == (sum(int(np.prod(v.shape)) for v in trained.trainable_variables), 0)
    assert card.weights["data"] == ["synthetic words"] and "core" in card.weights["device"]
    assert zoo.reader(None, str(tmp_path / "run"), runtime="keras").read(strips[0])[0].height == 32


def kept(card: registry.Card, network: keras.Model, folder: Path) -> str:
    """The network as a model's folder."""
    folder.mkdir()
    weights.save(network, folder / "weights.safetensors", dtype="float32")
    file = {"file": "weights.safetensors", "sha256": weights.sha256(folder / "weights.safetensors")}
    registry.write_card(
        replace(card, options=card.options | card.test_options, weights=file, results={}), folder / "card.toml"
    )
    return str(folder)


def test_a_network_begins_with_the_backbone_of_another_architecture(tmp_path, capsys):
    """A spotter with that of a detector; what has another shape, or no counterpart, stays as it was."""
    spotting, detection = zoo.card("ocrnet_mobilenet_v3_large"), zoo.card("db_mobilenet_v3_large")
    detector = zoo.build(detection.name, **detection.test_options)
    for variable in detector.weights:
        variable.assign(variable + 1)
    start = kept(detection, detector, tmp_path / "finds")

    network = zoo.build(spotting.name, **spotting.test_options)
    before = {variable.path: variable.numpy().copy() for variable in network.weights}
    train._begin(network, start, spotting)
    given = {variable.path: variable.numpy() for variable in detector.weights}
    taken = {path for path, value in before.items() if path in given and given[path].shape == value.shape}
    assert "stem_conv/kernel" in taken and "guided_conv/kernel" not in taken
    for variable in network.weights:
        expected = given if variable.path in taken else before
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path], err_msg=variable.path)
    assert f"{len(before) - len(taken)} of {len(before)} variables are not in it" in capsys.readouterr().err
    recognizer = zoo.card("crnn_vgg16_bn")
    with pytest.raises(train.RunError, match=r"no tensor of .* fits into crnn_vgg16_bn"):
        train._begin(zoo.build(recognizer.name, **recognizer.test_options), start, recognizer)


def test_a_spotter_reads_as_the_recognizer_with_which_it_begins(tmp_path, capsys):
    """Begun with a detector and a recognizer: words that lie level, 32 pixels high, give the logits of their crops."""
    detection, recognition, spotting = map(
        zoo.card, ("db_mobilenet_v3_large", "crnn_mobilenet_v3_small.lines", "ocrnet_mobilenet_v3_large")
    )
    detector = zoo.build(detection.name, **detection.test_options)
    recognizer = zoo.build(recognition.name, **recognition.test_options)
    names = kept(detection, detector, tmp_path / "finds"), kept(recognition, recognizer, tmp_path / "reads")
    network = zoo.build(spotting.name, **spotting.test_options)
    own = replace(spotting, options=spotting.options | spotting.test_options)
    train._begin(network, ",".join(names), own)
    assert "variables are not in it" in capsys.readouterr().err
    np.testing.assert_array_equal(network.get_layer("stem_conv").kernel, detector.get_layer("stem_conv").kernel)

    page = np.random.default_rng(3).integers(0, 255, (1, 96, 128, 3)).astype("float32")
    words = np.array([[[8, 20], [72, 20], [72, 52], [8, 52]], [[40, 60], [80, 60], [80, 92], [40, 92]]], "float32")
    columns = (np.arange(32) < np.array([[32], [20]])).astype("float32")
    given = {"image": page, "words": words[None], "columns": columns[None]}
    text = np.asarray(network(given, training=False)["text"])
    strips = np.zeros((2, 32, 64, 3), "float32")
    strips[0], strips[1, :, :40] = page[0, 20:52, 8:72], page[0, 60:92, 40:80]
    expected = np.asarray(recognizer(strips, training=False)["logits"])
    assert text.shape == (1, *expected.shape)
    np.testing.assert_allclose(text[0], expected, atol=1e-4)


def test_a_run_begins_with_the_weights_of_another(built, tmp_path, monkeypatch):
    train.train(replace(SMALL, steps=4), tmp_path / "first", verbose=False)
    start = weights.read(tmp_path / "first" / "weights.safetensors")
    how = replace(SMALL, steps=2, warmup=100, rate=1e-9, ema=0.0, start=str(tmp_path / "first"))
    train.train(how, tmp_path / "second", verbose=False)
    second = weights.read(tmp_path / "second" / "weights.safetensors")
    np.testing.assert_allclose(second["columns/kernel"], start["columns/kernel"], atol=1e-6)
    monkeypatch.setenv("OCRZOO_OFFLINE", "1")
    with pytest.raises(train.RunError, match=r"start='crnn_vgg16_bn': "):
        train.train(replace(how, start="crnn_vgg16_bn"), tmp_path / "third", verbose=False)


# ---------------------------------------------------------------- stopping and going on


class Broken(RuntimeError):
    pass


def test_a_run_that_broke_goes_on_as_if_nothing_had_happened(plain, tmp_path, monkeypatch):
    train.train(SMALL, tmp_path / "whole", verbose=False)
    batch = recognition.Task.batch

    def broken(self, step):
        if step == 5:
            raise Broken("the power went off")
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(recognition.Task, "batch", broken)
        with pytest.raises(Exception, match="the power went off"):
            train.train(SMALL, tmp_path / "parts", verbose=False)
    assert [row["step"] for row in rows(tmp_path / "parts")] == ["2", "4"]
    train.train(SMALL, tmp_path / "parts", verbose=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert len({row["loss"] for row in rows(tmp_path / "whole")}) == 3
    train.train(SMALL, tmp_path / "parts", verbose=False)  # nothing is left to do
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_kill_between_log_and_checkpoint_repeats_the_interval(plain, tmp_path, monkeypatch):
    train.train(SMALL, tmp_path / "whole", verbose=False)
    save = train.Checkpoint.save

    def killed(self, step, best):
        if step == 4:
            raise Broken
        save(self, step, best)

    with monkeypatch.context() as patch:
        patch.setattr(train.Checkpoint, "save", killed)
        with pytest.raises(Broken):
            train.train(SMALL, tmp_path / "parts", verbose=False)
    train.train(SMALL, tmp_path / "parts", verbose=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(plain, tmp_path, monkeypatch, capsys, number):
    train.train(SMALL, tmp_path / "whole", verbose=False)
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    check, checks = train.Guard.check, []

    def signalled(self, loss):
        checks.append(loss)
        if len(checks) == 3:
            os.kill(os.getpid(), number)
        check(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(train.Guard, "check", signalled)
        with pytest.raises(KeyboardInterrupt) as stopped:
            train.train(SMALL, tmp_path / "parts", verbose=False)
    assert stopped.value.args == (number,)
    assert "the last checkpoint is kept" in capsys.readouterr().err
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers
    assert [row["step"] for row in rows(tmp_path / "parts")] == ["2"]
    train.train(SMALL, tmp_path / "parts", verbose=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_loss_that_is_shown_is_that_of_the_log(capsys):
    """Keras shows the mean of the steps until the last one, and then that one alone."""

    class Step:
        parts, gone = {}, ConnectionError

        def losses(self, task, start, stop):
            yield from (4.0, 2.0, 0.0)

    assert train._steps(Step(), None, 0, 3, train.Guard(), verbose=True) == {"loss": 2.0}
    assert "loss: 2.0000" in capsys.readouterr().out


def test_a_signal_in_the_last_validation_stops_before_the_report(plain, tmp_path, monkeypatch):
    """Whoever asks a run to stop waits for no report; the same call writes it."""
    how, reports = replace(SMALL, validate_every=SMALL.steps), []
    monkeypatch.setattr(train.report, "write", lambda *args: reports.append(args))
    with monkeypatch.context() as patch:
        patch.setattr(recognition.Task, "validate", lambda *args: os.kill(os.getpid(), signal.SIGTERM) or {"score": 1})
        with pytest.raises(KeyboardInterrupt):
            train.train(how, tmp_path, verbose=False)
    assert rows(tmp_path)[-1]["step"] == str(SMALL.steps) and not reports
    train.train(how, tmp_path, verbose=False)
    assert len(reports) == 1


def test_a_run_ends_when_validations_bring_nothing(plain, tmp_path, monkeypatch):
    """The fourth and fifth are no better than the third; the same call again ends at once."""
    scores = iter([0.1, 0.2, 0.4, 0.3, 0.4 - 1e-6, 0.9])
    monkeypatch.setattr(recognition.Task, "validate", lambda *args: {"score": next(scores)})
    how = replace(SMALL, steps=20, checkpoint_every=1, validate_every=1, patience=2)
    train.train(how, tmp_path, verbose=False)
    train.train(how, tmp_path, verbose=False)
    assert [float(row["score"]) for row in rows(tmp_path)] == [0.1, 0.2, 0.4, 0.3, 0.4 - 1e-6]
    assert zoo.card(tmp_path).results["validation"]["step"] == 3


def test_a_sparse_run_keeps_no_weights_from_before_it_was_sparse(plain, tmp_path, monkeypatch):
    """However well they scored; nor does it end before. Half of 30 steps is no multiple of those between two masks."""
    scores = iter([0.9, 0.8, 0.7, 0.2, 0.4, 0.3, 0.1])
    monkeypatch.setattr(recognition.Task, "validate", lambda *args: {"score": next(scores)})
    how = replace(SMALL, steps=30, checkpoint_every=4, validate_every=4, patience=2, sparsity=0.5)
    train.train(how, tmp_path, verbose=False)
    assert [row["step"] for row in rows(tmp_path)] == ["4", "8", "12", "16", "20", "24", "28"]
    assert zoo.card(tmp_path).results["validation"]["step"] == 20
    kernel = weights.read(tmp_path / "weights.safetensors")["columns/kernel"]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=1e-3)


# ---------------------------------------------------------------- refusals


def test_a_folder_holds_one_recipe(plain, tmp_path):
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    with pytest.raises(train.RunError, match=r"another recipe \(steps=2 there\)"):
        train.train(SMALL, tmp_path, verbose=False)


def test_a_run_goes_on_whose_data_were_moved(tmp_path):
    """As with the folder of a project, which holds both."""
    before, after = tmp_path / "before" / "mine", tmp_path / "after" / "mine"
    how = Recipe(model="crnn_vgg16_bn", task="recipes.recognition.task", real=(str(before),), start=str(before / "run"))
    moved = replace(how, real=(str(after),), start=str(after / "run"))
    train._write(tmp_path / "run", how, None)
    train._claim(tmp_path / "run", moved, None)
    with pytest.raises(train.RunError, match="holds a run of another recipe .*real="):
        train._claim(tmp_path / "run", replace(moved, real=(str(tmp_path / "yours"),)), None)
    before.mkdir(parents=True)  # there are both
    with pytest.raises(train.RunError, match="holds a run of another recipe .*real="):
        train._claim(tmp_path / "run", moved, None)


def test_a_file_is_no_folder_of_a_run(plain, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(train.RunError, match="run is a file; give a folder for --run"):
        train.train(SMALL, tmp_path / "run", verbose=False)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_told_before_a_network_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "assemble", lambda *args, **options: pytest.fail("made"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"run/recipe.json cannot be written .*; name a place that can"):
        train.train(SMALL, tmp_path / "file" / "run", verbose=False)


def test_samples_that_strides_do_not_divide_are_told_before_the_first_step():
    options = {"features": "mobilenet_v3_test", "channels": 16}
    recipe = Recipe(model="db_mobilenet_v3_large", task="recipes.detection.task", options=options, size=(96, 100))
    with pytest.raises(train.RunError, match=r"size=96,100: .* no multiple of 32; \(96, 128\) would do"):
        train.assemble(recipe)


def test_a_run_that_cannot_begin_claims_no_folder(plain, tmp_path):
    with pytest.raises(LookupError, match="crnn_mobilnet"):
        train.train(replace(SMALL, start="crnn_mobilnet"), tmp_path, verbose=False)
    train.train(replace(SMALL, steps=1), tmp_path, verbose=False)


def test_threads_are_limited_on_tensorflow_alone(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    train.threads(0)
    with pytest.raises(train.RunError, match="threads=2: jax takes one for each core"):
        train.threads(2)


def test_a_model_with_fewer_channels_is_of_the_kind_that_it_was_cut_from():
    card = zoo.card("east_resnet50")
    narrow = replace(card, builder="zoo.narrow:narrowed", options={**card.options, "of": card.builder, "filters": {}})
    how = replace(recipe.find("detection.east_resnet50"), real=())
    assert train.make_task(how, narrow, None)
    other = replace(narrow, options={**narrow.options, "of": zoo.card("db_resnet50").builder})
    with pytest.raises(train.RunError, match="gives other outputs than east_resnet50"):
        train.make_task(how, other, None)


def test_a_recognizer_with_fewer_channels_trains_as_others_do():
    """It was refused, as one that gives other outputs than itself."""
    card = zoo.card("crnn_mobilenet_v3_small")
    narrow = replace(card, builder="zoo.narrow:narrowed", options={**card.options, "of": card.builder, "filters": {}})
    assert train.make_task(replace(recipe.find("recognition.crnn_mobilenet_v3_small"), real=()), narrow, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"unitz": 16}}, "options=.*'unitz': 16.*crnn_mobilenet_v3_small takes no such options.*'unitz'"),
        ({"start": ","}, "start=',': a name is missing beside a comma; give one name, or several as A,B"),
        ({"start": "crnn_mobilenet_v3_small, "}, "start='crnn_mobilenet_v3_small, ': a name is missing"),
        ({"model": "lenet5", "options": {}}, "lenet5 is for classification; recipes.recognition.task trains .*recogn"),
        ({"model": "unet_small", "task": "recipes.segmentation.task", "options": {}, "shards": ("packed",)},
         "shards=packed: recipes.segmentation.task takes no shards; name data sets by real="),
        ({"options": {"features": "mobilenet_v3_test", "charset": "digits", "units": 8}},
         "options=.*reads a strip of 64 pixels in 2 steps, not in 16; a recognizer takes a backbone whose name"),
        ({"task": "recipes.losses"}, "task=recipes.losses: it makes no task; recipes.recognition.task would"),
        ({"model": "db_mobilenet_v3_large", "task": "recipes.detection.east_resnet50", "options": {}},
         "model=db_mobilenet_v3_large gives other outputs than east_resnet50, for which recipes.detection.east_resnet"),
    ],
)  # fmt: skip
def test_what_a_recipe_does_not_take_is_told_and_leaves_no_folder(tmp_path, changes, message):
    with pytest.raises(train.RunError, match=message):
        train.train(replace(SMALL, **changes), tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_with_its_data(plain, tmp_path):
    """Wherever they lie by now; without them its samples would be others."""
    how = replace(SMALL, steps=1)
    train.train(how, tmp_path / "run", tmp_path, verbose=False)
    train.train(how, tmp_path / "run", tmp_path / "elsewhere", verbose=False)
    with pytest.raises(train.RunError, match=r"began with --data .*elsewhere; go on with it likewise"):
        train.train(how, tmp_path / "run", verbose=False)


def test_a_run_outlives_new_fields_of_recipes(plain, tmp_path):
    """recipe.json of a run from before a field came: it is the same recipe as long as the field has its default."""
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    stored = json.loads((tmp_path / "recipe.json").read_text())
    assert stored.pop("aligned") == 0
    (tmp_path / "recipe.json").write_text(json.dumps(stored))
    with pytest.raises(train.RunError, match=r"\(aligned=0.0 there\)"):
        train.train(replace(SMALL, steps=2, aligned=1.0), tmp_path, verbose=False)
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    assert json.loads((tmp_path / "recipe.json").read_text())["aligned"] == 0


def test_random_states_go_by_their_order():
    names = ["network/a/kernel", "network/seed_generator_10/s", "network/seed_generator_9/s", "optimizer/0"]
    assert train._stable({name: name for name in names}) == {
        "network/a/kernel": names[0], "random/1": names[1], "random/0": names[2], "optimizer/0": names[3],
    }  # fmt: skip


def test_a_checkpoint_of_another_network_is_refused(plain, tmp_path, monkeypatch):
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    (tmp_path / "recipe.json").unlink()
    with pytest.raises(train.RunError, match="is of another network or optimizer"):
        train.train(replace(SMALL, ema=0.0), tmp_path, verbose=False)


def test_damaged_files_of_a_run_are_told_by_their_names(plain, tmp_path):
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    for name in (train.CHECKPOINT, train.RECIPE):
        whole = (tmp_path / name).read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"[]" if name == train.RECIPE else bytes(99)):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(train.RunError, match=rf"{name} is damaged.*; put it back, or take another"):
                train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
        (tmp_path / name).write_bytes(whole)
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)


@pytest.mark.parametrize(("cut", "last"), [(-20, 4), (-1, 4), (0, 0)])
def test_a_log_that_was_cut_is_told(plain, tmp_path, capsys, cut, last):
    run = train.train(SMALL, tmp_path / "run", verbose=False)
    log = run / "log.csv"
    whole = log.read_bytes()
    train.train(SMALL, run, verbose=False)
    assert "log.csv" not in capsys.readouterr().err
    log.write_bytes(whole[:cut])  # its last row, in part, or all that is in it
    train.train(SMALL, run, verbose=False)
    assert f"log.csv ends at step {last}, and checkpoint.safetensors is of step 6: the rows" in capsys.readouterr().err
    longer = replace(SMALL, steps=8)
    (run / "recipe.json").write_text(train._json(longer, None))
    train.train(longer, run, verbose=False)
    assert [row["step"] for row in rows(run)] == [step for step in ("2", "4") if last] + ["8"]


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(plain, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, usual[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(weights.WeightsError, match=rf"{train.CHECKPOINT} cannot be written: .*File too large"):
            train.train(replace(SMALL, steps=4), tmp_path, verbose=False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, usual[1]))
        with pytest.raises(OSError, match=r"/new/deep/recipe.json cannot be written \(.*: File too large\)"):
            train.train(SMALL, tmp_path / "new" / "deep", verbose=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not (tmp_path / "new").exists()
    train.train(replace(SMALL, steps=4), tmp_path, verbose=False)
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_said_of_events_too(tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, usual[1]))
    try:
        with pytest.raises(OSError, match=f"{tmp_path / 'events'} cannot be written to: .*File too large"):
            train._log_events(tmp_path / "events", {"step": 1, "loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_what_a_kill_left_of_a_checkpoint_is_cleared_away(plain, tmp_path):
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    left = [tmp_path / f".{name}.0123abcd.safetensors" for name in ("checkpoint", "weights")]
    for path in left:
        path.write_bytes(b"half")
    train.train(replace(SMALL, steps=2), tmp_path, verbose=False)
    assert not any(path.exists() for path in left)
    assert all((tmp_path / name).is_file() for name in (train.CHECKPOINT, train.WEIGHTS))


def test_a_loss_that_is_no_number_ends_the_run(plain, tmp_path, monkeypatch):
    loss = recognition.Task.loss
    monkeypatch.setattr(recognition.Task, "loss", lambda *args: loss(*args) * np.float32("nan"))
    with pytest.raises(train.RunError, match="no finite number any more: lower the rate"):
        train.train(SMALL, tmp_path, verbose=False)
    assert not (tmp_path / "checkpoint.safetensors").exists()


# ---------------------------------------------------------------- parts


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine():
    rate = optimizer.schedule(replace(SMALL, steps=100, warmup=20, rate=1.0, floor=0.1))
    values = [float(rate(step)) for step in (0, 10, 20, 60, 100, 200)]
    np.testing.assert_allclose(values, [0, 0.5, 1, 0.55, 0.1, 0.1], atol=1e-6)
    assert float(optimizer.schedule(replace(SMALL, steps=100, warmup=0, rate=1.0))(0)) == 1


@pytest.mark.parametrize("ema", [0.75, 0.1])
def test_the_average_of_weights_stands_in_for_them_for_a_while(ema):
    """Its momentum is 0, 1/11, 2/12 … up to `ema`: it begins with the first step's weights."""
    network = toy()
    adam = optimizer.make(replace(SMALL, ema=ema), network)
    kernel = network.get_layer("classes").kernel
    gradients = [np.ones(variable.shape, "float32") for variable in network.trainable_variables]
    average = np.zeros(1)
    for step in range(4):
        adam.apply(list(map(keras.ops.convert_to_tensor, gradients)))
        momentum = min(ema, step / (10 + step))
        average = momentum * average + (1 - momentum) * np.asarray(kernel)
    last = np.asarray(kernel).copy()
    with optimizer.Averaged(network, adam):
        inside = np.asarray(kernel).copy()
    np.testing.assert_array_equal(np.asarray(kernel), last)
    np.testing.assert_allclose(inside, average, atol=1e-6)
    assert np.abs(inside - last).max() > 1e-6


# ---------------------------------------------------------------- slow: real networks, real kills


@pytest.mark.slow
def test_a_recognizer_learns_a_few_words_by_heart(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import few

    how = replace(
        SMALL, task="few", options={**SMALL.options, "units": 32}, batch=few.COUNT, steps=150, warmup=20, ema=0.9,
        longest=3, widest=256, checkpoint_every=75, validate_every=75, aligned=1.0,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    samples = few.make(how, zoo.card(tmp_path / "run"), None).held_out()["few"]
    reader = zoo.reader(None, str(tmp_path / "run"), runtime="keras")
    assert [reader.read(sample.image).text for sample in samples] == [sample.text for sample in samples]


@pytest.mark.slow
def test_a_detector_learns_a_page_by_heart(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    how = replace(
        recipe.find("detection.db_mobilenet_v3_large"), task="one_page", real=(), size=(128, 128),
        options={"features": "mobilenet_v3_test", "channels": 16}, batch=2, steps=200, rate=1e-2, warmup=10, ema=0.9,
        checkpoint_every=100, validate_every=100,
    )  # fmt: skip
    train.train(how, tmp_path / "run", verbose=False)
    assert float(rows(tmp_path / "run")[-1]["one_hmean"]) == 1


@pytest.mark.slow
def test_the_same_command_goes_on_after_kill_9(tmp_path):
    """Three processes: one runs to its end; one is killed in the middle of it; the same command again ends its run."""
    changes = [
        "steps=20",
        "checkpoint_every=2",
        "validate_every=10",
        "validation=4",
        "batch=4",
        "longest=4",
        "widest=64",
    ]
    options = "options=" + ",".join(f"{key}:{value}" for key, value in SMALL.options.items())

    def command(run: str) -> list[str]:
        name = "recognition.crnn_mobilenet_v3_small"
        return [
            sys.executable, "-m", "zoo.cli", "train", name, "--run", str(tmp_path / run), "--threads", "1",
            "--set", options, "real=", *changes,
        ]  # fmt: skip

    paths = os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths}
    quiet = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    whole = subprocess.run(command("whole"), check=False, **quiet)
    assert (whole.returncode, whole.stdout) == (0, f"{tmp_path / 'whole'}\n"), whole.stderr

    killed = subprocess.Popen(command("parts"), **quiet)
    deadline = time.monotonic() + 300
    while not ((tmp_path / "parts/log.csv").is_file() and len(rows(tmp_path / "parts")) >= 3):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(rows(tmp_path / "parts")) < 10 and not (tmp_path / "parts/card.toml").exists()

    again = subprocess.run(command("parts"), check=False, **quiet)
    assert again.returncode == 0, again.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert zoo.load(tmp_path / "parts").name


def test_lines_are_chosen_by_their_characters_and_words_whole(tmp_path, monkeypatch):
    """Two of three texts right, and of the third five characters of six: 11 of 12."""
    card, texts = registry.card("crnn_mobilenet_v3_small"), ["abc", "def", "ghijkl"]
    samples = [synthetic.Strip(np.full((8, 40, 3), 200, np.uint8), text) for text in texts]
    reads = [Reading(text, 1.0, ()) for text in ("abc", "def", "ghijkX")]
    for longest, wanted in ((16, 2 / 3), (40, 11 / 12)):
        task = recognition.make(replace(SMALL, options={}, longest=longest, real=()), card, None)
        monkeypatch.setattr(task, "reader", lambda network: lambda images: reads)
        monkeypatch.setattr(task, "held_out", lambda: {"synthetic": samples, "real": samples})
        scores = task.validate(None, tmp_path / "words.png")
        assert scores["score"] == pytest.approx(wanted)
        assert scores["real_accuracy"] == pytest.approx(2 / 3) and scores["real_characters"] == pytest.approx(11 / 12)
