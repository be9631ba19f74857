"""Languages for `zoo.language`, counted in words: how likely each letter is after up to four others of its word.

    zoo language WORDS… --output my.npz        lists of words, texts, or labels.jsonl of data sets
    zoo read --spelling my.npz page.jpg

Probabilities are interpolated with those of shorter pasts by how many letters have been seen to follow (Witten and Bell
1991, https://doi.org/10.1109/18.87000, method C). Pasts are kept that tell most: count · KL(with it, without its first
letter). No word can be told from the table, which holds pasts of four letters at most.

In what `latin` was counted, which the released recognizers ask, zoo/languages/README.md tells.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from recipes.data import datasets
from zoo.files import replacing
from zoo.language import EVEN, STEP

ORDER = 5  # letters, the last of which is told by the others
STATES = 60_000  # pasts that are kept, at most
CAP = 4.0  # of what an unlikely letter loses, ln
WORD = re.compile(r"[^\W\d_]+")
LONGEST_WORD, MOST_LETTERS = 24, 255
LISTED = 100_000  # what all words of a list weigh together
MANY = 20_000  # words from which a language knows most of them, so that what looks like two is two
SEEN = 20.0  # what a word weighs that a text holds, times the square root of how often


def words(path: Path) -> Counter[str]:
    """What each word weighs in a file: in a list, one word a line, all alike; in a text or labels by how often.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text in UTF-8, or the labels are none.
    """
    if path.name == "labels.jsonl" or path.is_dir():
        folder = path if path.is_dir() else path.parent
        entries, _ = datasets.halves(datasets.read(folder))
        return _seen(text for e in entries for text in (e.texts or (e.text or e.page_text,)))
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}); convert it") from error
    if sum(len(line.split()) > 1 for line in lines) > len(lines) / 10:
        return _seen(lines)
    listed = {word for line in lines for word in _words(line)}
    return Counter(dict.fromkeys(listed, LISTED / max(1, len(listed))))


def _seen(texts: Iterable[str]) -> Counter[str]:
    counts = Counter(word for text in texts for word in _words(text))
    return Counter({word: SEEN * math.sqrt(count) for word, count in counts.items()})


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFC", text).casefold()  # an accent that stands apart is no letter, and parts words
    return [word for word in WORD.findall(plain) if len(word) <= LONGEST_WORD]


def count(weights: Mapping[str, float], path: Path, states: int = STATES) -> tuple[int, int]:
    """Writes the language of words of these weights to a file; the numbers of its letters and of its states.

    Raises:
        ValueError: there are no words, or more letters than an alphabet has.
    """
    letters = "".join(sorted({letter for word in weights for letter in word}))
    if not letters:
        raise ValueError("no words were given: a language is counted in lists of words or texts")
    if len(letters) > MOST_LETTERS:
        raise ValueError(
            f"the words have {len(letters)} letters; {MOST_LETTERS} are the most: choose some by --letters"
        )
    chances, gain = _chances(weights, {letter: i for i, letter in enumerate(letters)})
    kept = {"^", ""}
    for past in sorted(gain, key=lambda past: -gain[past]):
        if len(kept) >= states:
            break
        kept |= {past[:end] for end in range(1, len(past) + 1)}  # or it could not be reached
    names = ["^", "", *sorted(kept - {"^", ""}, key=lambda past: (len(past), past))]
    number = {past: index for index, past in enumerate(names)}
    gains = np.array([np.log(chances[past]) for past in names]) + math.log(EVEN)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            letters=np.array(letters),
            parents=np.array([number[past[:-1]] if index > 1 else 1 for index, past in enumerate(names)], "uint16"),
            last=np.array([letters.index(past[-1]) if index > 1 else 0 for index, past in enumerate(names)], "uint8"),
            gains=np.rint(STEP * gains.clip(-CAP, 127 / STEP)).astype("int8"),
            few=np.array(len(weights) < MANY),
        )
    return len(letters), len(names)


def _chances(weights: Mapping[str, float], column: Mapping[str, int]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """(C + 1,) probabilities of each letter and of the end after each past, and what a past tells beyond its end."""
    ends = len(column)
    counts: list[dict[str, np.ndarray]] = [defaultdict(lambda: np.zeros(ends + 1)) for _ in range(ORDER)]
    for word, weight in weights.items():
        told = "^" + word
        for place in range(1, len(told) + 1):
            letter = column[told[place]] if place < len(told) else ends
            for length in range(min(place, ORDER - 1) + 1):
                counts[length][told[place - length : place]][letter] += weight
    chances, gain = {"": _mixed(counts[0][""], np.full(ends + 1, 1 / (ends + 1)))}, {}
    for length in range(1, ORDER):
        for past, seen in counts[length].items():
            shorter = chances[past[1:]]
            chances[past] = _mixed(seen, shorter)
            gain[past] = float(seen.sum() * (chances[past] * np.log(chances[past] / shorter)).sum())
    return chances, gain


def _mixed(seen: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    kinds = np.count_nonzero(seen)
    return (seen + kinds * shorter) / (seen.sum() + kinds)
