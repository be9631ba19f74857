"""report.html: what a run became, on one page that needs no other file.

Curves; scores on the held-out samples of each data set, by what they have in common; what is mistaken for what; the
worst samples as pictures. All of it by the reading path, with the weights of the best validation.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from recipes import analysis, metrics, plots
from recipes.classification.task import Task as Classes
from recipes.data.synthetic import Strip
from recipes.detection.task import Task as Boxes
from recipes.layout.task import Task as Regions
from recipes.layout.task import compared, stacked
from recipes.recipe import Recipe
from recipes.recognition.task import Task as Words
from recipes.segmentation.task import Task as Segments
from recipes.spotting.task import Task as Spots
from recipes.tables.task import Task as Cells
from recipes.tables.task import matched
from zoo import image as images
from zoo import registry
from zoo.files import check_writable, replacing
from zoo.formats import painted
from zoo.regions import Region

REPORT = "report.html"
LENGTHS, HEIGHTS, ANGLES = (3, 5, 8, 12, 16), (12, 16, 24, 32, 48), (2, 5, 15, 45)
WORST, PAGES, PAIRS = 36, 6, 16  # words, pages and pairs that are shown
MISSED = "#ef6c00"
LEGEND = (
    f'found: <b style="color:{plots.RIGHT}">right</b>, <b style="color:{plots.WRONG}">false</b>; '
    f'<b style="color:{MISSED}">missed</b>'
)


def write(run: Path, recipe: Recipe, task: Any, network: Any) -> Path:
    """The report of a run, written into its folder.

    Args:
        run: its folder, with a card.
        recipe: what it followed.
        task: its task; of one that is none of the usual kinds the report has curves and scores alone.
        network: with the weights that are reported on.
    """
    check_writable(run / REPORT)
    card = registry.card(run)
    while hasattr(task, "task"):  # a pupil's is wrapped
        task = task.task
    body = [_summary(run, recipe, card), _curves(run)]
    kind = next((kind for kind in KINDS if isinstance(task, kind)), None)
    body += KINDS[kind](task, network) if kind else []
    body.append(_details("The recipe", table(("field", "value"), dataclasses.asdict(recipe).items())))
    with replacing(run / REPORT) as temporary:
        temporary.write_text(page(f"{recipe.model} in {run.resolve().name}", body), encoding="utf-8")
    return run / REPORT


def _summary(run: Path, recipe: Recipe, card: registry.Card) -> str:
    best, made = card.results["validation"], card.weights
    rows = [
        ("model", f"{recipe.model}, {card.params / 1e6:.2f} M parameters"),
        ("learnt from", ", ".join(made["data"])),
        ("best validation", f"score {best['score']:.4f} after {best['step']:.0f} of {recipe.steps} steps"),
        ("time", f"{made['seconds'] / 60:.1f} minutes on {made['device']}"),
        ("code", f"ocrzoo {made['version']} {made.get('commit', '')}"),
        ("written", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    return table((), rows)


def _curves(run: Path) -> str:
    path = run / "curves.png"
    if not path.is_file():
        return ""
    source = base64.b64encode(path.read_bytes()).decode()
    return section("How it learnt", f'<img class="wide" src="data:image/png;base64,{source}" alt="loss and scores">')


# ---------------------------------------------------------------- recognizers


def _words(task: Words, network: Any) -> list[str]:
    recognize, body = task.reader(network), []
    for name, samples in task.held_out().items():
        readings = recognize([sample.image for sample in samples])
        body.append(section(f"Words: {name}", _word_tables(samples, readings), _worst_words(samples, readings)))
    return body


def _word_tables(samples: Sequence, readings: Sequence) -> str:
    true, read = [sample.text for sample in samples], [reading.text for reading in readings]
    right = [a == b for a, b in zip(read, true, strict=True)]
    pairs = [pair for a, b in zip(read, true, strict=True) for pair in analysis.aligned(a, b)]
    tall = [len(sample.image) for sample in samples]
    counts = f"{len(true)} words, {np.mean(right):.1%} read right; character error rate {metrics.cer(read, true):.2%}"
    wrong = analysis.confusions(pairs)
    mistaken = [(_glyph(a), _glyph(b), count) for (a, b), count in wrong if a and b]
    lost = [
        (_glyph(a), "missed", count) if a else (_glyph(b), "added", count) for (a, b), count in wrong if not (a and b)
    ]
    hardest = [group._replace(name=_glyph(group.name)) for group in analysis.characters(pairs)]
    return paragraph(counts) + columns(
        scored("characters in the word", analysis.grouped(list(map(len, true)), right, LENGTHS))
        + scored("height, pixels", analysis.grouped(tall, right, HEIGHTS)),
        scored("character", hardest[:PAIRS]),
        table(("true", "read as", "times"), mistaken[:PAIRS]),
        table(("character", "", "times"), lost[:PAIRS]),
    )


def _glyph(character: str) -> str:
    """How a character is shown in a table."""
    return "(space)" if character == " " else character


def _worst_words(samples: Sequence, readings: Sequence) -> str:
    """The words with most wrong characters for their length; of equal ones the surest first."""
    shown = []
    for sample, reading in zip(samples, readings, strict=True):
        if reading.text != sample.text:
            wrong = metrics.edits(reading.text, sample.text) / max(1, len(sample.text))
            shown.append((wrong, reading.score, sample, reading))
    shown.sort(key=lambda item: item[:2], reverse=True)
    figures = [
        figure(sample.image, f"{_marked(reading.text, sample.text)}<br><small>{escape(sample.text)} · "
               f"{reading.score:.2f}</small>", "word")
        for _, _, sample, reading in shown[:WORST]
    ]  # fmt: skip
    return _sheet("Worst words: what was read, below it the truth and how sure the model was", figures)


def _marked(read: str, true: str) -> str:
    """What was read, with wrong characters marked, and a mark where one is missing."""
    marks = [
        escape(b) if a == b else f"<mark>{escape(b) or '&#8203;·'}</mark>" for a, b in analysis.aligned(read, true)
    ]
    return "".join(marks)


# ---------------------------------------------------------------- detectors


def _boxes(task: Boxes, network: Any) -> list[str]:
    detect, body = task.reader(network), []
    for name, members in task.held_out().items():
        pages = [analysis.boxes(detect(member.image)[0], member.polygons, member.ignore) for member in members]
        body.append(section(f"Boxes: {name}", _box_tables(pages), _worst_pages(members, pages)))
    return body


def _box_tables(pages: Sequence[analysis.Boxes]) -> str:
    right, found, true = (sum(int(len_(page)) for page in pages) for len_ in (
        lambda page: page.right.sum(), lambda page: len(page.right), lambda page: len(page.true)))  # fmt: skip
    scores = metrics.hmean(right, found, true)
    text = f"{len(pages)} pages with {true} boxes; {found} found, {right} of them right. " + ", ".join(
        f"{key} {value:.1%}" for key, value in scores.items()
    )
    return paragraph(text) + columns(
        _by_group("height, pixels", analysis.hmeans(pages, analysis.heights, HEIGHTS)),
        _by_group("angle, degrees", analysis.hmeans(pages, analysis.angles, ANGLES)),
    )


def _by_group(head: str, rows: Sequence[tuple[str, int, dict[str, float]]]) -> str:
    cells = [(name, count, *map(Bar, scores.values())) for name, count, scores in rows]
    return table((head, "boxes", "precision", "recall", "hmean"), cells)


def _worst_pages(members: Sequence, pages: Sequence[analysis.Boxes]) -> str:
    """The pages with most misses and false boxes."""
    order = sorted(range(len(pages)), key=lambda index: -pages[index].errors)[:PAGES]
    figures = []
    for boxes, member in ((pages[index], members[index]) for index in order):
        figures.append(_page(member.image, boxes.found, boxes.right, boxes.true, boxes.met))
    return _sheet("Pages with most errors", figures, LEGEND)


def _page(image: np.ndarray, found: np.ndarray, right: np.ndarray, true: np.ndarray, met: np.ndarray) -> str:
    """A page with boxes found (N, 4, 2), which of them are right (N,), and those true that were not met."""
    drawn = {plots.RIGHT: found[right], MISSED: true[~met], plots.WRONG: found[~right]}
    picture = plots.outlined(image, drawn, max(2, round(max(image.shape) / 500)))
    counts = f"{right.sum()} right, {(~met).sum()} missed, {(~right).sum()} false"
    return figure(np.asarray(picture), counts, "page")


# ---------------------------------------------------------------- spotters


def _spots(task: Spots, network: Any) -> list[str]:
    """What is said of detectors; and of the words that were found what is said of recognizers."""
    spot, body = task.reader(network), []
    for name, members in task.held_out().items():
        pages, samples, readings = [], [], []
        for member in members:
            found, _, read = spot(member.image)
            pages.append(analysis.boxes(found, member.polygons, member.ignore))
            for i, j in metrics.pair(found, member.polygons, member.ignore)[0]:
                if member.texts[j]:
                    samples.append(Strip(images.crop(member.image, member.polygons[j]), member.texts[j]))
                    readings.append(read[i])
        body.append(section(f"Boxes: {name}", _box_tables(pages), _worst_pages(members, pages)))
        if samples:
            parts = _word_tables(samples, readings), _worst_words(samples, readings)
            body.append(section(f"Words that were found: {name}", *parts))
    return body


# ---------------------------------------------------------------- classes


def _classes(task: Classes, network: Any) -> list[str]:
    reader, sections = task.reader(network), []
    for name, samples in task.held_out().items():
        found = np.array([task.names.index(label) for label, _ in reader([sample.image for sample in samples])])
        true = np.array([sample.label for sample in samples])
        wrong = [(samples[i], found[i]) for i in np.flatnonzero(found != true)]
        figures = [
            figure(reader.fitted(sample.image), f"<mark>{escape(task.names[label])}</mark> "
                   f"<small>{escape(task.names[sample.label])}</small>", "word")
            for sample, label in wrong[:WORST]
        ]  # fmt: skip
        text = f"{len(true)} pictures, {np.mean(found == true):.1%} right"
        sheet = _sheet("Wrong ones: what was found, beside it the truth", figures)
        confused = _confusion(metrics.confusion(found, true, len(task.names)), task.names)
        sections.append(section(f"Classes, {name}", paragraph(text), confused, sheet))
    return sections


def _segments(task: Segments, network: Any) -> list[str]:
    segment = task.reader(network)
    return [_segmented(task, segment, name, members) for name, members in task.held_out().items()]


def _segmented(task: Segments, segment: Any, name: str, members: Sequence) -> str:
    counts, shown = np.zeros((len(task.names),) * 2, int), []
    for member in members:
        found = segment(member.image)
        counts += metrics.confusion(found, member.classes, len(task.names))
        shown.append((float((found == member.classes).mean()), member, found))
    shown.sort(key=lambda item: item[0])
    figures = [
        figure(np.concatenate([painted(member.image, classes) for classes in (found, member.classes)], 1),
               f"{share:.1%} of the pixels are right", "page")
        for share, member, found in shown[:PAGES]
    ]  # fmt: skip
    scores = metrics.miou(counts)
    text = (
        f"{len(shown)} pages: mean intersection over union {scores['miou']:.3f}, {scores['pixels']:.1%} of pixels right"
    )
    sheet = _sheet("Worst pages: what was found on the left, the truth on the right", figures)
    return section(f"Classes of pixels: {name}", paragraph(text), _confusion(counts, task.names), sheet)


# ---------------------------------------------------------------- regions and cells


def _regions(task: Regions, network: Any) -> list[str]:
    find, body = task.reader(network), []
    for name, members in task.held_out().items():
        pages = [_compared(find(image), task.nameable(parts), image) for image, parts in members]
        body.append(section(f"Regions: {name}", _region_table(pages), _worst_found(pages)))
    return body


def _cells(task: Cells, network: Any) -> list[str]:
    """Cells that are found in their places are right."""
    find, body = task.reader(network), []
    for name, members in task.held_out().items():
        pages = []
        for member in members:
            cells = find(member.image)
            _, pairs = matched(cells, member)
            found = [("cell", cell.polygon) for cell in cells]
            true = [("cell", outline) for outline in member.cells]
            right, met = np.zeros(len(found), bool), np.zeros(len(true), bool)
            right[[i for i, _ in pairs]], met[[j for _, j in pairs]] = True, True
            pages.append(Found(member.image, found, right, true, met))
        body.append(section(f"Cells in their places: {name}", _region_table(pages), _worst_found(pages)))
    return body


class Found(NamedTuple):
    """What was found on a page and what is there, (label, outline (4, 2)) of each; which are right, which were met."""

    image: np.ndarray
    found: list[tuple[str, np.ndarray]]
    right: np.ndarray
    true: list[tuple[str, np.ndarray]]
    met: np.ndarray


def _compared(found: Sequence[Region], true: list[tuple[str, np.ndarray]], image: np.ndarray) -> Found:
    right, met = compared(found, true)
    return Found(image, [(region.label, region.polygon) for region in found], right, true, met)


def _region_table(pages: Sequence[Found]) -> str:
    found, true = (np.array([label for page in pages for label, _ in side(page)], object) for side in (
        lambda page: page.found, lambda page: page.true))  # fmt: skip
    right = np.concatenate([page.right for page in pages])
    rows = []
    for label in sorted({*found, *true}):
        of_found, of_true = found == label, true == label
        scores = metrics.hmean(int(right[of_found].sum()), int(of_found.sum()), int(of_true.sum()))
        rows.append((label, int(of_true.sum()), int(of_found.sum()), *map(Bar, scores.values())))
    text = f"{len(pages)} pages with {len(true)} regions; {len(found)} found, {int(right.sum())} of them right"
    return paragraph(text) + table(("class", "there", "found", "precision", "recall", "hmean"), rows)


def _worst_found(pages: Sequence[Found]) -> str:
    """The pages with most misses and false ones."""
    order = sorted(pages, key=lambda page: -int((~page.right).sum() + (~page.met).sum()))[:PAGES]
    figures = []
    for page in order:
        found, true = (stacked([box for _, box in side]) for side in (page.found, page.true))
        figures.append(_page(page.image, found, page.right, true, page.met))
    return _sheet("Pages with most errors", figures, LEGEND)


def _confusion(counts: np.ndarray, names: Sequence[str]) -> str:
    """A table of the true classes (rows) and what they were taken for; of many classes the pairs alone."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if len(names) <= 12:
        rows = [
            (name, *map(Heat, row), int(total)) for name, row, total in zip(names, shares, counts.sum(1), strict=True)
        ]
        return table(("true \\ found", *names, "count"), rows)
    pairs = [(int(counts[i, j]), names[i], names[j]) for i, j in np.argwhere(counts) if i != j]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    right = [analysis.Group(name, int(n), float(share)) for name, n, share in
             zip(names, counts.sum(1), np.diag(shares), strict=True) if n]  # fmt: skip
    right.sort(key=lambda group: (group.score, -group.size))
    mistaken = table(("true", "found", "times"), [(_glyph(a), _glyph(b), n) for n, a, b in pairs[:PAIRS]])
    return columns(scored("hardest classes", right[:PAIRS]), mistaken)


# The first that fits: a spotter's task is a detector's, too.
KINDS: dict[type, Callable[[Any, Any], list[str]]] = {
    Words: _words, Spots: _spots, Boxes: _boxes, Classes: _classes, Segments: _segments, Regions: _regions,
    Cells: _cells,
}  # fmt: skip


# ---------------------------------------------------------------- HTML


class Bar(float):
    """A share that is shown as a number over a bar."""


class Heat(float):
    """A share that is shown as a number on a colour."""


STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#212121;max-width:1080px;margin:2em auto;padding:0 1em;background:#fafafa}
h1{font-size:1.6em;font-weight:600}h2{font-size:1.25em;font-weight:600;margin:1.6em 0 .4em}
h3{font-size:1em;font-weight:600;margin:1.2em 0 .4em}
section{background:#fff;border:1px solid #e0e0e0;border-radius:8px;padding:.2em 1.4em 1.2em;margin:1.2em 0}
table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
th{font-weight:500;color:#616161;text-align:left;border-bottom:1px solid #bdbdbd}
th,td{padding:.18em .9em .18em .2em;vertical-align:top}td.number{text-align:right}
td.bar{min-width:5.5em;text-align:right}td.heat{text-align:right}
tr:nth-child(even) td:not(.bar):not(.heat){background:#f7f7f7}
.columns{display:flex;flex-wrap:wrap;gap:.4em 2.4em;align-items:flex-start}
.sheet{display:flex;flex-wrap:wrap;gap:14px}figure{margin:0}figcaption{font-size:.9em;color:#424242}
.word{width:148px}.word img{max-width:148px;max-height:52px;border-radius:2px}.word figcaption{overflow-wrap:anywhere}
.page{width:calc(50% - 7px)}.page img{width:100%;border:1px solid #e0e0e0}img.wide{max-width:100%}
mark{background:#ffcdd2;color:#b71c1c;border-radius:2px}small{color:#757575}summary{cursor:pointer;color:#616161}
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page of HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def section(title: str, *body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(body)}</section>"


def _details(title: str, body: str) -> str:
    return f"<section><details><summary>{escape(title)}</summary>{body}</details></section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def columns(*tables: str) -> str:
    """Tables beside each other, as far as there is room."""
    return f'<div class="columns">{"".join(f"<div>{one}</div>" for one in tables)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows of texts, numbers, `Bar` and `Heat`; "" where there is none."""
    lines = ["".join(map(_cell, row)) for row in rows]
    if not lines:
        return ""
    head = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in heads)}</tr>" if heads else ""
    return f"<table>{head}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, Bar):
        part = f"{100 * value:.1f}"
        colour = "#c8e6c9" if value >= 0.9 else "#fff3c4" if value >= 0.5 else "#ffcdd2"
        return (
            f'<td class="bar" style="background:linear-gradient(90deg,{colour} {part}%,#f5f5f5 {part}%)">{part} %</td>'
        )
    if isinstance(value, Heat):
        return f'<td class="heat" style="background:rgba(21,101,192,{0.65 * value:.2f})">{value:.3f}</td>'
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def scored(head: str, groups: Sequence[analysis.Group]) -> str:
    """A table of groups."""
    return table((head, "count", "right"), [(group.name, group.size, Bar(group.score)) for group in groups])


def figure(pixels: np.ndarray, caption: str, kind: str, largest: int = 1100) -> str:
    """A picture (H, W, 3) uint8 within the page, with its caption in HTML."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((largest, largest))
    file = io.BytesIO()
    picture.save(file, "PNG" if kind == "word" else "JPEG", quality=82)
    form, source = ("png" if kind == "word" else "jpeg"), base64.b64encode(file.getvalue()).decode()
    image = f'<img loading="lazy" src="data:image/{form};base64,{source}" alt="">'
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>'


def _sheet(title: str, figures: Sequence[str], legend: str = "") -> str:
    """Figures under a title; "" where there is none."""
    if not figures:
        return ""
    return f'<h3>{escape(title)}</h3>{legend and f"<p>{legend}</p>"}<div class="sheet">{"".join(figures)}</div>'
