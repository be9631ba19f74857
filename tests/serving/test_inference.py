"""Classify, Regress and MultiInference, asked by the official stubs."""

from __future__ import annotations

import grpc
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, prediction_service_pb2_grpc, regression_pb2
from toys import LOCAL

from serving import inference, wire
from serving.servable import StatusError
from serving.server import Server

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def stub(toys):
    with (
        Server({"toy": toys}, "127.0.0.1:0") as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}", LOCAL) as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def ask(kind, signature="", *values, name="toy"):
    request = kind()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_classes_and_numbers(stub):
    answer = stub.Classify(ask(classification_pb2.ClassificationRequest, "classify", 0.25, 1.0), 10)
    rows = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert rows == [[("small", 3.75), ("great", 3.25)], [("small", 3.0), ("great", 4.0)]]
    spec = answer.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("toy", "classify", 2)
    answer = stub.Regress(ask(regression_pb2.RegressionRequest, "regress", 2.0, 4.0), 10)
    assert [entry.value for entry in answer.result.regressions] == [4.0, 5.0]


def test_the_context_of_examples(stub):
    request = ask(regression_pb2.RegressionRequest, "regress")
    given = request.input.example_list_with_context
    given.context.features.feature["x"].float_list.value.append(6.0)
    given.examples.add()
    given.examples.add().features.feature["x"].float_list.value.append(2.0)
    assert [entry.value for entry in stub.Regress(request, 10).result.regressions] == [6.0, 4.0]


def several(*tasks, values=(2.0,)):
    request = inference_pb2.MultiInferenceRequest()
    for name, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_several_signatures_at_once(stub):
    answer = stub.MultiInference(several(("toy", "regress", "regress"), ("toy", "classify", "classify")), 10)
    first, second = answer.results
    assert first.regression_result.regressions[0].value == 4.0
    assert [c.score for c in second.classification_result.classifications[0].classes] == [2.0, 5.0]
    assert (second.model_spec.signature_name, second.model_spec.version.value) == ("classify", 2)


@pytest.mark.parametrize(
    ("call", "request_", "code", "text"),
    [
        ("Classify", classification_pb2.ClassificationRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "classify", 1.0, name="no"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(no)",
        ),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "no", 1.0),
            Code.INVALID_ARGUMENT,
            "No signature was found with the name: no",
        ),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "classify"),
            Code.INVALID_ARGUMENT,
            "Input is empty.",
        ),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "two", 1.0),
            Code.INVALID_ARGUMENT,
            "Expected one input Tensor.",
        ),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "regress", 1.0),
            Code.INVALID_ARGUMENT,
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was',
        ),
        (
            "Classify",
            ask(classification_pb2.ClassificationRequest, "", 1.0),
            Code.INVALID_ARGUMENT,
            "No classification inputs found in SignatureDef: ",
        ),
        (
            "Regress",
            ask(regression_pb2.RegressionRequest, "classify", 1.0),
            Code.INVALID_ARGUMENT,
            "Expected one output Tensor.",
        ),
        (
            "Regress",
            ask(regression_pb2.RegressionRequest, "", 1.0),
            Code.INVALID_ARGUMENT,
            "No regression inputs found in SignatureDef: ",
        ),
        ("MultiInference", several(), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            "MultiInference",
            several(("toy", "regress", "regress"), ("other", "classify", "classify")),
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            "MultiInference",
            several(("toy", "regress", "regress"), ("toy", "regress", "regress")),
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress",
        ),
        (
            "MultiInference",
            several(("toy", "no", "regress")),
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: no",
        ),
        (
            "MultiInference",
            several(("toy", "regress", "predict")),
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        ("MultiInference", several(("toy", "regress", "regress"), values=()), Code.INVALID_ARGUMENT, "Input is empty."),
    ],
)
def test_refusals(stub, call, request_, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, call)(request_, timeout=10)
    assert caught.value.code() is code and caught.value.details().startswith(text)


def test_the_method_that_a_signature_names_is_checked_where_asked():
    definition = wire.SignatureDef(method_name="tensorflow/serving/predict")
    definition.inputs["inputs"].dtype = 7
    definition.outputs["outputs"].dtype = 1
    assert inference.outputs_of(definition, inference.REGRESS) == ["outputs"]
    with pytest.raises(
        StatusError, match="method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict"
    ):
        inference.outputs_of(definition, inference.REGRESS, check=True)
