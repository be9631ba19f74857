"""The model server, over real connections, asked by our client and by the official stubs."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2
from toys import LOCAL, publish

from serving import client as clients
from serving import wire
from serving.client import Client
from serving.options import read_config
from serving.server import Server, ServerError, follow, serve

Code = grpc.StatusCode


def configuration(text: str):
    return text_format.Parse(text, wire.ModelServerConfig())


@pytest.fixture(scope="module")
def server(toys):
    """Both versions of the toy, the first of them also as "stable"."""
    config = f"""model_config_list {{ config {{ name: "toy" base_path: "{toys}" model_platform: "tensorflow"
        model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }} }} }}"""
    with Server(configuration(config), "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with connect(server) as connected:
        yield connected


@pytest.fixture(scope="module")
def channel(server):
    options = [*LOCAL, ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as opened:
        yield opened


def connect(server, **options) -> Client:
    return Client(f"127.0.0.1:{server.port}", options=LOCAL, **options)


def offset(client, **options) -> float:
    """That of the version that answers."""
    return client.predict("toy", {"x": np.float32([[0]])}, **options)["y"].item()


def until(condition, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


@contextmanager
def watched(server, service: str):
    """A queue of the states that a watcher of a service hears; "ended" once the call ends well."""
    heard: queue.Queue = queue.Queue()

    def listen(answers) -> None:
        try:
            for answer in answers:
                heard.put(answer.status)
            heard.put("ended")
        except grpc.RpcError as error:
            heard.put(error.code())

    with grpc.insecure_channel(f"127.0.0.1:{server.port}", LOCAL) as channel:
        call = channel.unary_stream(
            wire.WATCH.path, lambda m: m.SerializeToString(), wire.HealthCheckResponse.FromString
        )(wire.HealthCheckRequest(service=service))
        thread = threading.Thread(target=listen, args=(call,))
        thread.start()
        yield heard
        call.cancel()
        thread.join()


# --- answers ---------------------------------------------------------------------------------------------------------


def test_versions_and_labels(client):
    assert client.predict("toy", np.float32([[4], [8]]))["y"].tolist() == [[5], [7]]  # x / 2 + 3
    assert [offset(client, version=v) for v in (None, 1, 2, "stable")] == [3, 2, 3, 2]


def test_outputs_and_their_filter(client):
    inputs = {"p": np.int32([2, 3]), "q": np.int32([5, 7])}
    both = client.predict("toy", inputs, signature="two")
    assert {name: array.tolist() for name, array in both.items()} == {"sum": [7, 10], "product": [10, 21]}
    assert list(client.predict("toy", inputs, signature="two", outputs=["sum"])) == ["sum"]


def test_strings_and_bfloat16(client):
    answer = client.predict("toy", [b"\x00\xff\x00", b"", "ä"], signature="text")
    assert answer["same"].tolist() == [b"\x00\xff\x00", b"", "ä".encode()]
    assert answer["length"].tolist() == [3, 0, 2]
    numbers = np.array([1.5, -3], ml_dtypes.bfloat16)
    assert client.predict("toy", {"x": numbers}, signature="half")["y"].tolist() == [3, -6]


def test_the_client_learns_names_types_and_shapes(client):
    signatures = client.metadata("toy")
    assert sorted(signatures) == [
        "classify", "half", "large", "picture", "regress", "serving_default", "slow", "text", "two",
    ]  # fmt: skip
    assert signatures["serving_default"].inputs == {"x": clients.Tensor("DT_FLOAT", (None, 1))}
    assert signatures["two"].outputs["sum"] == clients.Tensor("DT_INT32", (None,))
    with pytest.raises(ValueError, match="takes 2 inputs; give a dict of p, q"):
        client.predict("toy", np.int32([1]), signature="two")
    with pytest.raises(clients.InvalidRequest, match="no signature 'nope'; there are: classify, half"):
        client.predict("toy", np.int32([1]), signature="nope")


def test_status(client):
    assert client.status("toy") == [(2, "AVAILABLE", ""), (1, "AVAILABLE", "")]
    assert client.status("toy", version=1) == [(1, "AVAILABLE", "")]


def test_the_official_stubs(channel):
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[4.0]], tf.float32))
    answer = predictions.Predict(request)  # no deadline
    spec = answer.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("toy", "serving_default", 2)
    assert list(answer.outputs["y"].float_val) == [5.0] and not answer.outputs["y"].tensor_content
    assert tf.make_ndarray(answer.outputs["y"]).shape == (1, 1)

    wanted = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    wanted.model_spec.name = "toy"
    known = get_model_metadata_pb2.SignatureDefMap()
    assert predictions.GetModelMetadata(wanted, 10).metadata["signature_def"].Unpack(known)
    assert known.signature_def["serving_default"].method_name == "tensorflow/serving/predict"
    assert known.signature_def["text"].inputs["s"].dtype == tf.string.as_datatype_enum

    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "toy"
    states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, 10).model_version_status
    assert [(s.version, s.state, s.status.error_code) for s in states] == [(2, 30, 0), (1, 30, 0)]


@pytest.mark.parametrize(("service", "status"), [("", 1), ("PredictionService", 1), ("models/toy", 1), ("models/x", 0)])
def test_health(channel, service, status):
    check = channel.unary_unary(
        wire.HEALTH.path,
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=wire.HealthCheckResponse.FromString,
    )
    request = wire.HealthCheckRequest(service=service)
    if status:
        assert check(request, timeout=5).status == status
    else:
        with pytest.raises(grpc.RpcError) as caught:
            check(request, timeout=5)
        assert caught.value.code() is Code.NOT_FOUND


# --- refusals: codes and texts of TensorFlow Serving -----------------------------------------------------------------

X = np.float32([[2.0]])


@pytest.mark.parametrize(
    ("model", "inputs", "options", "kind", "code", "text"),
    [
        ("", {"x": X}, {}, "InvalidRequest", Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ("no", {"x": X}, {}, "NotFound", Code.NOT_FOUND, "Servable not found for request: Latest(no)"),
        (
            "toy",
            {"x": X},
            {"version": 99},
            "NotFound",
            Code.NOT_FOUND,
            "Servable not found for request: Specific(toy, 99)",
        ),
        (
            "toy",
            {"x": X},
            {"version": "canary"},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        (
            "toy",
            {"x": X},
            {"signature": "no"},
            "InvalidRequest",
            Code.FAILED_PRECONDITION,
            'Serving signature key "no" not found.',
        ),
        (
            "toy",
            {},
            {},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            "toy",
            {"x": X, "z": X},
            {},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            "toy",
            {"z": X},
            {},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {z}, or default input alias set: ",
        ),
        (
            "toy",
            {"x": X.astype("f8")},
            {},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "Expects arg[0] to be float but double is provided",
        ),
        (
            "toy",
            {"x": X},
            {"outputs": ["no"]},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: no Outputs expected to be in the set {y}.",
        ),
        (
            "toy",
            {"x": X},
            {"outputs": ["y", "y"]},
            "InvalidRequest",
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: y",
        ),
    ],
)
def test_refusals(client, model, inputs, options, kind, code, text):
    with pytest.raises(getattr(clients, kind)) as caught:
        client.predict(model, inputs, **options)
    assert (caught.value.code, caught.value.details) == (code, text)


def ask_raw(channel, method, request):
    call = channel.unary_unary(
        method.path,
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=method.response.FromString,
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(
    ("method", "request_text", "code", "text"),
    [
        (wire.PREDICT, "", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            wire.PREDICT,
            'model_spec { name: "toy" } inputs { key: "x" value { dtype: 1 tensor_content: "123" } }',
            Code.INVALID_ARGUMENT,
            "tensor parsing error: x: 3 bytes of content do not fill a tensor of float32 and shape ()",
        ),
        (
            wire.PREDICT,
            'model_spec { name: "toy" } '
            'inputs { key: "x" value { dtype: 1 tensor_content: "1234" tensor_shape { dim { size: 1 } } } }',
            Code.INVALID_ARGUMENT,
            "x has shape [1]; the signature takes [-1, 1], where -1 is any number",
        ),
        (wire.METADATA, "", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            wire.METADATA,
            'model_spec { name: "toy" }',
            Code.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            wire.METADATA,
            'model_spec { name: "toy" } metadata_field: "foo"',
            Code.INVALID_ARGUMENT,
            "Metadata field foo is not supported",
        ),
        (
            wire.METADATA,
            'model_spec { name: "no" } metadata_field: "signature_def"',
            Code.NOT_FOUND,
            "Servable not found for request: Latest(no)",
        ),
        (wire.STATUS, "", Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (wire.STATUS, 'model_spec { name: "no" }', Code.NOT_FOUND, "Could not find any versions of model no"),
        (
            wire.STATUS,
            'model_spec { name: "toy" version { value: 9 } }',
            Code.NOT_FOUND,
            "Could not find version 9 of model toy",
        ),
        (
            wire.RELOAD,
            "config {}",
            Code.INVALID_ARGUMENT,
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        ),
    ],
)
def test_refusals_of_raw_requests(channel, method, request_text, code, text):
    assert ask_raw(channel, method, text_format.Parse(request_text, method.request())) == (code, text)


@pytest.mark.parametrize("name", ["n" * 3000, "ñ" * 1024, "漢" * 3000])
def test_long_texts_are_cut(channel, name):
    """By bytes: of a header larger than 8 KiB gRPC makes another error, now and then."""
    code, text = ask_raw(channel, wire.PREDICT, wire.PredictRequest(model_spec=wire.ModelSpec(name=name)))
    assert code is Code.NOT_FOUND and text.endswith(f"{name[:3]}...TRUNCATED")
    assert 1022 <= len(text.removesuffix("...TRUNCATED").encode()) <= 1024


def test_an_error_that_quotes_bytes_is_the_requests_own(client):
    """TensorFlow's text then is no UTF-8, of which Python made an error of its own."""
    with pytest.raises(clients.InvalidRequest, match="Could not parse example input, value: '\ufffd'") as caught:
        client.predict("toy", {"inputs": [b"\xff"]}, signature="classify")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_bytes_that_are_no_request(channel):
    call = channel.unary_unary(wire.PREDICT.path)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", timeout=10)
    assert caught.value.code() is Code.INTERNAL
    assert caught.value.details().startswith("the bytes are no PredictRequest: ")


def test_a_deadline_breaks_off_the_run(client):
    started = time.monotonic()
    with pytest.raises(clients.DeadlineExceeded):
        client.predict("toy", {"rounds": np.int32(10**7)}, signature="slow", timeout=0.4)
    assert time.monotonic() - started < 5
    until(lambda: client.predict("toy", {"rounds": np.int32(0)}, signature="slow", timeout=2), 5)


def test_large_messages_both_ways(client):
    assert client.predict("toy", {"x": np.zeros((2**22, 1), "f4")})["y"].shape == (2**22, 1)  # 16 MiB
    with grpc.insecure_channel(client.address, LOCAL) as plain:  # takes 4 MiB and no more
        code, text = ask_raw(plain, wire.PREDICT, large_request())
    assert code is Code.RESOURCE_EXHAUSTED and clients.classify(code, text) is clients.TooLarge


def large_request():
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="toy", signature_name="large"))
    request.inputs["x"].CopyFrom(wire.encode(np.float32([1])))
    return request


# --- versions that come and go ---------------------------------------------------------------------------------------


def test_a_new_version_is_found_and_the_old_one_dropped(models, toys):
    with Server(models, "127.0.0.1:0", poll=0.05) as server, connect(server) as client:
        assert offset(client) == 2
        publish(toys / "2", models / "toy" / "2")
        until(lambda: offset(client) == 3)
        until(lambda: [s.state for s in client.status("toy")] == ["AVAILABLE", "END"])
        with pytest.raises(clients.NotFound):
            offset(client, version=1)
        shutil.rmtree(models / "toy" / "2")  # rolled back
        until(lambda: offset(client) == 2)


def test_no_request_is_lost_while_versions_change(models, toys):
    with Server(models, "127.0.0.1:0", poll=0.02) as server, connect(server, retries=0) as client:
        seen, failures, ended = set(), [], threading.Event()

        def ask():
            while not ended.is_set():
                try:
                    seen.add(offset(client))
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(2, 10):
            publish(toys / str(2 - number % 2), models / "toy" / str(number))
            until(lambda number=number: server.models.available()["toy"] == [number])
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == [] and seen == {2, 3}


def test_a_request_that_runs_ends_in_the_version_it_began_in(models, toys):
    with Server(models, "127.0.0.1:0", poll=0.02) as server, connect(server) as client:
        answers = []

        def run(rounds):
            answers.append(
                client.predict("toy", {"rounds": np.int32(rounds)}, signature="slow", timeout=300)["y"].item()
            )

        for number, rounds in ((2, 300), (3, 2000), (4, 8000)):  # on a busy machine loading may take longer than 300
            began = offset(client)
            thread = threading.Thread(target=run, args=(rounds,))
            thread.start()
            time.sleep(0.1)
            publish(toys / str(2 - number % 2), models / "toy" / str(number))
            until(lambda number=number: server.models.available()["toy"] == [number], 60)
            if not answers:
                break
            thread.join()
            answers.clear()
        assert not answers and offset(client) != began
        thread.join()
    assert answers == [began]


@pytest.mark.parametrize("damage", ["no index", "no data", "cut data", "cut graph", "no graph", "bad warm-up"])
def test_a_damaged_version_is_not_served_and_the_old_one_stays(models, toys, damage):
    broken = models.parent / "broken"
    shutil.copytree(toys / "2", broken)
    graph, data = broken / "saved_model.pb", broken / "variables" / "variables.data-00000-of-00001"
    if damage == "no index":
        (broken / "variables" / "variables.index").unlink()
    elif damage == "no data":
        data.unlink()
    elif damage == "cut data":
        data.write_bytes(data.read_bytes()[:-2])
    elif damage == "cut graph":
        graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])
    elif damage == "no graph":
        graph.unlink()
    else:
        warm_up(broken, "no such signature")
    with Server(models, "127.0.0.1:0", poll=0.05, retry_seconds=0.2) as server, connect(server) as client:
        publish(broken, models / "toy" / "2")
        until(lambda: any(s.version == 2 and s.error and s.state == "END" for s in client.status("toy")))
        assert offset(client) == 2
        shutil.rmtree(models / "toy" / "2")
        publish(toys / "2", models / "toy" / "2")  # mended
        until(lambda: offset(client) == 3)


def warm_up(folder, signature: str) -> None:
    log = wire.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["x"].CopyFrom(wire.encode(X))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


def test_new_models_are_found_in_the_folder(models, toys):
    with Server(models, "127.0.0.1:0", poll=0.05) as server, connect(server) as client:
        (models / "second").mkdir()
        publish(toys / "2", models / "second" / "5")
        until(lambda: server.models.available() == {"second": [5], "toy": [1]})
        assert client.predict("second", X)["y"].tolist() == [[4]]
        shutil.rmtree(models / "second")
        until(lambda: server.models.available() == {"toy": [1]})


def test_folders_that_are_no_models_are_passed_over(models, monkeypatch):
    (models / "lost+found").mkdir()
    (models / "toy" / str(2**63)).mkdir()  # TensorFlow Serving's numbers end before it
    allowed, listed = os.access, Path.iterdir
    barred = models / "lost+found"

    def iterdir(path):
        if path == barred:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "access", lambda path, mode: path != barred and allowed(path, mode))
    monkeypatch.setattr(Path, "iterdir", iterdir)
    with Server(models, "127.0.0.1:0") as server, connect(server) as client:
        assert server.models.available() == {"toy": [1]} and offset(client) == 2


def test_a_folder_whose_name_no_message_can_hold_is_passed_over(models, caplog):
    try:
        Path(os.fsdecode(os.fsencode(models) + b"/caf\xe9/1")).mkdir(parents=True)  # Latin-1, of an old disk
    except OSError:
        pytest.skip("a file system whose names are UTF-8")
    with Server(models, "127.0.0.1:0", poll=0) as server, connect(server) as client:
        server.models.poll()
        assert server.models.available() == {"toy": [1]} and offset(client) == 2
    said = [text for record in caplog.records if "its name is no UTF-8" in (text := record.getMessage())]
    assert len(said) == 1 and said[0].startswith(f"{models}/caf\\xe9 is passed over")


def test_a_folder_that_may_not_be_looked_into_any_more_is_served_on_and_told_of_once(models, monkeypatch, caplog):
    (models / "other").mkdir()
    allowed, listed, barred = os.access, Path.iterdir, set()

    def iterdir(path):
        if path in barred:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "access", lambda path, mode: path not in barred and allowed(path, mode))
    monkeypatch.setattr(Path, "iterdir", iterdir)
    with Server(models, "127.0.0.1:0", poll=0) as server, connect(server) as client:
        barred |= {models / "toy", models / "other"}
        for _ in range(3):
            server.models.poll()
        assert offset(client) == 2
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert [sum(f"{models / name}" in text for text in said) for name in ("toy", "other")] == [1, 1], said
        barred.clear()
        server.models.poll()
        assert server.models.available() == {"toy": [1]}
        shutil.rmtree(models / "toy")
        server.models.poll()
        assert server.models.available() == {}


def test_a_folder_of_models_that_is_away_is_told_of_once(models, caplog):
    def said() -> int:
        return sum("cannot look for models" in record.getMessage() for record in caplog.records)

    with Server(models, "127.0.0.1:0", poll=0.02):
        models.rename(models.with_name("away"))
        until(said)
        time.sleep(0.3)
        assert said() == 1
        models.with_name("away").rename(models)
        time.sleep(0.3)
        models.rename(models.with_name("away"))
        until(lambda: said() == 2)


def test_the_configuration_is_replaced(models, toys):
    def reload(text: str):
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return stub.HandleReloadConfigRequest(request, 30)

    def entry(name="toy", path=toys, rest="model_version_policy { all {} }", platform="tensorflow"):
        known = f'model_platform: "{platform}"' if platform else ""
        return f'config {{ name: "{name}" base_path: "{path}" {known} {rest} }}'

    def refused(text: str) -> tuple:
        with pytest.raises(grpc.RpcError) as caught:
            reload(text)
        return caught.value.code(), caught.value.details()

    with (
        Server({"toy": toys}, "127.0.0.1:0") as server,
        connect(server) as client,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", LOCAL) as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert server.models.available() == {"toy": [2]}
        label = 'model_version_policy { all {} } version_labels { key: "old" value: %d }'
        assert reload(f"model_config_list {{ {entry(rest=label % 1)} {entry('other')} }}").status.error_code == 0
        assert server.models.available() == {"toy": [1, 2], "other": [1, 2]}
        assert offset(client, version="old") == 2
        specific = "model_version_policy { specific { versions: 1 } }"
        reload(f"model_config_list {{ {entry(rest=specific)} }}")
        assert server.models.available() == {"toy": [1]}
        bad = Code.INVALID_ARGUMENT
        code, text = refused(f"model_config_list {{ {entry()} {entry()} }}")
        assert (code, text) == (bad, "Illegal to list model toy multiple times in config list")
        code, text = refused(f"model_config_list {{ {entry(path='rel/toy')} }}")
        assert (code, text) == (bad, "Expected model toy to have an absolute path or URI; got base_path()=rel/toy")
        code, text = refused(f"model_config_list {{ {entry(path='gs://bucket/toy')} }}")
        assert (code, text) == (bad, "model toy lies at gs://bucket/toy; only folders of this machine are served")
        code, text = refused(f"model_config_list {{ {entry(platform='')} }}")
        assert code is bad and text.startswith("Illegal setting neither ModelServerConfig::model_type")
        code, text = refused(f"model_config_list {{ {entry(rest='model_type: TENSORFLOW')} }}")
        assert code is bad and text.startswith("Illegal setting both ModelServerConfig::model_type (deprecated)")
        code, text = refused(f"model_config_list {{ {entry(platform='', rest='model_type: OTHER')} }}")
        assert (code, text) == (bad, "ModelServerConfig::model_type choice 2 not supported.")
        code, text = refused(f"model_config_list {{ {entry(rest=label % 55)} }}")
        assert code is Code.FAILED_PRECONDITION
        assert text == (
            "Request to assign label to version 55 of model toy, which is not currently available for inference"
        )


def test_a_file_with_every_field_of_tensorflow_serving(toys, tmp_path, caplog):
    """Its older files name a type, and it logs requests, which this server does not; it says so once."""
    text = f"""model_config_list {{ config {{ name: "toy" base_path: "{toys}" model_type: TENSORFLOW
      logging_config {{ log_collector_config {{ type: "file" filename_prefix: "/logs/toy" }}
        sampling_config {{ sampling_rate: 0.5 attributes: 1
          per_task_sampling_configs {{ dc: "a" task_index: 1 sampling_rate: 0.1 }} }} }} }} }}"""
    (tmp_path / "models.config").write_text(text)
    config = read_config(tmp_path / "models.config", wire.ModelServerConfig)
    official = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert config.SerializeToString(deterministic=True) == official.SerializeToString(deterministic=True)
    with Server(config, "127.0.0.1:0") as server:
        assert server.models.available() == {"toy": [2]}
        server.models.configure(list(config.model_config_list.config))
    said = [record.message for record in caplog.records if "logging_config" in record.message]
    assert said == ["toy: its logging_config has no effect here: no requests are logged"]


def test_a_file_that_is_written_anew_takes_no_model_away(models, toys, tmp_path):
    file = tmp_path / "models.config"
    entry = 'model_config_list { config { name: "%s" base_path: "%s" model_platform: "tensorflow" } }'
    with Server({"toy": models / "toy"}, "127.0.0.1:0") as server:
        file.write_text("")
        follow(server, file, 0.02)
        time.sleep(0.3)
        assert server.models.available() == {"toy": [1]}
        file.write_bytes(b"model_config_list { # \xff")  # cut within a letter
        time.sleep(0.3)
        file.write_text(entry % ("other", toys))
        until(lambda: server.models.available() == {"other": [2]})
        file.write_text("model_config_list {}")
        until(lambda: server.models.available() == {})


# --- start and end ---------------------------------------------------------------------------------------------------


def test_a_watcher_hears_of_each_change(models, toys):
    publish(toys / "1", models / "brief" / "1")
    with (
        Server(models, "127.0.0.1:0", poll=0.05) as server,
        watched(server, "models/toy") as toy,
        watched(server, "models/brief") as brief,
        watched(server, "models/later") as later,
        watched(server, "") as all_,
    ):
        assert [heard.get(timeout=5) for heard in (toy, brief, later, all_)] == [1, 1, 3, 1]
        publish(toys / "1", models / "later" / "1")
        assert later.get(timeout=15) == 1
        shutil.rmtree(models / "brief")
        assert brief.get(timeout=15) == 3  # nobody knows it any more
        assert toy.empty() and all_.empty()
        server.stop()
        assert [heard.get(timeout=5) for heard in (toy, toy, all_, all_)] == [2, "ended", 2, "ended"]
        assert (brief.get(timeout=5), later.get(timeout=5), later.get(timeout=5)) == ("ended", 2, "ended")


def test_watchers_hold_no_thread_and_do_not_hold_up_the_end(models):
    with Server(models, "127.0.0.1:0", threads=1, in_flight=4) as server:
        with ExitStack() as stack, connect(server) as client:
            for _ in range(6):  # One after the other: a watch counts as in flight until its handler has returned.
                assert stack.enter_context(watched(server, "models/toy")).get(timeout=5) == 1
            assert offset(client) == 2
            started = time.monotonic()
            server.stop(30)
            assert time.monotonic() - started < 10
        until(lambda: not server.services.health._watchers)


def test_a_watcher_who_leaves_is_forgotten(models):
    with Server(models, "127.0.0.1:0") as server:
        with watched(server, "") as heard:
            assert heard.get(timeout=5) == 1
        until(lambda: not server.services.health._watchers)


def test_a_taken_port(models):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen at 127.0.0.1:{port}: is another server"):
            Server(models, f"127.0.0.1:{port}").start()


def test_a_host_that_is_none_of_this_machine(models):
    with pytest.raises(ServerError, match=r"cannot listen at 192.0.2.1:0: .*; give an address of this machine"):
        Server(models, "192.0.2.1:0").start()
    with pytest.raises(ServerError, match=r"cannot listen at nohost.invalid:0: .*; give an address of this machine"):
        Server(models, "nohost.invalid:0").start()


def test_both_interfaces_at_one_port(models):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(ServerError, match=f"gRPC and REST are both to listen at 127.0.0.1:{port}"):
        Server(models, f"127.0.0.1:{port}", rest=f"127.0.0.1:{port}").start()


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", "127.0.0.1:99999", ":x"])
def test_an_address_that_is_none(models, address):
    with pytest.raises(ServerError, match="is no address; give host:port"):
        Server(models, address).start()


def test_nothing_to_serve(tmp_path):
    with pytest.raises(ServerError, match="zoo export NAME"):
        Server(tmp_path / "nowhere", "127.0.0.1:0").start()
    (tmp_path / "toy" / "1").mkdir(parents=True)
    (tmp_path / "toy" / "1" / "saved_model.pb").touch()
    with pytest.raises(ServerError, match=f"{tmp_path / 'toy'} holds versions of a model; models lie in {tmp_path};"):
        Server(tmp_path / "toy", "127.0.0.1:0").start()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ServerError, match="model m cannot be served: .* has no folder named by a number"):
        Server({"m": tmp_path / "empty"}, "127.0.0.1:0").start()


def test_a_model_that_does_not_load_at_the_start(models):
    (models / "toy" / "1" / "saved_model.pb").unlink()
    with pytest.raises(ServerError, match="model toy cannot be served: version 1: "):
        Server(models, "127.0.0.1:0").start()


def test_more_requests_than_are_allowed_are_refused(models):
    with Server(models, "127.0.0.1:0", threads=1, in_flight=1) as server, connect(server, retries=0) as client:
        thread = threading.Thread(
            target=lambda: client.predict("toy", {"rounds": np.int32(600)}, signature="slow"),
        )
        thread.start()
        time.sleep(0.1)
        with pytest.raises(clients.Overloaded, match="Concurrent RPC limit"):
            offset(client)
        thread.join()
        with connect(server, retries=9) as patient:
            assert offset(patient) == 2


def test_work_of_callers_who_left_is_not_begun(models):
    with Server(models, "127.0.0.1:0", threads=1) as server, connect(server, retries=0) as client:
        runs, predict = [], server.models.lookup
        server.models.lookup = lambda spec: runs.append(spec) or predict(spec)  # type: ignore[method-assign]
        thread = threading.Thread(
            target=lambda: client.predict("toy", {"rounds": np.int32(150)}, signature="slow"),
        )
        thread.start()
        until(lambda: runs)
        with pytest.raises(clients.DeadlineExceeded):
            offset(client, timeout=0.05)
        thread.join()
        assert offset(client) == 2
    assert len(runs) == 2  # the slow one and the last


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_end(models, number, tmp_path):
    config = tmp_path / "models.config"
    path = json.dumps(str(models / "toy"))
    config.write_text(
        f'model_config_list {{ config {{ name: "toy" base_path: {path} model_platform: "tensorflow" }} }}'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--host=127.0.0.1", f"--port={port}", f"--model_config_file={config}", "--some_flag=1"]
    process = subprocess.Popen([sys.executable, "-m", "serving.server", *flags], stderr=subprocess.PIPE, text=True)
    try:
        with Client(f"127.0.0.1:{port}", options=LOCAL, retries=0) as client:
            client.wait(120)
            threading.Timer(0.3, process.send_signal, [number]).start()
            answer = client.predict("toy", {"rounds": np.int32(300)}, signature="slow")
            assert answer["y"].item() == 2
            assert process.wait(20) == 0
            with pytest.raises(clients.Unavailable):
                offset(client)
        text = process.stderr.read()
        assert "unknown flag: --some_flag=1" in text and "stopping; requests that run may end" in text
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_signal_while_models_load_ends_the_process_at_once(models, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def load(name, folder):
        begun.set()
        ended.wait(60)
        raise OSError("it never came to be")

    codes = []
    monkeypatch.setattr(os, "_exit", lambda code: codes.append(code) or ended.set())
    server = Server(models, "127.0.0.1:0")
    server.models._load_version = load
    threading.Thread(target=lambda: begun.wait(60) and os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(ServerError, match="it never came to be"):  # only since _exit returned
        serve(server)
    assert codes == [0] and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_the_command_says_what_is_wrong(models):
    flags = ["--model_name=toy", f"--model_base_path={models / 'nowhere'}", "--port=18511"]
    done = subprocess.run([sys.executable, "-m", "serving.server", *flags], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "error: model toy cannot be served" in done.stderr
    assert "Traceback" not in done.stderr
