"""Tensors in the JSON of TensorFlow Serving's REST interface, in and out, with its texts of errors.

    {"instances": [row, …]} ─► TensorProtos ─► … ─► {"predictions": [row, …]}        rows: the batch axis is the list
    {"inputs": tensors}     ─► TensorProtos ─► … ─► {"outputs": tensors}             columns: the tensors as they are

Bytes are {"b64": "…"}: taken for any string, given for outputs whose name ends in "_bytes". NaN, Infinity and -Infinity
stand as such, which JSON proper does not know.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving import wire
from serving.servable import Code, StatusError

LONGEST = 256  # characters of a value that an error quotes
INDENT = " " * 4
BYTES = "_bytes"
INTEGERS = {  # the least and the greatest number that the field of a type holds
    "DT_INT32": (-(2**31), 2**31 - 1), "DT_INT16": (-(2**31), 2**31 - 1), "DT_INT8": (-(2**31), 2**31 - 1),
    "DT_UINT8": (-(2**31), 2**31 - 1), "DT_INT64": (-(2**63), 2**63 - 1), "DT_UINT32": (0, 2**32 - 1),
    "DT_UINT64": (0, 2**64 - 1),
}  # fmt: skip
FLOATS = {"DT_FLOAT", "DT_DOUBLE"}
TOO_BIG = "JSON Parse error: Number too big to be stored in double. at offset: 0"
TOO_DEEP = "JSON Parse error: Terminate parsing due to Handler error. at offset: 0"
ESCAPES = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]|(u[dD][89a-fA-F])|.)")  # group 1: an unpaired surrogate
# What Python's parser says, and RapidJSON's words for it.
PARSE_ERRORS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\": "Invalid escape character in string.",
    "Invalid control character": "Invalid encoding in string.",
}


class JsonRequest(NamedTuple):
    """What a body says.

    Attributes:
        signature: its name; "" for the default one.
        inputs: a TensorProto by name.
        rows: whether the answer is to be in rows.
    """

    signature: str
    inputs: dict[str, Any]
    rows: bool


def _invalid(*parts: object) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, "".join(map(str, parts)))


# --- requests --------------------------------------------------------------------------------------------------------


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The object of a body; what follows it is left unread.

    Raises:
        StatusError: it is none.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
        value, end = DECODER.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n")))
    except UnicodeDecodeError as error:
        raise _invalid("JSON Parse error: Invalid encoding in string. at offset: ", error.start) from None
    except json.JSONDecodeError as error:
        raise _invalid("JSON Parse error: ", _words(error), " at offset: ", error.pos) from None
    except RecursionError:
        raise _invalid(TOO_DEEP) from None
    except ValueError:  # beyond a double, or an integer of thousands of digits
        raise _invalid(TOO_BIG) from None
    if "\\u" in text:
        for escape in ESCAPES.finditer(text, 0, end):
            if escape[1]:  # half a character, which no UTF-8 can say
                raise _invalid("JSON Parse error: The surrogate pair in string is invalid. at offset: ", escape.start())
    if not isinstance(value, dict):
        raise _invalid("JSON Value: ", quoted(value), " Is not object")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError
    return value


DECODER = json.JSONDecoder(parse_float=_finite)


def _words(error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting ',' delimiter"):
        inside_list = error.doc[: error.pos].count("[") > error.doc[: error.pos].count("]")
        return "Missing a comma or " + ("] after an array element." if inside_list else "} after an object member.")
    return next((words for start, words in PARSE_ERRORS.items() if error.msg.startswith(start)), "Invalid value.")


def signature_of(document: Mapping[str, Any]) -> str:
    """The name of the signature; "" where none is given."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        text = " not formatted correctly. 'signature_name' key must be a string value."
        raise _invalid("JSON Value: ", quoted(document), text)
    return name


def predict_request(body: bytes | bytearray, inputs_of: Callable[[str], Mapping[str, Any]]) -> JsonRequest:
    """The tensors of a body of `:predict`.

    Args:
        inputs_of: from a signature's name to the wire.TensorInfo of each of its inputs.

    Raises:
        StatusError: it is no such body.
    """
    document = parse(body)
    signature = signature_of(document)
    known = {name: wire.DTYPES.get(info.dtype) for name, info in sorted(inputs_of(signature).items())}
    if not known:
        raise _invalid("Failed to get input map for signature: ", signature or "DEFAULT")
    booleans = b"true" in body or b"false" in body  # NumPy would take them for numbers
    rows, columns = "instances" in document, "inputs" in document
    if rows and columns:
        text = " Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        raise _invalid("JSON Value: ", quoted(document), text)
    if rows:
        values = document["instances"]
        if not isinstance(values, list):
            raise _invalid("JSON Value: ", quoted(document), " Expecting 'instances' to be an list/array")
        if not values:
            raise _invalid("JSON Value: ", quoted(document), " No values in 'instances' array")
        return JsonRequest(signature, _from_rows(values, known, booleans), True)
    if columns:
        return JsonRequest(signature, _from_columns(document["inputs"], known, booleans), False)
    raise _invalid("Missing 'inputs' or 'instances' key")


def _from_rows(values: list[Any], known: Mapping[str, Any], booleans: bool) -> dict[str, Any]:
    named = _is_object(values[0])
    if not isinstance(values[0], dict) and len(known) > 1:
        text = "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        raise _invalid(text, "tensorinfo_map")
    for number, value in enumerate(values):
        if named and not _is_object(value):
            raise _invalid("Expecting object but got list at item ", number, " of input list")
        if not named and _is_object(value):
            raise _invalid("Expecting value/list but got object at item ", number, " of input list")
        if named and set(value) != set(known):
            _refuse_keys(number, value, known)
    if named:
        return {name: _tensor([value[name] for value in values], known[name], booleans, name) for name in known}
    (name, *_) = known
    return {name: _tensor(values, known[name], booleans, None)}


def _refuse_keys(number: int, value: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in value:
        if name not in known:
            text = f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
            raise _invalid("Failed to process element: ", number, " key: ", name, " of 'instances' list. Error: ", text)
    text = f" of 'instances' list. JSON object: {quoted(value)} keys must be equal to: {','.join(known)}"
    raise _invalid("Failed to process element: ", number, text)


def _from_columns(value: Any, known: Mapping[str, Any], booleans: bool) -> dict[str, Any]:
    if not _is_object(value):
        if len(known) > 1:
            text = "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            raise _invalid(text, "tensorinfo_map")
        value = {next(iter(known)): value}
    for name in known:
        if name not in value:
            raise _invalid("Missing named input: ", name, " in 'inputs' object.")
    return {name: wire.encode(_array(value[name], dtype, booleans)) for name, dtype in known.items()}


def _tensor(items: list[Any], dtype: Any, booleans: bool, key: str | None) -> Any:
    """The TensorProto of one input's items, all of one shape."""
    try:
        return wire.encode(_fast(items, dtype, booleans))
    except ValueError:  # something does not fit: find out what
        pass
    arrays: list[np.ndarray] = []
    for number, item in enumerate(items):
        try:
            arrays.append(_array(item, dtype, booleans))
            _same_shape(arrays[0], arrays[-1])
        except StatusError as error:
            named = f" key: {key}" if key else ""
            text = f"{named} of 'instances' list. Error: {error.code.name}: {error.message}"
            raise _invalid("Failed to process element: ", number, text) from None
    return wire.encode(np.stack(arrays))


def _same_shape(first: np.ndarray, other: np.ndarray) -> None:
    if first.size != other.size:
        raise _invalid("Expecting tensor size: ", first.size, " but got: ", other.size)
    if first.shape != other.shape:
        raise _invalid("Expecting shape ", _shape(first.shape), " but got: ", _shape(other.shape))


def _shape(sides: Sequence[int]) -> str:
    return "[" + ",".join(map(str, sides)) + "]"


def _array(value: Any, dtype: Any, booleans: bool) -> np.ndarray:
    """The array of one JSON value.

    Raises:
        StatusError: it is not a tensor of that type.
    """
    try:
        return _fast(value, dtype, booleans)
    except ValueError:
        pass
    shape, inner = [], value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat: list[Any] = []
    _collect(value, 0, shape, dtype, flat)
    kind = object if dtype is wire.STRING else dtype.numpy
    result = np.empty(len(flat), kind)
    with np.errstate(over="ignore"):
        result[:] = flat
    try:
        return result.reshape(shape)
    except ValueError as error:  # lists in lists in lists, deeper than arrays go
        raise _invalid(error) from None


def _fast(value: Any, dtype: Any, booleans: bool) -> np.ndarray:
    """The array by NumPy alone.

    Raises:
        ValueError: where this cannot tell whether all is as it must be.
    """
    if dtype is None or (dtype.name not in FLOATS and dtype.name not in INTEGERS) or booleans:
        raise ValueError
    array = np.array(value)  # raises ValueError where it is ragged
    if dtype.name in FLOATS and array.dtype.kind in "if":
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy)
    if dtype.name in INTEGERS and array.dtype.kind == "i":
        low, high = INTEGERS[dtype.name]
        if not array.size or (array.min() >= low and array.max() <= high):
            return array.astype(dtype.numpy)
    raise ValueError


def _collect(value: Any, level: int, shape: Sequence[int], dtype: Any, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            text = f" found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            raise _invalid("JSON Value: ", quoted(value), text)
        flat.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise _invalid("Encountered list at unexpected level: ", level, " expected < ", len(shape))
    if len(value) != shape[level]:
        text = f"{len(value)} at level: {level} expected size: {shape[level]}"
        raise _invalid("Encountered list at unexpected size: ", text)
    for item in value:
        _collect(item, level + 1, shape, dtype, flat)


def _scalar(value: Any, dtype: Any) -> Any:
    """The value as an element of the type."""
    if dtype is wire.STRING and isinstance(value, dict):
        return from_base64(value)
    name = dtype.name if dtype else "an unknown type"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in FLOATS:
        fits = number
    elif name in INTEGERS:
        low, high = INTEGERS[name]
        fits = number and isinstance(value, int) and low <= value <= high
    elif dtype is wire.STRING:
        fits = isinstance(value, str)
    elif name == "DT_BOOL":
        fits = isinstance(value, bool)
    else:
        text = f"Conversion of JSON Value: {quoted(value)} to type: {short(name)}"
        raise StatusError(Code.UNIMPLEMENTED, text)
    if not fits:
        text = f" Type: {_kind(value)} is not of expected type: {short(name)}"
        raise _invalid("JSON Value: ", quoted(value), text)
    if name in INTEGERS:
        return int(np.array(value).astype(dtype.numpy))  # a byte out of range wraps, as there
    if name in FLOATS:
        return _double(value)
    return value.encode() if isinstance(value, str) else value


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _invalid(TOO_BIG) from None


def short(name: str) -> str:
    """A type's name as errors write it: "float" for DT_FLOAT."""
    return name.removeprefix("DT_").lower()


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    kinds = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_bytes(value)


def from_base64(value: Mapping[str, Any]) -> bytes:
    """The bytes of {"b64": "…"}.

    Raises:
        StatusError: it is something else.
    """
    if not _is_bytes(value):
        raise _invalid("JSON Value: ", quoted(value), " not formatted correctly for base64 data")
    text = re.sub(r"\s", "", value["b64"]).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


def examples_request(body: bytes | bytearray) -> tuple[str, Any]:
    """The signature and the wire.Input of a body of `:classify` or `:regress`.

    Raises:
        StatusError: it is no such body.
    """
    document = parse(body)
    signature = signature_of(document)
    context = _example(document["context"]).SerializeToString() if "context" in document else None
    values = document.get("examples")
    if "examples" not in document:
        text = " When method is classify, key 'examples' is expected and was not found"
    elif not isinstance(values, list):
        text = " Expecting 'examples' value to be an list/array"
    elif not values:
        text = " 'examples' value is an empty array"
    else:
        found = [_example(value).SerializeToString() for value in values]
        if context is None:
            return signature, wire.Input(example_list=wire.Examples(examples=found))
        both = wire.ExamplesWithContext(examples=found, context=context)
        return signature, wire.Input(example_list_with_context=both)
    raise _invalid("JSON Value: ", quoted(document), text)


def _example(value: Any) -> Any:
    if not isinstance(value, dict):
        raise _invalid("Example must be JSON object but got JSON ", _kind(value))
    example = wire.Example()
    example.features.SetInParent()
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_feature(feature, name, item)
    return example


def _add_feature(feature: Any, name: str, value: Any) -> None:
    field, item = "bytes_list", value
    fields = {"int64_list": "int64", "bytes_list": "bytes", "float_list": "float"}
    if value is None or isinstance(value, list) or _is_object(value):
        text = f"Feature: {name} has element with unexpected JSON type: {_kind(value)}"
        raise _invalid(text)
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        field, item = "int64_list", int(value)
        if value > 2**63 - 1:
            raise _invalid("Feature: ", name, " has uint64_t element. Only int64_t is supported.")
    elif isinstance(value, int | float):  # integers beyond those are doubles there
        field, item = "float_list", _double(value)
    else:
        item = from_base64(value) if isinstance(value, dict) else value.encode()
    other = next((key for key in fields if key != field and feature.HasField(key)), None)
    if other:
        raise _invalid("Unexpected element type in feature: ", name, " expecting type: ", fields[other])
    getattr(feature, field).value.append(item)


# --- answers ---------------------------------------------------------------------------------------------------------


def predict_answer(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The body of an answer to `:predict`.

    Raises:
        StatusError: the outputs cannot be written so.
    """
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    names = sorted(outputs)
    texts = {name: _texts(name, outputs[name]) for name in names}
    if not rows:
        values = {name: _nested(texts[name], "\n" + INDENT * (1 if len(names) == 1 else 2)) for name in names}
        return _encoded("outputs", _members(values, INDENT * 2) if len(names) > 1 else values[names[0]])
    sizes: dict[str, int] = {}
    for name in names:
        if not outputs[name].ndim:
            raise _invalid("Tensor name: ", name, " has no shape information ")
        sizes[name] = len(outputs[name])
        if sizes[name] != sizes[names[0]]:
            text = f" has inconsistent batch size: {sizes[name]} expecting: {sizes[names[0]]}"
            raise _invalid("Tensor name: ", name, text)
    if len(names) == 1:
        return _encoded("predictions", _list(", ".join(_single(row) for row in texts[names[0]])))
    found = [
        _members({name: _single(texts[name][row]) for name in names}, INDENT * 3) for row in range(sizes[names[0]])
    ]
    inner = ",".join(f"\n{INDENT * 2}{item}" for item in found)
    return _encoded("predictions", _list(inner))


def classify_answer(result: Any) -> bytes:
    """The body of an answer to `:classify`."""
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    rows = [
        "[" + ", ".join(f"[{_string(c.label)}, {number(c.score)}]" for c in entry.classes) + "]"
        for entry in result.classifications
    ]
    return _encoded("results", _list(", ".join(rows)))


def regress_answer(result: Any) -> bytes:
    """The body of an answer to `:regress`."""
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    return _encoded("results", "[" + ", ".join(number(entry.value) for entry in result.regressions) + "]")


def error_answer(message: str) -> bytes:
    """The body that tells of an error."""
    return _encoded("error", _string(message))


def _encoded(key: str, value: str) -> bytes:
    return f'{{\n{INDENT}"{key}": {value}\n}}'.encode("utf-8", "surrogateescape")


def _list(inner: str) -> str:
    return f"[{inner}\n{INDENT}]"


def _members(values: Mapping[str, str], indent: str) -> str:
    inner = ",".join(f"\n{indent}{_string(name)}: {value}" for name, value in values.items())
    return f"{{{inner}\n{indent[: -len(INDENT)]}}}"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _texts(name: str, array: np.ndarray) -> Any:
    """The elements of an array as JSON writes them, in lists as deep as its rank."""
    dtype = wire.type_of(array)
    flat = array.ravel().tolist()
    texts: list[Any]
    if dtype.name in FLOATS:
        texts = _numbers(array.ravel())
    elif dtype.name in INTEGERS:
        texts = list(map(str, flat))
    elif dtype.name == "DT_BOOL":
        texts = ["true" if item else "false" for item in flat]
    elif dtype is wire.STRING and name.endswith(BYTES):
        texts = [f'{{"b64": "{base64.b64encode(item).decode()}"}}' for item in flat]
    elif dtype is wire.STRING:
        texts = [_string(item.decode("utf-8", "surrogateescape")) for item in flat]
    else:
        raise _invalid("Failed to write JSON value for tensor type: ", short(dtype.name))
    if not array.size:
        return np.empty(array.shape, object).tolist()
    for side in array.shape[:0:-1]:
        texts = [texts[start : start + side] for start in range(0, len(texts), side)]
    return texts if array.ndim else texts[0]


def _numbers(flat: np.ndarray) -> list[str]:
    """Floats with six digits where these tell them, else with as many as it takes."""
    if not np.isfinite(flat).all():
        return [number(item) for item in flat]
    texts = np.empty(len(flat), object)
    places = np.flatnonzero(_may_be_short(flat))
    short = [f"{item:g}" for item in flat[places].tolist()]
    texts[places] = short
    long = np.ones(len(flat), bool)
    long[places] = np.array(short, "float64").astype(flat.dtype) != flat[places]
    digits = ".9g" if flat.dtype.itemsize == 4 else ".17g"
    texts[long] = [format(item, digits) for item in flat[long].tolist()]
    return [text if "." in text or "e" in text else text + ".0" for text in texts.tolist()]


def _may_be_short(flat: np.ndarray) -> np.ndarray:
    """(N,) bool: False of floats, most of all, that six digits surely do not tell.

    One that they tell is a whole number of up to 1,000,000 times a power of ten, but for half a unit of its last place.
    """
    values = np.abs(flat.astype("float64"))
    with np.errstate(all="ignore"):  # of 0 and the smallest there is no such power
        whole = values * 10.0 ** (5 - np.floor(np.log10(values)))
        return ~(np.abs(whole - np.rint(whole)) > 0.1) | (values < np.finfo(flat.dtype).tiny)


def number(value: Any) -> str:
    """One float, as `_numbers`; Python's own floats are taken for float32, which messages of results hold."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    kind = value.dtype if isinstance(value, np.generic) else np.float32
    return _numbers(np.array([value], kind))[0]


def _nested(texts: Any, newline: str) -> str:
    """Lists over several lines, each element on its own."""
    if not texts or not isinstance(texts, list):
        return texts or "[]"
    below = newline + INDENT
    inner = [_nested(item, below) for item in texts] if isinstance(texts[0], list) else texts
    return f"[{below}{(',' + below).join(inner)}{newline}]"


def _single(texts: Any) -> str:
    """Lists on one line."""
    if not isinstance(texts, list):
        return texts
    return "[" + ", ".join(map(_single, texts) if texts and isinstance(texts[0], list) else texts) + "]"


def quoted(value: Any) -> str:
    """A JSON value as errors quote it: at most `LONGEST` characters, lists on one line."""
    if isinstance(value, dict):
        members = {key: quoted(item) for key, item in value.items()}
        text = _members(members, INDENT) if members else "{}"
    elif isinstance(value, list):
        text = "[" + ", ".join(quoted(item) for item in value[:LONGEST]) + "]"
    elif isinstance(value, float) and math.isfinite(value):
        text = repr(value)
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text[:LONGEST]
