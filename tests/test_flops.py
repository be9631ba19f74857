"""What tools/flops.py counts: products of matrices and convolutions, loops as often as they run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

import zoo

SPEC = importlib.util.spec_from_file_location("flops", Path(__file__).parent.parent / "tools" / "flops.py")
assert SPEC and SPEC.loader
flops = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(flops)


def value(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(aval=SimpleNamespace(shape=shape))


def equation(name: str, inputs: list, output, **params) -> SimpleNamespace:
    return SimpleNamespace(primitive=SimpleNamespace(name=name), invars=inputs, outvars=[output], params=params)


def program(*equations) -> SimpleNamespace:
    return SimpleNamespace(eqns=list(equations))


DOT = equation("dot_general", [value(2, 3), value(3, 5)], value(2, 5), dimension_numbers=(((1,), (0,)), ((), ())))


def test_a_product_of_matrices():
    """(2, 3) · (3, 5): ten sums of three products."""
    assert flops.operations(program(DOT), 1) == 2 * 10 * 3


@pytest.mark.parametrize(("zeros", "expected"), [((1, 1), 2 * 64 * 27), ((2, 2), 2 * 64 * 27 // 4)])
def test_a_convolution(zeros, expected):
    """A 3×3 kernel over 3 channels gives 4 maps of 4 x 4; between zeros three quarters of the products are none."""
    conv = equation(
        "conv_general_dilated", [value(1, 4, 4, 3), value(3, 3, 3, 4)], value(1, 4, 4, 4),
        dimension_numbers=SimpleNamespace(rhs_spec=(3, 2, 0, 1)), lhs_dilation=zeros,
    )  # fmt: skip
    assert flops.operations(program(conv), 1) == expected


def test_loops():
    body = SimpleNamespace(jaxpr=program(DOT))
    scan = equation("scan", [], value(), jaxpr=body, length=7)
    loop = equation("while", [], value(), body_jaxpr=body, cond_jaxpr=SimpleNamespace(jaxpr=program()))
    call = equation("pjit", [], value(), jaxpr=body)
    assert [flops.operations(program(entry), 11) for entry in (scan, loop, call)] == [7 * 60, 11 * 60, 60]


def test_pictures_are_as_large_as_their_cards_say():
    assert flops.picture(zoo.card("db_resnet50")) == (1, 1024, 1024, 3)
    assert flops.picture(zoo.card("crnn_vgg16_bn")) == (1, 32, 128, 3)
