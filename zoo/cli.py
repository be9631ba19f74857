"""The command `zoo`: each subcommand is a function that adds its parser and one that runs it.

Results go to standard output, all else to standard error. The exit status is 0 for success, 1 for a failure (of any
page, where several were asked for), 2 for wrong usage, 130 after Ctrl-C, 143 after SIGTERM.

A new command NAME is a function `add_NAME(subparsers)`, a function `NAME(args)`, and an entry in `COMMANDS` at the end
(`list` is the one whose name Python has taken).
This is the one module that may import all of `zoo`, `recipes` and `serving`; it does so where a command runs, so that
`zoo list` imports no framework.
"""

from __future__ import annotations

import argparse
import ast
import glob
import io
import json
import logging
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from zoo import __version__, registry
from zoo.files import check_writable, replacing
from zoo.registry import TASKS, Card

if TYPE_CHECKING:
    import numpy as np

    from recipes.evaluate import Result
    from recipes.recipe import Recipe
    from zoo.page import Page
    from zoo.reading import Reader

OURS = ("zoo", "recipes", "serving")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
NEARLY = 0.01  # share of the probability of the likeliest text, from which another is taken for its form
MARKS = ("<!-- models: written by `make models` -->", "<!-- end of models -->")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of a command line, by default that of the process."""
    if sys.stderr is None:  # closed: what is to be told there would come among the results
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    args = parser().parse_args(argv)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # The first process of a container is not ended by it otherwise; nor are temporary files removed.
        signal.signal(signal.SIGTERM, _end)
    try:
        status = args.run(args) or 0
        sys.stdout.flush()  # a closed pipe shows here, not at exit
        return status
    except KeyboardInterrupt as error:  # of training with the signal's number
        print("zoo: interrupted", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    except BrokenPipeError:  # `zoo list | head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.traceback or not _foreseen(error):
            raise
        print(f"zoo {args.command}: {error}", file=sys.stderr)
        return 1
    finally:
        if signal.getsignal(signal.SIGTERM) is _end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _foreseen(error: Exception) -> bool:
    """Whether the message of an error says all there is to say: one of our own, or of wrong values, files, modules."""
    own = type(error).__module__.partition(".")[0] in OURS
    return own or isinstance(error, (ValueError, OSError, ModuleNotFoundError))


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    result = argparse.ArgumentParser(prog="zoo", description="Models that read pages: list, use, train, serve them.")
    result.add_argument("--version", action="version", version=f"zoo {__version__}")
    result.add_argument("--traceback", action="store_true", help="on an error, show where it arose")
    subparsers = result.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(subparsers)
    return result


# ---------------------------------------------------------------- list


def add_list(subparsers) -> None:
    command = subparsers.add_parser("list", help="the models", description="A table of the models.")
    command.add_argument("--task", choices=TASKS, help="only models of this task")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument(
        "--update", metavar="FILE", type=Path, help="write the table between the marks of a Markdown file"
    )
    command.set_defaults(run=list_models)


def list_models(args: argparse.Namespace) -> None:
    cards = [registry.card(name) for name in registry.names(args.task)]
    rows = [_row(card) for card in sorted(cards, key=lambda card: (TASKS.index(card.task), card.name))]
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif args.update:
        _update(args.update, _markdown(rows))
    else:
        print(_table(rows))


def _row(card: Card) -> dict[str, Any]:
    """What the table of models says of one."""
    from zoo import weights

    path = weights.find(card)
    if not card.weights:
        state = "convertible" if card.published else "none"
    elif "file" in card.weights:
        state = "shipped" if path else "missing"
    else:
        state = "at hand" if path else "by URL"
    return {
        "name": card.name,
        "task": card.task,
        "params": card.params,
        "gflops": card.gflops or None,
        "weights": state,
        "bytes": path.stat().st_size if path else card.weights.get("size"),
        "licence": card.licence,
        "score": _headline(card),
    }


def _headline(card: Card) -> str | None:
    """The first number of the first result, those on tests before others."""
    for title, scores in sorted(card.results.items(), key=lambda result: not result[0].endswith("/test")):
        for key, value in scores.items():
            if isinstance(value, (int, float)):
                return f"{key} {value:.3f} on {title}"
    return None


def _cells(row: dict[str, Any]) -> list[str]:
    size = f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else ""
    params = f"{row['params'] / 1e6:.1f} M"
    gflops = f"{row['gflops']:.3g}" if row["gflops"] else ""
    return [row["name"], row["task"], params, gflops, row["weights"], size, row["licence"], row["score"] or ""]


HEADS = ["name", "task", "parameters", "GFLOPs", "weights", "size", "licence", "score"]
RIGHT = {"parameters", "GFLOPs", "size"}


def _table(rows: list[dict[str, Any]]) -> str:
    cells = [HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if head in RIGHT else cell.ljust(width)
            for cell, width, head in zip(line, widths, HEADS, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _markdown(rows: list[dict[str, Any]]) -> str:
    rule = ["---:" if head in RIGHT else "---" for head in HEADS]
    cells = [HEADS, rule, *([f"`{first}`", *rest] for first, *rest in map(_cells, rows))]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _update(path: Path, table: str) -> None:
    """Writes a table between the marks of a file."""
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(MARKS[0])
    _, stop, after = rest.partition(MARKS[1])
    if not (start and stop):
        raise ValueError(f"{path} has no place for the table: a line {MARKS[0]!r} and, after it, {MARKS[1]!r}")
    with replacing(path) as temporary:
        temporary.write_text(f"{before}{start}\n{table}\n{stop}{after}", encoding="utf-8")


# ---------------------------------------------------------------- card


def add_card(subparsers) -> None:
    command = subparsers.add_parser("card", help="all about one model", description="What is known of a model.")
    command.add_argument("name", help="of a model, or the folder of a run")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=card)


def card(args: argparse.Namespace) -> None:
    chosen = registry.card(args.name)
    if args.json:
        print(json.dumps(asdict(chosen) | {"folder": str(chosen.folder)}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(_lines(chosen)))


def _lines(card: Card) -> Iterator[str]:
    """A card for people."""
    yield f"{card.name}: {card.summary}"
    yield ""
    facts = {
        "task": card.task,
        "paper": card.paper,
        "licence": card.licence,
        "parameters": f"{card.params:_} trainable".replace("_", " "),
        "GFLOPs": f"{card.gflops:g} for one picture of the size below" if card.gflops else "not counted",
        "builder": card.builder,
    }
    yield from _pairs(facts)
    yield from ("", "network", *(f"  {line}" for line in _drawing(card)))
    parts = {"options": card.options, "reading": card.reading, "weights": card.weights}
    parts |= {f"published by {project}": facts for project, facts in card.published.items()}
    for title, table in parts.items():
        yield from ("", title)
        none = "none were released" + ("; those published below are taken" if card.published else "")
        yield from _pairs(table or {"": f"{none}; zoo train {card.recipe} --run DIR trains them"})
    for title, scores in card.results.items():
        yield from ("", f"results on {title}")
        yield from _pairs(scores)


def _drawing(card: Card) -> list[str]:
    """The flow of data that the builder's file draws at its top, read without importing it."""
    module = card.builder.partition(":")[0].split(".")[1:]
    text = _docstring(Path(registry.__file__).parent.joinpath(*module).with_suffix(".py"))
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def _docstring(path: Path) -> str:
    """That of a module, which is not imported."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _pairs(table: dict[str, Any]) -> Iterator[str]:
    width = max(map(len, table))
    for key, value in table.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"  {key.ljust(width)}  {shown}" if key else f"  {shown}"


# ---------------------------------------------------------------- read


def add_read(subparsers) -> None:
    command = subparsers.add_parser(
        "read",
        help="read pages",
        description="Reads the text of images and PDF files. A page that cannot be read is reported; the rest is read.",
    )
    command.add_argument(
        "paths", nargs="+", metavar="PATH", help="an image, a PDF file, a folder, a URL, or - for stdin"
    )
    command.add_argument(
        "--format",
        choices=("text", "paragraphs", "json", "jsonl", "hocr", "parquet"),
        help="default: text; of --engine jsonl",
    )
    command.add_argument("--output", metavar="FILE", type=Path, help="instead of standard output; of --engine a folder")
    command.add_argument(
        "--overlay", metavar="FILE", type=_picture, help="picture of the page and its words; of further ones, FILE-2 …"
    )
    command.add_argument(
        "--pages", metavar="N", type=_numbers, help="of each file, those that are read: 3, 2-5, 7- or several, 1,4-6"
    )
    command.add_argument("--dpi", metavar="N", type=_positive, help="at which a PDF is drawn; default: 200")
    command.add_argument("--password", metavar="TEXT", help="that opens PDF files that are locked")
    command.add_argument("--detection", metavar="NAME", help="model that finds words")
    command.add_argument("--recognition", metavar="NAME", help="model that reads them")
    command.add_argument("--recognize-only", action="store_true", help="each picture is one word or line")
    command.add_argument(
        "--orientation", action="store_true", help="find by how many quarter turns each page lies, and read it upright"
    )
    command.add_argument(
        "--upright", action="store_true", help="read pages as they come: none is levelled, none tried another way up"
    )
    command.add_argument(
        "--min-confidence", metavar="P", type=_share, help="leave out words below it, 0..1; default: the model's own"
    )
    command.add_argument(
        "--only",
        metavar="FORM",
        action="append",
        help="read texts of this form: amount, date, iban, luhn, chars:…, words:FILE, regex:…; several may be given. "
        "On pages a word is made one only where that is nearly as probable (--least)",
    )
    command.add_argument(
        "--least",
        metavar="P",
        type=_share,
        help="with --only, least share of probability; default: 0.01 on pages, else 0",
    )
    command.add_argument("--beam", metavar="N", type=_positive, default=0, help="search for the likeliest text: 8, say")
    command.add_argument(
        "--spelling",
        metavar="LANGUAGE",
        help="languages, of which the one that a page is in is asked where the recognizer is in doubt: names, or files "
        "of `zoo language`, with commas between, or none; default: the model's own",
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("--runtime", default="auto", help="auto, tensorflow or onnxruntime; default: auto")
    place.add_argument("--server", metavar="HOST:PORT", help="model server that runs the networks")
    command.add_argument("--graph", metavar="NAME", help="model on the server that reads whole pages: zoo export ocr")
    command.add_argument(
        "--engine",
        choices=("ray",),
        help="read on a cluster, that of RAY_ADDRESS; the same command goes on after a kill",
    )
    command.add_argument("--workers", metavar="N", type=_positive, help="of the engine; default: one for each machine")
    command.set_defaults(run=read)


def _picture(text: str) -> Path:
    if not text.lower().endswith(PICTURES):
        raise argparse.ArgumentTypeError(f"{text} does not end in {', '.join(PICTURES)}")
    return Path(text)


class _Numbers(tuple[range, ...]):
    """Numbers of pages, by ranges."""

    def __contains__(self, number: object) -> bool:
        return any(number in several for several in self)


def _numbers(text: str) -> _Numbers:
    """Of "1,4-6,9-" the pages 1, 4, 5, 6, and all from 9 on."""
    found = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*(\d+)\s*(?:(-)\s*(\d*)\s*)?", part)):
            raise argparse.ArgumentTypeError(f"{text}: pages are numbers and ranges of them, such as 1,4-6,9-")
        first = int(match[1])
        last = int(match[3]) if match[3] else sys.maxsize if match[2] else first
        if not 1 <= first <= last:
            raise argparse.ArgumentTypeError(f"{text}: pages count from 1, and a range from its lower number on")
        found.append(range(first, last + 1 if last < sys.maxsize else last))
    return _Numbers(found)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no number between 0 and 1")
    return value


def read(args: argparse.Namespace) -> int:
    from zoo.reading import PageError

    if args.engine:
        return _on_cluster(args)
    if args.format == "parquet" or args.workers:
        raise ValueError("--format parquet and --workers are for --engine ray")
    sources = [_standard_input() if path == "-" else path for path in args.paths]
    if args.output and args.output.is_dir():
        raise ValueError(f"--output {args.output} is a folder; give a file")
    _check_kept(args)
    if args.least is not None and not args.only:
        raise ValueError("--least is for texts of a form; give --only, too")
    results: Iterator[tuple[Any, Any]]
    if args.graph:
        results = _by_graph(args, sources)
    else:
        with _hushed(args.traceback):
            reader = _reader(args)
        results = reader.stream_pictures(sources, password=args.password, numbers=args.pages)
    done = failed = 0
    with _output(args.output) as file, _writer(args.format or "text", file) as write:
        for page, picture in results:
            if isinstance(page, PageError):
                failed += 1
                print(f"zoo read: {page}", file=sys.stderr)
                continue
            done += 1
            write(page)
            if args.overlay and picture is not None:
                _draw(_numbered(args.overlay, done), picture.pixels, page)
    if failed and done:
        print(f"zoo read: {done} read, {failed} not", file=sys.stderr)
    return 1 if failed else 0


def _check_kept(args: argparse.Namespace) -> None:
    """Passes if nothing is written in place of a page that is to be read, and the pictures that are wanted can be."""
    if not (args.output or args.overlay):
        return
    pages = _pages(args.paths)
    for name in ("output", "overlay"):
        if not (path := getattr(args, name)):
            continue
        numbered = name == "overlay" or args.command == "segment"
        for there in [path, *(_further(path, pages) if numbered else ())]:
            if there.is_file() and any(there.samefile(page) for page in pages):
                further = f": {there}, the name of a further picture," if there != path else ""
                raise ValueError(f"--{name} {path}{further} is a page to be read; name another file")
        if numbered:
            check_writable(path)


def _pages(given: Sequence[str]) -> list[Path]:
    """The files that are to be read, those of folders among them."""
    from zoo import image

    found: list[Path] = []
    for path in filter(os.path.exists, given):
        with suppress(image.ImageError, OSError):  # told when it is to be read
            found += image.files(Path(path), [])
    return found


def _further(path: Path, pages: Sequence[Path]) -> Iterator[Path]:
    """The files that are there under the names of pictures of further pages: of as many as there may be."""
    several = any(page.suffix.lower() in (".pdf", ".tif", ".tiff") for page in pages)
    for there in path.parent.glob(f"{glob.escape(path.stem)}-*{glob.escape(path.suffix)}"):
        number = there.stem.removeprefix(f"{path.stem}-")
        if number.isdecimal() and int(number) >= 2 and (several or int(number) <= len(pages)):
            yield there


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise ValueError("there is no standard input to read -")
    if not (data := sys.stdin.buffer.read()):
        raise ValueError("standard input is empty; - takes a page from it, once")
    return data


def _on_cluster(args: argparse.Namespace) -> int:
    """Reads on a cluster, and shows what came of it."""
    from zoo import cluster

    if args.output is None:
        raise ValueError("--engine writes into a folder; give --output FOLDER")
    unfit = ("overlay", "graph", "pages", "password") if args.format in (None, *cluster.FORMATS) else ("format",)
    if wrong := [f"--{name}" for name in unfit if getattr(args, name)]:
        raise ValueError(f"--engine does without {' and '.join(wrong)}; it writes {' or '.join(cluster.FORMATS)}")
    options = {"runtime": args.runtime, "server": args.server, "min_confidence": args.min_confidence}
    with _hushed(args.traceback):
        done = cluster.read(
            args.paths, args.output, args.format or "jsonl", workers=args.workers, **_chosen(args), **options
        )
    text = f"{done['pages']} pages of {done['files']} files in {done['parts']} parts, {done['seconds']:g} s"
    print(f"{args.output / 'manifest.json'}: {text}")
    if done["errors"]:
        print(f"zoo read: {done['pages']} read, {done['errors']} not", file=sys.stderr)
    return 1 if done["errors"] else 0


def _by_graph(args: argparse.Namespace, sources: list) -> Iterator[tuple[Any, Any]]:
    """The pages as a server reads them, which gives no pixels back."""
    if not args.server:
        raise ValueError("--graph names a model on a server; give --server, too")
    if args.overlay or args.orientation:
        wrong = "--overlay" if args.overlay else "--orientation"
        raise ValueError(f"{wrong} needs the pixels of pages, which --graph leaves to the server")
    if wrong := next((name for name in ("recognize_only", "only", "beam", "spelling") if getattr(args, name)), ""):
        raise ValueError(
            f"--{wrong.replace('_', '-')} is for networks that are asked one by one; a graph reads as it was exported"
        )
    from serving import client, pages
    from zoo.reading import RECOGNIZER, usual_confidence

    least = args.min_confidence
    if least is None:
        spotter = args.graph in registry.names("spotting")
        least = usual_confidence(args.graph if spotter else args.recognition or RECOGNIZER)
    how = {"dpi": args.dpi} if args.dpi else {}
    found = pages.read(
        client.Client(args.server), sources, model=args.graph, min_confidence=least, password=args.password,
        numbers=args.pages, **how,
    )  # fmt: skip
    return ((page, None) for page in found)


def _reader(args: argparse.Namespace) -> Reader:
    from zoo.reading import reader

    return reader(**_chosen(args), runtime=args.runtime, server=args.server, min_confidence=args.min_confidence)


def _chosen(args: argparse.Namespace) -> dict[str, Any]:
    """The models, and what is asked of them."""
    given = {"detection": args.detection, "recognition": args.recognition}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value}
    if args.detection in registry.names("spotting"):
        unfit = ("recognition", "recognize_only", "only", "beam")
        if wrong := [f"--{name.replace('_', '-')}" for name in unfit if getattr(args, name)]:
            raise ValueError(f"{args.detection} finds and reads by itself, without {' and '.join(wrong)}")
    if args.recognize_only:
        chosen["detection"] = None
    if args.orientation:
        from zoo.reading import ORIENTATION

        chosen["orientation"] = ORIENTATION
    if args.upright:
        chosen["upright"] = True
    chosen |= {key: value for key in ("beam", "dpi") if (value := getattr(args, key))}
    if args.spelling:
        chosen["spelling"] = "" if args.spelling == "none" else args.spelling
    if args.only:
        usual = 0.0 if args.recognize_only else NEARLY
        chosen |= {"only": tuple(args.only), "least": usual if args.least is None else args.least}
    return chosen


@contextmanager
def _hushed(off: bool) -> Iterator[None]:
    """A block in which C++ libraries write nothing to standard error, as TensorFlow's start does; Python still does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings are lost, too, from here on
    if off or sys.stderr is not sys.__stderr__:
        yield
        return
    with os.fdopen(os.dup(2), "w") as kept, open(os.devnull, "w") as nowhere:
        sys.stderr = kept
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept.fileno(), 2)
            sys.stderr = sys.__stderr__
            for logger in logging.root, *logging.root.manager.loggerDict.values():  # some were made in the block
                for handler in getattr(logger, "handlers", ()):
                    if getattr(handler, "stream", None) is kept:
                        handler.setStream(sys.stderr)


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when all is written."""
    if path is None:
        if sys.stdout is None:
            raise ValueError("there is no standard output; give --output FILE")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # whatever the terminal's language
        yield sys.stdout
        return
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


AT_ONCE = ("text", "paragraphs", "jsonl")  # forms of which a page is a part by itself


@contextmanager
def _writer(form: str, file: TextIO) -> Iterator[Callable[[Page], None]]:
    """A function that takes pages in their order. Those of `AT_ONCE` are written page by page, others at the end."""
    from zoo.formats import FORMATS
    from zoo.page import Document

    pages: list[Page] = []
    between = "\f" if form == "text" else ""

    def at_once(page: Page) -> None:
        file.write((between if pages else "") + FORMATS[form](Document((page,))))
        file.flush()
        pages[:] = [page]

    yield at_once if form in AT_ONCE else pages.append
    if form not in AT_ONCE:
        file.write(FORMATS[form](Document(tuple(pages))))


def _numbered(path: Path, number: int) -> Path:
    """The path of the overlay of a page: page.png, page-2.png, page-3.png …"""
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


def _draw(path: Path, pixels: np.ndarray, page: Page) -> None:
    """Writes the overlay of a page; whoever reads it finds a whole picture."""
    from PIL import Image

    from zoo.formats import overlay

    with replacing(path) as temporary:
        Image.fromarray(overlay(pixels, page)).save(temporary)


# ---------------------------------------------------------------- segment

SEGMENTER = "ocrnet_mobilenet_v3_large"


def add_segment(subparsers) -> None:
    command = subparsers.add_parser(
        "segment",
        help="tell the parts of pages",
        description="Tells what each pixel of a page is part of, and prints a JSON line for each page with the share "
        "of each class. A page that cannot be had is reported; the others are done.",
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="an image, a PDF file, a folder, or a URL")
    command.add_argument(
        "--model", metavar="MODEL", default=SEGMENTER, help=f"name, or the folder of a run; default: {SEGMENTER}"
    )
    command.add_argument(
        "--output", metavar="FILE", type=_png, help="PNG of the pixels' classes, numbers with a palette; of further "
        "pages, FILE-2 …",
    )  # fmt: skip
    command.add_argument(
        "--overlay", metavar="FILE", type=_picture, help="picture of the page with its parts painted over"
    )
    command.add_argument("--runtime", default="auto", help="auto, tensorflow or onnxruntime; default: auto")
    command.set_defaults(run=segment)


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .png")
    return Path(text)


def segment(args: argparse.Namespace) -> int:
    import numpy as np

    from zoo import image
    from zoo.formats import whole
    from zoo.segmenting import segmenter

    _check_kept(args)
    with _hushed(args.traceback):
        find = segmenter(args.model, args.runtime)
    done = failed = 0
    with _output(None) as file:
        for sheet in image.every(args.paths):
            try:
                picture = sheet.load()
            except image.ImageError as error:
                failed += 1
                print(f"zoo segment: {error}", file=sys.stderr)
                continue
            done += 1
            classes = find(picture.pixels)
            shares = np.bincount(classes.ravel(), minlength=len(find.labels)) / classes.size
            named = {label: round(float(share), 4) for label, share in zip(find.labels, shares, strict=True)}
            told = {"source": picture.name, "page": picture.number, "shares": named}
            print(whole(json.dumps(told, ensure_ascii=False)), file=file)
            _paint(args, done, picture.pixels, classes, find.labels)
    return 1 if failed else 0


def _paint(
    args: argparse.Namespace, number: int, pixels: np.ndarray, classes: np.ndarray, labels: Sequence[str]
) -> None:
    """Writes the pictures that were asked for of a page."""
    from PIL import Image

    from zoo.formats import COLOURS, parts

    if args.output:
        picture = Image.fromarray(classes)
        picture.putpalette(COLOURS.tobytes())
        with replacing(_numbered(args.output, number)) as temporary:
            picture.save(temporary)
    if args.overlay:
        with replacing(_numbered(args.overlay, number)) as temporary:
            Image.fromarray(parts(pixels, classes, labels)).save(temporary)


# ---------------------------------------------------------------- recipes


def add_recipes(subparsers) -> None:
    command = subparsers.add_parser("recipes", help="what can be trained", description="The recipes of zoo train.")
    command.set_defaults(run=list_recipes)


def list_recipes(args: argparse.Namespace) -> None:
    from recipes import recipe

    names, folder = recipe.names(), Path(recipe.__file__).parent
    texts = [_docstring(folder.joinpath(*name.split(".")).with_suffix(".py")).partition("\n")[0] for name in names]
    print(_grid([[name, text] for name, text in zip(names, texts, strict=True)]))


def _grid(rows: list[list[str]]) -> str:
    """Rows with their columns flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


# ---------------------------------------------------------------- train


def add_train(subparsers) -> None:
    command = subparsers.add_parser(
        "train",
        help="train a model",
        description="Trains by a recipe, one of zoo recipes. The same command goes on with a run that was stopped or "
        "killed, as if nothing had happened. The folder then serves as a model's name: zoo.load(DIR).",
    )
    command.add_argument("recipe", metavar="RECIPE", help="recognition.crnn_mobilenet_v3_small, say")
    command.add_argument("--run", dest="folder", metavar="DIR", type=Path, help="folder of the run")
    command.add_argument("--data", metavar="DIR", type=Path, help="folder of real data sets; default: synthetic alone")
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="a field of the recipe: rate=5e-4, real=A,B; a name that has a comma as JSON: 'real=[\"A,B\"]'",
    )
    command.add_argument(
        "--start", metavar="NAME", help="a model, a run's folder or a file whose weights to begin with, or several: A,B"
    )
    before = command.add_mutually_exclusive_group()
    before.add_argument(
        "--dry-run", action="store_true", help="print plan, memory and time, draw the first batch; train nothing"
    )
    before.add_argument(
        "--find-rate", action="store_true", help="try rates on a few steps, draw the loss; train nothing"
    )
    command.add_argument(
        "--out", metavar="FILE", type=Path, help="picture of --dry-run or --find-rate; default: in the run's folder"
    )
    _add_machine(command)
    command.set_defaults(run=train, wrong=command.error)


def _add_machine(command: argparse.ArgumentParser) -> None:
    """The options that say on what a run trains."""
    command.add_argument("--threads", metavar="N", type=_positive, default=0, help="default: one for each core")
    command.add_argument(
        "--devices", metavar="NAME", nargs="+", default=[], help="GPU:0 GPU:1, say; default: all of this machine"
    )
    command.add_argument(
        "--workers", metavar="N", type=_positive, default=0,
        help="processes that draw samples, for a machine with more cores than the step takes; default: none but this",
    )  # fmt: skip


def train(args: argparse.Namespace) -> None:
    from contextlib import redirect_stdout

    from recipes import recipe

    before = args.dry_run or args.find_rate
    if not (args.folder or (before and args.out)):
        args.wrong("give --run DIR" + ", or --out FILE" * before)
    changes = args.set + ([f"start={args.start}"] if args.start else [])
    chosen = recipe.find(args.recipe).override(changes)
    with _hushed(args.traceback):
        from recipes import train as trainer

        trainer.threads(args.threads)
    if before:
        return _before(args, chosen)
    _tell_left_out(chosen, args.data)
    with redirect_stdout(sys.stderr):
        trainer.train(chosen, args.folder, args.data, devices=args.devices, workers=args.workers)
    print(args.folder)


def _before(args: argparse.Namespace, chosen: Recipe) -> None:
    """What `zoo train` does with --dry-run or --find-rate."""
    from recipes import preview

    if args.dry_run:
        picture = args.out or args.folder / preview.PICTURE
        for line in preview.preview(chosen, args.folder, picture, args.data, args.devices):
            print(line, flush=True)
        return
    picture = args.out or args.folder / preview.RATES
    best = preview.find_rate(chosen, picture, args.data, args.devices)
    print(f"suggested: --set rate={best:.2g} (the recipe has {chosen.rate:g}); the curve is in {picture}")


# ---------------------------------------------------------------- finetune


def add_finetune(subparsers) -> None:
    command = subparsers.add_parser(
        "finetune",
        help="go on from a model with your own data",
        description="Trains a model further on data sets, half of the time on what it knew before, and reports what it "
        "learnt and forgot: DIR/report.md, also on the terminal. The same command goes on with a run that was stopped.",
    )
    command.add_argument("model", metavar="MODEL", help="name of a model, or the folder of a run")
    command.add_argument(
        "--data", metavar="FOLDER", nargs="+", type=Path, required=True, help="data sets, of which `train` is learnt"
    )
    command.add_argument("--run", dest="folder", metavar="DIR", type=Path, required=True, help="folder of the run")
    command.add_argument(
        "--replay", metavar="FOLDER", nargs="+", type=Path, default=[], help="data sets that must not be forgotten"
    )
    command.add_argument("--characters", metavar="TEXT", default="", help="to add to the alphabet, as " + repr(" ěř"))
    command.add_argument("--test", action="store_true", help="report on the `test` splits, too")
    command.add_argument(
        "--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="a field of the recipe: steps=500"
    )
    _add_machine(command)
    command.set_defaults(run=finetune)


def finetune(args: argparse.Namespace) -> None:
    from contextlib import redirect_stdout

    with _hushed(args.traceback):
        from recipes import train as trainer
        from recipes import transfer

        trainer.threads(args.threads)
    how = transfer.finetuning(args.model, args.data, args.replay, args.characters).override(args.set)
    with redirect_stdout(sys.stderr):
        report = transfer.finetune(how, args.folder, test=args.test, devices=args.devices, workers=args.workers)
    print(report, end="")


def _tell_left_out(how: Recipe, data: Path | None) -> None:
    """Says which data sets of a recipe are left out, since nobody said where they are."""
    if not data and (names := [name for name in how.real + how.replay if not Path(name).is_absolute()]):
        print(f"zoo: without --data {', '.join(names)} are left out", file=sys.stderr)


# ---------------------------------------------------------------- report


def add_report(subparsers) -> None:
    command = subparsers.add_parser(
        "report",
        help="show what a run became",
        description="Writes RUN/report.html anew: curves, scores by groups of samples, what is mistaken for what, the "
        "worst samples. zoo train does so when a run ends; this is for one that goes on, or to look at other data.",
    )
    command.add_argument("folder", metavar="RUN", type=Path, help="folder of a run")
    command.add_argument("--data", metavar="DIR", type=Path, help="folder of the run's real data sets")
    command.set_defaults(run=report)


def report(args: argparse.Namespace) -> None:
    with _hushed(args.traceback):
        from recipes import pretrain, release, train
        from recipes import report as reports

    how, card = release.stored_recipe(args.folder), registry.card(args.folder)
    _tell_left_out(how, args.data)
    task = train.make_task(how, card, args.data)
    network = None if isinstance(task, pretrain.Task) else registry.load(args.folder)  # a backbone reads nothing
    print(reports.write(args.folder, how, task, network))


# ---------------------------------------------------------------- evaluate


def add_evaluate(subparsers) -> None:
    command = subparsers.add_parser(
        "evaluate",
        help="score models on labelled data",
        description="Scores recognizers on crops of words, or detectors with recognizers on pages.",
    )
    command.add_argument("models", nargs="+", metavar="MODEL", help="name of a model, or the folder of a run")
    command.add_argument("--data", metavar="FOLDER", type=Path, required=True, help="a data set with its labels")
    command.add_argument("--split", default="test", help="default: test")
    command.add_argument(
        "--limit", metavar="N", type=_positive, default=0, help="only N pictures, spread over the data"
    )
    command.add_argument("--runtime", default="auto", help="auto, tensorflow or onnxruntime; default: auto")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--predictions", metavar="FILE", type=Path, help="what was read, as zoo read --format jsonl")
    command.add_argument("--write", action="store_true", help="put the scores into the models' cards")
    command.set_defaults(run=evaluate)


def evaluate(args: argparse.Namespace) -> int:
    with _hushed(args.traceback):
        from recipes import evaluate as scoring
        from recipes import origin

    if args.predictions:
        check_writable(args.predictions)
    for name in args.models if args.write else ():
        check_writable(origin.card_path(registry.card(name)))
    options = {"limit": args.limit, "runtime": args.runtime, "progress": _progress}
    results: list[scoring.Result] = []
    try:
        for result in scoring.evaluate(args.models, args.data, args.split, **options):
            results.append(result)
            for failure in result.failures:
                print(f"zoo evaluate: {failure}", file=sys.stderr)
            if args.predictions:
                _predict(args.predictions, results)
            if args.write:
                for path in scoring.record(result, _scored(args, result.models)):
                    print(f"written: {path}", file=sys.stderr)
    finally:  # what was scored is shown, whatever becomes of the others
        rows = [{"models": " + ".join(result.models), "data": result.title} | result.scores for result in results]
        if rows:
            print(json.dumps(rows, indent=1, ensure_ascii=False) if args.json else _scores(rows))
    return 1 if any(result.failures for result in results) else 0


def _predict(path: Path, results: Sequence[Result]) -> None:
    """Writes what the models of the last result read."""
    from recipes.evaluate import write_predictions

    if results[-1].predictions:
        write_predictions(results[-1], _numbered(path, sum(bool(result.predictions) for result in results)))
    else:
        models = " + ".join(results[-1].models)
        print(f"zoo evaluate: {models} reads no text: no predictions of it are written", file=sys.stderr)


def _progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {count}", end="\n" if done == count else "", file=sys.stderr, flush=True)


def _scored(args: argparse.Namespace, models: Sequence[str]) -> str:
    """The command as a card tells it: names instead of this machine's folders."""
    names = " ".join(registry.card(name).name for name in models)
    limit = f" --limit {args.limit}" if args.limit else ""
    return f"zoo evaluate {names} --data {args.data.resolve().name} --split {args.split}{limit}"


def _scores(rows: list[dict[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))  # models of several tasks have different scores
    values = [[row.get(head, "") for head in heads] for row in rows]
    cells = [[f"{value:.4f}" if isinstance(value, float) else str(value) for value in row] for row in values]
    return _grid([heads, *cells])


# ---------------------------------------------------------------- calibrate


def add_calibrate(subparsers) -> None:
    command = subparsers.add_parser(
        "calibrate",
        help="make confidence believable",
        description="Finds the temperature with which a recognizer's confidence is the share of words that are right, "
        "on words of `train` that nothing was learnt from, and from which confidence on few are wrong.",
    )
    command.add_argument("model", metavar="MODEL", help="name of a recognizer, or the folder of a run")
    command.add_argument("--data", nargs="+", metavar="FOLDER", type=Path, required=True, help="data sets")
    command.add_argument("--runtime", default="auto", help="auto, tensorflow or onnxruntime; default: auto")
    command.add_argument("--write", action="store_true", help="put it into the model's card")
    command.set_defaults(run=calibrate)


def calibrate(args: argparse.Namespace) -> int:
    with _hushed(args.traceback):
        from recipes import calibration, origin

    if args.write:
        check_writable(origin.card_path(registry.card(args.model)))
    found = calibration.calibrate(args.model, args.data, runtime_name=args.runtime)
    for failure in found.failures:
        print(f"zoo calibrate: {failure}", file=sys.stderr)
    facts: dict[str, Any] = {
        "words": found.words,
        "temperature": found.temperature,
        "calibration error": f"{found.after:.4f}, without it {found.before:.4f}",
    }
    for share, place in found.thresholds.items():
        facts[f"{share:.0%} are right"] = f"from {place[0]:.3f} on: {place[1]:.1%} of the words" if place else "never"
    if found.min_confidence is not None:
        facts["min_confidence"] = f"{found.min_confidence} leaves out as many as the card's does now"
    print("\n".join(_pairs(facts)))
    if args.write:
        print(f"written: {calibration.write(args.model, found)}", file=sys.stderr)
    return 1 if found.failures else 0


# ---------------------------------------------------------------- language


def add_language(subparsers) -> None:
    command = subparsers.add_parser(
        "language",
        help="count a language for --spelling",
        description="Counts which letters follow each other in words, for `zoo read --spelling FILE` to ask where a "
        "recognizer is in doubt: the words of one's own documents, say.",
    )
    command.add_argument(
        "words",
        nargs="+",
        metavar="WORDS",
        help="a list of words, a text, or a data set, whose `train` is taken; FILE:3 counts three times",
    )
    command.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file to write: my.npz")
    command.add_argument("--letters", help="words with other letters than these are left out")
    command.set_defaults(run=count_language)


def count_language(args: argparse.Namespace) -> None:
    with _hushed(args.traceback):
        from recipes import language

    check_writable(args.output)
    weights: dict[str, float] = {}
    for given in args.words:
        name, _, times = given.rpartition(":")
        path, times = (name, float(times)) if name and _number(times) else (given, 1.0)
        for word, weight in language.words(Path(path)).items():
            if not args.letters or set(word) <= set(args.letters.casefold()):
                weights[word] = weights.get(word, 0.0) + times * weight
    letters, states = language.count(weights, args.output)
    print(f"{args.output}: {len(weights):,} words, {letters} letters, {states:,} pasts")


def _number(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


# ---------------------------------------------------------------- release


def add_release(subparsers) -> None:
    command = subparsers.add_parser(
        "release",
        help="make a run a model of the zoo",
        description="Writes the weights, golden outputs and card of a run beside the cards of the models; or, of a "
        "model or a run, the ONNX file by which it is read where TensorFlow is not installed.",
    )
    command.add_argument("folder", metavar="RUN", type=Path, help="folder of a run; with --onnx a model's name, too")
    command.add_argument("--onnx", action="store_true", help="write the ONNX file beside its weights, nothing else")
    command.add_argument("--name", default="", help="of the model; default: the recipe's")
    command.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="default: float16")
    command.add_argument(
        "--device", metavar="TEXT", default="", help="on which it was trained; default: as the run says"
    )
    command.set_defaults(run=release)


def release(args: argparse.Namespace) -> None:
    with _hushed(args.traceback):
        from recipes import release as releasing

    if args.onnx:
        card = releasing.write_onnx(str(args.folder))
        print(f"{card.name}: {card.folder / card.name}.onnx")
        return
    done = releasing.release(args.folder, args.name, dtype=args.dtype, device=args.device)
    for key, values in done.otherwise.items():
        own, other = ("none" if value is None else value for value in values)
        note = f"{key} = {own} stays as released; the run has {other}"
        print(f"zoo release: {note} (set it in {done.card.name}.toml, if it is meant)", file=sys.stderr)
    print(f"{done.card.name}: {done.card.folder / done.card.weights['file']}")
    facts = {key: done.card.weights[key] for key in ("size", "sha256", "dtype")}
    facts["difference"] = f"{done.difference:.3g}, the largest between logits as trained and as stored"
    facts["score"] = f"{done.score:.4f} as trained, {done.kept:.4f} as stored, on synthetic samples"
    print("\n".join(_pairs(facts)))


# ---------------------------------------------------------------- data


def add_data(subparsers) -> None:
    command = subparsers.add_parser("data", help="make or check data", description="Synthetic data, and data sets.")
    kinds = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, what in (("words", "synthetic words"), ("pages", "synthetic pages")):
        made = kinds.add_parser(action, help=what, description=f"Writes {what} as a data set with a preview.png.")
        made.add_argument("--seed", type=_natural, default=0, help="default: 0")
        made.add_argument("--count", type=_positive, required=True, help="how many")
        made.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder that is made")
        if action == "words":
            made.add_argument("--charset", default="french", help="alphabet; default: french")
        else:
            made.add_argument("--kind", default="", help="receipt, invoice, letter, form, table, book, report or scene")
    packed = kinds.add_parser(
        "pack",
        help="pack a data set into TFRecord shards",
        description="Writes a data set as a few large files for zoo train --set shards=DIR. Of `train` the tenth that "
        "validation looks at stays out. The same command goes on after a kill.",
    )
    packed.add_argument("folder", metavar="DIR", type=Path, help="a data set with its labels")
    packed.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder of the shards")
    packed.add_argument("--split", default="train", help="default: train")
    packed.add_argument("--words", action="store_true", help="the words of pages, for recognizers, instead of pages")
    cased = kinds.add_parser(
        "cases",
        help="find the case of labels that are all in capitals",
        description="Writes the words of a data set whose labels are all in capitals whatever the print, as of SROIE, "
        "and pairs of neighbours, as crops with the case that a recognizer finds likeliest. Those whose print does not "
        "tell are left out.",
    )
    cased.add_argument("folder", metavar="DIR", type=Path, help="a data set with its labels")
    cased.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder that is made")
    cased.add_argument("--pages", action="store_true", help="whole pages, for spotters, instead of crops")
    cased.add_argument("--model", default="crnn_mobilenet_v3_small", help="default: crnn_mobilenet_v3_small")
    check = kinds.add_parser("check", help="read a data set to its end", description="Counts, and what is wrong.")
    check.add_argument("folder", metavar="DIR", type=Path, help="a data set with its labels, or packed")
    apart = kinds.add_parser(
        "apart",
        help="check that tests hold nothing that was learnt from",
        description="Compares the pictures of all `test` splits with those of all `train` splits, by their bytes and "
        "by how they look, and their phrases with the sources of synthetic texts.",
    )
    apart.add_argument("folders", metavar="DIR", type=Path, nargs="+", help="data sets")
    lettered = kinds.add_parser(
        "fonts",
        help="fetch fonts for synthetic text, by npm",
        description="Some 1500 free Latin families of Google Fonts as npm has them, each with its licence: for "
        "synthetic text, OCRZOO_FONTS=DIR zoo train …. The same command goes on after a kill.",
    )
    lettered.add_argument("folder", metavar="DIR", type=Path, help="for the fonts; made if it is not there")
    lettered.add_argument(
        "--category", nargs="+", metavar="NAME", help="display, handwriting, monospace, sans-serif, serif; default: all"
    )
    command.set_defaults(run=data)


def data(args: argparse.Namespace) -> int:
    from recipes.data import folders, shards
    from zoo import reading, registry, runtime

    if args.action == "words":
        print(folders.write_words(args.output, args.seed, args.count, args.charset))
    elif args.action == "pages":
        print(folders.write_pages(args.output, args.seed, args.count, args.kind))
    elif args.action == "pack":
        done = shards.pack(args.folder, args.output, args.split, words=args.words)
        print("\n".join(_pairs({key: done[key] for key in ("shards", "records", "left_out")})))
    elif args.action == "cases":
        card = registry.card_for(args.model, "recognition")
        by = reading.recognizer_of(card, runtime.connect(args.model), **card.reading)
        print("\n".join(_pairs(folders.write_cased(args.folder, args.output, by, args.pages))))
    elif args.action == "apart":
        return _apart(args.folders)
    elif args.action == "fonts":
        from recipes.data import webfonts

        counts = webfonts.fetch(args.folder, args.category or webfonts.CATEGORIES, _progress)
        print("\n".join(_pairs(counts)))
        return 1 if counts["missing"] else 0
    elif (args.folder / shards.MANIFEST).is_file():
        complaints = shards.check(args.folder)
        for complaint in complaints:
            print(f"zoo data: {complaint}", file=sys.stderr)
        done = shards.manifest(args.folder)
        print("\n".join(_pairs({"shards": done["shards"], "records": done["records"], "bad": len(complaints)})))
        return 1 if complaints else 0
    else:
        report = folders.inspect(args.folder)
        for complaint in report.complaints:
            print(f"zoo data: {complaint}", file=sys.stderr)
        print("\n".join(_pairs({**report.counts, "bad": len(report.complaints)})))
        return 1 if report.complaints else 0
    return 0


def _apart(folders: Sequence[Path]) -> int:
    """Says which test pictures are doubles of train ones, and which phrases of tests are known; 1 if there are any."""
    from recipes.data import apart, datasets

    learnt: list[datasets.Entry] = []
    scored: list[datasets.Entry] = []
    for folder in folders:
        ours, theirs = datasets.read(folder, "train"), datasets.read(folder, "test")
        if theirs and all(entry.split != "test" for entry in theirs):  # docTR's, PaddleOCR's
            note = "has no splits: each of its pictures is compared with all others"
            print(f"zoo data: {folder} {note}", file=sys.stderr)
            theirs = ours
        learnt += ours
        scored += theirs
    found = list(apart.doubles(learnt, scored, _progress))
    for double in found:
        print(f"{double.scored} is a double of {double.learnt}: {double.bits} bits differ")
    known = sorted(apart.shared_phrases(scored))
    for phrase in known:
        print(f"{' '.join(phrase)!r} stands in a source of synthetic texts, and in a test")
    counts = {"learnt": len(learnt), "scored": len(scored), "doubles": len(found), "phrases": len(known)}
    print("\n".join(_pairs(counts)))
    return 1 if found or known else 0


# ---------------------------------------------------------------- export


def add_export(subparsers) -> None:
    command = subparsers.add_parser(
        "export",
        help="write a model for a model server",
        description="Writes FOLDER/NAME/VERSION, a SavedModel for `zoo serve` or TensorFlow Serving. The name ocr is "
        "that of a detector and a recognizer in one model, from pages to words.",
    )
    command.add_argument("names", nargs="+", metavar="NAME", help="of a model, or the folder of a run, or ocr")
    command.add_argument("--det", metavar="NAME", help="detector of ocr")
    command.add_argument("--rec", metavar="NAME", help="recognizer of ocr")
    command.add_argument("--folder", type=Path, default=Path("saved_models"), help="default: saved_models")
    command.add_argument("--version", type=_positive, help="a number; default: one more than the highest there")
    command.add_argument("--weights", metavar="FILE", default="default", help="instead of the model's own")
    command.add_argument("--spelling", metavar="LANGUAGE", help="of ocr and spotters, as of `zoo read`")
    command.set_defaults(run=export)


def _natural(text: str, least: int = 0) -> int:
    if not (text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text} is not a number from {least} on")
    return int(text)


def _positive(text: str) -> int:
    return _natural(text, 1)


def export(args: argparse.Namespace) -> None:
    from serving import export as exports
    from zoo.weights import obtain

    chosen = {key: name for key, name in (("detection", args.det), ("recognition", args.rec)) if name}
    if chosen and "ocr" not in args.names:
        raise ValueError("--det and --rec choose what `zoo export ocr` puts together")
    if args.weights != "default" and (len(args.names) > 1 or "ocr" in args.names):
        raise ValueError("--weights is for one network alone; of ocr give the folders of runs as --det and --rec")
    spelling = "" if args.spelling == "none" else args.spelling
    for name in args.names:  # what is wrong with the last is told before the first is made
        if name != "ocr" and registry.card(name).task != "spotting" and spelling is not None:
            raise ValueError(f"--spelling is for models that read pages; {name} answers with logits")
        if name != "ocr" and args.weights == "default" and len(args.names) > 1:
            obtain(registry.card(name))
    for name in args.names:
        if name == "ocr":
            print(exports.export_ocr(**chosen, folder=args.folder, version=args.version, spelling=spelling))
            continue
        reading = {} if spelling is None else {"spelling": spelling}
        print(exports.export(name, args.folder, version=args.version, weights=args.weights, reading=reading))


# ---------------------------------------------------------------- serve


def add_serve(subparsers) -> None:
    command = subparsers.add_parser(
        "serve",
        help="serve exported models",
        description="Answers TensorFlow Serving's requests until Ctrl-C. New models are found while it runs.",
    )
    command.add_argument("--models", type=Path, default=Path("saved_models"), help="folder; default: saved_models")
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only; 0.0.0.0 for all")
    command.add_argument("--port", type=int, default=8500, help="of gRPC; default: 8500; 0 for any free one")
    command.add_argument("--rest-port", metavar="PORT", type=int, help="of REST and metrics too; 8501, say")
    command.add_argument("--batching", metavar="FILE", type=Path, help="TensorFlow Serving's BatchingParameters")
    command.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> None:
    import logging

    from serving.options import batching_parameters
    from serving.server import Server, address_of
    from serving.server import serve as run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rest = "" if args.rest_port is None else address_of(args.host, args.rest_port)
    batching = batching_parameters(args.batching) if args.batching else None
    run(Server(args.models, address_of(args.host, args.port), rest=rest, batching=batching))


# ---------------------------------------------------------------- compress


def add_compress(subparsers) -> None:
    command = subparsers.add_parser(
        "compress",
        help="make a model smaller",
        description="Writes a model in eight bits as an ONNX or a LiteRT file, if it reads well enough on held-out "
        "pictures; or one with fewer channels, as a folder to train further from: zoo train RECIPE --set model=DIR "
        "start=DIR.",
    )
    command.add_argument("model", metavar="MODEL", help="name of a model, or the folder of a run")
    command.add_argument(
        "--output",
        metavar="PATH",
        type=Path,
        required=True,
        help="FILE.onnx, FILE.tflite, or a folder, which is then a model",
    )
    command.add_argument("--data", metavar="FOLDER", type=Path, help="a data set; of `train` some is held out to score")
    command.add_argument(
        "--method",
        choices=("static", "dynamic"),
        help="default: dynamic; of detectors for ONNX static",
    )
    command.add_argument("--most-loss", metavar="S", type=_share, help="by which the score may fall; default: 0.01")
    command.add_argument("--limit", metavar="N", type=_positive, help="pictures that score; default: 200")
    command.add_argument(
        "--calibrate", metavar="N", type=_positive, help="pictures that say how large values are; default: 8"
    )
    command.add_argument("--prune", metavar="SHARE", type=_share, help="leave out this share of channels instead")
    command.set_defaults(run=compress)


def compress(args: argparse.Namespace) -> None:
    with _hushed(args.traceback):
        from recipes import compress as compressing

    given = {"method": args.method, "most_loss": args.most_loss, "limit": args.limit, "shown": args.calibrate}
    options = {key: value for key, value in given.items() if value is not None}
    if args.prune is not None:
        if options or args.data:
            raise ValueError(
                "--prune takes --output alone: --data, --method, --most-loss, --limit and --calibrate are of eight bits"
            )
        if args.output.suffix in (".onnx", ".tflite"):
            raise ValueError(f"--output {args.output}: --prune writes a folder, to train further from; name one")
        print(compressing.prune(args.model, args.prune, args.output))
        return
    if args.data is None:
        raise ValueError("--data names the data set whose held-out pictures say what eight bits cost")
    write = {"": compressing.to_onnx, ".onnx": compressing.to_onnx, ".tflite": compressing.to_litert}.get(
        args.output.suffix
    )
    if write is None:
        raise ValueError(f"--output {args.output}: name FILE.onnx, FILE.tflite, or a folder, which is then a model")
    done = write(args.model, args.data.resolve(), args.output, **options)
    print(done.path)
    (before, after), (score, kept) = done.sizes, done.scores
    facts = {"bytes": f"{after}, before {before}", "score": f"{kept:.4f}, before {score:.4f}"}
    print("\n".join(_pairs(facts)))


# ---------------------------------------------------------------- convert


def add_convert(subparsers) -> None:
    command = subparsers.add_parser(
        "convert",
        help="take over weights of another project",
        description="Writes another project's checkpoint as a weights file: of a docTR model for "
        "zoo.load(NAME, weights=FILE), of a torchvision or timm backbone for zoo train --start FILE.",
    )
    command.add_argument("project", choices=("doctr", "torchvision", "timm"), help="whose names the tensors have")
    command.add_argument("name", help="of the model, or of the backbone, as torchvision calls it: resnet50, vgg16_bn …")
    command.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        help="a file of torch.save or, of a backbone, of safetensors; or a URL whose last part ends in digits of the "
        "SHA-256, as docTR's do; default: the one that docTR published. torch is not needed to read it",
    )
    command.add_argument("--output", metavar="FILE", type=Path, required=True, help="safetensors file to write")
    command.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="default: float32, exact")
    command.set_defaults(run=convert)


def convert(args: argparse.Namespace) -> None:
    with _hushed(args.traceback):
        from zoo import conversion

        check_writable(args.output)
        write = conversion.write if args.project == "doctr" else conversion.write_trunk
        write(args.name, _checkpoint(args), args.output, args.dtype)
    print(args.output)


def _checkpoint(args: argparse.Namespace) -> Path:
    """The file that is to be converted, fetched where it is a URL or published."""
    from zoo import weights

    source = args.checkpoint or ""
    if source.startswith(("http://", "https://")):
        found = re.findall(r"([\w.-]+-([0-9a-f]{8,64})\.\w+)", source)
        if not found:
            raise ValueError(
                f"{source} names no digits of a SHA-256, as in resnet50-1a6c155e.pt; fetch it, give the file"
            )
        name, digest = found[-1]
        return weights.fetch(source, digest, name=name)
    if source:
        return Path(source)
    published = registry.card(args.name).published.get(args.project)
    if not published:
        raise ValueError(f"no checkpoint of {args.project} is known for {args.name}; give a file or a URL")
    return weights.fetch(published["url"], published["sha256"], name=published["file"])


# ---------------------------------------------------------------- all

COMMANDS = (
    add_list, add_card, add_read, add_segment, add_recipes, add_train, add_finetune, add_report, add_evaluate,
    add_calibrate, add_language, add_release, add_data, add_compress, add_convert, add_export, add_serve,
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
