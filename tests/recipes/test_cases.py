"""The case of labels in capitals: CTC's cost beside a sum over all paths, and words whose print is drawn."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from recipes.data import cases, datasets, folders
from zoo import cli
from zoo.charset import Charset

BLANK = 3


def every_path(logits, label):
    """CTC's cost by its definition: all paths that come to the label."""
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        text = [c for c, _ in itertools.groupby(path) if c != BLANK]
        if text == list(label):
            total += float(np.prod(probability[np.arange(len(path)), list(path)]))
    return -np.log(total)


def test_cost_is_that_of_all_paths():
    logits = np.random.default_rng(0).normal(0, 2, (5, 4)).astype("float32")
    labels = [[0], [1, 1], [0, 1, 2], [2, 2, 2], [1, 0]]
    expected = [every_path(logits, label) for label in labels]
    np.testing.assert_allclose(cases.cost(logits, labels, BLANK), expected, rtol=1e-6)


def test_what_has_no_path_costs_without_end():
    assert cases.cost(np.zeros((2, 4), "float32"), [[1, 1]], BLANK)[0] == np.inf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TOTAL", ["TOTAL", "total", "Total"]),
        ("12.50", ["12.50"]),
        ("ST.ANN", ["ST.ANN", "st.ann", "St.ann", "St.Ann"]),
        ("(RM)", ["(RM)", "(rm)", "(Rm)"]),
        ("CASH 9.90 RM", ["CASH 9.90 RM", "cash 9.90 rm", "Cash 9.90 rm", "Cash 9.90 Rm"]),
    ],
)
def test_the_ways_of_print(text, expected):
    assert cases.ways(text) == expected


ALPHABET = Charset("english")


def sure(text, steps=24):
    """Logits that show a text, one character in every other step."""
    logits = np.zeros((steps, len(ALPHABET) + 1), "float32")
    logits[:, ALPHABET.blank] = 12
    for place, class_ in enumerate(ALPHABET.encode(text)):
        logits[2 * place, [ALPHABET.blank, class_]] = 0, 6
    return logits


def test_the_case_that_print_shows():
    for shown in ("Total", "TOTAL", "total"):
        assert cases.told("TOTAL", sure(shown), ALPHABET) == shown


def test_a_letter_that_was_misread_does_not_hide_the_case():
    assert cases.told("TOTAL", sure("Totel"), ALPHABET) == "Total"


def test_what_print_does_not_tell_is_left_out():
    assert cases.told("TOTAL", np.zeros((24, len(ALPHABET) + 1), "float32"), ALPHABET) == ""  # all ways are alike
    assert cases.told("TOTAL", sure("grand"), ALPHABET) == ""  # another word
    assert cases.told("ΩMEGA", sure("MEGA"), ALPHABET) == ""  # the alphabet does not hold it


def test_spaces_stay_whether_or_not_the_alphabet_has_one():
    assert cases.told("GRAND TOTAL", sure("GrandTotal"), ALPHABET) == "Grand Total"
    spaced = Charset(ALPHABET.characters + " ")
    logits = np.insert(sure("Grand Total".replace(" ", "")), len(ALPHABET), 0, axis=1)
    logits[9, [len(ALPHABET), spaced.blank]] = 14, 0  # between the fifth and the sixth character
    assert cases.told("GRAND TOTAL", logits, spaced) == "Grand Total"


class Shown:
    """A recognizer that sees what the test says, in the order of the crops."""

    charset = ALPHABET

    def __init__(self, texts):
        self.texts = iter(texts)

    def logits(self, crops):
        return [sure(next(self.texts).replace(" ", "")) for _ in crops]


def receipt(folder):
    """A data set of one page with three words."""
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.full((60, 200, 3), 255, "uint8")).save(folder / "images" / "a.png")
    boxes = [[[x, 10], [x + 50, 10], [x + 50, 30], [x, 30]] for x in (5, 70, 135)]
    words = [{"polygon": b, "text": t} for b, t in zip(boxes, ("TOTAL", "CASH", "9.90"), strict=True)]
    row = {"image": "images/a.png", "width": 200, "height": 60, "level": "word", "split": "train", "words": words}
    (folder / "labels.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "SOURCE.md").write_text("# a\n- Licence: CC0\n")
    return folder


def test_a_data_set_is_written_with_its_licence(tmp_path):
    source, made = receipt(tmp_path / "set"), tmp_path / "cased"
    counts = folders.write_cased(source, made, Shown(["Total", "blank", "9.90", "Total Cash", "blank"]))
    assert counts == {"words": 3, "left_out": 2}
    assert [(entry.path.name, entry.text) for entry in datasets.read(made)] == [
        ("a_000.png", "Total"), ("a_002.png", "9.90"), ("a_003.png", "Total Cash"),
    ]  # fmt: skip
    assert datasets.read(made)[0].read().shape == (20, 50, 3)
    assert datasets.licence(made) == " (CC0)"
    with pytest.raises(FileExistsError, match="holds a data set already"):
        folders.write_cased(source, made, Shown([]))


def test_pages_keep_the_places_of_words_whose_print_does_not_tell(tmp_path):
    source, made = receipt(tmp_path / "set"), tmp_path / "cased"
    counts = folders.write_cased(source, made, Shown(["Total", "blank", "9.90"]), pages=True)
    assert counts == {"words": 2, "left_out": 1}
    (page,), (before,) = datasets.read(made), datasets.read(source)
    assert page.texts == ("Total", "", "9.90") and page.level == "word" and not any(page.illegible)
    np.testing.assert_allclose(page.polygons, before.polygons)
    np.testing.assert_array_equal(page.read(), before.read())


@pytest.mark.parametrize("pages", [False, True])
def test_pictures_of_one_name_in_several_folders_stay_apart(tmp_path, pages):
    source, rows, shades = tmp_path / "set", [], (200, 220, 240)
    for shade, name in zip(shades, ("one/a.png", "two/a.png", "a-2.png"), strict=True):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (shade,) * 3).save(source / name)
        word = {"polygon": [[5, 5], [55, 5], [55, 35], [5, 35]], "text": "TOTAL"}
        rows.append(json.dumps({"image": name, "level": "word", "words": [word]}))
    (source / "labels.jsonl").write_text("\n".join(rows))
    counts = folders.write_cased(source, tmp_path / "cased", Shown(["Total", "TOTAL", "total"]), pages=pages)
    assert counts == {"words": 3, "left_out": 0}
    made = datasets.read(tmp_path / "cased")
    assert [entry.text or entry.texts[0] for entry in made] == ["Total", "TOTAL", "total"]
    assert [int(entry.read()[20, 20, 0]) for entry in made] == list(shades)


def test_whole_pages_are_not_made_of_crops(tmp_path):
    crops = tmp_path / "crops"
    folders.write_cased(receipt(tmp_path / "set"), crops, Shown(["Total", "blank", "9.90", "blank", "blank"]))
    with pytest.raises(ValueError, match="has words with places; for crops take --pages out"):
        folders.write_cased(crops, tmp_path / "cased", Shown([]), pages=True)
    assert not (tmp_path / "cased").exists()


def test_a_double_of_a_test_page_stays_out(tmp_path, monkeypatch):
    source = receipt(tmp_path / "set")
    monkeypatch.setattr(datasets, "DOUBLES", frozenset({("set", "a.png")}))
    assert folders.write_cased(source, tmp_path / "cased", Shown([])) == {"words": 0, "left_out": 0}


def test_a_folder_without_labels_is_told(tmp_path, capsys):
    assert cli.main(["data", "cases", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    assert "has no labels.jsonl" in capsys.readouterr().err
    assert cli.main(["data", "cases", str(tmp_path / "gone"), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.endswith("gone: it is no folder\n")
    assert not (tmp_path / "out").exists()
