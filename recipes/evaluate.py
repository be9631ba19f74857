"""Scores of models on labelled data, through the reading path: what is measured is what a user gets.

Crops are scored by their texts: the share that is read right, and the character error rate (CER). Pages are scored by
their boxes, as labelled, and by the words that stand on them, wherever (a bag of words); or by what their parts are.
Counts are summed over the data before they are divided. A picture that cannot be had counts as one without text;
where no text is scored, it is left out. It is told in either case.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from recipes import metrics, origin
from recipes.classification.task import shown, turned
from recipes.data import datasets
from recipes.data.documents import LABELS
from recipes.layout.targets import known
from recipes.segmentation.targets import merged
from zoo import registry
from zoo.classifying import Classifier, classifier
from zoo.files import replacing
from zoo.image import ImageError
from zoo.page import Page
from zoo.reading import CERTAIN, PageError, Reader
from zoo.regions import Finder, finder
from zoo.segmenting import Segmenter, segmenter

Scores = dict[str, float]
LEAST = 0.01  # score of a region from which it counts: average precision asks for unsure ones, too


@dataclass(frozen=True)
class Result:
    """What models scored on a data set.

    Attributes:
        title: "dataset/split".
        models: their names or folders: a recognizer; or a detector and a recognizer.
        scores: by name; shares in [0, 1], seconds for one picture.
        predictions: one for each picture, in the form of `zoo read --format jsonl`.
        failures: what could not be read, and why.
    """

    title: str
    models: tuple[str, ...]
    scores: Scores
    predictions: list[dict[str, Any]]
    failures: list[str]


def evaluate(
    models: Sequence[str],
    folder: str | Path,
    split: str = "test",
    *,
    limit: int = 0,
    runtime: str = "auto",
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Iterator[Result]:
    """Yields the result of each recognizer on crops; on pages, of each spotter, of each detector and recognizer, and,
    where it is known what their parts are, of each segmenter and each finder of regions; of each classifier.

    Args:
        models: names of cards or folders of runs.
        folder: a data set as `datasets.read` takes it.
        split: of the data set.
        limit: as many pictures, spread over the data set; 0 for all.
        runtime: where the networks run: see `zoo.runtime`.
        progress: is told how many pictures of how many are done.

    Raises:
        ValueError: the split is empty, or the models do not suit the data.
    """
    entries = datasets.spread(datasets.read(folder, split), limit)
    if not entries:
        raise ValueError(f"{folder} holds nothing of the split {split!r}")
    if split != "train" and any(entry.split != split for entry in entries):  # docTR's, PaddleOCR's
        print(f"{folder} has no splits: all of it is scored, what was learnt from, too", file=sys.stderr)
    folder = Path(folder)
    title = f"{folder.resolve().name}/{split}"
    if len({entry.text is None for entry in entries}) > 1:
        crop, page = (next(e.path.name for e in entries if (e.text is None) == kind) for kind in (False, True))
        raise ValueError(f"{folder} holds crops ({crop}) and pages ({page}); score each in a folder of its own")
    segmenters, finders, classifiers = (
        [name for name in models if registry.card(name).task == task]
        for task in ("segmentation", "layout", "classification")
    )
    layout = entries[0].level == "region"
    parted = [name for name in models if name not in finders + classifiers] if layout else segmenters
    ways: list[tuple[list[str], Callable[..., Scores]]] = [
        (finders, lambda name, given: layout_scores(finder(name, runtime, threshold=LEAST), given)),
        (classifiers, lambda name, given: class_scores(classifier(name, runtime), given)),
        (parted, lambda name, given: region_scores(segmenter(name, runtime), given)),
    ]
    for name, scores in ((name, scores) for names, scores in ways for name in names):
        failures: list[str] = []
        yield Result(title, (name,), scores(name, pictures(entries, failures, progress)), [], failures)
    readers = [name for name in models if name not in segmenters + finders + classifiers]
    crops = entries[0].text is not None
    for chosen in readings(readers, crops) if readers and not layout else ():
        detector, recognizer = (None if crops else chosen[0]), chosen[-1]
        reader = zoo.reader(detector, recognizer, runtime=runtime)
        result = score(reader, entries, folder, title, chosen, progress)
        if entries[0].regions is not None and detector and registry.card(detector).task == "spotting":
            given = pictures(entries, [], progress)
            result.scores.update(region_scores(segmenter(detector, runtime), given) | result.scores)
        yield result


def pictures(
    entries: Sequence[datasets.Entry],
    failures: list[str],
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Iterator[tuple[datasets.Entry, np.ndarray]]:
    """Yields each entry, as it stands in its picture, with that; of those that cannot be had, `failures` takes what is
    wrong.

    Raises:
        ValueError: not one can be had.
    """
    for count, entry in enumerate(entries, 1):
        try:
            page, seen = entry.seen()
            yield seen, page.pixels
        except ImageError as error:
            failures.append(str(error))
        progress(count, len(entries))
    if len(failures) == len(entries):
        raise ValueError(f"none of the {len(entries)} pictures can be read: {failures[0]}")


def readings(models: Sequence[str], crops: bool) -> list[tuple[str, ...]]:
    """The recognizers for crops; for pages the spotters, and every detector with every recognizer.

    Raises:
        ValueError: a model is of a task that does not suit, or one of a pair is missing.
    """
    tasks = {name: registry.card(name).task for name in models}
    detectors, recognizers, spotters = (
        [name for name in models if tasks[name] == task] for task in ("detection", "recognition", "spotting")
    )
    for name in models:
        if name not in detectors + recognizers + spotters:
            raise ValueError(f"{name} is a model for {tasks[name]}; scores are of detectors, recognizers and spotters")
    if crops and (detectors or spotters or not recognizers):
        raise ValueError("these data are crops of words or lines: give recognizers only")
    if crops:
        return [(name,) for name in recognizers]
    if bool(detectors) != bool(recognizers):
        missing = "recognizer" if detectors else "detector"
        raise ValueError(f"these data are pages, which take a detector and a recognizer: name a {missing}, too")
    return [(name,) for name in spotters] + [(one, other) for one in detectors for other in recognizers]


def score(
    reader: Reader,
    entries: Sequence[datasets.Entry],
    folder: Path,
    title: str,
    models: tuple[str, ...],
    progress: Callable[[int, int], None],
) -> Result:
    """The result of a reader on entries, all of them crops or all of them pages."""
    read, failures = [], []
    for count, entry in enumerate(entries, 1):
        page = next(iter(reader.stream(entry.source)))
        if isinstance(page, PageError):
            failures.append(str(page))
            page = Page(str(entry.path), 1, 0, 0)
        read.append(page)
        progress(count, len(entries))
    scores = crop_scores(entries, read) if entries[0].text is not None else page_scores(entries, read)
    seconds = [page.seconds for page in read if page.width]
    scores["seconds"] = float(np.median(seconds)) if seconds else 0.0
    rows = [prediction(entry, page, folder) for entry, page in zip(entries, read, strict=True)]
    return Result(title, models, scores, rows, failures)


def text_of(page: Page) -> str:
    """The words of a crop's page."""
    return " ".join(word.text for word in page.words)


def prediction(entry: datasets.Entry, page: Page, folder: Path) -> dict[str, Any]:
    """What was read in a picture, under the name that the labels give it."""
    name = entry.path.relative_to(folder).as_posix() if entry.path.is_relative_to(folder) else entry.path.name
    row: dict[str, Any] = {"image": name, "seconds": round(page.seconds, 4)}
    if entry.text is not None:
        return row | {"text": text_of(page)}
    words = [
        {"polygon": word.polygon.round(2).tolist(), "text": word.text, "confidence": round(word.confidence, 4)}
        for word in page.words
    ]
    return row | {"words": words}


# ---------------------------------------------------------------- scores


def crop_scores(entries: Sequence[datasets.Entry], read: Sequence[Page]) -> Scores:
    """The share of texts read right in each of `metrics.FORMS`, the CER of exact texts, and the expected calibration
    error ("ece") of confidence that letters and digits are right; where nothing was read, there is none.
    """
    true = [(entry.text or "").strip() for entry in entries]
    texts = [text_of(page).strip() for page in read]
    scores: Scores = {"crops": len(true)}
    for name, form in metrics.FORMS.items():
        right = [form(text) == form(label) for text, label in zip(texts, true, strict=True) if form(label)]
        scores[name] = float(np.mean(right)) if right else 0.0
    scores["cer"] = metrics.cer(list(map(metrics.exact, texts)), list(map(metrics.exact, true)))
    sure = np.array([np.prod([word.confidence for word in page.words]) if page.words else 0.0 for page in read])
    same = np.array([metrics.alnum(text) == metrics.alnum(label) for text, label in zip(texts, true, strict=True)])
    asked = np.array([bool(metrics.alnum(label)) for label in true])
    return scores | {"ece": metrics.calibration_error(sure[asked], same[asked])}


def page_scores(entries: Sequence[datasets.Entry], read: Sequence[Page]) -> Scores:
    """Precision, recall and hmean of boxes at an overlap of a half, where boxes are labelled; the same of words.

    Words are compared as letters and digits without case; "f1" is their harmonic mean. Illegible places are not asked
    for, and what was read there does not count. Pages whose texts are not known have scores of boxes alone.
    """
    boxes, words, labelled, told = np.zeros(3, int), np.zeros(3, int), False, False
    for entry, page in zip(entries, read, strict=True):
        labelled |= bool(entry.texts)
        ignore = unscored(entry)
        found = np.array([word.polygon for word in page.words], "float32").reshape(-1, 4, 2)
        matched, counted = metrics.pair(found, entry.polygons, ignore)
        boxes += (len(matched), int(counted.sum()), int((~ignore).sum()))
        if entry.texts and not any(entry.texts):
            continue
        told = True
        kept = [word.text for word, counts in zip(page.words, counted, strict=True) if counts]
        true = [text for text, skipped in zip(entry.texts, ignore, strict=True) if not skipped]
        words += metrics.bag(kept, true if entry.texts else [entry.page_text])
    scores: Scores = {"pages": len(entries)}
    if labelled:
        scores |= metrics.hmean(*map(int, boxes))
    if not told:
        return scores
    bag = metrics.hmean(*map(int, words))
    return scores | {"word_precision": bag["precision"], "word_recall": bag["recall"], "f1": bag["hmean"]}


def region_scores(segment: Segmenter, given: Iterable[tuple[datasets.Entry, np.ndarray]]) -> Scores:
    """The mean intersection over union of the classes of pixels, that of each class, and the share of pixels right.

    Raises:
        ValueError: it is not known what the parts of the pages are.
    """
    counts, seconds = np.zeros((len(segment.labels),) * 2, int), []
    for entry, picture in given:
        true = datasets.classes(entry, picture.shape[:2])
        if true is None:
            raise ValueError(f"{entry.path}: nothing says what its parts are; a segmenter cannot be scored")
        start = time.perf_counter()
        found = segment(picture)
        seconds.append(time.perf_counter() - start)
        counts += metrics.confusion(found, merged(true, segment.labels), len(segment.labels))
    each = zip(segment.labels, metrics.ious(counts), counts, strict=True)
    known = {f"iou_{name}": float(iou) for name, iou, true in each if true.any()}
    return {**metrics.miou(counts), **known, "pages": len(seconds), "seconds": float(np.median(seconds))}


def layout_scores(find: Finder, given: Iterable[tuple[datasets.Entry, np.ndarray]]) -> Scores:
    """Mean average precision of upright boxes of regions, as COCO has it, and that of each class.

    Raises:
        ValueError: it is not known what the parts of the pages are, or a label of the network is not known.
    """
    kinds, found, true, seconds = np.array(known(find.labels)), [], [], []
    for entry, picture in given:
        parts = datasets.regions(entry, picture.shape[:2])
        if entry.regions is None:
            raise ValueError(f"{entry.path}: nothing says what its parts are; regions cannot be scored")
        start = time.perf_counter()
        seen = find(picture)
        seconds.append(time.perf_counter() - start)
        classes = kinds[[find.labels.index(region.label) for region in seen]]
        scores = np.array([region.score for region in seen])
        found.append(metrics.Boxes(metrics.upright([region.polygon for region in seen]), classes, scores))
        labels = np.array([LABELS.index(label) for label, _ in parts], int)
        true.append(metrics.Boxes(metrics.upright([polygon for _, polygon in parts]), labels, np.ones(len(parts))))
    each = metrics.average_precisions(found, true, len(LABELS)).mean(1)
    of = {f"ap_{name}": float(value) for name, value in zip(LABELS, each, strict=True) if not np.isnan(value)}
    whole = metrics.mean_average_precision(found, true, len(LABELS))
    return {**whole, **of, "pages": len(seconds), "seconds": float(np.median(seconds))}


def class_scores(classify: Classifier, given: Iterable[tuple[datasets.Entry, np.ndarray]]) -> Scores:
    """The share of pictures whose class is found: of characters, or of words or pages in each of the four turns.

    Of pages, "kept" is the share of upright ones that a reader leaves as they are, and "turned" that of the others that
    it turns the right way: it does nothing unless it is as good as certain.

    Raises:
        ValueError: there is no such picture among the data.
    """
    right, sure, seconds = [], [], []
    turns = range(len(classify.labels) if classify.angles else 1)
    for entry, picture in given:
        for sample in shown(classify, replace(entry, pixels=picture)):
            views = [turned(sample.image, turn).image for turn in turns]
            start = time.perf_counter()
            found = classify(views)
            seconds.append((time.perf_counter() - start) / len(views))
            true = classify.labels if classify.angles else [classify.labels[sample.label]]
            right.append([name == other for (name, _), other in zip(found, true, strict=True)])
            sure.append([share >= CERTAIN for _, share in found])
    if not right:
        raise ValueError(f"the data hold no {classify.picture}s for a classifier of {', '.join(classify.labels[:9])}")
    scores = {"accuracy": float(np.mean(right)), "pictures": float(len(right)), "seconds": float(np.median(seconds))}
    if classify.picture == "page":
        good, certain = np.array(right), np.array(sure)
        kept = (good | ~certain)[:, 0]
        scores |= {"kept": float(kept.mean()), "turned": float((good & certain)[:, 1:].mean())}
    return scores


def unscored(entry: datasets.Entry) -> np.ndarray:
    """(N,) bool: which labels of a page are not asked for; those without a text only where others have some."""
    unknown = ("", "###") if any(entry.texts) else ("###",)
    marks = [unclear or text in unknown for text, unclear in zip(entry.texts, entry.illegible, strict=True)]
    return np.array(marks, bool)


# ---------------------------------------------------------------- records


def record(result: Result, command: str) -> list[Path]:
    """Writes the result into [results."dataset/split"] of each model's card; the paths of the cards.

    A detector's table begins with its boxes, a recognizer's with its words: the first number stands in lists of models.
    """
    written = []
    for name in result.models:
        card = registry.card(name)
        scores = {key: round(value, 4) for key, value in result.scores.items()}
        first = [key for key in _FIRST[card.task] if key in scores]
        table: dict[str, Any] = {key: scores.pop(key) for key in first} | scores
        if len(result.models) > 1:
            table["models"] = " + ".join(registry.card(model).name for model in result.models)
        table |= {"command": command, "date": datetime.date.today().isoformat()} | origin.commit()
        path = origin.card_path(card)
        registry.write_card(replace(card, results=card.results | {result.title: table}), path)
        written.append(path)
    return written


_FIRST = {
    "detection": ["hmean", "precision", "recall"],
    "recognition": ["alnum", "f1"],
    "classification": ["accuracy"],
    "segmentation": ["miou", "pixels"],
    "layout": ["map", "ap50", "ap75"],
    "spotting": ["f1", "hmean", "precision", "recall"],
}


def write_predictions(result: Result, path: Path) -> None:
    """Writes the predictions, a line of JSON for each picture."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for row in result.predictions:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
