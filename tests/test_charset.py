"""Alphabets: ids, plain text, and the best path of CTC logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.charset import NAMED, Charset, Reading

AB = Charset("ab")


def logits(path: str, charset: Charset = AB, sure: float = 20.0) -> np.ndarray:
    """(T, K) that are sure of each step of a path; "-" is the blank."""
    ids = [charset.blank if c == "-" else charset.encode(c)[0] for c in path]
    return (np.eye(len(charset) + 1)[ids] * sure).astype("float32")


def test_named_alphabets():
    assert len(Charset("digits")) == 10 and Charset("digits").blank == 10
    # The sizes that docTR's published weights have, their blank apart, and ours with a space.
    assert {name: len(Charset(name)) for name in NAMED} == {
        "digits": 10, "latin": 94, "english": 100, "french": 126, "german": 108, "french_lines": 127,
        "french_handwriting": 128, "fraktur": 137, "european": 245, "european_lines": 246,
    }  # fmt: skip


def test_an_alphabet_may_not_be_empty_or_hold_a_character_twice():
    with pytest.raises(ValueError, match="at least one"):
        Charset("")
    with pytest.raises(ValueError, match="'ac'"):
        Charset("abcac")
    with pytest.raises(ValueError, match="an alphabet is a text, not 123"):
        Charset(123)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("frnech", "french"), ("French", "french"), ("engish", "english"), ("french-lines", "french_lines")],
)
def test_a_mistyped_name_is_not_taken_for_letters(given, meant):
    with pytest.raises(ValueError, match=f"no alphabet is named '{given}'; is '{meant}' meant"):
        Charset(given)


@pytest.mark.parametrize("characters", ["acdefghinrst", "latn"[::-1], "0123456789 ", "abc"])
def test_letters_that_are_like_no_name_are_an_alphabet(characters):
    assert Charset(characters).characters == characters


@pytest.mark.parametrize(
    "text",
    [
        "Größe Übermäßig", "señor ¿qué? ¡AÑO!", "coração ÀS avó", "œuvre ÇA naïf", "così È perché", "één ideeën",
        "źdźbło ŁÓDŹ pięć", "příliš žluťoučký KŮŇ ďábel", "vŕba ĽUBOZVUČNÝ ôsmy", "árvíztűrő TÜKÖRFÚRÓGÉP",
        "știință ȚARĂ înalt", "čćđšž ĐŠ", "ąčęėįšųūž", "āčēģīķļņšūž", "õäöü ŠŽ", "æøå ÆØÅ", "þú ÐAGUR ýmis",
        "fáilte ÉIRE", "«mot» §12 • £5 €7",
    ],
)  # fmt: skip
def test_the_european_alphabet_writes_the_languages_of_latin_script(text):
    charset = Charset("european_lines")
    assert charset.plain(text) == text
    assert charset.text(charset.encode(text)) == text


def test_typed_text_has_plain_marks_where_the_alphabet_lacks_the_typographic_ones():
    assert Charset("european_lines").typed("“L’été – ﬁn… »") == "\"L'été - fin... »"
    assert Charset("french_handwriting").typed("“L’été”") == '"L’été"'  # which has this apostrophe
    assert Charset("latin").typed("漢é") == "漢é"  # nothing is lost: what it lacks stays to be seen


@given(st.text(alphabet=NAMED["french"]))
def test_encoding_and_back(text):
    charset = Charset("french")
    assert charset.text(charset.encode(text)) == text


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match="'é' in 'été'"):
        Charset("latin").encode("été")


@pytest.mark.parametrize(
    ("name", "text", "plain"),
    [
        ("latin", "été", "ete"),
        ("french", "été", "été"),
        ("french", "e\u0301te\u0301", "été"),  # composed
        ("french", "“a – b”", '"a-b"'),  # no space in the alphabet
        ("latin", "ﬁn…", "fin..."),
        ("digits", "a1б2", "12"),
        ("latin", "漢", ""),
    ],
)
def test_plain_text(name, text, plain):
    assert Charset(name).plain(text) == plain


@given(st.text(max_size=30), st.sampled_from(sorted(NAMED)))
def test_plain_text_is_in_the_alphabet_and_stays(text, name):
    charset = Charset(name)
    plain = charset.plain(text)
    assert charset.plain(plain) == plain
    assert set(plain) <= set(charset.characters)


@pytest.mark.parametrize(
    ("path", "text"),
    [("aab", "ab"), ("a-a", "aa"), ("--aa--bb--", "ab"), ("---", ""), ("abab", "abab"), ("a", "a"), ("-b", "b")],
)
def test_best_path(path, text):
    reading = AB.decode(logits(path))
    assert reading.text == text
    assert len(reading.characters) == len(text)
    assert reading.score == pytest.approx(1, abs=1e-6)


def test_scores_by_hand():
    probability = np.array([
        [0.6, 0.1, 0.3],  # a
        [0.8, 0.1, 0.1],  # a, surer
        [0.1, 0.2, 0.7],  # blank
        [0.2, 0.5, 0.3],  # b
    ])  # fmt: skip
    reading = AB.decode(np.log(probability) + 5)  # softmax does not see the shift
    assert reading.text == "ab"
    assert reading.characters == pytest.approx((0.8, 0.5))
    assert reading.score == pytest.approx(0.4)


@given(st.lists(st.text(alphabet="ab-", min_size=6, max_size=6), min_size=1, max_size=5))
def test_a_batch_decodes_as_its_rows(paths):
    batch = np.stack([logits(path, sure=3.0) for path in paths])
    assert AB.decode_batch(batch) == [AB.decode(row) for row in batch]


@given(st.text(alphabet=NAMED["digits"], max_size=10))
def test_a_path_with_blanks_between_decodes_to_its_text(text):
    charset = Charset("digits")
    assert charset.decode(logits("-" + "-".join(text), charset)).text == text


def test_steps_cut_the_rows():
    batch = np.stack([logits("abab"), logits("abab"), logits("abab")])
    assert [reading.text for reading in AB.decode_batch(batch, [2, 4, 0])] == ["ab", "abab", ""]
    assert AB.decode_batch(batch, [0, 0, 0])[0] == Reading("", 1.0, ())


def test_large_logits_do_not_overflow():
    reading = AB.decode(logits("ab", sure=1e4))
    assert (reading.text, reading.score) == ("ab", 1.0)


def test_logits_of_another_alphabet_are_refused():
    with pytest.raises(ValueError, match="5 classes; the alphabet and the blank are 3"):
        AB.decode(np.zeros((4, 5)))


# ---------------------------------------------------------------- up to an end


def steps(*probabilities: list[float]) -> np.ndarray:
    """Logits (1, T, K) of these probabilities."""
    return np.log(np.array([probabilities], "float32"))


def test_a_text_ends_at_the_first_class_that_is_no_character():
    """Classes a, b, end; the step after the end does not count, and repeats are two characters."""
    logits = steps([0.8, 0.1, 0.1], [0.5, 0.2, 0.3], [0.1, 0.7, 0.2], [0.1, 0.3, 0.6], [0.9, 0.05, 0.05])
    (reading,) = AB.decode_ended(logits)
    assert reading.text == "aab"
    assert reading.characters == pytest.approx((0.8, 0.5, 0.7), rel=1e-5)
    assert reading.score == pytest.approx(0.8 * 0.5 * 0.7, rel=1e-5)


def test_a_text_without_an_end_takes_all_steps_and_one_may_be_empty():
    full = steps([0.8, 0.1, 0.1], [0.2, 0.7, 0.1])
    empty = steps([0.2, 0.2, 0.6], [0.8, 0.1, 0.1])
    assert [reading.text for reading in AB.decode_ended(np.concatenate([full, empty]))] == ["ab", ""]
    assert AB.decode_ended(empty) == [Reading("", 1.0, ())]


def test_other_classes_after_the_end_end_a_text_too():
    logits = steps([0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.7, 0.1, 0.1, 0.1])  # a, b, end, start
    assert AB.decode_ended(logits)[0].text == "b"
    with pytest.raises(ValueError, match="2 classes; the alphabet and the end are 3"):
        AB.decode_ended(logits[..., :2])


def test_letters_that_are_alike():
    charset = Charset("aAáÁb1. ")
    assert charset.alike().tolist() == [1, 1, 2, 2, 3, 4, 0, 0]
    assert charset.alike(accents=False).tolist() == [1, 1, 1, 1, 2, 3, 0, 0]
