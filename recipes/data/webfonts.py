"""Free fonts for synthetic text, some 1500 families of them, fetched by npm as files that Pillow reads.

    list of families ─► packages, some at a time ─► of each at most four styles ─► FOLDER/CATEGORY/NAME-WEIGHT.ttf

They are the Latin ones of Google Fonts, nearly all under the SIL Open Font License, as npm has them by the names of
`@fontsource/…`; `google-font-metadata` has the list. The licence of each stands beside it, as NAME.txt. Left out are
fonts of Chinese, Japanese and Korean (large, and their Latin is seldom their own), those that draw no letters, those
whose small letters are capitals, which would teach the wrong ones, and those whose package does not tell its licence.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from fontTools.merge import Merger
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

CATEGORIES = ("display", "handwriting", "monospace", "sans-serif", "serif")
LIST = "google-font-metadata"
BATCH, JOBS = 20, 3  # packages that one call of npm fetches, and calls at once
FOREIGN = {"chinese-simplified", "chinese-traditional", "chinese-hongkong", "japanese", "korean"}
NOT_TEXT = re.compile(
    r"(guides|arrows|dots)$|barcode|^redacted|^flow-|^(adobe-blank|wavefont|linefont|yarndings)|emoji|icons"
)
TWO_CASES = "abdeghnqrt"  # letters whose small form is no smaller capital
logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of each old font
ALIKE = 0.85  # correlation of a small letter and its capital, both as high, from which they are one form


def fetch(
    folder: Path, categories: Sequence[str] = CATEGORIES, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Fonts of these categories in a folder, made if it is not there: what it holds then, and what could not be had.

    What is there is not fetched again, so a call that was interrupted is taken up by the same. What is left out, and
    why, is told on stderr.

    Raises:
        OSError: npm is not installed, or did not give the list of families.
        ValueError: no such category.
    """
    if unknown := set(categories) - set(CATEGORIES):
        raise ValueError(f"no category {sorted(unknown)[0]!r}; there are: {', '.join(CATEGORIES)}")
    for category in categories:
        (folder / category).mkdir(parents=True, exist_ok=True)
    missing = 0
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(JOBS) as pool:
        known = {name: folder / kind for name, kind in families(Path(scratch)).items() if kind in categories}
        wanted = [name for name, place in known.items() if not (place / f"{name}.txt").exists()]
        jobs = [pool.submit(_taken, names, known, Path(scratch)) for names in _batches(wanted)]
        for done, job in enumerate(as_completed(jobs), 1):
            missing += job.result()
            if progress:
                progress(done, len(jobs))
    found = [path for category in categories for path in (folder / category).iterdir()]
    files = sum(path.suffix == ".ttf" for path in found)
    return {"families": sum(path.suffix == ".txt" for path in found), "files": files, "missing": missing}


def families(scratch: Path) -> dict[str, str]:
    """The names of the families that serve synthetic text, as packages have them, and the category of each."""
    (archive,) = packed([LIST], scratch)
    with tarfile.open(archive) as files:
        fonts = _json(files, "package/data/api-response.json")
    return {
        name: font["category"]
        for font in fonts
        if "latin" in font["subsets"] and not FOREIGN & set(font["subsets"])
        if not NOT_TEXT.search(name := font["family"].lower().replace(" ", "-"))
    }


def packed(packages: Sequence[str], folder: Path) -> list[Path]:
    """The packages' archives, in a folder. Of several, those that there are; one that is missing is told on stderr.

    Raises:
        OSError: npm is not there, or the only package could not be had; the message says why.
    """
    command = ["npm", "pack", "--json", "--loglevel=error", f"--pack-destination={folder}", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OSError("fonts come by npm, which is not installed: `apt-get install npm` would do") from error
    if done.returncode == 0:
        return [folder / package["filename"].lstrip("@").replace("/", "-") for package in json.loads(done.stdout)]
    if len(packages) == 1:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(f"npm could not fetch {packages[0]}: {told[0] if told else done.returncode}")
    return [archive for package in packages for archive in _one(package, folder)]


def _one(package: str, folder: Path) -> list[Path]:
    try:
        return packed([package], folder)
    except OSError as error:
        print(error, file=sys.stderr)
        return []


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _taken(names: Sequence[str], places: Mapping[str, Path], scratch: Path) -> int:
    """Fetches and unpacks families; how many of them could not be had."""
    archives = packed([f"@fontsource/{name}" for name in names], scratch)
    named = {re.sub(r"^fontsource-|-\d+\.\d+\.\d+.*$", "", archive.name): archive for archive in archives}
    for name, archive in named.items():
        unpack(archive, name, places[name])
        archive.unlink()
    return len(names) - len(named)


def unpack(archive: Path, name: str, folder: Path) -> None:
    """Writes the fonts of one package, and their licence after them."""
    with tarfile.open(archive) as files, tempfile.TemporaryDirectory(dir=folder) as scratch:
        if not (terms := licence(files)):
            print(f"{name} is left out: its package does not tell its licence", file=sys.stderr)
            return
        files.extractall(scratch, filter="data")
        for (weight, style), parts in styles(files.getnames()).items():
            made = Path(scratch, f"{name.replace('-', '')}-{weight}{style[0]}.ttf")
            join([Path(scratch, part) for part in parts], made)
            if has_two_cases(made):
                made.rename(folder / made.name)
        (folder / f"{name}.txt").write_text(terms, "utf-8")


def licence(files: tarfile.TarFile) -> str:
    """Whose the fonts of a package are, and on which terms; nothing where it does not tell."""
    try:
        terms = _json(files, "package/metadata.json")["license"]
        return "".join(f"{terms[key]}\n" for key in ("attribution", "type", "url"))
    except (KeyError, TypeError):  # of before 2023
        return ""


def _json(files: tarfile.TarFile, name: str) -> Any:
    """The contents of a file; of none that is there a KeyError."""
    with cast(IO[bytes], files.extractfile(name)) as file:
        return json.load(file)


def styles(names: Sequence[str]) -> dict[tuple[int, str], list[str]]:
    """At most four styles of a family as (weight, "normal" or "italic"), and the files of the package that make each:
    the regular, the bold and the heaviest, and an italic."""
    found: dict[tuple[int, str], list[str]] = {}
    for subset in ("latin", "latin-ext"):
        for name in names:
            if match := re.search(rf"-{subset}-(\d+)-(normal|italic)\.woff$", name):
                found.setdefault((int(match[1]), match[2]), []).append(name)
    kept = set()
    for near, style in ((400, "normal"), (700, "normal"), (900, "normal"), (400, "italic")):
        weights = sorted((abs(weight - near), weight) for weight, other in found if other == style)
        kept |= {(weight, style) for _, weight in weights[:1]}
    return {style: found[style] for style in sorted(kept)}


def join(parts: Sequence[Path], result: Path) -> None:
    """The parts of a font, by alphabets, as one file; the first alone where they do not go together."""
    font = None
    if len(parts) > 1:
        try:
            font = Merger().merge(list(map(str, parts)))
        except Exception as error:  # of any kind: its tables are what a font's maker wrote
            print(f"{parts[0].name} stays without {parts[1].name}: {error!r}", file=sys.stderr)
    font = font or TTFont(parts[0])
    font.flavor = None
    font.save(result)


def has_two_cases(path: Path) -> bool:
    """Whether most small letters of a font are other forms than its capitals."""
    try:
        font = ImageFont.truetype(str(path), 40)
        return float(np.median([_likeness(font, letter) for letter in TWO_CASES])) < ALIKE
    except OSError:
        return False


def _likeness(font: ImageFont.FreeTypeFont, letter: str) -> float:
    small, capital = (_form(font, form).ravel().astype(float) for form in (letter, letter.upper()))
    return float(np.corrcoef(small, capital)[0, 1]) if small.std() and capital.std() else 1.0


def _form(font: ImageFont.FreeTypeFont, letter: str) -> np.ndarray:
    left, top, right, bottom = font.getbbox(letter)
    picture = Image.new("L", (max(1, int(right - left)), max(1, int(bottom - top))))
    ImageDraw.Draw(picture).text((-left, -top), letter, fill=255, font=font)
    return cv2.resize(np.asarray(picture), (24, 24), interpolation=cv2.INTER_AREA)
