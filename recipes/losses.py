"""Losses: each maps (target, logits) to one value for each sample (B,). Logits are float32, before any activation."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops


def whole(loss):
    """(B,): a loss, or the sum of its parts by name."""
    return sum(loss.values()) if isinstance(loss, dict) else loss


def ctc(target: dict, logits):
    """Connectionist temporal classification, per character. Graves et al. 2006, doi:10.1145/1143844.1143891, eq. 8.

    A label that cannot be written in the steps at hand (characters + repeats > T) counts as 0: backends give it
    values of different, arbitrary height, which would drown the batch.

    Args:
        target: "ids" (B, L) int32, padded with the blank's id or any other; "length" (B,) int32.
        logits: (B, T, K) float32; the last class is the blank.
    """
    batch, steps, classes = ops.shape(logits)[0], ops.shape(logits)[1], logits.shape[-1]
    ids, length = ops.cast(target["ids"], "int32"), ops.cast(target["length"], "int32")
    inside = ops.arange(1, ops.shape(ids)[1])[None] < length[:, None]
    repeats = ops.sum(ops.cast(ops.logical_and(ids[:, 1:] == ids[:, :-1], inside), "int32"), 1)
    feasible = length + repeats <= steps
    length = ops.where(feasible, length, 0)
    loss = ops.ctc_loss(ids, logits, length, ops.full((batch,), steps, dtype="int32"), mask_index=classes - 1)
    return ops.where(feasible, loss, 0.0) / ops.cast(ops.maximum(length, 1), "float32")


def frames(target: dict, logits):
    """Cross-entropy of each step with the class that stands there, averaged over the steps.

    For samples whose characters' places are known: one step at the middle of each character has its class, all others
    are blank. That is one of the paths that CTC sums over, so both agree, and the first needs no search for it.

    Args:
        target: "frames" (B, T) int32, "aligned" (B,) float32: 0 for samples whose places are not known.
        logits: (B, T, K) float32.
    """
    truth = ops.cast(target["frames"], "int32")
    entropy = ops.sparse_categorical_crossentropy(truth, logits, from_logits=True)  # (B, T)
    character = ops.cast(truth != logits.shape[-1] - 1, "float32")
    weight = 1 + 3 * character  # most steps are blank
    return target["aligned"] * ops.sum(entropy * weight, 1) / ops.sum(weight, 1)


def attention(target: dict, logits, smoothing: float = 0.0):
    """Cross-entropy of each character and of the end of the text, averaged over them; what follows does not count.

    Args:
        target: "ids" (B, L) int32, after the characters the end's class, at least once; "length" (B,) int32.
        logits: (B, T, K) float32. Of a text that is longer than T the first T characters count.
        smoothing: see `cross_entropy`.
    """
    ids = ops.cast(target["ids"], "int32")[:, : ops.shape(logits)[1]]
    entropy = cross_entropy(ids, logits[:, : ops.shape(ids)[1]], smoothing)
    count = ops.minimum(ops.cast(target["length"], "int32") + 1, ops.shape(ids)[1])
    inside = ops.cast(ops.arange(ops.shape(ids)[1])[None] < count[:, None], "float32")
    return ops.sum(entropy * inside, 1) / ops.sum(inside, 1)


def permuted(target: dict, logits):
    """Cross-entropy of characters that were read in several orders. Bautista and Atienza 2022, arXiv:2207.06966, eq. 6.

    The end counts in the first two orders, from left to right and from right to left: in the others it has seen every
    character, and would be learnt again.

    Args:
        target: "ids" and "length" as `attention` takes them.
        logits: (B, P, T, K) float32, of P orders.
    """
    orders = ops.shape(logits)[1]
    ids = ops.cast(target["ids"], "int32")[:, None, : ops.shape(logits)[2]]  # (B, 1, L)
    steps, length = ops.shape(ids)[2], ops.cast(target["length"], "int32")[:, None, None]
    truth = ops.tile(ids, (1, orders, 1))
    entropy = ops.sparse_categorical_crossentropy(truth, logits[:, :, :steps], from_logits=True)
    with_end = ops.cast(ops.arange(orders) < 2, "int32")[None, :, None]
    inside = ops.cast(ops.arange(steps)[None, None] < length + with_end, "float32")  # (B, P, L)
    return ops.sum(entropy * inside, (1, 2)) / ops.sum(inside, (1, 2))


def distillation(teacher, logits, temperature: float = 1.0):
    """τ² · KL(teacher ‖ student) of softened classes, averaged over the steps. Hinton et al. 2015, arXiv:1503.02531.

    τ² keeps gradients as large as those of labels, whatever the temperature (section 2). A single logit, as of maps of
    text, is that of one class of two.

    Args:
        teacher: logits (B, …, K); no gradient flows to them.
        logits: (B, …, K).
        temperature: τ, by which both are divided.
    """
    if logits.shape[-1] == 1:
        teacher, logits = (ops.concatenate([z, ops.zeros_like(z)], -1) for z in (teacher, logits))
    known = ops.log_softmax(ops.stop_gradient(teacher) / temperature)
    divergence = ops.sum(ops.exp(known) * (known - ops.log_softmax(logits / temperature)), -1)
    return temperature**2 * ops.mean(ops.reshape(divergence, (ops.shape(logits)[0], -1)), -1)


def similarity(teacher, features):
    """How differently two networks see which samples of a batch are alike. Tung and Mori 2019, arXiv:1907.09682, eq. 4.

    G = F · Fᵀ of the samples' features F (B, all of a sample), each row brought to length 1; the squared distance of
    both matrices, over B for each row. The paper divides by B² and sums the rows.

    Args:
        teacher: features (B, …), no gradient flows to them.
        features: (B, …) of any size.
    """

    def alike(values):
        rows = ops.reshape(values, (ops.shape(values)[0], -1))
        return ops.normalize(ops.matmul(rows, ops.transpose(rows)), axis=-1)

    return ops.mean((alike(ops.stop_gradient(teacher)) - alike(features)) ** 2, -1)


def cross_entropy(target, logits, smoothing: float = 0.0):
    """-Σ q_k log p_k, q = (1 - ε) · one-hot + ε / K. Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, section 7.

    Args:
        target: (…) int32, the class of each place.
        logits: (…, K) float32.
        smoothing: ε, the probability that is shared by all classes.
    """
    entropy = ops.sparse_categorical_crossentropy(ops.cast(target, "int32"), logits, from_logits=True)
    if not smoothing:
        return entropy
    return (1 - smoothing) * entropy - smoothing * ops.mean(ops.log_softmax(logits), -1)


def classes(target, logits, smoothing: float = 0.0):
    """`cross_entropy` of one class for each sample: (B,) int32, (B, K) float32 → (B,)."""
    return cross_entropy(target, logits, smoothing)


def segments(target: dict, outputs: dict, beta: float = 1.0, coarse: float = 0.4):
    """L = L_entropy + β·L_dice of the classes of pixels, and the same of "coarse" logits where there are any.

    L_entropy is the mean over the pixels, L_dice the mean over the classes that a picture shows of 1 minus the dice of
    each (Milletari et al. 2016, arXiv:1606.04797): a small region counts as much as a large one.

    Args:
        target: "class" (B, H, W) int32.
        outputs: "logits" and, from OCRNet, "coarse", each (B, H, W, K).
        beta: weight of L_dice.
        coarse: weight of the second loss (Yuan et al. 2020, https://arxiv.org/abs/1909.11065, section 4.2).
    """
    entropy, overlap = _segments(target["class"], outputs["logits"])
    loss = entropy + beta * overlap
    if "coarse" in outputs:
        entropy, overlap = _segments(target["class"], outputs["coarse"])
        loss += coarse * (entropy + beta * overlap)
    return loss


def _segments(truth, logits):
    """Entropy and dice of `segments`: (B,) each."""
    truth = ops.cast(truth, "int32")
    entropy = ops.mean(ops.sparse_categorical_crossentropy(truth, logits, from_logits=True), (1, 2))
    true, found = ops.one_hot(truth, logits.shape[-1]), ops.softmax(logits, -1)
    true = ops.cast(true, "float32")
    size = ops.sum(true, (1, 2))  # (B, K)
    overlap = 2 * ops.sum(true * found, (1, 2)) / ops.maximum(size + ops.sum(found, (1, 2)), 1e-6)
    there = ops.cast(size > 0, "float32")
    return entropy, ops.sum((1 - overlap) * there, 1) / ops.sum(there, 1)


def binary_cross_entropy(target, logits):
    """Cross-entropy of each pixel, stable for large logits: max(z, 0) - z·t + log(1 + e^-|z|)."""
    return ops.maximum(logits, 0) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))


def focal(target, logits, alpha: float = 0.25, gamma: float = 2.0):
    """-α_t (1 - p_t)^γ log p_t of each place. Lin et al. 2017, https://arxiv.org/abs/1708.02002, eq. 5.

    p_t is the probability of what is true.

    Args:
        target: (…) 0 or 1.
        logits: (…).
        alpha: α_t of what is 1; that of what is 0 is 1 - alpha.
        gamma: how little counts what is already known.
    """
    found = ops.sigmoid(logits)
    wrong = found + target - 2 * found * target  # 1 - p_t
    return (alpha * target + (1 - alpha) * (1 - target)) * wrong**gamma * binary_cross_entropy(target, logits)


def iou(target, probability, mask, smooth: float = 1.0):
    """1 - |A ∩ B| / |A ∪ B| over the masked pixels: (B, H, W) each → (B,).

    Rahman and Wang 2016, doi:10.1007/978-3-319-50835-1_22, eq. 3 to 5: the intersection is the sum of products, the
    union what both have together less that. `smooth` is added above and below, as in `dice`.
    """
    both = ops.sum(target * probability * mask, (1, 2))
    either = ops.sum((target + probability) * mask, (1, 2)) - both
    return 1 - (both + smooth) / (either + smooth)


def dice(target, probability, mask, smooth: float = 1.0):
    """1 - 2·|A ∩ B| / (|A| + |B|) over the masked pixels: (B, H, W) each → (B,).

    Milletari et al. 2016, arXiv:1606.04797. `smooth` is added above and below, so that an empty picture found
    empty costs nothing.
    """
    both = ops.sum(target * probability * mask, (1, 2))
    either = ops.sum((target + probability) * mask, (1, 2))
    return 1 - (2 * both + smooth) / (either + smooth)


def db(target: dict, outputs: dict, alpha: float = 5.0, beta: float = 10.0, k: float = 50.0):
    """L = α·L_region + L_binary + β·L_border. Liao et al. 2019, https://arxiv.org/abs/1911.08947, eq. 3 to 7.

    L_region is a cross-entropy of which text makes up a half, background next to text a quarter, and all other
    background a quarter (instead of the paper's mining of hard negatives, which sorts all pixels: the hard ones are
    those between words). L_binary is the dice of the approximate binary map, L_border the mean distance of the
    thresholds around the edges of text.

    Args:
        target: "region", "mask", "border", "border_mask", each (B, H, W): see `recipes.detection.targets`.
        outputs: "logits" and "threshold", each (B, H, W, 1).
        alpha: weight of L_region; the paper's order is (1, 1, 10) on a sum with mined negatives.
        beta: weight of L_border.
        k: steepness of the approximate step function.
    """
    region_loss, binary_loss, border_loss = _db(target, outputs, k)
    return alpha * region_loss + binary_loss + beta * border_loss


def _db(target: dict, outputs: dict, k: float = 50.0):
    """L_region, L_binary and L_border of `db`: (B,) each."""
    logits, threshold = outputs["logits"][..., 0], ops.sigmoid(outputs["threshold"][..., 0])
    region, mask, border, border_mask = (
        ops.cast(target[key], "float32") for key in ("region", "mask", "border", "border_mask")
    )
    entropy = binary_cross_entropy(region, logits)
    text, ground = region * mask, (1 - region) * mask
    near, far = ground * border_mask, ground * (1 - border_mask)
    region_loss = mean(entropy, text) / 2 + mean(entropy, near) / 4 + mean(entropy, far) / 4
    binary = ops.sigmoid(k * (ops.sigmoid(logits) - threshold))  # eq. 2
    border_loss = mean(ops.abs(threshold - border), border_mask)
    return region_loss, dice(region, binary, mask), border_loss


def spotting(target: dict, outputs: dict, alpha: float = 5.0, beta: float = 10.0, coarse: float = 0.4) -> dict:
    """The parts of what OCRNet learns, (B,) each: "cls" of pixels, "iou" of regions, "ctc" of words.

    "cls" is α·L_region + β·L_border of `db`, and the entropies of the classes of pixels, as `segments` has them, and of
    the characters that stand at pixels; "iou" the dice of the binary map and of the classes; "ctc" the mean over the
    words of `ctc` and half of `frames`. A page whose classes are not known tells nothing of them.

    Args:
        target: what `db` takes; "class" (B, H, W) int32 and "known" (B,); "character" (B, H/4, W/4) int32, the last
            class being none, and -1 where it is not known; of words what `ctc` and `frames` take, (B, N, …) each. A
            word of length 0 is none.
        outputs: those of `zoo.spotting.ocrnet`, "characters" or not.
        alpha, beta: weights, as in `db`.
        coarse: weight of the coarse classes beside the fine ones.
    """
    region, binary, border = _db(target, outputs)
    known = ops.cast(target["known"], "float32")
    entropy, overlap = _segments(target["class"], outputs["classes"])
    rough, rough_overlap = _segments(target["class"], outputs["coarse"])
    entropy, overlap = known * (entropy + coarse * rough), known * (overlap + coarse * rough_overlap)
    if "characters" in outputs:
        entropy += _characters(target["character"], outputs["characters"])
    return {
        "cls": alpha * region + beta * border + entropy,
        "iou": binary + overlap,
        "ctc": _words(target, outputs["text"]),
    }


def _characters(truth, logits):
    """Entropy of what stands at pixels, half from those where a character's middle lies, half from the others."""
    truth, none = ops.cast(truth, "int32"), logits.shape[-1] - 1
    entropy = ops.sparse_categorical_crossentropy(ops.maximum(truth, 0), logits, from_logits=True)
    there = ops.cast(ops.logical_and(truth >= 0, truth != none), "float32")
    return (mean(entropy, there) + mean(entropy, ops.cast(truth == none, "float32"))) / 2


def _words(target: dict, logits):
    """(B,): the mean over the words of `ctc` and half of `frames`; logits are (B, N, T, K)."""
    batch = ops.shape(logits)[0]
    flat = {name: _flat(target[name]) for name in ("ids", "length", "frames", "aligned")}
    rows = _flat(logits)
    loss = ops.reshape(ctc(flat, rows) + 0.5 * frames(flat, rows), (batch, -1))
    there = ops.cast(target["length"] > 0, "float32")
    return ops.sum(loss * there, 1) / ops.maximum(ops.sum(there, 1), 1.0)


def _flat(x):
    """(B·N, …) of (B, N, …)."""
    shape = ops.shape(x)
    return ops.reshape(x, (shape[0] * shape[1], *shape[2:]))


def linknet(
    target: dict,
    outputs: dict,
    alpha: float = 0.5,
    gamma: float = 2.0,
    weights: tuple[float, float] = (1.0, 1.0),
    overlap: Callable = dice,
):
    """L = λ1·L_cls + λ2·L_iou of the shrunken regions, over the pixels that count.

    L_cls is the mean of `focal`, L_iou the overlap of found and true regions.

    Args:
        target: "region" and "mask", each (B, H, W).
        outputs: "logits" (B, H, W, 1).
        alpha: weight of text; that of the background is 1 - alpha.
        gamma: how little counts what is already known.
        weights: λ1 and λ2.
        overlap: `dice` or `iou`.
    """
    logits = outputs["logits"][..., 0]
    region, mask = (ops.cast(target[key], "float32") for key in ("region", "mask"))
    classified = mean(focal(region, logits, alpha, gamma), mask)
    return weights[0] * classified + weights[1] * overlap(region, ops.sigmoid(logits), mask)


def fast(target: dict, outputs: dict, alpha: float = 0.5, ratio: int = 3):
    """L = L_kernel + α·L_text, each a dice. Chen et al. 2021, https://arxiv.org/abs/2111.02394.

    L_kernel looks inside of text alone. L_text counts of the background only the pixels that are hardest to tell, as
    many as `ratio` times the text.

    Args:
        target: "region", "text" and "mask", each (B, H, W): see `recipes.detection.targets.regions`.
        outputs: "kernel" and "logits", each (B, H, W, 1).
        alpha: weight of L_text.
        ratio: pixels of background for each of text; of a picture without text all count.
    """
    kernel, found = (ops.sigmoid(outputs[key][..., 0]) for key in ("kernel", "logits"))
    region, text, mask = (ops.cast(target[key], "float32") for key in ("region", "text", "mask"))
    return dice(region, kernel, text * mask) + alpha * dice(text, found, mask * hardest(found, text, mask, ratio))


def hardest(probability, text, mask, ratio: int):
    """1 where there is text, and at the pixels of background most like text, `ratio` for each of text: (B, H, W) each.

    Of two equal pixels both count or none does; where no text is, all do.
    """
    ground = (1 - text) * mask
    scores = ops.reshape(ops.stop_gradient(probability) * ground - (1 - ground), (ops.shape(text)[0], -1))
    wanted = ratio * ops.sum(text * mask, (1, 2))
    count = ops.cast(ops.minimum(wanted, ops.sum(ground, (1, 2))), "int32")
    ordered = ops.flip(ops.sort(scores, -1), -1)  # from the hardest on; what is no background is -1
    last = ops.take_along_axis(ordered, ops.maximum(count - 1, 0)[:, None], -1)
    chosen = ops.logical_or(scores >= last, (count == 0)[:, None])
    chosen = ops.reshape(ops.cast(chosen, "float32"), ops.shape(text))
    return ops.maximum(text, chosen)


def smooth(difference):
    """The smooth L1 distance: half of the square up to 1, then linear. Girshick 2015, https://arxiv.org/abs/1504.08083."""
    size = ops.abs(difference)
    return ops.where(size < 1, 0.5 * size**2, size - 0.5)


def mean(values, weight):
    """The mean over the pixels of each sample that have weight; 0 where none has."""
    return ops.sum(values * weight, (1, 2)) / ops.maximum(ops.sum(weight, (1, 2)), 1.0)
