"""What makes a training step quicker on TensorFlow's CPU: fewer operations, and convolutions in bfloat16.

Keras writes batch normalization as a dozen operations, and each step of a recurrent layer multiplies by itself what it
is given, and the gradient of its weights: `fuse` gives the same values in less time. Other backends and GPUs fuse by
themselves. `rounded` is for processors that multiply pairs of bfloat16. bench/fused.py measures what both save.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import keras


def fuse(network: keras.Model) -> None:
    """Lets a network's layers run as below while it trains; its variables and what it answers stay as they are."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    kinds: list[tuple[type[keras.Layer], Callable]] = [(keras.layers.BatchNormalization, batch_norm)]
    if not tf.config.list_physical_devices("GPU"):  # there, a kernel of cuDNN takes whole sequences
        kinds.append((keras.layers.Bidirectional, bidirectional))
    for layer in network.layers:
        for kind, call in kinds:
            if isinstance(layer, kind):
                layer.call = functools.partial(call, layer)


def batch_norm(layer: keras.layers.BatchNormalization, x, training=None, mask=None):
    """Batch normalization over (B, H, W, C) as one operation."""
    import tensorflow as tf

    if not training or not layer.trainable or x.dtype != tf.float32 or len(x.shape) != 4:
        return keras.layers.BatchNormalization.call(layer, x, training=training, mask=mask)
    fused = tf.compat.v1.nn.fused_batch_norm
    y, mean, variance = fused(x, layer.gamma, layer.beta, epsilon=layer.epsilon, is_training=True)
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return y


def bidirectional(layer: keras.layers.Bidirectional, x, initial_state=None, mask=None, training=None):
    """Two LSTMs over (B, T, C) that run against each other, (B, T, 2·units), as one loop."""
    import tensorflow as tf

    both = layer.forward_layer, layer.backward_layer
    if not training or x.dtype != tf.float32 or mask is not None or not all(map(_plain, both)):
        return keras.layers.Bidirectional.call(layer, x, initial_state=initial_state, mask=mask, training=training)
    kernels, recurrents, biases = zip(
        *([tf.convert_to_tensor(v) for v in one.cell.weights] for one in both), strict=True
    )
    batch, steps, channels = tf.shape(x)[0], tf.shape(x)[1], x.shape[2]
    rows = tf.reshape(tf.transpose(x, (1, 0, 2)), (steps * batch, channels))
    given = [tf.matmul(rows, kernel) + bias for kernel, bias in zip(kernels, biases, strict=True)]
    given = [tf.reshape(gates, (steps, batch, 4 * both[0].units)) for gates in given]
    states = _scan(tf.stack([given[0], tf.reverse(given[1], [0])], 1), tf.stack(recurrents))  # (T, 2, B, units)
    forward, backward = tf.unstack(states, axis=1)
    return tf.transpose(tf.concat([forward, tf.reverse(backward, [0])], -1), (1, 0, 2))


def _plain(layer) -> bool:
    """Whether a layer is an LSTM as Keras makes it without options."""
    if type(layer) is not keras.layers.LSTM:
        return False
    usual = layer.activation is keras.activations.tanh and layer.recurrent_activation is keras.activations.sigmoid
    options = layer.use_bias, layer.return_sequences, not layer.return_state, not layer.stateful
    return usual and all(options) and not layer.dropout and not layer.recurrent_dropout


def _rows(x):
    """(T, N, B, C) as (N, T·B, C)."""
    import tensorflow as tf

    return tf.reshape(tf.transpose(x, (1, 0, 2, 3)), (tf.shape(x)[1], -1, x.shape[3]))


def _scan(given, recurrent):
    """The states (T, N, B, U) of N LSTMs. Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735.

    The gradient of the recurrent weights is one multiplication over all steps, not a sum of one for each.

    Args:
        given: (T, N, B, 4·U) of input gate, forget gate, cell, and output gate, without their recurrent part.
        recurrent: (N, U, 4·U).
    """
    import tensorflow as tf

    @tf.custom_gradient
    def scan(given, recurrent):
        steps, units = tf.shape(given)[0], recurrent.shape[1]

        def forward(step, hidden, cell, *kept):
            gates = given[step] + tf.matmul(hidden, recurrent)
            into, forget, new, out = tf.split(gates, 4, -1)
            into, forget, new, out = tf.sigmoid(into), tf.sigmoid(forget), tf.tanh(new), tf.sigmoid(out)
            cell = forget * cell + into * new
            shown = tf.tanh(cell)
            hidden = out * shown
            written = hidden, cell, shown, into, forget, new, out
            return step + 1, hidden, cell, *(array.write(step, x) for array, x in zip(kept, written, strict=True))

        zero = tf.zeros_like(given[0, :, :, :units])
        kept = [tf.TensorArray(tf.float32, steps, element_shape=zero.shape) for _ in range(7)]
        _, _, _, *kept = tf.while_loop(
            lambda step, *_: step < steps, forward, (0, zero, zero, *kept), parallel_iterations=1
        )
        hidden, cell, shown, into, forget, new, out = (array.stack() for array in kept)

        def before(states):
            return tf.concat([zero[None], states[:-1]], 0)

        def gradient(asked):
            # By what each gate's gradient follows: from the cell's for three of them, from the state's for the output.
            of_gates = tf.stack(
                [new * into * (1 - into), before(cell) * forget * (1 - forget), into * (1 - new**2)], -2
            )
            of_out, of_cell = shown * out * (1 - out), out * (1 - shown**2)
            backwards = tf.transpose(recurrent, (0, 2, 1))

            def backward(step, hidden, cell, kept):
                hidden += asked[step]
                cell += hidden * of_cell[step]
                gates = tf.concat([cell[:, :, None] * of_gates[step], (hidden * of_out[step])[:, :, None]], -2)
                gates = tf.reshape(gates, tf.shape(given)[1:])
                return step - 1, tf.matmul(gates, backwards), cell * forget[step], kept.write(step, gates)

            kept = tf.TensorArray(tf.float32, steps, element_shape=given.shape[1:])
            *_, kept = tf.while_loop(
                lambda step, *_: step >= 0, backward, (steps - 1, zero, zero, kept), parallel_iterations=1
            )
            of_given = kept.stack()
            rows = [_rows(x) for x in (before(hidden), of_given)]
            return of_given, tf.matmul(*rows, transpose_a=True)

        return hidden, gradient

    return scan(given, recurrent)


BFLOAT16 = "onednn_bfloat16"  # a recipe's precision: see `rounded`
SINGLE = (  # operations that oneDNN does not do sooner in bfloat16: two to eight times slower, where measured
    *("DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropFilter", "DepthwiseConv2dNativeBackpropInput"),
    *("FusedBatchNormV3", "FusedBatchNormGradV3"),
)
LISTS = {"ALLOWLIST_REMOVE": SINGLE, "INFERLIST_REMOVE": SINGLE, "DENYLIST_ADD": SINGLE}


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bfloat16, AVX512_BF16 or AMX; False where none tells."""
    with contextlib.suppress(OSError):
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpuinfo.read_text().split())
    return False


@contextlib.contextmanager
def rounded(so: bool = True) -> Iterator[None]:
    """A block in which TensorFlow's functions multiply in bfloat16 and add in float32 on a processor.

    oneDNN's convolutions and products of matrices alone do, by TensorFlow's rewriting of graphs; layers, weights and
    all else stay float32.

    Args:
        so: False changes nothing.
    """
    if not so:
        yield
        return
    import tensorflow as tf

    option = "auto_mixed_precision_onednn_bfloat16"
    before = tf.config.optimizer.get_experimental_options().get(option, False)
    for name, kinds in LISTS.items():  # TensorFlow is told these by its environment alone; set once, as threads read it
        os.environ.setdefault(f"TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_{name}", ",".join(kinds))
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: before})
