"""How much memory a request may need, told before it is run; requests beyond a bound for all of them are refused.

A picture of a few hundred kilobytes may hold a hundred megapixels, and eight of those end a server. So a request is
weighed: its own bytes, and for each picture in it the pixels that its header announces, decoded. What a model makes of
them stays out of this; it runs one page after another.
"""

from __future__ import annotations

import math
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving import wire
from serving.servable import Code, StatusError

# Bytes of a pixel: of most pictures three, and a copy while they are turned or brought to paper; of PNGs that may have
# alpha, floats while they are laid over white (measured on 100 megapixels through `serving.graph_strips`: 6.7, or 7.0
# where there are specks; and 27).
DECODED, LAID_OVER = 8, 28
GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
PNG, GIF, BMP, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"\xff\xd8", b"RIFF"
# Marks of a JPEG: frames, which tell the size; those without a length.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
BARE = {0x01, *range(0xD0, 0xD9)}


class Memory:
    """The bytes that requests under way need.

    Args:
        limit: of all together; 0 for none.
    """

    def __init__(self, limit: int = 0):
        self.limit, self.held = limit, 0
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, count: int) -> Iterator[Callable[[int], None]]:
        """A block in which a request needs so many bytes, and as many more as the block's function is told of.

        Raises:
            StatusError: they are not to be had, now or ever.
        """
        taken = 0

        def more(count: int) -> None:
            nonlocal taken
            self._take(count, taken)
            taken += count

        more(count)
        try:
            yield more
        finally:
            with self._lock:
                self.held -= taken

    def admit(self, count: int) -> None:
        """Passes if a request may need so many bytes when there is no other.

        Raises:
            StatusError: it may not.
        """
        if self.limit and count > self.limit:
            text = f"too large: this request needs {count} bytes, its pictures decoded, and all requests together have "
            raise StatusError(Code.RESOURCE_EXHAUSTED, text + f"{self.limit}; send fewer or smaller pictures in one")

    def _take(self, count: int, before: int) -> None:
        """Takes so many bytes for a request that has taken others before."""
        with self._lock:
            if not self.limit or self.held + count <= self.limit:
                self.held += count
                return
            others = self.held - before
        self.admit(before + count)
        text = f"out of memory for now: requests under way need {others} of {self.limit} bytes, this one "
        raise StatusError(Code.RESOURCE_EXHAUSTED, text + f"{before + count}; try again later")


def half_of_machine() -> int:
    """Half of the bytes of memory that this machine, or the container, has; 0 where it does not say."""
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in map(Path, GROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():  # else "max"
            found.append(int(text))
    return min(found, default=0) // 2


def weight(request: Any, inputs: Mapping[str, Any] | None = None) -> int:
    """Bytes that a request needs: those of the message, and of these inputs unfolded, their pictures decoded."""
    return request.ByteSize() + sum(map(_unfolded, (inputs or {}).values()))


def _unfolded(tensor: Any) -> int:
    """Bytes that a tensor needs beyond its message, in which one value may stand for any number."""
    count = max(0, math.prod(dim.size for dim in tensor.tensor_shape.dim))
    dtype = wire.DTYPES.get(tensor.dtype, wire.STRING)
    pictures = list(map(decoded, tensor.string_val[:count]))
    if pictures:
        pictures.append((count - len(pictures)) * pictures[-1])
    return max(0, count * wire.size_of(dtype) - tensor.ByteSize()) + sum(pictures)


def decoded(data: bytes) -> int:
    """Bytes that an encoded picture needs while it is decoded."""
    may_have_alpha = data.startswith(PNG) and data[25:26] in (b"\3", b"\4", b"\6")  # palette, grey and RGB with alpha
    return pixels(data) * (LAID_OVER if may_have_alpha else DECODED)


def pixels(data: bytes) -> int:
    """Pixels that the header of an encoded picture announces; 0 of what TensorFlow does not decode."""
    try:
        height, width = _sides(data)
    except (struct.error, IndexError):  # cut short
        return 0
    return height * width


def _sides(data: bytes) -> tuple[int, int]:
    if data.startswith(PNG):
        width, height = struct.unpack_from(">II", data, 16)
    elif data.startswith(GIF):
        width, height = struct.unpack_from("<HH", data, 6)
    elif data.startswith(BMP):
        width, height = struct.unpack_from("<ii", data, 18)
    elif data.startswith(JPEG):
        height, width = _jpeg_sides(data)
    elif data.startswith(RIFF) and data[8:12] == b"WEBP":
        height, width = _webp_sides(data)
    else:
        return 0, 0
    return abs(height), abs(width)  # rows of a BMP that begin at the top are counted below zero


def _webp_sides(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF  # above them stand two bits of a scale
    if kind == b"VP8L":  # without loss: 14 bits of either, less one
        (sides,) = struct.unpack_from("<I", data, 21)
        return (sides >> 14 & 0x3FFF) + 1, (sides & 0x3FFF) + 1
    low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)  # VP8X, the extended form
    return (high_height << 16 | low_height) + 1, (high_width << 16 | low_width) + 1


def _jpeg_sides(data: bytes) -> tuple[int, int]:
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:  # after a segment: at once, unless it is damaged
        while data[place] == 0xFF:  # any number of these
            place += 1
        mark = data[place]
        if mark in FRAMES:
            return struct.unpack_from(">HH", data, place + 4)
        place += 1
        if mark not in BARE:
            place += struct.unpack_from(">H", data, place)[0]
    return 0, 0
