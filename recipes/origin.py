"""Where weights and scores come from: the commit of the code, the device, the card's file."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from zoo import registry, runtime

ROOT = Path(__file__).parents[1]


def commit() -> dict[str, str]:
    """{"commit": first digits, "+" where the code was changed since}; {} where the code is in no repository."""
    try:
        digest = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": digest + "+" * bool(changed)}


def _git(*command: str) -> str:
    # An installed package may lie within the repository of somebody else: only ours counts.
    top = subprocess.run(("git", "rev-parse", "--show-toplevel"), cwd=ROOT, capture_output=True, text=True, check=True)
    if Path(top.stdout.strip()) != ROOT:
        raise OSError(f"{ROOT} is not the top of a repository")
    return subprocess.run(("git", *command), cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def device() -> str:
    """What networks are trained on in this process: the accelerators of Keras' framework, or the processor's cores."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
        if gpus:
            return f"{len(gpus)} x {gpus[0].get('device_name', 'GPU')}"
    if keras.backend.backend() == "jax":
        import jax

        kinds = [device.device_kind for device in jax.local_devices() if device.platform != "cpu"]
        if kinds:
            return f"{len(kinds)} x {kinds[0]}"
    return f"{runtime.cores()} cores of {_processor()}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def card_path(card: registry.Card) -> Path:
    """The file of a card: card.toml of a run, NAME.toml of a released model."""
    run = card.folder / "card.toml"
    return run if run.is_file() else card.folder / f"{card.name}.toml"
