"""Files that are whole or not there, and places where none can be."""

import contextlib
import errno
import os
import threading

import pytest

from zoo import files


def test_a_place_is_tried_and_nothing_made(tmp_path):
    files.check_writable(tmp_path / "new" / "deep" / "file.txt")
    (tmp_path / "there").write_text("as it was")
    files.check_writable(tmp_path / "there")
    assert os.listdir(tmp_path) == ["there"] and (tmp_path / "there").read_text() == "as it was"
    with pytest.raises(NotADirectoryError, match=r"file.txt cannot be written \(.*there: Not a directory\)"):
        files.check_writable(tmp_path / "there" / "file.txt")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        files.check_writable(tmp_path)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(dir):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match="No space left on device"):
        files.check_writable(tmp_path / "file.txt")
    os.mkfifo(tmp_path / "pipe")
    files.check_writable(tmp_path / "pipe")


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reading = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reading.start()
    with files.replacing(pipe) as path:
        path.write_text("a page")
    reading.join(10)
    assert heard == ["a page"] and pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_a_link_stays_one_and_what_it_names_is_replaced(tmp_path):
    real, link = tmp_path / "elsewhere" / "data.bin", tmp_path / "page.txt"
    link.symlink_to("elsewhere/data.bin")  # of what is not there yet
    files.check_writable(link)
    for text in ("first", "second"):
        with files.replacing(link) as path:
            assert path.parent == real.parent and path.suffix == ".txt"  # by which writers tell what to write
            path.write_text(text)
        assert link.is_symlink() and real.read_text() == text and os.listdir(real.parent) == ["data.bin"]
    with pytest.raises(RuntimeError), files.replacing(link) as path:
        path.write_text("third")
        raise RuntimeError
    assert link.is_symlink() and real.read_text() == "second"


def test_a_file_that_cannot_be_written_leaves_no_folders(tmp_path):
    (tmp_path / "there").mkdir()
    for place in (tmp_path / "there" / "file.txt", tmp_path / "new" / "deep" / "file.txt"):
        with pytest.raises(OSError, match=f"No space left on device: '{place}'"), files.replacing(place) as path:
            path.write_text("the first part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == ["there"] and not os.listdir(tmp_path / "there")
    with files.replacing(tmp_path / "new" / "deep" / "file.txt") as path:
        path.write_text("all of it")
    assert (tmp_path / "new" / "deep" / "file.txt").read_text() == "all of it"


def test_an_error_names_the_file_that_was_asked_for_and_not_its_stand_in(tmp_path):
    place = tmp_path / "page.txt"
    with pytest.raises(FileNotFoundError, match=f"No such file or directory: '{place}'$"), files.replacing(place):
        pass  # nothing was written
    with pytest.raises(OSError, match=f"No space left on device: '{place}'$"), files.replacing(place) as path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "source.txt", None, str(path))  # of shutil.copyfile
    with pytest.raises(FileNotFoundError, match="'other.txt'$"), files.replacing(place) as path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "other.txt")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "ä" * 125 + "b.txt", "a" * 255, "." + "a" * 254])
def test_a_name_may_be_as_long_as_the_system_takes_it(tmp_path, name):
    with files.replacing(tmp_path / name) as path:
        path.write_text("all of it")
        assert path.name != name and path.name.endswith((tmp_path / name).suffix)
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "all of it"


@pytest.mark.parametrize("name", ["page[1].txt", "page", "ä" * 125 + "b.txt"])
def test_what_killed_processes_left_of_a_file_is_cleared_away_and_nothing_else(tmp_path, name):
    kept = [".page[1].txt", ".page.00000000.json", ".page1.00000000.txt", ".other.00000000.txt", name]
    for other in kept:
        (tmp_path / other).touch()
    with contextlib.suppress(FileNotFoundError), files.replacing(tmp_path / name) as path:
        path.write_text("half")
        path.rename(tmp_path / "aside")  # as a kill leaves it
    (tmp_path / "aside").rename(path)
    files.clear(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
