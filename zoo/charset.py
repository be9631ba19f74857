"""Alphabets of recognizers: characters to class ids, and logits to text, by CTC or up to an end."""

from __future__ import annotations

import difflib
import string
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from zoo import beam
from zoo.constraint import Constraint, fits

ASCII = string.digits + string.ascii_letters + string.punctuation
CURRENCY = "£€¥¢฿"

# Names and order as in docTR, whose published weights depend on them.
NAMED = {
    "digits": string.digits,
    "latin": ASCII,
    "english": ASCII + "°" + CURRENCY,
    "french": ASCII + "°" + CURRENCY + "àâéèêëîïôùûüçÀÂÉÈÊËÎÏÔÙÛÜÇ",
    "german": ASCII + "°" + CURRENCY + "äöüßÄÖÜẞ",
}

# Letters of the official languages of the European Union in Latin script but Maltese, of Norwegian, and of Icelandic.
MARKED = "àáâãäåāăąæçćčďđðèéêëēėęěģìíîïīįķĺļľłñńņňòóôõöøőœŕřśšșťțþùúûüūůűųýÿźżž"
NAMED["european"] = ASCII + "°" + CURRENCY + "§¡¿«»•" + MARKED + MARKED.upper() + "ß"

# For recognizers of lines, and of words that were found together.
NAMED["european_lines"] = NAMED["european"] + " "
NAMED["french_lines"] = NAMED["french"] + " "
NAMED["french_handwriting"] = NAMED["french_lines"] + "’"
NAMED["fraktur"] = NAMED["french_lines"] + "äöÄÖßſ\u0364„“—"  # U+0364: the small e above a vowel

# What a label may hold that an alphabet does not: the nearest plain character.
PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": ",",
        "“": '"',
        "”": '"',
        "„": '"',
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "\u00a0": " ",
    }
)


NEAR = 0.8  # share of letters in common, from which an alphabet is taken for a mistyped name
SLACK = 3.0  # by how much a label may be less probable, ln, than a whole text may be


class Reading(NamedTuple):
    """One recognised strip: its text, the product of its characters' scores, and the score of each character."""

    text: str
    score: float
    characters: tuple[float, ...]


class Charset:
    """An ordered alphabet. The class after the last character is CTC's blank, or the end of the text.

    Args:
        characters: a key of `NAMED`, or the characters themselves.

    Raises:
        ValueError: the characters are none or no text, one stands twice, or they are a name but for a letter or two.
    """

    def __init__(self, characters: str):
        if not isinstance(characters, str):  # of a card or of options that are JSON
            raise ValueError(f"an alphabet is a text, not {characters!r}")
        self.characters = NAMED.get(characters, characters)
        if characters not in NAMED and (near := difflib.get_close_matches(characters.lower(), NAMED, 1, NEAR)):
            raise ValueError(
                f"no alphabet is named {characters!r}; is {near[0]!r} meant? There are: {', '.join(NAMED)}. "
                "If these letters are the alphabet, give them in another order"
            )
        if not self.characters:
            raise ValueError("an alphabet needs at least one character")
        self._ids = {character: index for index, character in enumerate(self.characters)}
        if len(self._ids) < len(self.characters):
            twice = sorted({c for c in self.characters if self.characters.count(c) > 1})
            raise ValueError(f"these characters stand twice in the alphabet: {''.join(twice)!r}")

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def blank(self) -> int:
        return len(self.characters)

    def alike(self, accents: bool = True) -> np.ndarray:
        """(K - 1,) int: of each letter and digit a number, whatever its case, and its accents if these do not count; 0
        of marks."""
        letters = [character if accents else built_on(character) for character in self.characters]
        folded = [letter.casefold() if letter.isalnum() else "" for letter in letters]
        numbers = {fold: number for number, fold in enumerate(dict.fromkeys(["", *folded]))}
        return np.array([numbers[fold] for fold in folded])

    def plain(self, text: str) -> str:
        """`text` in this alphabet: NFC, unknown characters replaced by the nearest one or left out."""
        kept = []
        for character in unicodedata.normalize("NFC", text):
            for candidate in (character, character.translate(PLAIN), without_marks(character)):
                if candidate and all(c in self._ids for c in candidate):
                    kept.append(candidate)
                    break
        return "".join(kept)

    def typed(self, text: str) -> str:
        """`text` as a keyboard has it: typographic marks and ligatures that this alphabet lacks by their plain ones."""
        return "".join(c if c in self._ids else c.translate(PLAIN) for c in unicodedata.normalize("NFC", text))

    def encode(self, text: str) -> list[int]:
        """The ids of the characters.

        Raises:
            ValueError: a character is not in the alphabet.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} in {text!r} is not in the alphabet {self.characters!r}") from None

    def text(self, ids: Iterable[int]) -> str:
        """The characters of the ids; the blank is none."""
        return "".join(self.characters[index] for index in ids if index != self.blank)

    def decode(self, logits: np.ndarray) -> Reading:
        """The best path of CTC logits (T, K), repeats and blanks dropped.

        A character's score is the highest probability that it has in its run of steps.
        """
        return self.decode_batch(logits[None])[0]

    def decode_batch(self, logits: np.ndarray, steps: Sequence[int] | None = None) -> list[Reading]:
        """The best path of each row of CTC logits (B, T, K), of which the first `steps` steps count.

        Raises:
            ValueError: K is not the size of the alphabet and the blank.
        """
        self._check(logits)
        best = logits.argmax(-1)  # (B, T)
        top = np.take_along_axis(logits, best[..., None], -1)
        score = 1 / np.exp(logits - top).sum(-1)  # (B, T): softmax at its maximum
        return [
            self._collapse(row[:length], scores[:length])
            for row, scores, length in zip(best, score, steps or [logits.shape[1]] * len(logits), strict=True)
        ]

    def decode_beam(
        self, logits: np.ndarray, width: int, rule: Constraint | None = None, least: float = 0.0
    ) -> list[Reading]:
        """The likeliest text of each row of CTC logits (B, T, K), all its ways summed up; see `zoo.beam`.

        Scores are as of `decode`, taken along the likeliest way to write the text.

        Args:
            logits: of the network.
            width: of the beam.
            rule: which texts there may be; see `zoo.constraint`.
            least: a text of the rule is taken only where it is so many times as probable as the likeliest of all, which
                is taken instead; by 0 no other is.

        Raises:
            ValueError: K is not the size of the alphabet and the blank, or the width is below 1.
        """
        self._check(logits)
        readings = []
        for row in logits.astype("float64"):
            logs = row - row.max(-1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
            labels, likely = beam.search(logs, width, self.blank) if rule is None or least else ((), beam.NEVER)
            if rule is not None and not (labels and fits(self.text(labels), rule)):
                floor = np.log(least) - SLACK if least else beam.NEVER
                formed, probable = beam.search(logs, width, self.blank, _Labels(rule, self.characters), floor)
                labels = formed if not least or probable >= likely + np.log(least) else labels
            scores = beam.peaks(logs, labels, self.blank)
            readings.append(Reading(self.text(labels), float(np.prod(scores)), tuple(scores)))
        return readings

    def _check(self, logits: np.ndarray) -> None:
        if logits.shape[-1] != len(self) + 1:
            raise ValueError(f"logits have {logits.shape[-1]} classes; the alphabet and the blank are {len(self) + 1}")

    def decode_ended(self, logits: np.ndarray) -> list[Reading]:
        """The best class of each step of logits (B, T, K) up to the first that is no character: that ends the text.

        For recognizers that give one character for each step ("attention"). Classes after the end's are allowed, for
        networks that know a start or a padding, too.

        Raises:
            ValueError: K leaves no room for the alphabet and the end.
        """
        if logits.shape[-1] <= len(self):
            raise ValueError(f"logits have {logits.shape[-1]} classes; the alphabet and the end are {len(self) + 1}")
        best = logits.argmax(-1)  # (B, T)
        top = np.take_along_axis(logits, best[..., None], -1)
        score = 1 / np.exp(logits - top).sum(-1)
        readings = []
        for row, scores in zip(best, score, strict=True):
            ends = np.flatnonzero(row >= len(self))
            kept = scores[: ends[0]] if len(ends) else scores
            readings.append(Reading(self.text(row[: len(kept)]), float(kept.prod()), tuple(kept.tolist())))
        return readings

    def _collapse(self, best: np.ndarray, scores: np.ndarray) -> Reading:
        if not len(best):
            return Reading("", 1.0, ())
        starts = np.flatnonzero(np.r_[True, best[1:] != best[:-1]])
        peaks = np.maximum.reduceat(scores, starts)
        kept = best[starts] != self.blank
        peaks = peaks[kept]
        return Reading(self.text(best[starts][kept]), float(peaks.prod()), tuple(peaks.tolist()))


class _Labels:
    """A constraint of characters as a rule for their labels."""

    def __init__(self, constraint: Constraint, characters: str):
        self.constraint, self.characters, self.start = constraint, characters, constraint.start
        self.accepts = constraint.accepts

    def step(self, state: Any, label: int) -> Any:
        return self.constraint.step(state, self.characters[label])


def built_on(letter: str) -> str:
    """The letter that a letter with marks is built on: of "ř" "r", of one without marks itself."""
    return unicodedata.normalize("NFD", letter)[0]


def without_marks(text: str) -> str:
    """The text without accents, its ligatures taken apart; "ł", "ø" and "ß" stay."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
