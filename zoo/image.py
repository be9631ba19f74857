"""Pages from files, and the pictures that networks take: letterboxed pages, crops of words, strips of one height.

    source → sheets (nothing decoded yet) → load() → Picture (H, W, 3) uint8 RGB → letterbox → detector
                                                                              └──→ crop → strip → recognizer

Coordinates are continuous: pixel (0, 0) covers [0, 1) by [0, 1), so a polygon's corners lie on the edges of pixels.
"""

from __future__ import annotations

import io
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from zoo.geometry import RIM

MAX_PIXELS = 300_000_000  # a picture with more is refused
REDUCE_ABOVE = 32_000_000  # a picture with more is decoded at a half, a quarter … of its sides; A4 at 600 dpi has 35
MAX_BYTES = 200_000_000  # of a download
TIMEOUT, LONGEST = 30, 300  # seconds without a byte of a download, and of all of it

RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], "uint8")  # the pixels around one
WIDER = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], "uint8")  # around two by two of them
RINGS = ((RING, (1, 1)), *((WIDER, (x, y)) for y in (1, 2) for x in (1, 2)))  # and where in them a pixel is
FAR = 64  # levels beyond all pixels around it from which one is a speck
SPECKS = 0.0015  # of a page's pixels, from which those of one pixel are taken away
CLUMPS = 0.006  # from which those of some are, too; the dots of small print are fewer
EDGE = 200  # of so many pixels one may be darker, or brighter, than a page's black and white
BLANK, PALE = 16, 64  # levels of 256 between these, above which there is print, and below which it is pale
GREYS, DARK = 32, 12  # coarse levels, and those of them that are dark
UNLIKE = 0.25  # of a flat page's pixels at most are of other levels than one and those beside it
LONGEST_STRIP = 256  # times as wide as high; no line of a page is so long, but a rule or a row of pixels may be

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000")
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2",
    ".pdf",
)  # fmt: skip
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"II", b"MM", b"RIFF", b"BM", b"GIF8", b"\0\0\0\x0cjP")  # of pictures
READABLE = "JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, JPEG 2000 and PDF"

NAMELESS = ("array", "bytes", "picture")  # what pages are called that come from no file
COPY, MASK = 1, 4  # bits of what a TIFF says of a frame: smaller than another one, or of which pixels count

Source = str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Image.Image | BinaryIO


class ImageError(ValueError):
    """A page that cannot be had; the message says what was given and what would do."""


class Picture(NamedTuple):
    """One page as pixels.

    Attributes:
        name: path or URL of the file; one of `NAMELESS` where there is none.
        number: of the page in its file, from 1.
        pixels: (H, W, 3) uint8 RGB.
        size: (height, width) of the page, of which `pixels` is a reduced copy where the page is very large, and one of
            more rows or columns where its pixels are oblong, as a fax's.
    """

    name: str
    number: int
    pixels: np.ndarray
    size: tuple[int, int]

    @property
    def scale(self) -> np.ndarray:
        """(2,) page pixels for one of `pixels`, x then y."""
        height, width = self.pixels.shape[:2]
        return np.array([self.size[1] / width, self.size[0] / height], "float32")


class Sheet(NamedTuple):
    """A page that is not decoded yet; `load` gives its picture or raises `ImageError`."""

    name: str
    number: int
    load: Callable[[], Picture]


# ---------------------------------------------------------------- sources


def pages(
    source: Source, *, dpi: float = 200, password: str | None = None, numbers: Container[int] | None = None
) -> Iterator[Picture]:
    """Yields the pictures of a source, one at a time: an earlier one is free before the next is decoded.

    Args:
        source: path of an image, of a PDF, or of a folder (its files by name, folders in it too, hidden ones not);
            an http(s) URL; the bytes of an image or PDF, or a binary file open for reading; an array as `from_array`
            takes it; a Pillow image. A TIFF gives all of its pages, without smaller copies of them; of an animation the
            first frame counts.
        dpi: dots per inch at which a PDF is drawn.
        password: that opens PDFs that are locked.
        numbers: of each file's pages that count, from 1, such as `range(2, 5)`; None: all.

    Raises:
        ImageError: at the first page that cannot be had. `sheets` lets a caller go on after it.
    """
    for sheet in sheets(source, dpi=dpi, password=password, numbers=numbers):
        yield sheet.load()


def sheets(
    source: Source, *, dpi: float = 200, password: str | None = None, numbers: Container[int] | None = None
) -> Iterator[Sheet]:
    """Yields the pages of a source without decoding them; a file that cannot be opened is a sheet that does not load.

    Raises:
        ImageError: the source does not exist, is a folder without pages, or is of a type that holds no page.
        OSError: a path that cannot be looked at.
    """
    of_file = partial(_file_sheets, dpi=dpi, password=password, numbers=numbers)
    if isinstance(source, np.ndarray):
        yield Sheet("array", 1, partial(_array_picture, source))
    elif isinstance(source, Image.Image):
        yield Sheet("picture", 1, partial(_pillow_picture, source, "picture", 1, own=False))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield from of_file(bytes(source), "bytes")
    elif isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        yield from _url_sheets(source, of_file)
    elif hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise ImageError(f"a file that gives {type(data).__name__} in place of bytes, as one opened as text does")
        yield from of_file(data, "bytes")
    elif isinstance(source, (str, os.PathLike)):
        if not str(source).strip():
            raise ImageError("a path of no characters; the folder in which this runs is .")
        barred: list[OSError] = []
        for path in files(Path(os.fsdecode(source)), barred):
            yield from of_file(path, str(path))
        for error in barred:
            yield Sheet(str(error.filename), 1, partial(_fail, f"{error.filename}: {error.strerror}"))
    else:
        raise ImageError(f"a page is a path, URL, bytes, file, array or picture, not {type(source).__name__}")


def alone(sources: Source | Iterable[Source]) -> bool:
    """Whether it is one source; several are any iterable that is none."""
    return isinstance(sources, Source) or hasattr(sources, "read")


def every(sources: Iterable[Source], **how: Any) -> Iterator[Sheet]:
    """Yields the pages of several sources as `sheets` does; what it would refuse is a sheet that does not load."""
    for source in sources:
        try:
            yield from sheets(source, **how)
        except (ImageError, OSError) as error:
            name = os.fsdecode(source) if isinstance(source, str | os.PathLike) else repr(source)[:80]
            message = getattr(error, "strerror", None) or str(error)
            yield Sheet(name, 1, partial(_fail, message if name in message else f"{name}: {message}"))


def files(path: Path, barred: list[OSError] | None = None) -> list[Path]:
    """The file itself, or the files of a folder that look like pages, sorted by path.

    Args:
        path: of either.
        barred: takes the folders inside that cannot be looked into; without it the first of them is raised.

    Raises:
        ImageError: there is no such path, or no page in the folder.
        OSError: the path cannot be looked at.
    """
    if not path.is_dir():
        if not path.exists():
            raise ImageError(f"{path}: no such file or folder")
        return [path]
    refused: list[OSError] = []
    found = []
    for folder, folders, names in os.walk(path, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    found = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file())
    if refused and (barred is None or not found):
        raise refused[0]
    if barred is not None:
        barred += refused
    if not found:
        raise ImageError(f"{path}: no page in this folder; it would take files that end in {' '.join(SUFFIXES)}")
    return found


def _url_sheets(url: str, of_file: Callable[[bytes, str], Iterator[Sheet]]) -> Iterator[Sheet]:
    try:
        data = _download(url)
    except ImageError as error:
        yield Sheet(url, 1, partial(_fail, str(error)))
    else:
        yield from of_file(data, url)


def _download(url: str) -> bytes:
    import http.client
    import urllib.request  # which brings HTTP and mail, and most pages are files
    from urllib.parse import quote

    from zoo.download import WRITTEN

    data, end = b"", time.monotonic() + LONGEST
    try:
        with urllib.request.urlopen(quote(url, safe=WRITTEN), timeout=TIMEOUT) as answer:
            while len(data) <= MAX_BYTES and (more := answer.read1(1 << 20)):
                data += more
                if time.monotonic() > end:
                    raise TimeoutError(f"{len(data)} bytes came in {LONGEST} seconds; fetch it and give its path")
            if answer.length and len(data) <= MAX_BYTES:  # what should have come yet
                raise http.client.IncompleteRead(data, answer.length)
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
        raise ImageError(f"{url}: cannot be fetched: {str(error) or type(error).__name__}") from None
    if len(data) > MAX_BYTES:
        raise ImageError(f"{url}: more than {MAX_BYTES // 1_000_000} MB; fetch it and give its path")
    return data


def _file_sheets(
    data: bytes | Path, name: str, dpi: float, password: str | None, numbers: Container[int] | None
) -> Iterator[Sheet]:
    try:
        if isinstance(data, Path) and not data.is_file():  # a pipe, which can be read once
            data = data.read_bytes()
        head = data[:1024] if isinstance(data, bytes) else _head(data)
        if not head:
            raise ImageError(f"{name}: empty, 0 bytes; a page is a file of {READABLE}")
        pdf = b"%PDF-" in head and not head.startswith(BEGINNINGS)  # some have other bytes before it
        found = _pdf_sheets(data, name, dpi, password) if pdf else _image_sheets(data, name)
        if numbers is not None:
            of, found = len(found), [sheet for sheet in found if sheet.number in numbers]
            if not found:
                raise ImageError(f"{name}: {'one page' if of == 1 else f'{of} pages'}, none of those asked for")
    except (ImageError, OSError) as error:
        message = str(error)
        found = [Sheet(name, 1, partial(_fail, message if name in message else f"{name}: {message}"))]
    yield from found


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def _fail(message: str) -> Picture:
    raise ImageError(message)


# ---------------------------------------------------------------- PDF

_PDFIUM = threading.RLock()  # it is not made for threads
LOCKED = 4  # PDFium's FPDF_ERR_PASSWORD


class _Document:
    """An open PDF, which is closed when nothing refers to it any more, and no other thread draws."""

    def __init__(self, data: bytes | Path, password: str | None):
        import pypdfium2

        self.pages = pypdfium2.PdfDocument(data, password=password)

    def __del__(self):
        if hasattr(self, "pages") and not sys.is_finalizing():
            with _PDFIUM:
                self.pages.close()


def _pdf_sheets(data: bytes | Path, name: str, dpi: float, password: str | None) -> list[Sheet]:
    import pypdfium2

    with _PDFIUM:
        try:
            document = _Document(data, password)
            count = len(document.pages)
            document.pages.init_forms()  # what was filled in is drawn, too
        except pypdfium2.PdfiumError as error:
            if error.err_code == LOCKED:
                given = "the password does not open it" if password else "locked by a password, which has to be given"
                raise ImageError(f"{name}: {given}") from None
            raise ImageError(f"{name}: not a PDF that can be opened: {error}") from None
    if not count:
        raise ImageError(f"{name}: a PDF without pages")
    return [Sheet(name, number, partial(_pdf_picture, document, name, number, dpi)) for number in range(1, count + 1)]


def _pdf_picture(document, name: str, number: int, dpi: float) -> Picture:
    """The page drawn at `dpi`, or coarser where that would have more than `REDUCE_ABOVE` pixels."""
    import pypdfium2

    try:
        with _PDFIUM:
            page = document.pages[number - 1]
            width, height = (max(1, round(side * dpi / 72)) for side in page.get_size())
            coarser = min(1.0, (REDUCE_ABOVE / (width * height)) ** 0.5)
            bitmap = page.render(scale=dpi / 72 * coarser, rev_byteorder=True)
            pixels = from_array(bitmap.to_numpy()).copy()  # of its own
            bitmap.close()
            page.close()
    except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
        raise ImageError(f"{name}: page {number} cannot be drawn: {error}") from None
    return Picture(name, number, pixels, (height, width) if coarser < 1 else pixels.shape[:2])


# ---------------------------------------------------------------- images


_LIMIT = threading.Lock()


@contextmanager
def _own_limit():
    """Pillow's bound on pixels, lower than ours and kept in a global, off while a header is read or room is made."""
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _open(data: bytes | Path, name: str, frame: int):
    # An open file: where Pillow has its path it maps uncompressed pixels, and those of a turned page wrongly.
    try:
        file = io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}") from None
    with file:
        yield _opened(file, name, frame)


def _opened(file: BinaryIO, name: str, frame: int) -> Image.Image:
    with _own_limit():
        try:
            image = Image.open(file, formats=FORMATS)
            if frame > 1:
                image.seek(frame - 1)
        except UnidentifiedImageError:
            raise ImageError(f"{name}: not a page, or damaged at its beginning; {READABLE} would do") from None
        except Exception as error:  # Pillow's decoders raise many kinds on broken headers
            raise ImageError(f"{name}: damaged: {error}") from None
    return image


def _image_sheets(data: bytes | Path, name: str) -> list[Sheet]:
    with _open(data, name, 1) as image:
        # The further frames of a phone's MPO are previews and depth maps, those of the others an animation.
        try:
            frames = _frames(image) if image.format == "TIFF" else [1]
        except Exception as error:  # as above: it looks at the headers of all frames
            raise ImageError(f"{name}: damaged: {error}") from None
    return [
        Sheet(name, number, partial(_image_picture, data, name, number, frame))
        for number, frame in enumerate(frames, 1)
    ]


def _frames(image: Image.Image) -> list[int]:
    """Places of a TIFF's pages among its frames, from 1: of all, where there are but copies and masks."""
    places, pages = range(1, getattr(image, "n_frames", 1) + 1), []
    for frame in places:
        with suppress(Exception):  # as above; such a frame is a page that does not load
            image.seek(frame - 1)
            if image.tag_v2.get(SUBFILE, 0) & (COPY | MASK):  # type: ignore[attr-defined]
                continue
        pages.append(frame)
    return pages or list(places)


def _image_picture(data: bytes | Path, name: str, number: int, frame: int) -> Picture:
    with _open(data, name, frame) as image:
        return _pillow_picture(image, name, number)


def _pillow_picture(image: Image.Image, name: str, number: int, own: bool = True) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise ImageError(f"{name}: {width} by {height} pixels; up to {limit} million are read, so make it smaller")
    try:
        ratio = _ratio(image)  # of what is decoded no tags are left
        pixels = _decode(image, _reduction(width * height), own)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Exception as error:  # as above: a damaged file may raise anything
        raise ImageError(f"{name}: damaged, or cut short: {error}") from None
    turned = (pixels.shape[0] > pixels.shape[1]) != (height > width) and pixels.shape[0] != pixels.shape[1]
    return Picture(name, number, _squared(pixels, ratio), (width, height) if turned else (height, width))


ACROSS, DOWN = 282, 283  # of TIFF's tags: dots in a unit of length
OBLONG = (1.5, 3.0)  # times that one side of a pixel is believed to be as long as the other, a fax's being 2.08


def _ratio(image: Image.Image) -> float:
    """The height of a TIFF's pixels in their widths, upright; 1 where it tells of none that is believed."""
    if image.format != "TIFF" or not isinstance(image, ImageFile.ImageFile):
        return 1.0
    tags = image.tag_v2  # type: ignore[attr-defined]
    try:
        ratio = float(tags.get(ACROSS, 1)) / float(tags.get(DOWN, 1))
    except (TypeError, ValueError, ZeroDivisionError):  # of damaged ones
        return 1.0
    if not (ratio > 0 and OBLONG[0] <= max(ratio, 1 / ratio) <= OBLONG[1]):
        return 1.0
    return 1 / ratio if tags.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8) else ratio


def _squared(pixels: np.ndarray, ratio: float) -> np.ndarray:
    """The pixels (H, W, 3) with a side more of them where they are `ratio` times as high as wide."""
    height, width = pixels.shape[:2]
    return resize(pixels, round(height * max(1.0, ratio)), round(width * max(1.0, 1 / ratio)))


def _reduction(pixels: int) -> int:
    """The power of two by which both sides are divided, so that few enough pixels are left."""
    factor = 1
    while pixels > REDUCE_ABOVE * factor**2:
        factor *= 2
    return factor


def _decode(image: Image.Image, factor: int, own: bool) -> np.ndarray:
    """(H, W, 3) uint8 RGB at 1 / factor of the size, upright, alpha laid over white; a caller's stays as it is."""
    width, height = image.size
    if factor > 1 and own:
        image.draft(None, (max(1, width // factor), max(1, height // factor)))  # JPEG: decodes fewer pixels
    if image.format == "TIFF" and isinstance(image, ImageFile.ImageFile):
        with _own_limit():
            image.load_prepare()  # asks for the bound once more, and then no longer
    image.load()
    factor = max(1, factor // round(width / image.size[0]))  # what is left to do
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        white = _white(image)  # what is turned has no tags
        image = ImageOps.exif_transpose(image)
        return from_array(_shrink(_deep(np.asarray(image), white), factor))
    if image.mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):  # converting copies
        image = image.convert("RGB")
    if factor > 1:
        image = image.reduce(factor)
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


SUBFILE, WHITE = 254, 281  # of TIFF's tags: what a frame is of others; the largest value of a sample


def _white(image: Image.Image) -> int:
    """The value of white in grey of more than 8 bits, as far as a file tells: 12 bits lie in 16, too."""
    tags = getattr(image, "tag_v2", {})
    bits, largest = tags.get(ExifTags.Base.BitsPerSample, (16,)), tags.get(WHITE, (0,))
    told = largest[0] if isinstance(largest, tuple) else largest
    return int(told) if 255 < told < 65535 else 4095 if bits == (12,) else 65535


def _deep(array: np.ndarray, white: int) -> np.ndarray:
    """Grey of more than 8 bits as `from_array` takes it.

    Pillow's mode "I" holds 32 bits, in which files have values of 8 or of 16: of 8 where none is above 255.

    Raises:
        ImageError: values of more than 16 bits.
    """
    if array.dtype.kind == "f":
        return array
    if array.dtype.itemsize > 2:
        largest = int(array.max())
        if largest > 65535:
            raise ImageError(f"whole numbers up to {largest}; store it with 8 or 16 bits a pixel")
        white = 255 if largest <= 255 else white
    return (array.clip(0, white).astype("uint32") * 65535 // white).astype("uint16")


def _shrink(array: np.ndarray, factor: int) -> np.ndarray:
    height, width = array.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA) if factor > 1 else array


def from_array(array: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an array.

    Args:
        array: (H, W), (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, which is laid over white. uint8; uint16 with
            65535 as white; bool; float in [0, 1], or in [0, 255] where a value is above 1.

    Raises:
        ImageError: another shape or type, no pixels, too many, or values that are not finite.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise ImageError(f"an array of shape {array.shape}; (height, width) and 1, 3 or 4 channels would do")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ImageError(f"an array of {array.shape[1]} by {array.shape[0]} pixels; up to {MAX_PIXELS} are read")
    array = _eight_bits(array)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype("uint16")
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype("uint8")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype("uint8") * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype("uint32") + 128) // 257).astype("uint8")
    if array.dtype.kind != "f":
        raise ImageError(f"an array of {array.dtype}; uint8, uint16, bool or float would do")
    if not np.isfinite(array).all():
        raise ImageError("an array with values that are not finite; floats in [0, 1] or [0, 255] would do")
    scale = 255.0 if array.max() <= 1 else 1.0
    return (array * scale).round().clip(0, 255).astype("uint8")


def _array_picture(array: np.ndarray) -> Picture:
    pixels = from_array(array)
    return Picture("array", 1, _shrink(pixels, _reduction(pixels.size // 3)), pixels.shape[:2])


# ---------------------------------------------------------------- what networks take


def level_size(size: Sequence[int], degrees: float) -> tuple[int, int]:
    """(height, width) of what `levelled` makes of a page of such a size."""
    turn = np.radians(abs(degrees))
    height, width = np.ceil(np.array([[np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ size - 1e-6)
    return int(height), int(width)


def levelled(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A page (H, W, 3) that is turned clockwise by up to 45 degrees, turned back, on ground of its usual colour.

    Returns:
        the level page, which is as large as it must be to hold the whole, and the (2, 3) matrix of what moves points of
        that onto the page.
    """
    size = level_size(pixels.shape[:2], degrees)
    middle, there = np.array(pixels.shape[1::-1]) / 2, np.array(size[::-1]) / 2
    turn = cv2.getRotationMatrix2D(middle.tolist(), degrees, 1)
    turn[:, 2] += there - middle
    back = cv2.invertAffineTransform(turn)
    # Points lie between pixels, whose middles OpenCV counts from 0 on.
    shifted = turn.copy()
    shifted[:, 2] += turn[:, :2].sum(1) / 2 - 0.5
    rows, columns = (max(1, side // 64) for side in pixels.shape[:2])
    ground = np.median(pixels[::rows, ::columns], axis=(0, 1)).tolist()
    return cv2.warpAffine(pixels, shifted, size[::-1], flags=cv2.INTER_LINEAR, borderValue=ground), back


def on_paper(pixels: np.ndarray) -> np.ndarray:
    """The page (H, W, 3) uint8 as black print on clean white paper, of which networks have seen most.

    Where many pixels, alone or some of two by two, are far darker or far brighter than all around them, as on
    facsimiles, they become like the nearest of these. Of other pages, what is pale gets a whole number of times its
    contrast, as many as it may: its brightest pixels but one of 200 are white then. What is flat and dark then, with
    brighter print, as screens are, is inverted; photographs of the night are not as flat.
    """
    seen = np.arange(len(pixels)) // 16 % 4 == 0
    green = np.ascontiguousarray(pixels[seen, :, 1])
    _, (single, *_, every) = _without_specks(green, RINGS)
    if every >= CLUMPS * green.size:
        return _without_specks(pixels, RINGS)[0]
    if single >= SPECKS * green.size:
        return _without_specks(pixels, RINGS[:1])[0]
    counts = _levels(pixels)
    low, high = np.searchsorted(counts.cumsum() * EDGE, counts.sum() * np.array([1, EDGE - 1])).tolist()
    if BLANK < high - low < PALE:
        pixels = 255 - (high - pixels.clip(low, high)) * np.uint8(255 // (high - low))
        counts = _levels(pixels)
    counts = counts.reshape(GREYS, -1).sum(1)
    most = int(counts.argmax())
    darker, brighter = counts[: max(0, most - 1)].sum(), counts[most + 2 :].sum()
    flat = darker + brighter <= UNLIKE * counts.sum()
    return 255 - pixels if most < DARK and flat and brighter > darker else pixels


def _without_specks(pixels: np.ndarray, rings: Sequence[tuple]) -> tuple[np.ndarray, list[int]]:
    """The pixels, each that is a speck no darker and no brighter than those around it; and how many the rings up to
    each of them tell."""
    clean, specks, counts = pixels, np.zeros(pixels.shape, bool), []
    for ring, place in rings:
        darkest, brightest = (
            f(pixels, ring, anchor=place, borderType=cv2.BORDER_REPLICATE) for f in (cv2.erode, cv2.dilate)
        )
        near = cv2.max(cv2.min(pixels, brightest), darkest)
        far = cv2.absdiff(near, pixels) > FAR
        clean, specks = np.where(far & ~specks, near, clean), specks | far
        counts.append(int(np.count_nonzero(specks)))
    return clean, counts


def _levels(pixels: np.ndarray) -> np.ndarray:
    """(256,) int: how many of every fourth pixel, down and across, are so bright, on the mean of their colours."""
    return np.bincount((pixels[::4, ::4].sum(-1, dtype="int32") // 3).ravel(), minlength=256)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image at another size: pixels averaged where it shrinks, interpolated linearly where it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def letterbox(image: np.ndarray, size: tuple[int, int], multiple: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The image as large as `size` lets it be, aspect kept, and what leads back.

    It lies at the top left; below and on the right are zeros, up to the next multiples. A coarse multiple thus bounds
    the number of shapes: pages of any size in (1024, 1024) by multiples of 256 have seven.

    Args:
        image: (H, W, 3) uint8.
        size: (height, width) into which it must fit, each a multiple of `multiple`.
        multiple: of both sides of the result, in pixels.

    Returns:
        (H', W', 3) uint8 and (2,) float32: a point (x, y) of the result, times this, is one of the image.
    """
    if size[0] % multiple or size[1] % multiple:
        raise ValueError(f"size {size} is not a multiple of {multiple}")
    height, width = image.shape[:2]
    return canvas(image, min(size[0] / height, size[1] / width), multiple)


def canvas(image: np.ndarray, factor: float, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 enlarged by a factor, as `letterbox` lays and returns it."""
    height, width = image.shape[:2]
    inner = [max(1, round(side * factor)) for side in (height, width)]
    outer = [-(-side // multiple) * multiple for side in inner]
    result = np.zeros((*outer, 3), "uint8")
    result[: inner[0], : inner[1]] = resize(image, *inner)
    return result, np.array([width / inner[1], height / inner[0]], "float32")


def crop(image: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """The quadrilateral of an image, made rectangular: (h, w, 3) uint8 with the lengths of its sides, at least 1.

    Args:
        image: (H, W, 3) uint8.
        polygon: (4, 2) x, y clockwise from the text's top left; what lies outside the image is white.
    """
    polygon = np.asarray(polygon, "float32")
    sides = np.linalg.norm(polygon[[1, 2, 3, 0]] - polygon, axis=1)  # top, right, bottom, left
    width, height = (max(1, round(float(sides[i] + sides[i + 2]) / 2)) for i in (0, 1))
    x0, y0 = polygon[0]
    x1, y1 = polygon[2]
    off = np.abs(polygon - polygon[[[0, 0], [2, 0], [2, 2], [0, 2]], [0, 1]]).max()  # from the upright rectangle
    if off <= 0.1 and x1 > x0 and y1 > y0 and x0 >= 0 and y0 >= 0 and x1 <= image.shape[1] and y1 <= image.shape[0]:
        left, top = min(round(float(x0)), image.shape[1] - 1), min(round(float(y0)), image.shape[0] - 1)
        return image[top : top + height, left : left + width]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32")
    # OpenCV counts from the centres of pixels.
    matrix = cv2.getPerspectiveTransform(polygon - 0.5, corners - 0.5)
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (255, 255, 255)}
    return cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR, **border)


def view(image: np.ndarray, quad: np.ndarray, height: int, width: float) -> np.ndarray:
    """(height, ⌈width⌉, C): a quadrilateral of an image or a map seen straight on, as by `zoo.sampling.Rectify`.

    Args:
        image: (H, W, C) uint8 or float32.
        quad: (4, 2) x, y in its pixels, clockwise from the top left of what is seen; outside its edge is repeated.
        height, width: of the quadrilateral in the view, pixels.
    """
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32")
    matrix = cv2.getPerspectiveTransform(np.asarray(quad, "float32") - 0.5, corners - 0.5)
    size = (math.ceil(width), height)
    view = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return view.reshape(*size[::-1], -1)  # OpenCV drops the axis of a single channel


def strip(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: the crop at that height, aspect kept; on the right zeros, or squeezed if too long.

    Training and reading both make their strips here.
    """
    result = np.zeros((height, width, 3), "uint8")
    inner = min(width, strip_width(crop, height))
    result[:, :inner] = resize(crop, height, inner)
    return result


def strip_width(crop: np.ndarray, height: int) -> int:
    """Pixels that a crop is wide when it is `height` pixels high: at least 1, and at most `LONGEST_STRIP` heights."""
    return min(max(1, round(crop.shape[1] * height / crop.shape[0])), LONGEST_STRIP * height)


def closer(crop: np.ndarray, height: int) -> np.ndarray:
    """(height, W, 3) uint8: the crop as a strip, seen from closer: its `rim` is lost above and below."""
    width, margin = strip_width(crop, height), rim(height)
    return resize(resize(crop, height, width)[margin : height - margin], height, closer_width(width, height))


def rim(height: int) -> int:
    """Rows of a strip that a closer look leaves out above, and as many below: `geometry.RIM` of its height."""
    return round(RIM * height)


def closer_width(width: int, height: int) -> int:
    """Pixels that a strip of this size is wide when it is seen from closer."""
    return round(width * height / (height - 2 * rim(height)))


class Strips(NamedTuple):
    """Strips of one width.

    Attributes:
        owners: of each strip, the index of its crop; a crop that was split owns several.
        starts: of each strip, the column of its crop's full strip at which it begins.
        pixels: (B, height, width, 3) uint8.
    """

    owners: list[int]
    starts: list[int]
    pixels: np.ndarray


def strips(crops: Sequence[np.ndarray], height: int, widths: Sequence[int], *, split: bool = True) -> list[Strips]:
    """The crops as strips, grouped by the narrowest of `widths` that holds them.

    A crop too wide for the widest is cut into windows of that width that overlap by two heights or more, at columns
    that are multiples of 4; with `split=False` it is squeezed, as is whatever is above `LONGEST_STRIP`.
    """
    groups: dict[int, list[tuple[int, int, np.ndarray]]] = {width: [] for width in sorted(widths)}
    widest = max(widths)
    for index, picture in enumerate(crops):
        wanted = strip_width(picture, height)
        if wanted <= widest or not split:
            width = next(width for width in groups if width >= min(wanted, widest))
            groups[width].append((index, 0, strip(picture, height, width)))
            continue
        whole = resize(picture, height, wanted)
        for start in windows(wanted, widest, overlap=min(2 * height, widest // 2)):
            groups[widest].append((index, start, strip(whole[:, start : start + widest], height, widest)))
    return [
        Strips([i for i, _, _ in members], [s for _, s, _ in members], np.stack([p for _, _, p in members]))
        for members in groups.values()
        if members
    ]


def windows(length: int, window: int, overlap: int, multiple: int = 4) -> list[int]:
    """Starts of windows that cover `length`, evenly spread, neighbours sharing at least `overlap`.

    Each is a multiple of `multiple`; the last window may reach past the end by less than that.
    """
    step = (window - overlap) // multiple
    if step <= 0:
        raise ValueError(f"windows of {window} cannot overlap by {overlap}")
    last = -(-max(0, length - window) // multiple)
    gaps = -(-last // step)
    return [i * last // max(1, gaps) * multiple for i in range(gaps + 1)]
