"""Values between pixels: equal to torchvision's operations and to OpenCV's views, and in every export."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from zoo import image, runtime, sampling  # noqa: E402

GOLDEN = Path(__file__).parent / "golden/sampling.npz"
RNG = np.random.default_rng(8)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


def test_bilinear_by_hand():
    """Between 1, 2 over 3, 4; half a pixel beyond the edge half of it is left, or all where it is repeated."""
    picture = np.array([[1, 2], [3, 4]], "float32").reshape(1, 2, 2, 1)
    y, x = np.array([[0.5, 0.25, -0.5, 1.5, 5.0]], "float32"), np.array([[0.5, 0, 0, 1.5, 5.0]], "float32")
    zero = sampling.bilinear([picture], None, y, x)
    np.testing.assert_allclose(np.asarray(zero)[0, :, 0], [2.5, 1.5, 0.5, 1, 0])
    repeated = sampling.bilinear([picture], None, y, x, sampling.REPEAT)
    np.testing.assert_allclose(np.asarray(repeated)[0, :, 0], [2.5, 1.5, 1, 4, 4])


def test_maps_in_half_precision_are_looked_up_at_places_in_single():
    """As within a network of mixed precision. Half precision's own numbers are 0.25 apart from 256 on."""
    picture = RNG.integers(0, 256, (1, 4, 600, 3)).astype("float16")
    y, x = np.array([[1.0, 2.25]], "float32"), np.array([[300.1, 598.8]], "float32")
    half, whole = (
        np.asarray(sampling.bilinear([p], None, y, x, edge))
        for p, edge in (
            (keras.ops.convert_to_tensor(picture), sampling.REPEAT),
            (picture.astype("float32"), sampling.ZERO),
        )
    )
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, whole, rtol=1e-6)


def test_each_point_is_looked_up_in_its_own_map_and_row():
    maps = [RNG.normal(size=(2, 4, 3, 2)).astype("float32"), RNG.normal(size=(2, 2, 5, 2)).astype("float32")]
    level = np.array([[0, 1, 1], [1, 0, 0]], "int32")
    y, x = np.array([[3, 1, 0], [1, 2, 0]], "float32"), np.array([[2, 4, 0], [3, 1, 2]], "float32")
    found = np.asarray(sampling.bilinear(maps, level, y, x))
    for row in range(2):
        for n in range(3):
            np.testing.assert_array_equal(found[row, n], maps[level[row, n]][row, int(y[row, n]), int(x[row, n])])


DEFORM = {"near": {"stride": 1, "dilation": 1}, "far": {"stride": 2, "dilation": 2}}


@pytest.mark.parametrize("case", DEFORM)
def test_deformable_convolution_is_that_of_torchvision(case, golden):
    values = {key.partition("/")[2]: value for key, value in golden.items() if key.startswith(f"{case}/")}
    layer = sampling.DeformConv(4, 3, name="d", **DEFORM[case])
    inputs = [values["x"], values["offset"], values["weight"]]
    layer.build([x.shape for x in inputs])
    layer.kernel.assign(values["kernel"])
    y = layer(inputs)
    assert tuple(y.shape) == layer.compute_output_shape([x.shape for x in inputs]) == values["y"].shape
    np.testing.assert_allclose(np.asarray(y), values["y"], rtol=1e-4, atol=1e-5)


GRADIENTS = """
import os, sys
import numpy as np
import keras
from keras import ops
from zoo import image, sampling
values = dict(np.load(sys.argv[1]))
backend = keras.backend.backend()
for case, options in {"near": {"stride": 1, "dilation": 1}, "far": {"stride": 2, "dilation": 2}}.items():
    names = ["x", "offset", "weight", "kernel"]
    given = [values[f"{case}/{name}"] for name in names]
    layer = sampling.DeformConv(4, 3, **options)
    layer.build([x.shape for x in given[:3]])
    def loss(x, offset, weight, kernel):
        if backend == "jax":
            y, _ = layer.stateless_call([kernel], [], [x, offset, weight])
        else:
            y = layer([x, offset, weight])
        return ops.sum(y * values[f"{case}/pull"])
    if backend == "jax":
        import jax
        found = jax.grad(loss, argnums=(0, 1, 2, 3))(*given)
    else:
        import tensorflow as tf
        layer.kernel.assign(given[3])
        tensors = [tf.constant(x) for x in given[:3]]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = loss(*tensors, None)
        found = tape.gradient(value, [*tensors, layer.kernel.value])
    for name, gradient in zip(names, found):
        true = values[f"{case}/{name}_gradient"]
        np.testing.assert_allclose(np.asarray(ops.convert_to_numpy(gradient)), true, rtol=1e-3, atol=1e-4, err_msg=name)
print(backend, "equal")
"""


def gradients(python: str, backend: str) -> str:
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [python, "-c", GRADIENTS, str(GOLDEN)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_gradients_are_those_of_torchvision():
    assert gradients(sys.executable, keras.backend.backend()) == f"{keras.backend.backend()} equal"


def test_regions_are_those_of_torchvision(golden):
    """All boxes are small: they belong to P2, whose stride is 4."""
    layer = sampling.RegionAlign(3)
    coarse = RNG.normal(size=(1, 6, 5, 3)).astype("float32")
    found = np.asarray(layer([golden["align/boxes"], golden["align/map"], coarse]))
    np.testing.assert_allclose(found, golden["align/y"], rtol=1e-4, atol=1e-5)


def test_a_large_region_is_taken_from_a_coarser_map():
    """112 pixels belong to P3 and 224 to P4, as the paper has it; what is in between to the lower one."""
    maps = [np.full((1, 64 // 2**i, 64 // 2**i, 1), level, "float32") for i, level in enumerate((2, 3, 4, 5))]
    boxes = np.array([[[0, 0, 111, 111], [0, 0, 113, 113], [8, 8, 240, 240], [0, 0, 20, 12]]], "float32")
    found = np.asarray(sampling.RegionAlign(2)([boxes, *maps]))
    np.testing.assert_array_equal(found[0, :, 0, 0, 0], [2, 3, 4, 2])


@pytest.mark.parametrize("size", [(6, 9), (4, 5)])
def test_an_affine_view_is_that_of_opencv(size):
    """OpenCV counts from the first pixel's centre: place p of n pixels is at (2 p + 1) / n - 1 of ours."""
    picture = RNG.normal(size=(1, 8, 10, 1)).astype("float32")
    theta = np.array([[0.8, -0.3, 0.1], [0.2, 0.9, -0.2]])

    def places(height: int, width: int) -> np.ndarray:  # from pixels to [-1, 1]
        return np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])

    matrix = np.linalg.inv(places(8, 10)) @ np.vstack([theta, [0, 0, 1]]) @ places(*size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(picture[0, :, :, 0], matrix[:2], size[::-1], flags=flags, borderValue=0)
    found = sampling.AffineView(size)([picture, theta.reshape(1, 6).astype("float32")])
    # OpenCV rounds places to a 32nd of a pixel.
    np.testing.assert_allclose(np.asarray(found)[0, :, :, 0], expected, atol=0.12)
    assert np.abs(np.asarray(found)[0, :, :, 0] - expected).mean() < 0.03


def test_an_affine_view_by_hand():
    """Halved and moved by half of the width: the right half of the picture at its own resolution."""
    picture = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    theta = np.array([[0.5, 0, 0.5, 0, 1, 0]], "float32")
    found = np.asarray(sampling.AffineView((4, 2))([picture, theta]))
    np.testing.assert_allclose(found[0, :, :, 0], picture[0, :, 2:, 0], atol=1e-5)


def test_a_spatial_transformer_begins_with_the_whole_picture():
    image = keras.Input((8, 12, 3), name="image")
    network = keras.Model(image, sampling.spatial_transformer(image, (8, 12), "view", filters=4))
    picture = RNG.normal(size=(2, 8, 12, 3)).astype("float32")
    np.testing.assert_allclose(np.asarray(network(picture)), picture, atol=1e-5)
    assert {variable.path.split("/")[0] for variable in network.weights} == {"view_conv1", "view_conv2", "view_matrix"}


def test_a_deformable_block_begins_as_half_a_convolution():
    image = keras.Input((None, None, 3), name="image")
    network = keras.Model(image, sampling.deform_conv(image, 4, 3, "d", stride=2))
    picture = RNG.normal(size=(2, 9, 8, 3)).astype("float32")
    kernel = network.get_layer("d").kernel
    padded = np.pad(picture, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = keras.ops.conv(padded, kernel, strides=2, padding="valid")
    np.testing.assert_allclose(np.asarray(network(picture)), 0.5 * np.asarray(expected), rtol=1e-4, atol=1e-5)


def test_layers_survive_saving():
    made = [
        sampling.DeformConv(4, 3, 2, 2, name="a"), sampling.RegionAlign(5, 3, 96.0, name="b"),
        sampling.AffineView((3, 4), name="c"),
    ]  # fmt: skip
    for layer in made:
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()


@pytest.mark.slow
def test_every_layer_is_in_an_onnx_file_and_in_a_saved_model(tmp_path):
    image = keras.Input((None, None, 3), name="image")
    x = sampling.deform_conv(keras.layers.Rescaling(1 / 255)(image), 4, 3, "d", stride=2)
    x = sampling.spatial_transformer(x, (8, 8), "view", filters=4)
    corners = keras.initializers.Constant([2.0, 2.0, 20.0, 12.0])
    boxes = keras.layers.Dense(4, bias_initializer=corners, name="boxes")(keras.ops.mean(x, (1, 2), keepdims=True))[
        :, 0
    ]
    logits = sampling.RegionAlign(3, name="logits")([boxes, x])
    network = keras.Model(image, {"logits": logits})
    for variable in network.weights:
        variable.assign(variable + RNG.normal(size=variable.shape, scale=0.1))
    runtime.export(network, tmp_path / "network.onnx")
    network.export(tmp_path / "saved", verbose=False)
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "saved"))
    for shape in ((1, 16, 24, 3), (2, 20, 12, 3)):
        picture = RNG.integers(0, 256, shape).astype("uint8")
        expected = np.asarray(network(picture)["logits"])
        given = runtime.onnx_run(tmp_path / "network.onnx")(picture)["logits"]
        np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-4)
        given = served.serve(tf.constant(picture, tf.float32))["logits"]
        np.testing.assert_allclose(given, expected, rtol=1e-3, atol=1e-4)


def quads(*corners) -> np.ndarray:
    return np.array([corners], "float32")


TURNED = [[30, 8], [88, 20], [80, 52], [24, 36]]
PERSPECTIVE = [[20, 10], [90, 4], [98, 60], [14, 40]]
UPWARDS = [[40, 60], [40, 10], [64, 10], [64, 60]]  # the text's top left is the lower left


@pytest.mark.parametrize("corners", [TURNED, PERSPECTIVE, UPWARDS], ids=["turned", "perspective", "upwards"])
@pytest.mark.parametrize("stride", [1, 2])
def test_words_seen_straight_on_are_those_of_opencv(corners, stride):
    """The same quadrilateral by OpenCV's warp, whose pixels are counted from their centres as ours are."""
    picture = cv2.GaussianBlur(RNG.uniform(0, 1, (72, 112, 3)).astype("float32"), (0, 0), 2)
    height, width, total = 12, 31, 40
    columns = (np.arange(total) < width).astype("float32")[None, None]
    layer = sampling.Rectify(height, stride)
    view = np.asarray(layer([picture[None], stride * quads(corners), columns]))
    assert view.shape == (1, height, total, 3) and not view[:, :, width:].any()
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32") - 0.5
    matrix = cv2.getPerspectiveTransform(np.array(corners, "float32") - 0.5, target)
    expected = cv2.warpPerspective(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    # OpenCV rounds places to 1/32 of a pixel.
    np.testing.assert_allclose(view[0, :, :width], expected, atol=0.01)


@pytest.mark.parametrize(("finer", "coarser", "width"), [(2, 1, 62), (1, 2, 15.5), (3, 2, 46.5)])
def test_views_may_be_finer_or_coarser_than_told(finer, coarser, width):
    """Told 31 columns of 40, they have two for each of these, one for two, and three for two."""
    picture = cv2.GaussianBlur(RNG.uniform(0, 1, (72, 112, 3)).astype("float32"), (0, 0), 2)
    columns = (np.arange(40) < 31).astype("float32")[None, None]
    layer = sampling.Rectify(12, 1, finer=finer, coarser=coarser)
    view = np.asarray(layer([picture[None], quads(PERSPECTIVE), columns]))
    assert view.shape == (1, 12, 40 * finer // coarser, 3)
    spec = layer.compute_output_spec([keras.KerasTensor(s) for s in ((1, 72, 112, 3), (1, 1, 4, 2), (1, 1, 40))])
    assert spec.shape == view.shape
    used = int(np.ceil(width))
    assert view[:, :, used - 1].any() and not view[:, :, used:].any()
    target = np.array([[0, 0], [width, 0], [width, 12], [0, 12]], "float32") - 0.5
    matrix = cv2.getPerspectiveTransform(np.array(PERSPECTIVE, "float32") - 0.5, target)
    expected = cv2.warpPerspective(picture, matrix, (used, 12), borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(view[0, :, : int(width)], expected[:, : int(width)], atol=0.01)
    assert sampling.Rectify.from_config(layer.get_config()).get_config() == layer.get_config()
    assert image.view(picture, np.array(PERSPECTIVE), 12, width).shape == (12, used, 3)
    np.testing.assert_allclose(view[0, :, :used], image.view(picture, np.array(PERSPECTIVE), 12, width), atol=0.01)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_what_lies_beyond_a_map_is_its_edge(channels):
    """In a graph and by OpenCV, of pixels and of features, whose channels may be any."""
    picture = cv2.GaussianBlur(RNG.uniform(0, 1, (24, 40, channels)).astype("float32"), (0, 0), 2)
    picture = picture.reshape(24, 40, channels)
    corners = np.array([[-6, -4], [44, 2], [42, 27], [-9, 20]], "float32")
    view = np.asarray(sampling.Rectify(12, 1)([picture[None], corners[None, None], np.ones((1, 1, 30), "float32")]))
    np.testing.assert_allclose(view[0], image.view(picture, corners, 12, 30), atol=0.02)
    assert np.ptp(view[0, 0, :3], 0).max() < 0.02 < np.ptp(view[0])  # the upper left corner, again and again


def test_views_of_many_words_are_those_of_each_alone():
    pictures = RNG.uniform(0, 1, (2, 40, 60, 2)).astype("float32")
    words = RNG.uniform(4, 36, (2, 3, 4, 2)).astype("float32")
    columns = (np.arange(9) < np.array([[9, 4, 0], [1, 8, 5]])[..., None]).astype("float32")
    layer = sampling.Rectify(5, 1)
    together = np.asarray(layer([pictures, words, columns]))
    assert together.shape == (6, 5, 9, 2)
    assert not together[2].any()  # no columns, no view
    for page in range(2):
        for word in range(3):
            one = np.s_[page : page + 1, word : word + 1]
            alone = np.asarray(layer([pictures[page : page + 1], words[one], columns[one]]))
            np.testing.assert_allclose(together[3 * page + word], alone[0], atol=1e-6)


def test_gradients_of_views_are_finite_differences():
    """By the map's values and by the corners, each against a small step of its own."""
    tf = pytest.importorskip("tensorflow")
    picture = cv2.GaussianBlur(RNG.uniform(0, 1, (24, 32)), (0, 0), 2)[None, :, :, None].astype("float32")
    corners = quads([6.3, 5.2], [25.4, 7.1], [24.2, 17.6], [4.8, 15.3])[None]
    columns = np.ones((1, 1, 10), "float32")
    weight = RNG.normal(size=(1, 6, 10, 1)).astype("float32")
    layer = sampling.Rectify(6, 1)

    def total(picture, corners) -> float:
        return float(np.sum(weight * np.asarray(layer([picture, corners, columns]), "float64")))

    given = [tf.constant(picture), tf.constant(corners[0])]
    with tf.GradientTape() as tape:
        tape.watch(given)
        value = tf.reduce_sum(weight * layer([given[0], given[1], columns]))
    gradients = [np.asarray(gradient) for gradient in tape.gradient(value, given)]
    step = np.zeros_like(picture)
    step[0, 10, 15] = 0.5  # the value is linear in the map
    np.testing.assert_allclose(
        total(picture + step, corners[0]) - total(picture - step, corners[0]), gradients[0][0, 10, 15, 0], atol=1e-4
    )
    for place in np.ndindex(1, 4, 2):
        step = np.zeros_like(corners[0])
        step[(0, *place[1:])] = 2e-3
        slope = (total(picture, corners[0] + step) - total(picture, corners[0] - step)) / 4e-3
        np.testing.assert_allclose(slope, gradients[1][(0, *place[1:])], atol=2e-2)


def test_a_quadrilateral_that_is_none_gives_numbers():
    view = sampling.Rectify(4, 1)([np.ones((1, 8, 8, 1), "float32"), np.zeros((1, 1, 4, 2)), np.ones((1, 1, 6))])
    assert np.isfinite(np.asarray(view)).all()
