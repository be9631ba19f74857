"""CRAFT: targets worked by hand, and what decoding makes of them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.detection import craft_vgg16_bn as craft
from recipes.detection import task
from zoo import geometry
from zoo.decoding import craft as decoding


def box(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def maps(*polygons, lengths, ignore=None, size=(64, 128)):
    return craft.maps(np.stack(polygons), np.array(ignore or [False] * len(polygons)), size, np.array(lengths))


def test_a_word_is_divided_into_characters_and_links():
    parts = craft.characters(box(0, 0, 24, 8), 2)
    np.testing.assert_allclose(parts, [box(0, 0, 12, 8), box(12, 0, 24, 8)])
    # The triangle above the middle (6, 4) of the first has the corners (0, 0), (12, 0), (6, 4): its mean is (6, 4/3).
    np.testing.assert_allclose(craft.links(parts), [box(6, 4 / 3, 18, 20 / 3)], atol=1e-6)
    assert craft.links(craft.characters(box(0, 0, 9, 9), 1)).shape == (0, 4, 2)


def test_a_gaussian_by_hand():
    """A box of 8 × 4: the middle of a pixel half a pixel from its centre is u = 1/8, v = 1/4 away."""
    canvas = np.zeros((8, 16), "float32")
    craft.gaussian(box(4, 2, 12, 6), canvas)
    assert canvas[4, 8] == pytest.approx(math.exp(-2 * ((1 / 8) ** 2 + (1 / 4) ** 2)), rel=1e-5)
    assert canvas[4, 11] == pytest.approx(math.exp(-2 * ((7 / 8) ** 2 + (1 / 4) ** 2)), rel=1e-5)
    np.testing.assert_allclose(canvas, canvas[::-1, ::-1], rtol=1e-4)
    assert canvas[:, :2].max() == 0


def test_characters_lie_on_one_map_and_the_gaps_between_them_on_the_other():
    drawn = maps(box(8, 16, 104, 48), lengths=[3])  # characters of 32: at a half of the size from 4, 20 and 36
    row = drawn["region"][16]
    peaks = [x for x in range(1, 63) if row[x] > 0.9 and row[x] >= row[x - 1] and row[x] >= row[x + 1]]
    np.testing.assert_allclose(sorted({round(x / 16 - 0.75) for x in peaks}), [0, 1, 2])
    assert drawn["region"][16, 12] > 0.97 and drawn["region"][16, 20] < 0.2
    assert drawn["link"][16, 20] > 0.97 and drawn["link"][16, 36] > 0.97 and drawn["link"][16, 8] < 0.2


def test_what_cannot_be_learnt_is_masked_out():
    drawn = maps(box(8, 8, 40, 24), box(60, 40, 100, 42), lengths=[4, 4], ignore=[True, False])
    assert not drawn["region"].any() and not drawn["link"].any()
    assert not drawn["mask"][4:12, 4:20].any() and not drawn["mask"][20, 30:50].any() and drawn["mask"][:, 22:28].all()


def test_an_unknown_length_is_guessed_by_the_shape():
    assert craft.guessed(box(0, 0, 40, 10)) == 8 and craft.guessed(box(0, 0, 2, 10)) == 1
    unknown = craft.maps(box(8, 16, 72, 48)[None], np.array([False]), (64, 128))
    np.testing.assert_array_equal(unknown["region"], maps(box(8, 16, 72, 48), lengths=[4])["region"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 9), st.integers(16, 28), st.floats(-30, 30)), min_size=1, max_size=3))
def test_decoding_the_targets_gives_the_words_back(words):
    polygons = np.stack([
        cv2.boxPoints(((100, 80 + 150 * i), (0.6 * n * h, h), a))[[1, 2, 3, 0]] for i, (n, h, a) in enumerate(words)
    ])  # fmt: skip
    drawn = craft.maps(polygons, np.zeros(len(words), bool), (480, 224), np.array([n for n, _, _ in words]))
    boxes, scores = decoding.boxes(np.stack([drawn["region"], drawn["link"]], -1), stride=2)
    assert len(boxes) == len(words) and (scores > 0.8).all() and (scores <= 1).all()
    for polygon in polygons:
        assert max(geometry.iou(polygon, other) for other in boxes) > 0.6


def test_words_are_apart_where_no_link_is():
    """Two words of two characters each, as near to each other as their own characters are."""
    drawn = maps(box(8, 16, 56, 48), box(56, 16, 104, 48), lengths=[2, 2])
    boxes, _ = decoding.boxes(np.stack([drawn["region"], drawn["link"]], -1), stride=2)
    assert len(boxes) == 2
    one = maps(box(8, 16, 104, 48), lengths=[4])
    boxes, _ = decoding.boxes(np.stack([one["region"], one["link"]], -1), stride=2)
    assert len(boxes) == 1


def test_a_word_needs_a_sure_character():
    logits = np.zeros((16, 32, 2), "float32")
    logits[4:8, 4:20, 0], logits[4:8, 8:12, 1] = 0.5, 0.9
    assert len(decoding.boxes(logits, stride=2)[0]) == 0
    logits[6, 6, 0] = 0.8
    boxes, scores = decoding.boxes(logits, stride=2, unclip=0)
    np.testing.assert_allclose(boxes, [box(8, 8, 40, 16)])
    np.testing.assert_allclose(scores, [0.8])


def test_the_loss_by_hand():
    """One pixel of text missed by 0.5 and, of six beside it, the three hardest found with 0.4, 0.2 and 0; no links."""
    target = {"region": np.zeros((1, 1, 7)), "link": np.zeros((1, 1, 7)), "mask": np.ones((1, 1, 7))}
    target["region"][0, 0, 0] = 1
    logits = np.zeros((1, 1, 7, 2), "float32")
    logits[0, 0, :3, 0] = [0.5, 0.4, 0.2]
    ground = (0.16 + 0.04) / 6  # of equal ones, 0 here, all count
    assert np.asarray(craft.loss(target, {"logits": logits})) == pytest.approx([0.25 + ground], rel=1e-5)


def test_texts_follow_their_words():
    page = task.synthetic(np.random.default_rng(3))
    assert len(page.texts) == len(page.polygons) > 0
    marked = page._replace(texts=tuple(map(str, range(len(page.polygons)))))
    part = task.crop(task.scaled(marked, 0.5), (128, 128), np.random.default_rng(0))
    for polygon, number in zip(part.polygons, part.texts, strict=True):
        np.testing.assert_allclose(np.ptp(polygon, 0), np.ptp(page.polygons[int(number)], 0) / 2, rtol=1e-4)
