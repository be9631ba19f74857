"""The optimizer of every recipe: AdamW with an average of the weights, layer-wise rates and a pull to the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recipes.recipe import Recipe

THINNED = 10  # steps between two masks of a sparse network


def schedule(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `rate`, then a cosine down to `floor` of it at the last step."""
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, recipe.steps - recipe.warmup),
        alpha=recipe.floor,
        warmup_target=recipe.rate,
        warmup_steps=recipe.warmup,
    )


def make(recipe: Recipe, network: keras.Model, rate: Any = None) -> keras.Optimizer:
    """The optimizer of a recipe, built for the weights of a network that are not frozen.

    Args:
        recipe: says how fast which layers learn.
        network: what learns.
        rate: a schedule in place of the recipe's.
    """
    averaged: dict[str, Any] = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    optimizer = AdamW(
        rate or schedule(recipe),
        weight_decay=recipe.decay,
        global_clipnorm=recipe.clip,
        pull=recipe.pull,
        sparsity=recipe.sparsity,
        sparse_at=sparse_at(recipe) or 1,
        **averaged,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    variables = network.trainable_variables
    if recipe.layer_decay < 1 or recipe.unfreeze_every:
        depths = depth(network)
        optimizer.factors = [recipe.layer_decay ** depths[variable.path] for variable in variables]
        optimizer.begins = [recipe.unfreeze_every * depths[variable.path] for variable in variables]
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def sparse_at(recipe: Recipe) -> int:
    """The step at which the last weights of a sparse network become 0; 0 of others."""
    return max(1, recipe.steps // 2) if recipe.sparsity else 0


def inner(optimizer: keras.Optimizer) -> AdamW:
    """The optimizer within one that scales losses, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class AdamW(keras.optimizers.AdamW):
    """AdamW. Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.

    - Its average of the weights forgets the random beginning: the momentum rises as n / (10 + n).
    - `factors` and `begins`, one for each variable, scale the rate and hold it at zero before a step: layer-wise rates
      and gradual unfreezing (Howard and Ruder 2018, https://arxiv.org/abs/1801.06146).
    - `pull` draws weights to where they began: the gradient 2 · pull · (w - w_start) of the penalty
      pull · |w - w_start|² (L2-SP, Li et al. 2018, https://arxiv.org/abs/1802.01483, eq. 3) is added.
    - `sparsity` is the share of each kernel's weights that end as 0, the smallest: it rises as 1 - (1 - t)³ until step
      `sparse_at`, and the mask then stays (Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878, eq. 1).
    - Gradients are taken as they are given: the step has averaged them over devices before they are clipped here.
    """

    factors: Sequence[float] = ()
    begins: Sequence[int] = ()

    def __init__(self, *args: Any, pull: float = 0.0, sparsity: float = 0.0, sparse_at: int = 1, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pull, self.sparsity, self.sparse_at = pull, sparsity, sparse_at

    def build(self, variables) -> None:
        super().build(variables)
        self.starts = []
        if self.pull:
            for variable in variables:
                start = self.add_variable_from_reference(variable, name="start")
                start.assign(ops.convert_to_tensor(variable))
                self.starts.append(start)
        self.masks: dict[int, Any] = {}
        for index, variable in enumerate(variables):
            if self.sparsity and len(variable.shape) > 1:
                self.masks[index] = self.add_variable_from_reference(variable, name="mask", initializer="ones")

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        if self.pull:
            gradient = gradient + 2 * self.pull * (ops.convert_to_tensor(variable) - self.starts[index])
        if self.factors:
            begun = ops.cast(self.iterations >= self.begins[index], "float32")
            learning_rate = learning_rate * self.factors[index] * begun
        super().update_step(gradient, variable, learning_rate)
        if index in self.masks:
            self._thin(self.masks[index], variable)

    def _thin(self, mask, variable) -> None:
        """Makes the weights 0 that the mask leaves out; every `THINNED` steps it leaves out more."""
        done = ops.cast(self.iterations, "float32") / self.sparse_at
        share = self.sparsity * (1 - (1 - ops.minimum(done, 1.0)) ** 3)

        def drawn():
            size = ops.abs(ops.convert_to_tensor(variable))
            ordered = ops.sort(ops.reshape(size, (-1,)))
            least = ordered[ops.cast(share * (ordered.shape[0] - 1), "int32")]
            return ops.cast(size > least, mask.dtype)

        last = self.iterations == self.sparse_at
        due = ops.logical_or(last, ops.logical_and(self.iterations % THINNED == 0, done <= 1))
        self.assign(mask, ops.cond(due, drawn, lambda: ops.convert_to_tensor(mask)))
        self.assign(variable, ops.convert_to_tensor(variable) * ops.cast(ops.convert_to_tensor(mask), variable.dtype))

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars

    def _update_model_variables_moving_average(self, trainable_variables):
        if not self.use_ema:
            return
        steps = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, steps / (10 + steps))
        averages = zip(trainable_variables, self._model_variables_moving_average, strict=True)
        for index, (variable, average) in enumerate(averages):
            new = momentum * average + (1 - momentum) * variable
            average.assign(new * self.masks[index] if index in self.masks else new)


class Averaged:
    """The exponential average of a network's weights, taken for the time of a `with` block.

    Batch-norm statistics are averages already and stay.
    """

    def __init__(self, network: keras.Model, optimizer: keras.Optimizer):
        self.network, self.optimizer = network, inner(optimizer)

    def __enter__(self) -> None:
        self.raw = [ops.convert_to_numpy(variable) for variable in self.network.trainable_variables]
        if self.optimizer.use_ema and int(ops.convert_to_numpy(self.optimizer.iterations)) > 0:
            self.optimizer._overwrite_model_variables_with_average_value(self.network.trainable_variables)

    def __exit__(self, *_: Any) -> None:
        for variable, value in zip(self.network.trainable_variables, self.raw, strict=True):
            variable.assign(value)


def depth(network: keras.Model) -> dict[str, int]:
    """Groups of layers counted from the outputs, by variable path: 0 for the last.

    A group is what bears one name up to the first "_": "stem", "block1", "block2" …
    """
    groups: dict[str, None] = {}
    for layer in network.layers:
        for variable in layer.trainable_variables:
            groups.setdefault(_group(variable.path))
    order = {name: len(groups) - 1 - index for index, name in enumerate(groups)}
    return {variable.path: order[_group(variable.path)] for variable in network.trainable_variables}


def _group(path: str) -> str:
    return path.partition("/")[0].partition("_")[0]


def parameters(variables: Sequence) -> int:
    """How many numbers the variables hold."""
    return int(sum(np.prod(variable.shape) for variable in variables))
