"""Synthetic words and pages: seeded, within the alphabet, labelled where the ink is."""

from __future__ import annotations

import collections
import re
import string
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.data import augment, corpus, documents, fonts, synthetic
from zoo.charset import MARKED, Charset, without_marks


def same(one, other) -> bool:
    return one.image.shape == other.image.shape and bool((one.image == other.image).all())


@pytest.mark.parametrize("name", ["digits", "french"])
def test_words_depend_on_seed_and_number_alone(name):
    charset = Charset(name)
    stream = synthetic.words(charset, seed=5, longest=8)
    first = [next(stream) for _ in range(6)]
    for index in (4, 0, 5):  # in any order
        word = synthetic.word_at(charset, 5, index, 8)
        assert word.text == first[index].text and same(word, first[index])
    assert not same(synthetic.word_at(charset, 6, 0, 8), first[0])


@pytest.mark.parametrize("name", ["digits", "latin", "french"])
def test_words_are_of_the_alphabet_and_visible(name):
    charset = Charset(name)
    texts = set()
    for index in range(120):
        word = synthetic.word_at(charset, 1, index, 12)
        assert 0 < len(word.text) <= 12 and charset.plain(word.text) == word.text
        assert charset.text(charset.encode(word.text)) == word.text
        assert word.image.dtype == np.uint8 and word.image.shape[2] == 3 and 4 <= len(word.image) <= 48
        assert np.ptp(word.image) > 10
        texts.add(word.text)
    assert len(texts) > 60


def test_words_of_spellers_dictionaries(monkeypatch, tmp_path):
    """Of each language its own share of the words; with the endings that a stem's rules name, where they fit."""
    stems = [f"{front}õ{back}" for front in "bcdfghjklm" for back in "bcdfghjklmn"]
    endings = "SFX a Y 2\nSFX a 0 ile [^n]\nSFX a n õde n\nSFX b Y 1\nSFX b 0 слово .\n"
    (tmp_path / "et_EE.aff").write_text("# SET KOI8-R\nTRY abc\nSET UTF-8\n" + endings)
    lines = [str(len(stems)), *(f"{stem}/Zab" for stem in stems), "4x4", "слово po:noun", "a", ""]
    (tmp_path / "et_EE.dic").write_text("\n".join(lines))
    (tmp_path / "lv_LV.aff").write_bytes("SET ISO8859-13\nFLAG num\nSFX 12 Y 1\nSFX 12 s iem s\n".encode("iso8859-13"))
    words = ["99", *(f"{stem}ī\tpo:x" for stem in stems), "слово", "ābols/7,12 2"]
    (tmp_path / "lv_LV.dic").write_bytes("\n".join(words).encode("iso8859-13", "replace"))
    (tmp_path / "bg_BG.aff").write_text("SET microsoft-cp1251\n")
    (tmp_path / "bg_BG.dic").write_bytes("\n".join(["200", *("слово" + stem[0] for stem in stems)]).encode("cp1251"))
    (tmp_path / "lv_XX.dic").symlink_to("lv_LV.dic")
    (tmp_path / "ru_RU.dic").write_bytes("\n".join(["200", *("слово" + stem for stem in stems)]).encode())
    (tmp_path / "hr_HR.dic").write_bytes("\n".join(["200", *stems]).encode())  # without its rules
    monkeypatch.setattr(corpus, "SPELLERS", tmp_path)
    estonian, latvian = corpus.spellers.__wrapped__()
    assert estonian.stems == tuple(f"{stem}/Zab" for stem in stems)
    assert latvian.stems == (*(f"{stem}ī" for stem in stems), "ābols/7,12")

    seen = collections.Counter(estonian.word(np.random.default_rng(seed)) for seed in range(6000))
    ended = {stem: stem[:-1] + "õde" if stem.endswith("n") else stem + "ile" for stem in stems}
    assert set(seen) == {*stems, *ended.values()}
    tried = 1 - 0.75**corpus.TRIES  # of two rules one has letters that are not printed, of two endings one fits
    assert sum(seen[word] for word in ended.values()) / 6000 == pytest.approx(corpus.ENDED * tried, abs=0.03)
    alone = latvian._replace(stems=latvian.stems[-1:])
    assert {alone.word(np.random.default_rng(seed)) for seed in range(50)} == {"ābols", "āboliem"}

    turned = estonian._replace(named=lambda names: reversed(names))  # as another process may have them
    for seed in range(200):
        assert estonian.word(np.random.default_rng(seed)) == turned.word(np.random.default_rng(seed))

    monkeypatch.setattr(corpus, "spellers", lambda: (estonian, latvian))
    monkeypatch.setattr(corpus, "dictionaries", lambda: (("oxygen",),))
    drawn = [corpus.entry(np.random.default_rng(seed)) for seed in range(4000)]
    known = {*latvian.stems, "ābols", "āboliem"}
    share = sum(word in known for word in drawn) / 4000
    assert share == pytest.approx((1 - corpus.OFTEN) * corpus.SPELT / 2, abs=0.03)


def test_common_words_are_as_usual_as_prose_has_them(monkeypatch):
    monkeypatch.setattr(corpus, "dictionaries", lambda: (("oxygen",),))
    monkeypatch.setattr(corpus, "spellers", tuple)
    drawn = collections.Counter(corpus.entry(np.random.default_rng(seed)) for seed in range(4000))
    assert drawn["oxygen"] / 4000 == pytest.approx(1 - corpus.OFTEN, abs=0.03)
    assert drawn["à"] and drawn["I"]  # of one letter, which lists of words are not asked for
    assert drawn["l'oxygen"] and not drawn["l'"]


def test_letters_with_marks_are_all_drawn_in_the_end():
    """Those of languages without a word list, too; only by fonts that have them."""
    seen = collections.Counter()
    for seed in range(6000):
        seen.update(corpus.marked(np.random.default_rng(seed)))
    assert set(MARKED + MARKED.upper()) <= set(seen)
    plain = {letter: seen[letter] for letter in "aiknt"}
    for base, letters in corpus.variants().items():
        if base in plain:  # as often as each of the marks four times over
            marks = sum(seen[letter] for letter in letters) / len(letters)
            assert plain[base] / marks == pytest.approx(corpus.BARE, rel=0.25), base
    assert all(without_marks(one) in (base, one) for base, letters in corpus.variants().items() for one in letters)


def test_serial_numbers_quantities_and_names_of_code_are_one_word():
    made = [corpus.serial(np.random.default_rng(seed)) for seed in range(500)]
    assert all(re.fullmatch(r"([A-Z0-9]+[-./:]?)+|([a-f0-9]+[-./:]?)+", text) for text in made)
    seen = collections.Counter("".join(made))
    assert set(string.ascii_uppercase + string.digits) <= set(seen) and seen["0"] > seen["Q"] > 0
    assert any(re.search(r"[A-Z][0-9][A-Z][0-9]", text) for text in made)
    amounts = [corpus.quantity(np.random.default_rng(seed)) for seed in range(300)]
    assert all(re.fullmatch(r"[1-9]\d{0,2}([.,]\d{1,2})?[A-Za-z]{1,3}", text) for text in amounts)
    names = [corpus.name_in_code(np.random.default_rng(seed)) for seed in range(500)]
    assert all(text and not set(text) & set(string.whitespace) for text in names)
    assert {"_", "(", "[", "="} <= set("".join(names)) and any(re.search("[a-z][A-Z]", text) for text in names)


def test_a_font_that_lacks_a_letter_does_not_draw_it(monkeypatch):
    rng = np.random.default_rng(0)
    path = fonts.path_for("é", rng)
    lacking, glyph = path.with_name("lacking.ttf"), fonts._has
    monkeypatch.setattr(fonts, "_has", lambda path, character: path != lacking and glyph(path, character))
    assert fonts.draws(path, "né") and not fonts.draws(lacking, "né") and fonts.draws(lacking, "ne")
    assert not fonts.draws(path, "\ue000")
    assert fonts.drawable(path, "nø") == "nø" and fonts.drawable(lacking, "né") == "ne"
    assert fonts.drawable(lacking, "nøß") == "n"
    monkeypatch.setattr(fonts, "any_path", lambda *args: lacking)
    assert fonts.draws(fonts.path_for("né", rng), "né")  # an everyday one, when those drawn lack it
    with pytest.raises(ValueError, match="no font draws"):
        fonts.path_for("\ue000", rng)
    assert not fonts.known("\ue000") and fonts.known("é")


def test_lists_of_words_in_latin_1_are_read_and_large_ones_thinned(tmp_path, monkeypatch):
    (tmp_path / "swedish").write_bytes("för\nåtta\n".encode("latin-1") * 60)
    (tmp_path / "polish").write_text("\n".join(f"są{i}" for i in range(1000)), "utf-8")
    monkeypatch.setattr(corpus, "DICTIONARIES", tmp_path)
    monkeypatch.setattr(corpus, "LARGEST", 300)
    polish, swedish = corpus.dictionaries.__wrapped__()
    assert swedish == ("för", "åtta") * 60
    assert polish == tuple(f"są{i}" for i in range(0, 1000, 4))


def test_where_no_lists_are_installed_words_are_those_of_our_own_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "DICTIONARIES", tmp_path / "none")
    business, *others = corpus.dictionaries.__wrapped__()
    assert business == tuple(corpus.BUSINESS) and len(others) == 20
    assert all(len(set(words)) == len(words) > 2000 for words in others)
    every = {word for words in others for word in words}
    for word in ("Rechnung", "võib", "și", "være", "więc", "señor", "viņš", "työ", "för", "þeir"):
        assert word in every, word
    assert all(corpus.LETTERS.issuperset(word) and 1 < len(word) < 24 for word in every)


def test_print_has_typographic_marks_where_the_alphabet_has_plain_ones():
    shown = {synthetic.typeset('"l\'a-b"', Charset("european_lines"), np.random.default_rng(i)) for i in range(200)}
    assert {'"l\'a-b"', "“l’a–b”"} <= shown and all(len(text) == 7 for text in shown)
    assert all(text[0] in '"“„' and text[6] in '"”“' and text[2] in "'’" and text[4] in "-–—‐" for text in shown)
    own = {synthetic.typeset("l'a", Charset("french_handwriting"), np.random.default_rng(i)) for i in range(50)}
    assert own == {"l'a"}  # its ’ is another character


def test_centres_of_characters_rise_with_the_text():
    """Where the letters of a word stand: from left to right, within the picture but for what was cut off."""
    for index in range(60):
        word = synthetic.word_at(Charset("latin"), 2, index, 12)
        assert word.centres is not None and len(word.centres) == len(word.text)
        assert (np.diff(word.centres) > 0).all()
        assert word.centres[0] > -3 and word.centres[-1] < word.image.shape[1] + 3


def test_centres_stand_in_the_ink():
    """A row of "I": each letter is one stroke, whose middle the centre is."""
    font = fonts.font(next(path for family in fonts.families() for path in family if path.stem == "DejaVuSans"), 40)
    coverage, centres = synthetic.mask("IIII", font, np.random.default_rng(0))
    strokes = coverage.max(0) > 100
    edges = np.flatnonzero(np.diff(np.r_[0, strokes.astype(int), 0]))
    np.testing.assert_allclose(centres, (edges[::2] + edges[1::2]) / 2, atol=1)


def test_words_together_have_spaces_where_there_is_no_ink():
    charset, several = Charset("french_lines"), 0
    for index in range(60):
        word = synthetic.word_at(charset, 3, index, 16, 0.0, together=0.5)
        assert len(word.text) <= 16 and len(word.centres) == len(word.text) and "  " not in word.text
        assert (np.diff(word.centres) > 0).all()
        several += " " in word.text
    assert 15 < several < 45
    assert all(" " not in synthetic.word_at(charset, 3, index, 16).text for index in range(60))


def test_spaces_become_narrower_and_wider_and_centres_go_along():
    coverage = np.zeros((4, 30), np.uint8)
    coverage[:, :10] = coverage[:, 20:] = 255  # ten columns of ink, ten of space, ten of ink
    widths = set()
    for seed in range(20):
        found, centres = synthetic.spaced("a b", coverage, np.array([5.0, 15.0, 25.0]), np.random.default_rng(seed))
        width = found.shape[1] - 20
        widths.add(width)
        assert (
            (found[:, :10] == 255).all()
            and not found[:, 10 : 10 + width].any()
            and (found[:, 10 + width :] == 255).all()
        )
        np.testing.assert_allclose(centres, [5, 10 + width / 2, 15 + width])
    assert 6 <= min(widths) < 9 and 12 < max(widths) <= 20


@pytest.mark.parametrize("kind", [*documents.KINDS, None])
def test_pages_depend_on_the_seed_alone(kind):
    make = (lambda rng: documents.document(rng, kind)) if kind else documents.scene
    one, two, other = (make(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert same(one, two) and one.texts == two.texts
    np.testing.assert_array_equal(one.polygons, two.polygons)
    assert not same(one, other)
    assert len(one.polygons) == len(one.texts) > 0
    assert one.polygons.shape[1:] == (4, 2) and one.polygons.dtype == np.float32
    assert all(text.strip() == text and text for text in one.texts)


def test_the_polygon_of_a_word_holds_its_ink_and_little_more():
    family = next(family for family in fonts.families() if family[0].stem.startswith("DejaVuSans"))
    for text in ("Agpq", "it's", "É12,50", "..."):
        paper = Image.new("RGB", (300, 90), "white")
        sheet = documents.Sheet(paper, np.random.default_rng(0), 10, 290, 20, 32, family[0], (0, 0, 0))
        sheet.word(20, text, sheet.font())
        (polygon,) = documents.corners(sheet.boxes)
        rows, columns = np.nonzero(np.asarray(sheet.image)[..., 0] < 128)
        ink = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        box = np.array([*polygon.min(0), *polygon.max(0)])
        assert (box[:2] <= ink[:2]).all() and (box[2:] >= ink[2:]).all(), (text, box, ink)
        assert np.abs(box - ink).max() <= 5  # the padding and the space that a letter has beside it
        assert sheet.texts == [text]


def test_letters_stand_apart_by_what_the_sheet_says_and_the_polygon_holds_them_all():
    family = next(family for family in fonts.families() if family[0].stem.startswith("DejaVuSansMono"))
    sheets = []
    for tracking, shaky in ((0.0, 0.0), (0.25, 0.0), (0.25, 0.05)):
        paper = Image.new("RGB", (400, 90), "white")
        sheet = documents.Sheet(
            paper, np.random.default_rng(0), 10, 390, 30, 40, family[0], (0, 0, 0), tracking, 0.5, shaky
        )
        font = sheet.font()
        assert sheet.word(20, "HHHHH", font) == 20 + sheet.length("HHHHH", font)
        sheets.append(sheet)
        rows, columns = np.nonzero(np.asarray(sheet.image)[..., 0] < 128)
        left, top, right, bottom = sheet.boxes[0]
        assert left <= columns.min() and columns.max() < right and top <= rows.min() and rows.max() < bottom
    plain, apart, _ = sheets
    np.testing.assert_allclose(apart.middles[0][:, 0] - plain.middles[0][:, 0], 10.0 * np.arange(5), atol=1e-3)
    assert apart.length("HHHHH", font) - plain.length("HHHHH", font) == 40
    assert plain.gap(font) == 0.5 * font.getlength(" ") and apart.gap(font) == 0.5 * font.getlength(" ") + 20
    words, length = apart.fitting(["HH", "HH", "HH"], font, 2 * apart.length("HH", font) + apart.gap(font))
    assert words == ["HH", "HH"] and length == 2 * apart.length("HH", font) + apart.gap(font)


@pytest.mark.parametrize("degrees", [0.0, 35.0, -60.0, 90.0, -90.0])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_words_aslant_have_their_ink_within_their_polygons(degrees, part):
    paper, face = Image.new("RGB", (400, 400), "white"), fonts.families()[0][0]
    sheet = documents.Sheet(paper, np.random.default_rng(0), 0, 400, 0, 24, face, (0, 0, 0))
    sheet.slanting(["Rain", "fell"], sheet.font(), degrees, (200, 200), part)
    assert [word.text for word in sheet.aslant] == ["Rain", "fell"] and not sheet.boxes
    quads = np.array([word.quad for word in sheet.aslant])
    inside = np.zeros((400, 400), np.uint8)
    cv2.fillPoly(inside, np.round(quads).astype(int), 1)
    ink = np.asarray(sheet.image)[..., 0] < 128
    assert ink.sum() > 200 and (ink & (cv2.dilate(inside, np.ones((3, 3))) == 0)).sum() == 0
    along = quads[:, 1] - quads[:, 0]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    direction = np.array([np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))])  # y goes down
    np.testing.assert_allclose(along, [direction] * 2, atol=1e-4)
    reached = (quads.reshape(-1, 2) - 200) @ direction
    length = reached.max() - reached.min()
    assert reached.min() == pytest.approx(-part * length, abs=3)  # so much of the line is before the place
    for word in sheet.aslant:
        assert len(word.middles) == 4 and (np.diff(word.middles @ direction) > 0).all()
        assert all(cv2.pointPolygonTest(word.quad, tuple(map(float, point)), False) > 0 for point in word.middles)


def test_words_aslant_that_leave_the_paper_are_not_drawn():
    paper = Image.new("RGB", (400, 60), "white")
    sheet = documents.Sheet(paper, np.random.default_rng(0), 0, 400, 0, 24, fonts.families()[0][0], (0, 0, 0))
    sheet.slanting(["Rain", "fell"], sheet.font(), 90.0, (200, 30), 0.5)
    assert not sheet.aslant and np.asarray(sheet.image).min() == 255


def test_charts_have_labels_that_run_upwards_or_aslant():
    turns = collections.Counter()
    for seed in range(12):
        page = documents.sheet("report", np.random.default_rng(seed))
        for quad, text, middles in page.aslant:
            assert (quad > 0).all() and (quad < page.image.size).all() and len(middles) == len(text)
            along = quad[1] - quad[0]
            turns[round(float(np.degrees(np.arctan2(-along[1], along[0]))) / 10) * 10] += 1
    assert turns[90] > 10 and turns[0] > 3 and len(turns) > 6


def test_heads_of_tables_that_run_upwards_stand_above_the_cells(monkeypatch):
    monkeypatch.setattr(documents, "UPWARDS", 1.0)
    paper, face = Image.new("RGB", (600, 900), "white"), fonts.families()[0][0]
    sheet = documents.Sheet(paper, np.random.default_rng(3), 20, 580, 30, 16, face, (0, 0, 0))
    documents.table(sheet)
    heads = np.array([word.quad for word in sheet.aslant])
    assert len(heads) >= 2 and len(sheet.boxes) >= 4
    assert heads[:, :, 1].max() < min(top for _, top, _, _ in sheet.boxes) and heads[:, :, 1].min() > 30
    assert (heads[:, 1, 1] < heads[:, 0, 1]).all() and np.ptp(heads[:, :2, 0], 1).max() < 1  # straight up


def test_what_does_not_fit_on_the_sheet_is_neither_drawn_nor_labelled():
    paper = Image.new("RGB", (60, 40), "white")
    sheet = documents.Sheet(paper, np.random.default_rng(0), 5, 55, 5, 20, fonts.families()[0][0], (0, 0, 0))
    sheet.word(5, "far too long for this", sheet.font())
    assert sheet.texts == sheet.boxes == [] and np.asarray(sheet.image).min() == 255


@pytest.mark.parametrize("tracking", [0.0, 0.25])
def test_a_word_of_which_a_font_has_no_letter_is_no_word(tracking):
    """Such a word, of letters that stand apart, ended in a traceback."""
    paper, face = Image.new("RGB", (200, 40), "white"), fonts.families()[0][0]
    sheet = documents.Sheet(paper, np.random.default_rng(0), 5, 195, 5, 20, face, (0, 0, 0), tracking)
    font = sheet.font()
    assert sheet.word(5, "\ue000", font) == 5
    sheet.line(["\ue000", "so"], font, 5, sheet.gap(font))
    assert sheet.texts == ["so"] and len(sheet.boxes) == len(sheet.middles) == 1


def test_points_of_a_list_stand_behind_their_marks():
    """Words begin at one column; dots and dashes to the left of it are ink but no text, numbers are both."""
    numbered = 0
    for seed in range(12):
        paper = Image.new("RGB", (500, 700), "white")
        face = fonts.everyday()[0][0]
        sheet = documents.Sheet(paper, np.random.default_rng(seed), 20, 480, 20, 16, face, (0, 0, 0))
        documents.put(documents.bullets, sheet)
        ((label, (left, top, right, bottom)),) = sheet.regions
        assert label == "list" and 20 <= left < right <= 484 and 20 <= top < bottom <= 700
        starts = [box[0] for text, box in zip(sheet.texts, sheet.boxes, strict=True) if text.strip("().").isdigit()]
        ink = np.flatnonzero((np.asarray(sheet.image)[..., 0] < 128).any(0))[0]
        if sheet.texts[0].strip("().") == "1":
            numbered += 1
            assert sheet.texts[0] in ("1.", "1)", "(1)") and starts[0] <= ink + 2
        else:
            assert ink < min(box[0] for box in sheet.boxes) - 3
    assert 2 < numbered < 11


def test_polygons_move_as_their_pixels_do():
    """Discs at known places, seen from elsewhere: their centroids are where `move` says."""
    rng = np.random.default_rng(3)
    points = np.array([[40, 30], [160, 40], [100, 110], [30, 120]], "float32")
    homography, size = augment.perspective((150, 200), rng, 25, 0.15, 0.1)
    moved = augment.move(points[None], homography)[0]
    for point, expected in zip(points, moved, strict=True):
        image = np.zeros((150, 200), np.uint8)
        cv2.circle(image, tuple(map(int, point)), 4, 255, -1)
        seen = cv2.warpPerspective(image, homography, size[::-1]).astype(float)
        y, x = np.mgrid[: size[0], : size[1]]
        centroid = np.array([(x * seen).sum(), (y * seen).sum()]) / seen.sum()
        np.testing.assert_allclose(centroid, expected, atol=0.5)
    assert len(augment.move(np.zeros((0, 4, 2), "float32"), homography)) == 0


def test_a_view_holds_all_corners():
    for seed in range(20):
        homography, (height, width) = augment.perspective((60, 200), np.random.default_rng(seed), 15, 0.2, 0.05)
        corners = augment.move(np.array([[[0, 0], [200, 0], [200, 60], [0, 60]]], "float32"), homography)[0]
        assert (corners.min(0) >= 0).all() and (corners.max(0) <= (width, height)).all()


@pytest.mark.parametrize(
    "step", [augment.blur, augment.noise, augment.jpeg, augment.coarse, augment.light, augment.tint]
)
def test_degradations_keep_the_shape_and_are_seeded(step):
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype("uint8")
    kept = image.copy()
    one, two = (step(image, np.random.default_rng(4)) for _ in range(2))
    assert one.shape == image.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, kept)
    assert (one != image).any()


def test_thumbnails_are_low_and_keep_their_aspect():
    image = np.random.default_rng(0).integers(0, 256, (40, 100, 3)).astype("uint8")
    kept = image.copy()
    sizes = [augment.thumbnail(image, np.random.default_rng(seed)).shape for seed in range(200)]
    assert {height for height, _, _ in sizes} == set(range(8, 19))
    assert all(width == round(height * 2.5) for height, width, _ in sizes)
    np.testing.assert_array_equal(image, kept)
    assert augment.thumbnail(image[:5], np.random.default_rng(0)).shape == (5, 100, 3)  # none is enlarged


def test_small_print_has_its_letters_where_it_says(monkeypatch):
    """Of four strokes drawn small, on screens and as thumbnails, each middle is told within a sixth of the height."""
    monkeypatch.setattr(synthetic, "SMALL", 1.0)
    monkeypatch.setattr(synthetic, "paint", lambda coverage, *_: np.repeat(255 - coverage[..., None], 3, 2))
    monkeypatch.setattr(augment, "degrade", lambda image, *_: image)
    monkeypatch.setattr(synthetic, "mask", lambda text, font, rng: drawn_apart(font))
    monkeypatch.setattr(synthetic, "beside", lambda coverage, centres, _: (coverage, centres))  # has its own test
    heights = set()
    for seed in range(60):
        strip = synthetic.draw_word("IIII", np.random.default_rng(seed))
        heights.add(len(strip.image))
        ink = 255.0 - strip.image.mean(2)
        places = np.arange(ink.shape[1]) + 0.5
        nearest = np.abs(places[:, None] - strip.centres).argmin(1)
        middles = [np.average(places[nearest == i], weights=ink[:, nearest == i].sum(0) + 1e-9) for i in range(4)]
        np.testing.assert_allclose(middles, strip.centres, atol=len(strip.image) / 6)
    assert max(heights) <= 30 and min(heights) <= 10


def drawn_apart(font):
    """Four strokes an em apart, with nothing before and after them, and their middles."""
    em = int(font.size)
    coverage = np.zeros((em, 3 * em + 2), np.uint8)
    for index in range(4):
        coverage[:, em * index : em * index + 2] = 255
    return coverage, em * np.arange(4.0) + 1


def test_a_word_beside_another_is_cut_and_moves_the_letters_along():
    """Of strokes an em apart the one at the edge is told apart by a gap; the others stay at their centres."""
    coverage, centres = np.zeros((20, 80), np.uint8), 20 * np.arange(4.0) + 10
    coverage[:, 9::20] = coverage[:, 10::20] = 255
    sides = set()
    for seed in range(40):
        found, moved = synthetic.beside(coverage, centres, np.random.default_rng(seed))
        at = int(moved[0] - centres[0])  # pixels that came before
        np.testing.assert_array_equal(found[:, at : at + 80], coverage)
        np.testing.assert_array_equal(moved, centres + at)
        added = np.concatenate([found[:, :at], found[:, at + 80 :]], 1)
        gap = np.flatnonzero(~added.any(0))
        assert 2 <= len(gap) <= 12 and 3 <= added.shape[1] <= 12  # 0.12 to 0.4 of the height apart, and at most 0.25
        edge = found[:, 0] if at else found[:, -1]
        assert edge.any() or added.shape[1] > 4  # ends within the other word, or after its stroke of two pixels
        sides.add(at > 0)
    assert sides == {True, False}
    empty = np.zeros((20, 80), np.uint8)
    assert synthetic.beside(empty, centres, np.random.default_rng(0)) == (empty, centres)


def test_solid_letters_have_sides_in_one_direction():
    coverage = np.zeros((60, 60), np.uint8)
    coverage[30, 30] = 200
    turns = []
    for seed in range(40):
        sides = synthetic.depth(coverage, np.random.default_rng(seed))
        rows, columns = np.nonzero(sides)
        assert sides[30, 30] == 200 and set(sides[rows, columns].tolist()) == {200}
        far = np.argmax(np.hypot(rows - 30, columns - 30))
        reach = np.hypot(rows[far] - 30, columns[far] - 30)
        assert 2 <= round(reach) <= 0.17 * 60 + 1  # 0.04 to 0.17 of the height, to a pixel
        away = np.abs((rows - 30) * (columns[far] - 30) - (columns - 30) * (rows[far] - 30)) / reach
        assert away.max() <= 1  # on a line from the pixel itself
        turns.append(np.arctan2(rows[far] - 30, columns[far] - 30))
    assert {round(turn // (np.pi / 2)) % 4 for turn in turns} == {0, 1, 2, 3}


def test_bricks_have_joints_in_rows_that_are_shifted():
    wall = synthetic.bricks((200, 400), np.random.default_rng(0))
    joints = wall == 1
    full = np.flatnonzero(joints.all(1))
    assert len(full) and np.abs(wall[~joints]).max() <= 0.5 and len(np.unique(wall[~joints])) > 5
    courses = [course for course in np.split(np.arange(200), full) if len(course) > 20]
    first, second = (np.flatnonzero(joints[course[-1]]) for course in courses[:2])
    assert len(first) and len(second) and not np.intersect1d(first, second).size  # half a brick along


def test_a_shadow_falls_now_and_then():
    """Of a plain picture, lit smoothly or with an edge: neighbouring pixels differ by a tenth at an edge alone."""
    plain = np.full((60, 200, 3), 200, np.uint8)
    sharp = 0
    for seed in range(400):
        seen = augment.light(plain, np.random.default_rng(seed))[..., 0].astype(float) + 1
        steps = max(np.abs(np.diff(np.log(seen), axis=axis)).max() for axis in (0, 1))
        sharp += steps > 0.1
    assert 0.05 * 400 < sharp < 0.15 * 400


def test_writing_is_slanted_stretched_and_swayed():
    """A stroke at x = 20 of 40, 11 high: half a pixel to the right for one up, in twice the width, two pixels lower."""
    image = np.full((11, 40, 3), 255, np.uint8)
    image[:, 20:22] = 0
    moved = augment.slanted(image, 0.5, 2.0, np.zeros(3))
    assert moved.shape == (11, 86, 3)  # 2 · 40 and half of 11, up
    middles = [np.flatnonzero(row < 128).mean() for row in moved[:, :, 0]]
    np.testing.assert_allclose(np.diff(middles), -0.5, atol=0.51)
    np.testing.assert_allclose(middles[0] - middles[-1], 5, atol=1)
    level = np.full((10, 40, 3), 255, np.uint8)
    level[5] = 0
    np.testing.assert_array_equal(augment.slanted(level, 0, 1.0, np.full(4, 0.2))[7], 0)
    np.testing.assert_array_equal(augment.slanted(level, 0, 1.0, np.zeros(2)), level)


def test_another_hand_is_drawn_and_keeps_the_height():
    image = np.random.default_rng(0).integers(0, 256, (40, 200, 3)).astype("uint8")
    drawn = [augment.another_hand(image, np.random.default_rng(seed)) for seed in (1, 1, 2, 3)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    widths = {picture.shape[1] for picture in drawn}
    assert len(widths) == 3 and {picture.shape[0] for picture in drawn} == {40}


def test_fonts_of_writing_are_drawn_as_often_as_asked_for(monkeypatch):
    monkeypatch.setattr(fonts, "written", lambda: ((Path("hand.ttf"),),))
    drawn = [fonts.any_path(np.random.default_rng(seed), hand=0.3).name for seed in range(1000)]
    assert drawn.count("hand.ttf") / 1000 == pytest.approx(0.3, abs=0.05)
    assert all(
        fonts.WRITTEN.search(name) for name in ("/x/ecolier-court/Ecolier-court.ttf", "/x/urw/Z003-MediumItalic.otf")
    )
    assert not fonts.WRITTEN.search("/x/dejavu/DejaVuSans.ttf")


@pytest.fixture
def elvish(tmp_path, monkeypatch):
    words = ["mellon", "namárië", "silme", "alda"]
    (tmp_path / "elvish").write_text("\n".join(words))
    monkeypatch.setattr(corpus, "DICTIONARIES", tmp_path)
    corpus.listed.cache_clear()
    yield words
    corpus.listed.cache_clear()


def test_running_text_is_of_one_language(elvish):
    texts = [corpus.running(np.random.default_rng(seed), "elvish", 30) for seed in range(200)]
    assert max(map(len, texts)) <= 30 and len(set(texts)) > 150
    plain = [word.rstrip(",.;:").lower() for text in texts for word in text.split()]
    assert set(plain) == set(elvish)
    assert any(text[0].isupper() for text in texts) and any("," in text for text in texts)
    assert corpus.running(np.random.default_rng(3), "elvish", 30) == texts[3]
    with pytest.raises(ValueError, match=r"no list of 'dwarvish' words is installed.* there are: .*croatian.*elvish"):
        corpus.running(np.random.default_rng(0), "dwarvish", 30)


def test_our_own_texts_are_a_language_where_no_list_is_installed():
    assert "vuosi" in corpus.listed("finnish")


def test_common_words_stand_in_running_text_as_often_as_in_prose(tmp_path, monkeypatch):
    (tmp_path / "french").write_text("\n".join(f"mot{index:03}" for index in range(500)))
    monkeypatch.setattr(corpus, "DICTIONARIES", tmp_path)
    corpus.listed.cache_clear()
    texts = [corpus.running(np.random.default_rng(seed), "french", 60) for seed in range(100)]
    corpus.listed.cache_clear()
    words = " ".join(texts).replace("'", "' ").lower().split()
    assert sum(word.startswith("mot") for word in words) / len(words) == pytest.approx(0.5, abs=0.12)
    assert not any("' " in text for text in texts)  # what ends in an apostrophe stands before another


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("un deux trois", 20, "un deux trois"), ("un deux trois", 10, "un deux"), ("un deux trois", 7, "un deux"),
     ("immensément", 5, "immen"), ("c'est l'", 20, "c'est l")],
)  # fmt: skip
def test_a_text_is_cut_between_words(text, most, expected):
    assert corpus.cut(text, most) == expected


@pytest.mark.parametrize("text", ["Égypte", "g", ".", "AV"])
def test_what_is_drawn_of_a_text_is_what_pillow_draws(text):
    """Its bounding box and its coverage, without laying it out twice; what is drawn once more is the same."""
    for family in fonts.families()[:12]:
        font = fonts.font(family[0], 36)
        left, top, right, bottom = map(int, font.getbbox(text))
        picture = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(picture).text((-left, -top), text, 255, font)
        for _ in range(2):
            coverage, start = fonts.drawn(font, text)
            np.testing.assert_array_equal(coverage, np.asarray(picture))
            assert start == left and not coverage.flags.writeable


def test_long_lines_have_more_words():
    words = [synthetic.word_at(Charset("french_lines"), 4, i, 60, 0.0, 1.0).text.count(" ") + 1 for i in range(60)]
    assert min(words) == 2 and max(words) == 7  # one for eight characters, but for what does not fit


def test_where_words_together_do_not_fit_there_are_fewer():
    strip = synthetic.word_at(Charset("0123456789 "), 5, 0, 2, 0.0, 1.0)
    assert 0 < len(strip.text) <= 2 and " " not in strip.text


def test_no_degradation_at_strength_0():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype("uint8")
    np.testing.assert_array_equal(augment.degrade(image, np.random.default_rng(1), 0.0), image)


def test_fonts_without_latin_letters_are_left_out(tmp_path, monkeypatch):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setenv("OCRZOO_FONTS", str(tmp_path))
    fonts.families.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match="no Latin fonts in .*fonts-dejavu"):
            fonts.families()
    finally:
        fonts.families.cache_clear()


def test_a_font_without_ink_for_a_text_is_passed_over(monkeypatch):
    """Some fonts hold empty glyphs: their mask has no pixel, which no picture can be warped from."""
    mask, empty = synthetic.mask, np.zeros((0, 0), np.uint8)
    calls = []

    def sometimes(text, font, rng):
        calls.append(text)
        return (empty, np.zeros(len(text))) if len(calls) < 3 else mask(text, font, rng)

    monkeypatch.setattr(synthetic, "mask", sometimes)
    strip = synthetic.draw_word("Ab", np.random.default_rng(0))
    assert len(calls) == 3 and strip.text == "Ab" and strip.image.std() > 0
    monkeypatch.setattr(synthetic, "mask", lambda text, font, rng: (empty, np.zeros(0)))
    with pytest.raises(ValueError, match="no font has ink for 'Ab'"):
        synthetic.draw_word("Ab", np.random.default_rng(0))


def test_no_word_is_painted_by_a_font_without_ink_for_it(monkeypatch):
    """Some fonts have empty glyphs, which every font has for a space."""
    monkeypatch.setattr(corpus, "word", lambda rng: " ")
    for seed in range(8):
        image, taken = np.full((300, 400, 3), 200, "float32"), np.zeros((300, 400), "uint8")
        sample = documents.signs(image, taken, np.random.default_rng(seed))
        assert not sample.texts and not len(sample.polygons) and not taken.any() and (sample.image == 200).all()


def test_an_alphabet_of_which_no_word_is_made_is_told(monkeypatch):
    """It was drawn for ever."""
    monkeypatch.setattr(synthetic, "MOST_TRIES", 50)
    with pytest.raises(ValueError, match="no synthetic word of 24 letters at most is of the alphabet 'ж'"):
        synthetic.word_at(Charset("ж"), 0, 0)
