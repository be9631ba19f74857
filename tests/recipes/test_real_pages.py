"""What is done with real pages before a network sees them."""

from __future__ import annotations

import cv2
import numpy as np

from recipes.data import pages

SQUARE = np.array([[[40, 40], [60, 40], [60, 60], [40, 60]]], "float32")


def photograph(side: int = 400) -> pages.Page:
    """A grey picture with one word of which the places of the characters are not known."""
    return pages.Page(np.full((side, side, 3), 90, "uint8"), SQUARE, np.zeros(1, bool), ("a",))


def filled(polygons: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) bool, the pixels of each polygon, without those that it only touches."""
    masks = np.zeros((len(polygons), *size), "uint8")
    for mask, polygon in zip(masks, polygons, strict=True):
        cv2.fillPoly(mask, [np.rint(polygon).astype("int32")], 1)
        mask[:] = cv2.erode(mask, np.ones((5, 5), "uint8"))
    return masks > 0


def test_words_are_painted_on_a_photograph_and_none_on_another():
    for seed in range(20):
        before = photograph()
        after = pages.signed(before, np.random.default_rng(seed))
        count = len(after.polygons)
        assert 1 < count <= 14 and len(after.ignore) == len(after.texts) == len(after.middles) == count
        np.testing.assert_array_equal(after.polygons[0], SQUARE[0])
        assert after.texts[0] == "a" and after.middles[0].shape == (0, 2) and not after.ignore.any()
        masks = filled(after.polygons, after.image.shape[:2])
        assert masks.sum(0).max() <= 1  # no word stands on another
        np.testing.assert_array_equal(after.image[masks[0]], before.image[masks[0]])
        for mask, text, middles in zip(masks[1:], after.texts[1:], after.middles[1:], strict=True):
            assert len(middles) == len(text)
            assert not mask.any() or (after.image[mask] != 90).any()
    assert (before.image == 90).all()  # the given page is kept for another time


def test_such_a_page_is_seen_by_another_camera():
    page = pages.signed(photograph(), np.random.default_rng(0))
    for seed in range(6):
        seen = pages.varied(page, np.random.default_rng(seed))
        assert [len(points) for points in seen.middles] == [0, *(len(text) for text in page.texts[1:])]


def test_documents_get_no_more_words():
    full = photograph()._replace(polygons=np.array([[[0, 0], [300, 0], [300, 300], [0, 300]]], "float32"))
    known = photograph()._replace(classes=np.zeros((400, 400), "uint8"))
    for page in (full, known):
        assert pages.signed(page, np.random.default_rng(0)) is page
