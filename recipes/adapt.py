"""Domain adaptation: lessons that make a network read pictures of a domain whose labels it has never seen.

    mmd            features of both domains are to have one distribution; Long et al. 2015, arXiv:1502.02791
    adversarial    no classifier is to tell the domains by the features; Ganin and Lempitsky 2015, arXiv:1409.7495
    teacher        the average of the weights labels what it is sure of; Tarvainen and Valpola 2017, arXiv:1703.01780

See `recipes.beside` for how they are taught.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import layers, ops

from recipes import losses
from recipes.beside import FEATURES, Lesson, pooled
from recipes.data import augment
from recipes.recipe import Recipe
from zoo.registry import Card

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, as parts of the mean squared distance
STRONG = 1.6  # how much a picture is degraded for the student, in the measure of `augment.degrade`


# ---------------------------------------------------------------- losses


def mmd(one, other, widths=None, biased: bool = False):
    """The squared distance of two distributions by samples of them: maximum mean discrepancy. A scalar.

    d² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y) with a sum of Gaussian kernels, k(x, y) = Σ_u exp(-|x - y|² / u)
    (Long et al. 2015, eq. 2 and section 4.1). Unbiased, pairs of a sample with itself do not count (Gretton et al.
    2012, JMLR 13, eq. 3); then it may be below zero. Biased, they do (eq. 5).

    Args:
        one, other: (N, C) and (M, C) float32, at least two rows each.
        widths: u of each kernel, in units of squared distance; by default those of `WIDTHS` times the mean squared
            distance of all pairs of rows, through which no gradient flows.
        biased: see above.
    """
    rows, n, m = ops.concatenate([one, other], 0), ops.shape(one)[0], ops.shape(other)[0]
    squares = ops.sum(rows**2, -1)
    apart = ops.maximum(
        squares[:, None] + squares[None] - 2 * ops.matmul(rows, ops.transpose(rows)), 0
    )  # (N + M, N + M)
    if widths is None:
        pairs = ops.cast((n + m) * (n + m - 1), "float32")
        usual = ops.stop_gradient(ops.maximum(ops.sum(apart) / pairs, 1e-12))
        widths = [width * usual for width in WIDTHS]
    kernel = sum(ops.exp(-apart / width) for width in widths)

    def mean(block, size):
        itself = 0.0 if biased else len(widths)  # k(x, x) of each row
        count = ops.cast(size * size if biased else size * (size - 1), "float32")
        return (ops.sum(block) - itself * ops.cast(size, "float32")) / count

    return mean(kernel[:n, :n], n) + mean(kernel[n:, n:], m) - 2 * ops.mean(kernel[:n, n:])


def reverse(x, strength):
    """x; the gradient that comes back through it is multiplied by -strength (Ganin and Lempitsky 2015, eq. 15)."""
    return ops.stop_gradient((1 + strength) * x) - strength * x


def pseudo_text(known, logits, least: float):
    """CTC loss of the text that a teacher reads, where it is sure of it; else 0. (B, T, K) twice → (B,).

    Args:
        known: the teacher's logits; the last class is the blank.
        logits: the student's.
        least: a text counts if its likeliest path has this probability, taken for each character.
    """
    known = ops.stop_gradient(known)
    batch, steps, classes = ops.shape(known)[0], ops.shape(known)[1], known.shape[-1]
    lengths = ops.full((batch,), steps, dtype="int32")
    ids = ops.ctc_decode(known, lengths, strategy="greedy", mask_index=classes - 1)[0][0]
    ids = ops.cast(ids, "int32")  # (B, T), -1 after the text
    length = ops.sum(ops.cast(ids >= 0, "int32"), 1)
    path = ops.sum(ops.max(ops.log_softmax(known), -1), 1)  # log of the path's probability
    sure = path >= _log(least) * ops.cast(ops.maximum(length, 1), "float32")
    target = {"ids": ops.where(ids < 0, classes - 1, ids), "length": length}
    return losses.ctc(target, logits) * ops.cast(ops.logical_and(sure, length > 0), "float32")


def pseudo_characters(known, logits, least: float):
    """As `pseudo_text`, for networks that give a character in each step and after the text its end, the last class."""
    known = ops.stop_gradient(known)
    ids = ops.cast(ops.argmax(known, -1), "int32")
    going = ops.cumprod(ops.cast(ids < known.shape[-1] - 1, "int32"), 1)  # 1 up to the first end
    length = ops.sum(going, 1)
    count = ops.minimum(length + 1, ops.shape(ids)[1])
    inside = ops.cast(ops.arange(ops.shape(ids)[1])[None] < count[:, None], "float32")
    path = ops.sum(ops.max(ops.log_softmax(known), -1) * inside, 1)
    sure = path >= _log(least) * ops.cast(count, "float32")
    return losses.attention({"ids": ids, "length": length}, logits) * ops.cast(sure, "float32")


def _log(probability: float) -> float:
    return math.log(probability) if probability else -math.inf


def pseudo_pixels(known, logits, least: float):
    """Cross-entropy with what a teacher says of each pixel that it is sure of: (B, H, W, K) twice → (B,).

    Of one class it is the probability that counts, or one minus it; of several the likeliest class.
    """
    known = ops.stop_gradient(known)
    if known.shape[-1] == 1:
        text = ops.sigmoid(known[..., 0])
        sure = ops.cast(ops.maximum(text, 1 - text) >= least, "float32")
        return losses.mean(losses.binary_cross_entropy(ops.cast(text > 0.5, "float32"), logits[..., 0]), sure)
    sure = ops.cast(ops.max(ops.softmax(known), -1) >= least, "float32")
    entropy = ops.sparse_categorical_crossentropy(ops.argmax(known, -1), logits, from_logits=True)
    return losses.mean(entropy, sure)


# ---------------------------------------------------------------- lessons


class Discrepancy(Lesson):
    """The discrepancy of the features of both domains; of a device's part of the batch."""

    pictures = ("unlabelled",)
    compares = True

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        return {"unlabelled": unlabelled}

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        return {"ours": pooled(ours[FEATURES]), "theirs": pooled(others[0][FEATURES])}

    def loss(self, outputs: dict):
        return mmd(outputs["ours"], outputs["theirs"])


class Adversary(Lesson):
    """A small classifier that learns to tell the domains by the features, which learn to mislead it."""

    pictures = ("unlabelled",)
    told = ("strength",)

    def __init__(self, recipe: Recipe, card: Card, network: keras.Model):
        super().__init__(recipe, card, network)
        channels = network.output[FEATURES].shape[-1]
        self.hidden = layers.Dense(64, "relu", name="domain_hidden", dtype="float32")
        self.domain = layers.Dense(1, name="domain_logits", dtype="float32")
        self.hidden.build((None, channels))
        self.domain.build((None, 64))

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        """The pictures, and how strongly the gradient is reversed: from 0 to 1 (Ganin and Lempitsky 2015, 5.2.2)."""
        strength = 2 / (1 + math.exp(-10 * step / self.recipe.steps)) - 1
        return {"unlabelled": unlabelled, "strength": np.full(len(pixels), strength, "float32")}

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        strength = ops.cast(given["strength"], "float32")[:, None]
        return {
            name: self.domain(self.hidden(reverse(pooled(outputs[FEATURES]), strength)))[:, 0]
            for name, outputs in (("ours", ours), ("theirs", others[0]))
        }

    def loss(self, outputs: dict):
        source = losses.binary_cross_entropy(0.0, outputs["ours"])
        return (source + losses.binary_cross_entropy(1.0, outputs["theirs"])) / 2


class Teacher(Lesson):
    """The average of the network's weights reads pictures; the network learns to read the same when they are degraded.

    θ' ← α θ' + (1 - α) θ with α = min(1 - 1 / (n + 1), `ema`) at the n-th time (Tarvainen and Valpola 2017, section 2),
    while the learner runs forward in training; statistics of batch normalization are the network's own.
    """

    pictures = ("degraded",)
    told = ("unlabelled",)
    reads_features = False

    def __init__(self, recipe: Recipe, card: Card, network: keras.Model):
        super().__init__(recipe, card, network)
        kinds = {"detection": pseudo_pixels, "segmentation": pseudo_pixels, "recognition": pseudo_text}
        ended = card.task == "recognition" and card.reading.get("decoding", "ctc") != "ctc"
        self.distance = pseudo_characters if ended else kinds[card.task]
        shape = network.output["logits"].shape
        if card.task == "detection" and (len(shape) != 4 or shape[-1] != 1):
            raise ValueError(
                f"adapt=teacher teaches one map of text; {card.name} gives logits {tuple(shape[1:])}; take mmd or "
                "adversarial"
            )
        kept = {"trainable": False, "aggregation": "only_first_replica"}
        self.times = self.add_weight(shape=(), initializer="zeros", dtype="float32", name="times", **kept)
        self.averages = [
            self.add_weight(shape=v.shape, dtype="float32", name=v.path.replace("/", "."), initializer="zeros", **kept)
            for v in network.trainable_variables
        ]

    def arrays(self, step: int, pixels: np.ndarray, unlabelled: np.ndarray) -> dict[str, np.ndarray]:
        rng = self.rng(step)
        return {"unlabelled": unlabelled, "degraded": np.stack([augment.degrade(p, rng, STRONG) for p in unlabelled])}

    def answers(self, network: keras.Model, given: dict, ours: dict, others: list[dict]) -> dict:
        self._follow(network)
        kept = [variable.value for variable in network.non_trainable_variables]
        averages = [variable.value for variable in self.averages]
        outputs, _ = network.stateless_call(averages, kept, given["unlabelled"], training=False)
        return {"known": outputs["logits"], "degraded": others[0]["logits"]}

    def _follow(self, network: keras.Model) -> None:
        momentum = ops.minimum(1 - 1 / (self.times + 1), self.recipe.ema or 0.99)
        for average, variable in zip(self.averages, network.trainable_variables, strict=True):
            new = ops.stop_gradient(ops.cast(ops.convert_to_tensor(variable), "float32"))
            average.assign(momentum * average + (1 - momentum) * new)
        self.times.assign(self.times + 1)

    def loss(self, outputs: dict):
        return self.distance(outputs["known"], outputs["degraded"], self.recipe.confident)
