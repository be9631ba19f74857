"""The report of a run: its numbers are those of the samples, its texts are escaped, it needs no other file."""

from __future__ import annotations

import base64
import io
import json
import re
import types
from dataclasses import asdict, replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from PIL import Image

import zoo
from recipes import recipe, report, train
from recipes.classification.task import Sample
from recipes.data.documents import Regions
from recipes.data.synthetic import Strip
from recipes.data.tables import Table
from zoo import cli, registry
from zoo.cells import Cell
from zoo.charset import Reading
from zoo.classifying import Classifier
from zoo.regions import Region

WHITE = np.full((20, 60, 3), 255, "uint8")


class Parsed(HTMLParser):
    """Rows of tables and pictures of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.pictures, self.open = [], [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in ("br", "img", "meta"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def task_of(name: str, **fields):
    how = replace(recipe.find(name), real=(), **fields)
    return train.make_task(how, registry.card(how.model), None)


def test_words(monkeypatch):
    task = task_of("recognition.crnn_mobilenet_v3_small")
    samples = [Strip(WHITE, text) for text in ("10", "<b>", "word")]
    readings = [Reading("1O", 0.4, ()), Reading("<b", 0.7, ()), Reading("word", 0.9, ())]
    monkeypatch.setattr(task, "held_out", lambda: {"a & b": samples})
    monkeypatch.setattr(task, "reader", lambda network: lambda crops: readings)
    (text,) = report._words(task, None)
    found = Parsed(text)
    assert "3 words, 33.3% read right; character error rate 22.22%" in text and "Words: a &amp; b" in text
    assert ["under 3", "1", "0.0 %"] in found.rows and ["3 to under 5", "2", "50.0 %"] in found.rows
    assert ["16 to under 24", "3", "33.3 %"] in found.rows
    assert ["0", "O", "1"] in found.rows and [">", "missed", "1"] in found.rows
    assert len(found.pictures) == 2  # the right one is not among the worst
    assert text.index("1<mark>O</mark>") < text.index("&lt;b<mark>")  # half of it wrong before a third
    picture = Image.open(io.BytesIO(base64.b64decode(found.pictures[0].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(picture), WHITE)


def test_boxes(monkeypatch):
    task = task_of("detection.db_mobilenet_v3_large", size=(64, 64))
    true = np.array([[[5, 5], [45, 5], [45, 15], [5, 15]], [[5, 30], [45, 30], [45, 45], [5, 45]]], "float32")
    member = types.SimpleNamespace(image=np.full((64, 64, 3), 255, "uint8"), polygons=true, ignore=np.zeros(2, bool))
    monkeypatch.setattr(task, "held_out", lambda: {"real": [member]})
    monkeypatch.setattr(task, "reader", lambda network: lambda image: (true[:1], np.ones(1)))
    (text,) = report._boxes(task, None)
    found = Parsed(text)
    assert "1 pages with 2 boxes; 1 found, 1 of them right. precision 100.0%, recall 50.0%, hmean 66.7%" in text
    assert ["under 12", "1", "100.0 %", "100.0 %", "100.0 %"] in found.rows
    assert ["12 to under 16", "1", "0.0 %", "0.0 %", "0.0 %"] in found.rows
    assert "1 right, 1 missed, 0 false" in text and len(found.pictures) == 1


def test_classes(monkeypatch):
    task = task_of("classification.mobilenet_v3_small_crop_orientation")
    members = [Sample(WHITE, label) for label in (0, 0, 1, 3)]
    monkeypatch.setattr(task, "held_out", lambda: {"some": members})
    reader = Classifier(lambda batch: {"logits": np.eye(4)[[0, 1, 1, 3]]}, **task.reading)
    monkeypatch.setattr(task, "reader", lambda network: reader)
    (text,) = report._classes(task, None)
    found = Parsed(text)
    assert "4 pictures, 75.0% right" in text and len(found.pictures) == 1
    assert found.rows[0] == ["true \\ found", *task.names, "count"]
    assert found.rows[1] == [task.names[0], "0.500", "0.500", "0.000", "0.000", "2"]
    many = report._confusion(np.diag([3] * 20) + np.eye(20, k=1, dtype=int), [f"<{i}>" for i in range(20)])
    assert ["<0>", "<1>", "1"] in Parsed(many).rows and ["<0>", "4", "75.0 %"] in Parsed(many).rows


def test_segments(monkeypatch):
    task = task_of("segmentation.unet")
    classes = np.zeros((20, 60), "uint8")
    classes[:, 30:] = 1
    monkeypatch.setattr(task, "held_out", lambda: {"real": [Regions(WHITE, classes)]})
    monkeypatch.setattr(task, "reader", lambda network: lambda image: np.zeros((20, 60), "uint8"))
    (text,) = report._segments(task, None)
    assert "1 pages: mean intersection over union 0.250, 50.0% of pixels right" in text and "pixels: real<" in text
    assert Parsed(text).rows[2][:3] == [task.names[1], "1.000", "0.000"] and len(Parsed(text).pictures) == 1


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], "float32")


def test_regions(monkeypatch):
    """A table is found, a title is found where another table is, and a picture is missed."""
    task = task_of("layout.lw_detr_s")
    names = task.reading["labels"]
    found = [Region(names[task.places["table"]], 0.9, box(0, 0, 30, 10)), Region("Title", 0.8, box(30, 0, 60, 10))]
    true = [("table", box(0, 0, 30, 9)), ("table", box(30, 0, 60, 10)), ("figure", box(0, 12, 30, 20))]
    monkeypatch.setattr(task, "held_out", lambda: {"real": [(WHITE, true)]})
    monkeypatch.setattr(task, "reader", lambda network: lambda image: found)
    (text,) = report._regions(task, None)
    rows = {row[0]: row[1:] for row in Parsed(text).rows}
    assert "1 pages with 3 regions; 2 found, 1 of them right" in text and "1 right, 2 missed, 1 false" in text
    assert rows[names[task.places["table"]]] == ["2", "1", "100.0 %", "50.0 %", "66.7 %"]
    assert rows["Title"] == ["0", "1", "0.0 %", "100.0 %", "0.0 %"]
    assert task.counts(task.reader(None), [(WHITE, true)]).tolist() == [[1, 2, 3]]


def test_cells(monkeypatch):
    """Of two cells one is found in its place, the other in the next row."""
    task = task_of("tables.tablecenternet")
    cells = [Cell((0, 0), (0, 0), 0.9, box(0, 0, 30, 20)), Cell((1, 1), (1, 1), 0.8, box(30, 0, 60, 20))]
    places = np.array([[0, 0, 0, 0], [0, 0, 1, 1]])
    member = Table(WHITE, np.stack([cell.polygon for cell in cells]), places)
    monkeypatch.setattr(task, "held_out", lambda: {"synthetic": [member]})
    monkeypatch.setattr(task, "reader", lambda network: lambda image: cells)
    (text,) = report._cells(task, None)
    assert "1 pages with 2 regions; 2 found, 1 of them right" in text and "1 right, 1 missed, 1 false" in text
    assert task.counts(task.reader(None), [member]).tolist() == [[1, 2, 2]]


def test_a_run_ends_with_a_report(tmp_path, monkeypatch, capsys):
    """Of the best weights, not of the last; `zoo report` writes the same."""
    scores = iter([{"score": 0.9}, {"score": 0.1}])
    monkeypatch.setattr("recipes.classification.task.Task.validate", lambda *args: next(scores))
    monkeypatch.setattr(registry, "build", lambda *args, **options: tiny())
    how = replace(
        recipe.find("classification.lenet5"), batch=4, steps=2, rate=0.1, checkpoint_every=1, validate_every=1,
        validation=9,
    )  # fmt: skip
    run = train.train(how, tmp_path / "run <1>", verbose=False)
    first = (run / "report.html").read_text()
    assert "<h1>lenet5 in run &lt;1&gt;</h1>" in first and "score 0.9000 after 1 of 2 steps" in first
    found = Parsed(first)
    assert found.pictures and all(source.startswith("data:image/") for source in found.pictures)
    assert not re.search(r'(src|href)="(?!data:)', first)
    assert ["steps", "2"] in found.rows
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    again = (run / "report.html").read_text()
    body = re.compile(r"<section><h2>Classes.*", re.DOTALL)
    assert body.search(again)[0] == body.search(first)[0]
    assert zoo.card(run).results["validation"]["step"] == 1


def tiny() -> keras.Model:
    image = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Flatten(name="flat")(keras.layers.Rescaling(1 / 255, name="scale")(image))
    logits = keras.layers.Dense(zoo.card("lenet5").options["classes"], name="classes")(x)
    return keras.Model(image, {"logits": logits}, name="lenet5")


def test_a_pretrained_backbone_has_a_report_of_curves_and_scores(tmp_path, capsys):
    """Its weights are of no whole network, and are not asked for."""
    how = recipe.find("pretraining.crnn_mobilenet_v3_small_masked")
    (tmp_path / "recipe.json").write_text(json.dumps(asdict(how)))
    made = {"file": "weights.safetensors", "data": ["words"], "seconds": 60.0, "device": "cpu", "version": "0"}
    scores = {"validation": {"score": -0.25, "step": 3.0}}
    card = replace(zoo.card(how.model), weights=made, results=scores, published={})
    registry.write_card(card, tmp_path / "card.toml")
    assert cli.main(["report", str(tmp_path)]) == 0
    assert "score -0.2500 after 3 of" in (tmp_path / "report.html").read_text()


def test_a_folder_that_is_no_run_has_no_report(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "holds no recipe.json" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "card", lambda name: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="report.html cannot be written"):
        report.write(tmp_path / "file", None, None, None)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (report.Bar(0.915), "91.5 %"),
        (report.Heat(0.25), "0.250"),
        (1234, "1,234"),
        ("a<b", "a<b"),
    ],
)
def test_cells_of_tables_are_escaped_and_drawn(value, cell):
    assert Parsed(report.table(("head",), [(value,)])).rows == [["head"], [cell]]
