"""Maps for differentiable binarization, worked by hand on squares and rectangles."""

from __future__ import annotations

import numpy as np
import pytest
from shapely.geometry import Point, Polygon

from recipes.detection import targets


def box(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


@pytest.fixture(autouse=True)
def _ratio(monkeypatch):
    """The numbers below are for r = 0.6: D = 0.64 · area / perimeter."""
    monkeypatch.setattr(targets, "SHRINK", 0.6)


def drawn(*polygons, ignore=None, size=(50, 60)):
    return targets.maps(np.stack(polygons), np.array(ignore or [False] * len(polygons)), size)


def test_the_region_of_a_rectangle():
    """40 x 20 at (10, 10): D = 0.64 · 800 / 120 = 4.27; what is left reaches from (14.27, 14.27) to (45.73, 25.73)."""
    region = drawn(box(10, 10, 50, 30))["region"]
    expected = np.zeros_like(region)
    expected[14:26, 14:46] = 1
    np.testing.assert_array_equal(region, expected)


def test_the_threshold_falls_from_the_outline():
    """A square of 25: D = 0.64 · 625 / 100 = 4. Its outline runs through the centres of pixels 10 and 35."""
    maps = drawn(box(10.5, 10.5, 35.5, 35.5))
    border, mask = maps["border"], maps["border_mask"]
    np.testing.assert_allclose(border[22, [6, 8, 10, 12, 14]], [0.3, 0.5, 0.7, 0.5, 0.3], atol=1e-5)
    np.testing.assert_array_equal(mask[22, [6, 7, 10, 13, 14]], [0, 1, 1, 1, 0])
    np.testing.assert_allclose(border[22, 20], 0.3, atol=1e-6)
    # Outside of a corner the distance is that to the corner: 3 pixels along both sides are 4.24 away.
    assert mask[7, 7] == 0 and mask[8, 8] == 1
    np.testing.assert_allclose(border[8, 8], 0.3 + 0.4 * (1 - np.hypot(2, 2) / 4), atol=1e-5)


def test_illegible_and_narrow_places_are_masked_out():
    maps = drawn(box(5, 5, 25, 15), box(30, 30, 50, 32), box(30, 5, 50, 17), ignore=[True, False, False])
    assert (maps["mask"][5:15, 5:25] == 0).all()
    assert (maps["mask"][30:32, 30:50] == 0).all()
    assert (maps["mask"][:, 27:29] == 1).all() and (maps["mask"][5:17, 30:50] == 1).all()
    assert maps["region"][:, :28].sum() == 0 and maps["region"][25:].sum() == 0 and maps["region"].sum() > 0
    assert maps["border_mask"][:, :25].sum() == 0


def test_regions_are_those_of_the_maps_with_the_whole_text():
    """An outline through the centres of pixels takes these in; what is illegible or narrow is no text."""
    polygons = np.stack([box(10.5, 10.5, 50.5, 30.5), box(5, 35, 25, 45), box(30, 35, 50, 37)])
    ignore = np.array([False, True, False])
    drawn, maps = targets.regions(polygons, ignore, (50, 60)), targets.maps(polygons, ignore, (50, 60))
    assert drawn.keys() == {"region", "mask", "text"}
    for key in ("region", "mask"):
        np.testing.assert_array_equal(drawn[key], maps[key])
    expected = np.zeros((50, 60))
    expected[10:31, 10:51] = 1
    np.testing.assert_array_equal(drawn["text"], expected)


def test_where_bands_meet_the_higher_threshold_counts():
    maps = drawn(box(5, 5, 25, 25), box(26, 5, 46, 25))
    alone = drawn(box(5, 5, 25, 25))
    assert (maps["border"] >= alone["border"] - 1e-6).all() and (maps["border_mask"] >= alone["border_mask"]).all()


def test_a_polygon_beyond_the_picture_and_none_at_all():
    beyond = drawn(box(100, 100, 140, 120))
    nothing = targets.maps(np.zeros((0, 4, 2), "float32"), np.zeros(0, bool), (50, 60))
    for key, value in nothing.items():
        np.testing.assert_array_equal(beyond[key], value)
        assert value.shape == (50, 60)
    assert nothing["mask"].all() and not nothing["region"].any()


def test_distance_is_that_of_shapely():
    rng = np.random.default_rng(0)
    polygon = np.array([[2, 1], [30, 5], [27, 20], [4, 16]], "float32")
    points = rng.uniform(-5, 40, (200, 2)).astype("float32")
    outline = Polygon(polygon).exterior
    expected = [outline.distance(Point(point)) for point in points]
    np.testing.assert_allclose(targets.distance(points, polygon), expected, atol=1e-4)
