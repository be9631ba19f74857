"""Pages read in parts: what a run leaves, what a second one goes on with, and workers of Ray that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from zoo import cli, cluster
from zoo.files import sha256
from zoo.image import ImageError
from zoo.reading import Reader

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve pictures, the names of two of them not made for shells, one damaged, and a file that is no page."""
    pages = tmp_path / "pages"
    (pages / "more").mkdir(parents=True)
    for number in range(11):
        name = {3: "more/a b.png", 7: "ü\n.png"}.get(number, f"{number:02d}.png")
        cv2.imwrite(str(pages / name), np.full((40, 100 + number, 3), 255, "uint8"))
    (pages / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (pages / "notes.txt").write_text("no page")
    return pages


class Counting(Reader):
    """A reader that finds nothing, and remembers how wide its pages were."""

    def __init__(self):
        super().__init__(lambda pixels: (np.zeros((0, 4, 2), "float32"), np.zeros(0, "float32")), lambda crops: [])
        self.widths: list[int] = []

    def page(self, picture, start=None):
        self.widths.append(picture.size[1])
        if picture.size[1] == 105:
            raise RuntimeError("a reader that fails")
        return super().page(picture, start)


def run(output: Path, reader: Reader, stop_after: int = 10**9) -> list[dict]:
    """The marks of the parts that were left, read one after the other."""
    plan = json.loads((output / "plan.json").read_text())
    worker = cluster.Worker(str(output), reader)
    return [worker({"part": number}) for number in cluster.remaining(output, plan)[:stop_after]]


def lines(output: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(output.glob("part-*.jsonl")) for line in path.open()]


def test_each_page_stands_once_however_often_it_is_begun(folder, tmp_path):
    output, reader = tmp_path / "out", Counting()
    plan = cluster.prepare([str(folder)], output, part=5)
    assert (plan["files"], plan["parts"]) == (12, 3)
    first = run(output, reader, stop_after=1)
    assert first[0] | {"sha256": ""} == {"part": 0, "file": "part-00000.jsonl", "pages": 4, "errors": 1, "sha256": ""}
    assert first[0]["sha256"] == sha256(output / "part-00000.jsonl")

    (output / "part-00001.jsonl").write_text("a part without its mark, as a killed worker leaves it")
    assert cluster.prepare([str(folder)], output, part=5) == plan
    assert [mark["part"] for mark in run(output, reader)] == [1, 2]
    records = lines(output)
    assert Counter(Path(record["image"]).name for record in records) == Counter(
        path.name for path in folder.rglob("*") if path.suffix in (".png", ".jpg")
    )
    assert sorted(reader.widths) == list(range(100, 111))  # none was read twice
    failed = {Path(record["image"]).name: record["error"] for record in records if "error" in record}
    assert set(failed) == {"broken.jpg", "05.png"} and failed["05.png"] == "RuntimeError: a reader that fails"
    assert run(output, reader) == []


def test_a_part_read_twice_at_once_is_the_same_part(folder, tmp_path):
    cluster.prepare([str(folder)], tmp_path / "out", part=50)
    one, other = (cluster.Worker(str(tmp_path / "out"), Counting()) for _ in range(2))
    assert one({"part": 0}) == other({"part": 0})
    assert len(other.reader.widths) == 0 and len(lines(tmp_path / "out")) == 12


@pytest.mark.parametrize("form", ["jsonl", pytest.param("parquet", marks=pytest.mark.ray)])  # which brings pyarrow
def test_a_name_that_is_no_utf8(tmp_path, form):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(cv2.imencode(".png", np.full((40, 100, 3), 255, "uint8"))[1].tobytes())
    source = str(tmp_path / name)
    cluster.prepare([source], tmp_path / "out", form)
    assert run(tmp_path / "out", Counting())[0]["pages"] == 1
    assert cluster.prepare([source], tmp_path / "out", form)["sources"] == [source]
    if form == "jsonl":
        assert lines(tmp_path / "out")[0]["image"] == source
    else:
        from pyarrow import parquet

        (image,) = parquet.read_table(tmp_path / "out" / "part-00000.parquet")["image"].to_pylist()
        assert image == f"{tmp_path}/caf\\xe9.png"


def test_a_page_that_ends_its_workers_is_left_out(folder, tmp_path):
    class Deadly(Counting):
        def page(self, picture, start=None):
            if picture.size[1] == 104:
                raise KeyboardInterrupt  # nothing of the worker is left
            return super().page(picture, start)

    cluster.prepare([str(folder)], tmp_path / "out", part=6)
    for _ in range(cluster.ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "out", Deadly())
        assert lines(tmp_path / "out") == []
    assert [(mark["pages"], mark["errors"]) for mark in run(tmp_path / "out", Deadly())] == [(4, 2), (5, 1)]
    (left_out,) = [r for r in lines(tmp_path / "out") if "workers ended" in r.get("error", "")]
    assert left_out["image"].endswith("04.png") and "3 workers ended while they read it" in left_out["error"]


def test_a_folder_begun_with_another_plan_is_refused(folder, tmp_path):
    cluster.prepare([str(folder)], tmp_path / "out", beam=4)
    with pytest.raises(cluster.ClusterError, match="was begun with other format, models, options; give another folder"):
        cluster.prepare([str(folder)], tmp_path / "out", "parquet", detection=None)
    with pytest.raises(ImageError, match="no such file or folder"):
        cluster.prepare([str(tmp_path / "nowhere")], tmp_path / "other")
    assert not (tmp_path / "other" / "plan.json").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "give --output FOLDER"),
        (["--output", "x", "--overlay", "x.png"], "--engine does without --overlay"),
        (["--output", "x", "--format", "hocr"], "it writes jsonl or parquet"),
    ],
)
def test_options_that_do_not_fit(folder, capsys, options, text):
    assert cli.main(["read", str(folder), "--engine", "ray", *options]) == 1
    assert text in capsys.readouterr().err
    assert cli.main(["read", str(folder), "--workers", "2"]) == 1


# ---------------------------------------------------------------- Ray


@pytest.fixture
def words(tmp_path) -> Path:
    """Files of one word each."""
    pages = tmp_path / "words"
    pages.mkdir()
    for number in range(240):
        picture = np.full((32, 90, 3), 255, "uint8")
        cv2.putText(picture, f"No{number}", (4, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2, cv2.LINE_AA)
        cv2.imwrite(str(pages / f"{number:03d}.png"), picture)
    return pages


def started(source: str | Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "zoo.cli", "read", str(source), "--engine", "ray", "--output", str(output)]
    own = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    here = {name: value for name, value in os.environ.items() if name != "OCRZOO_CACHE"}  # what is made once is there
    return subprocess.Popen(
        [*command, "--recognize-only", *options],
        env=here | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition, process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def marks(output: Path) -> list[Path]:
    return sorted((output / "done").glob("*.json"))


def ends_well(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    return out


@pytest.mark.ray
def test_a_worker_that_is_killed_and_a_driver_that_is_killed(words, tmp_path):
    import psutil

    output = tmp_path / "out"
    process = started(words, output, "--workers", "2")
    until(lambda: len(marks(output)) >= 1, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("MapWorker" in part for part in child.cmdline())
    ]
    assert len(workers) == 2  # not one for each part: networks are loaded once
    os.kill(workers[0].pid, signal.SIGKILL)
    until(lambda: len(marks(output)) >= 3, process)
    process.kill()
    process.communicate()
    early = {path: path.stat().st_mtime_ns for path in marks(output)}
    assert 3 <= len(early) < 8

    out = ends_well(started(words, output, "--workers", "2"))
    assert "240 pages of 240 files in 8 parts" in out
    assert {path: path.stat().st_mtime_ns for path in early} == early  # what was read is not read again
    records = lines(output)
    assert sorted(record["image"] for record in records) == sorted(str(path) for path in words.iterdir())
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["pages"], manifest["errors"], len(manifest["done"])) == (240, 0, 8)
    assert all(mark["sha256"] == sha256(output / mark["file"]) for mark in manifest["done"])
    right = sum(f"{int(Path(r['image']).stem)}" in "".join(w["text"] for w in r["words"]) for r in records)
    assert right > 120  # they were read


@pytest.mark.ray
def test_a_source_by_its_address_as_parquet(words, tmp_path):
    from pyarrow import parquet

    (words / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    for path in sorted(words.glob("*.png"))[4:]:
        path.unlink()
    process = started(f"file://{words}", tmp_path / "table", "--format", "parquet")
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 1 and "4 read, 1 not" in errors
    rows = parquet.read_table(tmp_path / "table" / "part-00000.parquet").to_pylist()
    names = [*(f"00{number}.png" for number in range(4)), "broken.jpg"]
    assert [row["image"] for row in rows] == [f"file://{words}/{name}" for name in names]
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True] and rows[4]["words"] is None
    assert np.shape(rows[0]["words"][0]["polygon"]) == (4, 2) and rows[0]["width"] == 90


@pytest.mark.ray
def test_a_bucket_of_s3(words, tmp_path, monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(f"AWS_{name}", value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        place = "{}:{}".format(*server.get_host_and_port())
        client = boto3.client("s3", endpoint_url=f"http://{place}", region_name="us-east-1")
        client.create_bucket(Bucket="scans")
        for path in sorted(words.iterdir())[:3]:
            client.upload_file(str(path), "scans", f"of/may/{path.name}")
        client.put_object(Bucket="scans", Key="of/may/notes.txt", Body=b"no page")
        options = f"scheme=http&region=us-east-1&endpoint_override={place}"
        assert "3 pages of 3 files" in ends_well(started(f"s3://scans/of?{options}", tmp_path / "out"))
        one = started(f"s3://scans/of/may/001.png?{options}", tmp_path / "one")
        assert "1 pages of 1 files" in ends_well(one)
    finally:
        server.stop()
    names = [f"s3://scans/of/may/00{number}.png?{options}" for number in range(3)]
    assert [record["image"] for record in lines(tmp_path / "out")] == names
    assert all(record["words"] for record in lines(tmp_path / "out"))
