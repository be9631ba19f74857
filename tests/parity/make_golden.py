"""Writes golden/NAME.npz: what docTR's networks answer with the weights and pictures of `seeded.py`.

And golden/torchvision_NAME.npz and golden/timm_NAME.npz: the last map of their backbones, of whose classifiers `state`
has the names.

Run by hand, where docTR is installed; the tests need neither docTR nor torch:

    python -m venv DIR && DIR/bin/pip install torch torchvision timm python-doctr numpy
    DIR/bin/python tests/parity/make_golden.py [NAME ...]

(torchvision must be of the same release as torch, or docTR cannot be imported.)

A file holds: `state`, the names and shapes of the state dict as JSON; `params`, the number of docTR's parameters;
`vocab`, the characters of a recognizer; `made`, by which versions; and `OUTPUT/HxW`, an output for a picture of that
size, (B, K), (B, T, K) or (B, H, W, 1), thinned by `seeded.thinned`. Nothing in it changes from run to run but the last
bits.

It also writes golden/checkpoint.pt, a small file of torch.save for the test of the reader of checkpoints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import seeded
import timm
import torch
import torchvision
import torchvision.models.feature_extraction
from doctr import models

GOLDEN = Path(__file__).parent / "golden"
TABLE = {"hm": "logits", "reg": "offset", "ct2cn": "corners", "cn2ct": "centres", "lc": "logical", "sp": "span"}


def network(name: str) -> torch.nn.Module:
    """docTR's network with the seeded weights, ready to answer."""
    alone = hasattr(models.classification, name) or hasattr(models.layout, name)
    trunk = {} if alone else {"pretrained_backbone": False}
    module = getattr(models, name)(pretrained=False, **trunk).eval()
    state = module.state_dict()
    drawn = {key: torch.from_numpy(seeded.tensor(key, tuple(value.shape))) for key, value in state.items()}
    module.load_state_dict(drawn, strict=True)
    return module


def answers(name: str, module: torch.nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of a network by our names, channels last."""
    mean, std = (np.array(module.cfg[key], "float32") for key in ("mean", "std"))
    x = torch.from_numpy((image.astype("float32") / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        outputs = layout(module, x) if name.startswith("lw_detr_") else maps(name, module, x)
    return {key: (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy() for key, value in outputs.items()}


def maps(name: str, module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of a network by our names, as it gives them."""
    module.exportable = True
    if name.startswith("db_"):
        features = module.feat_extractor(x)
        fused = module.fpn([features[str(index)] for index in range(len(features))])
        return {"logits": module.prob_head(fused), "threshold": module.thresh_head(fused)}
    if name == "tablecenternet":
        return {TABLE[key]: value for key, value in module(x).items()}
    output = module(x)
    logits = output["logits"] if isinstance(output, dict) else output
    if name == "master":  # its last step is read from a padding, which ours does without
        logits = logits[:, :-1]
    return {"logits": module.pooling(logits), "kernel": logits} if name.startswith("fast_") else {"logits": logits}


def layout(module: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of LW-DETR, which is told what is padding in the second of two pictures."""
    module.exportable = True
    inside = torch.ones(x.shape[0], *x.shape[2:], dtype=torch.bool)
    inside[1, seeded.INSIDE[0] :] = False
    inside[1, :, seeded.INSIDE[1] :] = False
    found = module(x, inside)
    return {"logits": found["logits"], "boxes": found["pred_boxes"]}


def golden(name: str) -> dict[str, np.ndarray]:
    """All that is stored of a network."""
    module = network(name)
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    result = {
        "state": np.array(json.dumps(shapes)),
        "params": np.array(sum(parameter.numel() for parameter in module.parameters())),
        "vocab": np.array(getattr(module, "vocab", "")),
        "made": np.array(f"torch {torch.__version__}, python-doctr {version('python-doctr')}"),
    }
    for shape in seeded.CASES[name]:
        for output, value in answers(name, module, seeded.picture(name, shape)).items():
            print(f"{name} {output} {shape}: mean {value.mean():.3g}, deviation {value.std():.3g}")
            result[f"{output}/{shape[1]}x{shape[2]}"] = seeded.thinned(value)
    return result


def trunk(name: str) -> dict[str, np.ndarray]:
    """All that is stored of a backbone of torchvision."""
    module = getattr(torchvision.models, name)(weights=None).eval()
    last = {"resnet": "layer4"}.get(name.rstrip("0123456789"), "features")
    features = torchvision.models.feature_extraction.create_feature_extractor(module, {last: "map"})
    floor = 0 if name.startswith("densenet") else -torch.inf
    return last_map(name, module, lambda x: features(x)["map"].clamp(min=floor), torchvision)


def timm_trunk(name: str) -> dict[str, np.ndarray]:
    """All that is stored of a backbone of timm."""
    module = timm.create_model(seeded.TIMM[name], pretrained=False).eval()
    return last_map(name, module, module.forward_features, timm)


def last_map(name: str, module: torch.nn.Module, features: Callable, project: ModuleType) -> dict[str, np.ndarray]:
    """What is stored of a backbone: the names of its state, and its last map with the seeded weights."""
    state = module.state_dict()
    module.load_state_dict({key: torch.from_numpy(seeded.tensor(key, tuple(t.shape))) for key, t in state.items()})
    x = torch.from_numpy(seeded.image(seeded.TRUNK_CASE).astype("float32") / 255 - 0.5).permute(0, 3, 1, 2)
    with torch.inference_mode():
        answer = features(x).permute(0, 2, 3, 1).numpy()
    print(f"{name}: mean {answer.mean():.3g}, deviation {answer.std():.3g}")
    shapes = {key: list(value.shape) for key, value in state.items()}
    made = f"torch {torch.__version__}, {project.__name__} {project.__version__}"
    return {"state": np.array(json.dumps(shapes)), "made": np.array(made), "map": seeded.thinned(answer)}


def checkpoint(path: Path) -> None:
    """A state dict with what the reader must know: kinds of numbers, views, a shared storage, a parameter, a scalar."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 8
    state = torch.nn.Linear(3, 2).state_dict()  # an OrderedDict with the attribute _metadata
    state["weight"] = torch.nn.Parameter(torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.25, -0.125]]))
    state["bias"] = torch.tensor([1.5, -2.5])
    state["half"] = base.half()
    state["brain"] = torch.tensor([1.0, -2.0, 3.140625, 1e30], dtype=torch.bfloat16)
    state["turned"] = base.permute(2, 0, 1)
    state["part"] = base[1, 1:, ::2]
    state["count"] = torch.tensor(7)
    state["empty"] = torch.zeros(0, 3)
    torch.save(state, path)


def main(names: list[str]) -> None:
    GOLDEN.mkdir(exist_ok=True)
    backbones = [f"torchvision_{name}" for name in seeded.TRUNKS]
    of_timm = [f"timm_{name}" for name in seeded.TIMM]
    for name in names or [*seeded.CASES, *backbones, *of_timm]:
        temporary = GOLDEN / f".{name}.npz"
        make = trunk if name in backbones else timm_trunk if name in of_timm else golden
        content = make(name.removeprefix("torchvision_").removeprefix("timm_"))
        np.savez_compressed(temporary, **content)
        os.replace(temporary, GOLDEN / f"{name}.npz")
    checkpoint(GOLDEN / ".checkpoint.pt")
    os.replace(GOLDEN / ".checkpoint.pt", GOLDEN / "checkpoint.pt")


if __name__ == "__main__":
    main(sys.argv[1:])
