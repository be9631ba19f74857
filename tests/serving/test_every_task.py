"""Networks of every task, exported: what is served are their outputs by name, of pictures as the reading path prepares.

What they do with them: `test_served_detectors.py`, `test_graph.py`, `test_graph_spotting.py`.
"""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from PIL import Image
from toys import write_run

import zoo
from serving import export
from serving.export import ExportError
from serving.servable import Servable
from zoo import decoding, image, registry
from zoo.classifying import Classifier
from zoo.regions import fitted

SIDES = (64, 96)  # that all networks with sides of their own have at their cards' test options
TASKS = ("classification", "segmentation", "layout", "tables", "recognition")
NAMES = [name for task in TASKS for name in zoo.names(task)]
QUICK = "lenet5"


def one_of_each(names: list[str]) -> list[str]:
    """The names of which each has another network at its test options than those before it."""
    cards = {}
    for card in map(zoo.card, names):
        cards.setdefault((card.builder, str(card.test_options), str(card.reading.get("widths"))), card.name)
    return list(cards.values())


def prepared(card: zoo.Card, picture: np.ndarray) -> np.ndarray:
    """A picture as the reading path gives it to the network of a card."""
    if card.task == "recognition":
        widths = card.reading["widths"]
        wanted = image.strip_width(picture, 32)
        return image.strip(picture, 32, next((width for width in widths if width >= wanted), widths[-1]))
    if card.task == "classification":
        return Classifier(lambda batch: {}, **card.reading).fitted(picture)
    return fitted(picture, tuple(card.reading["size"]))[0]


def check(name: str, folder) -> None:
    reading = {} if zoo.card(name).task == "recognition" else {"size": list(SIDES)}
    run = write_run(name, folder / "small", **reading)
    card, network = registry.card(run), zoo.load(run)
    served = Servable(export.export(run, folder / "models"))
    names = set(decoding.needed(card.reading))
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), "uint8")  # a page of this size is not resized
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    batch = prepared(card, picture)[None]
    expected = {key: np.asarray(value) for key, value in network(batch, training=False).items()}
    pixels = served.predict(export.PIXELS, {"image": export.wire.encode(batch)})
    encoded = served.predict("serving_default", {"image_bytes": export.wire.encode([buffer.getvalue()])})
    assert set(pixels) == names
    page = card.task not in ("classification", "recognition")
    assert set(encoded) == names | ({"scale"} if page else set())
    for key in names:
        np.testing.assert_allclose(pixels[key], expected[key], rtol=1e-3, atol=1e-3)
        # Where a picture is resized, a pixel may differ by one level.
        np.testing.assert_allclose(encoded[key], expected[key], rtol=1e-3, atol=1e-3 if page else 0.01)
    if page:
        np.testing.assert_allclose(encoded["scale"], [image.letterbox(picture, SIDES, 1)[1]])


def test_outputs_are_served_by_name(tmp_path):
    check(QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in one_of_each(NAMES) if name != QUICK])
def test_outputs_of_each_other_network_are_served(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.slow
def test_a_network_with_sides_of_its_own_is_given_no_others(tmp_path):
    run = write_run("lw_detr_s", tmp_path / "small")
    with pytest.raises(
        ExportError, match=r"takes pictures of \(64, 96\), and they would be prepared as \(1024, 1024\)"
    ):
        export.export(run, tmp_path)
