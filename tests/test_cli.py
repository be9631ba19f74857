"""The command line: what goes where, with which exit status, whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import pytest
from pdfs import locked
from PIL import Image

import zoo
from recipes.recipe import find
from zoo import cli, registry, weights
from zoo.charset import Reading
from zoo.reading import Reader
from zoo.registry import write_card


def find_two(pixels):
    """A detector that sees a word in each half of any picture."""
    height, width = pixels.shape[:2]
    left = np.array([[0, 0], [width / 2 - 4, 0], [width / 2 - 4, height], [0, height]], "float32")
    return np.stack([left, left + [width / 2, 0]]).astype("float32"), np.array([0.9, 0.8], "float32")


def read_brightness(crops):
    """A recognizer that reads the first pixel's red; dark crops are unsure."""
    values = [int(crop[0, 0, 0]) for crop in crops]
    return [Reading(str(value), value / 255, (value / 255,) * len(str(value))) for value in values]


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """A reader that needs no network; holds what it was asked for."""
    requests: list[dict] = []

    def reader(**options):
        requests.append(options)
        detector = None if options.get("detection", "") is None else find_two
        return Reader(detector, read_brightness, min_confidence=options["min_confidence"] or 0.0)

    monkeypatch.setattr("zoo.reading.reader", reader)
    return requests


@pytest.fixture
def pages(tmp_path):
    """A folder with two pages, and between them a file that is none."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for name, (left, right) in {"a.png": (200, 100), "c.png": (250, 50)}.items():
        pixels = np.zeros((40, 200, 3), "uint8")
        pixels[:, :100], pixels[:, 100:] = left, right
        Image.fromarray(pixels).save(folder / name)
    (folder / "b.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


# ---------------------------------------------------------------- list, card


def test_list_is_a_table_of_the_cards(capsys):
    assert cli.main(["list"]) == 0
    heads, *rows = capsys.readouterr().out.splitlines()
    assert heads.split() == ["name", "task", "parameters", "GFLOPs", "weights", "size", "licence", "score"]
    assert [row.split()[0] for row in rows] == [name for task in registry.TASKS for name in zoo.names(task)]
    row = next(row for row in rows if row.startswith("db_resnet50"))
    assert row.split()[1:4] == ["detection", "25.4", "M"]


def test_list_of_a_task_as_json(capsys):
    assert cli.main(["list", "--task", "recognition", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == zoo.names("recognition")
    assert {row["name"]: row["params"] for row in rows}["crnn_vgg16_bn"] == 15_806_399


def test_list_shows_weights_and_score(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"x" * 1_500_000)
    card = replace(
        zoo.card("db_resnet50"),
        folder=tmp_path,
        gflops=12.34,
        weights={"file": path.name},
        results={"sroie/test": {"command": "zoo evaluate", "hmean": 0.75, "recall": 0.7}},
    )
    line = cli._table([cli._row(card)]).splitlines()[1]
    assert line.split()[4:] == ["12.3", "shipped", "1.5", "MB", "Apache-2.0", "hmean", "0.750", "on", "sroie/test"]
    path.unlink()
    assert cli._row(card)["weights"] == "missing"
    assert cli._row(replace(card, weights={}))["weights"] == "convertible"
    assert cli._row(replace(card, weights={}, published={}))["weights"] == "none"


def test_the_readme_table_is_replaced_and_nothing_else(tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(f"# Héad\n{cli.MARKS[0]}\nold\n{cli.MARKS[1]}\ntail\n", encoding="utf-8")
    assert cli.main(["list", "--update", str(path)]) == 0
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["# Héad", cli.MARKS[0]] and lines[-2:] == [cli.MARKS[1], "tail"]
    assert lines[2].startswith("| name | task |")
    assert sorted(line.split("`")[1] for line in lines[4:-2]) == zoo.names()
    path.write_text("no marks")
    assert cli.main(["list", "--update", str(path)]) == 1
    assert "has no place for the table" in capsys.readouterr().err
    assert path.read_text() == "no marks"


def test_the_readme_counts_the_models_and_lists_all():
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    table = text.partition(cli.MARKS[0])[2].partition(cli.MARKS[1])[0].splitlines()
    assert sorted(line.split("`")[1] for line in table if line.startswith("| `")) == zoo.names()
    assert f": {len(zoo.names())} networks by name" in text


def test_card_tells_all(capsys):
    assert cli.main(["card", "db_mobilenet_v3_large"]) == 0
    out = capsys.readouterr().out
    drawn = "  image (B, H, W, 3) → "
    for part in ("1911.08947", "4 183 858 trainable", "features  mobilenet_v3_large", "768, 768", drawn, "21748dd0"):
        assert part in out
    assert cli.main(["card", "crnn_mobilenet_v3_small.french_handwriting"]) == 0
    found = re.search(r"zoo train (\S+) --run", capsys.readouterr().out)
    assert found and find(found[1]).model == "crnn_mobilenet_v3_small.french_handwriting"
    assert cli.main(["card", "db_mobilenet_v3_large", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"] == {"features": "mobilenet_v3_large", "channels": 256}


# ---------------------------------------------------------------- read


def test_text_goes_to_stdout_and_errors_to_stderr_and_the_folder_is_read_to_its_end(asked, pages, capsys):
    assert cli.main(["read", str(pages)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "200 100\n\f250 50\n"
    assert "b.jpg" in captured.err and "2 read, 1 not" in captured.err
    assert asked == [{"runtime": "auto", "server": None, "min_confidence": None}]


def test_options_reach_the_reader(asked, pages, capsys):
    page = str(pages / "a.png")
    command = ["read", page, "--detection", "d", "--recognition", "r", "--min-confidence", "0.5", "--server", "h:1"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "200\n"
    assert cli.main(["read", page, "--recognize-only", "--runtime", "onnxruntime"]) == 0
    assert capsys.readouterr().out == "200\n"
    assert asked == [
        {"detection": "d", "recognition": "r", "runtime": "auto", "server": "h:1", "min_confidence": 0.5},
        {"detection": None, "runtime": "onnxruntime", "server": None, "min_confidence": None},
    ]


def test_some_pages_of_a_file_and_how_pdfs_are_drawn(asked, pages, tmp_path, capsys):
    first, *more = [Image.new("L", (wide, 50), 255) for wide in (50, 100, 150, 200)]
    first.save(tmp_path / "four.tiff", save_all=True, append_images=more)
    assert cli.main(["read", str(tmp_path / "four.tiff"), "--pages", "2,4-", "--dpi", "300", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["pages"]
    assert [(page["number"], page["width"]) for page in found] == [(2, 100), (4, 200)]
    assert asked[-1]["dpi"] == 300
    assert cli.main(["read", str(tmp_path / "four.tiff"), "--pages", "5"]) == 1
    assert "four.tiff: 4 pages, none of those asked for" in capsys.readouterr().err
    (tmp_path / "locked.pdf").write_bytes(locked(b"sesame"))
    assert cli.main(["read", str(tmp_path / "locked.pdf"), "--password", "sesame", "--pages", "1-3"]) == 0
    assert cli.main(["read", str(tmp_path / "locked.pdf")]) == 1
    assert "locked by a password, which has to be given" in capsys.readouterr().err
    for option in (["--pages", "1"], ["--password", "sesame"]):  # which would be kept in a plan that all can read
        command = ["read", str(pages), "--engine", "ray", "--output", str(tmp_path / "out"), *option]
        assert cli.main(command) == 1 and f"--engine does without {option[0]};" in capsys.readouterr().err


def test_numbers_of_pages():
    numbers = cli._numbers(" 1, 4-6 ,9-")
    assert [number for number in range(12) if number in numbers] == [1, 4, 5, 6, 9, 10, 11]
    assert 10**9 in numbers and 0 not in numbers


def test_json_lines_come_page_by_page(asked, pages, capsys):
    (pages / "b.jpg").unlink()
    assert cli.main(["read", str(pages), "--format", "jsonl"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["image"].endswith("a.png") and second["image"].endswith("c.png")
    assert [word["text"] for word in first["words"]] == ["200", "100"]
    assert first["words"][1]["polygon"] == [[100, 0], [196, 0], [196, 40], [100, 40]]


def test_whole_documents_go_to_a_file(asked, pages, tmp_path, capsys):
    (pages / "b.jpg").unlink()
    assert cli.main(["read", str(pages), "--format", "json", "--output", str(tmp_path / "out.json")]) == 0
    document = zoo.Document.from_dict(json.loads((tmp_path / "out.json").read_text()))
    assert document.text == "200 100\f250 50"
    assert cli.main(["read", str(pages), "--format", "hocr", "--output", str(tmp_path / "out.html")]) == 0
    tree = ElementTree.fromstring((tmp_path / "out.html").read_text())
    words = [element.text for element in tree.iter() if element.get("class") == "ocrx_word"]
    assert words == ["200", "100", "250", "50"]
    assert capsys.readouterr().out == ""
    assert sorted(os.listdir(tmp_path)) == ["out.html", "out.json", "pages"]


def test_overlays_are_numbered(asked, pages, tmp_path):
    (pages / "b.jpg").unlink()
    assert cli.main(["read", str(pages), "--overlay", str(tmp_path / "seen.png")]) == 0
    for name in ("seen.png", "seen-2.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.height == 40 and picture.width >= 400


def test_a_page_from_standard_input(asked, pages, capsys, monkeypatch):
    class Pipe:
        buffer = (pages / "c.png").open("rb")

    monkeypatch.setattr(sys, "stdin", Pipe)
    assert cli.main(["read", "-"]) == 0
    assert capsys.readouterr().out == "250 50\n"
    assert cli.main(["read", "-"]) == 1  # nothing is left in it
    assert "standard input is empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)  # closed
    assert cli.main(["read", "-"]) == 1
    assert "there is no standard input" in capsys.readouterr().err


def test_pages_are_read_where_standard_error_is_closed(asked, pages, capsys, monkeypatch):
    """As a service may have it: errors came among the results, and the page before them not at all."""
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "__stderr__", None)
    assert cli.main(["read", str(pages / "c.png"), str(pages / "b.jpg")]) == 1
    assert capsys.readouterr().out == "250 50\n"
    command = [sys.executable, "-m", "zoo.cli", "card", "qqqq"]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_spotter_is_not_asked_for_what_it_cannot_do(asked, pages, capsys):
    command = ["read", str(pages), "--detection", "ocrnet_mobilenet_v3_large", "--recognition", "crnn_vgg16_bn"]
    assert cli.main([*command, "--only", "date"]) == 1
    assert "finds and reads by itself, without --recognition and --only" in capsys.readouterr().err and asked == []


def test_a_folder_to_write_to_is_refused_before_anything_is_read(asked, pages, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert cli.main(["read", str(pages), "--output", str(tmp_path / "out")]) == 1
    assert "out is a folder; give a file" in capsys.readouterr().err and asked == []
    assert cli.main(["read", str(pages), "--least", "0.5"]) == 1
    assert "give --only, too" in capsys.readouterr().err and asked == []


@pytest.mark.parametrize(("command", "option"), [("read", "--overlay"), ("read", "--output"), ("segment", "--overlay")])
def test_a_page_is_not_written_over(asked, pages, capsys, command, option):
    page = pages / "a.png"
    before = page.read_bytes()
    same = pages / ".." / "pages" / "a.png"
    assert cli.main([command, str(pages / "c.png"), str(page), option, str(same)]) == 1
    assert f"{option} {same} is a page to be read" in capsys.readouterr().err
    assert asked == [] and page.read_bytes() == before


@pytest.mark.parametrize(("command", "option"), [("read", "--overlay"), ("read", "--output"), ("segment", "--output")])
def test_a_page_of_a_folder_is_not_written_over(asked, pages, capsys, command, option):
    page = pages / "a.png"
    before = page.read_bytes()
    assert cli.main([command, str(pages), option, str(page)]) == 1
    assert f"{option} {page} is a page to be read" in capsys.readouterr().err
    assert asked == [] and page.read_bytes() == before


def test_a_page_is_not_written_over_by_the_picture_of_a_further_one(asked, pages, tmp_path, capsys):
    page = (pages / "a.png").rename(pages / "c-2.png")
    before, picture = page.read_bytes(), pages / "c.png"
    picture.rename(pages / "d.png")
    assert cli.main(["read", str(pages), "--overlay", str(picture)]) == 1
    assert f"{page}, the name of a further picture, is a page to be read" in capsys.readouterr().err
    assert asked == [] and page.read_bytes() == before and not picture.exists()
    assert cli.main(["read", str(page), "--overlay", str(picture)]) == 0  # one page, and one picture
    assert page.read_bytes() == before and picture.exists()


def test_a_picture_that_cannot_be_written_is_told_before_anything_is_read(asked, pages, tmp_path, capsys):
    (tmp_path / "seen").write_text("a file")
    assert cli.main(["read", str(pages / "a.png"), "--overlay", str(tmp_path / "seen" / "a.png")]) == 1
    assert "cannot be written" in capsys.readouterr().err and asked == []


def test_parts_of_pages_are_told_and_painted(pages, tmp_path, capsys, monkeypatch):
    """The left fifth of each page is text; one of three pages is broken."""

    def find(pixels):
        classes = np.zeros(pixels.shape[:2], np.uint8)
        classes[:, : pixels.shape[1] // 5] = 1
        return classes

    find.labels = ("background", "text")
    monkeypatch.setattr("zoo.segmenting.segmenter", lambda model, runtime: find)
    asked = ["segment", "nothing.png", str(pages), "--model", "m", "--output", str(tmp_path / "m.png")]
    assert cli.main([*asked, "--overlay", str(tmp_path / "seen.png")]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(row["source"]).name for row in rows] == ["a.png", "c.png"] and "b.jpg" in captured.err
    assert "nothing.png" in captured.err
    assert rows[0]["page"] == 1 and rows[0]["shares"] == pytest.approx({"background": 0.8, "text": 0.2}, abs=0.01)
    for name in ("m.png", "m-2.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == "P" and set(np.unique(np.asarray(picture))) == {0, 1}
            assert picture.convert("RGB").getpixel((0, 0)) == (33, 150, 243)
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.width == 200 and picture.height > 40
    with pytest.raises(SystemExit):
        cli.main(["segment", "page.png", "--output", "mask.jpg"])
    assert "mask.jpg does not end in .png" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["größe.png", b"page-\xff.png".decode("utf-8", "surrogateescape")])
def test_parts_of_pages_are_told_whatever_their_names_and_the_terminal(pages, capsysbinary, monkeypatch, name):
    def find(pixels):
        return np.zeros(pixels.shape[:2], np.uint8)

    find.labels = ("background", "text")
    monkeypatch.setattr("zoo.segmenting.segmenter", lambda model, runtime: find)
    path = (pages / "a.png").rename(pages / name)
    sys.stdout.reconfigure(encoding="ascii", errors="strict")
    assert cli.main(["segment", str(path)]) == 0
    row = json.loads(capsysbinary.readouterr().out)
    assert row == {"source": str(path), "page": 1, "shares": {"background": 1.0, "text": 0.0}}


@pytest.mark.parametrize(
    ("path", "message"), [("nothing.png", "no such file"), ("empty", "no page in this folder"), ("null.png", "0 bytes")]
)
def test_sources_without_a_page(asked, tmp_path, capsys, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "null.png").touch()
    assert cli.main(["read", str(tmp_path / path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err and path in captured.err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--format", "xml"],
        ["--overlay", "x.doc"],
        ["--min-confidence", "2"],
        ["--min-confidence", "x"],
        ["--server", "h", "--runtime", "x"],
        ["--pages", "0"],
        ["--pages", "5-2"],
        ["--pages", "1,,2"],
        ["--pages", "all"],
        ["--dpi", "0"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(asked, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["read", "page.png", *wrong])
    assert caught.value.code == 2 and wrong[0] in capsys.readouterr().err and asked == []


def test_a_real_pair_reads_from_run_folders(small, tmp_path, pages, capsys):
    """Networks of random weights read nonsense; that they run, from the command line to the page, is the test."""
    runs = {}
    for task, name in (("detection", "db_mobilenet_v3_large"), ("recognition", "crnn_mobilenet_v3_small")):
        card, run = zoo.card(name), tmp_path / task
        weights.save(small(name), run / "weights.safetensors")
        options = {**card.options, **card.test_options}
        write_card(replace(card, options=options, weights={"file": "weights.safetensors"}), run / "card.toml")
        runs[task] = str(run)
    command = ["read", str(pages / "a.png"), "--runtime", "tensorflow", "--format", "jsonl"]
    assert cli.main([*command, "--detection", runs["detection"], "--recognition", runs["recognition"]]) == 0
    page = json.loads(capsys.readouterr().out)
    assert (page["width"], page["height"]) == (200, 40)
    assert cli.main([*command, "--recognize-only", "--recognition", runs["recognition"]]) == 0
    words = json.loads(capsys.readouterr().out)["words"]
    assert len(words) <= 1 and set("".join(word["text"] for word in words)) <= set("0123456789")
    assert cli.main([*command, "--recognize-only", "--recognition", runs["detection"]]) == 1
    assert "is a model for detection" in capsys.readouterr().err


# ---------------------------------------------------------------- failures


def test_an_unknown_model_is_told_with_the_nearest(capsys):
    assert cli.main(["card", "crnn_vgg16"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("zoo card: no model is named 'crnn_vgg16'")
    assert "crnn_vgg16_bn" in captured.err


def test_a_mistake_of_ours_shows_where_it_is(monkeypatch):
    def broken(name):
        raise KeyError("oops")

    monkeypatch.setattr(cli.registry, "card", broken)
    with pytest.raises(KeyError):
        cli.main(["card", "db_resnet50"])


def test_traceback_on_request():
    with pytest.raises(LookupError):
        cli.main(["--traceback", "card", "nobody"])


@pytest.mark.parametrize(
    ("number", "status", "told"), [(signal.SIGINT, 130, "zoo: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_signal_ends_quietly_and_leaves_no_half_file(tmp_path, number, status, told):
    """A process that is busy with a page gets the signal."""
    code = f"""
import signal, sys, time, zoo.reading
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
class Busy:
    def stream_pictures(self, sources, **how):
        print("busy", file=sys.stderr, flush=True)
        time.sleep(60)
        yield
zoo.reading.reader = lambda **options: Busy()
from zoo.cli import main
sys.exit(main(["read", "page.png", "--output", {str(tmp_path / "out.txt")!r}]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr and process.stderr.readline() == "busy\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (status, "", told)
    assert os.listdir(tmp_path) == []


def test_a_training_that_was_asked_to_stop_ends_with_the_status_of_its_signal(monkeypatch, capsys):
    for given, status in (((signal.SIGTERM,), 143), ((signal.SIGINT,), 130), ((), 130)):
        monkeypatch.setattr(cli.registry, "card", Mock(side_effect=KeyboardInterrupt(*given)))
        assert cli.main(["card", "db_resnet50"]) == status
        assert capsys.readouterr().err == "zoo: interrupted\n"


def test_a_closed_pipe_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "zoo.cli", "list"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1 and done.stderr == ""


def test_loggers_that_libraries_make_while_hushed_can_write_afterwards():
    program = (
        "import logging, sys; from zoo import cli\n"
        "with cli._hushed(False):\n    logging.getLogger('library').addHandler(logging.StreamHandler(sys.stderr))\n"
        "logging.getLogger('library').warning('heard')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "heard"


def test_a_network_alone_is_exported_without_a_language(capsys):
    assert cli.main(["export", "crnn_mobilenet_v3_small", "--spelling", "none"]) == 1
    assert "--spelling is for models that read pages; crnn_mobilenet_v3_small answers" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["ocr"], ["crnn_mobilenet_v3_small", "db_resnet50"]])
def test_weights_are_of_one_network(names, capsys):
    assert cli.main(["export", *names, "--weights", "w.safetensors"]) == 1
    assert "--weights is for one network alone" in capsys.readouterr().err


def test_the_module_is_the_command():
    """Where no script is on the path, as in many a container."""
    done = subprocess.run([sys.executable, "-m", "zoo", "card", "no_such"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("zoo card: no model is named 'no_such'")


def test_a_graph_is_not_asked_for_what_it_cannot_do(pages, capsys):
    asked = ["read", str(pages), "--server", "localhost:1", "--graph", "ocr"]
    for option in (["--beam", "8"], ["--only", "date"], ["--spelling", "none"], ["--recognize-only"]):
        assert cli.main([*asked, *option]) == 1
        assert f"{option[0]} is for networks" in capsys.readouterr().err
