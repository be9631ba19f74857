"""Attention by hand-worked values, the greedy loop by a network that counts, PARSeq's graphs against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from keras import ops

import zoo
from recipes.recognition import targets
from zoo import attention, weights

RNG = np.random.default_rng(5)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


def test_gelu_is_x_times_the_normal_distribution():
    x = np.linspace(-4, 4, 17).astype("float32")
    expected = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    np.testing.assert_allclose(np.asarray(attention.gelu(x)), expected, atol=1e-6)


def test_sinusoids():
    """Width 4: waves of 1 and of 1 / √10000 = 0.01."""
    expected = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    np.testing.assert_allclose(attention.sinusoids(2, 4), expected, rtol=1e-6)


def test_a_query_takes_what_its_keys_are_like():
    """Scores ln 3 and 0 give weights 3/4 and 1/4; a mask leaves one."""
    query = np.array([[[[math.log(3) * math.sqrt(2), 0]]]], "float32")
    key = np.array([[[[1, 0], [0, 5]]]], "float32")
    value = np.array([[[[4, 0], [0, 8]]]], "float32")
    np.testing.assert_allclose(np.asarray(attention.attend(query, key, value))[0, 0], [[3, 2]], rtol=1e-5)
    masked = attention.attend(query, key, value, np.array([[False, True]]))
    np.testing.assert_array_equal(np.asarray(masked)[0, 0], [[0, 8]])


def test_heads_attend_by_themselves():
    """Two heads of two channels against a loop over rows, heads and queries."""
    layer = attention.Attention(2, 4)
    query, context = random(2, 3, 4), random(2, 5, 4)
    mask = np.tril(np.ones((3, 5), bool), 1)
    found = np.asarray(layer(query, context, seen=mask))
    q, k, v = (
        x @ np.asarray(part.kernel) + np.asarray(part.bias)
        for part, x in ((layer.query, query), (layer.key, context), (layer.value, context))
    )
    joined = np.zeros((2, 3, 4), "float32")
    for row, head, place in np.ndindex(2, 2, 3):
        channels = slice(2 * head, 2 * head + 2)
        scores = k[row][mask[place]][:, channels] @ q[row, place, channels] / math.sqrt(2)
        share = np.exp(scores) / np.exp(scores).sum()
        joined[row, place, channels] = share @ v[row][mask[place]][:, channels]
    np.testing.assert_allclose(found, joined @ np.asarray(layer.output_projection.kernel), atol=1e-5)


def test_channels_are_shared_evenly():
    with pytest.raises(ValueError, match="10 channels cannot be shared by 4 heads"):
        attention.Attention(4, 10)


# ---------------------------------------------------------------- greedy loop


def count_up(index, token, state):
    """A network that answers each token by the next higher one; 9 is the start, 5 the end. It counts its steps."""
    (steps,) = state
    following = ops.where(token == 9, ops.arange(2, dtype="int32") + 2, token + 1)  # two rows begin with 2 and 3
    return 7.0 * ops.one_hot(following, 9), (steps + 1,)


def test_greedy_stops_each_row_at_its_end_and_all_when_all_are_done():
    tokens, logits = attention.greedy(count_up, (ops.zeros((), "int32"),), 9, 5, 8, 9, 2)
    assert np.asarray(tokens).tolist() == [[2, 3, 4, 5, 0, 0, 0, 0], [3, 4, 5, 0, 0, 0, 0, 0]]
    logits = np.asarray(logits)
    assert logits[0].argmax(-1).tolist()[:4] == [2, 3, 4, 5] and (logits.max(-1) == 7).sum() == 7
    assert not logits[0, 4:].any() and not logits[1, 3:].any()


def test_greedy_takes_no_more_steps_than_it_may_and_no_more_than_it_needs():
    calls = []

    def step(index, token, state):
        calls.append(int(index))
        return count_up(index, token, state)

    attention.greedy(step, (ops.zeros((), "int32"),), 9, 5, 8, 9, 2)
    assert calls == [0, 1, 2, 3]
    tokens, _ = attention.greedy(count_up, (ops.zeros((), "int32"),), 9, 5, 2, 9, 2)
    assert np.asarray(tokens).tolist() == [[2, 3], [3, 4]]


# ---------------------------------------------------------------- PARSeq

OPTIONS = zoo.card("parseq").test_options
T = OPTIONS["longest"] + 1
END, START = 10, 11


@pytest.fixture(scope="module")
def parseq():
    """A reader and its training graph with the same weights, of some size."""
    reader = zoo.build("parseq", **OPTIONS)
    for variable in reader.weights:
        variable.assign(variable + 0.3 * random(*variable.shape))
    teacher = zoo.build("parseq", **OPTIONS, teacher=True, orders=2)
    weights.assign(teacher, {variable.path: np.asarray(variable) for variable in reader.weights})
    return reader, teacher


def told(teacher, image, tokens, masks) -> np.ndarray:
    masks = np.broadcast_to(masks, (len(image), 2, T, T))
    return np.asarray(teacher({"image": image, "tokens": tokens, "masks": masks}, training=False)["logits"])


def pictures(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 32, 128, 3)).astype("uint8")


def test_both_graphs_of_parseq_have_the_same_variables(parseq):
    reader, teacher = parseq
    assert [variable.path for variable in reader.weights] == [variable.path for variable in teacher.weights]


def test_parseq_reads_as_its_training_graph_says_from_left_to_right_then_with_what_follows(parseq):
    """The reader's scan and refinement, done by the training graph, one character at a time."""
    reader, teacher = parseq
    image = pictures(3)
    left = np.tril(np.ones((T, T), bool))
    tokens = np.full((3, T), START)
    for index in range(T):
        scores = told(teacher, image, tokens, left)[:, 0, index]
        if index + 1 < T:
            tokens[:, index + 1] = scores.argmax(-1)
    others = left | np.triu(np.ones((T, T), bool), 2)
    ended = np.cumsum(tokens == END, 1) > 0
    expected = told(teacher, image, tokens, (others & ~ended[:, None])[:, None])[:, 1]
    np.testing.assert_allclose(np.asarray(reader(image)["logits"]), expected, rtol=1e-3, atol=1e-4)


def test_parseq_that_ends_early_is_refined_without_what_follows_the_end(parseq):
    """With a bias towards the end, which only the last rows of the mask can tell."""
    reader, teacher = parseq
    bias = next(variable for variable in reader.weights if variable.path == "decoder/logits/bias")
    before, image = np.asarray(bias).copy(), pictures(2)
    bias.assign(before + 50 * np.eye(END + 1)[END])
    result = np.asarray(reader(image)["logits"])
    start = np.full((2, T), START)  # only the start is seen: the first character read is the end
    expected = told(teacher, image, start, np.eye(T, dtype=bool)[0][None] & np.ones((T, 1), bool))[:, 0]
    bias.assign(before)
    np.testing.assert_allclose(result - 50 * np.eye(END + 1)[END], expected, rtol=1e-3, atol=1e-4)


def test_a_position_does_not_see_what_its_mask_hides(parseq):
    _, teacher = parseq
    image, tokens = pictures(1), np.array([[START, *RNG.integers(0, 10, T - 1)]])
    mask = RNG.random((T, T)) < 0.5
    mask[:, 0] = True
    before = told(teacher, image, tokens, mask)[0, 0]
    for column in range(1, T):
        other = tokens.copy()
        other[0, column] = (tokens[0, column] + 1) % 10
        changed = np.abs(told(teacher, image, other, mask)[0, 0] - before).max(-1) > 1e-6
        np.testing.assert_array_equal(changed, mask[:, column])


# ---------------------------------------------------------------- orders


def test_the_first_order_is_from_left_to_right_and_the_second_from_right_to_left():
    """Of two characters. Queries: a, b, end, and two that do not count. Tokens: start, a, b, end, end."""
    masks = targets.masks(2, 5, 6, np.random.default_rng(0)).astype(int)
    assert masks[0, :3].tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert masks[1, :3].tolist() == [[1, 0, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert masks.shape == (6, 5, 5) and masks[:, :, 0].all()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
def test_each_order_lets_a_character_see_those_before_it_alone(length):
    """The number of characters that each sees is its place in the order; orders come with their reverse."""
    masks = targets.masks(length, 8, 6, np.random.default_rng(length))
    for forward, backward in zip(masks[::2], masks[1::2], strict=True):
        seen = forward[:length, 1 : length + 1]
        assert sorted(seen.sum(1)) == list(range(length))
        assert not seen.diagonal().any()
        np.testing.assert_array_equal(seen | seen.T, ~np.eye(length, dtype=bool))
        np.testing.assert_array_equal(backward[:length, 1 : length + 1], seen.T)
        assert forward[length, : length + 1].all()
    assert not masks[:, :, length + 1 :].any()  # the end and what follows is seen by none
    assert length < 4 or len({mask.tobytes() for mask in masks}) == 6
