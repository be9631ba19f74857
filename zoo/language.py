"""What a language would write: a model of characters, and the search for the text that it and the picture agree on.

    readings, logits → those in doubt → steps that say something → beam of prefixes → readings

A text is weighed by ln P(text | picture) + weight · Σ gain(character | those before it in its word). The first is
CTC's, summed over all ways to write a text (Hannun et al. 2014, https://arxiv.org/abs/1408.2873, algorithm 1). A gain
is how much likelier than one of `EVEN` equal ones a letter is after up to four others, or the end of a word after its
last letters, in words that were counted (`recipes.language`); digits and marks gain nothing, and end a word. It is for
no more than what the picture leaves open: a text that no step doubts stays as it is. Of several languages that one is
asked by which the page's sure words gain most, and on a page whose sure words are no words of any, the weight falls to
nothing. On pages in another language than the first, which most are in, texts that differ by an accent alone are alike,
and a word is as sure as its letters are. NumPy only; `serving.graph_language` is the same in TensorFlow.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo import beam
from zoo.alphabets import NEVER, Alphabets, log_softmax
from zoo.charset import Charset, Reading, built_on

FOLDER = Path(__file__).parent / "languages"
EVEN = 40  # letters of a language in which none is likelier than another
STEP = 16  # parts of 1 in which gains are kept
WIDTH, TRIED = 8, 6  # prefixes that are kept, and the likeliest classes of a step by which they go on
BLANK = 0.995  # probability of the blank from which a step says nothing, after another such
DOUBT = 0.003  # least probability of another character in a step
SURE = 0.9  # least score of each character of a text that is not in doubt
PLAIN = 0.7  # the same of one that tells of its page's language
EASED = 1.5  # by which scores are divided for shares: the beam holds few of all texts, and is too sure of them
CHUNK = 64  # strips that are searched at once

# How far a page's own words are of a language, by their mean gain a letter: not at all, wholly. English receipts,
# French typescripts and signs lie above 1.1, words drawn from an Italian dictionary at 0.9, from a German one at 0.3.
FOREIGN, KNOWN = 0.4, 1.1
PRIOR = 60  # letters that count as if they were of the first language, before a page has shown its own
SETTLED = 1.7  # mean gain a letter by the first language from which a page is in no other: English and French have more
FEW = 30  # letters that count as if another language gained nothing by them
LONGEST = 8  # letters of a state at most, and the start
WEIGHT = 0.65  # of gains beside the logarithms of a picture's probabilities
NATIVE = 0.9  # trust in the first language below which a page is of another: texts are alike then but for accents
TELLING = 3  # letters of a word from which it tells of its language


@dataclass(frozen=True, eq=False)
class Language:
    """A model of characters as a table: what has been written of a word is a state.

    Attributes:
        letters: its alphabet, in lower case; the columns of the table, before "end of the word", "any other letter",
            and "a space", by which a word ends as well, but without a gain where few words were counted.
        gains: (S, C + 3) float16, of each column in each state. State 0 is the start of a word, 1 an unknown past.
        following: (S, C + 3) uint16, the state that comes after.
    """

    letters: str
    gains: np.ndarray
    following: np.ndarray

    @property
    def end(self) -> int:
        """The column of the end of a word."""
        return len(self.letters)

    def columns(self, characters: str) -> np.ndarray:
        """(K,) int32: the column of each character, whatever its case; what is no letter and no space ends a word.

        A letter with marks that the language lacks counts as the one that it is built on: of both it has no opinion.
        """
        place = {letter: column for column, letter in enumerate(self.letters)}

        def column(character: str) -> int:
            if not character.isalpha():
                return self.end + 2 * (character == " ")
            folded = character.casefold()
            return place.get(folded, place.get(built_on(folded), self.end + 1))  # "ß" folds to "ss"

        return np.array([column(character) for character in characters], "int32")

    def gain(self, *texts: str) -> tuple[float, int]:
        """The sum of the gains of the texts' words of `TELLING` letters or more, and the number of these letters."""
        columns = self.columns(" ".join(texts) + " ")
        columns[columns == self.end + 2] = self.end
        ends = np.flatnonzero(columns == self.end)
        lengths = np.diff(ends, prepend=-1) - 1
        state, total = np.zeros(len(ends), int), np.zeros(len(ends))
        for place in range(lengths.max() + 1):
            column = columns[np.minimum(ends - lengths + place, ends)]
            total += np.where(place <= lengths, self.gains[state, column], 0)
            state = self.following[state, column].astype(int)
        telling = lengths >= TELLING
        return float(total[telling].sum()), int(lengths[telling].sum())


def language(name: str | Path) -> Language:
    """The language of a name, as "latin", or of a file that `zoo language` wrote.

    Raises:
        FileNotFoundError: there is no such language or file.
        ValueError: the file holds no language.
    """
    path = path_of(name)
    return _read(path, path.stat().st_mtime_ns)


def path_of(name: str | Path) -> Path:
    """Where the language of a name is, or its file.

    Raises:
        FileNotFoundError: there is no such language or file.
    """
    path = FOLDER / f"{name}.npz" if (FOLDER / f"{name}.npz").is_file() else Path(name)
    if not path.is_file():
        there = ", ".join(sorted(path.stem for path in FOLDER.glob("*.npz")))
        raise FileNotFoundError(
            f"there is no language {str(name)!r}, and no such file; there are: {there}. `zoo language` counts one's own"
        )
    return path


@functools.lru_cache(32)
def _read(path: Path, changed: int) -> Language:
    try:
        with np.load(path) as file:
            letters, parents, last, gains = (file[name] for name in ("letters", "parents", "last", "gains"))
            return table(str(letters), parents, last, gains, few="few" in file and bool(file["few"]))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no language ({type(error).__name__}: {error})") from error


def table(letters: str, parents: np.ndarray, last: np.ndarray, gains: np.ndarray, few: bool = False) -> Language:
    """The language of a tree of states, each being what has been written of a word, or the last letters of that.

    Args:
        letters: C of them.
        parents: (S,) the state without its last letter, which comes before it in order; 1 of 0 and 1.
        last: (S,) column of the last letter; of 0 and 1 nothing.
        gains: (S, C + 1) int8, in parts of `STEP`.
        few: whether few words were counted, so that the end of one says little of what is no other.
    """
    parents, last, count = parents.astype("int64"), last.astype("int64"), len(letters)
    depth = np.zeros(len(parents), int)
    depth[0] = 1
    for _ in range(LONGEST):  # letters of the longest state, and the start
        depth[2:] = depth[parents[2:]] + 1
    following = np.ones((len(parents), count + 3), "uint16")
    shorter = np.ones(len(parents), int)  # the state without its first letter, or the longest end of that
    for level in range(depth.max() + 1):
        states = np.flatnonzero(depth == level)
        grown = states[(states > 1) & (parents[states] != 1)]
        shorter[grown] = following[shorter[parents[grown]], last[grown]]
        if level:
            following[states] = following[shorter[states]]
        children = 2 + np.flatnonzero(depth[2:] == level + 1)
        following[parents[children], last[children]] = children
    following[:, count:] = 0, 1, 0
    whole = np.zeros(following.shape, "float16")  # exact, in parts of 16
    whole[:, :-2] = gains
    whole[0, count] = 0  # no word, no end
    whole[:, -1] = whole[:, count].clip(None, 0) if few else whole[:, count]
    return Language(letters, whole / np.float16(STEP), following)


# ---------------------------------------------------------------- spelling


class Told(NamedTuple):
    """What the words of a page tell of its language.

    Attributes:
        number: the place of the language among those that were asked.
        trust: from 0 to 1, how far the words are of it.
    """

    number: int
    trust: float


class Spelling:
    """Readings by CTC, spelt as a language would where the picture leaves it open.

    Args:
        languages: that may be asked, or their names or files, which are read when a page is in none of those before.
        charset: the recognizer's alphabet.
        weight: of a language's gains beside the logarithms of the picture's probabilities.

    Attributes:
        alphabets: of the languages that a page may be in, whose other letters are less likely on it.

    Raises:
        FileNotFoundError: there is no language of a name.
    """

    def __init__(self, languages: Sequence[Language | str | Path], charset: Charset, weight: float):
        self.charset, self.weight, self.alphabets = charset, weight, Alphabets(charset)
        self._languages = [one if isinstance(one, Language) else path_of(one) for one in languages]
        self.alike, self.alike_abroad = charset.alike(), charset.alike(accents=False)

    def __len__(self) -> int:
        return len(self._languages)

    def language(self, number: int) -> Language:
        """One of the languages.

        Raises:
            ValueError: its file holds none.
        """
        one = self._languages[number]
        return one if isinstance(one, Language) else language(one)

    def __call__(
        self, readings: Sequence[Reading], logits: Sequence[np.ndarray], told: Told | None = None
    ) -> list[Reading]:
        """The readings of one page; the score of one that was in doubt is the share, of all texts in the beam, of those
        with its letters and digits, whatever their case and the marks beside them, and on a page of another language
        than the first whatever their accents.

        Args:
            readings: by the best path.
            logits: (T, K) of each, the last class being the blank.
            told: see below; by default what these readings tell of their page.
        """
        told = self.told(readings) if told is None else told
        spoken = self.language(told.number)
        result, weight, columns = list(readings), self.weight * told.trust, spoken.columns(self.charset.characters)
        alike = self.alike if told.number == 0 and told.trust >= NATIVE else self.alike_abroad
        said = {}
        if logits:
            steps = log_softmax(np.concatenate(logits))
            strips = np.split(steps, np.cumsum([len(row) for row in logits])[:-1])
            said = {i: telling(logs) for i, logs in enumerate(strips) if len(logs)}
        doubted = [i for i, logs in said.items() if min(readings[i].characters, default=1) < SURE or doubtful(logs)]
        doubted.sort(key=lambda index: len(said[index]))
        for start in range(0, len(doubted), CHUNK):
            part = doubted[start : start + CHUNK]
            texts, scores = search(stacked([said[i] for i in part]), spoken, columns, alike, weight)
            for index, labels, score in zip(part, texts, scores.tolist(), strict=True):
                result[index] = self._reading(readings[index], labels, score, logits[index])
        return result

    def _reading(self, before: Reading, labels: list[int], score: float, logits: np.ndarray) -> Reading:
        text = self.charset.text(labels)
        if text == before.text:
            return Reading(text, score, before.characters)
        return Reading(text, score, tuple(beam.peaks(log_softmax(logits), labels, self.charset.blank)))

    def told(self, readings: Sequence[Reading]) -> Told:
        """What the words of a page that are read surely tell: the first language unless another gains more by them."""
        sure = [reading.text for reading in readings if reading.characters and min(reading.characters) >= PLAIN]
        total, count = self.language(0).gain(*sure)
        number, mean = 0, max(FOREIGN, (KNOWN * PRIOR + total) / (PRIOR + count))
        for other in range(1, len(self) if total < SETTLED * count else 0):
            gained = self.language(other).gain(*sure)[0] / (FEW + count)
            number, mean = (other, gained) if gained > mean else (number, mean)
        return Told(number, min(1.0, (mean - FOREIGN) / (KNOWN - FOREIGN)))


def telling(logs: np.ndarray) -> np.ndarray:
    """The steps (T', K) that say something: of those in a row that are surely blank the first alone."""
    said = logs[:, -1] < np.log(BLANK)
    said[1:] |= said[:-1].copy()
    said[:1] = True
    return logs[said]


def doubtful(logs: np.ndarray) -> bool:
    """Whether a step (T, K) may hold another character than the likeliest of itself, or of the one before or after."""
    best, place = logs.argmax(-1), np.arange(len(logs))
    possible = logs >= np.log(DOUBT)
    possible[:, -1] = False
    possible[place, best] = possible[place[1:], best[:-1]] = possible[place[:-1], best[1:]] = False
    return bool(possible.any())


def stacked(strips: Sequence[np.ndarray]) -> np.ndarray:
    """(B, T, K) of strips (T', K), filled up with steps that are blank."""
    result = np.full((len(strips), max(map(len, strips)), strips[0].shape[1]), NEVER)
    result[..., -1] = 0
    for row, logs in zip(result, strips, strict=True):
        row[: len(logs)] = logs
    return result


def search(
    logs: np.ndarray, language: Language, columns: np.ndarray, alike: np.ndarray, weight: float
) -> tuple[list[list[int]], np.ndarray]:
    """The labels of the best text of each strip, and (B,) the share of those like it among all that the beam holds.

    Args:
        logs: (B, T, K) float32 logarithms of probabilities, the last class being CTC's blank.
        language: that is asked.
        columns: (K - 1,) of the characters in the language.
        alike: (K - 1,) as `Charset.alike` has it: texts of marks alone are like no others.
        weight: of its gains.
    """
    count, blank = len(logs), logs.shape[2] - 1
    tried = min(TRIED, blank)
    classes = np.sort(np.argpartition(-logs[..., :blank], tried - 1, -1)[..., :tried], -1)  # (B, T, k)
    likely = np.take_along_axis(logs, classes, -1)
    order = np.argsort(-likely, -1, kind="stable")
    classes, likely = np.take_along_axis(classes, order, -1), np.take_along_axis(likely, order, -1)

    # Of each prefix (B, W): ln of the ways that end in a blank, and of those that do not; the language's part; its
    # state there; the last label; a number that only equal prefixes share, and one that like ones share, too.
    blanked, written = np.full((2, count, WIDTH), NEVER)
    blanked[:, 0] = 0
    gained, state = np.zeros((count, WIDTH), "float32"), np.zeros((count, WIDTH), int)
    last, name = np.full((count, WIDTH), -1), np.broadcast_to(-np.arange(WIDTH), (count, WIDTH))
    kin = np.zeros((count, WIDTH), int)
    parents, labels = np.zeros((2, logs.shape[1], count, WIDTH), int)
    for step in range(logs.shape[1]):
        label, row = classes[:, step, None], likely[:, step, None]  # (B, 1, k)
        again = last[..., None] == label
        both = np.logaddexp(blanked, written)
        # A label after itself needs a blank in between, else it is the same one still.
        stay = [both + logs[:, step, blank:], written + np.where(again, row, NEVER).max(-1)]
        ways = np.where(again, blanked[..., None], both[..., None]) + row  # (B, W, k)
        longer = name[..., None] * 1_000_003 + label + 1
        same = name[:, :, None, None] == longer[:, None]  # a longer prefix that the beam holds already
        stay[1] = np.logaddexp(stay[1], np.where(same, ways[:, None], NEVER).max((2, 3)))
        ways = np.where(same.any(1), NEVER, ways)
        column = np.broadcast_to(columns[label], ways.shape)
        further = gained[..., None] + np.float32(weight) * language.gains[state[..., None], column]
        after = language.following[state[..., None], column]

        flat = [x.reshape(count, -1) for x in (ways, further, after, longer, np.broadcast_to(label, ways.shape))]
        score = np.concatenate([np.logaddexp(*stay) + gained, flat[0] + flat[1]], 1)
        order = np.argsort(-score, 1, kind="stable")[:, :WIDTH]
        new, place = order >= WIDTH, np.maximum(order - WIDTH, 0)
        parent = np.where(new, place // tried, order)
        ways, further, after, longer, label = (np.take_along_axis(x, place, 1) for x in flat)
        held = (*stay, gained, state, name, last, kin)
        silent, spoken, gained, state, name, last, kin = (np.take_along_axis(x, parent, 1) for x in held)
        blanked, written = np.where(new, NEVER, silent), np.where(new, ways, spoken)
        gained, state = np.where(new, further, gained), np.where(new, after, state)
        name, last = np.where(new, longer, name), np.where(new, label, last)
        kin = np.where(new & (alike[label] > 0), kin * 1_000_003 + alike[label], kin)
        parents[step], labels[step] = parent, np.where(new, label, -1)

    score = np.logaddexp(blanked, written) + gained + np.float32(weight) * language.gains[state, language.end]
    best, every = score.argmax(1), np.arange(count)
    power = np.exp((score - score[every, best][:, None]) / np.float32(EASED))
    like = (kin == kin[every, best][:, None]) & (kin != 0) | (np.arange(WIDTH) == best[:, None])
    share = (power * like).sum(1) / power.sum(1)
    texts: list[list[int]] = [[] for _ in every]
    for step in range(logs.shape[1] - 1, -1, -1):
        for index in np.flatnonzero(labels[step, every, best] >= 0):
            texts[index].append(int(labels[step, index, best[index]]))
        best = parents[step, every, best]
    return [text[::-1] for text in texts], share
