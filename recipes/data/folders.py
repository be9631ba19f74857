"""Data sets as folders in our format: synthetic ones written, any checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recipes import plots
from recipes.data import cases, datasets, documents, synthetic
from zoo import geometry, image
from zoo.charset import Charset
from zoo.files import replacing
from zoo.reading import Recognizer

LABELS, PREVIEW, SOURCE = "labels.jsonl", "preview.png", "SOURCE.md"
KINDS = (*documents.KINDS, "scene")
SHOWN = {"words": 60, "pages": 6}  # samples on the preview
OUTSIDE = 2.0  # pixels by which a label's polygon may leave the picture


# ---------------------------------------------------------------- writing


def write_words(folder: Path, seed: int, count: int, charset: str = "french", longest: int = 24) -> Path:
    """The folder, with `count` synthetic words, their labels, and a preview.

    Raises:
        FileExistsError: the folder holds a data set already.
    """
    alphabet, shown = Charset(charset), []

    def rows() -> Iterator[dict[str, Any]]:
        for index in range(count):
            word = synthetic.word_at(alphabet, seed, index, longest)
            if index < SHOWN["words"]:
                shown.append((word.image, word.text, word.text))
            yield {"image": _save(folder, f"{index:06}.png", word.image), **_size(word.image), "text": word.text}

    _write_labels(folder, rows())
    plots.words(shown, folder / PREVIEW)
    return folder


def write_pages(folder: Path, seed: int, count: int, kind: str = "") -> Path:
    """The folder, with `count` synthetic pages, their labels, and a preview.

    Args:
        folder: to be filled.
        seed: the page number n depends on it and n only.
        count: of pages.
        kind: one of `KINDS`; "" for all in turn.

    Raises:
        FileExistsError: the folder holds a data set already.
        ValueError: there is no such kind.
    """
    if kind and kind not in KINDS:
        raise ValueError(f"no pages are named {kind!r}; there are: {', '.join(KINDS)}")
    shown = []

    def rows() -> Iterator[dict[str, Any]]:
        for index in range(count):
            page = page_at(seed, index, kind or KINDS[index % len(KINDS)])
            if index < SHOWN["pages"]:
                shown.append(_thumbnail(page))
            words = [
                {"polygon": polygon.round(1).tolist(), "text": text, "illegible": False}
                for polygon, text in zip(page.polygons, page.texts, strict=True)
            ]
            name = _save(folder, f"{index:06}.jpg", page.image)
            yield {"image": name, **_size(page.image), "level": "word", "words": words}

    _write_labels(folder, rows())
    plots.regions(shown, folder / PREVIEW)
    return folder


def page_at(seed: int, index: int, kind: str) -> documents.Sample:
    """The synthetic page number `index` of a kind."""
    rng = np.random.default_rng((seed, index))
    return documents.scene(rng) if kind == "scene" else documents.document(rng, kind)


def write_cased(folder: Path, output: Path, recognizer: Recognizer, pages: bool = False) -> dict[str, int]:
    """Writes the words of a data set's `train` split, each in the case that print shows.

    Args:
        folder: the data set, whose labels are all in capitals. What validation looks at stays out, and doubles of
            test pages.
        output: a folder that is made, with SOURCE.md of the data set.
        recognizer: of CTC, which tells the case: see `recipes.data.cases`.
        pages: for spotters: whole pages, on which a word whose print does not tell has a place and no text. Else crops
            for recognizers, of words and of neighbours.

    Returns:
        "words" and pairs that were written, and how many were "left_out" since the print did not tell.

    Raises:
        FileExistsError: the output holds a data set already.
        FileNotFoundError: the folder has no labels.
        ValueError: pages are asked for, and the folder has none whose words have places.
    """
    counts = {"words": 0, "left_out": 0}
    folder = folder.resolve()
    entries = datasets.train_split(None, [str(folder)])[0][folder.name]
    if pages and entries and not any(len(entry.polygons) for entry in entries):
        raise ValueError(f"{folder}: no page of its `train` split has words with places; for crops take --pages out")

    def told(words: Sequence[tuple[np.ndarray, str]]) -> list[str]:
        logits = recognizer.logits([picture for picture, _ in words])
        texts = [cases.told(text, seen, recognizer.charset) for (_, text), seen in zip(words, logits, strict=True)]
        counts["words"] += len(texts) - texts.count("")
        counts["left_out"] += texts.count("")
        return texts

    stems = _distinct([entry.path.stem for entry in entries])

    def crops() -> Iterator[dict[str, Any]]:
        for entry, stem in zip(entries, stems, strict=True):
            words = [*datasets.crops(entry), *datasets.spans(entry)]
            for number, ((picture, _), text) in enumerate(zip(words, told(words), strict=True)):
                if text:
                    name = _save(output, f"{stem}_{number:03}.png", picture)
                    yield {"image": name, **_size(picture), "text": text}

    def whole() -> Iterator[dict[str, Any]]:
        for entry, stem in zip(entries, stems, strict=True):
            page, entry = entry.seen()
            polygons, texts, illegible = datasets.words(entry, page.pixels)
            legible = np.flatnonzero(~illegible)
            known = told([(image.crop(page.pixels, polygons[i]), texts[i]) for i in legible])
            shown = dict(zip(legible.tolist(), known, strict=True))
            words = [
                {"polygon": (polygon * page.scale).tolist(), "text": shown.get(i, ""), "illegible": i not in shown}
                for i, polygon in enumerate(polygons)
            ]
            name = f"images/{stem}{entry.path.suffix}"
            with replacing(output / name) as temporary:
                shutil.copyfile(entry.path, temporary)
            size = {"width": page.size[1], "height": page.size[0]}
            yield {"image": name, **size, "level": "word", "words": words}

    _write_labels(output, whole() if pages else crops())
    if (folder / SOURCE).is_file():
        with replacing(output / SOURCE) as temporary:
            shutil.copyfile(folder / SOURCE, temporary)
    return counts


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, of which none stands twice: others of the same name, in whatever case, have a number."""
    taken, result = {name.casefold() for name in names}, []
    seen: set[str] = set()
    for name in names:
        chosen, number = name, 1
        while chosen.casefold() in seen or (number > 1 and chosen.casefold() in taken):
            number += 1
            chosen = f"{name}-{number}"
        seen.add(chosen.casefold())
        result.append(chosen)
    return result


def _write_labels(folder: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Writes the labels when all pictures are written: a folder that was left half made has none."""
    if (folder / LABELS).exists():
        raise FileExistsError(f"{folder} holds a data set already; give another folder")
    with replacing(folder / LABELS) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row | {"split": "train"}, ensure_ascii=False) + "\n")


def _save(folder: Path, name: str, pixels: np.ndarray) -> str:
    """Writes a picture; its path within the folder."""
    with replacing(folder / "images" / name) as temporary:
        Image.fromarray(pixels).save(temporary, quality=92)
    return f"images/{name}"


def _size(pixels: np.ndarray) -> dict[str, int]:
    return {"width": pixels.shape[1], "height": pixels.shape[0]}


def _thumbnail(page: documents.Sample, height: int = 640) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A page for the preview: a small picture, nothing found, and its true polygons."""
    scale = height / page.image.shape[0]
    small = image.resize(page.image, height, max(1, round(page.image.shape[1] * scale)))
    return small, np.zeros((0, 4, 2), "float32"), page.polygons * np.float32(scale)


# ---------------------------------------------------------------- checking


@dataclass
class Report:
    """What a data set holds.

    Attributes:
        counts: of pictures, words, characters …, by name.
        complaints: labels that are of no use, each with its place.
    """

    counts: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


def inspect(folder: Path) -> Report:
    """What a folder holds, after every label and every picture was read.

    Raises:
        FileNotFoundError: it has no labels.
    """
    report = Report()
    for entry in datasets.read(folder, complaints=report.complaints):
        bare = replace(entry, folder=None)  # whose errors do not name this check
        report.count("pages" if entry.text is None else "crops")
        report.count(f"split {entry.split}")
        report.complaints.extend(f"{entry.path}: {complaint}" for complaint in _complaints(bare))
        legible = [text for text, unclear in zip(entry.texts, entry.illegible, strict=True) if not unclear]
        report.count("labels", len(entry.texts) if entry.text is None else 1)
        report.count("illegible", sum(entry.illegible))
        report.count("characters", sum(map(len, legible)) + len(entry.text or ""))
    if not report.counts and not report.complaints:
        report.complaints.append(f"{folder}: its label files are empty")
    return report


def _complaints(entry: datasets.Entry) -> Iterator[str]:
    try:
        height, width = entry.picture().size
    except image.ImageError as error:
        yield str(error).removeprefix(f"{entry.path}: ")
        return
    if entry.text is not None and not entry.text.strip():
        yield "the label is empty"
    limit = np.array([width, height])
    for polygon, text, unclear in zip(entry.polygons, entry.texts, entry.illegible, strict=True):
        if geometry.area(polygon) < 1:
            yield f"the polygon of {text!r} has no area: {polygon.tolist()}"
        elif datasets.outside(polygon, limit):
            yield f"the polygon of {text!r} lies outside of the picture of {width} x {height}"
        elif (polygon.max(0) > limit + OUTSIDE).any() or (polygon.min(0) < -OUTSIDE).any():
            yield f"the polygon of {text!r} leaves the picture of {width} x {height}"
        if not unclear and not text.strip() and any(entry.texts):
            yield f"a label without text at {polygon[0].tolist()} is not marked as illegible"
    for name, outline in entry.regions or () if not len(entry.polygons) else ():
        if datasets.outside(outline, limit):
            yield f"the region {name!r} lies outside of the picture of {width} x {height}"
