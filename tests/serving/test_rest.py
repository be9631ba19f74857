"""The REST interface and the page of metrics, asked over HTTP as anyone would."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import math
import socket
import threading
import time

import numpy as np
import pytest

from serving import json_tensors, wire
from serving.client import Client
from serving.metrics import Counter, Histogram
from serving.server import Server

MODEL = "/v1/models/toy"


@pytest.fixture(scope="module")
def server(toys):
    with Server({"toy": toys}, "127.0.0.1:0", rest="127.0.0.1:0", cross_origin=True) as running:
        yield running


def ask(server, path, body=None, method=None, headers=None):
    """Status, and body as JSON where it is that."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection.request(method or ("POST" if data is not None else "GET"), path, data, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text.decode()


B64 = {"b64": base64.b64encode(b"\x00hi\xff").decode()}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (":predict", {"instances": [[2.0], [4]]}, {"predictions": [[4.0], [5.0]]}),
        (":predict", {"inputs": {"x": [[2.0], [4.0]]}}, {"outputs": [[4.0], [5.0]]}),
        (":predict", {"inputs": [[2]]}, {"outputs": [[4.0]]}),
        ("/versions/2:predict", {"instances": [{"x": [2.0]}]}, {"predictions": [[4.0]]}),
        (
            ":predict",
            {"signature_name": "two", "instances": [{"p": 2, "q": 3}, {"q": 5, "p": 4}]},
            {"predictions": [{"product": 6, "sum": 5}, {"product": 20, "sum": 9}]},
        ),
        (
            ":predict",
            {"signature_name": "two", "inputs": {"p": [2], "q": [3]}},
            {"outputs": {"product": [6], "sum": [5]}},
        ),
        (
            ":predict",
            {"signature_name": "text", "instances": ["ä\u0001"]},
            {"predictions": [{"length": 3, "same": "ä\u0001"}]},
        ),
        (":PREDICT", {"signature_name": "text", "inputs": ['"\\']}, {"outputs": {"length": [2], "same": ['"\\']}}),
        (
            ":classify",
            {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [1.0]}]},
            {"results": [[["small", 3.75], ["great", 3.25]], [["small", 3.0], ["great", 4.0]]]},
        ),
        (":regress", {"signature_name": "regress", "examples": [{"x": 2.0}, {"x": 0.2}]}, {"results": [4.0, 3.1]}),
        (":regress", {"signature_name": "regress", "examples": [{"x": -(10**20)}]}, {"results": [-5e19]}),
        (
            ":regress",
            {"signature_name": "regress", "context": {"x": 4.0}, "examples": [{"y": 1}, {"x": 2.0}]},
            {"results": [5.0, 4.0]},
        ),
    ],
)
def test_answers(server, path, body, expected):
    assert ask(server, MODEL + path, body) == (200, expected)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        (MODEL + ":foo", {}, 400, "Malformed request: POST /v1/models/toy:foo"),
        ("/v1/nope", None, 400, "Malformed request: GET /v1/nope"),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/no", None, 404, "Could not find any versions of model no"),
        ("/v1/models/no/metadata", None, 404, "Servable not found for request: Latest(no)"),
        (f"/v1/models/toy/versions/{2**63}", None, 400, f"Failed to convert version: {2**63} to numeric."),
        (f"/v1/models/toy/versions/{'9' * 5000}", None, 400, f"Failed to convert version: {'9' * 5000} to numeric."),
        ("/v1/models/no:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(no)"),
        (MODEL + "/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(toy, 9)"),
        (MODEL + "/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        (
            MODEL + ":predict",
            {"signature_name": "no", "instances": [1]},
            400,
            'Serving signature name: "no" not found in signature def',
        ),
        (MODEL + ":predict", b'{"instances": [[1e400]]}', 400, json_tensors.TOO_BIG),
        (MODEL + ":predict", b'{"instances": [[-1%s.0]]}' % (b"0" * 400), 400, json_tensors.TOO_BIG),
        (MODEL + ":classify", b'{"signature_name": "classify", "examples": [{"x": 1e999}]}', 400, json_tensors.TOO_BIG),
        (MODEL + ":predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (
            MODEL + ":predict",
            {"instances": []},
            400,
            "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
        ),
        (
            MODEL + ":predict",
            {"instances": 1},
            400,
            "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
        ),
        (
            MODEL + ":predict",
            {"instances": [1], "inputs": [1]},
            400,
            'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n} Not formatted correctly expecting only one of '
            "'inputs' or 'instances' keys to exist ",
        ),
        (
            MODEL + ":predict",
            {"signature_name": 3, "inputs": 1},
            400,
            'JSON Value: {\n    "signature_name": 3,\n    "inputs": 1\n} not formatted correctly. \'signature_name\' '
            "key must be a string value.",
        ),
        (MODEL + ":predict", b"", 400, "JSON Parse error: The document is empty"),
        (MODEL + ":predict", b"{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
        (MODEL + ":predict", b"[1]", 400, "JSON Value: [1] Is not object"),
        (
            MODEL + ":predict",
            b'{"instances": [["\\ud83d\\ude00 \\\\ud800 \\ud800"]]}',
            400,
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 38",
        ),
        (
            MODEL + ":predict",
            b'{"instances": [[1%s]]}' % (b"0" * 400),
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Parse error: Number too "
            "big to be stored in double. at offset: 0",
        ),
        (
            MODEL + ":predict",
            b'{"instances": [[1%s]]}' % (b"0" * 5000),
            400,
            "JSON Parse error: Number too big to be stored in double. at offset: 0",
        ),
        (
            MODEL + ":predict",
            b'{"inputs": %s1%s}' % (b"[" * 70, b"]" * 70),
            400,
            "maximum supported dimension for an ndarray is currently 64, found 70",
        ),
        (
            MODEL + ":predict",
            {"instances": [["a"]]},
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" Type: String "
            "is not of expected type: float",
        ),
        (
            MODEL + ":predict",
            {"inputs": [[True]]},
            400,
            "JSON Value: true Type: True is not of expected type: float",
        ),
        (
            MODEL + ":predict",
            {"instances": [[1.0], [1.0, 2.0]]},
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but "
            "got: 2",
        ),
        (
            MODEL + ":predict",
            {"inputs": [[1.0], []]},
            400,
            "Encountered list at unexpected size: 0 at level: 1 expected size: 1",
        ),
        (
            MODEL + ":predict",
            {"inputs": [[1.0], 2]},
            400,
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        (
            MODEL + ":predict",
            {"signature_name": "two", "inputs": {"p": [1]}},
            400,
            "Missing named input: q in 'inputs' object.",
        ),
        (
            MODEL + ":predict",
            {"signature_name": "two", "inputs": {"p": [1.5], "q": [1]}},
            400,
            "JSON Value: 1.5 Type: Number is not of expected type: int32",
        ),
        (
            MODEL + ":predict",
            {"signature_name": "two", "inputs": {"p": [2**31], "q": [1]}},
            400,
            f"JSON Value: {2**31} Type: Number is not of expected type: int32",
        ),
        (
            MODEL + ":predict",
            {"signature_name": "two", "instances": [{"p": 1}]},
            400,
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"p\": 1\n} keys must be "
            "equal to: p,q",
        ),
        (
            MODEL + ":predict",
            {"signature_name": "two", "instances": [1]},
            400,
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (MODEL + ":predict", {"signature_name": "text", "inputs": [{"b64": "%"}]}, 400, "Unable to base64 decode"),
        (
            MODEL + ":classify",
            {"signature_name": "classify"},
            400,
            'JSON Value: {\n    "signature_name": "classify"\n} When method is classify, key \'examples\' is expected '
            "and was not found",
        ),
        (MODEL + ":classify", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        (
            MODEL + ":classify",
            {"examples": [{"x": [1, 2.5]}]},
            400,
            "Unexpected element type in feature: x expecting type: int64",
        ),
        (
            MODEL + ":classify",
            {"examples": [{"x": None}]},
            400,
            "Feature: x has element with unexpected JSON type: Null",
        ),
    ],
)
def test_refusals(server, path, body, status, text):
    assert ask(server, path, body) == (status, {"error": text})


def test_other_paths_are_not_there(server):
    assert ask(server, "/nope")[0] == ask(server, "/v2/models")[0] == 404


def test_status_and_metadata(server):
    state = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert ask(server, MODEL) == ask(server, "/v1/models/t%6fy") == (200, {"model_version_status": [state]})
    status, known = ask(server, MODEL + "/versions/2/metadata")
    assert status == 200 and known["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    line = known["metadata"]["signature_def"]["signature_def"]["serving_default"]
    shape = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    assert line["inputs"]["x"] == {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "serving_default_x:0"}
    assert line["method_name"] == "tensorflow/serving/predict" and line["defaults"] == {}


def test_nan_and_infinity(server):
    status, answer = ask(server, MODEL + ":predict", b'{"instances": [[NaN], [Infinity], [-Infinity]]}')
    values = [row[0] for row in answer["predictions"]]
    assert status == 200 and math.isnan(values[0]) and values[1:] == [math.inf, -math.inf]


def test_bytes_by_the_outputs_name():
    outputs = {"a_bytes": np.array([b"\x00hi\xff"], object), "b": np.array(["ä".encode()], object)}
    answer = json_tensors.predict_answer(outputs, rows=True)
    assert json.loads(answer) == {"predictions": [{"a_bytes": B64, "b": "ä"}]}
    assert json_tensors.from_base64(B64) == b"\x00hi\xff"
    raw = json_tensors.predict_answer({"b": np.array([b"\xff"], object)}, rows=True)
    assert b'"\xff"' in raw  # as TensorFlow Serving does: no valid UTF-8


def test_the_form_of_bodies():
    rows = json_tensors.predict_answer({"y": np.float32([[2.5], [3]])}, rows=True)
    assert rows == b'{\n    "predictions": [[2.5], [3.0]\n    ]\n}'
    columns = json_tensors.predict_answer({"y": np.int64([1, 2])}, rows=False)
    assert columns == b'{\n    "outputs": [\n        1,\n        2\n    ]\n}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (3.14159274, "3.14159274"),
        (9000000.0, "9e+06"),
        (3e-5, "3e-05"),
        (2.0, "2.0"),
        (1 / 3, "0.333333343"),
    ],
)
def test_floats_are_written_short(value, text):
    assert json_tensors.number(np.float32(value)) == text


def test_doubles_keep_their_digits():
    assert json_tensors.number(np.float64(1 / 3)) == "0.33333333333333331"


def test_packed_and_chunked_bodies(server):
    body = json.dumps({"instances": [[2.0]]}).encode()
    answer = {"predictions": [[4.0]]}
    assert ask(server, MODEL + ":predict", gzip.compress(body), headers={"Content-Encoding": "gzip"}) == (200, answer)
    with socket.create_connection(("127.0.0.1", server.rest_port), 10) as raw:
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
        raw.sendall(
            b"POST /v1/models/toy:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
        )
        raw.shutdown(socket.SHUT_WR)
        text = b"".join(iter(lambda: raw.recv(4096), b""))
    assert text.startswith(b"HTTP/1.1 200") and json.loads(text.partition(b"\r\n\r\n")[2]) == answer
    assert ask(server, MODEL + ":predict", b"no gzip", headers={"Content-Encoding": "gzip"})[0] == 400


def ask_raw(server, request: bytes) -> bytes:
    """All that comes back, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.rest_port), 10) as raw:
        raw.sendall(request)
        raw.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: raw.recv(4096), b""))


@pytest.mark.parametrize("place", ["http://toys:8501", "HTTPS://[::1]", ""])
def test_a_path_may_come_with_the_host_before_it(server, place):
    """Proxies ask so."""
    answer = ask_raw(server, f"GET {place}{MODEL}?x=1 HTTP/1.1\r\nHost: toys\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200") and b'"state": "AVAILABLE"' in answer


def test_a_path_may_be_utf_8(server):
    """As curl sends it, which quotes nothing."""
    answer = ask_raw(server, "GET /v1/models/ä漢 HTTP/1.1\r\nHost: toys\r\n\r\n".encode())
    assert answer.endswith('{\n    "error": "Could not find any versions of model ä漢"\n}'.encode())


@pytest.mark.parametrize("depth", [200, 700, 900, 940, 960, 10_000])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a": ', "}")])
def test_a_deep_document_is_the_clients_error(server, before, after, depth):
    """However much of it Python's stack takes."""
    body = f'{{"instances": {before * depth}1{after * depth}}}'.encode()
    status, answer = ask(server, MODEL + ":predict", body)
    assert status == 400 and len(answer["error"]) < 1000


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Content-Length: 1_0", "a body of '1_0' bytes; its length is a number"),
        ("Content-Length: -5", "a body of '-5' bytes; its length is a number"),
        (f"Content-Length: {2**31}", "a body of 2147483648 bytes; up to 2147483647 are taken"),
        ("Transfer-Encoding: gzip, chunked", "a body by 'gzip, chunked'; only chunked is taken"),
        ("Transfer-Encoding: chunked", "a piece of b'GET /second' bytes; its length is a hexadecimal number"),
    ],
)
def test_a_body_of_unknown_length_ends_the_connection(server, header, text):
    """Else a proxy and this server could differ about where the next request begins."""
    answer = ask_raw(server, f"POST {MODEL}:predict HTTP/1.1\r\n{header}\r\n\r\nGET /second\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": text}


def test_an_idle_connection_is_ended(server, monkeypatch):
    monkeypatch.setattr("serving.rest._Handler.timeout", 0.1)
    with socket.create_connection(("127.0.0.1", server.rest_port), 10) as raw:
        raw.sendall(f"GET {MODEL} HTTP/1.1\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        assert raw.recv(4096) == b""


def test_a_body_is_sent_once_it_is_asked_for(server):
    body = json.dumps({"instances": [[2.0]]}).encode()
    with socket.create_connection(("127.0.0.1", server.rest_port), 10) as raw:
        head = "POST /v1/models/toy:predict HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        raw.sendall((head % len(body)).encode())
        assert raw.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"  # curl asks so for 1 MB and more
        raw.sendall(body)
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")


def test_requests_from_other_origins(server):
    assert ask(server, MODEL, method="OPTIONS", headers={"Origin": "https://example.org"})[0] == 200
    assert ask(server, MODEL, method="OPTIONS")[0] == 400


def test_the_page_of_metrics(server):
    with Client(f"127.0.0.1:{server.port}") as client:
        client.predict("toy", {"x": np.float32([[1]])})
    ask(server, MODEL + ":predict", {"instances": [["a"]]})
    ask(server, "/v1/models/nobody:predict", {"instances": [[1]]})
    status, page = ask(server, "/monitoring/prometheus/metrics")
    assert status == 200
    for line in (
        "# TYPE :tensorflow:serving:request_latency histogram",
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_latency_bucket{model_name="toy",API="Predict",entrypoint="GRPC",le="10"} 0',
        ':tensorflow:serving:request_latency_count{model_name="toy",API="Predict",entrypoint="GRPC"} 1',
        ':ocrzoo:serving:available_version{model_name="toy",version="2"} 1',
    ):
        assert line in page
    assert (
        ':ocrzoo:serving:signature_request_count{model_name="toy",version="2",signature_name="two",status="OK"}' in page
    )
    assert "nobody" not in page  # else anyone could fill the memory with names


def test_histograms_by_hand():
    times = Histogram("t", "who", limits=(1, 10))
    for value in (0.5, 1, 2, 100):
        times.add('a"b', value=value)
    assert times.lines() == [
        't_bucket{who="a\\"b",le="1"} 2',
        't_bucket{who="a\\"b",le="10"} 3',
        't_bucket{who="a\\"b",le="+Inf"} 4',
        't_sum{who="a\\"b"} 103.5',
        't_count{who="a\\"b"} 4',
    ]
    long = Histogram("t", limits=())
    for value in (2e9, 1.5):  # six digits would lose the second
        long.add(value=value)
    assert "t_sum{} 2000000001.5" in long.lines()
    count = Counter("n")
    count.add()
    count.add(by=2)
    assert count.lines() == ["n{} 3"]


def test_a_taken_port_ends_the_start(toys):
    from serving.server import ServerError

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServerError, match="cannot listen at"):
            Server({"toy": toys}, "127.0.0.1:0", rest=f"127.0.0.1:{other.getsockname()[1]}").start()


@pytest.mark.parametrize(("kind", "digits"), [("float32", 9), ("float64", 17)])
def test_six_digits_are_written_where_they_tell_a_number(kind, digits):
    rng = np.random.default_rng(3)
    info = np.finfo(kind)
    tens = 10.0 ** rng.integers(-info.maxexp // 4, info.maxexp // 4, 3000)
    with np.errstate(all="ignore"):
        given = [rng.integers(0, 10**6, 3000) * tens, rng.normal(size=3000) * tens, 0.1 * np.arange(999_990, 1_000_010)]
        given += [[0, -0.0, info.max], info.smallest_subnormal * np.arange(99), info.tiny * rng.random(99)]
        values = np.concatenate(given).astype(kind)
    values = values[np.isfinite(values)]
    found = json.loads(json_tensors.predict_answer({"y": values}, rows=True), parse_float=str)["predictions"]
    for value, text in zip(values, found, strict=True):
        short = f"{float(value):g}"
        told = short if np.dtype(kind).type(float(short)) == value else f"{float(value):.{digits}g}"
        assert text == (told if "." in told or "e" in told else told + ".0")


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (0,), (0, 3), (2, 0), (2, 0, 3), (1, 1)])
def test_shapes_of_answers(shape):
    values = np.arange(math.prod(shape), dtype="int32").reshape(shape)
    for rows, key in ((True, "predictions"), (False, "outputs")):
        assert json.loads(json_tensors.predict_answer({"y": values}, rows)) == {key: values.tolist()}
    assert json.loads(json_tensors.predict_answer({"y": np.int32(7)}, rows=False)) == {"outputs": 7}


def test_tensors_of_many_numbers_are_read_at_once():
    values = np.arange(600.0).reshape(2, 300).tolist()
    info = {"x": wire.TensorInfo(dtype=1)}
    asked = json_tensors.predict_request(json.dumps({"instances": values}).encode(), lambda _: info)
    assert asked.rows and wire.decode(asked.inputs["x"]).tolist() == values


def test_more_requests_than_are_allowed_are_refused(toys):
    with Server({"toy": toys}, "127.0.0.1:0", rest="127.0.0.1:0", in_flight=1) as server:
        body = {"signature_name": "slow", "inputs": {"rounds": 800}}  # a second or more
        thread = threading.Thread(target=ask, args=(server, MODEL + ":predict", body))
        thread.start()
        time.sleep(0.2)
        status, answer = ask(server, MODEL)
        thread.join()
        assert status == 429 and "more than 1 requests at the same time" in answer["error"]
        assert ask(server, MODEL)[0] == 200


def test_a_refusal_is_heard_by_who_still_sends(server):
    taken = 0
    while server._http.slots.acquire(blocking=False):
        taken += 1
    try:
        status, answer = ask(server, MODEL + ":predict", b" " * 8_000_000)
    finally:
        server._http.slots.release(taken)
    assert status == 429 and "requests at the same time" in answer["error"]


def test_requests_beyond_the_threads_wait_and_time_counts(toys):
    options = {"rest_threads": 1, "rest_timeout": 0.3}
    with Server({"toy": toys}, "127.0.0.1:0", rest="127.0.0.1:0", **options) as server:
        body = {"signature_name": "slow", "inputs": {"rounds": 10**7}}
        status, answer = ask(server, MODEL + ":predict", body)
        assert status == 504 and answer["error"]
        assert ask(server, MODEL)[0] == 200  # the run was broken off, and its place is free
