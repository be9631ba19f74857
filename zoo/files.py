"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST = 255  # bytes of a file's name
FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG  # no room on the disk, of the user, in the file


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to in the folder of `path`, with its suffix. It takes the place of `path` when the block ends.

    When the block raises, what was written is removed, folders made for it, too, and `path` stays as it was. Of a pipe
    or a device, which nothing must take the place of, it is the path itself; a link stays, and what it names is
    replaced.

    Raises:
        OSError: with the name of `path`, also where the disk is full, of which the system says no name.
    """
    path = Path(path)
    if _is_stream(path):
        yield path
        return
    place = _place(path)
    made = [folder for folder in place.parents if not folder.exists()]
    temporary = place.with_name(_hidden(path, secrets.token_hex(4)))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, place)
        made = []
    except OSError as error:
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if str(temporary) in named or (error.errno in FULL and not named):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # by now there is something else in it
                folder.rmdir()


def _place(path: Path) -> Path:
    """Where a file is that `path` names, by links or not."""
    return path.resolve() if path.is_symlink() else path


def _hidden(path: Path, token: str) -> str:
    """The name under which `path` is written, no longer than names may be."""
    stem, room = os.fsencode(path.stem), LONGEST - len(os.fsencode(f"..{token}{path.suffix}"))
    short = path.stem if len(stem) <= room else stem[:room].decode(errors="ignore")
    return f".{short}.{token}{path.suffix}"


def clear(path: str | os.PathLike) -> None:
    """Removes what killed processes had begun to write in place of `path`. Nobody may be writing it now."""
    path = Path(path)
    start, end = _hidden(path, "\0" * 8).split("\0" * 8)
    for left in _place(path).parent.glob(f"{glob.escape(start)}{'[0-9a-f]' * 8}{glob.escape(end)}"):
        left.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())


def check_writable(path: str | os.PathLike) -> None:
    """Passes if a file could be written there now: the error should not come after hours of work. Nothing is made.

    Raises:
        OSError: it could not.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")
    if _is_stream(path):
        return
    nearest = next(parent for parent in _place(path).absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(4096))  # a full disk takes names, and no bytes
    except OSError as error:
        text = f"{path} cannot be written ({nearest}: {error.strerror}); name a place that can"
        raise type(error)(text) from None


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """A block that one process at a time enters; others wait. The file `path` is created and stays, empty.

    On Windows nobody waits: there, two downloads of one file at once end in a checksum error for one of them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a killed process
        yield


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_digest(path: str | os.PathLike, digest: str) -> bool:
    """Whether a file's SHA-256 begins with these hexadecimal digits: with all 64, or as many as were published."""
    return sha256(path).startswith(digest)
