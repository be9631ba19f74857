"""Label files of each format, lines cut into words, and data sets written and checked."""

from __future__ import annotations

import gzip
import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.data import datasets, folders, fonts, pages
from zoo import cli
from zoo import image as images

SQUARE = [[1.0, 2.0], [11.0, 2.0], [11.0, 8.0], [1.0, 8.0]]


def picture(path, size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)


def lines(*rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_our_format(tmp_path):
    words = [{"polygon": SQUARE, "text": "é"}, {"polygon": SQUARE, "text": "?", "illegible": True}]
    page = {"image": "images/a.png", "level": "line", "split": "test", "words": words}
    crop = {"image": "images/b.png", "text": "word"}
    (tmp_path / "labels.jsonl").write_text(lines(page, crop) + "\n", encoding="utf-8")
    picture(tmp_path / "images/a.png")
    first, second = datasets.read(tmp_path)
    assert (first.text, first.texts, first.illegible, first.level) == (None, ("é", "?"), (False, True), "line")
    np.testing.assert_array_equal(first.polygons, [SQUARE, SQUARE])
    assert first.read().shape == (20, 40, 3)
    assert (second.text, second.split, len(second.polygons)) == ("word", "train", 0)
    assert [entry.path.name for entry in datasets.read(tmp_path, "test")] == ["a.png"]
    assert [entry.path.name for entry in datasets.read(tmp_path, "train")] == ["b.png"]


def test_pages_with_a_text_and_no_places(tmp_path):
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "page_text": "two words", "words": []}))
    (entry,) = datasets.read(tmp_path)
    assert (entry.text, entry.page_text, entry.texts) == (None, "two words", ())


def test_doctr_format(tmp_path):
    labels = {"a.png": "word", "b.png": {"polygons": [[1, 2, 11, 8], SQUARE]}, "c.png": {"polygons": {"t": [SQUARE]}}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    word, page, classes = datasets.read(tmp_path, "test")
    assert (word.text, word.path) == ("word", tmp_path / "images" / "a.png")
    np.testing.assert_array_equal(page.polygons, [SQUARE, SQUARE])
    assert len(classes.polygons) == 1
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": {"boxes": []}}))
    with pytest.raises(ValueError, match=r"labels.json: 'a.png' has neither a text nor polygons"):
        datasets.read(tmp_path)
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(ValueError, match="labels.json: not JSON"):
        datasets.read(tmp_path)


def test_paddle_format(tmp_path):
    words = [{"transcription": "Hi", "points": SQUARE}, {"transcription": "###", "points": SQUARE}]
    (tmp_path / "train.txt").write_text(f"a.png\t{json.dumps(words)}\nb.png\tone word\n")
    page, crop = datasets.read(tmp_path)
    assert (page.path, page.texts, page.illegible) == (tmp_path / "a.png", ("Hi", "###"), (False, True))
    assert (crop.path, crop.text) == (tmp_path / "b.png", "one word")
    (tmp_path / "train.txt").write_text(f"a.png\t[]\nb.png\t [ {json.dumps(words)[1:]}\nc.png\t[1]\nd.png\t[a\n")
    empty, page, number, text = datasets.read(tmp_path)
    assert empty.text is None and len(empty.polygons) == 0 and page.texts == ("Hi", "###")
    assert (number.text, text.text) == ("[1]", "[a")


def test_a_folder_as_ppocrlabel_leaves_it(tmp_path):
    """Its Label.txt names the folder, too; beside it lie what was looked at, and crops of the same words."""
    folder = tmp_path / "scans"
    picture(folder / "a b.jpg")
    words = [{"transcription": text, "points": SQUARE, "difficult": text == "?"} for text in ("Hi", "?")]
    (folder / "Label.txt").write_text(f"scans/a b.jpg\t{json.dumps(words)}\n")
    (folder / "fileState.txt").write_text(f"{folder / 'a b.jpg'}\t1\n")
    (folder / "rec_gt.txt").write_text("crop_img/a b_crop_0.jpg\tHi\n")
    (page,) = datasets.read(folder)
    assert page.path == folder / "a b.jpg" and page.texts == ("Hi", "?") and page.illegible == (False, True)
    (page,) = datasets.read(folder.rename(tmp_path / "renamed"))
    assert page.path == tmp_path / "renamed" / "a b.jpg"
    (page.path.parent / "Label.txt").unlink()
    assert [entry.text for entry in datasets.read(page.path.parent)] == ["1", "Hi"]


@pytest.mark.parametrize(
    "polygon",
    [[[10, 5], [10, 15], [40, 15], [40, 5]], [40, 5, 10, 15], [[10, 5], [40, 5], [40, 15], [10, 15]]],
    ids=["the other way round", "a box from its top right", "clockwise"],
)
def test_words_are_cut_out_whichever_way_their_corners_run(tmp_path, polygon):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 60, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": [{"polygon": polygon, "text": "Hi"}]}))
    (entry,) = datasets.read(tmp_path)
    assert entry.polygons.tolist() == [[[10, 5], [40, 5], [40, 15], [10, 15]]]
    ((picture, text),) = datasets.crops(entry)
    assert text == "Hi" and (picture == pixels[5:15, 10:40]).all()


@pytest.mark.parametrize("name", ["", "more", "more/.", f"{'long' * 70}.png"])
def test_what_is_no_file_is_told_as_a_picture_that_cannot_be_had(tmp_path, name):
    """A label without a name had the first picture of the folder."""
    picture(tmp_path / "more" / "a.png")
    (tmp_path / "labels.jsonl").write_text(lines({"image": name, "text": "Hi"}, {"image": "more/a.png", "text": ""}))
    what = "File name too long" if name.endswith("png") else "a folder, not a picture"
    first, second = folders.inspect(tmp_path).complaints
    assert first == f"{tmp_path / name}: {what}" and second.endswith("a.png: the label is empty")
    with pytest.raises(images.ImageError, match=f"{what}; `zoo data check"):
        datasets.read(tmp_path)[0].read()


def test_pictures_are_found_by_names_that_windows_wrote(tmp_path):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "b\\c.png")
    (tmp_path / "gt.txt").write_text("images\\a.png\tone\nb\\c.png\ttwo\n")
    assert [entry.read().shape for entry in datasets.read(tmp_path)] == [(20, 40, 3)] * 2
    (tmp_path / "labels.jsonl").write_text(lines({"image": "images\\a.png", "text": "one"}))
    assert datasets.read(tmp_path)[0].path == tmp_path / "images" / "a.png"


def test_label_files_as_others_write_them(tmp_path):
    """With a byte order mark, ends of lines of Windows, and characters that other programs end lines at."""
    path = tmp_path / "labels.jsonl"
    rows = [json.dumps({"image": "a.png", "text": text}, ensure_ascii=False) for text in ("é", "a\u2028b\u0085c")]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    assert [entry.text for entry in datasets.read(tmp_path)] == ["é", "a\u2028b\u0085c"]
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels.jsonl: not UTF-8 .*; save it as UTF-8"):
        datasets.read(tmp_path)
    path.unlink()
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(ValueError, match="labels.json: expected an object .* got a list"):
        datasets.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.jsonl", '{"image": "a.png", "text": " two words "}'),
        ("labels.json", '{"a.png": "two words "}'),
        ("gt.txt", "a.png\ttwo words "),
    ],
)
def test_spaces_around_a_text_are_no_part_of_it(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert datasets.read(tmp_path)[0].text == "two words"


def test_polygons_of_many_points_become_rectangles(tmp_path):
    many = [[0, 0], [5, 0], [10, 0], [10, 4], [5, 4], [0, 4]]
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": [{"polygon": many, "text": "x"}]}))
    (entry,) = datasets.read(tmp_path)
    np.testing.assert_allclose(entry.polygons[0], [[0, 0], [10, 0], [10, 4], [0, 4]], atol=1e-4)
    flat = [number for point in SQUARE for number in point]  # as COCO has them
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": [{"polygon": flat, "text": "x"}]}))
    (entry,) = datasets.read(tmp_path)
    np.testing.assert_array_equal(entry.polygons, [SQUARE])


def test_regions_are_polygons_or_boxes_of_four_numbers(tmp_path):
    box, flat = [1, 2, 11, 8], [number for point in SQUARE for number in point]
    for name in ("regions", "words"):
        parts = [{"polygon": polygon, "label": "table"} for polygon in (SQUARE, box, flat)]
        (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", name: parts}))
        (entry,) = datasets.read(tmp_path)
        np.testing.assert_array_equal([outline for _, outline in entry.regions], [SQUARE] * 3)
    parts = [{"polygon": SQUARE, "segmentation": [flat], "label": "table"}]
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "regions": parts}))
    np.testing.assert_array_equal(datasets.read(tmp_path)[0].regions[0][1], SQUARE)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("labels.jsonl", '{"image": "a.png", "regions": [{"polygon": [1, 2], "label": "table"}]}\n', "jsonl:1.*three"),
        ("labels.jsonl", '{"image": "a.png", "text": "x"}\n{"image": 3\n', "labels.jsonl:2"),
        ("labels.jsonl", '{"image": "a.png"}\n', "labels.jsonl:1.*a crop has a .text.; a page .words."),
        ("labels.jsonl", '\n\n{"image": "a.png", "text": 7}\n', "labels.jsonl:3.*7 is no text"),
        ("labels.jsonl", '{"image": "a.png", "words": [{"polygon": [[1, 2], [3]]}]}\n', "labels.jsonl:1"),
        ("labels.jsonl", '{"image": "a.png", "words": [{"polygon": []}]}\n', "labels.jsonl:1.*three points or more"),
        ("labels.jsonl", '{"image": "a.png", "words": [{"polygon": [1, 2, NaN, 4]}]}\n', "labels.jsonl:1.*within"),
        ("labels.jsonl", '{"image": "a.png", "words": [{"polygon": [1, 2, 3, 1e9]}]}\n', "labels.jsonl:1.*within"),
        ("labels.jsonl", '{"image": "a.png", "text": "x", "split": null}\n', "labels.jsonl:1.*None is no text"),
        ("labels.jsonl", '{"image": "a.png", "regions": [{"polygon": [1, 2, 3, 4]}]}\n', "labels.jsonl:1.*'label'"),
        (
            "labels.jsonl",
            '{"image": "a.png", "words": [{"polygon": [1, 2, 3, 4], "illegible": "false"}]}\n',
            "labels.jsonl:1.*illegible is true or false, not 'false'",
        ),
        ("labels.json", '{"a.png": {"polygons": {"words": null}}}\n', "labels.json: 'a.png' has neither"),
        ("gt.txt", "a.png word\n", "gt.txt:1.*a tab"),
        ("gt.txt", 'a.png\t[{"transcription": 7, "points": [1, 2, 3, 4]}]\n', "gt.txt:1.*7 is no text"),
        ("gt.txt", 'a.png\tok\na.png\t[{"points": []}]\n', "gt.txt:2.*transcription"),
    ],
)
def test_a_broken_label_is_told_with_file_and_line_or_left_out(tmp_path, name, text, place):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=place):
        datasets.read(tmp_path)
    told: list[str] = []
    kept = datasets.read(tmp_path, complaints=told)
    assert len(told) == 1 and len(kept) == text.count("\n") - text.count("\n\n") * 2 - 1


def test_a_word_of_paddle_without_a_text_is_illegible(tmp_path):
    words = [{"transcription": text, "points": SQUARE} for text in ("Hi", None)]
    picture(tmp_path / "a.png")
    (tmp_path / "gt.txt").write_text(f"a.png\t{json.dumps(words)}\n")
    (page,) = datasets.read(tmp_path)
    assert page.texts == ("Hi", "") and pages.labelled(page).ignore.tolist() == [False, True]


def test_a_name_that_is_no_text_is_told_as_one_that_is_not_there(tmp_path, capsys):
    (tmp_path / "labels.jsonl").write_text('{"image": "\\ud800.png", "words": []}\n')
    with pytest.raises(FileNotFoundError, match=r"1 of 1 pages are missing, .*\\ud800.png"):
        datasets.with_places(datasets.train_split(None, [str(tmp_path)]))


@pytest.mark.parametrize(("of", "words"), [(datasets.with_places, "words"), (datasets.with_parts, "regions")])
def test_missing_pictures_are_told_before_a_run_begins(tmp_path, of, words):
    """Pages are read as a run comes to them, those held out after hours."""
    learnt, held = (
        next(f"{k}.png" for k in range(999) if datasets.held_out(datasets.Entry(Path(f"{k}.png"), None, [])) == part)
        for part in (False, True)
    )
    (tmp_path / "labels.jsonl").write_text(lines(*({"image": name, words: []} for name in (learnt, held))))
    picture(tmp_path / learnt)
    split = datasets.train_split(None, [str(tmp_path)])
    told = f"{tmp_path.name}: 1 of 2 pages are missing, '{tmp_path / held}' is one; `zoo data check {tmp_path}`"
    with pytest.raises(FileNotFoundError, match=told):
        of(split)
    picture(tmp_path / held)
    assert of(split) == split


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no labels.jsonl"):
        datasets.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no data set .*gone: it is no folder"):
        datasets.read(tmp_path / "gone")


def test_sets_to_train_on_are_there_and_have_names_of_their_own(tmp_path):
    for place, split in (("a/mine", "train"), ("b/mine", "train"), ("other", "training")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "labels.jsonl").write_text(lines({"image": "a.png", "text": "x", "split": split}))
    train, held = datasets.train_split(tmp_path, ["a/mine"])
    assert len(train["mine"] + held["mine"]) == 1
    whole = str(tmp_path / "a/mine")
    train, held = datasets.train_split(None, [whole, "b/mine"])  # nobody says where b is
    assert [entry.path.parts[-3] for entry in train["mine"] + held["mine"]] == ["a"]
    assert datasets.sources(None, [whole, "b/mine"]) == ["mine/train"]
    with pytest.raises(ValueError, match="two of the data sets are named 'mine'"):
        datasets.train_split(tmp_path, ["a/mine", "b/mine"])
    with pytest.raises(FileNotFoundError, match="no data set .*gone; --set real=A,B names those that are in"):
        datasets.train_split(tmp_path, ["gone"])
    with pytest.raises(FileNotFoundError, match="no data set .*gone: it is no folder$"):
        datasets.train_split(tmp_path / "a", [str(tmp_path / "gone")])
    with pytest.raises(ValueError, match="other has nothing of the split 'train'; its splits are: training"):
        datasets.train_split(tmp_path, ["other"])


def test_sets_of_one_name_are_told_apart():
    paths = [Path(path) for path in ("/a/b/mine", "/c/b/mine", "/other", "/a/b/mine")]
    assert datasets.titles(paths) == ["a/b/mine", "c/b/mine", "other", "a/b/mine"]
    assert datasets.titles([Path("/mine"), Path("/b/mine")]) == ["/mine", "b/mine"]


def test_files_of_one_name_in_many_folders_are_held_out_one_by_one(tmp_path):
    """They were learnt from all together, and none of them validated."""
    rows = [{"image": f"{number:02}/page.png", "text": "x"} for number in range(40)]
    (tmp_path / "labels.jsonl").write_text(
        lines(*rows, rows[0], {"image": "test/page.png", "text": "x", "split": "test"})
    )
    learnt, held = datasets.train_split(None, [str(tmp_path)])
    parts = [{entry.path.parent.name for entry in half[tmp_path.name]} for half in (learnt, held)]
    assert 1 <= len(parts[1]) <= 10 and not parts[0] & parts[1] and len(parts[0] | parts[1]) == 40
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    again = datasets.train_split(None, [str(moved)])[1]["moved"]
    assert {entry.path.parent.name for entry in again} == parts[1]


@pytest.mark.parametrize("name", ["val", "validation"])
def test_who_has_a_split_for_validation_learns_from_all_of_train(tmp_path, name):
    """A tenth of `train` was held out all the same, and the split that is there for it not looked at."""
    rows = [{"image": f"{number}.png", "text": "x"} for number in range(40)]
    own = [{"image": f"own{number}.png", "text": "x", "split": name} for number in range(3)]
    (tmp_path / "labels.jsonl").write_text(lines(*own, *rows, {"image": "test.png", "text": "x", "split": "test"}))
    for few, count in ((0, 40), (5, 5)):
        learnt, held = (half[tmp_path.name] for half in datasets.train_split(None, [str(tmp_path)], few))
        assert len(learnt) == count and {entry.split for entry in learnt} == {"train"}
        assert [entry.path.name for entry in held] == ["own0.png", "own1.png", "own2.png"]


def test_of_a_single_picture_nothing_is_held_out(tmp_path):
    """Whatever chance says: there would be nothing left to learn from."""
    name = next(f"{k}.png" for k in range(999) if datasets.held_out(datasets.Entry(tmp_path / f"{k}.png", "x", SQUARE)))
    (tmp_path / "labels.jsonl").write_text(lines({"image": name, "text": "x"}))
    train, held = datasets.train_split(None, [str(tmp_path)])
    assert [entry.path.name for entry in train[tmp_path.name]] == [name] and held == {tmp_path.name: []}


def idx(values: np.ndarray) -> bytes:
    """An IDX file: written by hand from its description, not by the code that reads it."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape) + values.tobytes()


def test_the_format_of_mnist(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 20)).astype("uint8")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pixels[:3]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([7, 0, 4], "uint8")))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels[3:])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([7, 0], "uint8"))))
    entries = datasets.read(tmp_path)
    assert [entry.text for entry in entries if entry.split == "train"] == ["7", "0", "4"]
    assert [entry.text for entry in datasets.read(tmp_path, "test")] == ["7", "0"]
    third = next(entry for entry in entries if entry.text == "4")
    np.testing.assert_array_equal(third.read(), np.repeat(pixels[2][..., None], 3, -1))
    np.testing.assert_array_equal(third.source, third.read())
    assert len({entry.path for entry in entries}) == 5
    picture, text = next(datasets.crops(third))
    assert picture.shape == (28, 20, 3) and text == "4"
    for path in tmp_path.glob("t10k-*.gz"):  # as it is after gunzip --keep
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    assert [entry.text for entry in datasets.read(tmp_path, "test")] == ["7", "0"]


def test_a_file_of_mnist_that_is_cut_off(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 4, 4), "uint8"))[:-1])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, "uint8")))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is no IDX file of bytes, or is cut off: 47 bytes"):
        datasets.read(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 4, 4), "uint8")))
    with pytest.raises(ValueError, match="3 pictures, and 2 labels"):
        datasets.read(tmp_path)


# ---------------------------------------------------------------- lines to words


def test_a_line_is_cut_into_its_words():
    """Words drawn at known places: each part holds the whole ink of its word and none of another."""
    font = fonts.font(fonts.families()[0][0], 24)
    canvas = Image.new("RGB", (400, 40), "white")
    draw, x, spans = ImageDraw.Draw(canvas), 5.0, []
    for text in ("TOTAL", "12.50", "EUR"):
        left, _, right, _ = draw.textbbox((x, 4), text, font)
        draw.text((x, 4), text, "black", font)
        spans.append((left, right))
        x = right + 14
    line = np.asarray(canvas.crop((0, 0, int(spans[-1][1]) + 6, 40)))
    parts = datasets.cut(line, "TOTAL 12.50 EUR")
    assert [text for _, _, text in parts] == ["TOTAL", "12.50", "EUR"]
    for (start, stop, _), (left, right) in zip(parts, spans, strict=True):
        assert left - 5 <= start * line.shape[1] <= left + 2
        assert right - 2 <= stop * line.shape[1] <= right + 5


def test_where_gaps_are_alike_the_lengths_of_words_tell():
    """Letters 8 wide, 3 apart and 4 between words: 4 is not well above 3, no other cut gives words of 4, 2 and 5."""
    line, x, ends = np.full((20, 140, 3), 255, np.uint8), 4, []
    for letters in (4, 2, 5):
        for _ in range(letters):
            line[4:16, x : x + 8] = 0
            x += 11
        x += 1
        ends.append(x - 4)
    parts = datasets.cut(line, "abcd no pause")
    assert [round(stop * line.shape[1]) for _, stop, _ in parts[:-1]] == [end + 2 for end in ends[:-1]]
    assert [text for *_, text in parts] == ["abcd", "no", "pause"]


def test_a_line_whose_gaps_do_not_tell_is_not_cut():
    dots = np.full((20, 200, 3), 255, np.uint8)
    dots[5:15, 10:190:8] = 0
    assert datasets.cut(dots, "a b c") == []
    assert datasets.cut(np.full((20, 50, 3), 255, np.uint8), "a b") == []


def test_what_cannot_be_cut_is_illegible(tmp_path):
    picture(tmp_path / "a.png", (60, 30))
    label = {"image": "a.png", "words": [{"polygon": SQUARE, "text": "two words"}, {"polygon": SQUARE, "text": "one"}]}
    (tmp_path / "labels.jsonl").write_text(lines(label))
    (entry,) = datasets.read(tmp_path)
    polygons, texts, illegible = datasets.words(entry, entry.read())
    assert (texts, illegible.tolist()) == (["", "one"], [True, False])
    np.testing.assert_array_equal(polygons, [SQUARE, SQUARE])
    assert [text for _, text in datasets.crops(entry)] == ["one"]


def test_words_of_a_page_without_texts_are_words(tmp_path):
    """As of docTR's pages: a detector learns from them. Where others have a text, one without it is illegible."""
    picture(tmp_path / "images/a.png", (60, 30))
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": {"polygons": [SQUARE, SQUARE]}}))
    (entry,) = datasets.read(tmp_path)
    _, texts, illegible = datasets.words(entry, entry.read())
    assert (texts, illegible.tolist()) == (["", ""], [False, False])
    assert list(datasets.words(replace(entry, texts=("", "one")), entry.read())[2]) == [True, False]
    assert list(datasets.words(replace(entry, illegible=(True, False)), entry.read())[2]) == [True, False]


def neighbours(tmp_path, *words, size=(300, 40)) -> list[tuple[tuple[int, int], str]]:
    """The size of each span of a page with these words (left, right, top, text), 20 pixels high, and its text."""
    picture(tmp_path / "a.png", size)
    rows = [
        {"polygon": [[x, y], [w, y], [w, y + 20], [x, y + 20]], "text": t, "illegible": t == "?"}
        for x, w, y, t in words
    ]
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": rows}))
    (entry,) = datasets.read(tmp_path)
    return [(image.shape[:2], text) for image, text in datasets.spans(entry)]


def test_words_beside_each_other_are_spans(tmp_path):
    found = neighbours(
        tmp_path, (10, 50, 4, "one"), (60, 90, 6, "two"), (96, 120, 4, "three"), (160, 200, 4, "far"),
        (206, 220, 4, "?"), (226, 240, 4, "alone"), (10, 50, 20, "below"),
    )  # fmt: skip
    assert [text for _, text in found] == ["one two", "two three"]
    assert [width for (_, width), _ in found] == pytest.approx([80, 60], abs=2)


def test_spans_of_a_line_are_pairs_where_it_can_be_cut(tmp_path):
    font = fonts.font(fonts.everyday()[0][0], 24)
    page = Image.new("RGB", (400, 60), "white")
    draw = ImageDraw.Draw(page)
    for x, word in ((10, "one"), (120, "two"), (230, "three")):
        draw.text((x, 10), word, "black", font)
    page.save(tmp_path / "a.png")
    box = [[0, 5], [350, 5], [350, 50], [0, 50]]
    row = {"image": "a.png", "level": "line", "words": [{"polygon": box, "text": "one two three"}]}
    (tmp_path / "labels.jsonl").write_text(lines(row))
    (entry,) = datasets.read(tmp_path)
    assert [text for _, text in datasets.spans(entry)] == ["one two", "two three"]


def test_a_short_line_that_cannot_be_cut_is_a_span(tmp_path):
    found = neighbours(tmp_path, (10, 200, 4, "one  two"), (10, 280, 20, "a b c d e"))
    assert [text for _, text in found] == ["one two"]  # of white paper nothing can be cut; five words are too many


def test_a_tenth_is_held_out_whatever_the_order(tmp_path):
    entries = [datasets.Entry(tmp_path / f"{i}.png", "x", np.zeros((0, 4, 2))) for i in range(2000)]
    held = [entry for entry in entries if datasets.held_out(entry)]
    assert 150 < len(held) < 250
    moved = datasets.Entry(tmp_path / "elsewhere" / held[0].path.name, "x", np.zeros((0, 4, 2)))
    assert datasets.held_out(moved)


# ---------------------------------------------------------------- synthetic data sets


def test_words_are_written_and_read_back(tmp_path, capsys):
    command = ["data", "words", "--seed", "3", "--count", "5", "--charset", "digits", "--output"]
    assert cli.main([*command, str(tmp_path / "a")]) == 0
    assert cli.main([*command, str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a'}\n{tmp_path / 'b'}\n"
    first, second = datasets.read(tmp_path / "a"), datasets.read(tmp_path / "b")
    assert len(first) == 5 and [entry.text for entry in first] == [entry.text for entry in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.read(), other.read())
        assert one.text and one.text.isdigit()
    assert Image.open(tmp_path / "a" / "preview.png").width > 500
    assert cli.main(["data", "check", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.split()[:2] == ["crops", "5"]
    assert cli.main([*command, str(tmp_path / "a")]) == 1
    assert "holds a data set already" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["words", "pages"])
def test_a_full_disk_leaves_no_half_picture(tmp_path, capsys, kind):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, usual[1]))  # no file may grow further, as on a full disk
    try:
        assert cli.main(["data", kind, "--count", "1", "--output", str(tmp_path / "a")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "File too large: " in (told := capsys.readouterr().err) and str(tmp_path / "a/images/000000.") in told
    assert not (tmp_path / "a").exists()


def test_a_seed_below_zero_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "words", "--seed", "-1", "--count", "2", "--output", str(tmp_path / "a")])
    assert "argument --seed: -1 is not a number from 0 on" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_pages_are_written_and_read_back(tmp_path, capsys):
    command = ["data", "pages", "--seed", "1", "--count", "2", "--output", str(tmp_path / "a"), "--kind"]
    assert cli.main([*command, "scene"]) == 0
    sample = folders.page_at(1, 1, "scene")
    entry = datasets.read(tmp_path / "a", "train")[1]
    assert entry.texts == sample.texts and entry.read().shape == sample.image.shape
    np.testing.assert_allclose(entry.polygons, sample.polygons, atol=0.06)
    assert np.abs(entry.read().astype(int) - sample.image).mean() < 8  # JPEG
    assert Image.open(tmp_path / "a" / "preview.png").height == 640 + 8
    assert cli.main([*command, "novel"]) == 1
    assert "no pages are named 'novel'" in capsys.readouterr().err


def test_check_reports_every_bad_label(tmp_path, capsys):
    picture(tmp_path / "a.png")
    flat = [[1, 1], [9, 1], [9, 1], [1, 1]]
    outside = [[1, 1], [99, 1], [99, 9], [1, 9]]
    words = [{"polygon": polygon, "text": text} for polygon, text in ((SQUARE, "ok"), (flat, "flat"), (outside, "out"))]
    rows = [
        {"image": "a.png", "words": [*words, {"polygon": SQUARE, "text": ""}]},
        {"image": "missing.png", "text": "x"},
        {"image": "a.png", "text": " "},
        {"image": "a.png"},
    ]
    (tmp_path / "labels.jsonl").write_text(lines(*rows))
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    told = err.splitlines()
    assert len(told) == 6
    for part in ("jsonl:4", "'flat' has no area", "'out' leaves the picture of 40 x 20", "missing.png", "is empty"):
        assert part in err
    assert "not marked as illegible" in err and err.count("missing.png") == 1
    assert ["bad", "6"] in [line.split() for line in out.splitlines()]


def test_words_that_leave_the_picture_end_at_its_edge(tmp_path, capsys):
    """A text of which a fifth is not to be seen is none that could be read there; words wholly outside are left out."""
    picture(tmp_path / "a.png")  # 40 x 20
    boxes = {"in": [1, 2, 11, 8], "over": [30, 2, 41, 8], "half": [36, 2, 44, 8], "out": [50, 2, 60, 8]}
    boxes["up"] = [1, -9, 9, 0]
    words = [{"polygon": box, "text": text} for text, box in boxes.items()]
    bare = [{"polygon": box} for box in boxes.values()]
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": words}, {"image": "a.png", "words": bare}))
    entry, textless = datasets.read(tmp_path)
    page, shown = entry.seen()
    assert (shown.texts, shown.illegible) == (("in", "over", "half"), (False, False, True))
    assert shown.polygons[:, 2].tolist() == [[11, 8], [40, 8], [40, 8]]
    assert page.pixels.shape == (20, 40, 3)
    assert [crop.shape[:2] for crop, _ in datasets.crops(entry)] == [(6, 10), (6, 10)]
    assert pages.labelled(textless).ignore.tolist() == [False] * 3  # no text that would not be true
    told = capsys.readouterr().err
    assert told == (
        f"{tmp_path.name}: 2 of 5 words of {tmp_path / 'a.png'} lie outside of the picture; all such are left out, "
        f"`zoo data check {tmp_path}` lists them\n"
    )
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "'half' leaves the picture" in err and "'out' lies outside of the picture of 40 x 20" in err
    assert [err.count("lies outside"), err.count("leaves")] == [4, 2]


def test_regions_that_leave_the_picture_end_at_its_edge(tmp_path, capsys):
    picture(tmp_path / "a.png")
    parts = [{"polygon": box, "label": "table"} for box in ([30, 2, 50, 8], [50, 2, 60, 8])]
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "regions": parts}))
    page, shown = datasets.read(tmp_path)[0].seen()
    ((label, outline),) = datasets.regions(shown, page.pixels.shape[:2])
    assert label == "table" and outline.tolist() == [[30, 2], [40, 2], [40, 8], [30, 8]]
    assert f"1 of 2 regions of {tmp_path / 'a.png'} lie outside of the picture" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    assert "a.png: the region 'table' lies outside of the picture of 40 x 20" in capsys.readouterr().err


def test_labels_of_a_picture_that_is_decoded_smaller_go_with_it(tmp_path, monkeypatch, capsys):
    picture(tmp_path / "a.png")
    word = {"polygon": [22, 2, 34, 8], "text": "x", "label": "title"}
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "words": [word]}))
    monkeypatch.setattr(images, "REDUCE_ABOVE", 400)
    page, shown = datasets.read(tmp_path)[0].seen()
    assert page.pixels.shape == (10, 20, 3)
    assert shown.polygons.tolist() == [[[11, 1], [17, 1], [17, 4], [11, 4]]]
    assert shown.regions[0][1].tolist() == shown.polygons[0].tolist()
    assert cli.main(["data", "check", str(tmp_path)]) == 0


@pytest.mark.parametrize(("content", "what"), [(b"no picture", "a.png: "), (None, "a.png")])
def test_a_picture_that_cannot_be_had_is_told_with_its_set(tmp_path, content, what, capsys):
    if content:
        (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "labels.jsonl").write_text(lines({"image": "a.png", "text": "x"}))
    (entry,) = datasets.read(tmp_path)
    hint = f"; `zoo data check {tmp_path}` lists all that is wrong with this data set"
    for use in (entry.read, entry.seen, lambda: list(datasets.crops(entry))):
        with pytest.raises(images.ImageError, match=what) as raised:
            use()
        assert str(raised.value).endswith(hint)
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    assert "lists all" not in capsys.readouterr().err


def test_check_tells_a_set_without_labels(tmp_path, capsys):
    for name, nothing in (("labels.jsonl", "\n"), ("labels.json", "{}"), ("gt.txt", "")):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text(nothing)
        assert cli.main(["data", "check", str(folder)]) == 1
        out, err = capsys.readouterr()
        assert err == f"zoo data: {folder}: its label files are empty\n" and out.split() == ["bad", "1"]
