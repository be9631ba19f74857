"""Pictures that tests share with what was learnt from are found, whatever was done to them; unlike ones are not."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from recipes.data import apart, corpus, datasets, documents
from zoo import cli


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six pages that are learnt from."""
    folder = tmp_path_factory.mktemp("learnt")
    paths = [folder / f"{index}.png" for index in range(6)]
    for index, path in enumerate(paths):
        Image.fromarray(documents.document(np.random.default_rng(index)).image).save(path)
    return paths


def entries(paths):
    return [datasets.Entry(path, "", datasets._polygons([])) for path in paths]


def test_the_same_bytes_and_the_same_look_are_found(pictures, tmp_path):
    copy, smaller, other, blank = (tmp_path / name for name in ("copy.png", "smaller.jpg", "other.png", "blank.png"))
    shutil.copy(pictures[2], copy)
    image = cv2.imread(str(pictures[4]))
    cv2.imwrite(str(smaller), cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA))
    Image.fromarray(documents.document(np.random.default_rng(99)).image).save(other)
    Image.new("RGB", (300, 400), "white").save(blank)
    found = list(apart.doubles(entries(pictures), entries([copy, smaller, other, blank])))
    assert [(double.scored, double.learnt) for double in found] == [(copy, pictures[2]), (smaller, pictures[4])]
    assert found[0].bits == 0 and found[1].bits <= apart.NEAR


def test_the_bits_of_a_picture_by_hand():
    """Light on the left half: of each row the one step from light to dark is a bit."""
    picture = np.zeros((32, 34, 3), np.uint8)
    picture[:, :16] = 200
    bits = apart.difference(picture).reshape(apart.SIDE, apart.SIDE)
    assert bits[:, 7].all() and bits.sum() == apart.SIDE


def test_phrases_of_tests_in_the_sources_are_found(monkeypatch):
    entry = datasets.Entry("a.png", None, np.zeros((0, 4, 2)), ("Thank", "you", "very", "much"))
    assert apart.phrases(["Thank you very much"]) == {("thank", "you", "very"), ("you", "very", "much")}
    assert apart.shared_phrases([entry]) == set()  # the sources are lists of words
    monkeypatch.setattr(corpus, "BUSINESS", ["total", "we thank you very kindly"])
    assert apart.shared_phrases([entry]) == {("thank", "you", "very")}


def test_the_command_fails_where_something_is_shared(pictures, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    rows = []
    for index, split in enumerate(("train", "train", "test", "test")):
        shutil.copy(pictures[index], mine / f"{index}.png")
        rows.append({"image": f"{index}.png", "words": [], "split": split})
    (mine / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli.main(["data", "apart", str(mine)]) == 0
    assert capsys.readouterr().out.split() == ["learnt", "2", "scored", "2", "doubles", "0", "phrases", "0"]
    shutil.copy(mine / "0.png", mine / "3.png")
    assert cli.main(["data", "apart", str(mine)]) == 1
    assert f"{mine / '3.png'} is a double of {mine / '0.png'}: 0 bits differ" in capsys.readouterr().out


def test_pictures_without_files_are_compared_by_their_pixels(tmp_path, capsys):
    """Of MNIST's digits the second to be scored on was learnt from; the others merely look like one."""
    digits = np.zeros((5, 28, 28), np.uint8)
    for index in range(5):
        digits[index, 4:24, 8:20] = np.arange(240).reshape(20, 12)
        digits[index, 0, index] = 9
    for name, values in (("train", digits[:3]), ("t10k", digits[[3, 1, 4]])):
        header = b"\0\0\x08", np.array([len(values)], ">u4").tobytes()
        sides = np.array([28, 28], ">u4").tobytes()
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(header[0] + b"\x03" + header[1] + sides + values.tobytes())
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(header[0] + b"\x01" + header[1] + bytes(len(values)))
    assert cli.main(["data", "apart", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path}/t10k-images-idx3-ubyte/00001 is a double of {tmp_path}/train-images-idx3-ubyte/00001" in out
    assert out.split()[-8:] == ["learnt", "3", "scored", "3", "doubles", "1", "phrases", "0"]


def test_a_missing_picture_is_told_by_its_path(tmp_path, capsys):
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "gone.png", "text": "a", "split": "test"}))
    assert cli.main(["data", "apart", str(tmp_path)]) == 1
    gone = f"{tmp_path / 'gone.png'}: no such file or folder"
    hint = f"`zoo data check {tmp_path}` lists all that is wrong"
    assert capsys.readouterr().err == f"zoo data: {gone}; {hint} with this data set\n"


def test_the_licence_of_a_source_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "SOURCE.md").write_text("# a\n\n- Repo: x\n- Licence: CC BY 4.0, someone.\n")
    assert datasets.sources(tmp_path, ["a", "b"]) == ["a/train (CC BY 4.0, someone)", "b/train"]
    assert datasets.sources(None, ["a"]) == []


def test_pictures_of_a_set_without_splits_are_no_doubles_of_themselves(pictures, tmp_path, capsys):
    """The last picture of a set in docTR's format is the first again; another set has the second."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder, chosen in ((mine, (0, 1, 2, 0)), (other, (1,))):
        (folder / "images").mkdir(parents=True)
        for index, number in enumerate(chosen):
            shutil.copy(pictures[number], folder / "images" / f"{index}.png")
        (folder / "labels.json").write_text(json.dumps({f"{index}.png": "a" for index in range(len(chosen))}))
    assert cli.main(["data", "apart", str(mine), str(other)]) == 1
    out, err = capsys.readouterr()
    told = {tuple(line.split(":")[0].split(" is a double of ")) for line in out.splitlines() if "double of" in line}
    first, second, last, its = (
        mine / "images/0.png",
        mine / "images/1.png",
        mine / "images/3.png",
        other / "images/0.png",
    )
    assert told == {tuple(map(str, pair)) for pair in ((first, last), (last, first), (second, its), (its, second))}
    assert out.split()[-8:] == ["learnt", "5", "scored", "5", "doubles", "4", "phrases", "0"]
    for folder in (mine, other):
        assert f"zoo data: {folder} has no splits: each of its pictures is compared with all others" in err
    shutil.rmtree(other)
    (mine / "images/3.png").unlink()
    (mine / "labels.json").write_text(json.dumps({f"{index}.png": "a" for index in range(3)}))
    assert cli.main(["data", "apart", str(mine)]) == 0
