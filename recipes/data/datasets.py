"""Labelled data on disk, in the format of this project, of docTR, of PaddleOCR, or of MNIST.

Our format is a folder with `labels.jsonl`, one JSON object a line:

    pages  {"image": "images/a.jpg", "width": W, "height": H, "level": "word" | "line", "split": "train",
            "words": [{"polygon": [[x, y], ...], "text": "...", "illegible": false}]}
           or, without places, "page_text": "..."
    crops  {"image": "images/b.png", "text": "...", "split": "train"}
    layout {"image": "images/c.jpg", "regions": [{"polygon": [[x, y], ...], "label": "table"}]}
           or words as above, each with the "label" of what it is part of

Polygons are in pixels, from the top left of the text on, and count up to the edges of the picture: see `Entry.seen`.
Illegible words are neither text nor background; nor are those without a text, unless the page has none: then its words
have places alone. Spaces around a crop's text are none. Labels of regions are those of `REGIONS`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recipes.data.documents import LABELS
from zoo import geometry, joining
from zoo import image as images

FARTHEST = 1_000_000  # pixels from the corner of a picture to a corner of a polygon
SEEN = 0.8  # share of a word in the picture, below which its text is not what can be read there

# What the words and regions of DocBank and PubLayNet are called, and which of `documents.LABELS` they are.
REGIONS = {
    "paragraph": "text", "abstract": "text", "author": "text", "footer": "text", "caption": "text", "reference": "text",
    "equation": "text", "date": "text", "text": "text", "title": "title", "section": "title", "list": "list",
    "table": "table", "figure": "figure",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One labelled picture: a crop has its `text`, a page its polygons (N, 4, 2), texts and illegible marks.

    A page of which it is known what its parts are has `regions`: pairs of one of `REGIONS` and an outline (P, 2), none
    on an empty page. Those of words are words: see `classes`. A picture without a file of its own has its `pixels`.
    """

    path: Path
    text: str | None
    polygons: np.ndarray
    texts: tuple[str, ...] = ()
    illegible: tuple[bool, ...] = ()
    level: str = "word"
    split: str = "train"
    page_text: str = ""  # of a page without boxes
    regions: tuple[tuple[str, np.ndarray], ...] | None = None
    pixels: np.ndarray | None = None
    folder: Path | None = None  # of the data set
    key: str = ""  # by which it is held out or not, if that is not the name of its file

    @property
    def source(self) -> np.ndarray | Path | bytes:
        """What a reader takes."""
        return self.path if self.pixels is None else self.pixels

    def read(self) -> np.ndarray:
        """The picture (H, W, 3) uint8.

        Raises:
            zoo.image.ImageError: it is missing or damaged.
        """
        return self.picture().pixels

    def picture(self) -> images.Picture:
        """The picture, which has fewer pixels than its file where that is very large.

        Raises:
            zoo.image.ImageError: it is missing or damaged.
        """
        try:
            if self.source is self.path and self.path.is_dir():
                raise images.ImageError(f"{self.path}: a folder, not a picture")
            return next(iter(images.pages(self.source)))
        except (images.ImageError, OSError) as error:
            if isinstance(error, OSError):  # of one that may not be looked at
                error = images.ImageError(f"{self.path}: {error.strerror or error}")
            if self.folder is None:
                raise error from None
            hint = f"`zoo data check {self.folder}` lists all that is wrong with this data set"
            raise images.ImageError(f"{error}; {hint}") from None

    def seen(self) -> tuple[images.Picture, Entry]:
        """The picture, and the entry as it stands there: in the picture's pixels, and up to its edges.

        Words that lie outside are left out, which is told once of a data set; of one that is `SEEN` in part the text
        does not count.

        Raises:
            zoo.image.ImageError: it is missing or damaged.
        """
        page = self.picture()
        limit = np.array(page.pixels.shape[1::-1], np.float32)
        scaled = self.polygons / page.scale
        clipped = scaled.clip(0, limit)
        kept = [i for i, polygon in enumerate(scaled) if not outside(polygon, limit)]
        cut = [bool(self.texts[i]) and geometry.area(clipped[i]) < SEEN * geometry.area(scaled[i]) for i in kept]
        outlines = [(name, outline / page.scale) for name, outline in self.regions or ()]
        regions = tuple((name, points.clip(0, limit)) for name, points in outlines if not outside(points, limit))
        if len(kept) < len(scaled):
            self._tell_outside("words", len(scaled) - len(kept), len(scaled))
        elif len(regions) < len(outlines):
            self._tell_outside("regions", len(outlines) - len(regions), len(outlines))
        return page, replace(
            self,
            polygons=clipped[kept],
            texts=tuple(self.texts[i] for i in kept),
            illegible=tuple(self.illegible[i] or part for i, part in zip(kept, cut, strict=True)),
            regions=None if self.regions is None else regions,
            pixels=page.pixels,
        )

    def _tell_outside(self, what: str, count: int, total: int) -> None:
        """Says of the first picture of a data set outside of which words or regions lie how many these are."""
        if (place := self.folder or self.path.parent) not in _told_outside:
            _told_outside.add(place)
            print(
                f"{place.name}: {count} of {total} {what} of {self.path} lie outside of the picture; "
                f"all such are left out, `zoo data check {place}` lists them",
                file=sys.stderr,
            )


_told_outside: set[Path] = set()  # data sets of which it was told


def outside(polygon: np.ndarray, limit: np.ndarray) -> bool:
    """Whether a polygon (P, 2) has nothing of a picture that is `limit` (2,) wide and high."""
    return bool((polygon.max(0) <= 0).any() or (polygon.min(0) >= limit).any())


def read(folder: str | Path, split: str | None = None, complaints: list[str] | None = None) -> list[Entry]:
    """The entries of a folder, in the order of its label file.

    Args:
        folder: with labels.jsonl (ours), labels.json (docTR), or *.txt (PaddleOCR), and the pictures; or with pairs of
            *-images-idx3-ubyte and *-labels-idx1-ubyte (MNIST), packed by gzip or not.
        split: only entries of this split; those of docTR and PaddleOCR belong to every split.
        complaints: a list that takes what is wrong with labels; those are then left out instead of raised.

    Raises:
        FileNotFoundError: no such folder, or no label file in it.
        ValueError: a label that cannot be understood; says which file and line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no data set {folder}: it is no folder")
    return _keyed([replace(entry, folder=folder) for entry in _entries(folder, split, complaints)], folder)


def _keyed(entries: list[Entry], folder: Path) -> list[Entry]:
    """The entries, with a key those whose files have one name in several folders, as 1/page.png and 2/page.png."""
    files = {(entry.split, entry.path) for entry in entries if entry.pixels is None}
    named = Counter((split, path.name) for split, path in files)

    def key(path: Path) -> str:
        return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()

    return [
        replace(entry, key=key(entry.path)) if named[entry.split, entry.path.name] > 1 else entry for entry in entries
    ]


def _entries(folder: Path, split: str | None, complaints: list[str] | None) -> list[Entry]:
    ours, doctr, paddle = folder / "labels.jsonl", folder / "labels.json", _paddles(folder)
    if ours.is_file():
        entries = _each(_ours, folder, ours, complaints)
        return [entry for entry in entries if split in (None, entry.split)]
    if doctr.is_file():
        return _doctr(folder, _parsed(doctr), complaints)
    if paddle:
        return [entry for path in paddle for entry in _each(_paddle, folder, path, complaints)]
    if pictures := sorted(folder.glob("*-images-idx3-ubyte*")):
        packed = {path.with_name(f"{path.name}.gz") for path in pictures}  # of a file that was unpacked beside it
        entries = [entry for path in pictures if path not in packed for entry in _digits(path)]
        return [entry for entry in entries if split in (None, entry.split)]
    raise FileNotFoundError(
        f"{folder} has no labels.jsonl (ours), labels.json (docTR), *.txt (PaddleOCR) or *-images-idx3-ubyte (MNIST)"
    )


def _each(
    parse: Callable[[Path, str, str], Entry], folder: Path, path: Path, complaints: list[str] | None
) -> list[Entry]:
    """The entries of a label file's lines; what is wrong with one is raised, or told to `complaints`."""
    entries = []
    for number, line in _lines(path):
        try:
            entries.append(parse(folder, line, f"{path}:{number}"))
        except ValueError as error:
            _complain(error, complaints)
    return entries


def _complain(error: ValueError, complaints: list[str] | None) -> None:
    if complaints is None:
        raise error
    complaints.append(str(error))


def _parsed(path: Path) -> dict:
    try:
        labels = json.loads(_contents(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: expected an object with a label for each picture, got a {type(labels).__name__}")
    return labels


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_contents(path).split("\n"), 1):  # a text may hold other ends of lines
        if line.strip():
            yield number, line


def _contents(path: Path) -> str:
    """What a label file says, with a byte order mark or without."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error


def _polygons(values: Iterable) -> np.ndarray:
    """(N, 4, 2) float32: boxes (4,) become corners, polygons of more points their smallest rectangle.

    Raises:
        ValueError: it is no polygon, or leaves every picture.
    """
    result = []
    for points in map(_points, values):
        if len(points) != 4:
            points = cv2.boxPoints(cv2.minAreaRect(points))
            points = np.roll(points, -int(points.sum(1).argmin()), 0)
        result.append(_clockwise(points))
    return np.array(result, np.float32).reshape(-1, 4, 2)


def _clockwise(quad: np.ndarray) -> np.ndarray:
    """The corners (4, 2) clockwise, from the same one on: those that run the other way would show the text mirrored."""
    (x, y), (u, v) = quad[2] - quad[0], quad[3] - quad[1]  # the diagonals
    return quad if x * v >= y * u else quad[[0, 3, 2, 1]]


def _points(value: Any) -> np.ndarray:
    """(P, 2) float32 of a polygon, or of a box (4,).

    Raises:
        ValueError: it is no polygon, or leaves every picture.
    """
    points = np.asarray(value, np.float32)
    if points.ndim == 1 and len(points) >= 6 and len(points) % 2 == 0:  # x and y one after the other
        points = points.reshape(-1, 2)
    if points.shape == (4,):  # two corners that lie opposite
        corners = points.reshape(2, 2)
        points = rectangle(*corners.min(0), *corners.max(0))
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"a polygon is three points or more, [x, y] each, or a box of four numbers, not {value!r}")
    if not (np.abs(points) <= FARTHEST).all():
        raise ValueError(f"a polygon lies within {FARTHEST} pixels, not at {value!r}")
    return points


def _ours(folder: Path, line: str, where: str) -> Entry:
    try:
        row = json.loads(line)
        path, split = _file(folder, row["image"]), _text(row.get("split", "train"))
        if "text" in row:
            return Entry(path, _text(row["text"]).strip(), _polygons([]), split=split)
        if not row.keys() & {"words", "page_text", "regions"}:
            raise ValueError('a crop has a "text"; a page "words", "regions" or a "page_text"')
        words = row.get("words", [])
        labelled = row.get("regions", [word for word in words if "label" in word])
        parts = [(_label(part["label"]), _outline(part)) for part in labelled]
        return Entry(
            path,
            None,
            _polygons(word["polygon"] for word in words),
            tuple(_text(word.get("text") or "") for word in words),
            tuple(_flag(word.get("illegible") or False) for word in words),
            row.get("level", "word"),
            split,
            _text(row.get("page_text") or ""),
            tuple(parts) if parts or "regions" in row else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: not a label of this format ({type(error).__name__}: {error})") from error


def _file(folder: Path, name: str) -> Path:
    """The picture of that name, as Windows writes it, too."""
    path = folder / name
    return folder / name.replace("\\", "/") if "\\" in name and not path.exists() else path


def _label(value: object) -> str:
    if value not in REGIONS:
        raise ValueError(f"no region is called {value!r}; there are: {', '.join(REGIONS)}")
    return str(value)


def _outline(part: dict) -> np.ndarray:
    """(P, 2) of a region: the exact one, where it has it beside its box."""
    return _points((part.get("segmentation") or [part["polygon"]])[0])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _flag(value: object) -> bool:
    if value not in (True, False):  # 1 and 0 among them; "false" is a text, and would be true
        raise TypeError(f"illegible is true or false, not {value!r}")
    return bool(value)


def _doctr(folder: Path, labels: dict, complaints: list[str] | None) -> list[Entry]:
    """docTR's labels.json: {name: text} for words, {name: {"polygons": [...]}} for pages; pictures in images/."""
    entries = []
    for name, label in labels.items():
        path = _file(folder / "images", name)
        if isinstance(label, str):
            entries.append(Entry(path, label.strip(), _polygons([])))
            continue
        polygons: Any = label.get("polygons") if isinstance(label, dict) else None
        try:
            if isinstance(polygons, dict):  # several classes of text
                polygons = [polygon for group in polygons.values() for polygon in group]
            entries.append(Entry(path, None, _polygons(polygons), ("",) * len(polygons), (False,) * len(polygons)))
        except (ValueError, TypeError) as error:
            what = (
                f"{folder / 'labels.json'}: {name!r} has neither a text nor polygons ({type(error).__name__}: {error})"
            )
            _complain(ValueError(what), complaints)
    return entries


PPOCRLABEL = "Label.txt"  # lies among the pictures, whose names have that of the folder before them
ITS_OWN = {"fileState.txt", "rec_gt.txt"}  # which pictures were looked at, and crops of what the other one labels


def _paddles(folder: Path) -> list[Path]:
    """PaddleOCR's label files, without what PPOCRLabel writes beside its own."""
    found = sorted(folder.glob("*.txt"))
    ours = any(path.name == PPOCRLABEL for path in found)
    return [path for path in found if not (ours and path.name in ITS_OWN)]


def _paddle(folder: Path, line: str, where: str) -> Entry:
    """PaddleOCR's lines: path, tab, text; or path, tab, a list of {"transcription", "points", "difficult"}."""
    name, tab, label = line.partition("\t")
    if not tab:
        raise ValueError(f"{where}: expected a path, a tab and a label, got {line[:60]!r}")
    path = _file(folder, name)
    if Path(where.rpartition(":")[0]).name == PPOCRLABEL and not path.parent.is_dir():
        path = folder / path.name
    words: Any = None
    with contextlib.suppress(ValueError):
        words = json.loads(label) if label.lstrip().startswith("[") else None
    if not isinstance(words, list) or not all(isinstance(word, dict) for word in words):
        return Entry(path, label.strip(), _polygons([]))  # a text, which may begin with a bracket
    try:
        texts = tuple(_text(word["transcription"] or "") for word in words)
        polygons = _polygons(word["points"] for word in words)
        difficult = [_flag(word.get("difficult") or False) for word in words]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: not a label of PaddleOCR ({type(error).__name__}: {error})") from error
    unclear = (text in ("###", "*") or hard for text, hard in zip(texts, difficult, strict=True))
    return Entry(path, None, polygons, texts, tuple(unclear))


def _digits(path: Path) -> list[Entry]:
    """The digits of a file of pictures and of that of their labels beside it: http://yann.lecun.com/exdb/mnist.

    Those of files named "train-…" are of `train`, others of `test`.
    """
    pixels, labels = _idx(path), _idx(path.with_name(path.name.replace("-images-idx3-", "-labels-idx1-")))
    if len(pixels) != len(labels):
        raise ValueError(f"{path}: {len(pixels)} pictures, and {len(labels)} labels beside it")
    split, none = "train" if path.name.startswith("train-") else "test", _polygons([])
    coloured = np.repeat(pixels[..., None], 3, -1)
    return [
        Entry(path / f"{index:05d}", str(label), none, split=split, pixels=picture)
        for index, (picture, label) in enumerate(zip(coloured, labels.tolist(), strict=True))
    ]


def _idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file: two zeros, the type 8, the number of axes, their sizes, the values."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    shape = np.frombuffer(data[4 : 4 + 4 * axes], ">u4") if len(data) >= 4 + 4 * axes else ()
    if not axes or not len(shape) or len(data) != 4 + 4 * axes + int(np.prod(shape)):
        raise ValueError(f"{path} is no IDX file of bytes, or is cut off: {len(data)} bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def classes(entry: Entry, size: tuple[int, int]) -> np.ndarray | None:
    """(H, W) uint8: of each pixel of a page 0, or one more than the place of what it is part of in `documents.LABELS`.

    Words are joined to regions where no more than a line and a half lies between them. None where nothing is known.
    """
    if entry.regions is None:
        return None
    result = np.zeros(size, np.uint8)
    heights = [np.ptp(outline[:, 1]) for _, outline in entry.regions]
    reach = max(3, round(1.5 * float(np.median(heights)))) if heights and len(entry.polygons) else 0
    for value, label in enumerate(LABELS, 1):
        drawn = np.zeros(size, np.uint8)
        for name, outline in entry.regions:
            if REGIONS[name] == label:
                cv2.fillPoly(drawn, [np.rint(outline).astype(np.int32)], 1)
        if reach and drawn.any():
            edge = cv2.copyMakeBorder(drawn, reach, reach, reach, reach, cv2.BORDER_CONSTANT)
            edge = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
            drawn = edge[reach:-reach, reach:-reach]
        result[(drawn > 0) & (result == 0)] = value
    return result


def regions(entry: Entry, size: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    """The parts of a page: one of `documents.LABELS` each, and the upright rectangle (4, 2) float32 around it.

    Where words are labelled, these are the regions of `classes` that hang together.
    """
    if not len(entry.polygons):
        return [(REGIONS[name], rectangle(*outline.min(0), *outline.max(0))) for name, outline in entry.regions or ()]
    drawn, result = classes(entry, size), []
    for value, label in enumerate(LABELS, 1) if drawn is not None else ():
        count, _, stats, _ = cv2.connectedComponentsWithStats(np.uint8(drawn == value))
        for x, y, width, height, _ in stats[1:count].tolist():
            result.append((label, rectangle(x, y, x + width, y + height)))
    return result


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """(4, 2) float32, clockwise from the top left."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def held_out(entry: Entry, share: float = 0.1) -> bool:
    """Whether the entry belongs to the part of `train` that chooses between checkpoints: by a hash of its file name, or
    of its path where several files have that name."""
    name = entry.key or entry.path.name
    data = name.encode("utf-8", "surrogatepass")  # of a name that is no text, which is told when it is read
    return hashlib.sha256(data).digest()[0] < 256 * share


def halves(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Of a data set's entries those to learn from, and those that choose between checkpoints.

    These are the split "val" (or "valid", "validation", "dev") where the labels have one, else a part of `train`.
    """
    entries = list(entries)
    train = [entry for entry in entries if entry.split == "train"]
    if own := [entry for entry in entries if entry.split in CHOOSING]:
        return train, own
    parts: tuple[list[Entry], list[Entry]] = ([], [])
    for entry in train:
        parts[held_out(entry)].append(entry)
    return parts


def spread(entries: list[Any], count: int) -> list[Any]:
    """`count` of the entries in equal steps, or all for 0."""
    if not count or count >= len(entries):
        return entries
    return [entries[index * len(entries) // count] for index in range(count)]


CHOOSING = frozenset({"val", "valid", "validation", "dev"})  # names of a split that chooses between checkpoints
Named = dict[str, list[Entry]]
Members = Mapping[str, list[Any]]  # by the data set's name: entries, or what was made of them
DOUBLES = frozenset({("sroie", "sroie_015.jpg")})  # the receipt of sroie_012.jpg, a test page: see `apart`


def train_split(data: Path | None, names: Iterable[str], few: int = 0) -> tuple[Named, Named]:
    """The `halves` of data sets, by name: the entries to train on, and those that choose between checkpoints.

    Args:
        data: folder that holds the data sets; without it there are those alone that are named by whole paths.
        names: of folders in it, or paths.
        few: entries of each at most to train on; 0 is all.

    Raises:
        FileNotFoundError, ValueError: as `read` does; two of them have one name; or one has nothing of `train`.
    """
    train: Named = {}
    held: Named = {}
    for folder in folders(data, names):
        title = folder.name
        if title in train:
            raise ValueError(f"two of the data sets are named {title!r} ({folder} is one); rename the folder of one")
        if data and folder.is_relative_to(data) and not folder.is_dir():  # of a recipe's own, most likely
            raise FileNotFoundError(f"there is no data set {folder}; --set real=A,B names those that are in {data}")
        entries = read(folder)
        if not any(entry.split == "train" for entry in entries):
            splits = sorted({entry.split for entry in entries})
            raise ValueError(
                f"{folder} has nothing of the split 'train'; its splits are: {', '.join(splits) or 'none'}"
            )
        learnt, kept = halves(entry for entry in entries if (title, entry.path.name) not in DOUBLES)
        if not learnt:  # a few that chance holds out
            learnt, kept = kept, []
        train[title], held[title] = spread(learnt, few), kept
    return train, held


def folders(data: Path | None, names: Iterable[str]) -> list[Path]:
    """Where data sets are, of which names are told; without `data` those alone that are named by whole paths."""
    return [Path(data or ".") / name for name in names if data or Path(name).is_absolute()]


def with_parts(split: tuple[Named, Named]) -> tuple[Named, Named]:
    """Of both halves of `train_split` those pages that say what their parts are.

    Raises:
        ValueError: of one of the sets none does.
    """
    return _of_use(split, lambda e: e.regions is not None, 'what its parts are; labels have them as "regions"')


def placed(entry: Entry) -> bool:
    """Whether it is known where the words of a page are; of one that has none it is."""
    return len(entry.polygons) > 0 or not (entry.page_text or entry.regions)


def with_places(split: tuple[Named, Named]) -> tuple[Named, Named]:
    """Of both halves of `train_split` those pages of which it is known where their words are, and all crops.

    Raises:
        ValueError: of one of the sets it is known of none.
    """
    return _of_use(split, placed, 'where its words are; labels have them as "words" with a "polygon" each')


def _of_use(split: tuple[Named, Named], useful: Callable[[Entry], bool], what: str) -> tuple[Named, Named]:
    """The useful entries of both halves of `train_split`, of each set that has some; `what` pages should say.

    Pages are read as a run comes to them, the held-out ones at a validation, so that missing ones are told here.
    """
    known = [{name: [e for e in entries if useful(e)] for name, entries in half.items()} for half in split]
    for name, entries in split[0].items():
        if not any(half.get(name) for half in known):
            count = len(entries) + len(split[1].get(name, ()))
            raise ValueError(f"nothing of {name} can be learnt from: not one of its {count} pages says {what}")
    real, held = ({name: entries for name, entries in half.items() if entries} for half in known)
    for name in real.keys() | held.keys():
        _check_there(name, [*real.get(name, ()), *held.get(name, ())])
    return real, held


def _check_there(name: str, entries: Sequence[Entry]) -> None:
    """Raises `FileNotFoundError` where pages of a data set are not there; crops are read before a run begins."""
    if missing := [entry for entry in entries if entry.text is None and not entry.path.is_file()]:
        first = missing[0]
        raise FileNotFoundError(
            f"{name}: {len(missing)} of {len(entries)} pages are missing, {str(first.path)!r} is one; "
            f"`zoo data check {first.folder or first.path.parent}` lists them"
        )


def draw(sets: Mapping[str, Sequence[Any]], rng: np.random.Generator) -> tuple[str, Any]:
    """The name of one of several sets, and a member of it: a set is drawn by the square root of its size.

    So large ones come more often, and none alone.
    """
    filled = [name for name, members in sets.items() if members]
    chances = np.sqrt([len(sets[name]) for name in filled])
    name = filled[int(rng.choice(len(filled), p=chances / chances.sum()))]
    return name, sets[name][int(rng.integers(len(sets[name])))]


def chosen(real: Members, kept: Members, share: float, rng: np.random.Generator) -> Members:
    """The sets from which a sample is drawn: real ones for a share of them, those to keep for half of the others.

    None where it is to be a synthetic one.
    """
    if real and rng.random() < share:
        return real
    return kept if kept and rng.random() < 0.5 else {}


def held_sets(held: Members, kept: Members, count: int, samples: Callable[[str, list], list]) -> dict[str, list]:
    """The samples of what is held out, "real", and of what is to be kept, "replay": at most `count` members of each."""
    sets = {}
    for name, members in (("real", held), ("replay", kept)):
        if every := [member for some in members.values() for member in some]:
            sets[name] = samples(name, spread(every, count))
    return sets


def sources(data: Path | None, names: Iterable[str]) -> list[str]:
    """What a card says of the data sets that a run takes from, each with its licence where its SOURCE.md tells it."""
    found = folders(data, names)
    return [f"{title}/train{licence(folder)}" for title, folder in zip(titles(found), found, strict=True)]


def titles(paths: Sequence[Path]) -> list[str]:
    """What data sets are called: their folders' names, with so much of what is before them as tells them apart."""

    def title(path: Path) -> str:
        others = [other.parts for other in paths if other != path]
        counts = (n for n in range(1, len(path.parts)) if path.parts[-n:] not in [parts[-n:] for parts in others])
        return "/".join(path.parts[-n:]) if (n := next(counts, 0)) else str(path)

    return [title(path) for path in paths]


def licence(folder: Path) -> str:
    """ " (LICENCE)" as SOURCE.md of a data set has it in its line "- Licence: "; "" where it has none."""
    path = folder / "SOURCE.md"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    found = [line.partition(":")[2].strip().rstrip(".") for line in lines if line.startswith("- Licence:")]
    return f" ({found[0]})" if found else ""


def crops(entry: Entry) -> Iterator[tuple[np.ndarray, str]]:
    """Each legible word of an entry as a picture (H, W, 3) uint8 and its text; lines are cut into words."""
    page, entry = entry.seen()
    if entry.text is not None:
        yield page.pixels, entry.text
        return
    polygons, texts, illegible = words(entry, page.pixels)
    for polygon, text, unclear in zip(polygons, texts, illegible, strict=True):
        if not unclear and min(np.ptp(polygon, axis=0)) >= 5:
            yield images.crop(page.pixels, polygon), text


def spans(entry: Entry) -> Iterator[tuple[np.ndarray, str]]:
    """Neighbours in a line of a page, as a picture (H, W, 3) uint8 and a text with spaces.

    Pairs of words, by the boxes of words or where a line can be cut, and short lines that cannot be.
    """
    page, entry = entry.seen()
    for polygon, text in _neighbours(entry, page.pixels):
        if min(np.ptp(polygon, axis=0)) >= 5:
            yield images.crop(page.pixels, polygon), text


def _neighbours(entry: Entry, picture: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    before, said = None, ""
    for polygon, label, unclear in zip(entry.polygons, entry.texts, entry.illegible, strict=True):
        tokens = label.split()
        if unclear or not tokens:
            before = None
        elif len(tokens) > 1:
            before = None
            parts = cut(images.crop(picture, polygon), label)
            for (start, _, left), (_, stop, right) in itertools.pairwise(parts):
                yield geometry.part(polygon, start, stop), f"{left} {right}"
            if not parts and len(tokens) <= 4:
                yield polygon, " ".join(tokens)
        else:
            if before is not None and beside(before, polygon):
                yield spanned(before, polygon), f"{said} {tokens[0]}"
            before, said = polygon, tokens[0]


def spanned(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(4, 2) around two words' boxes, from the left end of the one to the right end of the other."""
    return np.stack([left[0], right[1], right[2], left[3]])


def beside(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether a word's box stands in the line of the one before it, no further away than a line is high."""
    heights = np.linalg.norm(left[3] - left[0]), np.linalg.norm(right[3] - right[0])
    (gap, drop), height = (right[0] + right[3] - left[1] - left[2]) / 2, max(heights)
    return 0 < gap < height and abs(drop) < 0.3 * height and min(heights) > 0.6 * height


def words(entry: Entry, picture: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(N, 4, 2) polygons of an entry's words, their texts, and which are illegible (N,) bool.

    A label with spaces is cut into words where its gaps tell; one that cannot be cut is illegible as a whole. So is one
    without a text, unless the page has none: of docTR's, places alone are known.
    """
    polygons, texts, illegible = [], [], []
    told = any(entry.texts)
    for polygon, text, unclear in zip(entry.polygons, entry.texts, entry.illegible, strict=True):
        parts = [(0.0, 1.0, text.strip())]
        if not unclear and len(text.split()) > 1:
            parts = cut(images.crop(picture, polygon), text)
        if not parts:
            parts, unclear = [(0.0, 1.0, "")], True
        for start, stop, word in parts:
            polygons.append(geometry.part(polygon, start, stop))
            texts.append(word)
            illegible.append(unclear or (told and not word))
    return np.array(polygons, np.float32).reshape(-1, 4, 2), texts, np.array(illegible, bool)


def cut(line: np.ndarray, text: str) -> list[tuple[float, float, str]]:
    """The words of a straight line (H, W, 3), each with its start and stop as parts of the width.

    The text has spaces, and as many of the widest gaps in the ink are taken for them if the narrowest of these is well
    above the widest that is left; else those that leave each word the length that its letters should take. Empty where
    neither tells: each gap within a word must be narrower than those beside the word.
    """
    tokens = text.split()
    grey = cv2.cvtColor(line, cv2.COLOR_RGB2GRAY)
    _, ink = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    ink = 1 - ink if ink.mean() > 0.5 else ink
    filled = np.flatnonzero(ink.sum(0) > 0.04 * len(line))
    if len(filled) < 2:
        return []
    gaps = np.diff(filled) - 1
    order = np.argsort(-gaps, kind="stable")
    chosen, others = np.sort(order[: len(tokens) - 1]), order[len(tokens) - 1 :]
    widest = gaps[others[0]] if len(others) else 0
    if len(chosen) < len(tokens) - 1 or gaps[chosen].min() < max(2, 1.4 * widest):
        chosen = _by_length(filled, tokens)
    if len(chosen) < len(tokens) - 1:
        return []
    width, margin = line.shape[1], np.minimum(gaps[chosen] / 2, 0.12 * len(line))
    starts = np.r_[filled[0] - 1, filled[chosen + 1] - margin].clip(0) / width
    stops = np.r_[filled[chosen] + 1 + margin, filled[-1] + 2].clip(0, width) / width
    return list(zip(starts.tolist(), stops.tolist(), tokens, strict=True))


def _by_length(filled: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """The gaps between words that leave each the length that its letters should take; empty where that does not tell.

    Gaps are found one word after the other, as the least sum of squares of what each word's length is off, in what it
    may be off, less what is taken for each gap's width.

    Args:
        filled: columns with ink, ascending.
        words: of the line; two at least.

    Returns:
        (len(words) - 1,) places in `filled` after which a gap is.
    """
    places = np.flatnonzero(np.diff(filled) > 1)
    starts, stops = filled[places] + 1, filled[places + 1]
    if len(places) < len(words) - 1:
        return places[:0]
    best, found = np.inf, places[:0]
    for letters in ("of all widths", "of one"):
        lengths = [
            sum(map(joining.advance, word)) if letters == "of all widths" else float(len(word)) for word in words
        ]
        unit = (filled[-1] + 1 - filled[0]) / (sum(lengths) + 0.55 * (len(words) - 1))
        taken = 6.0 * np.minimum((stops - starts) / unit, 1)
        off = [(length * unit, (0.25 + 0.1 * length) * unit) for length in lengths]
        cost, back = ((starts - filled[0] - off[0][0]) / off[0][1]) ** 2 - taken, []
        for length, deviation in off[1:-1]:
            space = starts[None, :] - stops[:, None]
            ways = cost[:, None] + np.where(space > 0, ((space - length) / deviation) ** 2, np.inf)
            back.append(ways.argmin(0))
            cost = ways.min(0) - taken
        cost = cost + ((filled[-1] + 1 - stops - off[-1][0]) / off[-1][1]) ** 2
        if cost.min() < best:
            path = [int(cost.argmin())]
            for step in reversed(back):
                path.append(int(step[path[-1]]))
            best, found = float(cost.min()), np.array(path[::-1])
    widths = stops - starts
    edges = np.r_[-1, found, len(places)]
    for first, last in itertools.pairwise(edges.tolist()):
        beside = [widths[edge] for edge in (first, last) if 0 <= edge < len(places)]
        if (widths[first + 1 : last] >= min(beside, default=np.inf)).any():
            return places[:0]
    return places[found]
