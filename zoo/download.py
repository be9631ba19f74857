"""A file from a URL to a folder: resumed where it broke off, tried again, verified, whole or not there."""

from __future__ import annotations

import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from zoo.files import has_digest, sha256

ATTEMPTS = 5
PAUSE = 0.5  # seconds before the second attempt; doubled before each further one
TIMEOUT = 30.0  # seconds without a byte until an attempt is given up
CHUNK = 1 << 18  # bytes
WRITTEN = "!#$%&'()*+,/:;=?@[]~"  # characters that an address may hold besides letters, digits and -._


class DownloadError(RuntimeError):
    """A file that cannot be had, or is not what it should be."""


class _Temporary(Exception):
    """A failure that may be over at the next attempt."""


def download(url: str, target: Path, digest: str, size: int | None = None, *, progress: bool = True) -> None:
    """Fetches `url` to `target`, which appears only when it is whole and its SHA-256 begins with `digest`.

    What came before a break lies beside it as `.NAME.part`, from which a later call goes on. A part that cannot lead to
    the right file, or that fills the disk, is removed.

    Args:
        size: bytes, where known: a file of another size is refused before it is downloaded, or once it is larger.
        progress: whether to report to standard error.

    Raises:
        DownloadError: it cannot be had, or is not what it should be.
        OSError: the folder cannot be written.
    """
    part = target.with_name(f".{target.name}.part")
    report = _Progress(target.name, progress)
    resumed = part.is_file() and part.stat().st_size > 0
    _complete(url, part, size, report)
    if resumed and not has_digest(part, digest):  # what lay there may be of an older file: once more, from the start
        part.unlink()
        _complete(url, part, size, report)
    if not has_digest(part, digest):
        actual = sha256(part)[: len(digest)]
        part.unlink()
        raise DownloadError(f"{url}: SHA-256 is {actual}, not {digest} as in the card; it was not kept")
    os.replace(part, target)
    report.end(target.stat().st_size)


class _Progress:
    """A line on standard error: rewritten on a terminal, else one at the end."""

    def __init__(self, name: str, shown: bool):
        self.name, self.shown, self.last = name, shown, 0.0
        self.terminal = sys.stderr.isatty()

    def at(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if not (self.shown and self.terminal) or (now - self.last < 0.1 and done != total):
            return
        self.last = now
        share = f" of {total / 1e6:.1f} MB, {done / total:.0%}" if total else " MB"
        print(f"\r{self.name}: {done / 1e6:.1f}{share}", end="", file=sys.stderr, flush=True)

    def end(self, size: int) -> None:
        if self.shown:
            start = "\r" if self.terminal else ""
            print(f"{start}{self.name}: {size / 1e6:.1f} MB fetched, checksum right", file=sys.stderr)


def _complete(url: str, part: Path, size: int | None, progress: _Progress) -> None:
    """Attempts to download until `part` is whole."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(url, part, size, progress)
        except _Temporary as error:
            if attempt == ATTEMPTS:
                raise DownloadError(f"{url}: {error}, at attempt {attempt} of {ATTEMPTS}") from error
            time.sleep(PAUSE * 2 ** (attempt - 1))


def _attempt(url: str, part: Path, size: int | None, progress: _Progress) -> None:
    """Appends to `part` what the server has beyond it."""
    done = part.stat().st_size if part.is_file() else 0
    if done and done == size:
        return
    headers = {"User-Agent": "ocrzoo", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    request = urllib.request.Request(urllib.parse.quote(url, safe=WRITTEN), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            done = done if _continues(response, done) else 0
            _receive(response, part, done, _total(response, done, size), progress)
    except urllib.error.HTTPError as error:
        raise _refusal(error, part) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _Temporary(f"the server cannot be reached: {getattr(error, 'reason', None) or error!r}") from error


def _continues(response, done: int) -> bool:
    """Whether the answer holds what follows the first `done` bytes; a server without ranges sends all again."""
    found = response.headers.get("Content-Range", "")
    return done > 0 and response.status == 206 and found.startswith(f"bytes {done}-")


def _total(response, done: int, size: int | None) -> int | None:
    """The size of the whole file in bytes, if known."""
    length = response.headers.get("Content-Length", "")
    announced = done + int(length) if length.isdigit() else None
    if size is not None and announced not in (None, size):
        raise DownloadError(f"{response.url}: the file there has {announced} bytes, not {size} as in the card")
    return announced if announced is not None else size


def _receive(response, part: Path, done: int, total: int | None, progress: _Progress) -> None:
    begun = done
    with part.open("ab" if done else "wb", buffering=0) as file:  # unbuffered: closing has nothing left to write
        while (total is None or done <= total) and (chunk := response.read(CHUNK)):
            _write(file, chunk, part)
            done += len(chunk)
            progress.at(done, total)
    if total is not None and done > total:  # of a server that announces no length
        part.unlink()
        text = f"{response.url}: the file there has more than the {total} bytes in the card"
        raise _Temporary(text) if begun else DownloadError(text)  # what lay here may be of an older file
    if total is not None and done < total:
        raise _Temporary(f"the connection ended after {done} of {total} bytes")


def _write(file, chunk: bytes, part: Path) -> None:
    """Appends a chunk. On a full disk the part is removed: it may be what fills it."""
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _refusal(error: urllib.error.HTTPError, part: Path) -> Exception:
    """What an error status means for the download."""
    if error.code == 416:  # nothing follows the part: it is not of this file, or whole, which the checksum would tell
        part.unlink(missing_ok=True)
        return _Temporary("the part here is not of the file there")
    if error.code >= 500 or error.code in (408, 429):
        return _Temporary(f"the server answers {error.code} {error.reason}")
    return DownloadError(f"{error.url}: the server answers {error.code} {error.reason}")
