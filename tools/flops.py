"""Counts the multiplications and additions of each network for one picture, and writes them into the cards.

    KERAS_BACKEND=jax python tools/flops.py [--write] [NAME ...]

Nothing is computed: JAX follows the network with the shape of a picture alone, and what matrices and convolutions do to
it is summed up, 2 operations for each product; sums, activations and normalizations are left out, as usual. A picture
is as large as the card's [reading] says, a strip 128 pixels wide. Of a loop that writes characters all steps count; a
spotter reads 100 words on its page, each as wide as such a strip.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import zoo
from zoo import registry, runtime

STRIP = 128  # pixels
WORDS, COLUMNS = 100, 64  # of a spotter's page, and of each word, for a half of a strip's height


def picture(card: zoo.Card) -> tuple[int, int, int, int]:
    """The shape of one picture of the card's size."""
    if card.task != "recognition":
        return (1, *map(int, card.reading["size"]), 3)
    widths = card.reading["widths"]
    return (1, int(card.reading["height"]), int(widths[0]) if len(widths) == 1 else STRIP, 3)


def operations(jaxpr, steps: int) -> int:
    """The operations of a jaxpr.

    Args:
        jaxpr: of `jax.make_jaxpr`, or within it.
        steps: of a loop whose length JAX does not know.
    """
    total = 0
    for equation in jaxpr.eqns:
        inner = [value for parameter in equation.params.values() for value in _jaxprs(parameter)]
        count = sum(operations(part, steps) for part in inner)
        match equation.primitive.name:
            case "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
                count = 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
            case "conv_general_dilated":
                numbers = equation.params["dimension_numbers"]
                kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
                window = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
                # A transposed convolution sees zeros between the pixels, which cost nothing.
                count = 2 * math.prod(out) * window // math.prod(equation.params["lhs_dilation"])
            case "scan":
                count *= equation.params["length"]
            case "while":
                count *= steps
        total += count
    return total


def _jaxprs(parameter):
    """The jaxprs in a parameter of an equation."""
    for value in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
        value = getattr(value, "jaxpr", value)
        if hasattr(value, "eqns"):
            yield value


def flops(name: str) -> int:
    """The operations of a card's network for one picture."""
    import jax

    card = registry.card(name)

    def run(image):  # built within: then not even the weights are drawn
        network = zoo.build(name)
        if card.task != "spotting":
            return network(image, training=False)
        divided = runtime.parts(card, network)
        shared = divided.locate(image, training=False)
        words = {"words": jax.numpy.zeros((1, WORDS, 4, 2)), "columns": jax.numpy.ones((1, WORDS, COLUMNS))}
        views = divided.view({"image": image, "features": shared["features"], **words}, training=False)
        return divided.read(views, training=False), shared

    closed = jax.make_jaxpr(run)(np.zeros(picture(card), "uint8"))
    return operations(closed.jaxpr, int(card.options.get("longest", 0)) + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the numbers into the cards")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    for name in args.names or registry.names():
        gflops = float(f"{flops(name) / 1e9:.3g}")
        print(f"{name}: {gflops} GFLOPs at {picture(registry.card(name))[1:3]}", flush=True)
        if args.write:
            card = registry.card(name)
            registry.write_card(replace(card, gflops=gflops), card.folder / f"{name}.toml")


if __name__ == "__main__":
    main()
