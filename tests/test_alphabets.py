"""Which language a page is in, by hand: what is lowered, what stays, and what readers make of it."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.alphabets import LETTERS, LOST, Alphabets, native
from zoo.charset import MARKED, Charset
from zoo.language import Language, Spelling, table
from zoo.reading import Recognizer

CHARSET = Charset("european")


def row(*steps: dict[str, float]) -> np.ndarray:
    """(2 · T, K) logits of characters by their probabilities, a blank after each."""
    rows = np.full((2 * len(steps), len(CHARSET) + 1), 1e-7)
    rows[1::2, -1] = 1
    for place, shares in enumerate(steps):
        for character, share in shares.items():
            rows[2 * place, CHARSET.encode(character)[0]] = share
    return np.log(rows / rows.sum(1, keepdims=True)).astype("float32")


def lowered(*rows: np.ndarray) -> set[str]:
    found = Alphabets(CHARSET).lowered(rows)
    assert set(found.tolist()) <= {0.0, LOST} and found[-1] == 0
    return {letter for letter, by in zip(CHARSET.characters, found, strict=False) if by}


def sure(text: str) -> np.ndarray:
    return row(*({letter: 0.999} for letter in text))


def test_a_page_lacks_the_letters_of_other_languages():
    """Of Spanish "ñ" is told from "ň" by "¿", "í" and another "ñ"; of Latvian "ā" by its other letters."""
    found = lowered(sure("mañana"), sure("así"), row({"n": 0.1, "ň": 0.5, "ñ": 0.3}))
    assert found == set(MARKED + MARKED.upper() + "ß") - set("áéíñóúüÁÉÍÑÓÚÜ")
    found = lowered(sure("ļaudis"), sure("ķēde"), sure("vārds"), row({"ä": 0.5, "ā": 0.4}))
    assert {"ä", "á"} <= found and not found & set("āčēģīķļņšūžĀČĒĢĪĶĻŅŠŪŽ")


def test_a_page_without_marks_lacks_them_all():
    """So does one whose only mark is a doubtful one: of languages that fit, the plainest is taken."""
    every = set(MARKED + MARKED.upper() + "ß")
    assert lowered(sure("plain"), sure("words")) == lowered(sure("plain"), row({"o": 0.45, "ö": 0.5})) == every
    assert "ö" not in lowered(sure("schön"))


def test_a_second_language_keeps_its_letters_and_a_doubt_does_not():
    polish = [sure("żółć"), sure("łąka"), sure("ześlę"), sure("śnię")]
    assert "ř" in lowered(*polish) and "ř" in lowered(*polish, sure("dveře"))  # a name may hold one
    both = lowered(*polish, sure("dveře"), sure("řeka"))
    assert "ř" not in both and "ě" in both  # which was not seen
    doubted = row({"ř": 0.6, "r": 0.3})
    assert "ř" in lowered(*polish, *[doubted] * 5)


def test_a_page_without_texts_and_an_alphabet_without_marks():
    assert lowered() == lowered(np.empty((0, len(CHARSET) + 1), "float32")) == set(MARKED + MARKED.upper() + "ß")
    assert not Alphabets(Charset("digits")).lowered([np.zeros((3, 11), "float32")]).any()


def test_texts_are_read_anew_by_what_is_left():
    by = np.where([letter == "ň" for letter in CHARSET.characters] + [False], LOST, 0).astype("float32")
    texts = [
        row({"a": 0.98}, {"ň": 0.5, "ñ": 0.4, "n": 0.1}, {"o": 0.98}),
        sure("año"),
        np.empty((0, len(CHARSET) + 1)),
    ]
    before = [CHARSET.decode(text) for text in texts]
    readings, logits = native(before, texts, by, CHARSET.decode_batch)
    assert [reading.text for reading in before] == ["aňo", "año", ""]
    assert [reading.text for reading in readings] == ["año", "año", ""]
    share = 0.4 / (1 - 0.5 * (1 - np.exp(-LOST)))
    assert readings[0].characters[1] == pytest.approx(share, rel=1e-3)
    assert logits[1] is texts[1] and readings[1] is before[1]  # nothing there to lower


def test_a_recognizer_reads_a_page_in_its_language():
    """Four crops that a network reads as Spanish, of which one has "ň" by a hair; without a language it keeps that."""
    texts = [sure("mañana"), sure("así"), sure("niño"), row({"a": 0.999}, {"ň": 0.55, "ñ": 0.44}, {"o": 0.999})]
    steps = max(map(len, texts))

    def run(strips: np.ndarray) -> dict[str, np.ndarray]:
        logits = np.full((len(strips), steps, len(CHARSET) + 1), -20, "float32")
        logits[..., -1] = 0
        for strip, out in zip(strips, logits, strict=True):
            text = texts[int(strip[0, 0, 0]) // 60]
            out[: len(text)] = text
        return {"logits": logits}

    plain = table("abcdefghijklmnopqrstuvwxyz", np.array([1, 1]), np.array([0, 0]), np.zeros((2, 27), "int8"))
    assert isinstance(plain, Language)
    crops = [np.full((32, 64, 3), 60 * number, "uint8") for number in range(4)]
    for language, last in (("", "aňo"), (plain, "año")):
        reader = Recognizer(run, CHARSET, widths=(64,), spelling=language)
        assert [reading.text for reading in reader(crops)] == ["mañana", "así", "niño", last]
    alone = Recognizer(run, CHARSET, widths=(64,), spelling=plain)(crops[3:])
    assert alone[0].text == "aňo" or alone[0].score < 0.9  # of one word no language is told


def test_alphabets_are_of_letters_that_recognizers_know():
    assert set("".join(LETTERS.values())) - {"ẞ"} <= set(MARKED + "ß")
    assert all(len(set(letters)) == len(letters) for letters in LETTERS.values())
    spelling = Spelling([table("ab", np.array([1, 1]), np.array([0, 0]), np.zeros((2, 3), "int8"))], CHARSET, 1.0)
    assert spelling.alphabets.lacking.shape == (len(LETTERS), len(CHARSET) + 1)
