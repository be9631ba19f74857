"""Scores worked by hand on readers that answer what they are told, and the command that prints and records them."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import zoo
from recipes import evaluate, origin
from recipes.data import datasets
from zoo import cli, registry
from zoo.charset import Reading
from zoo.reading import Reader
from zoo.regions import Region


def box(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


class Told:
    """Finds and reads what it is told for a picture, which it knows by its first pixel."""

    def __init__(self, answers: dict[int, list[tuple[list, str]]]):
        self.answers = answers

    def find(self, pixels):
        self.texts = [text for _, text in self.answers[int(pixels[0, 0, 0])]]
        boxes = [polygon for polygon, _ in self.answers[int(pixels[0, 0, 0])]]
        return np.array(boxes, "float32").reshape(-1, 4, 2), np.ones(len(boxes), "float32")

    def read(self, crops):
        texts = self.texts[: len(crops)]
        return [Reading(text, 0.9, (0.9,) * len(text)) for text in texts]

    def word(self, crops):
        return [Reading(self.answers[int(crop[0, 0, 0])][0][1], 0.5, ()) for crop in crops]


class Parted:
    """A segmenter to which the upper half of every page is a table."""

    labels = ("background", "text", "table")

    def __call__(self, pixels):
        classes = np.zeros(pixels.shape[:2], "uint8")
        classes[: len(classes) // 2] = 2
        return classes


class Tables:
    """A finder of regions to which it is so, too."""

    labels = ("table",)

    def __call__(self, pixels):
        height, width = pixels.shape[:2]
        return [Region("table", 0.9, np.array(box(0, 0, width, height // 2), "float32"))]


class Upright:
    """A classifier that knows how pages are turned, which come in the order of its labels."""

    labels, angles, picture = ("0", "-90", "180", "90"), (0, -90, 180, 90), "page"

    def __call__(self, pictures):
        return [(label, 1.0) for label in self.labels]


def picture(path, number, size=(100, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number, number, number)).save(path)


@pytest.fixture
def crops(tmp_path):
    """Four labelled crops; the last one's file is damaged."""
    folder = tmp_path / "words"
    rows = []
    for number, text in enumerate(("Hello", "World", "12.50", "lost")):
        picture(folder / f"images/{number}.png", number, (40, 20))
        rows.append(json.dumps({"image": f"images/{number}.png", "text": text, "split": "test"}))
    (folder / "images/3.png").write_bytes(b"damaged")
    (folder / "labels.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def pages(tmp_path):
    """A page of lines and one whose middle is illegible."""
    folder = tmp_path / "receipts"
    first = [(box(0, 0, 40, 10), "Sub Total"), (box(50, 0, 90, 10), "5.00"), (box(0, 20, 40, 30), "THANKS")]
    second = [(box(0, 0, 40, 10), "Hello"), (box(0, 20, 60, 40), "###"), (box(70, 20, 90, 40), "?")]
    rows = []
    for number, words in enumerate((first, second)):
        picture(folder / f"{number}.png", number)
        labels = [{"polygon": polygon, "text": text, "illegible": text == "?"} for polygon, text in words]
        rows.append(json.dumps({"image": f"{number}.png", "level": "line", "words": labels, "split": "test"}))
    (folder / "labels.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def told(monkeypatch):
    """Readers of the crops and the pages above, in place of those of networks."""
    words = Told({0: [([], "Hello")], 1: [([], "w0rld")], 2: [([], "1250")]})
    places = Told(
        {
            0: [
                (box(0, 0, 40, 11), "Sub"), (box(50, 0, 90, 10), "500"), (box(0, 22, 40, 32), "thanks"),
                (box(60, 40, 80, 48), "x"),
            ],
            1: [(box(0, 0, 20, 10), "Hello"), (box(5, 22, 25, 38), "smudge")],
        }
    )  # fmt: skip

    def reader(detection, recognition, *, runtime="auto"):
        return Reader(places.find, places.read) if detection else Reader(None, words.word)

    monkeypatch.setattr(zoo, "reader", reader)


# ---------------------------------------------------------------- scores


def test_scores_of_crops(told, crops):
    """Read: Hello, w0rld, 1250, nothing. Edits: 0, 2 (W and o), 1 (the dot), 4 of 19 characters."""
    (result,) = evaluate.evaluate(["crnn_vgg16_bn"], crops)
    assert result.title == "words/test" and result.models == ("crnn_vgg16_bn",)
    scores = result.scores
    assert scores["crops"] == 4
    assert (scores["exact"], scores["caseless"], scores["alnum"]) == (0.25, 0.25, 0.5)
    assert scores["cer"] == pytest.approx(7 / 19)
    assert scores["ece"] == pytest.approx(0.5 / 4)  # of three that are 0.5 sure two are right; nothing is not sure
    assert len(result.failures) == 1 and "3.png" in result.failures[0]
    assert [row["text"] for row in result.predictions] == ["Hello", "w0rld", "1250", ""]
    assert result.predictions[1]["image"] == "images/1.png"


def test_scores_of_pages_whose_texts_are_not_known(told, tmp_path):
    """As of docTR's pages: one of the two boxes is found, and three that are none. Of the words nothing can be said."""
    picture(tmp_path / "images/0.png", 0)
    labels = {"0.png": {"polygons": [box(0, 0, 40, 10), box(0, 40, 9, 49)]}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    (result,) = evaluate.evaluate(["db_resnet50", "crnn_vgg16_bn"], tmp_path)
    assert result.scores.pop("seconds") >= 0
    assert result.scores == {"pages": 1, "precision": 1 / 4, "recall": 1 / 2, "hmean": pytest.approx(1 / 3)}


def test_scores_of_pages(told, pages):
    """Boxes: three of four match; on the second page the one label that is asked for is half found, an overlap of just
    0.5, and the smudge lies on an illegible place. Words: sub, 500, thanks, hello of the 5 labelled, and x."""
    (result,) = evaluate.evaluate(["db_resnet50", "crnn_vgg16_bn"], pages)
    scores = result.scores
    assert scores["pages"] == 2
    assert (scores["precision"], scores["recall"]) == (pytest.approx(4 / 5), pytest.approx(4 / 4))
    assert (scores["word_precision"], scores["word_recall"]) == (pytest.approx(4 / 5), pytest.approx(4 / 5))
    assert scores["f1"] == pytest.approx(0.8)
    assert result.predictions[0]["words"][1]["polygon"] == box(50, 0, 90, 10)


def test_pages_without_places_have_scores_of_words(told, pages):
    rows = [{"image": "0.png", "page_text": "sub total\nTHANKS", "words": [], "split": "test"}]
    (pages / "labels.jsonl").write_text(json.dumps(rows[0]))
    (result,) = evaluate.evaluate(["db_resnet50", "crnn_vgg16_bn"], pages)
    assert "hmean" not in result.scores
    assert (result.scores["word_precision"], result.scores["word_recall"]) == (0.5, pytest.approx(2 / 3))


def test_a_part_of_the_data_is_spread_over_it(tmp_path):
    entries = [datasets.Entry(tmp_path / str(i), "x", np.zeros((0, 4, 2))) for i in range(10)]
    assert [entry.path.name for entry in datasets.spread(entries, 4)] == ["0", "2", "5", "7"]
    assert datasets.spread(entries, 0) == datasets.spread(entries, 10) == entries


@pytest.mark.parametrize(
    ("models", "what", "message"),
    [
        (["db_resnet50"], False, "name a recognizer, too"),
        (["crnn_vgg16_bn"], False, "name a detector, too"),
        (["db_resnet50", "crnn_vgg16_bn"], True, "give recognizers only"),
        (["ocrnet_resnet50"], True, "give recognizers only"),
        (["unet"], False, "scores are of detectors, recognizers and spotters"),
    ],
)
def test_models_must_suit_the_data(models, what, message):
    with pytest.raises(ValueError, match=message):
        evaluate.readings(models, crops=what)


def test_crops_and_pages_are_scored_apart(tmp_path):
    rows = {"image": "a.png", "text": "x"}, {"image": "b.png", "page_text": "y"}
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"holds crops \(a.png\) and pages \(b.png\)"):
        next(evaluate.evaluate(["crnn_mobilenet_v3_small"], tmp_path, "train"))


def test_models_that_read_together():
    models = ["crnn_vgg16_bn", "db_resnet50", "crnn_mobilenet_v3_small"]
    assert evaluate.readings([models[0], models[2]], crops=True) == [(models[0],), (models[2],)]
    assert evaluate.readings(models, crops=False) == [(models[1], models[0]), (models[1], models[2])]
    spotter = "ocrnet_resnet50"
    assert evaluate.readings([spotter], crops=False) == [(spotter,)]
    assert evaluate.readings([models[0], spotter, models[1]], crops=False) == [(spotter,), (models[1], models[0])]


def test_pages_that_cannot_be_read_are_told_whatever_is_scored(tmp_path, monkeypatch):
    """Of three pages the second is damaged, the third is not there; the first has a table in its upper half."""
    picture(tmp_path / "0.png", 0)
    (tmp_path / "1.png").write_bytes(b"damaged")
    table = {"label": "table", "polygon": box(0, 0, 100, 25)}
    rows = [{"image": f"{n}.png", "level": "region", "regions": [table], "split": "test"} for n in range(3)]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(evaluate, "finder", lambda *given, **named: Tables())
    monkeypatch.setattr(evaluate, "classifier", lambda *given: Upright())
    monkeypatch.setattr(evaluate, "segmenter", lambda *given: Parted())
    models, steps = ["lw_detr_s", "mobilenet_v3_small_page_orientation", "unet_small"], []
    results = list(evaluate.evaluate(models, tmp_path, progress=lambda *step: steps.append(step)))
    assert [result.models for result in results] == [(name,) for name in models]
    for result, key in zip(results, ("map", "accuracy", "pixels"), strict=True):
        assert result.scores[key] > 0.97 and len(result.failures) == 2
        assert "1.png" in result.failures[0] and "2.png" in result.failures[1]
    assert results[0].scores["pages"] == results[2].scores["pages"] == 1
    assert steps == 3 * [(1, 3), (2, 3), (3, 3)]
    (tmp_path / "0.png").unlink()
    with pytest.raises(ValueError, match="none of the 3 pictures can be read: .*0.png"):
        next(evaluate.evaluate(models, tmp_path))


# ---------------------------------------------------------------- the command


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """A copy of the cards, which may be written to."""
    folder = tmp_path / "cards"
    folder.mkdir()
    for path in registry.CARDS.glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(registry, "CARDS", folder)
    return folder


def test_a_table_and_a_failure(told, crops, capsys):
    assert cli.main(["evaluate", "crnn_vgg16_bn", "crnn_mobilenet_v3_small", "--data", str(crops)]) == 1
    out, err = capsys.readouterr()
    heads, first, second = (line.split() for line in out.splitlines())
    assert heads[:4] == ["models", "data", "crops", "exact"]
    assert first[:5] == ["crnn_vgg16_bn", "words/test", "4", "0.2500", "0.2500"]
    assert second[0] == "crnn_mobilenet_v3_small"
    assert "zoo evaluate: " in err and "3.png" in err


def test_scores_of_several_tasks_stand_in_one_table(told, pages, monkeypatch, capsys):
    """What one of the models is not asked for stays empty."""
    monkeypatch.setattr(evaluate, "class_scores", lambda *given: {"accuracy": 0.5, "seconds": 0.25})
    monkeypatch.setattr(evaluate, "classifier", lambda *given: None)
    models = ["mobilenet_v3_small_page_orientation", "db_resnet50", "crnn_vgg16_bn"]
    assert cli.main(["evaluate", *models, "--data", str(pages)]) == 0
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split()[:5] == ["models", "data", "accuracy", "seconds", "pages"]
    assert first.split() == [models[0], "receipts/test", "0.5000", "0.2500"]
    place = heads.index("accuracy")
    assert second[:place].split() == [models[1], "+", models[2], "receipts/test"]
    assert second[place : heads.index("seconds")].isspace() and second.split()[5] == "2"


def test_scores_are_recorded_in_the_cards(told, pages, cards, tmp_path, capsys):
    command = ["evaluate", "db_resnet50", "crnn_vgg16_bn", "--data", str(pages), "--limit", "1", "--json", "--write"]
    assert cli.main([*command, "--predictions", str(tmp_path / "read.jsonl")]) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert err.count("written: ") == 2
    detector, recognizer = (zoo.card(name).results["receipts/test"] for name in ("db_resnet50", "crnn_vgg16_bn"))
    assert next(iter(detector)) == "hmean" and next(iter(recognizer)) == "f1"
    assert detector["hmean"] == round(row["hmean"], 4) and recognizer["f1"] == round(row["f1"], 4)
    assert detector["models"] == "db_resnet50 + crnn_vgg16_bn" and detector["pages"] == 1
    assert detector["command"] == "zoo evaluate db_resnet50 crnn_vgg16_bn --data receipts --split test --limit 1"
    assert str(tmp_path) not in (cards / "db_resnet50.toml").read_text()
    (line,) = (tmp_path / "read.jsonl").read_text().splitlines()
    assert json.loads(line)["image"] == "0.png"
    # What stood in the card before stays.
    assert replace(zoo.card("db_resnet50"), results={}, folder=origin.ROOT / "zoo/cards") == replace(
        registry.read_card(origin.ROOT / "zoo/cards/db_resnet50.toml"), results={}
    )


def test_a_split_that_is_not_there(told, crops, capsys):
    assert cli.main(["evaluate", "crnn_vgg16_bn", "--data", str(crops), "--split", "holdout"]) == 1
    assert "holds nothing of the split 'holdout'" in capsys.readouterr().err


def test_data_without_splits_are_told_to_have_none(told, crops, capsys):
    labels = {"0.png": "Hello", "1.png": "World"}
    assert cli.main(["evaluate", "crnn_vgg16_bn", "--data", str(crops), "--limit", "3"]) == 0
    assert "no splits" not in capsys.readouterr().err
    (crops / "labels.jsonl").unlink()
    (crops / "labels.json").write_text(json.dumps(labels))
    assert cli.main(["evaluate", "crnn_vgg16_bn", "--data", str(crops)]) == 0
    assert f"{crops} has no splits: all of it is scored, what was learnt from, too" in capsys.readouterr().err


def test_what_was_scored_before_a_failure_is_printed(told, pages, monkeypatch, capsys):
    """The classifier is done when it turns out that nothing says what the parts of these pages are."""
    monkeypatch.setattr(evaluate, "class_scores", lambda *given: {"accuracy": 0.5, "seconds": 0.25})
    monkeypatch.setattr(evaluate, "classifier", lambda *given: None)
    monkeypatch.setattr(evaluate, "segmenter", lambda *given: Parted())
    command = ["evaluate", "mobilenet_v3_small_page_orientation", "unet_small", "--data", str(pages), "--json"]
    assert cli.main(command) == 1
    out, err = capsys.readouterr()
    assert [row["accuracy"] for row in json.loads(out)] == [0.5]
    assert "nothing says what its parts are" in err


def test_predictions_are_of_models_that_read(told, pages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "class_scores", lambda *given: {"accuracy": 0.5, "seconds": 0.25})
    monkeypatch.setattr(evaluate, "classifier", lambda *given: None)
    models, file = ["mobilenet_v3_small_page_orientation", "db_resnet50", "crnn_vgg16_bn"], tmp_path / "read.jsonl"
    assert cli.main(["evaluate", *models, "--data", str(pages), "--predictions", str(file)]) == 0
    assert [json.loads(line)["image"] for line in file.read_text().splitlines()] == ["0.png", "1.png"]
    assert not (tmp_path / "read-2.jsonl").exists()
    assert f"{models[0]} reads no text: no predictions of it are written" in capsys.readouterr().err


def test_a_place_for_predictions_that_cannot_be_written_is_told_first(crops, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "evaluate", lambda *args, **options: pytest.fail("it was not told at once"))
    (tmp_path / "file").touch()
    command = ["evaluate", "crnn_mobilenet_v3_small", "--data", str(crops)]
    assert cli.main([*command, "--predictions", str(tmp_path / "file" / "read.jsonl")]) == 1
    assert "read.jsonl cannot be written" in capsys.readouterr().err


def test_a_card_that_cannot_be_written_is_told_first(crops, cards, monkeypatch, capsys):
    def barred(dir):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", barred)
    monkeypatch.setattr(evaluate, "evaluate", lambda *args, **options: pytest.fail("it was not told at once"))
    assert cli.main(["evaluate", "crnn_vgg16_bn", "--data", str(crops), "--write"]) == 1
    assert "crnn_vgg16_bn.toml cannot be written" in capsys.readouterr().err
