"""Losses against numbers worked by hand, and against all paths counted one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from recipes import losses

RNG = np.random.default_rng(4)


def softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def collapsed(path: tuple[int, ...], blank: int) -> list[int]:
    """A path without repeats, then without blanks."""
    return [step for step, _ in itertools.groupby(path) if step != blank]


def by_enumeration(logits: np.ndarray, label: list[int]) -> float:
    """-log of the summed probability of all paths (T, K) that give the label."""
    steps, classes = logits.shape
    probability = softmax(logits.astype("float64"))
    paths = itertools.product(range(classes), repeat=steps)
    total = sum(
        math.prod(probability[t, k] for t, k in enumerate(path))
        for path in paths
        if collapsed(path, classes - 1) == label
    )
    return -math.log(total)


def ctc(logits: np.ndarray, labels: list[list[int]]) -> np.ndarray:
    blank = logits.shape[-1] - 1
    ids = np.full((len(labels), max(2, *map(len, labels))), blank, "int32")
    for row, label in zip(ids, labels, strict=True):
        row[: len(label)] = label
    target = {"ids": ids, "length": np.array([len(label) for label in labels], "int32")}
    return np.asarray(losses.ctc(target, logits.astype("float32")))


def test_ctc_of_two_steps_and_one_character():
    """Paths a a, a -, - a: 0.5·0.2 + 0.5·0.7 + 0.3·0.2 = 0.51."""
    probability = np.array([[[0.5, 0.2, 0.3], [0.2, 0.1, 0.7]]])
    np.testing.assert_allclose(ctc(np.log(probability), [[0]])[0], -math.log(0.51), rtol=1e-5)


def test_ctc_is_the_sum_over_all_paths_per_character():
    labels = [[0], [1, 0], [0, 0], [1, 0, 1]]
    logits = RNG.normal(0, 2, (4, 4, 3))
    expected = [by_enumeration(row, label) / len(label) for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(ctc(logits, labels), expected, rtol=1e-4)


def test_ctc_of_an_empty_label_is_that_of_blanks_alone():
    logits = RNG.normal(0, 1, (1, 3, 3))
    expected = -np.log(softmax(logits)[0, :, 2]).sum()
    np.testing.assert_allclose(ctc(logits, [[]])[0], expected, rtol=1e-5)


def test_ctc_of_a_label_that_does_not_fit_is_nothing_and_leaves_the_rest_alone():
    """Two steps cannot write "aa", which needs a blank in between, nor three characters."""
    import tensorflow as tf

    logits = RNG.normal(0, 1, (3, 2, 3)).astype("float32")
    values = ctc(logits, [[0], [0, 0], [0, 1, 0]])
    assert values[1] == values[2] == 0
    np.testing.assert_allclose(values[0], by_enumeration(logits[0], [0]), rtol=1e-4)
    target = {"ids": np.array([[0, 2, 2], [0, 0, 2], [0, 1, 0]], "int32"), "length": np.array([1, 2, 3], "int32")}
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.ctc(target, variable))
    gradient = tape.gradient(loss, variable).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).max() > 0.01
    np.testing.assert_array_equal(gradient[1:], 0)


def test_frames_weigh_characters_four_times():
    """Two steps: a character with probability 1/2, a blank with 1/4: (4 ln 2 + ln 4) / 5."""
    logits = np.log(np.array([[[0.5, 0.5], [0.75, 0.25]]], "float32"))
    for aligned, expected in ((1.0, (4 * math.log(2) + math.log(4)) / 5), (0.0, 0.0)):
        target = {"frames": np.array([[0, 1]], "int32"), "aligned": np.array([aligned], "float32")}
        np.testing.assert_allclose(np.asarray(losses.frames(target, logits)), [expected], rtol=1e-5)


def test_classes():
    """The true classes have the probabilities 1/4 and 1/2."""
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]], "float32"))
    expected = [math.log(4), math.log(2)]
    np.testing.assert_allclose(np.asarray(losses.classes(np.array([1, 2]), logits)), expected, rtol=1e-5)


def test_binary_cross_entropy_is_stable():
    logits, target = np.array([0.0, 100, -100, 2]), np.array([1.0, 1, 1, 0])
    expected = [math.log(2), 0, 100, math.log1p(math.exp(2))]
    np.testing.assert_allclose(
        np.asarray(losses.binary_cross_entropy(target.astype("float32"), logits.astype("float32"))), expected, atol=1e-5
    )


def test_dice():
    """Two of three true pixels found, one false: 1 - (2·2 + 1) / (6 + 1); nothing in nothing costs nothing."""
    true = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 0]]], "float32")
    found = np.array([[[1, 1, 0, 1]], [[0, 0, 0, 0]]], "float32")
    np.testing.assert_allclose(np.asarray(losses.dice(true, found, np.ones_like(true))), [1 - 5 / 7, 0], atol=1e-6)
    masked = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 1]]], "float32")
    np.testing.assert_allclose(np.asarray(losses.dice(true, found, masked)), [0, 0], atol=1e-6)


@pytest.fixture
def maps():
    """4 x 4 pixels: two of text, two that do not count, three with a threshold to learn."""
    region, mask = np.zeros((1, 4, 4), "float32"), np.ones((1, 4, 4), "float32")
    border, border_mask = np.full((1, 4, 4), 0.3, "float32"), np.zeros((1, 4, 4), "float32")
    region[0, 1, 1:3], mask[0, 3, 2:] = 1, 0
    border[0, 0, :3], border_mask[0, 0, :3] = 0.7, 1
    return {"region": region, "mask": mask, "border": border, "border_mask": border_mask}


def test_db(maps):
    """With all logits 0: region ln 2, dice 1 - (2·1 + 1) / (2 + 7 + 1), border |0.5 - 0.7|."""
    outputs = {"logits": np.zeros((1, 4, 4, 1), "float32"), "threshold": np.zeros((1, 4, 4, 1), "float32")}
    value = np.asarray(losses.db(maps, outputs, alpha=5, beta=10, k=50))
    np.testing.assert_allclose(value, [5 * math.log(2) + 0.7 + 10 * 0.2], rtol=1e-5)


def test_db_weighs_text_ground_beside_text_and_other_ground(maps):
    """Logits of +1 in one group and 0 elsewhere: its share of ln 2 becomes that of ln(1 + e^±1); the dice stays."""
    zero = {"logits": np.zeros((1, 4, 4, 1), "float32"), "threshold": np.zeros((1, 4, 4, 1), "float32")}
    region, near = maps["region"] * maps["mask"], maps["border_mask"] * (1 - maps["region"])
    for group, share, sign in ((region, 1 / 2, -1), (near, 1 / 4, 1)):
        outputs = zero | {"logits": group[..., None].astype("float32")}
        entropy = share * math.log1p(math.exp(sign)) + (1 - share) * math.log(2)
        value = np.asarray(losses.db(maps, outputs, alpha=5, beta=0, k=0))  # k = 0: the binary map is 1/2 everywhere
        np.testing.assert_allclose(value, [5 * entropy + 0.7], rtol=1e-5)


def test_db_does_not_see_what_is_masked(maps):
    outputs = {key: RNG.normal(0, 1, (1, 4, 4, 1)).astype("float32") for key in ("logits", "threshold")}
    before = np.asarray(losses.db(maps, outputs))
    outputs["logits"][0, 3, 2:] = 9
    outputs["threshold"][0, 3, 2:] = -9
    np.testing.assert_allclose(np.asarray(losses.db(maps, outputs)), before, rtol=1e-6)
    outputs["logits"][0, 2, 2] = 9
    assert np.asarray(losses.db(maps, outputs)) > before


# ---------------------------------------------------------------- attention


def test_attention_counts_the_characters_and_the_end():
    """Classes a, b, end. "b": -(ln 0.5 + ln 0.8) / 2, the third step plays no part; "": -ln 0.1."""
    probability = np.array([[[0.3, 0.5, 0.2], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]], [[0.7, 0.2, 0.1]] * 3])
    target = {"ids": np.array([[1, 2, 2], [2, 2, 2]]), "length": np.array([1, 0])}
    value = np.asarray(losses.attention(target, np.log(probability).astype("float32")))
    np.testing.assert_allclose(value, [-math.log(0.5 * 0.8) / 2, -math.log(0.1)], rtol=1e-5)


def test_attention_of_fewer_steps_than_characters_and_of_more():
    """A text too long counts with the characters that have a step."""
    probability = np.array([[[0.3, 0.5, 0.2], [0.6, 0.2, 0.2]]])
    target = {"ids": np.array([[1, 0, 1, 2]]), "length": np.array([3])}
    value = np.asarray(losses.attention(target, np.log(probability).astype("float32")))
    np.testing.assert_allclose(value, [-math.log(0.5 * 0.6) / 2], rtol=1e-5)
    more = np.concatenate([probability, probability], 1)
    target = {"ids": np.array([[1, 2]]), "length": np.array([1])}
    value = np.asarray(losses.attention(target, np.log(more).astype("float32")))
    np.testing.assert_allclose(value, [-math.log(0.5 * 0.2) / 2], rtol=1e-5)


def test_permuted_counts_the_end_in_two_orders_of_three():
    """ "b" in three orders: each has b with 0.5; the end has 0.8, 0.4 and, uncounted, 0.1."""
    ends = [[0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1]]
    probability = np.array([[[[0.3, 0.5, 0.2], end] for end in ends]])  # (1, 3, 2, 3)
    target = {"ids": np.array([[1, 2]]), "length": np.array([1])}
    value = np.asarray(losses.permuted(target, np.log(probability).astype("float32")))
    np.testing.assert_allclose(value, [-math.log(0.5**3 * 0.8 * 0.4) / 5], rtol=1e-5)


def test_permuted_of_one_order_is_attention():
    logits = RNG.normal(0, 1, (3, 5, 4)).astype("float32")
    target = {"ids": np.array([[0, 1, 2, 3, 3], [2, 3, 3, 3, 3], [3, 3, 3, 3, 3]]), "length": np.array([3, 1, 0])}
    expected = np.asarray(losses.attention(target, logits))
    np.testing.assert_allclose(np.asarray(losses.permuted(target, logits[:, None])), expected, rtol=1e-5)


def test_linknet(maps):
    """With all logits 0: focal 1/2 · (1/2)² · ln 2 at each pixel, dice 0.7 as above."""
    value = np.asarray(losses.linknet(maps, {"logits": np.zeros((1, 4, 4, 1), "float32")}))
    np.testing.assert_allclose(value, [math.log(2) / 8 + 0.7], rtol=1e-5)


def test_linknet_weighs_text_and_what_is_still_wrong():
    """Text found with 0.2 and background taken for it with 0.4: (α·0.8² ln 5 + (1 - α)·0.4² ln 5/3) / 2, and dice."""
    probability = np.array([[[0.2, 0.4]]], "float32")
    target = {"region": np.array([[[1, 0]]], "float32"), "mask": np.ones((1, 1, 2), "float32")}
    outputs = {"logits": np.log(probability / (1 - probability))[..., None]}
    value = np.asarray(losses.linknet(target, outputs, alpha=0.75, gamma=2))
    focal = (0.75 * 0.64 * math.log(5) + 0.25 * 0.16 * math.log(5 / 3)) / 2
    np.testing.assert_allclose(value, [focal + 1 - (2 * 0.2 + 1) / (1 + 0.6 + 1)], rtol=1e-5)


def test_linknet_does_not_see_what_is_masked(maps):
    logits = RNG.normal(0, 1, (1, 4, 4, 1)).astype("float32")
    before = np.asarray(losses.linknet(maps, {"logits": logits}))
    logits[0, 3, 2:] = 9
    np.testing.assert_allclose(np.asarray(losses.linknet(maps, {"logits": logits})), before, rtol=1e-6)


def test_linknet_weighs_classes_and_overlap(maps):
    """With all logits 0: focal ln 2 / 8; of A ∩ B = 1 and A + B = 9 (2 pixels of text, 14 that count), union 8."""
    outputs = {"logits": np.zeros((1, 4, 4, 1), "float32")}
    value = np.asarray(losses.linknet(maps, outputs, weights=(4.0, 2.0), overlap=losses.iou))
    both, either = 1.0, maps["region"].sum() + 0.5 * maps["mask"].sum() - 1.0
    np.testing.assert_allclose(value, [math.log(2) / 2 + 2 * (1 - (both + 1) / (either + 1))], rtol=1e-5)


def test_smoothing_gives_every_class_a_share():
    """p = (1/2, 1/4, 1/4), of which the second is true: 0.9 · ln 4 + 0.1 · (ln 2 + 2 ln 4) / 3."""
    logits = np.log(np.array([[0.5, 0.25, 0.25]], "float32"))
    value = np.asarray(losses.classes(np.array([1]), logits, 0.1))
    np.testing.assert_allclose(value, [0.9 * math.log(4) + 0.1 * 5 * math.log(2) / 3], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(losses.classes(np.array([1]), logits)), [math.log(4)], rtol=1e-5)
    target = {"ids": np.array([[1, 2]], "int32"), "length": np.array([1], "int32")}
    found = np.asarray(losses.attention(target, np.stack([logits, logits], 1), 0.1))
    np.testing.assert_allclose(found, value, rtol=1e-5)  # of the character and of the end alike


def test_focal():
    """Text found with 0.2: 0.25 · 0.8² · ln 5; background taken for it with 0.4: 0.75 · 0.4² · ln 5/3."""
    probability = np.array([0.2, 0.4], "float32")
    value = np.asarray(losses.focal(np.array([1, 0], "float32"), np.log(probability / (1 - probability))))
    np.testing.assert_allclose(value, [0.16 * math.log(5), 0.12 * math.log(5 / 3)], rtol=1e-5)


def test_iou():
    """Found with 1, 0.5 and 0, the first two being text, the last masked: 1 - 1.5 / 2, smoothed 1 - 2.5 / 3."""
    target, probability = np.array([[[1, 1, 0, 0]]], "float32"), np.array([[[1, 0.5, 0, 1]]], "float32")
    mask = np.array([[[1, 1, 1, 0]]], "float32")
    np.testing.assert_allclose(np.asarray(losses.iou(target, probability, mask, 0.0)), [0.25], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(losses.iou(target, probability, mask)), [0.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(losses.iou(0 * target, 0 * probability, mask)), [0], atol=1e-7)


def test_the_hardest_background():
    """One pixel of text, so three of background: 0.9, 0.8 and 0.7. Without text all count, masked ones never do."""
    probability = np.array([[[0.1, 0.9, 0.2, 0.7], [0.8, 0.3, 0.95, 0.6]]] * 2, "float32")
    text, mask = np.zeros((2, 2, 4), "float32"), np.ones((2, 2, 4), "float32")
    text[0, 0, 2], mask[:, 1, 2] = 1, 0
    chosen = np.asarray(losses.hardest(probability, text, mask, 3)) * mask
    np.testing.assert_array_equal(chosen, [[[0, 1, 1, 1], [1, 0, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 1]]])


def test_fast(maps):
    """With all logits 0 and four pixels of text, two of them kernel: inside of text 1 - (2·1 + 1) / (2 + 2 + 1); in
    all ten pixels of background 1 - (2·2 + 1) / (4 + 7 + 1), which counts half."""
    text = np.zeros((1, 4, 4), "float32")
    text[0, 1] = 1
    outputs = {key: np.zeros((1, 4, 4, 1), "float32") for key in ("kernel", "logits")}
    value = np.asarray(losses.fast({**maps, "text": text}, outputs))
    np.testing.assert_allclose(value, [0.4 + 7 / 24], rtol=1e-5)
    right = {"kernel": 100 * maps["region"][..., None] - 50, "logits": 100 * text[..., None] - 50}
    np.testing.assert_allclose(np.asarray(losses.fast({**maps, "text": text}, right)), [0], atol=1e-6)
