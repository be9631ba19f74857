"""Packed data sets: the format is that of TFRecord, nothing is lost by kills, and what is damaged is told."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recipes import recipe, train
from recipes.data import datasets, pipeline, records, shards
from zoo import cli, registry

RNG = np.random.default_rng(5)


def write_crops(folder: Path, texts: list[str], **rows) -> Path:
    """A data set of crops, of which no one is held out."""
    folder.mkdir(parents=True)
    lines = []
    for index, text in enumerate(texts):
        name = next(n for n in (f"{index}-{k}.png" for k in range(99)) if not held(n))
        Image.fromarray(RNG.integers(0, 256, (12, 10 + index, 3), np.uint8)).save(folder / name)
        lines.append(json.dumps({"image": name, "text": text}))
    (folder / "labels.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def held(name: str) -> bool:
    return datasets.held_out(datasets.Entry(Path(name), "", datasets._polygons([])))


@pytest.fixture
def crops(tmp_path) -> Path:
    return write_crops(tmp_path / "data" / "mine", ["10", "2", "345", "67", "89"])


def drawn(found: shards.Shards, numbers: range) -> list[str]:
    return [found.draw(number).text for number in numbers]


# ---------------------------------------------------------------- the format


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (b"", 0),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_those_of_the_standard(data, check):
    """RFC 3720, appendix B.4, and the usual check of nine digits."""
    assert records.crc32c(data) == check


@given(st.binary(max_size=700))
def test_checksums_of_blocks_are_those_of_bytes_one_by_one(data):
    assert records.crc32c(data) == records._short(data)


def test_examples_are_read_as_they_were_written():
    values = {"a": b"\x00\xff", "b": [b"x", b"", b"zz"], "c": [0, 1, 127, 128, 1 << 40], "d": np.float32([[1.5, -2]])}
    found = records.decode(records.encode(values))
    assert found["a"] == [b"\x00\xff"] and found["b"] == [b"x", b"", b"zz"] and found["c"] == values["c"]
    assert found["d"].tolist() == [1.5, -2]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place, change):
    record = bytearray(records.framed(records.encode({"image": bytes(range(256)), "text": b"word"})))
    record[place % len(record)] ^= change
    with pytest.raises(records.RecordError):
        records.unframed(bytes(record))


def test_tensorflow_reads_what_was_packed(crops, tmp_path):
    import tensorflow as tf

    shards.pack(crops, tmp_path / "packed", per_shard=3)
    form = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "text", "name")}
    files = sorted(map(str, (tmp_path / "packed").glob("*.tfrecord")))
    rows = [tf.io.parse_single_example(row, form) for row in tf.data.TFRecordDataset(files)]
    assert [row["text"].numpy().decode() for row in rows] == ["10", "2", "345", "67", "89"]
    for row, entry in zip(rows, datasets.read(crops), strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(row["image"]).numpy(), entry.read())


# ---------------------------------------------------------------- packing


def test_a_data_set_comes_back_from_its_shards(crops, tmp_path, capsys):
    assert cli.main(["data", "pack", str(crops), "--output", str(tmp_path / "packed")]) == 0
    assert capsys.readouterr().out.split() == ["shards", "1", "records", "5", "left_out", "0"]
    found = shards.Shards([tmp_path / "packed"])
    assert len(found) == 5 and found.sources == ["mine/train"]
    entries = {entry.text: entry for entry in datasets.read(crops)}
    for number in range(5):
        entry = found.draw(number)
        np.testing.assert_array_equal(entry.read(), entries.pop(entry.text).read())
        assert entry.path.parts[0] == "mine"
    assert not entries
    assert cli.main(["data", "check", str(tmp_path / "packed")]) == 0


def test_pages_keep_their_words_or_are_cut_into_them(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    pixels = np.full((60, 200, 3), 255, np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    boxes = [[[5, 5], [60, 5], [60, 25], [5, 25]], [[80, 30], [150, 30], [150, 50], [80, 50]]]
    words = [{"polygon": box, "text": text, "illegible": text == "?"} for box, text in zip(boxes, "A?", strict=True)]
    (folder / "labels.jsonl").write_text(
        json.dumps({"image": "a.png", "level": "word", "words": words, "split": "test"})
    )
    shards.pack(folder, tmp_path / "whole", "test")
    entry = shards.Shards([tmp_path / "whole"]).draw(0)
    assert entry.polygons.tolist() == boxes and entry.texts == ("A", "?") and entry.illegible == (False, True)
    assert entry.text is None and entry.read().shape == pixels.shape
    assert shards.pack(folder, tmp_path / "cut", "test", words=True)["records"] == 1
    word = shards.Shards([tmp_path / "cut"]).draw(0)
    assert word.text == "A" and word.read().shape == (20, 55, 3)


def test_what_cannot_be_learnt_from_is_left_out_and_told(crops, tmp_path, capsys):
    first, second = (entry.path for entry in datasets.read(crops)[:2])
    first.write_bytes(b"\x89PNG no picture")
    labels = crops / "labels.jsonl"
    labels.write_text(labels.read_text().replace('"2"', '"  "') + '\n{"image": "gone.png", "text": "x"}\nnot a label')
    done = shards.pack(crops, tmp_path / "packed")
    assert (done["records"], done["left_out"]) == (3, 4 if not held("gone.png") else 3)
    told = capsys.readouterr().err
    assert first.name in told and f"{second}: the label is empty" in told and "labels.jsonl:7" in told


def test_labels_that_were_corrected_are_not_taken_for_those_packed_before(crops, tmp_path):
    shards.pack(crops, tmp_path / "packed")
    labels = crops / "labels.jsonl"
    labels.write_text(labels.read_text().replace('"2"', '"9"'))
    with pytest.raises(ValueError, match="of other labels .*; give another folder"):
        shards.pack(crops, tmp_path / "packed")


def test_what_a_killed_call_left_is_cleared_away(crops, tmp_path):
    (tmp_path / "packed").mkdir()
    leftover = tmp_path / "packed/.00000.0123abcd.tfrecord"
    leftover.write_bytes(b"half")
    shards.pack(crops, tmp_path / "packed")
    assert not leftover.exists()


def test_a_full_disk_leaves_no_empty_folder(crops, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, usual[1]))  # no file may grow further, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large: '.*/packed/00000.tfrecord'"):
            shards.pack(crops, tmp_path / "new" / "packed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not (tmp_path / "new").exists()
    assert shards.pack(crops, tmp_path / "new" / "packed")["records"] == 5


def test_nothing_that_can_be_packed_is_an_error(crops, tmp_path):
    for entry in datasets.read(crops):
        entry.path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="nothing of .*mine can be packed: .*png"):
        shards.pack(crops, tmp_path / "packed")


BOX = [[10, 10], [60, 10], [60, 30], [10, 30]]


def page_of_a_word(folder: Path) -> Path:
    """The folder, new, of one page with one word on it."""
    folder.mkdir()
    Image.fromarray(np.full((80, 80, 3), 250, np.uint8)).save(folder / "a.png")
    row = {"image": "a.png", "words": [{"polygon": BOX, "text": "A"}], "split": "all"}
    (folder / "labels.jsonl").write_text(json.dumps(row))
    return folder


def test_pages_without_words(tmp_path):
    """They are pages to learn from, which have no boxes; words they are none."""
    folder, packed = tmp_path / "blank", tmp_path / "packed"
    folder.mkdir()
    Image.fromarray(np.full((80, 80, 3), 250, np.uint8)).save(folder / "a.png")
    (folder / "labels.jsonl").write_text(json.dumps({"image": "a.png", "words": [], "split": "all"}))
    with pytest.raises(ValueError, match="nothing of .*blank can be packed: it holds no words"):
        shards.pack(folder, packed, "all", words=True)
    assert not packed.exists()
    assert shards.pack(folder, packed, "all")["records"] == 1 and shards.check(packed) == []
    how = replace(recipe.find("detection.db_mobilenet_v3_large"), real=(), shards=("packed",), real_share=1.0)
    page = train.make_task(how, registry.card(how.model), tmp_path).page(0)
    assert page.polygons.shape == (0, 4, 2)


def test_pages_that_say_not_where_their_words_are_stay_out(tmp_path):
    """In a shard they would be pages without words."""
    folder = page_of_a_word(tmp_path / "pages")
    with (folder / "labels.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"image": "a.png", "page_text": "A", "split": "all"}))
    done = shards.pack(folder, tmp_path / "packed", "all")
    assert (done["records"], done["left_out"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "words"), [("recognition.crnn_mobilenet_v3_small", False), ("detection.db_mobilenet_v3_large", True)]
)
def test_shards_for_another_task_are_told_before_a_run_begins(tmp_path, name, words):
    folder = page_of_a_word(tmp_path / "pages")
    shards.pack(folder, tmp_path / "packed", "all", words=words)
    how = replace(recipe.find(name), real=(), shards=("packed",))
    with pytest.raises(
        shards.ShardError, match="packed: not one of 1 records is of use; `zoo data pack` makes pages for"
    ):
        train.make_task(how, registry.card(how.model), tmp_path)


def test_what_validation_looks_at_stays_out(tmp_path):
    folder = write_crops(tmp_path / "mine", ["1", "2"])
    name = next(f"{k}.png" for k in range(999) if held(f"{k}.png"))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / name)
    with (folder / "labels.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"image": name, "text": "3"}))
    assert shards.pack(folder, tmp_path / "packed")["records"] == 2


def test_packing_goes_on_after_a_kill(crops, tmp_path, monkeypatch):
    whole = shards.pack(crops, tmp_path / "whole", per_shard=2)
    encoded, count = shards.encoded, iter(range(99))

    def killed(entry):
        if next(count) == 3:
            raise KeyboardInterrupt
        return encoded(entry)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "encoded", killed)
        with pytest.raises(KeyboardInterrupt):
            shards.pack(crops, tmp_path / "parts", per_shard=2)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["00000.json", "00000.tfrecord"]
    with pytest.raises(
        shards.ShardError, match=r"no shards\.json: give a folder that `zoo data pack` wrote to its end"
    ):
        shards.Shards([tmp_path / "parts"])
    before = (tmp_path / "parts" / "00000.tfrecord").stat().st_mtime_ns
    assert shards.pack(crops, tmp_path / "parts", per_shard=2) == whole
    assert (tmp_path / "parts" / "00000.tfrecord").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds shards of other data"):
        shards.pack(crops, tmp_path / "parts", per_shard=3)


# ---------------------------------------------------------------- reading


def test_each_epoch_has_all_records_in_an_order_of_its_own(crops, tmp_path):
    shards.pack(crops, tmp_path / "packed", per_shard=2)
    found = shards.Shards([tmp_path / "packed"], seed=3)
    epochs = [drawn(found, range(5 * epoch, 5 * epoch + 5)) for epoch in range(4)]
    assert all(sorted(epoch) == ["10", "2", "345", "67", "89"] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    again = shards.Shards([tmp_path / "packed"], seed=3)
    assert drawn(again, range(7, 13)) == [text for epoch in epochs for text in epoch][7:13]  # from the middle on
    other = shards.Shards([tmp_path / "packed"], seed=4)
    assert any(drawn(other, range(5 * e, 5 * e + 5)) != epoch for e, epoch in enumerate(epochs))


def test_damaged_records_are_passed_over_counted_and_told(crops, tmp_path, capsys):
    shards.pack(crops, tmp_path / "packed", per_shard=3)
    path = tmp_path / "packed" / "00000.tfrecord"
    places = json.loads(path.with_suffix(".json").read_text())["places"]
    data = bytearray(path.read_bytes())
    data[places[1][0] + 40] ^= 1
    path.write_bytes(data)
    found = shards.Shards([tmp_path / "packed"])
    texts = drawn(found, range(5))
    assert len(texts) == 5 and set(texts) == {"10", "345", "67", "89"} and found.skipped == 1
    assert f"passed over: {path} at byte {places[1][0]}: the data of a record are damaged" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "packed")]) == 1
    assert "00000.tfrecord has another SHA-256" in capsys.readouterr().err


def test_labels_of_no_use_are_passed_over(crops, tmp_path):
    shards.pack(crops, tmp_path / "packed")
    found = shards.Shards([tmp_path / "packed"])
    assert {found.draw(n, lambda entry: len(entry.text) > 1).text for n in range(10)} == {"10", "345", "67", "89"}
    assert found.skipped == 2  # once in each epoch
    with pytest.raises(shards.ShardError, match="not one of 5 records is of use"):
        found.draw(0, lambda entry: False)


def test_a_vanished_or_cut_shard_is_told(crops, tmp_path):
    shards.pack(crops, tmp_path / "packed", per_shard=2)
    found, path = shards.Shards([tmp_path / "packed"]), tmp_path / "packed" / "00001.tfrecord"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(shards.ShardError, match=r"00001\.tfrecord has \d+ bytes instead of \d+; pack its data again"):
        shards.Shards([tmp_path / "packed"])
    path.unlink()
    with pytest.raises(shards.ShardError, match=r"00001\.tfrecord is gone; put it back, or pack its data again"):
        shards.Shards([tmp_path / "packed"])
    with pytest.raises(shards.ShardError, match=r"00001\.tfrecord cannot be read any more"):
        drawn(found, range(5))
    assert shards.pack(crops, tmp_path / "packed", per_shard=2)["records"] == 5  # which writes it again
    assert len(drawn(shards.Shards([tmp_path / "packed"]), range(5))) == 5


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_text('{"fi')])
def test_a_vanished_or_damaged_index_is_told_and_written_again(crops, tmp_path, capsys, harm):
    packed = tmp_path / "packed"
    shards.pack(crops, packed, per_shard=2)
    harm(packed / "00001.json")
    with pytest.raises(shards.ShardError, match=r"00001\.json (is gone|is damaged).*pack its data again"):
        shards.Shards([packed])
    assert cli.main(["data", "check", str(packed)]) == 1
    assert "00001.json" in capsys.readouterr().err
    assert shards.pack(crops, packed, per_shard=2)["records"] == 5
    assert cli.main(["data", "check", str(packed)]) == 0
    assert len(drawn(shards.Shards([packed]), range(5))) == 5


def test_a_damaged_list_of_shards_is_told(crops, tmp_path, capsys):
    shards.pack(crops, tmp_path / "packed")
    (tmp_path / "packed" / "shards.json").write_text('{"da')
    assert cli.main(["data", "check", str(tmp_path / "packed")]) == 1
    assert "shards.json is damaged" in capsys.readouterr().err


# ---------------------------------------------------------------- training


def test_a_recognizer_learns_from_shards(crops, tmp_path, monkeypatch):
    """Batches depend on the seed and the step alone, from whichever step on, and workers share them by rows."""
    monkeypatch.setattr("recipes.recognition.task.vary", lambda image, rng: image)
    shards.pack(crops, tmp_path / "packed", per_shard=2)
    small = recipe.find("recognition.crnn_mobilenet_v3_small")
    how = replace(
        small, real=(), shards=("packed",), real_share=1.0, batch=5, longest=4, widest=64, options={"charset": "digits"}
    )
    card = registry.card(how.model)
    card = replace(card, options=card.options | how.options)
    task, again = (train.make_task(how, card, tmp_path) for _ in range(2))
    assert task.sources == ["synthetic words", "mine/train"]
    seen = [task.sample(index).text for index in range(10)]
    assert sorted(seen[:5]) == sorted(seen[5:]) == ["10", "2", "345", "67", "89"]
    for ours, theirs in zip(pipeline.stream(task.batch, 5, 8), pipeline.stream(again.batch, 5, 8), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1]["ids"], theirs[1]["ids"])
    lengths = [int(np.ptp([len(text) for text in _texts(task, task.batch(step))])) for step in range(16)]
    assert np.mean(lengths) < 1.5  # batches hold words of about one width: 10, 11 … 14 pixels here


def test_shards_are_taken_from_instead_of_the_real_sets(crops, tmp_path):
    """Those are looked at by validation alone, and no card says that they were learnt from."""
    shards.pack(crops, tmp_path / "packed")
    write_crops(tmp_path / "other", [str(number) for number in range(100, 140)])
    small = recipe.find("recognition.crnn_mobilenet_v3_small")
    how = replace(small, real=("other",), shards=("packed",), real_share=0.5, easy=0, longest=2)
    task = train.make_task(how, registry.card(how.model), tmp_path)
    learnt = {task.sample(index).text for index in range(40)}
    assert learnt & {"10", "2", "345", "67", "89"} and not learnt & {str(number) for number in range(100, 140)}
    assert task.sources == ["synthetic words", "mine/train"]

    folder = page_of_a_word(tmp_path / "pages")
    shards.pack(folder, tmp_path / "packed_pages", "all")
    (folder / "labels.jsonl").write_text((folder / "labels.jsonl").read_text().replace('"all"', '"train"'))
    how = replace(recipe.find("detection.db_mobilenet_v3_large"), real=("pages",), shards=("packed_pages",))
    pages = train.make_task(how, registry.card(how.model), tmp_path)
    assert pages.real == {} and pages.sources == ["synthetic pages", "pages/all"]


def _texts(task, batch) -> list[str]:
    _, targets = batch
    return [task.charset.text(ids[:length]) for ids, length in zip(targets["ids"], targets["length"], strict=True)]


def test_a_detector_learns_from_shards(tmp_path, monkeypatch):
    folder = page_of_a_word(tmp_path / "pages")
    shards.pack(folder, tmp_path / "packed", "all")
    monkeypatch.setattr("recipes.detection.task.varied", lambda page, rng: page)
    how = replace(recipe.find("detection.db_mobilenet_v3_large"), real=(), shards=("packed",), real_share=1.0)
    task = train.make_task(how, registry.card(how.model), tmp_path)
    page = task.page(0)
    scale = len(page.image) / 80
    np.testing.assert_allclose(page.polygons[0], np.array(BOX) * scale, rtol=0.02)
