"""Whether docTR's networks with weights that nobody has seen before answer the same once they are ours.

    python tests/parity/fresh.py --docTR DIR/bin/python --seed 7                 eight names, chosen by the seed
    python tests/parity/fresh.py --docTR DIR/bin/python --seed 7 parseq fast_tiny

For each name docTR, in the environment of `make_golden.py`, makes an instance with the weights that it begins with,
which no table here knows; every bias, scale and statistic of batch normalization is moved, for they begin as 0 and 1.
Its state dict, as torch.save writes it, goes through `zoo convert doctr`, and `zoo.load` takes what comes out. The
largest difference of each output is told as a share of the largest value; one above `TOLERANCE` ends the command with
an error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import seeded

TOLERANCE = 1e-4
ROOT = Path(__file__).resolve().parents[2]


def picture(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """(B, H, W, 3) uint8: what `seeded` draws, in colours of the seed; black stays black."""
    tint = np.random.default_rng(seed).uniform(0.4, 1, 3)
    return (seeded.picture(name, shape) * tint).astype("uint8")


# ---------------------------------------------------------------- docTR's side


def ask(name: str, seed: int, folder: Path) -> None:
    """Writes NAME.pt, the state of a new network of docTR's, and NAME.npz, its answers."""
    import make_golden
    import torch
    from doctr import models

    torch.manual_seed(seed)
    alone = hasattr(models.classification, name) or hasattr(models.layout, name)
    trunk = {} if alone else {"pretrained_backbone": False}
    module = getattr(models, name)(pretrained=False, **trunk).eval()
    with torch.no_grad():
        for key, value in [*module.named_parameters(), *module.named_buffers()]:
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.ndim == 1 and value.is_floating_point():
                value += torch.empty_like(value).uniform_(-0.1, 0.1)
    torch.save(module.state_dict(), folder / f"{name}.pt")
    answers = {}
    for shape in seeded.CASES[name]:
        for output, value in make_golden.answers(name, module, picture(name, shape, seed)).items():
            answers[f"{output}/{shape[1]}x{shape[2]}"] = value
    np.savez(folder / f"{name}.npz", **answers)


# ---------------------------------------------------------------- our side


def compare(name: str, seed: int, folder: Path) -> float:
    """The largest difference, after conversion."""
    import zoo
    from zoo import cli

    weights = folder / f"{name}.safetensors"
    if cli.main(["convert", "doctr", name, str(folder / f"{name}.pt"), "--output", str(weights)]):
        raise SystemExit(f"{name}: not converted")
    network = zoo.load(name, weights=weights, **seeded.OPTIONS.get(name, {}))
    with np.load(folder / f"{name}.npz") as file:
        theirs = dict(file)
    ours = {}
    for shape in seeded.CASES[name]:
        for output, value in network(picture(name, shape, seed), training=False).items():
            ours[f"{output}/{shape[1]}x{shape[2]}"] = np.asarray(value)
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for key, expected in theirs.items():
        assert ours[key].shape == expected.shape
        worst = max(worst, float(np.abs(ours[key] - expected).max() / np.abs(expected).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: some, chosen by the seed")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=8, help="of names, where none are given; default: 8")
    parser.add_argument("--docTR", metavar="PYTHON", help="an interpreter that has docTR")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the other side
    args = parser.parse_args()
    if args.folder:
        for name in args.names:
            ask(name, args.seed, args.folder)
        return
    if not args.docTR:
        parser.error("--docTR PYTHON is needed: docTR makes the networks; make_golden.py says how to install it")
    names = args.names or np.random.default_rng(args.seed).permutation(list(seeded.CASES))[: args.count].tolist()
    sys.path.insert(0, str(ROOT))
    far = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            other = [args.docTR, __file__, "--seed", str(args.seed), "--folder", folder, name]
            subprocess.run(other, check=True)
            found = compare(name, args.seed, Path(folder))
        print(f"{name}: {found:.1e} of the largest value, {time.monotonic() - start:.0f} s", flush=True)
        far += [name] if not found <= TOLERANCE else []  # also for NaN
    if far:
        sys.exit(f"further off than {TOLERANCE:g}: {', '.join(far)}")


if __name__ == "__main__":
    main()
