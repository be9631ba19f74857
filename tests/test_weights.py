"""Weights survive files and networks of the other kind: servers that stop, cut, lie or vanish."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

import zoo
from zoo import download, weights
from zoo.registry import Card, write_card
from zoo.weights import WeightsError

RNG = np.random.default_rng(1)
CONTENT = RNG.bytes(1_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


# ---------------------------------------------------------------- tensors


class Variable:
    """As much of a keras.Variable as weights are concerned with."""

    def __init__(self, path: str, value):
        self.path, self.value = path, np.asarray(value)

    shape = property(lambda self: self.value.shape)

    def assign(self, value):
        self.value = np.asarray(value, self.value.dtype)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype)


def network(**values):
    variables = [Variable(path, value) for path, value in values.items()]
    return SimpleNamespace(name="net", layers=[], weights=variables)


def test_a_file_of_weights_may_be_read_by_whom_other_files_may(tmp_path):
    weights.save(network(bias=np.zeros(3, "float32")), tmp_path / "w.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_half_precision_where_it_costs_nothing(tmp_path):
    kernel = RNG.normal(0, 0.05, (3, 3, 8, 16)).astype("float32")
    kernel[0, 0, 0, 0] = 1e-9  # lost in half precision, of no weight in a sum
    values = {
        "kernel": kernel,
        "bias": np.array([0.5, 0.0, -2.0], "float32"),
        "variance": np.array([1.0, 3e-8, 0.5], "float32"),  # 3e-8 would become 6e-8 or 0
        "mean": np.array([1.0, 1e5, 0.5], "float32"),  # 1e5 would become infinite
        "faint": np.full((4, 4), 1e-7, "float32"),  # a kernel all of whose values would change by a fifth
        "step": np.array(7, "int64"),
    }
    net = network(**values)
    assert weights.save(net, tmp_path / "w.safetensors") == ["variance", "mean", "faint"]
    stored = load_file(tmp_path / "w.safetensors")
    assert {key: str(value.dtype) for key, value in stored.items()} == {
        "kernel": "float16", "bias": "float16", "variance": "float32", "mean": "float32", "faint": "float32",
        "step": "int64",
    }  # fmt: skip
    again = weights.read(tmp_path / "w.safetensors")
    assert again["kernel"].dtype == np.float32 and again["step"].shape == ()
    for key in ("bias", "variance", "mean", "faint", "step"):
        np.testing.assert_allclose(again[key], values[key], rtol=1e-3)
    assert np.abs(again["kernel"] - kernel).max() < 1e-4
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_float32_is_exact_and_a_file_is_the_same_each_time(tmp_path):
    net = network(a=RNG.normal(size=(5, 7)).astype("float32").T, b=np.float32(3))
    assert weights.save(net, tmp_path / "1.safetensors", dtype="float32") == ["a", "b"]
    weights.save(net, tmp_path / "2.safetensors", dtype="float32")
    again = weights.read(tmp_path / "1.safetensors")
    np.testing.assert_array_equal(again["a"], net.weights[0].value)
    assert again["b"].shape == ()
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    with pytest.raises(ValueError, match="not 'int8'"):
        weights.save(net, tmp_path / "3.safetensors", dtype="int8")


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    weights.save(network(a=np.ones(3)), path)
    before = path.read_bytes()

    def full(tensors, target, metadata):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OSError, match="No space"):
        weights.save(network(a=np.zeros(3)), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_strict_assignment_names_what_is_left_over_and_changes_nothing():
    net = network(a=np.zeros(3), b=np.zeros((2, 2)), c=np.zeros(1))
    tensors = {"a": np.ones(3), "b": np.ones((2, 5)), "d": np.ones(4)}
    with pytest.raises(ValueError) as caught:
        weights.assign(net, tensors)
    message = str(caught.value)
    assert "1 without a tensor: c (1,)" in message
    assert "1 without a variable: d (4,)" in message
    assert "1 of another shape: b (2, 2) in the network, (2, 5) given" in message
    assert "a part of it" not in message
    with pytest.raises(
        ValueError, match=r"1 without a tensor: c \(1,\); they are of a part of it.*zoo train RECIPE .*--start"
    ):
        weights.assign(net, {"a": np.ones(3), "b": np.ones((2, 2))})
    assert not any(variable.value.any() for variable in net.weights)

    assert weights.assign(net, tensors, strict=False) == ["b", "c", "d"]
    assert [variable.value.sum() for variable in net.weights] == [3, 0, 0]
    assert weights.assign(net, {"a": np.full(3, 2), "b": np.ones((2, 2)), "c": np.ones(1)}) == []
    assert [variable.value.sum() for variable in net.weights] == [6, 4, 1]


def test_two_variables_of_one_path_are_refused(tmp_path):
    net = network(a=np.zeros(3))
    net.weights.append(Variable("a", np.ones(3)))
    with pytest.raises(ValueError, match="share a name.*: a"):
        weights.save(net, tmp_path / "w.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_network_that_keras_loaded_from_its_own_file_has_the_same_paths(tmp_path):
    import keras

    built = zoo.build("crnn_mobilenet_v3_small")  # has two bidirectional layers, of whose paths Keras drops the names
    built.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    weights.save(built, tmp_path / "built.safetensors")
    weights.save(loaded, tmp_path / "loaded.safetensors")
    assert (tmp_path / "built.safetensors").read_bytes() == (tmp_path / "loaded.safetensors").read_bytes()
    other = zoo.build("crnn_mobilenet_v3_small")
    weights.assign(loaded, weights.read(tmp_path / "built.safetensors"))
    weights.assign(other, weights.read(tmp_path / "loaded.safetensors"))
    strip = np.full((1, 32, 64, 3), 200, "uint8")
    assert np.array_equal(loaded(strip)["logits"], other(strip)["logits"])


def test_a_file_that_is_no_weights_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(network(a=np.ones((100, 100))), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        weights.read(path)
    with pytest.raises(WeightsError, match="no weights file"):
        weights.read(tmp_path / "none.safetensors")
    header = b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(WeightsError, match=r"a type that is not read .*store them as float32"):
        weights.read(path)


# ---------------------------------------------------------------- cards


def released(folder, **table) -> Card:
    return Card("mine", folder, "recognition", "zoo.a:b", "", "", "", 1, {}, {}, {}, weights=table)


def test_weights_beside_the_card_are_verified(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(CONTENT)
    assert weights.obtain(released(tmp_path, file=path.name, sha256=SHA)) == path
    assert weights.find(released(tmp_path, file=path.name)) == path
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(WeightsError, match=f"SHA-256 is .*, not {SHA}"):
        weights.obtain(released(tmp_path, file=path.name, sha256=SHA))
    path.unlink()
    with pytest.raises(WeightsError, match=r"mine\.safetensors, which are not there"):
        weights.obtain(released(tmp_path, file=path.name, sha256=SHA))
    assert weights.find(released(tmp_path, file=path.name)) is None


def test_without_released_weights_the_error_says_what_helps(tmp_path):
    assert weights.find(released(tmp_path)) is None
    with pytest.raises(WeightsError) as caught:
        weights.obtain(released(tmp_path))
    for remedy in ("weights=None", "weights=PATH", "mirror folder", "zoo train recognition.mine"):
        assert remedy in str(caught.value)
    with pytest.raises(WeightsError, match=r"zoo train recognition\.mine_own --run"):  # as its recipe is called
        weights.obtain(replace(released(tmp_path), name="mine.own"))


# ---------------------------------------------------------------- network


class Server(http.server.ThreadingHTTPServer):
    """A loopback server whose faults are set by attributes; `asked` holds the Range header of each request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = self.announced = True
        self.status: list[int] = []  # of the next answers, before all is well
        self.breaks: list[int] = []  # bytes after which the next answers break off
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/models/mine.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append(self.headers["Range"])
        if self.server.status:
            return self.send_error(self.server.status.pop(0))
        content, start = self.server.content, 0
        if self.headers["Range"] and self.server.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.announced:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        """Nothing: the test's output stays clean."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "cache"))
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def cached(tmp_path) -> dict[str, bytes]:
    """The visible files of the cache, and the parts."""
    folder = tmp_path / "cache" / "weights"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


WHOLE = {f"mine-{SHA[:8]}.safetensors": CONTENT}
PART = f".mine-{SHA[:8]}.safetensors.part"


def test_a_file_is_fetched_once(server, tmp_path, capsys):
    path = weights.fetch(server.url, SHA, len(CONTENT))
    assert cached(tmp_path) == WHOLE
    assert "1.0 MB fetched, checksum right" in capsys.readouterr().err
    assert weights.fetch(server.url, SHA) == path
    assert weights.find(released(tmp_path, url=server.url, sha256=SHA)) == path
    assert server.asked == [None]


def test_a_server_that_breaks_off_is_asked_for_the_rest(server, tmp_path):
    server.breaks = [300_000, 300_000]
    weights.fetch(server.url, SHA)
    assert cached(tmp_path) == WHOLE
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges = False
    server.breaks = [300_000]
    weights.fetch(server.url, SHA)
    assert cached(tmp_path) == WHOLE
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_that_goes_away_leaves_a_part_that_a_later_call_finishes(server, tmp_path):
    server.breaks = [100_000] * download.ATTEMPTS
    with pytest.raises(WeightsError, match=r"ended after 500000 of 1000000 bytes, at attempt 5 of 5.*OCRZOO_MIRROR"):
        weights.fetch(server.url, SHA)
    assert cached(tmp_path) == {PART: CONTENT[:500_000]}
    assert weights.find(released(tmp_path, url=server.url, sha256=SHA)) is None
    weights.fetch(server.url, SHA)
    assert cached(tmp_path) == WHOLE
    assert server.asked[-1] == "bytes=500000-"


def test_a_stale_part_is_thrown_away(server, tmp_path):
    for stale in (b"of an older file", CONTENT[:-5] + b"other", CONTENT + b"and more"):
        folder = tmp_path / "cache" / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PART).write_bytes(stale)
        weights.fetch(server.url, SHA)
        assert cached(tmp_path) == WHOLE
        (folder / next(iter(WHOLE))).unlink()


def test_a_corrupted_file_is_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(WeightsError, match=f"SHA-256 is .*, not {SHA}.* not kept"):
        weights.fetch(server.url, SHA, len(CONTENT))
    assert cached(tmp_path) == {}


def test_a_truncated_file_is_refused_before_it_is_fetched(server, tmp_path):
    server.content = CONTENT[:-1000]
    with pytest.raises(WeightsError, match="has 999000 bytes, not 1000000 as in the card"):
        weights.fetch(server.url, SHA, len(CONTENT))
    assert cached(tmp_path) == {}
    with pytest.raises(WeightsError, match="SHA-256"):  # also where the card gives no size
        weights.fetch(server.url, SHA)
    assert cached(tmp_path) == {}


def test_a_file_without_end_is_given_up_where_the_cards_ends(server, tmp_path):
    server.announced = False
    weights.fetch(server.url, SHA, len(CONTENT))
    (path,) = (tmp_path / "cache" / "weights").glob("*.safetensors")
    path.unlink()
    server.content = CONTENT * 20
    with pytest.raises(WeightsError, match="has more than the 1000000 bytes in the card"):
        weights.fetch(server.url, SHA, len(CONTENT))
    assert cached(tmp_path) == {} and len(server.asked) == 2
    server.content = CONTENT
    (path.parent / PART).write_bytes(b"of an older file")
    server.ranges = False
    weights.fetch(server.url, SHA, len(CONTENT))
    assert cached(tmp_path) == WHOLE


@pytest.mark.parametrize("name", ["my weights", "poids d'été", "a%20b"])
def test_an_address_as_people_write_it(server, tmp_path, name):
    path = weights.fetch(server.url.replace("mine", name), SHA)
    assert path.name == f"{name.replace('%20', ' ')}-{SHA[:8]}.safetensors" and len(server.asked) == 1


def test_a_vanished_file_is_not_asked_for_again(server, tmp_path):
    server.status = [404]
    with pytest.raises(WeightsError, match="answers 404 .*OCRZOO_MIRROR"):
        weights.fetch(server.url, SHA)
    assert cached(tmp_path) == {} and len(server.asked) == 1


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.status = [503, 429]
    weights.fetch(server.url, SHA)
    assert cached(tmp_path) == WHOLE and len(server.asked) == 3


def test_nobody_there(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match="cannot be reached: .*attempt 5 of 5"):
        weights.fetch(server.url, SHA)
    assert cached(tmp_path) == {}


def test_a_full_disk_leaves_nothing(server, tmp_path, monkeypatch):
    quota = [400_000]
    opened = Path.open

    class Disk:
        """A file on a disk of that many bytes; it writes what fits before it fails, as the kernel does."""

        def __init__(self, file):
            self.file = file

        def write(self, data):
            fits = min(len(data), quota[0])
            if not fits:
                raise OSError(errno.ENOSPC, "No space left on device")
            quota[0] -= fits
            return self.file.write(data[:fits])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    def limited(self, mode="r", *args, **kwargs):
        file = opened(self, mode, *args, **kwargs)
        return Disk(file) if self.suffix == ".part" and mode != "rb" else file

    monkeypatch.setattr(Path, "open", limited)
    with pytest.raises(WeightsError, match=r"No space left on device.*OCRZOO_CACHE names another folder"):
        weights.fetch(server.url, SHA)
    assert quota == [0]
    assert cached(tmp_path) == {}


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OCRZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="OCRZOO_CACHE names another folder"):
        weights.fetch(server.url, SHA)


def test_a_cache_that_can_only_be_read(server, tmp_path, monkeypatch):
    """As of an image of a container, or of another user: what lies there whole is taken."""
    path = weights.fetch(server.url, SHA)
    lock = path.with_name(f".{path.name}.lock")
    lock.unlink()
    lock.mkdir()  # which nobody can open to write, not even root
    assert weights.fetch(server.url, SHA) == path and len(server.asked) == 1
    path.unlink()
    with pytest.raises(WeightsError, match="OCRZOO_CACHE names another folder"):
        weights.fetch(server.url, SHA)
    monkeypatch.setenv("OCRZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match="OCRZOO_OFFLINE is set"):
        weights.fetch(server.url, SHA)


def test_the_mirror_is_asked_first_and_offline_is_kept(server, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("OCRZOO_MIRROR", str(mirror))
    monkeypatch.setenv("OCRZOO_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        weights.fetch(server.url, SHA)
    assert str(mirror / "mine.safetensors") in str(caught.value) and "OCRZOO_OFFLINE" in str(caught.value)

    (mirror / "mine.safetensors").write_bytes(CONTENT)
    assert weights.fetch(server.url, SHA) == mirror / "mine.safetensors"
    (mirror / "mine.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.fetch(server.url, SHA)
    assert (mirror / "mine.safetensors").read_bytes() == b"damaged"  # the user's file, not ours to remove
    assert server.asked == []

    (mirror / "mine.safetensors").unlink()
    monkeypatch.setenv("OCRZOO_OFFLINE", "0")
    weights.fetch(server.url, SHA)
    monkeypatch.setenv("OCRZOO_OFFLINE", "1")
    weights.fetch(server.url, SHA)  # from the cache
    assert server.asked == [None]


def test_a_damaged_file_in_the_cache_is_fetched_anew(server, tmp_path):
    path = weights.fetch(server.url, SHA)
    path.write_bytes(b"damaged")
    weights.fetch(server.url, SHA)
    assert cached(tmp_path) == WHOLE and len(server.asked) == 2


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1/", "mine.safetensors"])
def test_only_files_of_the_web_are_fetched(url):
    with pytest.raises(WeightsError, match="not the http or https address of a file"):
        weights.fetch(url, SHA)


def test_two_processes_fetch_a_file_once(server, tmp_path):
    code = f"from zoo.weights import fetch; fetch({server.url!r}, {SHA!r})"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        error = process.communicate()[1]
        assert process.returncode == 0, error
    assert cached(tmp_path) == WHOLE and len(server.asked) == 1


# ---------------------------------------------------------------- networks


def test_load_takes_weights_from_everywhere(tmp_path, small):
    """A run's folder, a file, another run's folder, none; and a wrong network's are refused."""
    name = "crnn_mobilenet_v3_small"
    original = small(name)
    card = zoo.card(name)
    run = tmp_path / "run"
    weights.save(original, run / "weights.safetensors", dtype="float32")
    table = {"file": "weights.safetensors", "sha256": weights.sha256(run / "weights.safetensors")}
    trained = replace(card, options={**card.options, **card.test_options}, weights=table)
    write_card(trained, run / "card.toml")
    image = RNG.integers(0, 256, (2, 32, 64, 3)).astype("uint8")
    expected = np.asarray(original(image)["logits"])
    for loaded in (
        zoo.load(run),
        zoo.load(run, weights=run / "weights.safetensors"),
        zoo.load(name, weights=run, **card.test_options),
    ):
        np.testing.assert_array_equal(np.asarray(loaded(image)["logits"]), expected)
    assert not np.allclose(np.asarray(zoo.load(run, weights=None)(image)["logits"]), expected)
    with pytest.raises(ValueError, match="do not fit the network 'run'.*logits/kernel"):
        zoo.load(run, charset="french")
