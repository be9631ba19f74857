"""Data sets packed into TFRecord shards: a few large files instead of many small ones, read at any place.

    zoo data pack DATA/mine --output PACKED/mine [--words]
    zoo train recognition.crnn_mobilenet_v3_small --run runs/packed --set shards=PACKED/mine

Beside each shard stands its index, 00000.json: a checksum, and of each record where it lies. shards.json comes last,
and says that all are there. Sample n of a run is a function of n and the seed alone: an epoch is a permutation of all
records of all shards, so that a run goes on in the middle of one, and workers share each batch by its rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recipes.data import datasets, records
from recipes.data.pipeline import cached
from recipes.data.records import RecordError
from zoo import image as images
from zoo.files import replacing, sha256

MANIFEST = "shards.json"
PER_SHARD = 2000  # pictures, or words
TOLD = 10  # complaints that are printed; all are counted


class ShardError(RuntimeError):
    """Shards that cannot be read; the message says which, and what would do."""


# ---------------------------------------------------------------- writing


def pack(
    folder: Path, output: Path, split: str = "train", *, words: bool = False, per_shard: int = PER_SHARD
) -> dict[str, Any]:
    """What shards.json says, after the entries of a data set were packed; the same call goes on after a kill.

    What cannot be read, and crops without a text, are left out, counted and told. Of `train` the part that validation
    looks at stays out, too.

    Args:
        folder: a data set as `datasets.read` takes it.
        output: folder of the shards; made if it is not there.
        split: of the data set.
        words: the words cut out of pages, one record each, instead of the pages.
        per_shard: entries in a shard.

    Raises:
        ValueError: the data set holds nothing of the split or nothing that can be packed, or the folder the shards of
            another, or of what these labels were before.
    """
    complaints: list[str] = []
    if split == "train":
        entries, _ = datasets.halves(datasets.read(folder, None, complaints))
    else:
        entries = datasets.read(folder, split, complaints)
    if not entries:
        raise ValueError(f"{folder} holds nothing of the split {split!r}")
    source = {
        "data": f"{folder.resolve().name}/{split}",
        "words": words,
        "entries": len(entries),
        "labels": _digest(entries),
        "per_shard": per_shard,
    }
    for leftover in output.glob(".*.*.tfrecord"):  # of a call that was killed
        leftover.unlink()
    shards = []
    for number, first in enumerate(range(0, len(entries), per_shard)):
        shards.append(_shard(output / f"{number:05}.tfrecord", entries[first : first + per_shard], source))
    left = [*complaints, *itertools.chain(*(shard.pop("left_out") for shard in shards))]
    counts = {"shards": len(shards), "records": sum(shard["count"] for shard in shards), "left_out": len(left)}
    if not counts["records"]:
        for shard in shards:  # those without a record would stand in the way of other data
            (output / shard["file"]).unlink()
            (output / shard["file"]).with_suffix(".json").unlink()
        with contextlib.suppress(OSError):
            output.rmdir()
        raise ValueError(f"nothing of {folder} can be packed: {left[0] if left else 'it holds no words'}")
    manifest = {**source, **counts, "files": shards}
    with replacing(output / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for complaint in left[:TOLD]:
        print(f"left out: {complaint}", file=sys.stderr)
    return manifest


def _digest(entries: Sequence[datasets.Entry]) -> str:
    """Changes with the labels, and with the pictures' names and sizes in bytes."""
    total = hashlib.sha256()
    for entry in entries:
        size = entry.path.stat().st_size if entry.pixels is None and entry.path.is_file() else 0
        regions = [(label, outline.tolist()) for label, outline in entry.regions or ()]
        facts = entry.path.name, size, entry.text, entry.texts, entry.illegible, entry.polygons.tolist(), regions
        total.update(repr(facts).encode())
    return total.hexdigest()


def _shard(path: Path, entries: list[datasets.Entry], source: dict[str, Any]) -> dict[str, Any]:
    """What is known of a shard, which is written unless it is there."""
    index = path.with_suffix(".json")
    known: dict[str, Any] = {}
    with contextlib.suppress(ShardError):  # a damaged one is written again
        known = _parsed(index)
    if path.is_file() and known:
        if known.pop("source") != source:
            raise ValueError(
                f"{path.parent} holds shards of other data or of other labels ({index.name}); give another folder"
            )
        if path.stat().st_size == known["size"]:
            return {key: known[key] for key in ("file", "count", "size", "sha256", "left_out")}
    places, left, at = [], [], 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for entry in entries:
            for data, complaint in _examples(entry, source["words"]):
                if complaint:
                    left.append(complaint)
                    continue
                record = records.framed(data)
                places.append([at, len(record)])
                at += file.write(record)
    facts = {"file": path.name, "count": len(places), "size": at, "sha256": sha256(path), "left_out": left}
    with replacing(index) as temporary:
        temporary.write_text(json.dumps({**facts, "source": source, "places": places}), encoding="utf-8")
    return facts


def _examples(entry: datasets.Entry, words: bool) -> Iterator[tuple[bytes, str]]:
    """The records of an entry, or what is wrong with it."""
    try:
        if entry.text is None and words:
            for picture, text in datasets.crops(entry):
                values = {"image": _png(picture), "text": text.encode(), "name": entry.path.name.encode()}
                yield records.encode(values), ""
            return
        if entry.text is not None and not entry.text.strip():
            yield b"", f"{entry.path}: the label is empty"
            return
        if not datasets.placed(entry):
            yield b"", f"{entry.path}: it is not said where the words of the page are"
            return
        entry.read()  # what cannot be read now must not be found out in the middle of a run
        yield encoded(entry), ""
    except (images.ImageError, ValueError) as error:
        yield b"", f"{entry.path}: {error}"


def encoded(entry: datasets.Entry) -> bytes:
    """A crop or a page as a record: its file as it is, and its label."""
    data = entry.path.read_bytes() if entry.pixels is None else _png(entry.pixels)
    values: dict[str, records.Value] = {"image": data, "name": entry.path.name.encode()}
    if entry.text is not None:
        return records.encode({**values, "text": entry.text.encode()})
    return records.encode({
        **values, "polygons": entry.polygons.ravel(), "texts": [text.encode() for text in entry.texts],
        "illegible": list(map(int, entry.illegible)), "level": entry.level.encode(),
    })  # fmt: skip


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Packed(datasets.Entry):
    """An entry whose picture stands in a shard."""

    data: bytes = b""

    @property
    def source(self) -> np.ndarray | Path | bytes:
        return self.data


def entry(data: bytes, folder: str) -> Packed:
    """The crop or page of a record; its path begins with the name of its data set.

    Raises:
        RecordError: it is neither.
    """
    found = records.decode(data)
    try:
        picture, path = bytes(found["image"][0]), Path(folder, bytes(found["name"][0]).decode())
        if "text" in found:
            return Packed(path, bytes(found["text"][0]).decode(), datasets._polygons([]), data=picture)
        polygons = np.asarray(found["polygons"], np.float32).reshape(-1, 4, 2)
        texts = tuple(bytes(text).decode() for text in found["texts"])
        marks, level = tuple(map(bool, found["illegible"])), bytes(found["level"][0]).decode()
        return Packed(path, None, polygons, texts, marks, level, data=picture)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RecordError(f"no picture with a label ({type(error).__name__}: {error})") from error


@dataclass
class Shards:
    """The records of packed data sets, by number; those that are damaged are passed over, counted and told.

    Args:
        folders: of packed data sets.
        seed: of the order.

    Raises:
        ShardError: a folder was not packed to its end, or a shard is gone or cut off.
    """

    folders: Sequence[Path]
    seed: int = 0
    skipped: int = field(default=0, init=False)
    sources: list[str] = field(default_factory=list, init=False)  # what they were packed from

    def __post_init__(self) -> None:
        self.files: list[tuple[Path, str]] = []  # each shard, and the name of its data set
        places = [np.zeros((0, 3), np.int64)]  # of each record its shard, where it begins, and its length
        for folder in self.folders:
            known = manifest(folder)
            self.sources.append(known["data"])
            for shard in known["files"]:
                path = folder / shard["file"]
                _present(path, shard)
                own = np.array(_parsed(path.with_suffix(".json"))["places"], np.int64)
                places.append(np.insert(own.reshape(-1, 2), 0, len(self.files), 1))
                self.files.append((path, known["data"].partition("/")[0]))
        self.places = np.concatenate(places)
        if self.folders and not len(self.places):
            raise ShardError(f"{', '.join(map(str, self.folders))}: no records")
        self._order = cached(self._permutation, 2)

    def __len__(self) -> int:
        return len(self.places)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 7, epoch)).permutation(len(self.places))

    def draw(self, number: int, usable: Callable[[datasets.Entry], bool] = lambda entry: True) -> Packed:
        """The entry number `number` of the run: each epoch has all of them, in an order of its own.

        In place of one that is damaged or of no use comes the next one that is not.

        Raises:
            ShardError: there is none in a whole epoch, or a shard is gone.
        """
        for further in range(len(self.places)):
            epoch, place = divmod(number + further, len(self.places))
            shard, start, length = self.places[self._order(epoch)[place]].tolist()
            path, name = self.files[shard]
            try:
                found = entry(records.unframed(_bytes(path, start, length)), name)
                if usable(found):
                    return found
                self._skip(f"{path} at byte {start}: no label to learn from", quiet=True)
            except RecordError as error:
                self._skip(f"{path} at byte {start}: {error}")
        raise ShardError(
            f"{', '.join(map(str, self.folders))}: not one of {len(self.places)} records is of use; `zoo data pack` "
            "makes pages for detectors and spotters, with --words words for recognizers"
        )

    def _skip(self, complaint: str, quiet: bool = False) -> None:
        self.skipped += 1
        if not quiet and self.skipped <= TOLD:
            print(f"passed over: {complaint}", file=sys.stderr)


def _bytes(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)
    except OSError as error:
        raise ShardError(f"{path} cannot be read any more ({error}); put it back, or pack its data again") from error


def manifest(folder: Path) -> dict[str, Any]:
    """What shards.json of a folder says.

    Raises:
        ShardError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ShardError(f"{folder} holds no {MANIFEST}: give a folder that `zoo data pack` wrote to its end")
    return _parsed(path)


def _parsed(path: Path) -> dict[str, Any]:
    """What a file beside the shards says."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ShardError(f"{path} is gone; put it back, or pack its data again") from None
    except ValueError as error:
        raise ShardError(f"{path} is damaged ({error}); put it back, or pack its data again") from error


def _present(path: Path, shard: dict[str, Any]) -> None:
    if not path.is_file():
        raise ShardError(f"{path} is gone; put it back, or pack its data again")
    if path.stat().st_size != shard["size"]:
        raise ShardError(f"{path} has {path.stat().st_size} bytes instead of {shard['size']}; pack its data again")


def check(folder: Path) -> list[str]:
    """What is wrong with the shards of a folder: each is read whole and compared with its checksum."""
    complaints = []
    for shard in manifest(folder)["files"]:
        path = folder / shard["file"]
        try:
            _present(path, shard)
            _parsed(path.with_suffix(".json"))
            if sha256(path) != shard["sha256"]:
                complaints.append(f"{path} has another SHA-256 than when it was packed; pack its data again")
        except ShardError as error:
            complaints.append(str(error))
    return complaints


def of(data: Path | None, names: Sequence[str], seed: int) -> Shards:
    """The shards that a recipe names, under the folder of data sets or as they are."""
    return Shards([Path(data or ".") / name for name in names], seed)
