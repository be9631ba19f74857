"""Messages and tensors of TensorFlow Serving's protocol, without TensorFlow.

The messages have the field numbers of tensorflow-serving-api, so the bytes are the same, but they live in an own
package and an own descriptor pool: they load beside TensorFlow in one process, and under any protobuf from 4.25 on
(generated modules run only with a protobuf like the one that made them). Only the fields that this project reads or
writes are declared; others survive as unknown fields.

    array ─► encode ─► TensorProto ─► PredictRequest ─► gRPC ─► … ─► PredictResponse ─► TensorProto ─► decode ─► array
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "ocrzoo.wire"
POOL = descriptor_pool.DescriptorPool()
FIELD = re.compile(r"(repeated )?(?:map<string, (\w+)>|(\w+)) (\w+) = (\d+)")
LIMIT = 2**31  # bytes: gRPC carries no larger message, so no tensor may unfold to more

_SCALARS = {
    name: getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32", "uint64")
}


ENUMS = {"ModelType": ("MODEL_TYPE_UNSPECIFIED", "TENSORFLOW", "OTHER")}  # which people write by their names


def _add_field(
    message: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int, repeated: bool
) -> descriptor_pb2.FieldDescriptorProto:
    field = message.field.add(name=name, number=number, label=3 if repeated else 1)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind in ENUMS:
        field.type, field.type_name = field.TYPE_ENUM, f".{PACKAGE}.{kind}"
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    return field


def _message(name: str, fields: str = "") -> Any:
    """The class of a message whose fields are given as in a .proto file; messages in it must be declared before it."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}.{name}", package=PACKAGE, syntax="proto3")
    message = file.message_type.add(name=name)
    for repeated, values, kind, field, number in FIELD.findall(fields):
        if values:  # a map is a repeated message of key and value
            entry = message.nested_type.add(name=field.title().replace("_", "") + "Entry")
            entry.options.map_entry = True
            _add_field(entry, "string", "key", 1, False)
            _add_field(entry, values, "value", 2, False)
            _add_field(message, f"{name}.{entry.name}", field, int(number), True)
        else:
            _add_field(message, kind, field, int(number), bool(repeated))
    used = {values or kind for _, values, kind, _, _ in FIELD.findall(fields)} - set(_SCALARS)
    file.dependency.extend(f"{PACKAGE}.{other}" for other in sorted(used))
    POOL.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def _enums() -> None:
    """Declares the enumerations; messages may be of these."""
    for name, values in ENUMS.items():
        file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}.{name}", package=PACKAGE, syntax="proto3")
        made = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            made.value.add(name=value, number=number)
        POOL.AddSerializedFile(file.SerializeToString())


_enums()

# --- tensors ---------------------------------------------------------------------------------------------------------

Dim = _message("Dim", "int64 size = 1; string name = 2")
TensorShape = _message("TensorShape", "repeated Dim dim = 2; bool unknown_rank = 3")
# On the wire a packed list of floats is a byte string, and as one it is read and written a hundred times faster than
# through Python numbers. It is repeated because a sender may split a packed list; senders that do not pack at all are
# read by `Unpacked`.
TensorProto = _message(
    "TensorProto",
    """
    int32 dtype = 1; TensorShape tensor_shape = 2; int32 version_number = 3; bytes tensor_content = 4;
    repeated bytes float_val = 5; repeated bytes double_val = 6; repeated int32 int_val = 7;
    repeated bytes string_val = 8; repeated bytes scomplex_val = 9; repeated int64 int64_val = 10;
    repeated bool bool_val = 11; repeated bytes dcomplex_val = 12; repeated int32 half_val = 13;
    repeated uint32 uint32_val = 16; repeated uint64 uint64_val = 17
    """,
)
Unpacked = _message(
    "Unpacked",
    """repeated float float_val = 5; repeated double double_val = 6; repeated float scomplex_val = 9;
    repeated double dcomplex_val = 12""",
)
TensorInfo = _message("TensorInfo", "string name = 1; int32 dtype = 2; TensorShape tensor_shape = 3")
SignatureDef = _message(
    "SignatureDef",
    """map<string, TensorInfo> inputs = 1; map<string, TensorInfo> outputs = 2; string method_name = 3;
    map<string, TensorProto> defaults = 4""",
)
SignatureDefMap = _message("SignatureDefMap", "map<string, SignatureDef> signature_def = 1")

# --- requests and responses ------------------------------------------------------------------------------------------

Int64Value = _message("Int64Value", "int64 value = 1")
AnyMessage = _message("AnyMessage", "string type_url = 1; bytes value = 2")
ModelSpec = _message(
    "ModelSpec", "string name = 1; Int64Value version = 2; string signature_name = 3; string version_label = 4"
)
PredictRequest = _message(
    "PredictRequest", "ModelSpec model_spec = 1; map<string, TensorProto> inputs = 2; repeated string output_filter = 3"
)
PredictResponse = _message("PredictResponse", "map<string, TensorProto> outputs = 1; ModelSpec model_spec = 2")
GetModelMetadataRequest = _message(
    "GetModelMetadataRequest", "ModelSpec model_spec = 1; repeated string metadata_field = 2"
)
GetModelMetadataResponse = _message(
    "GetModelMetadataResponse", "ModelSpec model_spec = 1; map<string, AnyMessage> metadata = 2"
)
StatusProto = _message("StatusProto", "int32 error_code = 1; string error_message = 2")
ModelVersionStatus = _message("ModelVersionStatus", "int64 version = 1; int32 state = 2; StatusProto status = 3")
GetModelStatusRequest = _message("GetModelStatusRequest", "ModelSpec model_spec = 1")
GetModelStatusResponse = _message("GetModelStatusResponse", "repeated ModelVersionStatus model_version_status = 1")

# Examples stay serialized: a server hands them to the graph as they came.
Examples = _message("Examples", "repeated bytes examples = 1")
ExamplesWithContext = _message("ExamplesWithContext", "repeated bytes examples = 1; bytes context = 2")
Input = _message("Input", "Examples example_list = 1; ExamplesWithContext example_list_with_context = 2")
Class = _message("Class", "string label = 1; float score = 2")
Classifications = _message("Classifications", "repeated Class classes = 1")
ClassificationResult = _message("ClassificationResult", "repeated Classifications classifications = 1")
ClassificationRequest = _message("ClassificationRequest", "ModelSpec model_spec = 1; Input input = 2")
ClassificationResponse = _message("ClassificationResponse", "ClassificationResult result = 1; ModelSpec model_spec = 2")
Regression = _message("Regression", "float value = 1")
RegressionResult = _message("RegressionResult", "repeated Regression regressions = 1")
RegressionRequest = _message("RegressionRequest", "ModelSpec model_spec = 1; Input input = 2")
RegressionResponse = _message("RegressionResponse", "RegressionResult result = 1; ModelSpec model_spec = 2")
InferenceTask = _message("InferenceTask", "ModelSpec model_spec = 1; string method_name = 2")
InferenceResult = _message(
    "InferenceResult",
    "ModelSpec model_spec = 1; ClassificationResult classification_result = 2; RegressionResult regression_result = 3",
)
MultiInferenceRequest = _message("MultiInferenceRequest", "repeated InferenceTask tasks = 1; Input input = 2")
MultiInferenceResponse = _message("MultiInferenceResponse", "repeated InferenceResult results = 1")

BytesList = _message("BytesList", "repeated bytes value = 1")
FloatList = _message("FloatList", "repeated float value = 1")
Int64List = _message("Int64List", "repeated int64 value = 1")
Feature = _message("Feature", "BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3")
Features = _message("Features", "map<string, Feature> feature = 1")
Example = _message("Example", "Features features = 1")

PredictLog = _message("PredictLog", "PredictRequest request = 1; PredictResponse response = 2")
ClassifyLog = _message("ClassifyLog", "ClassificationRequest request = 1; ClassificationResponse response = 2")
RegressLog = _message("RegressLog", "RegressionRequest request = 1; RegressionResponse response = 2")
MultiInferenceLog = _message(
    "MultiInferenceLog", "MultiInferenceRequest request = 1; MultiInferenceResponse response = 2"
)
PredictionLog = _message(  # a record of a warm-up file
    "PredictionLog",
    """ClassifyLog classify_log = 2; RegressLog regress_log = 3; MultiInferenceLog multi_inference_log = 4;
    PredictLog predict_log = 6""",
)

# --- configuration of a server ---------------------------------------------------------------------------------------

Latest = _message("Latest", "uint32 num_versions = 1")
All = _message("All")
Specific = _message("Specific", "repeated int64 versions = 1")
VersionPolicy = _message("VersionPolicy", "Latest latest = 100; All all = 101; Specific specific = 102")
LogCollectorConfig = _message("LogCollectorConfig", "string type = 1; string filename_prefix = 2")
PerTaskSamplingConfig = _message(
    "PerTaskSamplingConfig", "string dc = 1; int32 task_index = 2; double sampling_rate = 3"
)
SamplingConfig = _message(
    "SamplingConfig",
    "double sampling_rate = 1; int32 attributes = 2; repeated PerTaskSamplingConfig per_task_sampling_configs = 3",
)
LoggingConfig = _message(
    "LoggingConfig",
    """LogCollectorConfig log_collector_config = 1; SamplingConfig sampling_config = 2;
    AnyMessage custom_logging_config = 3""",
)
ModelConfig = _message(
    "ModelConfig",
    """string name = 1; string base_path = 2; ModelType model_type = 3; string model_platform = 4;
    LoggingConfig logging_config = 6; VersionPolicy model_version_policy = 7; map<string, int64> version_labels = 8""",
)
ModelConfigList = _message("ModelConfigList", "repeated ModelConfig config = 1")
ModelServerConfig = _message(
    "ModelServerConfig", "ModelConfigList model_config_list = 1; AnyMessage custom_model_config = 2"
)
ReloadConfigRequest = _message("ReloadConfigRequest", "ModelServerConfig config = 1; repeated string metric_names = 2")
ReloadConfigResponse = _message("ReloadConfigResponse", "StatusProto status = 1")

BoolValue = _message("BoolValue", "bool value = 1")
StringValue = _message("StringValue", "string value = 1")
BatchingParameters = _message(
    "BatchingParameters",
    """Int64Value max_batch_size = 1; Int64Value batch_timeout_micros = 2; Int64Value max_enqueued_batches = 3;
    Int64Value num_batch_threads = 4; StringValue thread_pool_name = 5; repeated int64 allowed_batch_sizes = 6;
    bool pad_variable_length_inputs = 7; BoolValue enable_large_batch_splitting = 8;
    Int64Value max_execution_batch_size = 9""",
)
SSLConfig = _message(
    "SSLConfig", "string server_key = 1; string server_cert = 2; string custom_ca = 3; bool client_verify = 4"
)
PrometheusConfig = _message("PrometheusConfig", "bool enable = 1; string path = 2")
MonitoringConfig = _message("MonitoringConfig", "PrometheusConfig prometheus_config = 1")

HealthCheckRequest = _message("HealthCheckRequest", "string service = 1")
HealthCheckResponse = _message("HealthCheckResponse", "int32 status = 1")


class Method(NamedTuple):
    """A remote procedure: its path and its messages."""

    service: str
    name: str
    request: Any
    response: Any

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


PREDICT = Method("tensorflow.serving.PredictionService", "Predict", PredictRequest, PredictResponse)
CLASSIFY = Method("tensorflow.serving.PredictionService", "Classify", ClassificationRequest, ClassificationResponse)
REGRESS = Method("tensorflow.serving.PredictionService", "Regress", RegressionRequest, RegressionResponse)
MULTI_INFERENCE = Method(
    "tensorflow.serving.PredictionService", "MultiInference", MultiInferenceRequest, MultiInferenceResponse
)
METADATA = Method(
    "tensorflow.serving.PredictionService", "GetModelMetadata", GetModelMetadataRequest, GetModelMetadataResponse
)
STATUS = Method("tensorflow.serving.ModelService", "GetModelStatus", GetModelStatusRequest, GetModelStatusResponse)
RELOAD = Method(
    "tensorflow.serving.ModelService", "HandleReloadConfigRequest", ReloadConfigRequest, ReloadConfigResponse
)
HEALTH = Method("grpc.health.v1.Health", "Check", HealthCheckRequest, HealthCheckResponse)
WATCH = Method("grpc.health.v1.Health", "Watch", HealthCheckRequest, HealthCheckResponse)  # any number of responses

SIGNATURES_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"  # of the one metadata field, "signature_def"
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

# --- arrays ----------------------------------------------------------------------------------------------------------


class DType(NamedTuple):
    """A tensor's element type: its number and name, its little-endian NumPy type, the field of its values."""

    number: int
    name: str
    numpy: np.dtype | None  # None: bfloat16, which NumPy lacks, or strings
    field: str


_TYPES = [
    DType(number, f"DT_{name}", np.dtype(numpy) if numpy else None, field)
    for number, name, numpy, field in (
        (1, "FLOAT", "<f4", "float_val"),
        (2, "DOUBLE", "<f8", "double_val"),
        (3, "INT32", "<i4", "int_val"),
        (4, "UINT8", "u1", "int_val"),
        (5, "INT16", "<i2", "int_val"),
        (6, "INT8", "i1", "int_val"),
        (7, "STRING", None, "string_val"),
        (8, "COMPLEX64", "<c8", "scomplex_val"),
        (9, "INT64", "<i8", "int64_val"),
        (10, "BOOL", "?", "bool_val"),
        (14, "BFLOAT16", None, "half_val"),
        (17, "UINT16", "<u2", "int_val"),
        (18, "COMPLEX128", "<c16", "dcomplex_val"),
        (19, "HALF", "<f2", "half_val"),
        (22, "UINT32", "<u4", "uint32_val"),
        (23, "UINT64", "<u8", "uint64_val"),
    )
]
DTYPES = {dtype.number: dtype for dtype in _TYPES}
STRING, BFLOAT16 = DTYPES[7], DTYPES[14]
POINTER = 8  # bytes of an element that is a string, which lies elsewhere
_BY_NUMPY = {dtype.numpy: dtype for dtype in _TYPES if dtype.numpy}
_BYTES_FIELDS = {"float_val", "double_val", "scomplex_val", "dcomplex_val"}


def size_of(dtype: DType) -> int:
    """Bytes of an element in an array."""
    if dtype is STRING:
        return POINTER
    return dtype.numpy.itemsize if dtype.numpy else 2


def as_array(value: Any) -> np.ndarray:
    """`value` as an array; strings and bytes as objects, since NumPy's own string type drops trailing zero bytes."""
    try:
        array = np.asarray(value)
    except UnicodeDecodeError:  # text and bytes in one list
        return np.array(value, dtype=object)
    return np.array(value, dtype=object) if array.dtype.kind in "SU" else array


def encode(value: Any, content: bool = True) -> Any:
    """The TensorProto of an array, a number, bytes, text (as UTF-8), or a list of these.

    Args:
        content: numbers as one block of bytes; False puts them into the field of their type, as servers do.

    Raises:
        ValueError: TensorFlow has no such element type.
    """
    array = as_array(value)
    dtype = type_of(array)
    tensor = TensorProto(dtype=dtype.number)
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype is STRING:
        tensor.string_val.extend(x.encode() if isinstance(x, str) else x for x in array.ravel().tolist())
    elif content:
        tensor.tensor_content = _little_endian(array, dtype).tobytes()
    else:
        _fill(getattr(tensor, dtype.field), _little_endian(array, dtype).ravel(), dtype)
    return tensor


def type_of(array: np.ndarray) -> DType:
    """TensorFlow's element type of an array.

    Raises:
        ValueError: there is none.
    """
    kind = array.dtype
    if kind.kind == "O" and all(isinstance(x, bytes | str) for x in array.ravel().tolist()):
        return STRING
    if kind.name == "bfloat16":  # of the package ml_dtypes
        return BFLOAT16
    found = None if kind.kind == "O" else _BY_NUMPY.get(kind.newbyteorder("<"))
    if found is None:
        raise ValueError(f"TensorFlow has no tensors of {kind}; give numbers, truth values, bytes or text")
    return found


def _little_endian(array: np.ndarray, dtype: DType) -> np.ndarray:
    return array if dtype is BFLOAT16 else np.ascontiguousarray(array, dtype.numpy).reshape(array.shape)


def _fill(field: Any, flat: np.ndarray, dtype: DType) -> None:
    if dtype.field in _BYTES_FIELDS:
        if len(flat):
            field.append(flat.tobytes())
    elif dtype.field == "half_val":  # the 16 bits of each number
        field.extend(flat.view(np.uint16).tolist())
    else:
        field.extend(flat.tolist())


def decode(tensor: Any, bfloat16: Any = None) -> np.ndarray:
    """The array of a TensorProto; strings as an array of bytes objects.

    As in TensorFlow, missing values repeat the last one given, and no value at all means zeros.

    Args:
        bfloat16: the NumPy type of such numbers (that of ml_dtypes); None widens them to float32, which loses nothing.

    Raises:
        ValueError: the message is no valid tensor; the text says why.
    """
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise ValueError(f"a tensor of type {tensor.dtype} cannot be read")
    shape = _shape(tensor, dtype)
    if dtype is STRING:
        return _strings(tensor, shape)
    stored = dtype.numpy or np.dtype("<u2")
    if tensor.tensor_content:
        flat = _content(tensor.tensor_content, stored, shape)
    else:
        flat = _repeat_last(_values(tensor, dtype, stored, math.prod(shape)), math.prod(shape))
    if dtype is BFLOAT16:
        flat = flat.view(bfloat16) if bfloat16 else (flat.astype("<u4") << 16).view("<f4")
    return flat.reshape(shape)


def _shape(tensor: Any, dtype: DType) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"a tensor must have a known shape, not {shape or 'an unknown rank'}")
    if math.prod(shape) * size_of(dtype) > LIMIT:
        raise ValueError(f"a tensor of shape {shape} has more than {LIMIT} bytes")
    return shape


def _content(content: bytes, stored: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if len(content) != math.prod(shape) * stored.itemsize:
        raise ValueError(f"{len(content)} bytes of content do not fill a tensor of {stored} and shape {shape}")
    return np.frombuffer(content, stored).copy()  # a copy can be written to


def _strings(tensor: Any, shape: tuple[int, ...]) -> np.ndarray:
    if tensor.tensor_content:
        raise ValueError("strings must be sent as string_val, not as content")
    flat = np.empty(math.prod(shape), object)
    given = list(tensor.string_val)[: len(flat)]
    flat[: len(given)] = given
    flat[len(given) :] = given[-1] if given else b""
    return flat.reshape(shape)


def _values(tensor: Any, dtype: DType, stored: np.dtype, count: int) -> np.ndarray:
    """The numbers that stand in the field of the type, at most `count`."""
    field = getattr(tensor, dtype.field)
    if dtype.field in _BYTES_FIELDS:
        packed = b"".join(field)
        if len(packed) in (count * stored.itemsize, stored.itemsize):
            return np.frombuffer(packed, stored)[:count].copy()
        numbers = getattr(Unpacked.FromString(tensor.SerializeToString()), dtype.field)
        real = "<f4" if stored.itemsize == 4 or dtype.name == "DT_COMPLEX64" else "<f8"
        numbers = np.array(numbers, real)
        return numbers[: len(numbers) // 2 * 2].view(stored)[:count] if stored.kind == "c" else numbers[:count]
    if dtype.field == "half_val":
        return np.array(field, np.int64).astype("<u2").view(stored)[:count]
    wide = np.uint64 if stored.kind == "u" and stored.itemsize == 8 else np.int64
    return np.array(field, wide).astype(stored)[:count]


def _repeat_last(flat: np.ndarray, count: int) -> np.ndarray:
    if len(flat) >= count:
        return flat
    last = flat[-1] if len(flat) else flat.dtype.type(0)
    return np.concatenate([flat, np.full(count - len(flat), last, flat.dtype)])
