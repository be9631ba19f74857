"""Streams of batches: their order, errors in their place, resumption, shards; and the tasks that make them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zoo
from recipes import recipe
from recipes.data import pipeline
from recipes.detection import task as detection
from recipes.recognition import task as recognition


def numbered(step: int) -> pipeline.Batch:
    """Four rows that say their step and place, as wide as the step."""
    pixels = np.full((4, 2, 3 + step % 3, 3), step, "uint8")
    return pixels, {"ids": np.array([[step, row] for row in range(4)], "int32")}


def broken(step: int) -> pipeline.Batch:
    if step == 5:
        raise KeyError("the fifth")
    return numbered(step)


def steps_of(batches) -> list[int]:
    return [int(np.asarray(targets["ids"])[0, 0]) for _, targets in batches]


def test_stream_keeps_the_order_and_begins_anywhere():
    assert steps_of(pipeline.stream(numbered, 0, 9)) == list(range(9))
    assert steps_of(pipeline.stream(numbered, 6, 9)) == [6, 7, 8]
    assert steps_of(pipeline.stream(numbered, 3, 3)) == []


def test_an_error_arrives_at_its_place():
    batches = pipeline.stream(broken, 3, 9)
    assert steps_of([next(batches), next(batches)]) == [3, 4]
    with pytest.raises(KeyError, match="the fifth"):
        next(batches)


def test_a_stream_that_is_left_makes_no_more():
    made = []

    def count(step):
        made.append(step)
        return numbered(step)

    batches = pipeline.stream(count, 0, 1000, ahead=2)
    next(batches)
    batches.close()
    ended = len(made)
    assert ended < 10 and len(made) == ended


def test_dataset_is_the_stream():
    for (pixels, targets), (expected, values) in zip(
        pipeline.dataset(numbered, 4, 12, threads=3), pipeline.stream(numbered, 4, 12), strict=True
    ):
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(targets["ids"], values["ids"])


def test_replicas_rows_are_disjoint_and_together_the_whole():
    """Of two processes the first has replicas 0 and 1, the other 2 and 3; a batch has four rows."""
    first, second = (list(pipeline.dataset(numbered, 2, 6, replicas=own, count=4)) for own in ((0, 1), (2, 3)))
    assert len(first) == len(second) == 8
    for step in range(4):
        parts = [*first[2 * step : 2 * step + 2], *second[2 * step : 2 * step + 2]]
        rows = [tuple(row) for _, targets in parts for row in targets["ids"].numpy().tolist()]
        assert rows == [(step + 2, row) for row in range(4)]
        assert [len(pixels) for pixels, _ in parts] == [1, 1, 1, 1]


def test_an_error_ends_a_dataset():
    import tensorflow as tf

    with pytest.raises(tf.errors.OpError, match="the fifth"):
        list(pipeline.dataset(broken, 3, 9))


def test_cached_keeps_the_last():
    made = []
    get = pipeline.cached(lambda key: made.append(key) or key * 2, 2)
    assert [get(key) for key in (1, 2, 1, 3, 2, 1)] == [2, 4, 2, 6, 4, 2]
    assert made == [1, 2, 3, 1]


# ---------------------------------------------------------------- tasks


def assert_same(one: pipeline.Batch, other: pipeline.Batch) -> None:
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    for key, value in one[1].items():
        np.testing.assert_array_equal(value, other[1][key])


@pytest.fixture
def reader():
    how = replace(recipe.find("recognition.crnn_mobilenet_v3_small"), batch=4, real=(), longest=8, widest=128)
    card = zoo.card(how.model)
    return lambda: recognition.Task(how, card, None)


def test_a_recognizer_sees_the_same_batch_at_a_step_whatever_came_before(reader):
    one, other = reader(), reader()
    batches = {step: one.batch(step) for step in (0, 17, 3)}
    for step in (3, 17):
        assert_same(other.batch(step), batches[step])
    assert not np.array_equal(batches[0][1]["ids"], batches[3][1]["ids"])


def test_batches_of_one_width_have_labels_of_one_shape(reader):
    """JAX compiles a step for each shape."""
    task = reader()
    batches = [task.batch(step) for step in range(recognition.GROUP)]
    widths = {pixels.shape[2] for pixels, _ in batches}
    assert len({(pixels.shape[2], targets["ids"].shape[1]) for pixels, targets in batches}) == len(widths) > 1


def test_strips_and_labels_of_a_batch(reader):
    task = reader()
    seen = []
    for step in range(recognition.GROUP):
        pixels, targets = task.batch(step)
        assert pixels.dtype == np.uint8 and pixels.shape[:2] == (4, 32)
        assert pixels.shape[2] % 32 == 0 and pixels.shape[2] <= 128
        for ids, length in zip(targets["ids"], targets["length"], strict=True):
            assert (ids[length:] == task.charset.blank).all() and (ids[:length] < task.charset.blank).all()
            seen.append(task.charset.text(ids))
    # Each sample of the group is dealt out once.
    assert sorted(seen) == sorted(task.sample(index).text for index in range(recognition.GROUP * 4))


def test_typographic_marks_are_learnt_as_the_plain_ones_of_the_alphabet(tmp_path, reader, capsys):
    from PIL import Image

    Image.new("RGB", (60, 20)).save(tmp_path / "0.png")
    texts = ["“l’été”", "ﬁn–de…", "one"]
    labels = "\n".join(f'{{"image": "0.png", "text": "{text}"}}' for text in texts)
    (tmp_path / "labels.jsonl").write_text(labels, "utf-8")
    task = recognition.Task(replace(reader().recipe, real=(str(tmp_path),)), zoo.card("crnn_vgg16_bn"), None)
    words = [strip.text for sets in (task.real, task.held) for strips in sets.values() for strip in strips]
    assert sorted(words) == sorted(['"l\'été"', "fin-de...", "one"])
    assert "left out" not in capsys.readouterr().err


def test_words_that_the_alphabet_cannot_write_are_told(tmp_path, reader, capsys):
    from PIL import Image

    Image.new("RGB", (60, 20)).save(tmp_path / "0.png")
    labels, how = tmp_path / "labels.jsonl", replace(reader().recipe, real=(str(tmp_path),))
    labels.write_text("\n".join(f'{{"image": "0.png", "text": "{text}"}}' for text in ("one", "two 中", "文")))
    recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    assert f"{tmp_path.name}: 2 of 3 texts are left out, as the alphabet lacks ' 中文'" in capsys.readouterr().err
    labels.write_text('{"image": "0.png", "text": "中"}')
    with pytest.raises(ValueError, match="nothing of .* can be learnt from: 1 of 1 texts .* lacks '中'"):
        recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    with pytest.raises(ValueError, match="nothing of .* can be learnt from: 1 of 1 texts .* lacks '中'"):
        recognition.Task(replace(how, real=(), replay=how.real), zoo.card("crnn_vgg16_bn"), None)
    labels.write_text('{"image": "0.png", "text": "two words"}')  # a line, and an alphabet of words
    with pytest.raises(ValueError, match="can be learnt from: 1 of 1 texts are not of the alphabet, which lacks ' '"):
        recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    for nothing in ('"text": ""', '"words": []'):
        labels.write_text(f'{{"image": "0.png", {nothing}}}')
        with pytest.raises(ValueError, match=r"nothing of .* can be learnt from: none of its 1 pictures has a text"):
            recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    labels.write_text(f'{{"image": "0.png", "text": "{"a" * 99}"}}')
    with pytest.raises(ValueError, match=r"can be learnt from: 1 of 1 texts are longer than 32 characters"):
        recognition.Attention(how, zoo.card("parseq"), None)


def test_texts_that_the_steps_of_a_strip_cannot_hold_are_told(tmp_path, reader, capsys):
    """CTC learns nothing from them, and counts them as 0: a falling loss would be no sign of anything."""
    from PIL import Image

    Image.new("RGB", (900, 20)).save(tmp_path / "0.png")
    labels, how = tmp_path / "labels.jsonl", replace(reader().recipe, real=(str(tmp_path),), widest=64)
    fits, crowded = "abcdefghijklmnop", "abcdefghijklmnoo"  # 16 steps; two that are alike have one between them
    labels.write_text("\n".join(f'{{"image": "0.png", "text": "{text}"}}' for text in (fits, crowded)))
    recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    told = "1 of 2 texts need more steps than the 16 of strips 64 pixels wide; --set widest=96 has enough"
    assert capsys.readouterr().err == f"{tmp_path.name}: {told}: they teach nothing\n"
    recognition.Task(replace(how, widest=96), zoo.card("crnn_vgg16_bn"), None)
    assert capsys.readouterr().err == ""
    labels.write_text(f'{{"image": "0.png", "text": "{crowded}"}}')
    with pytest.raises(ValueError, match=f"nothing of {tmp_path.name} can be learnt from: 1 of 1 texts .*widest=96"):
        recognition.Task(how, zoo.card("crnn_vgg16_bn"), None)
    labels.write_text("\n".join(f'{{"image": "0.png", "text": "{text}"}}' for text in ("one", "a" * 99)))
    recognition.Attention(how, zoo.card("parseq"), None)  # which writes no more than it has places for
    told = f"{tmp_path.name}: 1 of 2 texts are left out, as they are longer than 32 characters\n"
    assert capsys.readouterr().err == told


def test_strips_have_a_width(reader):
    with pytest.raises(ValueError, match="widest=31: strips are 32 pixels wide or more"):
        recognition.Task(replace(reader().recipe, widest=31), zoo.card("crnn_vgg16_bn"), None)


def test_real_words_are_mixed_in_and_some_held_out(tmp_path, reader):
    from PIL import Image

    folder = tmp_path / "mine"
    folder.mkdir()
    rows = []
    for index in range(40):
        Image.new("RGB", (60, 20), (index, 80, 80)).save(folder / f"{index}.png")
        rows.append(f'{{"image": "{index}.png", "text": "w{index}"}}\n')
    rows.append('{"image": "0.png", "text": "test", "split": "test"}\n')
    rows.append('{"image": "0.png", "text": "\u4e2d"}\n')  # of no alphabet here
    (folder / "labels.jsonl").write_text("".join(rows), encoding="utf-8")
    task = recognition.Task(
        replace(reader().recipe, real=("mine",), real_share=1.0), zoo.card("crnn_vgg16_bn"), tmp_path
    )
    train, held = ({word.text for word in words["mine"]} for words in (task.real, task.held))
    assert len(train | held) == 40 and held and not train & held
    assert task.sources == ["synthetic words", "mine/train"]
    assert {task.sample(index).text for index in range(30)} <= train
    assert {word.text for word in task.held_out()["real"]} <= held


def test_a_detector_does_not_learn_from_crops(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"image": "0.png", "text": "one"}')
    how = replace(recipe.find("detection.db_mobilenet_v3_large"), real=(str(tmp_path),))
    with pytest.raises(ValueError, match="is of crops, from which recognizers learn"):
        detection.Task(how, zoo.card(how.model), None)


def test_a_detector_does_not_take_pages_for_empty_whose_words_have_no_places(tmp_path):
    """Pages with a text alone, or regions, say nothing of places; those without words are empty."""
    from PIL import Image

    texts, parts = '"page_text": "some words"', '"regions": [{"polygon": [0, 0, 9, 9], "label": "table"}]'
    labels, how = tmp_path / "labels.jsonl", replace(recipe.find("detection.db_mobilenet_v3_large"), real=())
    labels.write_text("\n".join(f'{{"image": "{k}.png", {what}}}' for k, what in enumerate((texts, parts))))
    for field in ("real", "replay"):
        with pytest.raises(ValueError, match="nothing of .*: not one of its 2 pages says where its words are"):
            detection.Task(replace(how, **{field: (str(tmp_path),)}), zoo.card(how.model), None)
    labels.write_text(labels.read_text() + '\n{"image": "5.png", "words": []}\n{"image": "6.png", "regions": []}')
    for name in ("5.png", "6.png"):
        Image.new("RGB", (60, 20)).save(tmp_path / name)
    task = detection.Task(replace(how, real=(str(tmp_path),)), zoo.card(how.model), None)
    found = [entry for sets in (task.real, task.held) for entries in sets.values() for entry in entries]
    assert sorted(entry.path.name for entry in found) == ["5.png", "6.png"]


def test_a_detector_sees_the_same_batch_at_a_step_whatever_came_before():
    how = replace(recipe.find("detection.db_mobilenet_v3_large"), batch=2, size=(64, 96), real=())
    card = replace(zoo.card(how.model), reading={**zoo.card(how.model).reading, "size": [256, 256]})
    one, other = (detection.Task(how, card, None) for _ in range(2))
    batches = {step: one.batch(step) for step in (0, 1, 2)}
    assert_same(other.batch(2), batches[2])
    for pixels, maps in batches.values():
        assert pixels.shape == (2, 64, 96, 3) and pixels.dtype == np.uint8
        assert {key: value.shape for key, value in maps.items()} == dict.fromkeys(
            ("region", "mask", "border", "border_mask"), (2, 64, 96)
        )
    assert any(maps["region"].any() for _, maps in batches.values())


def test_a_crop_keeps_words_with_their_pixels():
    """A page with one black word: where the crop has polygons, it is black, and nowhere else."""
    image = np.full((200, 300, 3), 255, np.uint8)
    image[90:110, 120:180] = 0
    polygon = np.array([[[120, 90], [180, 90], [180, 110], [120, 110]]], "float32")
    page = detection.Page(image, polygon, np.zeros(1, bool))
    found = 0
    for seed in range(20):
        cropped = detection.crop(page, (64, 96), np.random.default_rng(seed))
        assert cropped.image.shape == (64, 96, 3)
        expected = np.full((64, 96), 255, np.uint8)
        for shape in cropped.polygons:
            (x0, y0), (x1, y1) = shape.min(0).clip(0).astype(int), shape.max(0).clip(0).astype(int)
            expected[y0:y1, x0:x1] = 0
            found += 1
        np.testing.assert_array_equal(cropped.image[..., 0], expected)
    assert found > 10


def test_words_together_are_learnt_from_where_the_alphabet_has_a_space(tmp_path):
    """Of a word-level page: pairs of neighbours, half of the real samples; and synthetic ones."""
    import json

    from PIL import Image

    page = np.random.default_rng(0).integers(0, 256, (60, 300, 3), np.uint8)
    (tmp_path / "set").mkdir()
    words = [
        {"polygon": [[x, 10], [x + 40, 10], [x + 40, 30], [x, 30]], "text": text}
        for x, text in ((10, "one"), (60, "two"), (110, "three"))
    ]
    rows = [{"image": f"{name}.png", "words": words} for name in "abcdef"]  # the name tells which are held out
    for row in rows:
        Image.fromarray(page).save(tmp_path / "set" / row["image"])
    (tmp_path / "set/labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = zoo.card("crnn_mobilenet_v3_small")
    how = replace(
        recipe.find("recognition.crnn_mobilenet_v3_small"),
        real=("set",),
        real_share=0.5,
        together=0.5,
        easy=0,
        batch=32,
    )
    spaced = replace(card, options=card.options | {"charset": "french_lines"})
    task = recognition.make(how, spaced, tmp_path)
    texts = {strip.text for strip in task.spans["set"]}
    assert texts == {"one two", "two three"}
    drawn = [task.sample(index).text for index in range(300)]
    real = [text for text in drawn if text in texts or text in ("one", "two", "three")]
    assert 110 < len(real) < 190 and 0.35 < np.mean([" " in text for text in real]) < 0.65
    assert 0.35 < np.mean([" " in text for text in drawn]) < 0.65
    with pytest.raises(ValueError, match="charset:french_lines"):
        recognition.make(how, replace(card, options=card.options | {"charset": "french"}), tmp_path)


def test_texts_of_real_lines_are_drawn_anew_in_other_hands(tmp_path, reader, monkeypatch):
    from PIL import Image

    lines = [f"je donne tout {chr(97 + index)}" for index in range(26)]
    for index in range(26):
        Image.new("RGB", (300, 30), (index, 80, 80)).save(tmp_path / f"{index}.png")
    labels = "\n".join(f'{{"image": "{index}.png", "text": "{line}"}}' for index, line in enumerate(lines))
    (tmp_path / "labels.jsonl").write_text(labels, "utf-8")
    difficulties, draw = [], recognition.synthetic.draw_word
    monkeypatch.setattr(recognition.synthetic, "draw_word", lambda *args: difficulties.append(args[2]) or draw(*args))
    how = replace(
        reader().recipe, real=(str(tmp_path),), real_share=0, language="french", quoted=1.0, hardest=0.25, easy=0,
        longest=10, hand=1.0,
    )  # fmt: skip
    card = zoo.card("crnn_mobilenet_v3_small.lines")
    task = recognition.Task(how, card, None)
    samples = [task.sample(index) for index in range(60)]
    learnt = [strip.text for strip in next(iter(task.real.values()))]
    assert len(learnt) < 26  # some lines are held out, and not quoted either
    for sample in samples:
        assert len(sample.text) <= 10 and any(sample.text in line for line in learnt)
        assert sample.centres is None  # whose letters stand elsewhere now
    assert {sample.text for sample in samples} >= {"je donne", "donne tout"}
    assert set(difficulties) == {0.25}
    plain = recognition.Task(replace(how, hand=0.0), card, None).sample(0)
    assert plain.centres is not None and len(plain.centres) == len(plain.text)
