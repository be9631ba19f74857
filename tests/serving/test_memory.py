"""What requests weigh, and those that are refused because of it."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import time
import urllib.error
import urllib.request
from contextlib import closing

import cv2
import numpy as np
import pytest
from PIL import Image
from toys import LOCAL

from serving import client as clients
from serving import memory, wire
from serving.bulk import Answer, stream
from serving.client import Client
from serving.memory import Memory
from serving.servable import Code, StatusError
from serving.server import Server


def picture(form: str, **options) -> bytes:
    """Of 31 by 17 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (17, 31, 3), "uint8")).save(file, form, **options)
    return file.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF data hold another, smaller one, as cameras write it."""
    thumbnail = b"Exif\0\0" + cv2.imencode(".jpg", np.zeros((3, 5, 3), "uint8"))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    jpeg = picture("JPEG")
    return jpeg[:2] + segment + b"\xff\xff" + jpeg[2:]  # any mark may have more of these before it


@pytest.mark.parametrize(
    "data",
    [picture("PNG"), picture("GIF"), picture("BMP"), picture("JPEG"), picture("JPEG", progressive=True),
     with_thumbnail(), picture("WEBP"), picture("WEBP", lossless=True), picture("WEBP", exif=b"Exif\0\0MM")],
    ids=["PNG", "GIF", "BMP", "JPEG", "progressive", "thumbnail", "WebP", "WebP without loss", "extended WebP"],
)  # fmt: skip
def test_headers_tell_the_pixels(data):
    assert memory.pixels(data) == 17 * 31
    for length in range(len(data)):  # cut anywhere, it is told or not told, and nothing breaks
        assert memory.pixels(data[:length]) in (0, 17 * 31)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff\xd0" * 99])
def test_what_is_no_picture_has_no_pixels(data):
    assert memory.pixels(data) == 0


def test_a_request_weighs_its_bytes_and_its_pictures():
    request = wire.PredictRequest()
    request.inputs["image"].CopyFrom(wire.encode([picture("PNG"), b"text", picture("JPEG")]))
    assert memory.weight(request, request.inputs) == request.ByteSize() + 2 * 17 * 31 * memory.DECODED
    assert memory.weight(request) == request.ByteSize()


def test_one_value_that_stands_for_many_weighs_as_many():
    request, image = wire.PredictRequest(), picture("PNG")
    request.inputs["image"].CopyFrom(wire.encode([image]))
    request.inputs["image"].tensor_shape.dim[0].size = 1000  # TensorFlow repeats the last one
    assert memory.weight(request, request.inputs) >= 1000 * 17 * 31 * memory.DECODED
    request.inputs["image"].CopyFrom(wire.encode(np.zeros(1, "float32"), content=False))
    request.inputs["image"].tensor_shape.dim[0].size = 2**28
    assert memory.weight(request, request.inputs) >= 2**30
    request.inputs["image"].tensor_shape.dim[0].size = -1
    assert memory.weight(request, request.inputs) == request.ByteSize()


@pytest.mark.parametrize(("mode", "each"), [("L", 8), ("RGB", 8), ("LA", 28), ("RGBA", 28), ("P", 28)])
def test_alpha_weighs_more(mode, each):
    file = io.BytesIO()
    Image.new(mode, (10, 20)).save(file, "PNG")
    assert memory.decoded(file.getvalue()) == 200 * each


def test_memory_is_taken_and_given_back():
    bound = Memory(100)
    with bound.hold(60), bound.hold(40):
        assert bound.held == 100
        with pytest.raises(StatusError, match="under way need 100 of 100 bytes, this one 1; try again") as caught:
            bound.hold(1).__enter__()
        assert caught.value.code is Code.RESOURCE_EXHAUSTED
    with pytest.raises(ZeroDivisionError), bound.hold(100):
        raise ZeroDivisionError
    assert bound.held == 0
    with pytest.raises(StatusError, match="too large: this request needs 101 bytes"), bound.hold(101):
        pass
    with Memory(0).hold(10**15):
        pass


def test_a_request_may_need_more_as_it_comes():
    bound = Memory(100)
    with bound.hold(30), bound.hold(0) as more:
        more(40)
        more(30)
        assert bound.held == 100
        with pytest.raises(StatusError, match="requests under way need 30 of 100 bytes, this one 80; try again"):
            more(10)
        with pytest.raises(StatusError, match="too large: this request needs 110 bytes"):
            more(40)
        assert bound.held == 100
    assert bound.held == 0


def test_half_of_the_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "GROUP_LIMITS", (str(limit),))
    everything = memory.half_of_machine()
    assert everything > 2**28
    limit.write_text("max\n")
    assert memory.half_of_machine() == everything
    limit.write_text("1048576\n")
    assert memory.half_of_machine() == 524288


# --- a server --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(toys):
    with Server({"toy": toys}, "127.0.0.1:0", rest="127.0.0.1:0", memory=2**20, metrics="/metrics") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(f"127.0.0.1:{server.port}", options=LOCAL, retries=2) as connected:
        yield connected


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def grey(side: int) -> bytes:
    """A small file of many pixels."""
    return cv2.imencode(".png", np.full((side, side), 1, "uint8"))[1].tobytes()


def test_a_picture_that_would_not_fit_is_refused_and_not_tried_again(server, client):
    large = grey(2000)
    assert len(large) < 2**14
    with pytest.raises(clients.TooLarge, match="this request needs 320.* bytes, its pictures decoded") as caught:
        client.predict("toy", [large], signature="picture")
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert server.metrics.requests["toy", "RESOURCE_EXHAUSTED"] == 1  # asked once
    assert client.predict("toy", [grey(100)], signature="picture")["sum"].tolist() == [30_000]
    assert server.services.memory.held == 0


def test_one_such_page_among_others(client):
    pages = [grey(10 + number) for number in range(7)]
    pages.insert(3, grey(2000))
    convert = {"convert": lambda number, page, outputs: Answer(number, page, outputs=outputs)}
    answers = list(stream(client, pages, model="toy", signature="picture", **convert))
    assert isinstance(answers.pop(3).error, clients.TooLarge)
    assert [answer.outputs["sum"].item() for answer in answers] == [3 * (10 + n) ** 2 for n in range(7)]


def test_requests_wait_for_memory(server, client):
    with server.services.memory.hold(2**20 - 100):
        with pytest.raises(clients.Overloaded, match="out of memory for now"):
            client.predict("toy", [grey(100)], signature="picture")
        page = urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}/metrics").read().decode()
        assert ":ocrzoo:serving:request_memory_bytes{} 1048476" in page
    assert client.predict("toy", [grey(100)], signature="picture")["sum"].tolist() == [30_000]


@pytest.mark.parametrize("header", ["Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nf4240\r\n"])
def test_a_body_that_is_announced_and_does_not_come_needs_little(server, client, header):
    held = server.services.memory
    with socket.create_connection(("127.0.0.1", server.rest_port), 10) as raw:
        raw.sendall(f"POST /v1/models/toy:predict HTTP/1.1\r\n{header}".encode() + b" " * 200_000)
        until(lambda: held.held >= 200_000)
        assert held.held < 300_000
        assert client.predict("toy", [grey(100)], signature="picture")["sum"].tolist() == [30_000]
    until(lambda: held.held == 0)


def test_a_body_for_which_memory_ends_while_it_comes(server):
    asked = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    with server.services.memory.hold(2**20 - 300_000), closing(asked):
        asked.request("POST", "/v1/models/toy:predict", b" " * 1_000_000)
        answer = asked.getresponse()
        assert (
            answer.status == 429 and "out of memory for now: requests under way" in json.loads(answer.read())["error"]
        )


@pytest.mark.parametrize("packed", [False, True])
def test_bodies_over_rest(server, packed):
    body = json.dumps({"instances": [[2.0]]}).encode() + b" " * 2**21
    headers = {"Content-Encoding": "gzip"} if packed else {}
    address = f"http://127.0.0.1:{server.rest_port}/v1/models/toy:predict"
    request = urllib.request.Request(address, gzip.compress(body) if packed else body, headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    text = json.loads(caught.value.read())["error"]
    assert caught.value.code == 429 and "too large: this request needs" in text
    assert server.services.memory.held == 0
