"""Pages read by a server that holds the whole reading path: one request for each page, see `serving.graph`.

JPEG and plain PNG files go as they are; pages of PDF and TIFF files, and pictures of other formats, as PNG. The words
that come back are laid out here, by the code that lays out what `zoo.read` reads.
"""

from __future__ import annotations

import io
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from serving.bulk import MODEL, Answer, stream
from serving.client import Client
from zoo import image
from zoo.charset import Reading
from zoo.image import Picture, Sheet, Source
from zoo.page import Page, assemble
from zoo.reading import PageError

AS_THEY_ARE = (b"\xff\xd8\xff", b"\x89PNG\r\n")
# What `zoo.image` heeds and TensorFlow does not: in a PNG a colour that is transparent, and which way is up, by any of
# the three chunks that may tell; in a JPEG the latter where XMP tells, which counts if EXIF does not. And a JPEG of
# four inks, whose white TensorFlow takes for black where Adobe's mark is missing: its frame has length, depth, sides
# and their number.
OTHERWISE = re.compile(
    rb"eXIf|tRNS|Raw profile type exif|XML:com\.adobe\.xmp|tiff:Orientation(?:=\"|>)[2-8]"
    rb"|\xff[\xc0-\xc2]\x00\x14\x08.{4}\x04",
    re.DOTALL,
)


def read(
    client: Client,
    sources: Iterable[Source],
    *,
    model: str = MODEL,
    window: int = 8,
    min_confidence: float = 0.0,
    dpi: float = 200,
    password: str | None = None,
    numbers: Container[int] | None = None,
) -> Iterator[Page | PageError]:
    """Yields the pages of the sources in their order, and a `PageError` for each that cannot be had.

    Args:
        client: to the server.
        sources: as `zoo.image.pages` takes them.
        model: its name there.
        window: pages under way at most.
        min_confidence: words below it are left out.
        dpi: dots per inch at which a PDF is drawn.
        password: that opens PDFs that are locked, which are drawn here.
        numbers: of each file's pages that count, from 1; None: all.
    """
    sheets = image.every(sources, dpi=dpi, password=password, numbers=numbers)
    for answer in stream(_Sheets(client), sheets, model=model, window=window, convert=_keep):  # type: ignore[arg-type]
        sheet: Sheet = answer.source
        if answer.error is not None:
            yield PageError(sheet.name, sheet.number, f"{sheet.name}: {answer.error}")
        else:
            yield _page(sheet, answer.outputs, min_confidence)


class _Sheets:
    """A client that takes sheets in place of their bytes, and loads them in the thread that sends them."""

    def __init__(self, client: Client):
        self._client, self.timeout = client, client.timeout

    def predict(self, model: str, sheets: list[Sheet], **options: Any) -> dict[str, np.ndarray]:
        (sheet,) = sheets
        data, picture = encoded(sheet)
        outputs = self._client.predict(model, [data], **options)
        if picture is None:
            return outputs
        return outputs | {"polygons": outputs["polygons"] * picture.scale, "sizes": np.array([picture.size])}


def encoded(sheet: Sheet) -> tuple[bytes, Picture | None]:
    """The bytes that are sent for a sheet, and the picture that they were made of, if they are not those of its file.

    Raises:
        ImageError: it does not load.
    """
    path = Path(sheet.name)
    if sheet.number == 1 and sheet.name not in image.NAMELESS and path.is_file():
        data = path.read_bytes()
        if data.startswith(AS_THEY_ARE) and not OTHERWISE.search(data):
            return data, None
    picture = sheet.load()
    file = io.BytesIO()
    Image.fromarray(picture.pixels).save(file, "PNG", compress_level=1)
    return file.getvalue(), picture


def _keep(number: int, sheet: Sheet, outputs: Mapping[str, np.ndarray]) -> Answer:
    return Answer(number, sheet, outputs=outputs)


def _page(sheet: Sheet, outputs: Mapping[str, np.ndarray], min_confidence: float) -> Page:
    count = int(outputs["counts"][0])
    scores = outputs["scores"][0, :count].tolist()
    kept = [index for index, score in enumerate(scores) if score >= min_confidence]
    readings = [Reading(outputs["texts"][0, i].decode("utf-8", "replace"), scores[i], ()) for i in kept]
    sure = [float(outputs["detection"][0, i]) for i in kept]
    height, width = outputs["sizes"][0].tolist()
    blocks = assemble(outputs["polygons"][0][kept], readings, sure)
    return Page(sheet.name, sheet.number, width, height, blocks)
