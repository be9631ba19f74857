"""Writes golden/sampling.npz: what torchvision's deformable convolution and RoIAlign answer to random inputs.

Run by hand, where torch and torchvision are installed; the tests need neither:

    python tests/make_sampling_golden.py

Deformable convolution: `CASE/x`, `offset`, `weight` (of the window's places), `kernel`, all channels last, `y`, and the
gradients of sum(y · `pull`) by each of the four. The first case looks a little beyond the map, the second far away; its
stride is 2 and its dilation 2. RoIAlign: `align/map`, `boxes`, `y`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torchvision.ops import deform_conv2d, roi_align

CASES = {"near": (1, 1, 1.0), "far": (2, 2, 6.0)}  # stride, dilation, deviation of the offsets in pixels


def last(x: torch.Tensor) -> np.ndarray:
    return x.detach().permute(0, 2, 3, 1).numpy()


def deformed(stride: int, dilation: int, spread: float) -> dict[str, np.ndarray]:
    """A case of deformable convolution."""
    height, width = 6, 7
    places = (-(-height // stride), -(-width // stride))
    x = torch.randn(2, 3, height, width, requires_grad=True)
    offset = (spread * torch.randn(2, 18, *places)).requires_grad_()
    weight = torch.rand(2, 9, *places).requires_grad_()
    kernel = torch.randn(4, 3, 3, 3, requires_grad=True)
    y = deform_conv2d(x, offset, kernel, stride=stride, padding=dilation, dilation=dilation, mask=weight)
    pull = torch.randn_like(y)
    (y * pull).sum().backward()
    maps = {"x": x, "offset": offset, "weight": weight}
    values = {"y": last(y), "pull": last(pull), **{key: last(value) for key, value in maps.items()}}
    values |= {f"{key}_gradient": last(value.grad) for key, value in maps.items()}
    kernels = {"kernel": kernel.detach(), "kernel_gradient": kernel.grad}
    return values | {key: value.permute(2, 3, 1, 0).numpy() for key, value in kernels.items()}


def aligned() -> dict[str, np.ndarray]:
    """Boxes on a map of stride 4."""
    x = torch.randn(1, 3, 12, 10)
    corner = torch.rand(5, 2) * torch.tensor([20.0, 24.0])
    boxes = torch.cat([corner, corner + 2 + torch.rand(5, 2) * 16], 1)
    y = roi_align(x, [boxes], 3, spatial_scale=0.25, sampling_ratio=2, aligned=True)
    return {"map": last(x), "boxes": boxes[None].numpy(), "y": last(y)[None]}


def main() -> None:
    torch.manual_seed(0)
    found = {f"{case}/{key}": value for case, how in CASES.items() for key, value in deformed(*how).items()}
    found |= {f"align/{key}": value for key, value in aligned().items()}
    folder = Path(__file__).parent / "golden"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / ".sampling.npz", **found)
    os.replace(folder / ".sampling.npz", folder / "sampling.npz")


if __name__ == "__main__":
    main()
