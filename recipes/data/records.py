"""TFRecord files and the `tf.train.Example`s in them, without TensorFlow: any reader of TFRecord can read them.

A record is its length (8 bytes), that length's checksum (4), its bytes, and their checksum (4), all little-endian. The
checksum is CRC-32C, masked: https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence

import numpy as np

Value = bytes | Sequence[bytes] | Sequence[int] | np.ndarray  # bytes, whole numbers, or float32 (…)

HEAD, TAIL = 12, 4  # bytes before and after the data of a record
BLOCK = 64  # bytes of a checksum that are gone through one by one, many blocks at a time
POLYNOMIAL = 0x82F63B78  # of CRC-32C, lowest bit first


class RecordError(ValueError):
    """A record that is damaged; the message says how."""


# ---------------------------------------------------------------- checksums


@functools.cache
def _table() -> np.ndarray:
    """(256,) uint32: what a byte becomes."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ POLYNOMIAL, values >> 1).astype(np.uint32)
    return values


@functools.cache
def _skip() -> list[list[int]]:
    """4 x 256: what each byte of a checksum becomes after `BLOCK` zeros: it is linear, so four of them are added."""
    values = np.arange(256, dtype=np.uint32)[None] << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
    for _ in range(BLOCK):
        values = _table()[values & 255] ^ values >> 8
    return values.tolist()


def crc32c(data: bytes) -> int:
    """The CRC-32C of the data: RFC 3720, appendix B.4."""
    given = np.frombuffer(data, np.uint8)
    count = -(-max(len(given), 4) // BLOCK)
    blocks = np.zeros(count * BLOCK, np.uint8)  # zeros before the data do not change a checksum that begins with 0
    blocks[len(blocks) - len(given) :] = given
    if len(given) < 4:
        return _short(data)
    blocks[len(blocks) - len(given) :][:4] ^= 255  # as if it began with all ones
    rest = np.zeros(count, np.uint32)
    for column in np.ascontiguousarray(blocks.reshape(count, BLOCK).T):
        rest = _table()[(rest ^ column) & 255] ^ rest >> 8
    total, (a, b, c, d) = 0, _skip()
    for value in rest.tolist():
        total = a[total & 255] ^ b[total >> 8 & 255] ^ c[total >> 16 & 255] ^ d[total >> 24] ^ value
    return total ^ 0xFFFFFFFF


def _short(data: bytes) -> int:
    total = 0xFFFFFFFF
    for byte in data:
        total = int(_table()[(total ^ byte) & 255]) ^ total >> 8
    return total ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as it stands in a file."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """The data as a record."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def unframed(record: bytes) -> bytes:
    """The data of a record.

    Raises:
        RecordError: it is cut off, or a checksum is not that of the data.
    """
    if len(record) < HEAD + TAIL:
        raise RecordError(f"a record of {len(record)} bytes is cut off")
    length, check = struct.unpack_from("<QI", record)
    if check != masked(record[:8]) or length != len(record) - HEAD - TAIL:
        raise RecordError("the length of a record is damaged")
    data = record[HEAD : HEAD + length]
    if struct.unpack_from("<I", record, HEAD + length)[0] != masked(data):
        raise RecordError("the data of a record are damaged")
    return data


# ---------------------------------------------------------------- examples


def encode(features: Mapping[str, Value]) -> bytes:
    """The `tf.train.Example` of features: bytes or several of them, whole numbers, or an array of float32, flat."""
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(value))) for name, value in sorted(features.items())
    )
    return _field(1, entries)


def _feature(value: Value) -> bytes:
    if isinstance(value, np.ndarray):
        return _field(2, _field(1, value.astype("<f4").tobytes()))
    if isinstance(value, bytes):
        value = [value]
    if all(isinstance(item, bytes) for item in value):
        return _field(1, b"".join(_field(1, item) for item in value))  # type: ignore[arg-type]
    return _field(3, _field(1, b"".join(_varint(int(item)) for item in value)))


def decode(data: bytes) -> dict[str, list[bytes] | list[int] | np.ndarray]:
    """The features of a `tf.train.Example` as `encode` writes it.

    Raises:
        RecordError: it is none.
    """
    try:
        features: dict[str, list[bytes] | list[int] | np.ndarray] = {}
        for _, entries in _fields(data):
            for _, entry in _fields(entries):
                (_, name), (_, feature) = _fields(entry)
                features[name.decode()] = _value(feature)
        return features
    except (ValueError, IndexError) as error:
        raise RecordError(f"not a tf.train.Example ({error})") from error


def _value(feature: bytes) -> list[bytes] | list[int] | np.ndarray:
    ((kind, inner),) = _fields(feature)
    items = [item for _, item in _fields(inner)]
    if kind == 1:
        return items
    packed = b"".join(items)
    if kind == 2:
        return np.frombuffer(packed, "<f4")
    numbers, at = [], 0
    while at < len(packed):
        number, at = _read_varint(packed, at)
        numbers.append(number)
    return numbers


def _field(number: int, content: bytes) -> bytes:
    """A field of protocol buffers that holds bytes."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """The number and the bytes of each field."""
    found, at = [], 0
    while at < len(data):
        key, at = _read_varint(data, at)
        length, at = _read_varint(data, at)
        if key & 7 != 2 or at + length > len(data):
            raise ValueError("a field does not hold bytes, or not as many as it says")
        found.append((key >> 3, data[at : at + length]))
        at += length
    return found


def _varint(number: int) -> bytes:
    """A whole number from 0 on, seven bits in a byte."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at
