"""Pages read by a server that holds the whole reading path; the server is a fake, the graph has tests of its own."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serving import pages
from zoo import cli, image
from zoo.page import Page
from zoo.reading import PageError


class Fake:
    """Answers two words, the second of them unsure, on pages of the size that it is sent."""

    timeout = 5.0

    def __init__(self):
        self.sent = []

    def predict(self, model, data, **options):
        assert (model, options["signature"]) == ("ocr", "read")
        self.sent += data
        width, height = Image.open(io.BytesIO(data[0])).size
        box = np.float32([[10, 5], [40, 5], [40, 15], [10, 15]])
        return {
            "counts": np.int32([2]), "sizes": np.int32([[height, width]]), "scores": np.float32([[0.9, 0.2]]),
            "texts": np.array([["größer".encode(), b"than"]], object), "detection": np.float32([[0.8, 0.7]]),
            "polygons": np.stack([box, box + [40, 0]])[None],
        }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    pixels = np.full((60, 90, 3), 255, "uint8")
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels)
    cv2.imwrite(str(tmp_path / "b.webp"), pixels)
    (tmp_path / "c.png").write_bytes(b"no picture")
    return tmp_path


def test_pages_of_all_kinds_of_files(folder):
    client = Fake()
    first, second, third = pages.read(client, [str(folder)])
    assert isinstance(first, Page) and first.text == "größer than" and (first.width, first.height) == (90, 60)
    assert first.words[0].confidence == pytest.approx(0.9) and first.words[0].detection == pytest.approx(0.8)
    assert isinstance(second, Page) and isinstance(third, PageError) and "c.png" in third.message
    png, jpeg = sorted(client.sent)  # side by side, so that either may come first
    assert jpeg == (folder / "a.jpg").read_bytes()  # as it is
    assert png.startswith(b"\x89PNG")


def test_a_png_that_tensorflow_would_read_otherwise(tmp_path):
    picture, exif = Image.new("RGB", (90, 60), (1, 2, 3)), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture.save(tmp_path / "a.png", exif=exif)
    picture.save(tmp_path / "b.png", transparency=(1, 2, 3))
    client = Fake()
    first, second = pages.read(client, [str(tmp_path)], window=1)
    assert (first.width, first.height, second.width, second.height) == (60, 90, 90, 60)
    assert (np.asarray(Image.open(io.BytesIO(client.sent[1]))) == 255).all()  # laid over white


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("kind", ["XMP in a PNG", "EXIF in a PNG's text", "XMP in a JPEG"])
def test_whatever_tells_which_way_is_up(tmp_path, kind, turn):
    """As for a reader in this process: a quarter turn makes the page upright, which is 90 by 60 pixels as it lies."""
    picture, text, exif = Image.new("RGB", (90, 60)), PngInfo(), Image.Exif()
    exif[0x0112] = turn
    if kind == "XMP in a JPEG":
        picture.save(tmp_path / "a.jpg", xmp=XMP.format(turn).encode())
    else:
        content = exif.tobytes()
        raw = f"\nexif\n{len(content)}\n{content.hex()}\n"  # as ImageMagick writes it
        if kind == "XMP in a PNG":
            text.add_itxt("XML:com.adobe.xmp", XMP.format(turn))
        else:
            text.add_text("Raw profile type exif", raw, zip=True)
        picture.save(tmp_path / "a.png", pnginfo=text)
    client = Fake()
    (path,) = tmp_path.iterdir()
    (page,) = pages.read(client, [path])
    assert next(image.pages(path)).size == (page.height, page.width) == ((90, 60) if turn == 6 else (60, 90))
    as_it_is = kind == "XMP in a JPEG" and turn == 1  # most photographs have such
    assert (client.sent[0] == path.read_bytes()) == as_it_is


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_of_four_inks_is_sent_as_it_is_read_here(tmp_path, marked, progressive):
    """Without Adobe's mark, which says that 255 is no ink, a model would see the negative."""
    file = io.BytesIO()
    Image.new("CMYK", (90, 60), (0, 0, 0, 200)).save(file, "JPEG", progressive=progressive)
    data = file.getvalue()
    mark = data.index(b"\xff\xee\x00\x0eAdobe")
    path = tmp_path / "a.jpg"
    path.write_bytes(data if marked else data[:mark] + data[mark + 16 :])
    client = Fake()
    list(pages.read(client, [path]))
    sent = Image.open(io.BytesIO(client.sent[0]))
    assert sent.format == "PNG"
    np.testing.assert_array_equal(np.asarray(sent), next(image.pages(path)).pixels)


def test_words_are_in_pixels_of_the_page_however_it_is_sent(monkeypatch):
    monkeypatch.setattr(image, "REDUCE_ABOVE", 2000)  # of 5400 pixels
    client = Fake()
    (page,) = pages.read(client, [np.zeros((60, 90, 3), "uint8")])
    assert Image.open(io.BytesIO(client.sent[0])).size == (45, 30)
    assert (page.width, page.height) == (90, 60)
    np.testing.assert_array_equal(page.words[0].polygon, [[20, 10], [80, 10], [80, 30], [20, 30]])


@pytest.mark.parametrize("name", ["array", "bytes", "picture"])
def test_pages_without_a_file_are_not_taken_from_one(tmp_path, monkeypatch, name):
    pixels = np.zeros((60, 90, 3), "uint8")
    Image.fromarray(255 - pixels[:30]).save(tmp_path / name, "PNG")
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    source = {"array": pixels, "bytes": file.getvalue(), "picture": Image.fromarray(pixels)}[name]
    client = Fake()
    (page,) = pages.read(client, [source])
    assert (page.source, page.height) == (name, 60)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(client.sent[0]))), pixels)


def test_unsure_words_and_sources_that_are_not_there(folder):
    first, second = pages.read(Fake(), [str(folder / "a.jpg"), str(folder / "no.jpg")], min_confidence=0.5)
    assert first.text == "größer"
    assert isinstance(second, PageError) and "no such file" in second.message


def test_some_pages_of_a_file(tmp_path):
    first, second, third = (Image.new("L", (wide, 50), 255) for wide in (50, 100, 150))
    first.save(tmp_path / "three.tiff", save_all=True, append_images=[second, third])
    found = pages.read(Fake(), [str(tmp_path / "three.tiff")], numbers={2, 3})
    assert [(page.number, page.width) for page in found] == [(2, 100), (3, 150)]


def test_the_command(folder, capsys, monkeypatch):
    monkeypatch.setattr("serving.client.Client", lambda address: Fake())
    command = ["read", str(folder), "--server", "localhost:1", "--graph", "ocr"]
    assert cli.main(command) == 1  # one page cannot be had
    out, err = capsys.readouterr()
    assert out.count("größer") == 2 and "than" not in out and "c.png" in err  # a word that the model is not sure of
    assert cli.main([*command, "--min-confidence", "0.1"]) == 1
    out, err = capsys.readouterr()
    assert out.count("größer than") == 2 and "c.png" in err
    assert cli.main(["read", str(folder), "--graph", "ocr"]) == 1
    assert "--graph names a model on a server; give --server, too" in capsys.readouterr().err
