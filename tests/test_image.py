"""Pages from every kind of file, what is said of bad ones, and the pictures that networks take."""

import http.server
import io
import os
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor  # noqa: F401  for a process of its own
from itertools import pairwise
from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdfs import document, locked
from PIL import Image, TiffImagePlugin

from zoo import image
from zoo.image import ImageError


@pytest.fixture
def colours():
    """(8, 12, 3) uint8, each pixel another colour."""
    return np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)


def encode(picture, form, **options) -> bytes:
    file = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(file, form, **options)
    return file.getvalue()


def only(source, **options) -> image.Picture:
    (picture,) = image.pages(source, **options)
    return picture


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("WEBP", {"lossless": True}),
     ("PPM", {})],
)  # fmt: skip
def test_lossless_files_give_the_pixels_that_went_in(colours, form, options):
    picture = only(encode(colours, form, **options))
    assert picture.pixels.dtype == np.uint8
    np.testing.assert_array_equal(picture.pixels, colours)
    assert (picture.name, picture.number, picture.size) == ("bytes", 1, (8, 12))


def test_jpeg_is_near_to_what_went_in():
    smooth = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (32, 64, 3))
    assert np.abs(only(encode(smooth.copy(), "JPEG", quality=95)).pixels.astype(int) - smooth).max() <= 4


# What a viewer does for each EXIF orientation, written with NumPy.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(colours, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    picture = only(encode(colours, form, exif=exif, **options))
    expected = UPRIGHT[orientation](colours)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.size == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16", "RGB"])
def test_a_turned_tiff_by_its_path(tmp_path, mode):
    """Uncompressed, which Pillow maps into memory by its path; it then takes the turned page's sides for the file's."""
    rows = np.arange(0, 240, 10, dtype="uint8").reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(rows.astype("uint16") * 257) if mode == "I;16" else Image.fromarray(rows).convert(mode)
    (tmp_path / "turned.tif").write_bytes(encode(picture, "TIFF", exif=exif))
    seen = only(tmp_path / "turned.tif").pixels
    assert seen.shape == (6, 4, 3)
    np.testing.assert_allclose(seen[..., 0].astype(int), np.rot90(rows, -1), atol=2)


def test_grey_palette_and_one_bit():
    grey = np.array([[0, 100, 255]], "uint8")
    expected = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(only(encode(grey, "PNG")).pixels, expected)
    palette = Image.fromarray(grey).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(only(encode(palette, "PNG")).pixels, expected)
    bits = Image.fromarray(np.array([[True, False, True]]))
    assert bits.mode == "1"
    assert only(encode(bits, "TIFF", compression="group4")).pixels[0, :, 0].tolist() == [255, 0, 255]


def test_alpha_lies_over_white():
    rgba = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 51]]], "uint8")
    expected = [[255, 255, 255], [0, 0, 0], [255, 204, 204]]  # 0.2 of red, 0.8 of white
    assert only(encode(rgba, "PNG")).pixels[0].tolist() == expected
    assert only(rgba).pixels[0].tolist() == expected
    grey = Image.merge("LA", [Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 51)])
    assert only(encode(grey, "PNG")).pixels[0, 0].tolist() == [204, 204, 204]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30])
    assert only(encode(palette, "PNG", transparency=0)).pixels[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits(form):
    deep = np.array([[0, 257, 128 * 257, 65535]], "uint16")
    assert only(encode(deep, form)).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def tiff(values: list[int], bits: int, largest: int = 0) -> bytes:
    """A TIFF of one row of grey, of 12, 16 or 32 bits a pixel, which may say how large its values become."""
    packed = "".join(f"{value:012b}" for value in values) if bits == 12 else ""
    row = int(packed, 2).to_bytes(len(packed) // 8, "big") if packed else np.array(values, f"<u{bits // 8}").tobytes()
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(row)}
    tags |= {281: largest} if largest else {}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(row)) + row + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("values", "bits", "largest", "shown"),
    [
        ([0, 257, 128 * 257, 65535], 16, 0, [0, 1, 128, 255]),
        ([0, 2056, 4095, 0], 12, 0, [0, 128, 255, 0]),  # which Pillow gives as 16 bits
        ([0, 2056, 4095, 0], 16, 4095, [0, 128, 255, 0]),  # 12 bits in 16, as the file says
        ([0, 2056, 4095, 5000], 16, 4095, [0, 128, 255, 255]),
        ([0, 128, 255, 1], 32, 0, [0, 128, 255, 1]),
        ([0, 128 * 257, 65535, 257], 32, 0, [0, 128, 255, 1]),
    ],
)
def test_grey_of_more_bits_than_its_values_need(values, bits, largest, shown):
    assert only(tiff(values, bits, largest)).pixels[0, :, 0].tolist() == shown


def test_grey_of_32_bits_is_refused():
    with pytest.raises(ImageError, match="whole numbers up to 70000; store it with 8 or 16 bits a pixel"):
        only(tiff([0, 70000], 32))


def test_cmyk():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    red, green, blue = only(encode(cyan, "JPEG")).pixels[8, 8].tolist()
    assert red < 30 < 200 < min(green, blue)


def test_all_pages_of_a_tiff_and_the_first_frame_of_an_animation(colours):
    first, second = Image.fromarray(colours), Image.fromarray(255 - colours)
    tiff = list(image.pages(encode(first, "TIFF", save_all=True, append_images=[second])))
    assert [page.number for page in tiff] == [1, 2]
    np.testing.assert_array_equal(tiff[1].pixels, 255 - colours)
    assert len(list(image.pages(encode(first, "GIF", save_all=True, append_images=[second])))) == 1


def test_smaller_copies_and_masks_in_a_tiff_are_no_pages(colours):
    """As scanners, archives and maps add them; a file of such alone is read all the same."""
    first, second = Image.fromarray(colours), Image.fromarray(255 - colours)
    small = first.resize((6, 4))
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as tiff:
        for picture, kind in ((small, 1), (first, 0), (small, 1), (small.convert("1"), 4), (second, 2)):
            picture.save(tiff, "TIFF", tiffinfo={254: kind})
            tiff.newFrame()
    one, two = image.pages(file.getvalue())
    assert [one.number, two.number] == [1, 2]
    np.testing.assert_array_equal(one.pixels, colours)
    np.testing.assert_array_equal(two.pixels, 255 - colours)
    assert only(encode(small, "TIFF", tiffinfo={254: 1})).size == (4, 6)


@pytest.mark.parametrize(
    ("dots", "unit", "shape"),
    [((204, 98), 2, (83, 60)), ((204, 98), 1, (83, 60)), ((204, 391), 2, (40, 115)), ((204, 196), 2, (40, 60)),
     ((3000, 1), 2, (40, 60)), ((0, 0), 2, (40, 60))],
)  # fmt: skip
def test_pixels_of_a_fax_are_made_square(dots, unit, shape):
    """Its rows are as coarse as half of its columns; the page's own pixels stay those of the file."""
    page = np.full((40, 60), 255, "uint8")
    page[:20] = 0
    tags = {282: float(dots[0]), 283: float(dots[1]), 296: unit}
    picture = only(encode(page, "TIFF", tiffinfo=tags))
    assert picture.pixels.shape[:2] == shape and picture.size == (40, 60)
    np.testing.assert_allclose(picture.scale * shape[::-1], [60, 40], rtol=1e-6)
    assert picture.pixels[: shape[0] // 2 - 1].max() == 0 and picture.pixels[shape[0] // 2 + 2 :].min() == 255
    turned = only(encode(page, "TIFF", tiffinfo=tags | {274: 6}))  # by a quarter
    assert turned.size == (60, 40) and turned.pixels.shape[:2] == shape[::-1]


def pdf(*greys: int) -> bytes:
    """A PDF with a page of 2 by 1 inches for each value of grey."""
    first, *more = [Image.new("L", (200, 100), grey) for grey in greys]
    return encode(first, "PDF", resolution=100, save_all=True, append_images=more)


def test_pdf_pages_at_a_chosen_density(tmp_path):
    path = tmp_path / "two.pdf"
    path.write_bytes(pdf(255, 0))
    for source in (path, path.read_bytes()):
        white, black = image.pages(source, dpi=50)
        assert white.pixels.shape == black.pixels.shape == (50, 100, 3)
        assert white.pixels.min() > 250 > 5 > black.pixels.max()
        assert (black.number, black.size) == (2, (50, 100))
    assert only(pdf(9)).pixels.shape == (200, 400, 3)  # 200 dpi


def test_a_locked_pdf_is_opened_by_its_password(tmp_path):
    path = tmp_path / "locked.pdf"
    path.write_bytes(locked(b"open sesame"))
    assert only(path, dpi=72, password="open sesame").size == (50, 200)
    with pytest.raises(ImageError, match=r"locked\.pdf: locked by a password, which has to be given"):
        only(path)
    with pytest.raises(ImageError, match=r"locked\.pdf: the password does not open it"):
        only(path, password="sesame")
    assert only(pdf(9), password="none is asked for").number == 1


def test_numbers_say_which_pages_of_a_file_count(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf(0, 90, 180, 255))
    (tmp_path / "b.pdf").write_bytes(pdf(0))
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7 and no more")
    found = list(image.sheets(tmp_path, numbers=range(2, 4)))
    assert [(Path(sheet.name).name, sheet.number) for sheet in found] == [
        ("a.pdf", 2), ("a.pdf", 3), ("b.pdf", 1), ("c.pdf", 1),
    ]  # fmt: skip
    assert found[1].load().pixels.mean() == pytest.approx(180, abs=3)
    with pytest.raises(ImageError, match=r"b\.pdf: one page, none of those asked for"):
        found[2].load()
    with pytest.raises(ImageError, match=r"c\.pdf: not a PDF that can be opened"):
        found[3].load()
    with pytest.raises(ImageError, match="bytes: 4 pages, none of those asked for"):
        only(pdf(0, 1, 2, 3), numbers={7})


def test_a_jpeg_that_speaks_of_pdf_is_a_jpeg():
    comment = b"made from %PDF-1.4"
    jpeg = encode(np.zeros((8, 8), "uint8"), "JPEG")
    told = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
    assert only(told).size == (8, 8)
    assert len(list(image.pages(b"mail header\n" + pdf(0)))) == 1


def form(value: str) -> bytes:
    """A PDF with a field that is filled in, and has no appearance of its own."""
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R] /DA (/Helv 20 Tf 0 g) "
        b"/DR << /Font << /Helv 5 0 R >> >> /NeedAppearances true >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 50] /Annots [4 0 R] >>",
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (" + value.encode() + b") /Rect [10 10 190 40] "
        b"/P 3 0 R /F 4 /DA (/Helv 20 Tf 0 g) >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    return document(parts)


def test_what_was_filled_into_a_pdf_is_drawn():
    assert only(form("")).pixels.min() > 200 > 60 > only(form("FILLED")).pixels.min()


def test_pdfs_are_drawn_in_several_threads():
    """In a process of its own, which PDFium ended when two threads called it at once."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_image import form, image, ThreadPoolExecutor\n"
        "def draw(number): return [page.pixels.shape for page in image.pages(form(str(number)), dpi=72)]\n"
        "with ThreadPoolExecutor(8) as pool: found = list(pool.map(draw, range(300)))\n"
        "assert found == [[(50, 200, 3)]] * 300"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True, timeout=120)


def test_a_huge_pdf_page_is_drawn_coarser(monkeypatch):
    monkeypatch.setattr(image, "REDUCE_ABOVE", 5_000)
    picture = only(pdf(0), dpi=100)
    assert picture.size == (100, 200)
    assert picture.pixels.shape == (50, 100, 3)
    assert picture.scale.tolist() == [2, 2]


# ---------------------------------------------------------------- arrays


def test_arrays_of_all_kinds():
    assert only(np.array([[7]], "uint8")).pixels.tolist() == [[[7, 7, 7]]]
    assert only(np.array([[[1, 2, 3]]], "uint8")).pixels.tolist() == [[[1, 2, 3]]]
    assert only(np.array([[True, False]])).pixels[0, :, 0].tolist() == [255, 0]
    assert only(np.array([[65535, 257]], "uint16")).pixels[0, :, 0].tolist() == [255, 1]
    assert only(np.array([[0.0, 0.5, 1.0]])).pixels[0, :, 0].tolist() == [0, 128, 255]
    assert only(np.array([[0.0, 127.6, 300.0]], "float32")).pixels[0, :, 0].tolist() == [0, 128, 255]
    assert only(Image.new("L", (2, 1), 5)).pixels.tolist() == [[[5, 5, 5]] * 2]


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((2, 2, 2), "uint8"), r"shape \(2, 2, 2\)"),
        (np.zeros((0, 5), "uint8"), "shape"),
        (np.zeros((2, 2), "int64"), "int64"),
        (np.array([[np.nan]]), "finite"),
    ],
)
def test_arrays_that_are_no_page(array, what):
    with pytest.raises(ImageError, match=what):
        only(array)


# ---------------------------------------------------------------- what cannot be read


def damaged(form: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, form)
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty, 0 bytes"),
        (b"once upon a time" * 99, "not a page, or damaged at its beginning; JPEG"),
        (b"%PDF-1.7 and then nothing", "not a PDF that can be opened"),
        (damaged("JPEG"), "damaged"),
        (damaged("PNG"), "damaged"),
        (damaged("TIFF"), "damaged"),
        (damaged("WEBP"), "damaged"),
        (damaged("BMP"), "damaged"),
        (damaged("GIF"), "damaged"),
    ],
)
def test_bad_files_say_their_name_and_what_is_wrong(tmp_path, data, what):
    path = tmp_path / "page.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=what) as error:
        only(path)
    assert str(path) in str(error.value)


def test_a_tiff_whose_further_frames_are_damaged_is_told():
    data = bytearray(encode(np.arange(300, dtype="uint16").astype("uint8").reshape(10, 10, 3), "TIFF"))
    noise = b"\xb6\xad>6\x07\x98e\xc5\xd5\xb3?z\x1b\x9f\xc6\xcc\xe7\xef\x97R\xd3="
    data[110 : 110 + len(noise)] = noise
    with pytest.raises(ImageError, match="bytes: damaged"):
        list(image.pages(bytes(data)))


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PDF"]), st.data())
def test_damage_anywhere_is_an_image_error_or_a_picture(noise, form, draw):
    data = bytearray(encode(np.arange(300, dtype="uint16").astype("uint8").reshape(10, 10, 3), form))
    start = draw.draw(st.integers(0, len(data) - 1))
    data[start : start + len(noise)] = noise
    try:
        for picture in image.pages(bytes(data)):
            assert picture.pixels.ndim == 3
    except ImageError as error:
        assert "bytes" in str(error)


def test_a_missing_file_among_several_goes_by_its_path(tmp_path):
    (sheet,) = image.every([tmp_path / "none.png"])
    assert sheet.name == str(tmp_path / "none.png")
    with pytest.raises(ImageError, match=f"^{tmp_path}/none.png: no such file or folder$"):
        sheet.load()


def test_whatever_has_a_path_or_can_be_read(tmp_path, colours):
    path = tmp_path / "p.png"
    path.write_bytes(encode(colours, "PNG"))
    (entry,) = os.scandir(tmp_path)
    with path.open("rb") as file:
        for source in (entry, PurePath(path), file, io.BytesIO(path.read_bytes())):
            np.testing.assert_array_equal(only(source).pixels, colours)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match="as one opened as text does"):
        only(text)


def test_a_missing_file_a_number_and_a_huge_picture(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="no such file"):
        list(image.pages(tmp_path / "none.png"))
    with pytest.raises(ImageError, match="not int"):
        list(image.pages(3))
    monkeypatch.setattr(image, "MAX_PIXELS", 50)
    with pytest.raises(ImageError, match="12 by 8 pixels"):
        only(encode(np.zeros((8, 12), "uint8"), "PNG"))
    with pytest.raises(ImageError, match="12 by 8 pixels"):
        only(np.zeros((8, 12), "uint8"))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_large_tiff_is_under_our_bound_alone(monkeypatch, compression):
    """Pillow asks for its own bound once more when it makes room for the pixels of a TIFF."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = io.BytesIO()
    Image.new("L", (30, 20), 7).save(file, "TIFF", compression=compression)
    (picture,) = image.pages(file.getvalue())
    assert picture.pixels.shape == (20, 30, 3) and (picture.pixels == 7).all()
    assert Image.MAX_IMAGE_PIXELS == 10


def test_folders(tmp_path):
    with pytest.raises(ImageError, match="no page in this folder"):
        list(image.pages(tmp_path))
    for place in ("b.png", "a/z.PNG", "c.jfif", "d.pnm", ".hidden/x.png", ".y.png"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(np.zeros((1, 1), "uint8"), "PNG"))
    (tmp_path / "labels.txt").write_text("no page")
    names = ["a/z.PNG", "b.png", "c.jfif", "d.pnm"]
    assert [page.name for page in image.pages(str(tmp_path))] == [str(tmp_path / name) for name in names]
    (tmp_path / "a/z.PNG").write_bytes(b"")
    bad, good, *_ = image.sheets(tmp_path)
    with pytest.raises(ImageError, match="empty"):
        bad.load()
    assert good.load().size == (1, 1)
    (tmp_path / "b.png").unlink()  # by now
    with pytest.raises(ImageError, match="b.png: No such file"):
        good.load()


def test_a_folder_that_may_not_be_looked_into_is_a_page_that_cannot_be_had(tmp_path, monkeypatch):
    (tmp_path / "barred").mkdir()
    (tmp_path / "b.png").write_bytes(encode(np.zeros((1, 1), "uint8"), "PNG"))
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "barred":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    good, bad = image.sheets(tmp_path)
    assert good.load().size == (1, 1)
    with pytest.raises(ImageError, match="barred: Permission denied"):
        bad.load()
    with pytest.raises(PermissionError):
        image.files(tmp_path)
    (sheet,) = image.every([tmp_path / "barred"])
    with pytest.raises(ImageError, match="barred.*Permission denied"):
        sheet.load()


def test_paths_that_are_none_too_long_or_pipes(tmp_path):
    page = np.zeros((1, 1), "uint8")
    nothing, long, good = image.every(["", "x" * 300, page])
    with pytest.raises(ImageError, match="a path of no characters"):
        nothing.load()
    with pytest.raises(ImageError, match="x: File name too long|name too long"):
        long.load()
    assert good.load().size == (1, 1)
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[encode(page, "PNG")], daemon=True).start()
    assert only(tmp_path / "pipe").size == (1, 1)


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = encode(np.full((3, 4), 9, "uint8"), "PNG")
        path = self.path.split("?")[0]
        if path == "/noise":
            self.wfile.write(b"no HTTP\r\n\r\n")
            return
        there = path in ("/page", "/a%20page%20%C3%A9", "/chunks", "/short", "/drops")
        self.send_response(200 if there else 404)
        if path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"ff\r\nabc"
        if path == "/short":
            self.send_header("Content-Length", str(len(body) + 9))
        self.end_headers()
        if path == "/drops":
            for _ in range(20):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
            return
        self.wfile.write(body if there else b"")

    def log_message(self, *args):
        """Nothing: the test's output stays clean."""


@pytest.fixture
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls(site, monkeypatch):
    picture = only(f"{site}/page")
    assert picture.pixels[0, 0, 0] == 9 and picture.name == f"{site}/page"
    with pytest.raises(ImageError, match="404"):
        only(f"{site}/other")
    monkeypatch.setattr(image, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match="more than"):
        only(f"{site}/page")


def test_an_unreachable_url():
    with pytest.raises(ImageError, match="cannot be fetched"):
        only("http://127.0.0.1:1/page.png")


def test_answers_that_break_off_or_never_end(site, monkeypatch):
    for path, what in (("chunks", "IncompleteRead"), ("short", "IncompleteRead"), ("noise", "cannot be fetched")):
        bad, good = image.every([f"{site}/{path}", np.zeros((1, 1), "uint8")])
        with pytest.raises(ImageError, match=what):
            bad.load()
        assert good.load().size == (1, 1)
    monkeypatch.setattr(image, "LONGEST", 0.3)
    with pytest.raises(ImageError, match=r"bytes came in 0.3 seconds; fetch it"):
        only(f"{site}/drops")


def test_addresses_as_people_write_them(site):
    assert only(f"{site}/a page é").size == only(f"{site}/a%20page%20%C3%A9?size=1&x=[2]").size == (3, 4)


# ---------------------------------------------------------------- very large pages


def test_a_large_picture_of_the_caller_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(image, "REDUCE_ABOVE", 10_000)
    given = Image.open(io.BytesIO(encode(np.full((256, 512, 3), 255, "uint8"), "JPEG")))
    for _ in range(2):
        found = only(given)
        assert (found.size, found.pixels.shape, given.size) == ((256, 512), (64, 128, 3), (512, 256))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_large_page_is_reduced_and_keeps_its_size(monkeypatch, form):
    monkeypatch.setattr(image, "REDUCE_ABOVE", 10_000)
    array = np.full((256, 512, 3), 255, "uint8")
    array[:128, :256] = 0
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: what was top left is top right
    picture = only(encode(array, form, exif=exif))
    assert picture.size == (512, 256)
    assert picture.pixels.shape == (128, 64, 3)
    assert picture.scale.tolist() == [4, 4]
    assert picture.pixels[:60, 36:].max() < 8 and picture.pixels[68:].min() > 247


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_page_of_100_megapixels_takes_little_memory(tmp_path, form):
    path = tmp_path / "page"
    Image.new("RGB", (10_000, 10_000), "white").save(path, form)
    code = (
        "import sys; from zoo import image; (picture,) = image.pages(sys.argv[1]);"
        "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')];"
        "print(*picture.size, *picture.pixels.shape, int(peak[0]) // 1024)"
    )  # ru_maxrss would count what the process of the tests held when it began this one
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    *numbers, megabytes = map(int, done.stdout.split())
    assert numbers == [10_000, 10_000, 5_000, 5_000, 3]
    assert megabytes < 900


# ---------------------------------------------------------------- dark pages


def dark_page(flat: float, level: int = 20) -> np.ndarray:
    """10 by 10 of the pixels that are looked at, of which a part has one level, and the others are brighter."""
    page = np.full((40, 40, 3), 250, "uint8")
    page[: round(flat * 40)] = level
    return page


def test_a_flat_dark_page_is_inverted():
    page = dark_page(0.8)
    page[8:24] += 8  # a level of brightness more
    np.testing.assert_array_equal(image.on_paper(page), 255 - page)
    np.testing.assert_array_equal(image.on_paper(image.on_paper(page)), 255 - page)


@pytest.mark.parametrize(
    "page",
    [
        dark_page(0.7),
        dark_page(0.9, 96),  # as bright as grey
        255 - dark_page(0.9),
        np.random.default_rng(1)
        .integers(0, 90, (30, 30, 1), "uint8")
        .repeat(3, 2)
        .repeat(2, 0)
        .repeat(2, 1),  # by night
        np.full((1, 1, 3), 255, "uint8"),
        np.full((40, 40, 3), [[0] * 3] * 6 + [[75] * 3] * 34, "uint8"),  # white paper in little light
    ],
)
def test_other_pages_stay_as_they_are(page):
    assert image.on_paper(page) is page


def test_a_pale_page_is_stretched():
    """Of 1600 pixels as many are seen as 100: one of them may be darker, by one more the black is another."""
    page = np.full((40, 40, 3), 200, "uint8")
    page[:8] = 160  # print
    page[9] = 190
    page[:1, :1] = 0  # a speck that is seen, and is one of 100: the darkest of 200 is half of it
    assert image.on_paper(page) is page
    page[:1, :1] = 160
    found = image.on_paper(page)
    assert found[0, 0].tolist() == [15, 15, 15] and found[30, 0].tolist() == [255, 255, 255]
    assert found[9, 3].tolist() == [195, 195, 195]  # 6 = 255 // 40 times 10 below white
    assert image.on_paper(found) is found


def test_what_is_darker_or_brighter_than_nearly_all_does_not_count():
    page = np.full((80, 80, 3), 200, "uint8")  # 400 that are seen
    page[:16] = 160
    page[:4, :4], page[:4, 4:8] = 0, 255  # one each, of which two are allowed
    found = image.on_paper(page)
    assert found[0, 0, 0] == found[0, 12, 0] == 15 and found[0, 4, 0] == found[70, 0, 0] == 255


@pytest.mark.parametrize("contrast", [4, 16, 64, 120])
def test_blank_paper_and_plain_print_are_not_stretched(contrast):
    page = np.full((40, 40, 3), 200, "uint8")
    page[:8] = 200 - contrast
    assert image.on_paper(page) is page


def test_dim_print_on_a_dark_screen():
    page = np.full((40, 40, 3), 30, "uint8")
    page[:8] = 60
    found = image.on_paper(page)
    assert found[0, 0, 0] == 0 and found[30, 0, 0] == 255 - 15  # 8 = 255 // 30 times 30 are 240


def test_specks_are_taken_away_where_there_are_many():
    page = np.full((70, 50, 3), 220, "uint8")
    page[4:7, 5:45], page[9, 5:45] = 30, 30  # print, as thin as a speck is wide
    page[12, 5] = 0  # one speck of 1100 pixels that are looked at, of rows 0 to 15 and from 64 on
    page[20:60:4, 10:40:4] = 0  # in other rows they are not counted
    assert image.on_paper(page) is page
    page[67, 25], page[5, 20, 1] = (220, 0, 220), 255
    page[0, 30] = 100  # at the edge: beyond it goes on as there
    page[14, 10] = 220 - image.FAR  # too faint
    expected = page.copy()
    expected[12, 5] = expected[67, 25] = expected[20:60:4, 10:40:4] = 220
    expected[5, 20] = 30
    np.testing.assert_array_equal(image.on_paper(page), expected)


def test_specks_of_some_pixels_are_taken_away_where_there_are_very_many():
    page = np.full((16, 90, 3), 220, "uint8")
    page[8, 5:50], page[12:15, 40:43] = 30, 30  # a line, and a dot three pixels high and wide
    page[2, 3:5] = page[4:6, 20] = page[3, 30] = page[4, 31] = 0  # two pixels, two, and two aslant
    assert image.on_paper(page) is page  # six of 1440 are fewer than 0.006 of all but for one by itself
    page[2:4, 50:52] = 0
    page[0, 0:2] = 255 - image.FAR  # at the edge, and too faint
    expected = page.copy()
    expected[2, 3:5] = expected[4:6, 20] = expected[3, 30] = expected[4, 31] = expected[2:4, 50:52] = 220
    np.testing.assert_array_equal(image.on_paper(page), expected)
    np.testing.assert_array_equal(image.on_paper(255 - page), 255 - expected)  # light specks, too


def test_brightness_is_that_of_all_colours():
    """Blue of 255 alone is a mean of 85; of yellow it is 170."""
    blue = np.zeros((8, 8, 3), "uint8")
    blue[..., 2] = 255
    blue[:2, :2] = 255  # print: one of the four pixels that are seen
    assert image.on_paper(blue)[4, 4].tolist() == [255, 255, 0] and image.on_paper(blue)[0, 0].tolist() == [0, 0, 0]
    yellow = 255 - blue
    assert image.on_paper(yellow) is yellow


# ---------------------------------------------------------------- letterbox


def test_letterbox_by_hand():
    page = np.full((200, 100, 3), 200, "uint8")
    result, scale = image.letterbox(page, (128, 128), 32)
    assert result.shape == (128, 64, 3)  # 100 wide becomes 64
    assert scale.tolist() == [100 / 64, 200 / 128]
    assert (result == 200).all()
    result, scale = image.letterbox(np.full((10, 30, 3), 7, "uint8"), (64, 64), 32)
    assert result.shape == (32, 64, 3)
    assert (result[:21] == 7).all() and (result[21:] == 0).all()  # 10 · 64 / 30 = 21.3
    np.testing.assert_allclose(scale, [30 / 64, 10 / 21])


@given(st.integers(1, 3000), st.integers(1, 3000))
@example(589, 784)  # the scale is of single precision: 192.000005
def test_letterbox_has_few_shapes_and_leads_back(height, width):
    result, scale = image.letterbox(np.zeros((height, width, 3), "uint8"), (256, 256), 64)
    assert 256 in result.shape[:2] and not any(side % 64 for side in result.shape[:2])
    inner = (np.array([width, height]) / scale).round()
    np.testing.assert_allclose(inner, np.array([width, height]) / scale, atol=1e-3)
    assert (inner > np.array(result.shape[1::-1]) - 64).all() and (inner <= result.shape[1::-1]).all()


def test_letterbox_refuses_a_size_that_is_no_multiple():
    with pytest.raises(ValueError, match="not a multiple"):
        image.letterbox(np.zeros((1, 1, 3), "uint8"), (100, 128), 32)


# ---------------------------------------------------------------- crops and strips


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def test_an_upright_crop_is_a_part_of_the_page(colours):
    np.testing.assert_array_equal(image.crop(colours, box(2, 1, 7, 5)), colours[1:5, 2:7])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_crop_of_a_turned_page_is_upright(colours, turns):
    corners = box(2, 1, 7, 5)
    page, width, height = colours, colours.shape[1], colours.shape[0]
    for _ in range(turns):  # clockwise: (x, y) goes to (height - y, x)
        page = np.rot90(page, -1)
        corners = np.stack([height - corners[:, 1], corners[:, 0]], 1)
        width, height = height, width
    np.testing.assert_allclose(image.crop(page, corners), colours[1:5, 2:7], atol=1)


def test_a_crop_that_reaches_outside_and_one_without_area(colours):
    outside = image.crop(colours, box(-4, -4, 4, 4))
    assert outside.shape == (8, 8, 3)
    assert (outside[:4] == 255).all()
    np.testing.assert_array_equal(outside[4:, 4:], colours[:4, :4])
    assert image.crop(colours, box(3, 3, 3, 3)).shape == (1, 1, 3)
    assert image.crop(colours, box(12, 8, 12, 8)).shape == (1, 1, 3)


def test_strip_by_hand():
    crop = np.full((16, 24, 3), 50, "uint8")
    strip = image.strip(crop, 32, 64)
    assert strip.shape == (32, 64, 3)
    assert (strip[:, :48] == 50).all() and (strip[:, 48:] == 0).all()
    squeezed = image.strip(crop, 32, 40)
    assert (squeezed == 50).all()


def test_shrinking_averages():
    stripes = np.zeros((64, 64, 3), "uint8")
    stripes[::2] = 200
    assert (image.strip(stripes, 32, 32) == 100).all()


@given(st.integers(1, 2000), st.sampled_from([(64, 16), (128, 64), (512, 64), (256, 128)]))
def test_windows_cover_all_and_overlap(length, sizes):
    window, overlap = sizes
    starts = image.windows(length, window, overlap)
    assert starts[0] == 0 and length <= starts[-1] + window
    assert all(start % 4 == 0 for start in starts)
    assert all(0 < b - a <= window - overlap for a, b in pairwise(starts))
    assert len(starts) == 1 or starts[-1] + window < length + 4


def test_strips_by_width():
    crops = [np.full((32, width, 3), width, "uint8") for width in (10, 60, 64, 65, 200)]
    narrow, wide = image.strips(crops, 32, (64, 128))
    assert narrow.owners == [0, 1, 2] and narrow.pixels.shape == (3, 32, 64, 3)
    assert wide.owners == [3, 4, 4, 4] and wide.starts == [0, 0, 36, 72]
    assert (wide.pixels[0, :, :65] == 65).all() and (wide.pixels[0, :, 65:] == 0).all()
    assert (wide.pixels[1:] == 200).all()
    assert image.strips([], 32, (64,)) == []


def test_a_crop_long_beyond_measure_is_squeezed():
    row = np.repeat(np.arange(250, dtype="uint8"), 4)[None, :, None].repeat(3, 2)  # as a strip 32,000 wide
    assert image.strip_width(row, 32) == image.LONGEST_STRIP * 32
    (found,) = image.strips([row], 32, (64, 512))
    assert len(found.owners) == 19 and found.starts[-1] == image.LONGEST_STRIP * 32 - 512
    assert found.pixels[0, :, 0].max() == 0 and found.pixels[-1, :, -1].min() == 249  # all of it is there
    text = np.zeros((10, 2500, 3), "uint8")
    assert image.strip_width(text, 32) == 8000  # a line of hundreds of characters is not
