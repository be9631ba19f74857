"""Any number of pages, read by the workers of a Ray cluster; what was read stays when a worker, or all of them, end.

    files ─► parts of a few files ─► workers, each with its own reader ─► OUT/part-00000.jsonl … ─► OUT/manifest.json
                  ▲                                                             then OUT/done/00000.json
                  └── parts without a mark in OUT/done, when the same command is given again

A part has one name, whoever reads it and however often, and appears whole; its mark is written after it. So a worker
may be killed at any time, and a machine may: no page is lost, and none stands twice. A file at which `ATTEMPTS` workers
ended is left out, with an error in its place. All machines see the folder OUT.

    OUT/plan.json      what is read, by which models and how; a later run with other ones is refused
    OUT/files.jsonl    all files, listed once
    OUT/manifest.json  when all is done: the plan, and pages, errors and checksum of each part
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zoo import __version__, formats, image, registry, weights
from zoo.files import replacing, sha256
from zoo.reading import DETECTOR, RECOGNIZER, PageError, Reader, reader

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("jsonl", "parquet")
PART = 32  # files of a part: what is read again where a worker ended
ATTEMPTS = 3  # workers that may end while they read a file; then it is taken for what ends them, and left out
NEEDS_RAY = "reading on a cluster needs Ray: pip install 'ocrzoo[ray]'"


class ClusterError(RuntimeError):
    """Pages that cannot be read so; the text says why and what would do."""


# ---------------------------------------------------------------- the plan


def prepare(
    sources: Sequence[str], output: str | os.PathLike, form: str = "jsonl", part: int = PART, **options: Any
) -> dict[str, Any]:
    """The plan in a folder, which is made where there is none.

    Args:
        sources: files, folders, and addresses such as s3://bucket/folder that pyarrow opens.
        output: the folder.
        form: of the parts, one of `FORMATS`.
        part: files of a part.
        **options: of `zoo.reading.reader`.

    Raises:
        ClusterError: the folder was begun with another plan.
        zoo.image.ImageError: a source is not there, or has no pages.
    """
    folder = Path(output)
    asked = {
        "sources": [source if "://" in source else str(Path(source).absolute()) for source in sources],
        "format": form,
        "options": options,
        "models": _models(options),
        "version": __version__,
    }
    if (folder / "plan.json").exists():
        plan = json.loads((folder / "plan.json").read_bytes())
        other = sorted(key for key, value in asked.items() if plan[key] != json.loads(json.dumps(value)))
        if other:
            text = f"{folder} was begun with other {', '.join(other)}; give another folder, or what it was begun with"
            raise ClusterError(text)
        return plan
    found = [file for source in asked["sources"] for file in _listed(source)]
    with replacing(folder / "files.jsonl") as path:
        path.write_text("".join(json.dumps(file) + "\n" for file in found))
    plan = {**asked, "files": len(found), "part": part, "parts": -(-len(found) // part)}
    _write_json(folder / "plan.json", plan)
    return plan


def _models(options: Mapping[str, Any]) -> dict[str, str]:
    """The checksums of the weights that the options choose, by the models' names."""
    names = [options.get("detection", DETECTOR), options.get("recognition", RECOGNIZER)]
    return {str(name): weights.identity(registry.card(name)) for name in names if name is not None}


def _listed(source: str) -> list[str]:
    if "://" not in source:
        return [str(path) for path in image.files(Path(source))]
    from pyarrow import fs

    system, place = fs.FileSystem.from_uri(source)
    if system.get_file_info(place).type == fs.FileType.File:
        return [source]
    inside = system.get_file_info(fs.FileSelector(place, recursive=True))
    files = sorted(entry.path for entry in inside if entry.is_file and _is_page(entry.path))
    if not files:
        raise image.ImageError(f"{source}: no page there; it would take files that end in {' '.join(image.SUFFIXES)}")
    folder, mark, options = source.partition("?")  # s3://bucket/scans?region=eu-west-3, say
    names = (str(PurePosixPath(file).relative_to(place)) for file in files)
    return [f"{folder.rstrip('/')}/{name}{mark}{options}" for name in names]


def _is_page(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in image.SUFFIXES


def remaining(output: str | os.PathLike, plan: Mapping[str, Any]) -> list[int]:
    """The parts that have no mark yet."""
    return [number for number in range(plan["parts"]) if not _mark(Path(output), number).exists()]


def _mark(folder: Path, number: int) -> Path:
    return folder / "done" / f"{number:05d}.json"


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(formats.whole(json.dumps(value, indent=1, ensure_ascii=False)) + "\n", "utf-8")


# ---------------------------------------------------------------- a worker


class Worker:
    """What reads parts: its networks are loaded once.

    Args:
        output: the folder of a plan.
        reader: what reads pages; None: that of the plan's options.
    """

    def __init__(self, output: str, reader: Reader | None = None):
        self.folder = Path(output)
        self.plan = json.loads((self.folder / "plan.json").read_bytes())
        self.reader = reader or _reader(self.plan["options"])

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The mark of the part row["part"], which is read unless it has one."""
        number = int(row["part"])
        mark = _mark(self.folder, number)
        if not mark.exists():
            name = f"part-{number:05d}.{self.plan['format']}"
            records = [record for file in self._begun(number) for record in self._records(*file)]
            with replacing(self.folder / name) as path:
                WRITERS[self.plan["format"]](path, records)
            errors = sum("error" in record for record in records)
            pages, digest = len(records) - errors, sha256(self.folder / name)
            _write_json(mark, {"part": number, "file": name, "pages": pages, "errors": errors, "sha256": digest})
        return json.loads(mark.read_bytes())

    def _files(self, number: int) -> list[str]:
        first, size = number * self.plan["part"], self.plan["part"]
        with (self.folder / "files.jsonl").open() as lines:
            return [json.loads(line) for index, line in enumerate(lines) if first <= index < first + size]

    def _begun(self, number: int) -> Iterator[tuple[str, int]]:
        """Each file of a part, and how many workers ended while they read it; noted as begun."""
        log = self.folder / "tried" / f"{number:05d}"
        log.parent.mkdir(exist_ok=True)
        attempts = log.read_text().split("\n")[1:] if log.exists() else []
        ended = Counter(attempt.split()[-1] for attempt in attempts if attempt)
        with log.open("a") as file:
            file.write("\n")  # a line for each attempt: the numbers of the files begun
            for index, name in enumerate(self._files(number)):
                file.write(f"{index} ")
                file.flush()
                yield name, ended[str(index)]

    def _records(self, file: str, ended: int) -> Iterator[dict[str, Any]]:
        """A record of each page of a file, and of each that cannot be had."""
        if ended >= ATTEMPTS:
            yield {"image": file, "page": 1, "error": f"{ended} workers ended while they read it; it is left out"}
            return
        try:
            for page in self.reader.stream(_fetched(file) if "://" in file else file):
                if isinstance(page, PageError):
                    yield {"image": file, "page": page.number, "error": page.message}
                else:
                    yield {**formats.record(page), "image": file}
        except Exception as error:  # one file must not end the reading of millions
            yield {"image": file, "page": 1, "error": f"{type(error).__name__}: {error}"}


def _reader(options: Mapping[str, Any]) -> Reader:
    return reader(**options)


def _fetched(address: str) -> bytes:
    from pyarrow import fs

    system, place = fs.FileSystem.from_uri(address)
    with system.open_input_stream(place) as stream:
        return stream.read()


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(formats.whole(json.dumps(record, ensure_ascii=False)) + "\n" for record in records)
    path.write_text(text, "utf-8")


def _write_parquet(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [{key: _utf8(value) for key, value in record.items()} for record in records]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_schema()), path)


def _utf8(value: Any) -> Any:
    """The value; of a text the bytes of a file's name that are no UTF-8 as \\xe9, say."""
    return os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    polygon = pa.list_(pa.list_(pa.float32()))
    words = pa.list_(pa.struct({"polygon": polygon, "text": pa.string(), "confidence": pa.float32()}))
    sides = {name: pa.int32() for name in ("page", "width", "height")}
    return pa.schema({"image": pa.string(), **sides, "words": words, "seconds": pa.float32(), "error": pa.string()})


WRITERS = {"jsonl": _write_lines, "parquet": _write_parquet}

# ---------------------------------------------------------------- all of them


def read(
    sources: Sequence[str],
    output: str | os.PathLike,
    form: str = "jsonl",
    *,
    workers: int | None = None,
    part: int = PART,
    **options: Any,
) -> dict[str, Any]:
    """The manifest of all that was read, here or before.

    Args:
        sources, output, form, part, options: as `prepare` takes them.
        workers: readers at the same time; by default one for each machine, which uses all its cores. The cluster is
            that of RAY_ADDRESS, or one on this machine.

    Raises:
        ClusterError: Ray is not installed or fails, or the folder was begun with another plan.
    """
    output = str(Path(output).absolute())
    plan = prepare(sources, output, form, part, **options)
    todo = remaining(output, plan)
    started = time.monotonic()
    if todo:
        _on_ray(output, todo, workers)
    marks = [json.loads(_mark(Path(output), number).read_bytes()) for number in range(plan["parts"])]
    totals = {key: sum(mark[key] for mark in marks) for key in ("pages", "errors")}
    manifest = {**plan, **totals, "seconds": round(time.monotonic() - started, 1), "done": marks}
    _write_json(Path(output) / "manifest.json", manifest)
    return manifest


def _on_ray(output: str, todo: Sequence[int], workers: int | None) -> None:
    try:
        import ray
        from ray.data import ActorPoolStrategy, from_items
        from ray.exceptions import RayError
    except ModuleNotFoundError:
        raise ClusterError(NEEDS_RAY) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    machines = sum(node["Alive"] for node in ray.nodes())
    pool = ActorPoolStrategy(size=min(workers or machines, len(todo)))
    kind: Any = Worker  # Ray takes classes, too, of which its annotations do not tell
    parts = from_items([{"part": number} for number in todo], override_num_blocks=len(todo))
    done = parts.map(
        kind,
        fn_constructor_kwargs={"output": output},
        compute=pool,  # a worker that ends is replaced, and its part is read again
    )
    try:
        for _ in done.iter_rows():
            pass
    except RayError as error:
        left = len(remaining(output, json.loads((Path(output) / "plan.json").read_bytes())))
        raise ClusterError(f"{left} parts are left: the same command reads them. {error}") from error
