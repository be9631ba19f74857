"""Faster R-CNN: boxes, suppression in the graph, targets and losses against hand-worked values and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from recipes.detection import faster_rcnn_resnet50_fpn as recipe  # noqa: E402
from zoo import alike, litert_file, onnx_file, registry, runtime  # noqa: E402
from zoo.decoding import upright  # noqa: E402
from zoo.detection import faster_rcnn as network  # noqa: E402

RNG = np.random.default_rng(4)


def boxes(count: int, side: float = 60) -> np.ndarray:
    corner = RNG.uniform(0, side, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(4, 30, (count, 2))], 1).astype("float32")


def word(x0, y0, x1, y1) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "float32")


def test_anchors_by_hand():
    """Level P2, the second place of the second row: (6, 6); anchors of 16² pixels, 16, 22.6 and 32 wide."""
    found = network.anchors([(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)], np)
    assert len(found) == 3 * (96 + 24 + 6 + 2 + 1)
    at = 3 * (12 + 1)
    expected = [[-2, -2, 14, 14], [6 - 8 * 2**0.5, 6 - 4 * 2**0.5, 6 + 8 * 2**0.5, 6 + 4 * 2**0.5], [-10, 2, 22, 10]]
    np.testing.assert_allclose(found[at : at + 3], expected, rtol=1e-5)
    np.testing.assert_allclose(found[3 * 96], [4 - 16, 4 - 16, 4 + 16, 4 + 16])
    in_graph = network.anchors([(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)])
    np.testing.assert_allclose(np.asarray(in_graph), found, rtol=1e-6)


def test_deltas_by_hand_and_back():
    reference, box = np.array([[0, 0, 10, 20]], "float32"), np.array([[5, 10, 25, 20]], "float32")
    deltas = network.encode(box, reference, np)
    np.testing.assert_allclose(deltas, [[1, 0.25, math.log(2), math.log(0.5)]], atol=1e-3)
    many, others = boxes(50), boxes(50)
    back = network.decode(np.asarray(network.encode(many, others)), others, 1000.0, 1000.0)
    np.testing.assert_allclose(np.asarray(back), many, atol=1e-2)
    cut = network.decode(np.zeros((1, 4), "float32"), np.array([[-5, -5, 50, 50]], "float32"), 30.0, 40.0)
    np.testing.assert_allclose(np.asarray(cut), [[0, 0, 40, 30]], atol=1e-2)


def greedy(found: np.ndarray, overlap: float) -> list[bool]:
    kept: list[int] = []
    for index, box in enumerate(found):
        share = np.asarray(network.overlaps(found[None, kept], box[None, None]))[0, :, 0] if kept else np.zeros(0)
        if not (share > overlap).any():
            kept.append(index)
    return [index in kept for index in range(len(found))]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.sampled_from([0.1, 0.3, 0.6]))
def test_suppression_in_the_graph_is_greedy(count, overlap):
    pair = np.stack([boxes(count, 20), boxes(count, 60)])
    found = np.asarray(network.survivors(pair, overlap))
    np.testing.assert_array_equal(found, [greedy(row, overlap) for row in pair])


def test_a_chain_of_boxes_is_left_by_turns():
    """Each overlaps the one before: of n, every second stays; the longest way to the fixed point."""
    chain = np.array([[[10 * i, 0, 10 * i + 18, 10] for i in range(12)]], "float32")
    np.testing.assert_array_equal(np.asarray(network.survivors(chain, 0.2))[0], [i % 2 == 0 for i in range(12)])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="files are made of TensorFlow's graphs")
def test_a_chain_of_overlaps_is_followed_to_its_end_in_an_onnx_file(tmp_path):
    """Each box overlaps its neighbours alone: of twelve, from the best to the worst, each second one survives."""
    boxes, scores = keras.Input((12, 4), name="boxes"), keras.Input((12,), name="scores")
    left = network.Suppress(0.2)([boxes, scores])
    onnx_file.write(keras.Model({"boxes": boxes, "scores": scores}, {"logits": left}), tmp_path / "chain.onnx")
    chain = np.array([[[10 * i, 0, 10 * i + 18, 10] for i in range(12)]], "float32")
    told = {"boxes": chain, "scores": np.arange(12, 0, -1, "float32")[None]}
    found = runtime.onnx_run(tmp_path / "chain.onnx")(told)["logits"]
    np.testing.assert_array_equal(found[0] > network.NEVER, [i % 2 == 0 for i in range(12)])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="files are made of TensorFlow's graphs")
def test_a_file_whose_boxes_come_in_another_order_is_written(tmp_path, monkeypatch):
    """Of proposals that score nearly alike, rounding decides which comes first."""
    keras.utils.set_random_seed(0)
    card = registry.card("faster_rcnn_resnet50_fpn")
    detector = runtime.inference(registry.build(card.name, **card.test_options), ("logits", "corners"))
    monkeypatch.setattr(litert_file, "_converted", lambda *given: b"a file")

    def turned(batch):
        return {name: value[:, ::-1] for name, value in detector.predict_on_batch(batch).items()}

    monkeypatch.setattr(litert_file, "run", lambda path: turned)
    litert_file.write(detector, tmp_path / "turned.tflite", [(64, 64)])
    monkeypatch.setattr(
        litert_file, "run", lambda path: lambda batch: {name: value + 2.5 for name, value in turned(batch).items()}
    )
    with pytest.raises(litert_file.LitertError, match="of its LiteRT file differs by"):
        litert_file.write(detector, tmp_path / "moved.tflite", [(64, 64)])
    assert [path.name for path in tmp_path.iterdir()] == ["turned.tflite"]


def test_few_rows_may_be_others_than_those_of_the_network():
    image = keras.Input((2,), name="image")
    layer = keras.layers.Dense(1)
    layer.picks = True
    picking, plain = keras.Model(image, layer(image)), keras.Model(image, keras.layers.Dense(1)(image))
    expected = {"logits": RNG.normal(size=(2, 40)), "corners": RNG.uniform(0, 60, (2, 40, 4))}
    order = RNG.permutation(40)
    found = {name: value[:, order].copy() for name, value in expected.items()}
    assert alike.paired(plain, found, expected)["logits"] is found["logits"]
    for strays, right in ((2, True), (3, False)):
        found["logits"][:, :strays] = -100
        given = alike.paired(picking, found, expected)
        assert all(np.array_equal(given[name], value) for name, value in expected.items()) is right
    assert alike.paired(picking, {"logits": found["logits"]}, expected).keys() == {"logits"}


def test_overlaps_by_hand():
    one = np.array([[[0, 0, 10, 10], [0, 0, 0, 0]]], "float32")
    other = np.array([[[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]]], "float32")
    np.testing.assert_allclose(np.asarray(network.overlaps(one, other))[0], [[50 / 150, 1, 0], [0, 0, 0]], atol=1e-6)


def test_proposals_are_the_best_anchors_that_do_not_overlap():
    """With no deltas a proposal is its anchor; of two of one place, shaped alike, the better stays."""
    levels = [np.zeros((2, *size, 1), "float32") for size in ((8, 8), (4, 4), (2, 2), (1, 1), (1, 1))]
    reference = network.anchors([x.shape[1:3] for x in levels], np)
    scores = np.full((2, len(reference)), -9.0, "float32")
    chosen = [(3 * 9, 5.0), (3 * 9 + 1, 6.0), (3 * 54, 4.0)]  # the first two overlap by 0.55
    for index, score in chosen:
        scores[0, index] = score
    layer = network.Propose(before=8, count=4, overlap=0.5)
    image, deltas = np.zeros((2, 32, 32, 3), "float32"), np.zeros((2, len(reference), 4), "float32")
    found = np.asarray(layer([image, scores, deltas, *levels]))
    assert found.shape == (2, 4, 4)
    np.testing.assert_allclose(found[0, :2], reference[[3 * 9 + 1, 3 * 54]].clip(0, 32), atol=1e-2)


def test_a_small_image_has_empty_proposals():
    levels = [np.zeros((1, 1, 1, 1), "float32") for _ in network.STRIDES]
    count = 3 * len(levels)
    inputs = [np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, count), "float32"), np.zeros((1, count, 4), "float32")]
    found = np.asarray(network.Propose(before=64, count=40)([*inputs, *levels]))
    empty = (found == 0).all(-1)[0]
    assert found.shape == (1, 40, 4) and empty.sum() >= 40 - count and not empty[0]


def test_of_boxes_that_overlap_the_best_keeps_its_logit():
    corners = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 0, 0]]], "float32")
    """An empty one overlaps none; reading leaves it out by its size."""
    found = np.asarray(network.Suppress(0.3)([corners, np.array([[1.0, 2.0, -1.0, 3.0]], "float32")]))
    np.testing.assert_allclose(found, [[network.NEVER, 2, -1, 3]])


def test_targets_of_a_word():
    """(6, 8) to (38, 16): as the anchor of width 32 at (22, 12) on P2, shifted by (0, 2) and nearly the same there."""
    drawn = recipe.maps(word(6, 10, 38, 18)[None], np.array([False]), (64, 64))
    reference = recipe._anchors((64, 64))
    (held,) = np.nonzero(drawn["anchor_text"])
    for index in held:
        deltas = drawn["anchor_deltas"][index]
        back = np.asarray(network.decode(deltas[None], reference[index][None], 64.0, 64.0))
        np.testing.assert_allclose(back, [[6, 10, 38, 18]], atol=0.05)
    assert len(held) >= 1 and (drawn["anchor_mask"][held] == 1).all()
    exact = np.abs(reference - [6, 10, 38, 18]).max(1).argmin()
    assert exact in held
    common, whole = recipe._common(np.array([6, 10, 38, 18], "float32"), reference)
    between = (common / whole >= 0.3) & (common / whole < 0.7)
    between[held] = False
    assert between.any() and not drawn["anchor_mask"][between].any()
    assert drawn["anchor_mask"][common / whole < 0.3].all()
    np.testing.assert_array_equal(drawn["words"][0], [6, 10, 38, 18, 1])
    assert not drawn["words"][1:].any()


def test_what_cannot_be_learnt_does_not_count():
    polygons = np.stack([word(0, 0, 64, 64), word(20, 20, 50, 22)])
    drawn = recipe.maps(polygons, np.array([True, False]), (64, 64))
    assert not drawn["anchor_text"].any()
    assert drawn["anchor_mask"].sum() < 0.5 * len(drawn["anchor_mask"])
    np.testing.assert_array_equal(drawn["words"][:3, 4], [-1, -1, 0])


def test_proposals_are_matched_with_words():
    """The first covers a word by 0.8, the second by a third, the third lies on what is skipped, the last is empty."""
    rows = np.zeros((1, recipe.MOST, 5), "float32")
    rows[0, 0], rows[0, 1] = [0, 0, 10, 10, 1], [40, 40, 60, 60, -1]
    proposals = np.array([[[0, 0, 10, 8], [5, 0, 15, 10], [42, 42, 50, 50], [0, 0, 0, 0]]], "float32")
    text, mask, deltas = map(np.asarray, recipe.matched({"words": rows}, {"proposals": proposals}))
    np.testing.assert_array_equal(text, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0]])
    np.testing.assert_allclose(deltas[0, 0], [0, 10 / 8, 0, 5 * math.log(10 / 8)], atol=0.01)
    assert not deltas[0, 1:].any()


def test_the_loss_of_a_stage_by_hand():
    """One word missed by 2 in one delta; of the others the three hardest, with logits 1, 0 and 0."""
    logits = np.array([[0.0, 1.0, 0.0, 0.0, -50.0]], "float32")
    found = np.zeros((1, 5, 4), "float32")
    found[0, 0, 2] = 2
    text, mask = np.array([[1.0, 0, 0, 0, 0]], "float32"), np.ones((1, 5), "float32")
    value = np.asarray(recipe.stage(logits, found, text, mask, np.zeros((1, 5, 4), "float32")))
    others = (math.log(1 + math.e) + 2 * math.log(2)) / 3
    assert value == pytest.approx([math.log(2) / 2 + others / 2 + 1.5], rel=1e-5)


def test_boxes_are_those_that_are_sure():
    corners = np.array([[0, 0, 10, 5], [20, 0, 30, 9], [1, 1, 2, 9], [5, 5, 9, 9]], "float32")
    found, scores = upright.boxes(np.array([1.0, 3.0, 5.0, -1.0]), corners, threshold=0.6)
    np.testing.assert_allclose(found, [word(20, 0, 30, 9), word(0, 0, 10, 5)])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-3.0, -1.0])), rtol=1e-5)
