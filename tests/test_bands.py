"""Bands of a page: what is found in them counts once, and their cuts lie between lines."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import bands


def boxes(*places: tuple[float, float, float, float]) -> np.ndarray:
    """(N, 4, 2) of left, top, right, bottom."""
    x0, y0, x1, y1 = np.array(places, "float32").T
    return np.stack([x0, y0, x1, y0, x1, y1, x0, y1], 1).reshape(-1, 4, 2)


def lines(count: int, pitch: float, height: float, top: float = 50) -> np.ndarray:
    """Three words on each line."""
    rows = [top + pitch * row for row in range(count)]
    return boxes(*((100 + 60 * word, y, 150 + 60 * word, y + height) for y in rows for word in range(3)))


def test_a_part_that_fits_is_one_band_with_a_margin():
    (band,) = bands.bands(boxes((100, 50, 140, 60), (200, 80, 240, 90)), (1000, 800), 1.0, 10**6)
    assert band == (60, 10, 280, 130, 10, 131)
    (band,) = bands.bands(boxes((5, 5, 795, 15)), (20, 800), 1.0, 10**6)
    assert band == (0, 0, 800, 20, 0, 21)  # no further than the page


def test_height_is_the_median_of_left_sides():
    assert bands.height(boxes((0, 0, 9, 10), (0, 0, 9, 30), (0, 0, 9, 14))) == 14
    assert bands.height(boxes((0, 0, 9, 10), (0, 0, 9, 14))) == 12


def test_cuts_lie_in_the_middle_between_lines():
    """Forty lines from 50 to 830, all 20 apart: 10 to 870 in two bands; 440 is a line's middle but for 15 pixels."""
    first, second = bands.bands(lines(40, 20, 10), (1000, 800), 1.0, 330 * 440)
    assert (first.top, second.bottom) == (10, 880)
    assert first.high == second.low and (first.high - 55) % 20 == 10
    assert first.bottom == first.high + 20 and second.top == second.low - 20


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60), pitch=st.floats(14, 40), height=st.floats(6, 13), room=st.integers(10_000, 400_000),
    tilt=st.floats(-0.05, 0.05),
)  # fmt: skip
def test_every_word_counts_in_one_band_that_holds_it(count, pitch, height, room, tilt):
    words = lines(count, pitch, height)
    words[..., 1] += tilt * words[..., 0]
    found = bands.bands(words, (3000, 800), 1.3, room)
    middles = words[..., 1].astype(float).mean(1)
    holders = [(band.low <= middles) & (middles < band.high) for band in found]
    np.testing.assert_array_equal(np.sum(holders, 0), 1)
    for band, inside in zip(found, holders, strict=True):
        assert (words[inside].min(1) >= (band.left, band.top)).all()
        assert (words[inside].max(1) <= (band.right, band.bottom)).all()


def test_a_page_of_one_line_is_cut_where_bands_are_equal():
    found = bands.bands(boxes((0, 100, 500, 160)), (300, 500), 1.0, 40_000)
    assert len(found) == 4 and [band.low for band in found] == pytest.approx([0, 75, 150, 225])


def test_pages_of_usual_shapes_are_one_part():
    for size in ((1000, 700), (700, 1000), (3000, 1000), (2900, 300), (9000, 3000)):
        assert bands.parts(size) == [(0, max(size), -np.inf, np.inf)]


@settings(max_examples=200, deadline=None)
@given(long=st.integers(3_073, 50_000), short=st.integers(1, 3_000), turned=st.booleans())
def test_parts_of_a_long_page_cover_it_and_share_what_words_need(long, short, turned):
    found = bands.parts((short, long) if turned else (long, short))
    if long <= 3 * short:
        assert len(found) == 1
        return
    assert found[0].start == 0 and found[-1].stop == long and len(found) > 1
    assert {part.stop - part.start for part in found} == {max(2 * short, 2048)}
    assert (found[0].low, found[-1].high) == (-np.inf, np.inf)
    for one, other in itertools.pairwise(found):
        assert one.high == other.low and one.stop - other.start >= (one.stop - one.start) // 4
        assert one.stop - one.high >= 256 and other.low - other.start >= 256  # half of what they share
