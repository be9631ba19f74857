"""Many pages through a server, the client for asyncio and over REST, and inputs that are checked before they go."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from toys import LOCAL

from serving import bulk, http
from serving import client as clients
from serving.aio import AsyncClient
from serving.bulk import Answer, Window, stream
from serving.client import Client
from serving.http import RestClient
from serving.server import Server
from zoo import image


@pytest.fixture(scope="module")
def server(toys):
    with Server({"toy": toys}, "127.0.0.1:0", rest="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def client(server):
    with Client(f"127.0.0.1:{server.port}", options=LOCAL, retries=1) as connected:
        yield connected


def picture(value: int) -> bytes:
    return cv2.imencode(".png", np.full((2, 2, 3), value, "uint8"))[1].tobytes()


def total(number, page, outputs) -> Answer:
    return Answer(number, page, outputs=outputs)


PICTURE = {"model": "toy", "signature": "picture", "convert": total}


def value_of(answer: Answer) -> int:
    return answer.outputs["sum"].item() // 12


def test_pages_come_in_order_with_an_error_for_each_bad_one(client):
    pages = [picture(value) for value in range(30)]
    pages[4], pages[17] = b"no picture", pages[17][:25]
    answers = list(stream(client, pages, **PICTURE))
    assert [answer.number for answer in answers] == list(range(30))
    bad = {answer.number: answer.error for answer in answers if answer.error}
    assert set(bad) == {4, 17} and all(isinstance(error, clients.InvalidRequest) for error in bad.values())
    assert [value_of(a) for a in answers if not a.error] == [v for v in range(30) if v not in bad]


def test_pages_as_they_are_done(client):
    answers = list(stream(client, map(picture, range(20)), ordered=False, **PICTURE))
    assert sorted(map(value_of, answers)) == list(range(20))


def test_no_more_pages_are_taken_than_are_under_way(client):
    taken = []

    def pages():
        for value in range(200):
            taken.append(value)
            yield picture(value % 256)

    answers = stream(client, pages(), window=4, **PICTURE)
    for number in range(50):
        next(answers)
        assert len(taken) <= number + 5
    answers.close()
    assert len(taken) <= 55  # whoever stops listening stops it


def test_paths_and_pillow_images(client, tmp_path):
    (tmp_path / "page.png").write_bytes(picture(7))
    pages = [tmp_path / "page.png", Image.new("RGB", (2, 2), (9, 9, 9)), tmp_path / "nowhere.png"]
    first, second, third = stream(client, pages, **PICTURE)
    assert (value_of(first), value_of(second)) == (7, 9)
    assert isinstance(third.error, FileNotFoundError) and third.source == pages[2]


def test_a_pillow_image_is_sent_as_it_is_to_be_seen():
    """Turned as its EXIF data say, as the file itself would be; and in a mode that PNG knows."""
    file = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6  # its top is at the right
    Image.fromarray(np.uint8([[[0] * 3, [255] * 3]]).repeat(8, 0).repeat(8, 1)).save(file, "JPEG", exif=turned)
    given = Image.open(file)
    sent = np.asarray(Image.open(io.BytesIO(clients.ready(given))))
    assert sent.shape == (16, 8, 3) and sent[:8].max() < 30 and sent[8:].min() > 225
    assert given.size == (16, 8) and given.getexif()[0x0112] == 6  # the caller's stays as it is
    for mode in ("CMYK", "YCbCr", "RGBX", "PA", "I"):
        sent = Image.open(io.BytesIO(clients.ready(Image.new("L", (3, 2), 200).convert(mode))))
        assert np.abs(np.asarray(sent.convert("RGB" if mode != "I" else "I")).astype(int) - 200).max() <= 1, mode


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_colour_that_is_transparent_is_sent_as_alpha(mode):
    """A reader in this process lays it over white, and models do so with alpha alone."""
    given = Image.new("RGB", (3, 2), (7, 7, 7))
    given.putpixel((0, 0), (0, 0, 0))
    given = given.quantize(2) if mode == "P" else given.convert(mode)
    given.info["transparency"] = {"P": given.getpixel((1, 1)), "L": 7, "RGB": (7, 7, 7)}[mode]
    sent = Image.open(io.BytesIO(clients.ready(given)))
    assert sent.mode == "RGBA" and "transparency" not in sent.info
    over_white = Image.alpha_composite(Image.new("RGBA", (3, 2), "white"), sent).convert("RGB")
    np.testing.assert_array_equal(over_white, next(image.pages(given)).pixels)
    assert over_white.getpixel((0, 0)) == (0, 0, 0) and over_white.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(("white", "deep"), [(200, False), (51400, True)])
def test_greys_of_32_bits_are_sent_with_as_many_as_they_need(white, deep):
    """A model takes the upper eight of sixteen bits: of 200 nothing would be left."""
    given = Image.fromarray(np.full((2, 3), white, "int32"))
    sent = np.asarray(Image.open(io.BytesIO(clients.ready(given))))
    assert sent.dtype == (np.uint16 if deep else np.uint8)
    np.testing.assert_array_equal(sent >> 8 if deep else sent, next(image.pages(given)).pixels[..., 0])


def test_a_budget_for_all_pages(client):
    def endless():
        while True:
            yield picture(1)

    started = time.monotonic()
    with pytest.raises(clients.DeadlineExceeded, match="budget of 0.5 s is used up"):
        for _ in stream(client, endless(), budget=0.5, **PICTURE):
            pass
    assert time.monotonic() - started < 10


class Busy:
    """A client whose server takes two requests at once."""

    timeout = 30.0

    def __init__(self):
        self.running = self.most = self.refused = 0
        self.lock = threading.Lock()

    def predict(self, model, pages, *, overloaded, **_):
        with self.lock:
            self.running += 1
            full = self.running > 2
            self.refused += full
        try:
            if full:
                overloaded()
                raise clients.Overloaded("full", None, "full")
            time.sleep(0.02)
            return {"sum": pages[0] * 12}
        finally:
            with self.lock:
                self.running -= 1


def test_a_server_with_too_much_to_do_loses_no_page():
    busy = Busy()
    answers = list(stream(busy, map(np.int64, range(60)), window=8, convert=total))
    assert [answer.error for answer in answers] == [None] * 60
    assert [value_of(answer) for answer in answers] == list(range(60)) and busy.refused


def anew(toys, port: int) -> Server:
    time.sleep(0.6)
    return Server({"toy": toys}, f"127.0.0.1:{port}").start()


@pytest.mark.parametrize("asyncio_", [False, True])
def test_a_server_that_starts_anew_loses_no_page(toys, asyncio_):
    """Later than a client's own attempts last: pages that are under way wait for it."""
    running = [Server({"toy": toys}, "127.0.0.1:0").start()]
    address, later, answers = f"127.0.0.1:{running[0].port}", ThreadPoolExecutor(1), []

    def pages():
        yield from map(picture, range(3))
        while len(answers) < 2:  # the window is 2, so that none waits for a third
            time.sleep(0.01)
        running.pop().stop()
        running.append(later.submit(anew, toys, int(address.rpartition(":")[2])))
        yield from map(picture, range(3, 6))

    async def use():
        async with AsyncClient(address, options=LOCAL, retries=0) as client:
            async for answer in client.stream(pages(), window=2, timeout=30, **PICTURE):
                answers.append(answer)

    if asyncio_:
        asyncio.run(use())
    else:
        with Client(address, options=LOCAL, retries=0) as client:
            for answer in stream(client, pages(), window=2, timeout=30, **PICTURE):
                answers.append(answer)
    running.pop().result().stop()
    assert [answer.error for answer in answers] == [None] * 6
    assert [value_of(answer) for answer in answers] == list(range(6))


def test_a_server_that_does_not_come_back_is_waited_for_once(toys):
    def pages():
        yield picture(1)
        server.stop()
        yield from map(picture, range(4))

    server = Server({"toy": toys}, "127.0.0.1:0").start()
    with Client(f"127.0.0.1:{server.port}", options=LOCAL, retries=0) as client:
        first, *others = stream(client, pages(), window=1, timeout=1.0, **PICTURE)
        started = time.monotonic()
        (nobody,) = stream(client, [picture(1)], timeout=30, **PICTURE)  # who never answered is not waited for
    assert first.error is None and time.monotonic() - started < 10
    assert all(isinstance(answer.error, clients.Unavailable) for answer in [*others, nobody])


def test_the_window_is_halved_and_grows_again():
    window = Window(16)
    window.overloaded()
    window.overloaded()  # at about the same time: once
    assert window.limit == 8
    for _ in range(10):
        window.good()
    assert window.limit == 9  # one more for each round
    with pytest.raises(ValueError, match="give one at least"):
        Window(0)


def test_answers_have_lines_of_words():
    outputs = {
        "counts": np.int32([3]), "lines": np.int32([[0, 0, 1, 0]]), "sizes": np.int32([[20, 30]]),
        "texts": np.array([[b"two", "wörds".encode(), b"below", b""]], object),
        "scores": np.float32([[0.5, 1, 1, 0]]), "polygons": np.zeros((1, 4, 4, 2), "f4"),
    }  # fmt: skip
    answer = bulk.answer_of(0, "page", outputs)
    assert answer.text == "two wörds\nbelow" and answer.size == (20, 30) and len(answer.words) == 3


# --- inputs checked before they are sent -----------------------------------------------------------------------------


def test_inputs_are_given_the_type_that_is_taken(server):
    with Client(f"127.0.0.1:{server.port}", options=LOCAL, check=True) as client:
        assert client.predict("toy", [[4.0]])["y"].item() == 5  # float64 here, float32 there
        assert client.predict("toy", {"p": [2], "q": [3]}, signature="two")["sum"].item() == 5  # int64, int32


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"z": [[1.0]]}, r"inputs \['x'\] are missing; it takes x DT_FLOAT\(None, 1\)"),
        ({"x": [[1.0]], "z": 1}, r"inputs \['z'\] are unknown"),
        ({"x": [1.0]}, r"x has shape \(1,\)"),
        ({"x": [[1.0, 2.0]]}, r"x has shape \(1, 2\)"),
        ({"x": [["a"]]}, "x is DT_STRING"),
    ],
)
def test_inputs_that_do_not_fit_are_not_sent(server, inputs, text):
    with Client(f"127.0.0.1:{server.port}", options=LOCAL, check=True) as client:
        client.metadata("toy")
        before = server.metrics.requests["toy", "INVALID_ARGUMENT"]
        with pytest.raises(clients.InvalidRequest, match=text):
            client.predict("toy", inputs)
        assert server.metrics.requests["toy", "INVALID_ARGUMENT"] == before


def test_numbers_that_would_change_are_not_cast(server):
    with (
        Client(f"127.0.0.1:{server.port}", options=LOCAL, check=True) as client,
        pytest.raises(clients.InvalidRequest, match="p is DT_INT64"),
    ):
        client.predict("toy", {"p": [2**40], "q": [1]}, signature="two")


def test_credentials_from_files(tmp_path):
    (tmp_path / "key.pem").write_text("a path instead of a key")
    with pytest.raises(ValueError, match="are given together"):
        clients.tls(key=tmp_path / "key.pem")
    with pytest.raises(ValueError, match="is no PEM file"):
        clients.tls(tmp_path / "key.pem")


# --- asyncio ---------------------------------------------------------------------------------------------------------


def test_the_client_for_asyncio(server):
    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL, retries=1) as client:
            sums = await asyncio.gather(*(client.predict("toy", np.float32([[n]])) for n in range(8)))
            assert [answer["y"].item() for answer in sums] == [n / 2 + 3 for n in range(8)]
            assert [entry.state for entry in await client.status("toy")] == ["AVAILABLE"]
            assert "two" in await client.metadata("toy")
            with pytest.raises(clients.NotFound):
                await client.predict("no", {"x": np.float32([[1]])})
            with pytest.raises(clients.DeadlineExceeded):
                await client.predict("toy", {"rounds": np.int32(10**6)}, signature="slow", timeout=0.2)

    asyncio.run(use())


def test_the_client_for_asyncio_checks_as_the_other_does(server):
    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL, check=True) as client:
            assert (await client.predict("toy", [[4.0]]))["y"].item() == 5  # float64 here, float32 there
            two = {"p": [2], "q": [3]}
            assert (await client.predict("toy", two, signature="two"))["sum"].item() == 5
            before = server.metrics.requests["toy", "INVALID_ARGUMENT"]
            with pytest.raises(clients.InvalidRequest, match=r"x has shape \(1,\)"):
                await client.predict("toy", {"x": [1.0]})
            assert server.metrics.requests["toy", "INVALID_ARGUMENT"] == before

    asyncio.run(use())


def test_streams_for_asyncio_of_answers_of_ones_own(server):
    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL) as client:
            how = {"model": "toy", "signature": "picture", "convert": summed}
            return [answer async for answer in client.stream([picture(3), picture(1)], **how)]

    def summed(number, page, outputs):
        return bulk.Answer(number, page, outputs={"twice": 2 * outputs["sum"]})

    assert [answer.outputs["twice"].item() for answer in asyncio.run(use())] == [72, 24]


def test_streams_for_asyncio(server):
    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL, retries=0) as client:
            pages = [b"no picture", b"neither"]
            return [answer async for answer in client.stream(pages, model="toy", signature="picture", window=2)]

    answers = asyncio.run(use())
    assert [answer.number for answer in answers] == [0, 1]
    assert all(isinstance(answer.error, clients.InvalidRequest) for answer in answers)


def test_pages_to_a_model_that_reads_none(server, client):
    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL) as asked:
            return [answer async for answer in asked.stream([picture(3)], model="toy", signature="picture")]

    for answer in (*stream(client, [picture(3)], model="toy", signature="picture"), *asyncio.run(use())):
        assert isinstance(answer.error, ValueError)
        assert "the model gives sum and no counts, lines, " in str(answer.error) and "`zoo export ocr`" in str(
            answer.error
        )


# --- REST ------------------------------------------------------------------------------------------------------------


def test_the_client_over_rest(server):
    client = RestClient(f"http://127.0.0.1:{server.rest_port}")
    answer = client.predict("toy", [[4.0], [float("inf")]])
    assert answer["y"].dtype == np.float32 and answer["y"].tolist() == [[5], [float("inf")]]
    assert client.predict("toy", [picture(3)], signature="picture")["sum"].tolist() == [36]
    text = client.predict("toy", ["ä", "b"], signature="text")
    assert text["same"].tolist() == ["ä".encode(), b"b"] and text["length"].dtype == np.int32
    assert client.predict("toy", {"p": [2], "q": [3]}, signature="two", outputs=["sum"])["sum"].tolist() == [5]
    assert client.status("toy") == [(2, "AVAILABLE", "")]
    assert client.metadata("toy")["two"].outputs["sum"] == clients.Tensor("DT_INT32", (None,))


def test_an_empty_answer_over_rest_has_the_shape_of_one_over_grpc(server):
    with Client(f"127.0.0.1:{server.port}", options=LOCAL) as client:
        for asked in (client, RestClient(f"http://127.0.0.1:{server.rest_port}")):
            empty = asked.predict("toy", {"x": np.zeros(0, "float32")}, signature="large")["y"]
            assert (empty.shape, empty.dtype) == ((0, 2**21), np.float32)


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        ([], (None, 4, 2), (0, 4, 2)),
        ([[], []], (None, None, 4, 2), (2, 0, 4, 2)),
        ([], (None, None, 5), (0, 0, 5)),
        ([], None, (0,)),
    ],
)
def test_shapes_of_empty_answers_over_rest(value, shape, expected):
    for name in ("DT_FLOAT", "DT_STRING"):
        assert http._array(value, clients.Tensor(name, shape)).shape == expected


def test_what_was_known_of_an_earlier_version(server):
    """Clients outlive the versions that they asked about first."""
    known = Client(f"127.0.0.1:{server.port}", options=LOCAL).metadata("toy")
    earlier = {"serving_default": known["serving_default"]}
    with Client(f"127.0.0.1:{server.port}", options=LOCAL) as client:
        client._known["toy", None] = earlier
        assert client.predict("toy", [picture(3)], signature="picture")["sum"].tolist() == [36]

    async def use():
        async with AsyncClient(f"127.0.0.1:{server.port}", options=LOCAL) as client:
            client._known["toy", None] = earlier
            return await client.predict("toy", [picture(3)], signature="picture")

    assert asyncio.run(use())["sum"].tolist() == [36]
    rest = RestClient(f"http://127.0.0.1:{server.rest_port}")
    rest._known["toy", None] = earlier
    assert rest.predict("toy", [picture(3)], signature="picture")["sum"].tolist() == [36]
    for name, outputs in (("text", "serving_default"), ("picture", "text")):  # of one output, and of two
        rest._known["toy", None] = {name: known[name]._replace(outputs=known[outputs].outputs)}
        assert set(rest.predict("toy", [picture(3)], signature=name)) == set(known[name].outputs)


def test_an_input_that_had_another_name_in_an_earlier_version(server):
    place = f"127.0.0.1:{server.port}"
    known = Client(place, options=LOCAL).metadata("toy")["picture"]
    earlier = {"picture": known._replace(inputs={"data": known.inputs["image"]})}

    async def use():
        async with AsyncClient(place, options=LOCAL) as client:
            client._known["toy", None] = earlier
            return await client.predict("toy", [picture(3)], signature="picture")

    client, rest = Client(place, options=LOCAL), RestClient(f"http://127.0.0.1:{server.rest_port}")
    for asked in (client, rest):
        asked._known["toy", None] = earlier
        assert asked.predict("toy", [picture(3)], signature="picture")["sum"].tolist() == [36]
    assert asyncio.run(use())["sum"].tolist() == [36]
    before = server.metrics.requests["toy", "INVALID_ARGUMENT"]
    with pytest.raises(clients.InvalidRequest, match="Unknown image file format"):
        client.predict("toy", [b"no picture"], signature="picture")
    assert server.metrics.requests["toy", "INVALID_ARGUMENT"] == before + 1  # another name would not have helped
    client.close()


def test_who_asks_over_rest_hears_of_too_much_to_do(server):
    heard, taken = [], 0
    client = RestClient(f"http://127.0.0.1:{server.rest_port}", retries=1)
    client.predict("toy", [[1.0]])  # from here on it knows the model
    while server._http.slots.acquire(blocking=False):
        taken += 1
    try:
        with pytest.raises(clients.Overloaded, match="requests at the same time"):
            client.predict("toy", [[1.0]], overloaded=lambda: heard.append(1))
    finally:
        server._http.slots.release(taken)
    assert len(heard) == 2  # once for each attempt


def test_errors_over_rest(server):
    client = RestClient(f"http://127.0.0.1:{server.rest_port}", retries=0)
    with pytest.raises(clients.NotFound, match="Latest\\(no\\)"):
        client.predict("no", [[1.0]])
    with pytest.raises(clients.InvalidRequest, match="Unknown image file format"):
        client.predict("toy", [b"no picture"], signature="picture")
    with pytest.raises(clients.InvalidRequest, match=r"outputs \['zz'\] are unknown; it gives y"):
        client.predict("toy", [[1.0]], outputs=["zz"])
    with pytest.raises(clients.ConnectError):
        RestClient("http://127.0.0.1:9", retries=0).status("toy")
    with pytest.raises(ValueError, match="is no address; give http://host:port"):
        RestClient("127.0.0.1:8501")
    for port in ("99999", "abc"):
        with pytest.raises(ValueError, match=f"'http://localhost:{port}' is no address; give http://host:port"):
            RestClient(f"http://localhost:{port}")


@contextmanager
def answering(status: int, body: bytes, seconds: float = 0.0):
    """The address of a server that gives one answer to all, after a while."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(seconds)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_error_in_a_proxys_own_form():
    with (
        answering(503, b'{"error": {"code": 503, "message": "no healthy upstream"}}') as place,
        pytest.raises(clients.ConnectionLost, match='"message": "no healthy upstream"'),
    ):
        RestClient(place, retries=0).status("toy")


@pytest.mark.parametrize("body", [b"[]", b"{}", b"null", b'{"metadata": []}', b"[" * 10_000, b""])
def test_an_answer_over_rest_that_cannot_be_read(body):
    """As of another kind of server at that address: an error of its kind, and of each page its own."""
    with answering(200, body) as place:
        client = RestClient(place, retries=0)
        for ask in (client.status, client.metadata, lambda model: client.predict(model, [b"a"])):
            with pytest.raises(clients.InternalError, match=f"{place}: toy: REST: "):
                ask("toy")
        client._known["ocr", None] = {"read": clients.Signature({"image_bytes": None}, {"texts": None})}
        assert [type(answer.error) for answer in stream(client, [b"a", b"b"])] == [clients.InternalError] * 2


def test_the_timeout_over_rest_is_that_of_all_that_is_asked():
    """The signatures are asked for first."""
    tensors = b'{"x": {"dtype": "DT_FLOAT", "tensor_shape": {"unknown_rank": true}}}'
    signature = b'{"serving_default": {"inputs": %s, "outputs": %s}}' % (tensors, tensors)
    body = b'{"metadata": {"signature_def": {"signature_def": %s}}, "outputs": [5.0]}' % signature
    with answering(200, body, seconds=0.3) as place:
        assert RestClient(place, retries=0, timeout=5).predict("toy", [1.0])["x"].tolist() == [5]
        with pytest.raises(clients.DeadlineExceeded):
            RestClient(place, retries=0, timeout=0.5).predict("toy", [1.0])


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_over_rest_that_never_ends(sent):
    """Or after long, each pause being short: in the status line, a header, a body that ends with the connection."""

    def drip() -> None:
        connection = listening.accept()[0]
        connection.recv(1 << 16)
        with suppress(OSError), connection:
            connection.sendall(sent)
            for _ in range(150):  # of 3 seconds
                connection.sendall(b" " if sent.endswith(b"\n") else b"H")
                time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(clients.DeadlineExceeded):
            RestClient(f"http://127.0.0.1:{listening.getsockname()[1]}", retries=0).status("toy", timeout=0.3)
        assert time.monotonic() - started < 2


def test_pages_over_rest(server):
    client = RestClient(f"http://127.0.0.1:{server.rest_port}")
    assert [value_of(answer) for answer in stream(client, map(picture, range(5)), **PICTURE)] == list(range(5))


def test_all_of_it_without_tensorflow():
    code = "import sys, serving.bulk, serving.aio, serving.http; "
    code += "bad = {'tensorflow', 'keras', 'cv2', 'PIL'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
