"""Blocks that Keras does not have, as functions from tensor to tensor.

Every layer with weights takes its name from the caller, because weights are keyed by variable path. Padding is written
out: "same" puts the odd pixel elsewhere in TensorFlow than in PyTorch, whose weights these networks can take.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation for which published backbones are trained


@keras.saving.register_keras_serializable(__name__)
class Normalize(layers.Rescaling):
    """Pixels of each channel scaled and shifted, of images whose sides are multiples of a number: see `normalize`."""

    def __init__(self, scale, offset=0.0, multiple: int = 1, **kwargs):
        super().__init__(scale, offset, **kwargs)
        self.multiple = multiple

    def call(self, inputs):
        if inputs.shape[0] == 0:
            raise ValueError(f"a batch of no pictures, of shape {tuple(inputs.shape)}: give one or more")
        check_sides(inputs.shape, self.multiple)
        return super().call(inputs)

    def get_config(self):
        return super().get_config() | {"multiple": self.multiple}


def check_sides(shape, multiple: int) -> None:
    """Nothing, where the sides of a shape (B, H, W, C) are multiples of a number, or not known.

    Raises:
        ValueError: one is none.
    """
    given = tuple(shape[1:3])
    larger = tuple(side and -(-side // multiple) * multiple for side in given)
    if given != larger:
        raise ValueError(f"an image of {given} pixels has a side that is no multiple of {multiple}; {larger} would do")


def multiple(network: keras.Model) -> int:
    """Of which the sides of a network's images are multiples: see `normalize`."""
    return max((layer.multiple for layer in network.layers if isinstance(layer, Normalize)), default=1)


Colour = tuple[float, float, float]


def normalize(image, mean: Colour, std: Colour, multiple: int = 1, name: str = "normalize"):
    """(B, H, W, 3) pixels in [0, 255] → (pixels / 255 - mean) / std.

    Raises:
        ValueError: a side is no multiple of `multiple`, the stride of the coarsest map that is enlarged and joined to
            others; raised by the network, too, when it is given such an image. Or Keras is to have channels first.
    """
    if (order := keras.config.image_data_format()) != "channels_last":  # of which layers take their own
        hint = "keras.config.set_image_data_format('channels_last') would do"
        raise ValueError(f"Keras's image_data_format is {order!r}; networks here take (B, H, W, 3): {hint}")
    check_sides(image.shape, multiple)
    scale = [1 / (255 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    return Normalize(scale, offset, multiple, name=name)(image)


Kernel = int | tuple[int, int]  # the side of a square window, or its height and width; so strides


def pad(x, kernel: Kernel, name: str):
    """Adds kernel // 2 zero pixels on each side, so that a "valid" window of that size keeps the centre."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return layers.ZeroPadding2D((height // 2, width // 2), name=f"{name}_pad")(x)


def conv(x, filters: int, kernel: Kernel, name: str, *, stride: Kernel = 1, bias: bool = False, dilation: int = 1):
    """A convolution padded by kernel // 2 on all sides: (B, H, W, C) → (B, ⌈H / stride⌉, ⌈W / stride⌉, filters).

    A kernel (1, k) looks along the line, (k, 1) across it; a dilated one leaves `dilation` - 1 pixels between its own,
    and takes no stride.
    """
    if kernel not in (1, (1, 1)) and stride not in (1, (1, 1)):
        x, padding = pad(x, kernel, name), "valid"
    else:
        padding = "same"
    return layers.Conv2D(
        filters, kernel, stride, padding, dilation_rate=dilation, use_bias=bias, kernel_initializer="he_normal",
        name=name,
    )(x)  # fmt: skip


def depthwise_conv(x, kernel: int, name: str, *, stride: tuple[int, int] = (1, 1), dilation: int = 1):
    """A convolution of each channel by itself, padded by kernel // 2 on all sides; the strides may differ.

    TensorFlow has no depthwise convolution with unequal strides: it is run at stride 1 and rows are dropped. A dilated
    one takes no stride, as `conv`.
    """
    equal = stride[0] == stride[1]
    if equal and stride[0] > 1:
        x, padding = pad(x, kernel, name), "valid"
    else:
        padding = "same"
    step = stride[0] if equal else 1
    x = layers.DepthwiseConv2D(
        kernel, step, padding, dilation_rate=dilation, use_bias=False, depthwise_initializer="he_normal", name=name
    )(x)  # fmt: skip
    return x if equal else x[:, :: stride[0], :: stride[1]]


def deconv(x, filters: int, kernel: int, name: str, *, stride: int = 1, bias: bool = False, **options):
    """A transposed convolution whose window is centred on each pixel: (B, H, W, C) → (B, stride·H, stride·W, filters).

    The kernel is 3 at stride 1 or 2, or as large as the stride. Of the pixels that a window of 3 writes at stride 2
    beyond the edges, PyTorch drops the first ("padding" 1, "output padding" 1), and "same" in TensorFlow the last.
    """
    padding = "same" if stride == 1 else "valid"
    options = {"kernel_initializer": "he_normal", **options}
    x = layers.Conv2DTranspose(filters, kernel, stride, padding, use_bias=bias, name=name, **options)(x)
    if kernel > stride > 1:
        x = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)
    return x


def norm(x, name: str, **options):
    """Batch normalization with PyTorch's usual constants, which `options` may change."""
    return layers.BatchNormalization(name=name, **(BATCH_NORM | options))(x)


def conv_bn(
    x,
    filters: int,
    kernel: Kernel,
    name: str,
    *,
    stride: Kernel = 1,
    dilation: int = 1,
    activation: str | None = "relu",
    **options,
):
    """Convolution, batch normalization, activation; the layers are `name`_conv and `name`_norm."""
    x = conv(x, filters, kernel, f"{name}_conv", stride=stride, dilation=dilation)
    x = norm(x, f"{name}_norm", **options)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def interpolation(size: int, target: int, aligned: bool = True) -> np.ndarray:
    """The (target, size) matrix that resizes an axis linearly.

    Its first and last samples stay where they are; or, unless `aligned`, its outer edges do.
    """
    if aligned:
        position = np.arange(target) * ((size - 1) / max(target - 1, 1))
    else:
        position = ((np.arange(target) + 0.5) * size / target - 0.5).clip(0, size - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size))).astype("float32")


@keras.saving.register_keras_serializable(__name__)
class Upsample(layers.Layer):
    """Bilinear enlargement by a whole factor: (B, H, W, C) → (B, factor·H, factor·W, C).

    The corner pixels' centres stay at the corners; or, unless `aligned`, the edges of the picture do, as in Keras'
    `UpSampling2D`, which TensorFlow cannot trace where height and width are free. Two matrix products, one for each
    axis: no gather, so the gradient has no scatter.
    """

    def __init__(self, factor: int, aligned: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.aligned = factor, aligned

    def _matrix(self, static: int | None, dynamic):
        if static is not None:
            return ops.cast(interpolation(static, static * self.factor, self.aligned), self.compute_dtype)
        size = ops.cast(dynamic, "float32")
        target = ops.arange(dynamic * self.factor, dtype="float32")
        if self.aligned:
            position = target * ((size - 1) / ops.maximum(size * self.factor - 1, 1))
        else:
            position = ops.clip((target + 0.5) / self.factor - 0.5, 0, size - 1)
        weight = 1 - ops.abs(ops.expand_dims(position, 1) - ops.arange(dynamic, dtype="float32"))
        return ops.cast(ops.maximum(weight, 0), self.compute_dtype)

    def call(self, x):
        height, width = ops.shape(x)[1], ops.shape(x)[2]
        rows = self._matrix(x.shape[1], height)  # (factor·H, H)
        columns = self._matrix(x.shape[2], width)  # (factor·W, W)
        channels = x.shape[3]
        x = ops.reshape(x, (-1, height, width * channels))
        x = ops.reshape(ops.matmul(rows, x), (-1, height * self.factor, width, channels))
        return ops.matmul(columns, x)

    def compute_output_shape(self, shape):
        batch, height, width, channels = shape
        scale = (None if side is None else side * self.factor for side in (height, width))
        return (batch, *scale, channels)

    def get_config(self):
        return super().get_config() | {"factor": self.factor, "aligned": self.aligned}


def squeeze_excite(x, reduced: int, name: str):
    """Channels weighted by a two-layer gate over their means; hard sigmoid (MobileNetV3, section 5.3)."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    gate = layers.Conv2D(reduced, 1, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Conv2D(channels, 1, activation="hard_sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def channel_attention(x, name: str, *, reduction: int = 16):
    """Channels weighted by one two-layer gate over their means and their maxima.

    Woo et al. 2018, https://arxiv.org/abs/1807.06521, eq. 2. The gate's layers are `name`_reduce and `name`_expand.
    """
    channels = x.shape[-1]
    reduce = layers.Conv2D(max(1, channels // reduction), 1, activation="relu", use_bias=False, name=f"{name}_reduce")
    expand = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_expand")
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    largest = layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_max")(x)
    gate = layers.Add(name=f"{name}_add")([expand(reduce(mean)), expand(reduce(largest))])
    gate = layers.Activation("sigmoid", name=f"{name}_gate")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def spatial_attention(x, name: str, *, kernel: int = 7):
    """Pixels weighted by a convolution over the mean and the maximum of their channels (eq. 3 of the same paper)."""
    both = ops.concatenate([ops.mean(x, -1, keepdims=True), ops.max(x, -1, keepdims=True)], -1)
    gate = layers.Conv2D(1, kernel, padding="same", use_bias=False, activation="sigmoid", name=f"{name}_conv")(both)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def cbam(x, name: str, *, reduction: int = 16, kernel: int = 7):
    """Attention to channels, then to places: a convolutional block attention module (eq. 1 of the same paper)."""
    x = channel_attention(x, f"{name}_channel", reduction=reduction)
    return spatial_attention(x, f"{name}_spatial", kernel=kernel)


def fpn(features: list, channels: int, name: str = "fpn") -> list:
    """[C2, C3, C4, C5] → [P2, P3, P4, P5] of `channels` each: lateral sums from the top down, each smoothed.

    Lin et al. 2016, https://arxiv.org/abs/1612.03144, section 3. Any number of maps, each half as large as the one
    before; the layers are `name`2_lateral, `name`2_smooth, and so on.
    """
    merged: list = []
    for level, feature in reversed(list(enumerate(features, 2))):
        x = conv(feature, channels, 1, f"{name}{level}_lateral", bias=True)
        if merged:
            larger = layers.UpSampling2D(2, name=f"{name}{level}_enlarge")(merged[0])
            x = layers.Add(name=f"{name}{level}_add")([x, larger])
        merged.insert(0, x)
    return [conv(x, channels, 3, f"{name}{level}_smooth", bias=True) for level, x in enumerate(merged, 2)]
