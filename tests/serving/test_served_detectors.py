"""Detectors with a decoding of their own, exported: a page is read alike in this process, from ONNX and when served."""

from __future__ import annotations

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow")

from toys import write_run

import zoo
from serving import export
from serving.servable import Servable
from zoo import decoding, registry, runtime
from zoo.reading import Detector

RANDOM = {"ctpn_vgg16": {"line_threshold": 0.3}, "faster_rcnn_resnet50_fpn": {"min_size": 0}}  # else it finds nothing
NAMES = [name for name in zoo.names("detection") if "decode" in zoo.card(name).reading]


@pytest.fixture
def tiny(request, tmp_path):
    """A run's folder with the network of a card at its test options, and random weights."""
    keras.utils.set_random_seed(0)
    usual = {"size": [128, 160], "multiple": 32, "threshold": 0.3}
    return write_run(request.param, tmp_path / "tiny", **usual, **RANDOM.get(request.param, {}))


@pytest.mark.slow
@pytest.mark.parametrize("tiny", NAMES, indirect=True)
def test_boxes_are_the_same_wherever_the_network_runs(tiny, tmp_path):
    card, network = registry.card(tiny), zoo.load(tiny)
    names = decoding.needed(card.reading)
    assert len(names) >= 1 and set(names) <= network.output.keys()
    runtime.export(network, tmp_path / "network.onnx", names)
    served = Servable(export.export(tiny, tmp_path / "models"))  # each output is compared before it is published

    def ask(batch: np.ndarray) -> dict[str, np.ndarray]:
        return served.predict(export.PIXELS, {"image": export.wire.encode(batch)})

    page = np.random.default_rng(5).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    runs = (runtime.in_process(network, names), runtime.onnx_run(tmp_path / "network.onnx"), ask)
    boxes, scores = Detector(runs[0], **card.reading)(page)
    assert len(boxes) > 0
    for run in runs[1:]:
        found, others = Detector(run, **card.reading)(page)
        assert len(found) == len(boxes)
        # Which corner comes first may hang on the last digit of an angle.
        corners = np.stack([np.roll(found, start, 1) for start in range(4)])
        assert np.abs(corners - boxes).max((2, 3)).min(0).max() < 0.5
        np.testing.assert_allclose(others, scores, atol=1e-2)
