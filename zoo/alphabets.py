"""The letters of languages: which language a page is in, and which letters it does not have then.

    logits of a page's texts → the alphabet by which they lose least → letters that it lacks become less likely

What a recognizer of many languages mistakes are marks: "ä" for "ā", "ň" for "ñ". A page in one language does not have
both. So a letter that the page's language lacks is less likely than the picture has it, by `LOST`: one that is read
surely stays, as in a name, and one that is read surely again and again is of a second language, and as likely as ever.
NumPy only; `serving.graph_alphabets` is the same in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zoo.charset import MARKED, Charset, Reading

# Letters with marks, as the languages' own alphabets have them and as their usual foreign words do.
LETTERS = {
    "english": "", "czech": "áčďéěíňóřšťúůýž", "danish": "æøåé", "dutch": "áàäéèëêïíóöôúüû", "estonian": "äõöüšž",
    "finnish": "åäöšž", "french": "àâæçéèêëîïôœùûüÿ", "german": "äöüßẞ", "hungarian": "áéíóöőúüű",
    "icelandic": "áæéíðóöúýþ", "italian": "àèéìíîòóùú", "croatian": "čćđšž", "latvian": "āčēģīķļņšūž",
    "lithuanian": "ąčęėįšųūž", "polish": "ąćęłńóśźż", "portuguese": "àáâãçéêíóôõúü", "romanian": "ăâîșț",
    "slovak": "áäčďéíĺľňóôŕšťúýž", "slovenian": "čšž", "spanish": "áéíñóúü", "swedish": "åäöéà",
}  # fmt: skip
LOST = 3.0  # by which the logarithm of the probability of a letter that the page's language lacks is lowered
EACH = 0.05  # of that is lost, too, for each letter with marks that a language has: of two that fit, the plainer
OFTEN = 2  # times that a letter is read surely, from which it is of a second language
SURELY, MOST = 4.0, 8.0  # mean logarithm by which it is likelier then than letters of the first; none counts for more
NOTED = 7.0  # logarithm by which a letter may be less likely than the best of its step and still count there
NEVER = np.float32(-1e9)


class Alphabets:
    """The alphabets of languages among the classes of a recognizer, the last of which is CTC's blank.

    Attributes:
        marked: (K,) whether a class is a letter with marks.
        lacking: (A, K) those of them that each language lacks.
        sizes: (A,) what a page loses by the size of each alphabet.
    """

    def __init__(self, charset: Charset):
        classes = [*charset.characters, ""]
        marks, own = set(MARKED + MARKED.upper() + "ßẞ"), [set(some + some.upper()) for some in LETTERS.values()]
        self.marked = np.array([letter in marks for letter in classes])
        self.lacking = self.marked & ~np.array([[letter in some for letter in classes] for some in own])
        self.sizes = np.array([EACH * len(letters) for letters in LETTERS.values()], "float32")

    def lowered(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """(K,) float32: by how much the logit of each class is to be lowered on a page.

        Args:
            logits: (T, K) of each text of the page.
        """
        steps = np.concatenate([*logits, np.empty((0, len(self.marked)), "float32")])
        told = log_softmax(steps[self.marked[steps.argmax(-1)]])
        best, most = told.argmax(-1), told.max(-1)
        without = np.stack([np.where(lacks, NEVER, told).max(-1) for lacks in self.lacking], -1)  # (M, A)
        ahead = most[:, None] - without
        chosen = np.argmin(np.minimum(ahead, LOST).sum(0) + self.sizes)
        lacks = self.lacking[chosen]
        foreign = lacks[best]
        count = np.bincount(best[foreign], minlength=len(lacks))
        total = np.bincount(best[foreign], np.minimum(ahead[foreign, chosen], MOST), len(lacks))
        return np.float32(LOST) * (lacks & ~((count >= OFTEN) & (total >= SURELY * count)))


def native(
    readings: Sequence[Reading],
    logits: Sequence[np.ndarray],
    lowered: np.ndarray,
    decode: Callable[[np.ndarray], list[Reading]],
) -> tuple[list[Reading], list[np.ndarray]]:
    """Readings and logits (T, K) of texts in which letters are as likely as they are on their page.

    Args:
        lowered: (K,) see `Alphabets.lowered`.
        decode: from logits (1, T, K) to readings.
    """
    readings, logits, places = list(readings), list(logits), np.flatnonzero(lowered)
    for index, row in enumerate(logits if len(places) else ()):
        if len(row) and (row[:, places].max(-1) > row.max(-1) - NOTED).any():
            logits[index] = row - lowered
            readings[index] = decode(logits[index][None])[0]
    return readings, logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(T, K) float32 logarithms of probabilities."""
    logs = (logits - logits.max(-1, keepdims=True)).astype("float32")
    return logs - np.log(np.exp(logs).sum(-1, keepdims=True))
