"""Polygons from maps, offsets, overlap, lines and reading order, by hand-worked values and properties."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely import Polygon

from zoo import geometry


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def turned(corners, degrees, centre=(200, 200)):
    matrix = cv2.getRotationMatrix2D(centre, -degrees, 1)  # OpenCV counts against the clock
    return (corners @ matrix[:, :2].T + matrix[:, 2]).astype("float32")


# ---------------------------------------------------------------- measures


def test_area_and_perimeter_by_hand():
    assert geometry.area(box(1, 1, 5, 4)) == 12
    assert geometry.perimeter(box(1, 1, 5, 4)) == 14
    triangle = np.array([[0, 0], [3, 0], [0, 4]])
    assert (geometry.area(triangle), geometry.perimeter(triangle)) == (6, 12)


def test_iou_by_hand():
    assert geometry.iou(box(0, 0, 2, 2), box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert geometry.iou(box(0, 0, 2, 2), box(2, 0, 4, 2)) == 0  # they touch
    assert geometry.iou(box(0, 0, 2, 2), box(0, 0, 2, 2)) == pytest.approx(1)
    assert geometry.iou(box(0, 0, 0, 0), box(0, 0, 2, 2)) == 0
    assert geometry.iou(box(1, 1, 1, 1), box(0, 0, 2, 2)) == 0
    hook = np.array([[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]])  # concave, 7 pixels
    assert geometry.iou(hook, box(0, 0, 4, 4)) == pytest.approx(7 / 16)


points = st.floats(0, 100).map(lambda value: round(value, 1))


@given(*[st.tuples(points, points, st.floats(2, 50), st.floats(2, 50), st.floats(-180, 180))] * 2)
def test_iou_is_that_of_shapely(one, other):
    first, second = (
        cv2.boxPoints(((x, y), (width, height), turn)) for x, y, width, height, turn in (one, other)
    )  # fmt: skip
    a, b = Polygon(first), Polygon(second)
    expected = a.intersection(b).area / a.union(b).area
    assert geometry.iou(first, second) == pytest.approx(expected, abs=5e-3)


def test_what_lies_nowhere_overlaps_nothing():
    for value in (np.nan, np.inf, 1e300):
        assert geometry.iou(box(0, 0, 4, 4), np.full((4, 2), value)) == 0


def test_a_closer_look_by_hand():
    """A word 32 high loses two rows above and below; one that runs down the page, at its right and left."""
    level = np.array([[10, 20], [90, 20], [90, 52], [10, 52]], "float32")
    downward = np.array([[52, 10], [52, 90], [20, 90], [20, 10]], "float32")
    found = geometry.closer(np.stack([level, downward]))
    assert found[0].tolist() == [[10, 22], [90, 22], [90, 50], [10, 50]]
    assert found[1].tolist() == [[50, 10], [50, 90], [22, 90], [22, 10]]
    assert found.dtype == np.float32 and geometry.closer(np.zeros((0, 4, 2), "float32")).shape == (0, 4, 2)


def test_offset_and_shrink_by_hand():
    (grown,) = geometry.offset(box(10, 10, 30, 20), 3)
    np.testing.assert_allclose([grown.min(0), grown.max(0)], [[7, 7], [33, 23]], atol=0.01)
    # Round corners: area + perimeter · d + π d².
    assert geometry.area(grown) == pytest.approx(200 + 60 * 3 + np.pi * 9, rel=2e-3)
    (kernel,) = geometry.shrink(box(0, 0, 40, 10), 0.4)  # 400 · 0.84 / 100 = 3.36
    np.testing.assert_allclose([kernel.min(0), kernel.max(0)], [[3.36, 3.36], [36.64, 6.64]], atol=0.01)
    assert geometry.offset(box(0, 0, 4, 4), -3) == []
    waist = np.array([[0, 0], [10, 4], [20, 0], [20, 10], [10, 6], [0, 10]])
    assert len(geometry.offset(waist, -1.5)) == 2


@given(st.floats(20, 500), st.floats(8, 60), st.floats(0.2, 0.95))
def test_regrowth_undoes_shrink(width, height, ratio):
    distance = width * height * (1 - ratio**2) / (2 * (width + height))
    left = width - 2 * distance, height - 2 * distance
    assert geometry.regrowth(*map(np.float64, left), ratio) == pytest.approx(distance, rel=1e-6)


# ---------------------------------------------------------------- maps


def test_an_upright_region_by_hand():
    probability = np.zeros((60, 100), "float32")
    probability[10:20, 30:70] = 0.9
    probability[10:20, 50:70] = 0.5
    boxes, scores = geometry.polygons(probability, unclip=0)
    np.testing.assert_array_equal(boxes, [box(30, 10, 70, 20)])
    np.testing.assert_allclose(scores, [0.7])
    grown, _ = geometry.polygons(probability, unclip=1.5)  # 1.5 · 400 / 100 = 6
    np.testing.assert_array_equal(grown, [box(24, 4, 76, 26)])
    assert len(geometry.polygons(probability, box_threshold=0.75)[0]) == 0
    narrower, _ = geometry.polygons(probability, threshold=0.6, unclip=0)
    np.testing.assert_array_equal(narrower, [box(30, 10, 50, 20)])


def test_boxes_end_at_the_map():
    probability = np.zeros((20, 60), "float32")
    probability[0:10, 0:40] = 1
    boxes, _ = geometry.polygons(probability, unclip=2)  # 2 · 400 / 100 = 8
    np.testing.assert_array_equal(boxes, [box(0, 0, 48, 18)])


def test_an_empty_map_and_a_full_one():
    boxes, scores = geometry.polygons(np.zeros((32, 32), "float32"))
    assert boxes.shape == (0, 4, 2) and scores.shape == (0,)
    boxes, scores = geometry.polygons(np.ones((32, 64), "float32"))
    np.testing.assert_array_equal(boxes, [box(0, 0, 64, 32)])


def test_small_specks_are_left_out():
    probability = np.zeros((32, 32), "float32")
    probability[4, 4:20] = 1  # one pixel high
    probability[10:12, 4:6] = 1
    assert len(geometry.polygons(probability, min_size=2)[0]) == 1
    assert len(geometry.polygons(probability, min_size=1)[0]) == 2
    assert len(geometry.polygons(probability, min_size=3)[0]) == 0


def test_a_word_within_a_frame_is_found():
    probability = np.zeros((100, 100), "float32")
    cv2.rectangle(probability, (5, 5), (94, 94), 1, 3)
    probability[40:50, 30:70] = 1
    boxes, _ = geometry.polygons(probability, unclip=0)
    assert len(boxes) == 2
    assert any(np.array_equal(found, box(30, 40, 70, 50)) for found in boxes)


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_the_tree_of_contours(seed):
    """Regions with holes, and regions in these: the outlines are the contours that OpenCV's tree has outermost."""
    noise = np.random.default_rng(seed).normal(size=(90, 120)).astype("float32")
    field = cv2.GaussianBlur(noise, (0, 0), 1 + seed % 2)
    contours, tree = cv2.findContours((field >= 0).astype("uint8"), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [c[:, 0] for c, node in zip(contours, tree[0], strict=True) if node[3] < 0 and np.ptp(c, 0).min() > 0]
    assert len(contours) > len(outer) > 3
    boxes, _ = geometry.polygons(field, threshold=0, box_threshold=0)
    np.testing.assert_array_equal(boxes, geometry.rectangles(outer, 1.5).clip(0, [120, 90]))


def test_a_map_full_of_holes_is_one_region():
    boxes, _ = geometry.polygons(np.indices((512, 512)).sum(0) % 2.0)
    assert len(boxes) == 1


def test_thousands_of_specks_beside_a_round_region_take_little_memory():
    field = np.zeros((600, 600), "float32")
    field[::4, ::4] = 1
    cv2.circle(field, (300, 300), 150, 1, -1)
    tracemalloc.start()
    boxes, _ = geometry.polygons(field, min_size=1, unclip=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(boxes) > 15000 and most < 300e6
    places = np.sort(boxes[:, 0, 0])  # each of the specks is a pixel
    assert set(np.unique(boxes[:, 2] - boxes[:, 0])) == {1, 301} and places[0] == 0 and places[-1] == 596


@pytest.mark.parametrize("degrees", [-40, -15, -5, 5, 20, 44])
def test_turned_regions_keep_their_angle(degrees):
    word = turned(box(120, 190, 280, 210), degrees)
    centres = np.stack(np.meshgrid(*[np.arange(400) + 0.5] * 2), -1).reshape(-1, 2)
    level = turned(centres, -degrees)  # a pixel belongs to the word if its centre does
    inside = (level >= (120, 190)).all(1) & (level <= (280, 210)).all(1)
    (found,), _ = geometry.polygons(inside.reshape(400, 400).astype("float32"), unclip=0)
    assert np.abs(found - word).max() < 2.5  # the corners are the same, from the top left on
    assert geometry.iou(found, word) > 0.9
    assert geometry.angles(found[None])[0] == pytest.approx(degrees, abs=1.5)


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), min_size=3, max_size=12, unique=True))
@example([(70, 26), (84, 25), (92, 9), (103, 23)])
@settings(deadline=None)
def test_rectangles_are_as_small_as_those_of_opencv(places):
    points = np.array(places, "int32")
    (width, height) = cv2.minAreaRect(points)[1]
    _, ((along, across),) = geometry._smallest(geometry._hulls([points])[0])
    # What half a step of the angle may add, where two rectangles are nearly as small.
    slack = np.radians(geometry.COARSE / 2) * (width**2 + height**2) + 0.01
    assert width * height - 0.01 <= along * across <= width * height + slack


def test_short_words_take_the_angle_of_long_ones():
    probability = np.zeros((400, 400), "float32")
    for corners in (box(80, 150, 320, 170), box(100, 250, 300, 270), box(190, 195, 210, 215)):
        cv2.fillPoly(probability, [np.rint(turned(corners, 12) - 0.5).astype(int)], 1)
    boxes, _ = geometry.polygons(probability, unclip=0)
    assert len(boxes) == 3
    np.testing.assert_allclose(geometry.angles(boxes), 12, atol=1)


def regions(degrees: float, slanted: int, level: int) -> np.ndarray:
    """A map of long regions at such an angle, of level ones, and of one of 24 by 16 pixels, which is level."""
    probability = np.zeros((700, 600), "float32")
    words = [turned(box(40, 30 + 30 * i, 140, 42 + 30 * i), degrees, (90, 36 + 30 * i)) for i in range(slanted)]
    words += [box(300, 30 + 30 * i, 400, 42 + 30 * i) for i in range(level)]
    for word in [*words, box(500, 300, 524, 316)]:
        cv2.fillPoly(probability, [np.rint(word - 0.5).astype(int)], 1)
    return probability


@pytest.mark.parametrize(
    ("slanted", "level", "turned_too"),
    [(6, 0, False), (6, 2, False), (12, 4, False), (12, 0, True), (12, 2, True)],
    ids=["a few that are slanted", "and level ones", "many, and level ones", "a slanted page", "with few level ones"],
)
def test_short_words_are_level_beside_slanted_labels(slanted, level, turned_too):
    """A chart's numbers stand level, though most of its long words are names below an axis that do not."""
    boxes, _ = geometry.polygons(regions(-30, slanted, level), unclip=0)
    (number,) = boxes[boxes[:, :, 0].min(1) > 450]
    assert geometry.angles(number[None])[0] == pytest.approx(-30 if turned_too else 0, abs=1.5)
    assert turned_too or geometry.iou(number, box(500, 300, 524, 316)) > 0.9


@pytest.mark.parametrize("degrees", [-30, -40, -50, -65, 30, 50])
def test_a_piece_of_a_slanted_label_takes_its_angle(degrees):
    """The first letter of a name below an axis, found by itself, lies as the rest does; what is beside it is level."""
    piece = turned(box(62, 200, 76, 212), degrees, (150, 206))
    rest, aside = turned(box(100, 200, 210, 212), degrees, (150, 206)), box(300, 50, 318, 62)
    probability = np.zeros((400, 400), "float32")
    for word in (piece, rest, aside, *(box(20, 340 + 18 * i, 120, 350 + 18 * i) for i in range(3))):
        cv2.fillPoly(probability, [np.rint(word - 0.5).astype(int)], 1)
    boxes, _ = geometry.polygons(probability, unclip=0)
    found = min(boxes, key=lambda corners: np.abs(corners.mean(0) - piece.mean(0)).sum())
    assert geometry.iou(found, piece) > 0.7
    along = found[1] - found[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(degrees, abs=1.5)  # and not a quarter turn more
    assert any(geometry.iou(corners, aside) > 0.8 for corners in boxes)


def test_growing_back_what_training_shrank():
    """The kernel of a long word, as training draws it, gives the word back; by area and perimeter it stays too low."""
    word = box(50, 50, 350, 90)
    (kernel,) = geometry.shrink(word, 0.4)
    probability = np.zeros((150, 400), "float32")
    cv2.fillPoly(probability, [np.rint(kernel - 0.5).astype(int)], 1)
    (exact,), _ = geometry.polygons(probability, shrunk=0.4)
    (usual,), _ = geometry.polygons(probability, unclip=1.5)
    assert geometry.iou(exact, word) > 0.85 > 0.75 > geometry.iou(usual, word)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.integers(4, 24), st.integers(3, 14)), max_size=12))
def test_every_region_of_a_grid_is_found_where_it_is(cells):
    probability = np.zeros((160, 256), "float32")
    expected = {}
    for column, row, width, height in cells:
        expected.setdefault((column, row), (width, height))
    for (column, row), (width, height) in expected.items():
        probability[row * 40 : row * 40 + height, column * 32 : column * 32 + width] = 1
    boxes, scores = geometry.polygons(probability, unclip=0)
    wanted = {(c * 32, r * 40, c * 32 + w, r * 40 + h) for (c, r), (w, h) in expected.items()}
    assert {(*found[0].tolist(), *found[2].tolist()) for found in boxes} == wanted
    assert (scores == 1).all()


# ---------------------------------------------------------------- layout


def words(rows, height=10):
    """Boxes of rows of (x, text), a row every two heights, letters half as wide as high; and the texts."""
    boxes, texts = [], []
    for number, row in enumerate(rows):
        for x, text in row:
            for word in text.split():
                width = len(word) * height / 2
                boxes.append(box(x, number * 2 * height, x + width, (2 * number + 1) * height))
                texts.append(word)
                x += width + height / 2
    return np.array(boxes), texts


def read(boxes, texts) -> list[str]:
    return [" ".join(texts[i] for i in line) for line in geometry.lines(boxes)]


LEFT = [
    "here begins the first column",
    "of a page that has two of",
    "them and is read downwards",
    "to its very end before",
]
RIGHT = ["anyone looks at the second", "column which holds what is", "left of the text and which", "ends here at last"]
RECEIPT = [("MILK", "1.20"), ("BREAD AND BUTTER", "2.40"), ("TEA", "12.00"), ("TOTAL OF ALL", "15.60")]


def two_columns():
    return words([[(0, left), (200, right)] for left, right in zip(LEFT, RIGHT, strict=True)])


def receipt():
    return words([[(0, what), (200, price)] for what, price in RECEIPT])


def test_columns_are_read_one_after_the_other():
    assert read(*two_columns()) == LEFT + RIGHT
    assert [len(block) for block in geometry.layout(two_columns()[0])] == [4, 4]


def test_three_columns_under_a_title():
    third = ["some other words in a third", "column that stands at the", "right of the other two and", "is the last"]
    rows = [[(0, "a title that goes over all of the columns of this page and on and on and on and on to the end")]]
    rows += [[(0, a), (165, b), (330, c)] for a, b, c in zip(LEFT, RIGHT, third, strict=True)]
    assert read(*words(rows)) == [rows[0][0][1], *LEFT, *RIGHT, *third]


def test_columns_whose_lines_are_not_level():
    boxes, texts = two_columns()
    boxes[boxes[:, 0, 0] >= 200] += (0, 9)
    assert read(boxes, texts) == LEFT + RIGHT


def justified(rng, columns: int, rows: int, gutter: float, wide: float = 285, high: float = 16) -> np.ndarray:
    """Boxes, column by column, of lines that fill their columns, with gaps as wide as that takes."""
    boxes = []
    for column in range(columns):
        for row in range(rows):
            widths = rng.uniform(10, 70, 99)
            widths = widths[: np.searchsorted(np.cumsum(widths + 6), wide)]  # as many as there is room for
            gap = (wide - widths.sum()) / (len(widths) - 1)
            left = column * (wide + gutter) + np.concatenate([[0], np.cumsum(widths + gap)[:-1]])
            edges = np.stack([left, left + widths], 1) + rng.uniform(-1.5, 1.5, (len(widths), 2))
            boxes += [box(x0, row * 15 + rng.uniform(-1, 1), x1, row * 15 + high) for x0, x1 in edges]
    return np.array(boxes)


@pytest.mark.parametrize("gutter", [18, 14])
@pytest.mark.parametrize("seed", range(5))
def test_narrow_gutters_of_many_justified_lines(seed, gutter):
    """Gaps between words are wider than the gutter here and there, and its edges are not quite straight."""
    boxes = justified(np.random.default_rng(seed), 3, 20, gutter)
    assert [i for line in geometry.lines(boxes) for i in line] == list(range(len(boxes)))


@pytest.mark.parametrize("rows", [3, 6, 40])
def test_gaps_of_one_justified_column_are_no_gutter(rows):
    for seed in range(20):
        boxes = justified(np.random.default_rng(seed), 1, rows, gutter=0, wide=500)
        assert [i for line in geometry.lines(boxes) for i in line] == list(range(len(boxes)))


def test_receipts_are_read_row_by_row():
    assert read(*receipt()) == [" ".join(row) for row in RECEIPT]


def test_tables_are_read_row_by_row():
    rows = [[(0, "revenue of all"), (160, "12.4 13.5"), (260, "14.1 15.9")] for _ in range(6)]
    assert read(*words(rows)) == ["revenue of all 12.4 13.5 14.1 15.9"] * 6


def test_an_invoice_is_read_row_by_row_below_its_addresses():
    """Prices and totals stand below what is beside the address, and are no column of text."""
    address = ("Northwind Traders Limited", "48 Harbour Street", "Bristol BS1 4QA")
    beside = ("Invoice No INV-2024-00837", "Date of it 14/03/2024", "Due 13/04/2024")
    rows = [[(0, left), (620, right)] for left, right in zip(address, beside, strict=True)]
    rows += [
        [(0, f"A-10{i} Galvanised wood screw"), (540, "24"), (630, "Unit price"), (725, "90.00")] for i in range(3)
    ]
    totals = ("Subtotal all", "VAT of 20%", "Rounded off", "Total in GBP")
    rows += [[(630, text), (725, "1179.40")] for text in totals]
    assert read(*words(rows))[-7:] == [" ".join(text for _, text in row) for row in rows[-7:]]


SIDEBAR = "Tomas Keller,Stuttgart,of the coast,Python,Statistics,Languages,English Spanish,Music,Long walks,Chess"
SIDEBAR = [*SIDEBAR.split(","), "Gardening", "Cookery", "Old ships", "Stamps"]
STORY = "Data analyst in a harbour,from 2018 to 2023,forecasts of parcels,Research assistant,of surveys,Education"
STORY = [*STORY.split(","), "Degree of science", "Leiden", "School years", "Honours", "First prize"]


def beside(pitch: float, bent: float = 0.0) -> tuple[np.ndarray, list[str]]:
    """Short lines, and others on their right that many pixels below each other, of a page bent so far."""
    left, texts = words([[(0, line)] for line in SIDEBAR])
    right, others = words([[(0, line)] for line in STORY])
    row = right[:, :1, 1:] / 20
    right = right + (200, 0) + np.concatenate([0 * row, row * (pitch - 20) + bent * row], 2)
    boxes = np.concatenate([left, right]) * (1.5, 1)
    boxes[:, 2:, 1] += 5  # letters half as high again, set more tightly
    return boxes, texts + others


def test_lines_that_are_out_of_step_are_columns():
    assert read(*beside(26)) == SIDEBAR + STORY


@pytest.mark.parametrize("bent", [0.0, 0.4, -0.4])
def test_lines_in_step_are_read_across(bent):
    """Also of a bent page, where what is on the right slides down, or up, a little more with each row."""
    rows = [f"{one} {two}" for one, two in zip(SIDEBAR, STORY, strict=False)] + SIDEBAR[len(STORY) :]
    assert read(*beside(20, bent)) == rows


def test_white_space_parts_blocks():
    rows = [[(0, "one")], [(0, "two")], [], [], [(0, "three")], [(0, "four")]]
    boxes, texts = words(rows)
    assert [[texts[line[0]] for line in block] for block in geometry.layout(boxes)] == [
        ["one", "two"],
        ["three", "four"],
    ]


@pytest.mark.parametrize("degrees", [-90, -30, -8, 3, 8, 30, 90, 180])
def test_a_turned_page_is_read_as_a_straight_one(degrees):
    for boxes, texts in (two_columns(), receipt()):
        slanted = np.array([turned(corners, degrees) for corners in boxes])
        assert read(slanted, texts) == read(boxes, texts)


def test_a_line_that_bends_stays_one():
    boxes = np.array(
        [box(x, 0.002 * x**1.5 + y, x + 35, 0.002 * x**1.5 + y + 10) for y in (0, 14) for x in range(0, 800, 40)]
    )
    assert geometry.lines(boxes) == [list(range(20)), list(range(20, 40))]


def test_no_words():
    assert geometry.layout(np.zeros((0, 4, 2), "float32")) == []
    assert geometry.lines(np.zeros((0, 4, 2), "float32")) == []


def test_words_without_size_do_no_harm():
    assert geometry.layout(np.zeros((3, 4, 2), "float32"))
    assert sorted(i for line in geometry.lines(np.stack([box(5, 5, 5, 5), box(0, 0, 9, 4)])) for i in line) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(points, points, st.floats(1, 40), st.floats(1, 20), st.floats(-20, 20)), min_size=1, max_size=40
    ),
    st.randoms(use_true_random=False),
)
def test_layout_holds_each_word_once_whatever_their_order(places, random):
    boxes = np.array([cv2.boxPoints(((x * 8, y * 8), (w, h), turn)) for x, y, w, h, turn in places])
    boxes = np.unique(boxes, axis=0)  # equal words cannot be told apart
    layout = geometry.layout(boxes)
    assert sorted(i for block in layout for line in block for i in line) == list(range(len(boxes)))
    order = list(range(len(boxes)))
    random.shuffle(order)
    again = geometry.layout(boxes[order])
    assert [[[order[i] for i in line] for line in block] for block in again] == layout


def test_a_crowded_page_is_fast():
    import time

    places = [(x * 30 + y % 5 * 6, y * 14) for y in range(60) for x in range(25)]
    boxes = np.array([box(x, y, x + 22, y + 10) for x, y in places])
    start = time.process_time()
    assert len(geometry.lines(boxes)) == 60
    assert time.process_time() - start < 2


def test_a_crowded_table_has_its_rows():
    places = [(x * 8, y * 8) for y in range(80) for x in range(80)]
    assert len(geometry.lines(np.array([box(x, y, x + 5, y + 5) for x, y in places]))) == 80


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8), st.integers(-5, 80), st.integers(0, 40))
def test_the_white_of_a_row_between_two_places(words, start, width):
    row = geometry._row(np.array([(x, 0, x + w, 10) for x, w in sorted(words)], float).reshape(-1, 4))
    white = zip([-np.inf, *row.rights], [*row.lefts, np.inf], strict=True)
    assert row.gaps(start, start + width) == [(a, b) for a, b in white if b >= start and a <= start + width]


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_those_of_a_plain_search(seed, monkeypatch):
    """White that goes on is what each gap of a row has in common with each of those above."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([justified(rng, 2 + seed % 2, 20, 18.0), np.array([box(5, -40, 600, -28)])])
    found = geometry.layout(boxes)

    def plainly(rows, height):
        white, best = [(-np.inf, np.inf)], (0, 0.0)
        for count, row in enumerate(rows):
            gaps = row.gaps(-np.inf, np.inf)
            shared = [(max(a, c), min(b, d)) for a, b in white for c, d in gaps]
            shared = [(a, b) for a, b in shared if b - a >= geometry.NARROW * height]
            ended = [(a, b) for a, b in white if not any(a <= c and d <= b for c, d in shared)]
            best = max([best, *((count, x) for x in geometry._gutters(rows[:count], ended, height))])
            white = shared
        return max([best, *((len(rows), x) for x in geometry._gutters(rows, white, height))])

    monkeypatch.setattr(geometry, "_columns", plainly)
    assert geometry.layout(boxes) == found and len(found) > 1
