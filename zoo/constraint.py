"""What a text may be: characters, words of a list, patterns, and forms whose check digits must be right.

    constraint("amount")            12.50, RM1,204.99, (3.00)
    constraint("date")              25/12/2018, 2018-12-25, 25 DEC 2018 without its spaces; only days that there are
    constraint("iban")              by its check digits, ISO 13616; constraint("luhn"), numbers of cards, ISO/IEC 7812
    constraint("chars:0123456789")  any text of these characters
    constraint("words:FILE")        the words in a file, one in a line
    constraint("regex:[A-Z]{2}[0-9]+")
    constraint("date", "amount")    either

A constraint reads a text character by character: `start`, `step`, `accepts`. So `zoo.beam` looks for the likeliest of
the texts that there may be, and does not only throw away what may not.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

State = Hashable


class Constraint(Protocol):
    """Which texts there may be.

    Attributes:
        start: the state of the empty text.
    """

    start: State

    def step(self, state: State, character: str) -> State | None:
        """The state after one more character; None where no text goes on so."""

    def accepts(self, state: State) -> bool:
        """Whether the text may end here."""


def fits(text: str, rule: Constraint) -> bool:
    """Whether a text is one of those that there may be."""
    state: State | None = rule.start
    for character in text:
        state = rule.step(state, character)
        if state is None:
            return False
    return rule.accepts(state)


class Characters:
    """Texts of some characters, of any length."""

    start: State = 0

    def __init__(self, allowed: str):
        if not allowed:
            raise ValueError("chars: names no characters; chars:0123456789 does")
        self.allowed = frozenset(allowed)

    def step(self, state: State, character: str) -> State | None:
        return 1 if character in self.allowed else None

    def accepts(self, state: State) -> bool:
        return state == 1


class Words:
    """The words of a list."""

    start: State = ""

    def __init__(self, words: Iterable[str]):
        self.words = frozenset(word for word in words if word)
        if not self.words:
            raise ValueError("a list of words for reading is empty")
        self.beginnings = frozenset(word[:stop] for word in self.words for stop in range(len(word) + 1))

    def step(self, state: State, character: str) -> State | None:
        longer = f"{state}{character}"
        return longer if longer in self.beginnings else None

    def accepts(self, state: State) -> bool:
        return state in self.words


class Pattern:
    """Texts of a regular expression that pass a check.

    Args:
        expression: in the syntax of the package "regex", which knows whether a beginning can still become a match.
        check: of a whole text.

    Raises:
        ValueError: the expression is none.
        ModuleNotFoundError: the package is not installed.
    """

    start: State = ""

    def __init__(self, expression: str, check: Callable[[str], bool] = bool):
        try:
            import regex
        except ModuleNotFoundError as error:
            hint = "patterns need the package regex: pip install 'ocrzoo[patterns]'"
            raise ModuleNotFoundError(hint, name="regex") from error
        try:
            self.expression = regex.compile(expression)
        except regex.error as error:
            raise ValueError(f"{expression!r} is no regular expression: {error}") from None
        self.check = check

    @lru_cache(100_000)  # noqa: B019 - constraints are few, and kept; the same beginnings come in every text
    def step(self, state: State, character: str) -> State | None:
        longer = f"{state}{character}"
        return longer if self.expression.fullmatch(longer, partial=True) else None

    def accepts(self, state: State) -> bool:
        return bool(self.expression.fullmatch(str(state))) and self.check(str(state))


class Either:
    """Texts of any of several constraints."""

    def __init__(self, *members: Constraint):
        self.members = members
        self.start: State = tuple(member.start for member in members)

    def step(self, state: Any, character: str) -> State | None:
        after = tuple(
            None if one is None else member.step(one, character)
            for member, one in zip(self.members, state, strict=True)
        )
        return after if any(one is not None for one in after) else None

    def accepts(self, state: Any) -> bool:
        return any(one is not None and member.accepts(one) for member, one in zip(self.members, state, strict=True))


# ---------------------------------------------------------------- checks


MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def is_date(text: str) -> bool:
    """Whether there is such a day, read as day, month, year, or year, month, day, or month, day, year."""
    parts = text.upper()
    for mark in "/.-":
        parts = parts.replace(mark, " ")
    values = [MONTHS.index(part) + 1 if part in MONTHS else int(part) for part in parts.split()]
    orders = [(2, 1, 0), (0, 1, 2), (2, 0, 1)]
    return any(_is_day(*(values[i] for i in order)) for order in orders)


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return False
    return True


def is_luhn(text: str) -> bool:
    """Whether the last digit checks the others: each second one from the right doubled, the sum a multiple of 10."""
    digits = [int(character) for character in reversed(text) if character.isdigit()]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether the number made of it, its first four characters last and letters as 10 to 35, leaves 1 over 97."""
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


DATE = r"\d{1,2}(?P<mark>[/.-])(\d{1,2}|(?i:" + "|".join(MONTHS) + r"))(?P=mark)(\d{4}|\d{2})|\d{4}[/.-]\d{2}[/.-]\d{2}"
NAMED: dict[str, tuple[str, Callable[[str], bool]]] = {
    "amount": (r"[-(]?(RM|[$£€])?(\d{1,3}(,\d{3})+|\d+)\.\d{2}[)%-]?", bool),
    "date": (DATE, is_date),
    "iban": (r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", is_iban),
    "luhn": (r"\d{12,19}", is_luhn),
}


@lru_cache(16)
def constraint(*names: str) -> Constraint:
    """The constraint of these names, as the module describes them; of several, any of their texts may be.

    Raises:
        ValueError: a name says nothing that is known, or what it says is empty.
        FileNotFoundError: there is no such file of words.
    """
    made = [_one(name) for name in names]
    if not made:
        raise ValueError("a constraint needs a name")
    return made[0] if len(made) == 1 else Either(*made)


def _one(name: str) -> Constraint:
    kind, colon, value = name.partition(":")
    if not colon and kind in NAMED:
        return Pattern(*NAMED[kind])
    match kind if colon else "":
        case "chars":
            return Characters(value)
        case "words":
            try:  # Windows begins a file with a mark; macOS and others write a letter and its accent apart
                return Words(unicodedata.normalize("NFC", Path(value).read_text("utf-8-sig")).split())
            except UnicodeDecodeError as error:
                raise ValueError(f"{value}: not UTF-8 ({error}); save it as UTF-8") from None
        case "regex" if value:
            return Pattern(value)
    raise ValueError(f"{name!r} is no constraint; there are: {', '.join(NAMED)}, chars:…, words:FILE, regex:…")
