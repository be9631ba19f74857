"""Messages and tensors against the official stubs of tensorflow-serving-api, in both directions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
)

from serving import wire

NUMBERS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16", "?"]
ARRAYS = st.sampled_from(NUMBERS).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
STRINGS = hnp.arrays(object, hnp.array_shapes(max_dims=2, min_side=0, max_side=4), elements=st.binary(max_size=9))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def official(tensor) -> tensor_pb2.TensorProto:
    return tensor_pb2.TensorProto.FromString(tensor.SerializeToString())


def ours(tensor):
    return wire.TensorProto.FromString(tensor.SerializeToString())


@settings(max_examples=300, deadline=None)
@given(ARRAYS, st.booleans())
def test_tensorflow_reads_what_we_write(array, content):
    assert same(tf.make_ndarray(official(wire.encode(array, content))), array)


@settings(max_examples=300, deadline=None)
@given(ARRAYS)
def test_we_read_what_tensorflow_writes(array):
    assert same(wire.decode(ours(tf.make_tensor_proto(array))), array)


@settings(max_examples=300, deadline=None)
@given(ARRAYS, st.booleans())
def test_a_round_trip_changes_nothing(array, content):
    decoded = wire.decode(ours(wire.encode(array, content)))
    assert same(decoded, array)
    assert decoded.flags.writeable


@settings(max_examples=100, deadline=None)
@given(STRINGS)
def test_strings_go_both_ways(array):
    assert (tf.make_ndarray(official(wire.encode(array))) == array).all()
    decoded = wire.decode(ours(tf.make_tensor_proto(array, tf.string)))
    assert decoded.shape == array.shape and decoded.tolist() == array.tolist()


def test_zero_bytes_at_the_end_of_strings_are_kept():
    assert wire.decode(wire.encode([b"\x89PNG\x00\x00", b"\x00"])).tolist() == [b"\x89PNG\x00\x00", b"\x00"]
    assert wire.decode(wire.encode(b"a\x00")).item() == b"a\x00"
    assert wire.decode(wire.encode("Straße")).item() == "Straße".encode()


def test_strides_and_byte_order_do_not_matter():
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    for content in (True, False):
        assert tf.make_ndarray(official(wire.encode(array, content))).tolist() == array.tolist()


def test_bfloat16_is_sent_as_it_is_and_read_exactly():
    array = np.array([[1.5, -2.0], [3.140625, np.inf]], ml_dtypes.bfloat16)
    for content in (True, False):
        tensor = wire.encode(array, content)
        assert same(tf.make_ndarray(official(tensor)), array)
        assert same(wire.decode(tensor, ml_dtypes.bfloat16), array)
        assert same(wire.decode(tensor), array.astype("f4"))


def test_floats_that_are_not_packed_are_read():
    empty = tensor_pb2.TensorProto(dtype=1)
    empty.tensor_shape.dim.add(size=2)
    values = b"".join(b"\x2d" + np.float32(x).tobytes() for x in (1.5, -3.25))  # 0x2d: field 5, as four bytes
    data = empty.SerializeToString() + values
    assert list(tensor_pb2.TensorProto.FromString(data).float_val) == [1.5, -3.25]  # it is valid
    assert wire.decode(wire.TensorProto.FromString(data)).tolist() == [1.5, -3.25]


def test_a_packed_list_in_two_parts_is_read():
    first = tensor_pb2.TensorProto(dtype=1, float_val=[1, 2])
    second = tensor_pb2.TensorProto(float_val=[3])
    second.tensor_shape.dim.add(size=3)
    data = first.SerializeToString() + second.SerializeToString()
    assert wire.decode(wire.TensorProto.FromString(data)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "field", "value"),
    [
        (1, "float_val", 2.5),
        (2, "double_val", 2.5),
        (3, "int_val", -7),
        (4, "int_val", 200),
        (9, "int64_val", -(2**40)),
        (10, "bool_val", True),
        (19, "half_val", 0x4100),  # 2.5
        (23, "uint64_val", 2**63),
    ],
)
def test_values_that_are_missing_repeat_the_last_one(dtype, field, value):
    tensor = tensor_pb2.TensorProto(dtype=dtype)
    tensor.tensor_shape.dim.add(size=3)
    assert wire.decode(ours(tensor)).tolist() == [0, 0, 0]
    getattr(tensor, field).append(value)
    expected = tf.make_ndarray(tensor)
    assert same(wire.decode(ours(tensor)), expected)
    assert expected[2] == (2.5 if field == "half_val" else value)
    getattr(tensor, field).extend([value] * 4)  # five for three places
    assert same(wire.decode(ours(tensor)), expected)


def test_two_floats_for_four_places_repeat_the_second():
    tensor = tensor_pb2.TensorProto(dtype=1, float_val=[1, 2])
    tensor.tensor_shape.dim.add(size=4)
    assert wire.decode(ours(tensor)).tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("fields", "shape", "reason"),
    [
        ({"dtype": 0}, [1], "type 0"),
        ({"dtype": 20, "tensor_content": b"1234"}, [1], "type 20"),
        ({"dtype": 1, "tensor_content": b"123"}, [1], "3 bytes of content"),
        ({"dtype": 1, "tensor_content": b"12345678"}, [1], "8 bytes of content"),
        ({"dtype": 1, "float_val": [1.0]}, [-1], "known shape"),
        ({"dtype": 1, "float_val": [1.0]}, [2**20, 2**20], "more than"),  # one value for four terabytes
        ({"dtype": 7, "tensor_content": b"1234"}, [1], "string_val"),
    ],
)
def test_a_tensor_that_is_none_is_refused(fields, shape, reason):
    tensor = tensor_pb2.TensorProto(**fields)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(ValueError, match=reason):
        wire.decode(ours(tensor))


def test_what_tensorflow_lacks_is_refused():
    for value in (np.array(["2026-01-01"], "M8[D]"), [object()], [b"a", 1]):
        with pytest.raises(ValueError, match="TensorFlow has no tensors"):
            wire.encode(np.array(value, dtype=object) if isinstance(value, list) else value)


# --- messages --------------------------------------------------------------------------------------------------------

PAIRS = [
    (wire.PredictRequest, predict_pb2.PredictRequest),
    (wire.PredictResponse, predict_pb2.PredictResponse),
    (wire.GetModelMetadataRequest, get_model_metadata_pb2.GetModelMetadataRequest),
    (wire.GetModelMetadataResponse, get_model_metadata_pb2.GetModelMetadataResponse),
    (wire.SignatureDefMap, get_model_metadata_pb2.SignatureDefMap),
    (wire.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (wire.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    (wire.ReloadConfigRequest, model_management_pb2.ReloadConfigRequest),
    (wire.ReloadConfigResponse, model_management_pb2.ReloadConfigResponse),
    (wire.PredictionLog, prediction_log_pb2.PredictionLog),
]
PACKED_AS_BYTES = {"float_val", "double_val", "scomplex_val", "dcomplex_val"}


def is_list(field) -> bool:
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def disagreements(mine, theirs, seen: set[str]):
    if mine.full_name in seen:
        return
    seen.add(mine.full_name)
    for field in mine.fields:
        other = theirs.fields_by_name.get(field.name)
        if other is None or (other.number, is_list(other)) != (field.number, is_list(field)):
            yield f"{mine.name}.{field.name}"
        elif field.message_type:
            yield from disagreements(field.message_type, other.message_type, seen)
        elif field.name not in PACKED_AS_BYTES:
            # These are the same on the wire.
            enum = other.type == other.TYPE_ENUM and field.type == field.TYPE_INT32
            unread = other.type == other.TYPE_MESSAGE and field.type == field.TYPE_BYTES
            if not (enum or unread or other.type == field.type):
                yield f"type of {mine.name}.{field.name}"


@pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_fields_have_the_official_numbers_and_types(mine, theirs):
    seen: set[str] = set()
    assert list(disagreements(mine.DESCRIPTOR, theirs.DESCRIPTOR, seen)) == []
    assert len(seen) > 1


def test_a_request_of_ours_is_one_of_theirs_and_back():
    request = wire.PredictRequest(output_filter=["logits"])
    request.model_spec.name, request.model_spec.signature_name = "crnn", "pixels"
    request.model_spec.version.value = 7
    request.inputs["image"].CopyFrom(wire.encode(np.arange(12, dtype="u1").reshape(1, 2, 2, 3)))
    theirs = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert (theirs.model_spec.name, theirs.model_spec.version.value, list(theirs.output_filter)) == (
        "crnn",
        7,
        ["logits"],
    )
    assert tf.make_ndarray(theirs.inputs["image"]).ravel().tolist() == list(range(12))
    theirs.model_spec.version_label = "stable"  # of the two the last counts
    back = wire.PredictRequest.FromString(theirs.SerializeToString())
    assert back.model_spec.version_label == "stable" and not back.model_spec.HasField("version")


def test_signatures_are_read():
    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    definition.inputs["x"].name, definition.inputs["x"].dtype = "x:0", 1
    for size in (-1, 3):
        definition.inputs["x"].tensor_shape.dim.add(size=size)
    read = wire.SignatureDef.FromString(definition.SerializeToString())
    assert (read.inputs["x"].name, read.inputs["x"].dtype, read.method_name) == (
        "x:0",
        1,
        "tensorflow/serving/predict",
    )
    assert [dim.size for dim in read.inputs["x"].tensor_shape.dim] == [-1, 3]


def test_fields_that_are_not_declared_survive():
    theirs = predict_pb2.PredictRequest(client_id=b"me")
    back = wire.PredictRequest.FromString(theirs.SerializeToString()).SerializeToString()
    assert predict_pb2.PredictRequest.FromString(back).client_id == b"me"
