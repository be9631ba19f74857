"""A language of characters: its table by hand, its search beside all texts there are, and when it is asked."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes import language as counting
from zoo import cli, image
from zoo import language as languages
from zoo.alphabets import log_softmax
from zoo.charset import Charset
from zoo.language import STEP, Language, Spelling, Told, language, search, table
from zoo.reading import Recognizer

WORDS = {"bad": 8.0, "bat": 4.0, "dab": 2.0, "a": 1.0}
OTHERS = dict.fromkeys("cefghijklmnopqrsuvwxyz", 3.0)  # so that a letter is one of many


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Language:
    path = tmp_path_factory.mktemp("language") / "small.npz"
    counting.count({**WORDS, **OTHERS}, path)
    return language(path)


# ---------------------------------------------------------------- the table


def test_states_are_what_has_been_written_or_the_longest_end_of_it():
    """Letters a and b; states: start, nothing known, a, b, start-a, ab. After "ab" a or b alone are known."""
    found = table("ab", np.array([1, 1, 1, 1, 0, 2]), np.array([0, 0, 0, 1, 0, 1]), np.zeros((6, 3), "int8"))
    assert found.following[:, :2].tolist() == [[4, 3], [2, 3], [2, 5], [2, 3], [2, 5], [2, 3]]
    assert set(found.following[:, 2]) == {0} and set(found.following[:, 3]) == {1}


def test_where_few_words_were_counted_the_end_of_one_is_no_reason_for_a_space(tmp_path, monkeypatch):
    charset = Charset("abdt ")
    row = logits_of("bad bat", charset)
    row[6, [charset.encode(" ")[0], charset.blank]] = np.log([0.2, 0.8])  # as it may be, but need not
    found = []
    for many in (20, 40):  # words of which a language knows most; these are 27
        monkeypatch.setattr(counting, "MANY", many)
        counting.count(WORDS | OTHERS, tmp_path / f"{many}.npz")
        one = language(tmp_path / f"{many}.npz")
        assert one.columns(" .").tolist() == [one.end + 2, one.end] and not one.following[:, one.end + 2].any()
        assert one.gain("bad bat") == pytest.approx(np.sum([one.gain("bad"), one.gain("bat")], 0))
        assert one.gains[:, one.end + 2].max() == (one.gains[:, one.end].max() if many == 20 else 0)
        found.append(Spelling([one], charset, 0.2)([charset.decode(row)], [row])[0].text)
    assert found == ["bad bat", "badbat"]


def test_gains_by_hand(tmp_path):
    """Witten and Bell: at the start b has 12 of 15 parts, and two others were seen. After "bad" was only the end."""
    counting.count(WORDS, tmp_path / "tiny.npz")
    small = language(tmp_path / "tiny.npz")
    letters = 8 + 4 + 2 + 1
    alone = {"a": 15, "b": 14, "d": 10, "t": 4, "end": 15}  # of all 58 places, of which five kinds
    total = sum(alone.values())
    b = (alone["b"] + 5 / 5) / (total + 5)
    start = (12 + 3 * b) / (letters + 3)
    assert small.letters == "abdt"
    assert small.gains[0, 1] == pytest.approx(np.log(start * languages.EVEN), abs=1 / STEP)
    state = 0
    for letter in "bad":
        state = small.following[state, small.letters.index(letter)]
    assert small.gains[state, small.end] > 3
    assert small.gains[0, small.end] == 0 and not small.gains[:, small.end + 1].any()


def test_case_is_none_marks_end_words_and_unknown_letters_gain_nothing(small):
    assert small.letters == "abcdefghijklmnopqrstuvwxyz"
    assert small.columns("Aa1д-").tolist() == [0, 0, small.end, small.end + 1, small.end]
    gain, count = small.gain("BAD")
    assert count == 3 and gain == small.gain("(bad)")[0] == small.gain("bad,ba")[0] and small.gain("ba") == (0, 0)
    assert gain > 2 > small.gain("tdt")[0]
    several = small.gain("bad", "tab ba", "", "dab-bat")
    assert several == pytest.approx(np.sum([small.gain(word) for word in ("bad", "tab", "dab", "bat")], 0))
    assert small.gain() == (0, 0)


def test_letters_that_a_language_lacks_count_as_those_they_are_built_on(small):
    """Of "ö" and "o" it has no opinion; "ø" is built on no other letter, and "ß" would be two."""
    assert small.columns("öŘßø").tolist() == [*small.columns("ors"), small.end + 1]
    assert small.gain("röd") == small.gain("rod")


def test_fewer_states_forget_the_rarest_pasts(tmp_path, small):
    letters, states = counting.count(WORDS, tmp_path / "few.npz", states=6)
    assert letters == 4 and 6 <= states < len(small.gains)
    assert language(tmp_path / "few.npz").gain("bad")[0] > 0


def test_what_is_no_language_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="latin"):
        language("klingon")
    (tmp_path / "torn.npz").write_bytes((languages.FOLDER / "latin.npz").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"torn\.npz holds no language"):
        language(tmp_path / "torn.npz")
    with pytest.raises(ValueError, match="no words"):
        counting.count({}, tmp_path / "none.npz")
    with pytest.raises(ValueError, match="300 letters"):
        counting.count({chr(0x4E00 + number): 1.0 for number in range(300)}, tmp_path / "none.npz")
    assert not (tmp_path / "none.npz").exists()


def test_words_are_weighed_alike_in_a_list_and_by_how_often_in_a_text(tmp_path):
    listed, text = tmp_path / "list.txt", tmp_path / "text.txt"
    listed.write_text("Haus\nMaus\nl'eau\n")
    text.write_text("die Maus, die Katze\nund die Maus 12a\n")
    assert counting.words(listed) == dict.fromkeys(["haus", "maus", "l", "eau"], counting.LISTED / 4)
    apart = tmp_path / "apart.txt"
    apart.write_text("Cafe\u0301\nrue\n", encoding="utf-8")  # as macOS writes it
    assert set(counting.words(apart)) == {"café", "rue"}
    found = counting.words(text)
    assert found["die"] == pytest.approx(counting.SEEN * 3**0.5) and found["a"] == counting.SEEN
    (tmp_path / "raw.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        counting.words(tmp_path / "raw.txt")


def test_the_texts_of_pages_without_places_are_words_too(tmp_path):
    rows = [{"image": "a.png", "page_text": "die Maus\nund die Katze"}, {"image": "b.png", "text": "Maus"}]
    (tmp_path / "labels.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found = counting.words(tmp_path)
    assert set(found) == {"die", "maus", "und", "katze"} and found["maus"] == pytest.approx(counting.SEEN * 2**0.5)


def test_the_shipped_language_knows_its_words_and_no_others():
    latin = language("latin")
    for known in ("receipt", "Einkommen", "maison", "habitación"):
        gain, count = latin.gain(known)
        assert (gain / count > languages.KNOWN) == (known != "Einkommen")


# ---------------------------------------------------------------- the search


def brute(logs: np.ndarray, small: Language, charset: str, weight: float) -> tuple[list[int], float]:
    """The best text by summing all ways to write each, and the share of those with its letters whatever their case."""
    columns = small.columns(charset)
    blank, scores = logs.shape[1] - 1, {}
    for way in itertools.product(range(blank + 1), repeat=len(logs)):
        text = tuple(k for k, _ in itertools.groupby(way) if k != blank)
        scores[text] = np.logaddexp(scores.get(text, -np.inf), sum(logs[t, k] for t, k in enumerate(way)))
    for text in scores:
        state = 0
        for label in text:
            scores[text] += weight * float(small.gains[state, columns[label]])
            state = small.following[state, columns[label]]
        scores[text] += weight * float(small.gains[state, small.end])
    best = max(scores, key=lambda text: scores[text])

    def letters(text: tuple[int, ...]) -> str:
        return "".join(charset[label] for label in text if charset[label].isalnum()).casefold()

    scores = {text: score / languages.EASED for text, score in scores.items()}
    like = [scores[text] for text in scores if text == best or (letters(best) and letters(text) == letters(best))]
    return list(best), float(np.exp(np.logaddexp.reduce(like) - np.logaddexp.reduce(list(scores.values()))))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), weight=st.sampled_from([0.0, 0.65, 2.0]), charset=st.sampled_from(["ba-", "baA-", "-."])
)
def test_the_search_finds_the_best_of_all_texts(small, seed, weight, charset):
    """With more prefixes than there are texts of three steps of so many characters."""
    logits = np.random.default_rng(seed).normal(0, 2, (2, 3, len(charset) + 1)).astype("float32")
    logs = np.stack([log_softmax(row) for row in logits])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(languages, "WIDTH", 256)
        texts, shares = search(logs, small, small.columns(charset), Charset(charset).alike(), weight)
    for row, text, share in zip(logs, texts, shares, strict=True):
        expected, part = brute(row, small, charset, weight)
        assert text == expected and share == pytest.approx(part, rel=1e-4)


def logits_of(text: str, charset: Charset, doubt: dict[int, tuple[str, float]] | None = None) -> np.ndarray:
    """(T, K): each character and then a blank, surely; at places of `doubt` another has the given probability."""
    rows = np.full((2 * len(text), len(charset) + 1), 1e-6)
    rows[1::2, -1] = 1
    for place, character in enumerate(text):
        other, share = (doubt or {}).get(place, ("", 0.0))
        rows[2 * place, charset.encode(character)[0]] = 1 - share
        if other:
            rows[2 * place, charset.encode(other)[0]] = share
    return np.log(rows / rows.sum(1, keepdims=True)).astype("float32")


def spelt(small: Language, rows: list[np.ndarray], weight: float = 0.65) -> list[str]:
    charset = Charset("abdt1")
    spelling = Spelling([small], charset, weight)
    return [reading.text for reading in spelling([charset.decode(row) for row in rows], rows)]


def test_the_language_decides_what_the_picture_leaves_open(small):
    charset = Charset("abdt1")
    rows = [
        logits_of("bat", charset, {2: ("d", 0.4)}),  # "bad" is known better, and nearly as likely
        logits_of("bat", charset, {2: ("d", 0.05)}),
        logits_of("tdt", charset),  # no word, but plain to see
    ]
    assert spelt(small, rows) == ["bad", "bat", "tdt"]
    assert spelt(small, rows, weight=0.0) == ["bat", "bat", "tdt"]


def test_on_a_page_of_other_words_it_is_not_asked(small):
    charset = Charset("abdt1")
    doubted, others = logits_of("bat", charset, {2: ("d", 0.4)}), [logits_of("tdtdtb", charset)] * 30
    assert spelt(small, [doubted])[0] == "bad" and spelt(small, [doubted, *others])[0] == "bat"
    readings = [charset.decode(row) for row in others]
    assert Spelling([small], charset, 1.0).told(readings).trust == 0
    assert Spelling([small], charset, 1.0).told([]) == (0, 1)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A language of other words, in its file."""
    path = tmp_path_factory.mktemp("language") / "other.npz"
    counting.count({"tdt": 8.0, "tdb": 8.0, "btdt": 4.0} | OTHERS, path)
    return path


def test_a_page_is_spelt_by_the_language_that_its_words_gain_most_by(small, other):
    charset = Charset("abdtá1")
    spelling = Spelling([small, other], charset, 1.0)
    row = logits_of("bat", charset, {2: ("d", 0.4)})
    for word, number, spelt in (("bad", 0, "bad"), ("btdt", 1, "bat")):
        rows = [logits_of(word, charset)] * 30
        told = spelling.told([charset.decode(row) for row in rows])
        assert told == (number, 1)
        found = spelling([charset.decode(row) for row in [*rows, row]], [*rows, row])
        assert [reading.text for reading in found] == [word] * 30 + [spelt]
        by = Spelling([small, other][number : number + 1], charset, 1.0)([charset.decode(row)], [row], Told(0, 1.0))
        assert found[-1].score == pytest.approx(by[0].score)
    accent = logits_of("bát", charset, {1: ("a", 0.4)})  # of which accent it is the first language alone has an opinion
    scores = [spelling([charset.decode(accent)], [accent], Told(number, 1.0))[0].score for number in (0, 1)]
    assert scores[0] < 0.8 and scores[1] > 0.99


def test_a_few_words_and_those_of_no_language_tell_of_no_other(small, other):
    charset = Charset("abdt1")
    spelling = Spelling([small, other], charset, 1.0)
    few = [charset.decode(logits_of("btdt", charset))]
    assert spelling.told(few).number == 0 and 0 < spelling.told(few).trust < 1
    assert spelling.told([charset.decode(logits_of("aaaaaa", charset))] * 30) == (0, 0)
    unsure = [charset.decode(logits_of("btdt", charset, {0: ("d", 0.4)}))] * 30
    assert spelling.told(unsure) == (0, 1)


def test_a_language_is_read_when_a_page_may_be_in_it(small, tmp_path):
    charset = Charset("abdt1")
    (tmp_path / "torn.npz").write_bytes(b"no language")
    spelling = Spelling([small, tmp_path / "torn.npz"], charset, 1.0)
    assert spelling.told([charset.decode(logits_of("bad", charset))] * 30) == (0, 1)
    with pytest.raises(ValueError, match=r"torn.npz holds no language"):
        spelling.told([charset.decode(logits_of("tdtdt", charset))] * 30)
    with pytest.raises(FileNotFoundError, match="there is no language 'klingon'"):
        Spelling([small, "klingon"], charset, 1.0)


def test_languages_are_named_one_by_one_or_in_one_text(small, other):
    def numbers(names) -> int:
        recognizer = Recognizer(lambda batch: {}, Charset("abdt1"), spelling=names)
        return len(recognizer.spelling) if recognizer.spelling else 0

    assert [numbers(names) for names in ("", (), small, other, str(other))] == [0, 0, 1, 1, 1]
    assert numbers(f"latin, {other}") == numbers([small, other]) == 2
    for wrong in ("latin,", "latin,klingon"):
        with pytest.raises(FileNotFoundError, match="there is no language '(klingon)?'"):
            numbers(wrong)


def test_on_a_page_of_another_language_a_word_is_as_sure_as_its_letters_without_accents(small):
    charset = Charset("abdtáB1")
    spelling = Spelling([small], charset, 1.0)

    def score(doubt: tuple[str, float], trust: float) -> float:
        row = logits_of("bát", charset, {1: doubt})
        return spelling([charset.decode(row)], [row], Told(0, trust))[0].score

    assert score(("a", 0.4), 0.5) > 0.99 and score(("a", 0.4), 0.0) > 0.99
    assert score(("a", 0.4), 1.0) < 0.8
    assert score(("d", 0.4), 0.0) < 0.8  # another letter


def test_steps_that_are_surely_blank_are_told_once_and_twice_the_same_letter_stays_two():
    charset = Charset("ab")
    rows = logits_of("aab", charset)
    many = np.repeat(rows, [1, 5, 1, 4, 1, 9], axis=0)
    kept = languages.telling(log_softmax(many))
    np.testing.assert_allclose(kept, log_softmax(rows), atol=1e-5)


def test_a_recognizer_asks_the_language_that_it_is_given(small):
    charset = Charset("abdt1")
    row = logits_of("bat", charset, {2: ("d", 0.4)})

    def run(batch):
        return {"logits": np.repeat(row[None], len(batch), 0)}

    crop = np.zeros((32, 60, 3), "uint8")
    plain, asked = (Recognizer(run, charset, spelling=name) for name in ("", small))
    assert [reading.text for reading in plain([crop, crop])] == ["bat", "bat"]
    reading = asked([crop])[0]
    assert reading.text == "bad" and len(reading.characters) == 3
    assert reading.characters[2] == pytest.approx(0.4, abs=0.01) and 0.4 < reading.score < 1
    assert [r.text for r in Recognizer(run, charset, spelling=small, beam=4)([crop])] == ["bat"]
    assert asked([]) == []


def test_forms_are_looked_for_and_what_is_none_is_spelt(small):
    charset = Charset("abdt1")
    row = np.stack([logits_of("bat", charset, {2: ("d", 0.4)}), logits_of("1t1", charset, {1: ("1", 0.4)})])

    def run(batch):
        return {"logits": row[(batch[:, 0, 0, 0] > 0).astype(int)]}

    crops = [np.zeros((32, 60, 3), "uint8"), np.ones((32, 60, 3), "uint8")]
    wanted = ["chars:1"]
    for options, texts in (
        ({"only": wanted, "least": 0.1, "spelling": small}, ["bad", "111"]),
        ({"only": wanted, "least": 0.1}, ["bat", "111"]),
        ({"only": wanted, "least": 0.9, "spelling": small}, ["bad", "1t1"]),
        ({"only": wanted, "spelling": small}, ["11", "111"]),  # forced upon all
    ):
        assert [reading.text for reading in Recognizer(run, charset, **options)(crops)] == texts


def test_what_is_read_unsurely_is_looked_at_once_more_from_closer():
    """The network takes strips of 64 pixels for "a" by a probability of 0.6, wider ones for "b" by another."""
    seen = []

    def recognizer(sure: float, again: float) -> Recognizer:
        def run(batch):
            seen.append(batch.shape)
            wide = (batch[:, 0, 64:] > 0).any((1, 2))
            return {"logits": np.log([[[0.01, sure, 0.99 - sure] if w else [0.6, 0.1, 0.3]] for w in wide])}

        return Recognizer(run, "ab", widths=(64, 128), again=again)

    crop = np.full((32, 64, 3), 200, "uint8")
    cases = {(0.9, 0.0): "a", (0.9, 0.5): "a", (0.9, 0.7): "b", (0.55, 0.7): "a"}
    for (sure, again), text in cases.items():
        assert [reading.text for reading in recognizer(sure, again)([crop, crop[:, :20]])] == [text, "a"]
    seen.clear()
    wide = np.full((32, 120, 3), 200, "uint8")  # 137 pixels from closer, which is no single strip
    recognizer(0.5, 0.95)([wide])
    assert seen == [(1, 32, 128, 3)]


def test_closer_is_the_middle_of_the_strip():
    ramp = np.repeat(np.arange(64, dtype="uint8")[:, None, None] * 4, 96, 1).repeat(3, 2)
    seen = image.closer(ramp, 32)
    assert seen.shape == (32, image.closer_width(48, 32), 3) == (32, 55, 3)
    strip = image.resize(ramp, 32, 48)
    assert abs(int(seen[0, 0, 0]) - int(strip[2, 0, 0])) <= 2 and abs(int(seen[-1, 0, 0]) - int(strip[29, 0, 0])) <= 2


# ---------------------------------------------------------------- the command


def test_a_language_of_ones_own_words_is_counted_and_asked(tmp_path, capsys):
    words = tmp_path / "words.txt"
    words.write_text("bad\nbat\ntab\n")
    made = tmp_path / "mine.npz"
    assert cli.main(["language", f"{words}:2", str(words), "--letters", "abt", "--output", str(made)]) == 0
    assert capsys.readouterr().out.strip() == f"{made}: 2 words, 3 letters, {len(language(made).gains)} pasts"
    assert language(made).letters == "abt" and language(made) is language(str(made))
    assert cli.main(["language", str(words), "--letters", "ABT", "--output", str(tmp_path / "large.npz")]) == 0
    assert language(tmp_path / "large.npz").letters == "abt"  # words have no case here
    assert cli.main(["language", f"{words}:inf", "--output", str(made)]) == 1  # no number of times
    assert "words.txt:inf" in capsys.readouterr().err
    assert cli.main(["language", str(tmp_path / "none.txt"), "--output", str(words / "mine.npz")]) == 1
    assert "mine.npz cannot be written" in capsys.readouterr().err  # first
    assert cli.main(["language", str(tmp_path / "none.txt"), "--output", str(made)]) == 1
    assert "none.txt" in capsys.readouterr().err
