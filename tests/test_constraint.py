"""Texts that there may be: step by step, by their check digits, and as the likeliest of CTC's logits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import brute_force, random_logs

from zoo import beam, cli
from zoo import constraint as constraints
from zoo.charset import Charset
from zoo.constraint import Characters, Either, Pattern, Words, constraint
from zoo.reading import Recognizer


def goes(rule, text: str) -> bool:
    """Whether a text is one of the rule's, character by character."""
    state = rule.start
    for character in text:
        state = rule.step(state, character)
        if state is None:
            return False
    return rule.accepts(state)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "amount",
            ["12.50", "RM1,204.99", "$3.00", "(3.00)", "-0.10", "1234.00"],
            ["12.5", "1,20.00", "RM", "12,50", ""],
        ),
        (
            "date",
            ["25/12/2018", "1.2.99", "2018-02-28", "25-DEC-2018", "12/31/2018"],
            ["31/02/2018", "2018-13-01", "1/2-99"],
        ),
        (
            "iban",
            ["GB82WEST12345698765432", "DE89370400440532013000"],
            ["GB82WEST12345698765431", "DE8937040044053201300"],
        ),
        ("luhn", ["4539578763621486", "6011000990139424"], ["4539578763621487", "1234"]),
        ("chars:0123456789", ["7", "2018"], ["", "20x"]),
        ("regex:[A-Z]{2}[0-9]+", ["AB1"], ["A1", "AB"]),
    ],
)
def test_forms(name, right, wrong):
    rule = constraint(name)
    assert [text for text in right if not goes(rule, text)] == []
    assert [text for text in wrong if goes(rule, text)] == []


def test_words_of_a_file_and_several_forms(tmp_path):
    (tmp_path / "words.txt").write_text("Total\nTax\n\nTo\n")
    rule = constraint(f"words:{tmp_path / 'words.txt'}")
    assert [text for text in ("Total", "Tax", "To", "Tot", "Taxi", "") if goes(rule, text)] == ["Total", "Tax", "To"]
    both = constraint(f"words:{tmp_path / 'words.txt'}", "chars:019")
    assert [text for text in ("Tax", "109", "Tax1", "1T") if goes(both, text)] == ["Tax", "109"]


def test_words_of_a_file_from_elsewhere(tmp_path):
    """With the mark that Windows writes first, and letters whose accents stand apart."""
    (tmp_path / "words.txt").write_bytes("\ufeffTotal\r\ncafe\u0301\r\n".encode())
    rule = constraint(f"words:{tmp_path / 'words.txt'}")
    assert goes(rule, "Total") and goes(rule, "café") and not goes(rule, "\ufeffTotal")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("price", "'price' is no constraint; there are: amount, date"),
        ("chars:", "names no characters"),
        ("regex:(", "no regular expression"),
        ("regex:", "'regex:' is no constraint"),
        ("date:x", "no constraint"),
    ],
)
def test_what_is_no_constraint(name, message):
    with pytest.raises(ValueError, match=message):
        constraint(name)
    with pytest.raises(FileNotFoundError):
        constraint("words:/nowhere/words.txt")


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="0123456789", min_size=11, max_size=18))
def test_a_wrong_digit_is_told_by_the_check(digits):
    """Luhn's check tells every single wrong digit: of ten last ones just one is right."""
    assert sum(constraints.is_luhn(digits + last) for last in "0123456789") == 1


class ByLabel:
    """A constraint of the characters "ab", by their labels."""

    def __init__(self, rule):
        self.rule, self.start, self.accepts = rule, rule.start, rule.accepts

    def step(self, state, label):
        return self.rule.step(state, "ab"[label])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@pytest.mark.parametrize(
    "rule", [Words(["a", "ba", "bb"]), Characters("b"), Pattern("a*b"), Either(Words(["aa"]), Words(["b"]))]
)
def test_the_likeliest_of_the_texts_that_there_may_be(rule, seed, steps):
    logs = random_logs(seed, steps, 3)
    every = {text: p for text, p in brute_force(logs, 2).items() if goes(rule, "".join("ab"[i] for i in text))}
    labels, score = beam.search(logs, 10_000, 2, ByLabel(rule))
    if not every:
        assert labels == () and score == beam.NEVER
    else:
        assert every[labels] == pytest.approx(max(every.values()), rel=1e-9)
        assert np.exp(score) == pytest.approx(max(every.values()), rel=1e-9)


def logits_of(text: str, doubts: dict[int, tuple[str, float]], charset: Charset) -> np.ndarray:
    """Logits (1, T, K) of a text, with another character nearly as likely, or likelier, at some places."""
    logits = np.full((1, 2 * len(text), len(charset) + 1), -8.0, "float32")
    for place, character in enumerate(text):
        logits[0, 2 * place, charset.encode(character)[0]] = 4.0
        logits[0, 2 * place + 1, charset.blank] = 6.0
        if place in doubts:
            other, height = doubts[place]
            logits[0, 2 * place, charset.encode(other)[0]] = height
    return logits


def test_an_o_in_an_amount_is_a_nought():
    """Read freely "12.5O" is likelier by e; as an amount it is 12.50, but only where that is not far-fetched."""
    charset = Charset("french")
    logits = logits_of("12.50", {4: ("O", 5.0)}, charset)
    recognizer = lambda **options: Recognizer(lambda batch: {"logits": logits}, charset, widths=[64], **options)  # noqa: E731
    strip = [np.zeros((32, 60, 3), "uint8")]
    assert recognizer()(strip)[0].text == "12.5O"
    assert recognizer(only=["amount"])(strip)[0].text == "12.50"
    assert recognizer(only=["amount"], least=0.01)(strip)[0].text == "12.50"
    assert recognizer(only=["amount"], least=0.9)(strip)[0].text == "12.5O"
    assert recognizer(only=["iban"])(strip)[0].text == ""  # nothing of the kind: forced, there is no text
    assert recognizer(only=["iban"], least=0.01)(strip)[0].text == "12.5O"
    with pytest.raises(ValueError, match="read by CTC"):
        recognizer(only=["amount"], decoding="attention")


def test_a_day_that_there_is_not_is_not_read():
    charset = Charset("french")
    logits = logits_of("31/02/2018", {1: ("0", 3.0)}, charset)
    assert charset.decode(logits[0]).text == "31/02/2018"
    (reading,) = charset.decode_beam(logits, 16, constraint("date"))
    assert reading.text != "31/02/2018" and constraints.is_date(reading.text)


def test_every_beginning_of_a_form_may_go_on():
    rule = constraint("amount", "date")
    for text in ("RM1,204.99", "25/12/2018"):
        state = rule.start
        for character in itertools.islice(text, len(text)):
            state = rule.step(state, character)
            assert state is not None


def test_the_command_says_what_it_does_not_know(capsys):
    assert cli.main(["read", "--recognize-only", "--only", "price", "none.png"]) != 0
    assert "'price' is no constraint" in capsys.readouterr().err
