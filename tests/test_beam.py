"""Beam search against all ways to write every text, one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import beam
from zoo.charset import Charset
from zoo.reading import Recognizer


def collapsed(path, blank: int) -> tuple[int, ...]:
    """Repeats dropped, then blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def brute_force(logs: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """The probability of every text."""
    result: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logs.shape[1]), repeat=len(logs)):
        text = collapsed(path, blank)
        result[text] = result.get(text, 0) + float(np.exp(logs[range(len(logs)), path].sum()))
    return result


def random_logs(seed: int, steps: int, classes: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (steps, classes))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 4), st.booleans())
def test_a_wide_beam_finds_the_likeliest_text_and_its_probability(seed, steps, classes, last):
    logs, blank = random_logs(seed, steps, classes), classes - 1 if last else 0
    every = brute_force(logs, blank)
    labels, score = beam.search(logs, 10_000, blank)
    assert np.exp(score) == pytest.approx(max(every.values()), rel=1e-9)
    assert every[labels] == pytest.approx(max(every.values()), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_narrow_beam_never_claims_too_much(seed, width):
    logs = random_logs(seed, 5, 4)
    labels, score = beam.search(logs, width, 3)
    assert np.exp(score) <= brute_force(logs, 3)[labels] * (1 + 1e-9)


def test_many_ways_outweigh_the_likeliest_one():
    """Two steps of "a" 0.4 and blank 0.6: greedy writes nothing, 0.36; "a" has three ways, 0.16 + 0.24 + 0.24."""
    logs = np.log([[0.4, 0.6], [0.4, 0.6]])
    labels, score = beam.search(logs, 4, 1)
    assert labels == (0,) and np.exp(score) == pytest.approx(0.64)
    charset = Charset("a")
    assert charset.decode(logs).text == ""
    (reading,) = charset.decode_beam(logs[None], 4)
    assert reading.text == "a" and reading.characters == pytest.approx((0.4,))


def test_a_letter_twice_needs_a_blank_between():
    sure = np.log(np.full((3, 2), 1e-6))
    for classes, text in (((0, 0, 0), (0,)), ((0, 1, 0), (0, 0))):
        logs = sure.copy()
        logs[range(3), classes] = 0
        assert beam.search(logs, 8, 1)[0] == text


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_peaks_lie_on_the_likeliest_way_of_a_text(seed):
    logs = random_logs(seed, 5, 3)
    labels, _ = beam.search(logs, 8, 2)
    ways = [path for path in itertools.product(range(3), repeat=5) if collapsed(path, 2) == labels]
    best = max(ways, key=lambda path: logs[range(5), path].sum())
    expected, step = [], 0
    for label, run in itertools.groupby(best):
        length = len(list(run))
        if label != 2:
            expected.append(float(np.exp(logs[step : step + length, label].max())))
        step += length
    assert beam.peaks(logs, labels, 2) == pytest.approx(expected)


def test_a_beam_of_one_on_sure_logits_is_greedy():
    """Where each step is sure, all decodings agree, and so do their scores."""
    rng, charset = np.random.default_rng(3), Charset("digits")
    logits = rng.normal(0, 1, (4, 12, 11))
    best = rng.integers(0, 11, (4, 12))
    np.put_along_axis(logits, best[..., None], 20, -1)
    for greedy, searched in zip(charset.decode_batch(logits), charset.decode_beam(logits, 3), strict=True):
        assert greedy.text == searched.text
        assert greedy.characters == pytest.approx(searched.characters)


def test_a_recognizer_searches_when_it_is_told_to():
    def run(batch):
        return {"logits": np.broadcast_to(np.log([[[0.4, 0.6]] * 2]), (len(batch), 2, 2))}

    crops = [np.zeros((32, 8, 3), np.uint8)]
    assert Recognizer(run, "a", widths=(8,))(crops)[0].text == ""
    assert Recognizer(run, "a", widths=(8,), beam=4)(crops)[0].text == "a"
    with pytest.raises(ValueError, match="needs a recognizer that is read by CTC"):
        Recognizer(run, "a", decoding="attention", beam=4)
    with pytest.raises(ValueError, match="holds nothing"):
        beam.search(np.zeros((1, 2)), 0, 1)
