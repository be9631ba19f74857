"""torchvision's names in the backbones that docTR takes from there, which its networks call feat_extractor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zoo.backbones import BACKBONES
from zoo.backbones.densenet import densenet
from zoo.backbones.mobilenet_v3 import BLOCKS, mobilenet_v3
from zoo.backbones.resnet import resnet
from zoo.backbones.vgg import CONFIGURATION_D, vgg
from zoo.checkpoint import ConversionError
from zoo.tables.rows import DEPTHWISE, KERNEL, Rows, conv, conv_norm, norm

TRUNK = "feat_extractor"


def trunk(features: str) -> Rows:
    """The rows of a backbone of `zoo.backbones`, which docTR's networks call feat_extractor.

    Raises:
        ConversionError: the names of this backbone are not known.
    """
    builder = BACKBONES[features]
    options = dict(builder.keywords) if isinstance(builder, partial) else {}
    options.pop("rectangular", None)  # strides have no weights
    kind = builder.func if isinstance(builder, partial) else builder
    if kind not in TRUNKS:
        known = ", ".join(known.__name__ for known in TRUNKS)
        raise ConversionError(f"torchvision's names are known for backbones by {known}, not for {features}")
    return TRUNKS[kind](**options)


def _mobilenet_v3(variant: str) -> Rows:
    """torchvision counts the parts of a block that are there, and names none."""
    yield from conv_norm("feat_extractor.0.0", "feat_extractor.0.1", "stem")
    channels = 16
    for index, block in enumerate(BLOCKS[variant], 1):
        there = {"expand": block.expanded != channels, "depthwise": True, "squeeze": block.squeeze, "project": True}
        for position, part in enumerate(part for part, present in there.items() if present):
            theirs, ours = f"feat_extractor.{index}.block.{position}", f"block{index}_{part}"
            if part == "squeeze":
                yield from conv(f"{theirs}.fc1", f"{ours}_reduce", bias=True)
                yield from conv(f"{theirs}.fc2", f"{ours}_expand", bias=True)
            else:
                axes = DEPTHWISE if part == "depthwise" else KERNEL
                yield from conv_norm(f"{theirs}.0", f"{theirs}.1", ours, axes)
        channels = block.filters
    last = f"feat_extractor.{len(BLOCKS[variant]) + 1}"
    yield from conv_norm(f"{last}.0", f"{last}.1", "head")


def timm_mobilenet_v3(variant: str) -> Rows:
    """timm's names: a stage holds the blocks of one width, a block's parts are named by what they do."""
    yield from conv_norm("conv_stem", "bn1", "stem")
    stage, place, channels = 0, 0, 16
    for index, block in enumerate(BLOCKS[variant], 1):
        if index > 1:
            stage, place = (stage, place + 1) if block.filters == channels else (stage + 1, 0)
        theirs, ours = f"blocks.{stage}.{place}", f"block{index}"
        expands = block.expanded != channels
        if expands:
            yield from conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn1", f"{ours}_expand")
        yield from conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn{1 + expands}", f"{ours}_depthwise", DEPTHWISE)
        if block.squeeze:
            yield from conv(f"{theirs}.se.conv_reduce", f"{ours}_squeeze_reduce", bias=True)
            yield from conv(f"{theirs}.se.conv_expand", f"{ours}_squeeze_expand", bias=True)
        last = "conv_pwl" if expands else "conv_pw"
        yield from conv_norm(f"{theirs}.{last}", f"{theirs}.bn{2 + expands}", f"{ours}_project")
        channels = block.filters
    yield from conv_norm(f"blocks.{stage + 1}.0.conv", f"blocks.{stage + 1}.0.bn1", "head")


def _vgg(blocks: tuple[tuple[int, int], ...] = CONFIGURATION_D) -> Rows:
    """torchvision counts every layer: convolution, normalization and ReLU are three, a pool is one."""
    position = 0
    for index, (depth, _) in enumerate(blocks, 1):
        for step in range(1, depth + 1):
            yield from conv(f"feat_extractor.{position}", f"block{index}_conv{step}", bias=True)
            yield from norm(f"feat_extractor.{position + 1}", f"block{index}_conv{step}_norm")
            position += 3
        position += 1


def _resnet(block: str, depths: tuple[int, ...], width: int = 64) -> Rows:
    yield from conv_norm("feat_extractor.conv1", "feat_extractor.bn1", "stem")
    convolutions = {"basic": 2, "bottleneck": 3}[block]
    for stage, depth in enumerate(depths, 1):
        for index in range(depth):
            theirs, ours = f"feat_extractor.layer{stage}.{index}", f"stage{stage}_block{index + 1}"
            for number in range(1, convolutions + 1):
                yield from conv_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}_{number}")
            if index == 0 and (stage > 1 or block == "bottleneck"):
                yield from conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}_shortcut")


def _densenet(depths: tuple[int, ...], growth: int = 32, width: int = 64) -> Rows:
    """The first normalization of a layer stands before its convolution; the last of all closes the trunk."""
    yield from conv_norm(f"{TRUNK}.conv0", f"{TRUNK}.norm0", "stem")
    for stage, depth in enumerate(depths, 1):
        for index in range(1, depth + 1):
            theirs, ours = f"{TRUNK}.denseblock{stage}.denselayer{index}", f"stage{stage}_layer{index}"
            for part in (1, 2):
                yield from conv_norm(f"{theirs}.conv{part}", f"{theirs}.norm{part}", f"{ours}_{part}")
        if stage < len(depths):
            theirs = f"{TRUNK}.transition{stage}"
            yield from conv_norm(f"{theirs}.conv", f"{theirs}.norm", f"stage{stage}_transition")
    yield from norm(f"{TRUNK}.norm5", "last_norm")


TRUNKS: dict[Callable, Callable[..., Rows]] = {
    densenet: _densenet, mobilenet_v3: _mobilenet_v3, resnet: _resnet, vgg: _vgg,
}  # fmt: skip
