"""Weights: to and from safetensors files keyed by variable path, and the files from wherever they lie to this machine.

A file comes from the card's own folder, from the mirror folder, from the cache, or by its URL into the cache:

    OCRZOO_CACHE    folder of fetched files; ~/.cache/ocrzoo where it is not set
    OCRZOO_MIRROR   folder with copies of the files, under the names in the cards; asked before the network
    OCRZOO_OFFLINE  when 1, the network is not asked

Every file with a checksum in its card is verified each time it is used. What another project published is fetched,
converted once by `zoo.conversion`, and kept in the cache under a name with the checksums of both files.
"""

from __future__ import annotations

import importlib
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.files import clear, has_digest, locked, replacing, sha256

if TYPE_CHECKING:
    from zoo.registry import Card

CONVERSION = "zoo.conversion"  # builds networks; reached by name, as builders are, for this half needs no framework
NEAR = 2.0**-10  # relative error allowed to a value stored in half precision


class WeightsError(RuntimeError):
    """Weights that are not there, cannot be had, or are not what they should be."""


# ---------------------------------------------------------------- tensors


def save(network, path: str | os.PathLike, dtype: str = "float16") -> list[str]:
    """Writes a network's weights, batch-norm statistics included; returns the paths of those that stay float32.

    In half precision a value keeps 11 bits between 6e-5 and 65504. A tensor with values for which that is not enough
    (most often a batch-norm variance) is kept in float32: see `fits_half`.

    Args:
        network: keras.Model.
        path: of the safetensors file; whole or not written.
        dtype: "float16" or "float32".

    Raises:
        ValueError: another dtype, or two variables of one path.
        WeightsError: the file cannot be written.
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"weights are stored as float16 or float32, not {dtype!r}")
    tensors = {key: np.asarray(variable) for key, variable in _variables(network).items()}
    floats = [key for key, value in tensors.items() if value.dtype.kind == "f"]
    halved = {key for key in floats if dtype == "float16" and fits_half(tensors[key])}
    for key in floats:
        tensors[key] = tensors[key].astype("float16" if key in halved else "float32")
    write({key: np.require(value, requirements="C") for key, value in tensors.items()}, path)
    return [key for key in floats if key not in halved]


def write(tensors: dict[str, np.ndarray], path: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as a safetensors file, which is whole or not there.

    Raises:
        WeightsError: it cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        with replacing(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata=metadata)
            temporary.chmod(mode)  # safetensors makes files that only their owner may read
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be written: {error}") from None


def fits_half(tensor: np.ndarray) -> bool:
    """Whether half precision keeps every value of the tensor to a thousandth (2⁻¹⁰).

    The values of a vector each stand for one channel (a bias, a scale, a variance): the error counts against the value.
    Those of a kernel are summed up: the error of a small one counts against their root mean square.
    """
    exact = tensor.astype("float64")
    with np.errstate(over="ignore"):
        error = np.abs(exact.astype("float16").astype("float64") - exact)
    usual = np.sqrt(np.mean(exact**2)) if exact.ndim > 1 else 0.0
    return bool(np.all(error <= NEAR * np.maximum(np.abs(exact), usual)))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by variable path; those in half precision as float32.

    Raises:
        WeightsError: no such file, or it is none of this kind, or cut short, or has tensors of a type that is not read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise WeightsError(f"no weights file {str(path)!r}") from None
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a whole safetensors file: {error}") from None
    except (AttributeError, TypeError) as error:  # of a type without one in NumPy, such as floats of eight bits
        raise WeightsError(f"{path}: tensors of a type that is not read ({error}); store them as float32") from None
    return {key: value.astype("float32") if value.dtype == "float16" else value for key, value in tensors.items()}


PART = (  # of a network that was cut
    "they are of a part of it, as a backbone that was pretrained: zoo train RECIPE --start PATH begins with it"
)


def assign(network, tensors: Mapping[str, Any], strict: bool = True) -> list[str]:
    """Gives a network the tensors of its variables' paths; returns the paths left over on either side.

    Args:
        network: keras.Model.
        tensors: by variable path, in any float type.
        strict: nothing may be left over: every variable has a tensor of its shape and every tensor a variable.
            Otherwise those that fit are given, for a network with another head.

    Raises:
        ValueError: strict, and something is left over; the network is then as before.
    """
    variables = _variables(network)
    shared = variables.keys() & tensors.keys()
    shapes = {key: (tuple(variables[key].shape), tuple(tensors[key].shape)) for key in shared}
    misfits = {key for key, (ours, theirs) in shapes.items() if ours != theirs}
    missing = variables.keys() - tensors.keys()
    unknown = tensors.keys() - variables.keys()
    if strict and (missing or unknown or misfits):
        parts = [
            _listed("without a tensor", missing, lambda key: tuple(variables[key].shape)),
            _listed("without a variable", unknown, lambda key: tuple(tensors[key].shape)),
            _listed("of another shape", misfits, lambda key: "{} in the network, {} given".format(*shapes[key])),
        ]
        if shared and not (unknown or misfits):
            parts.append(PART)
        raise ValueError(f"the weights do not fit the network {network.name!r}: " + "; ".join(filter(None, parts)))
    for key in shapes.keys() - misfits:
        variables[key].assign(tensors[key])
    return sorted(missing | unknown | misfits)


def _listed(what: str, keys: Iterable[str], detail) -> str:
    keys = sorted(keys)
    shown = ", ".join(f"{key} {detail(key)}" for key in keys[:8])
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return f"{len(keys)} {what}: {shown}{more}" if keys else ""


def _variables(network) -> dict[str, Any]:
    """The network's variables by path, without the states of random generators.

    Keras leaves out the layer's name from some paths of a network that it loaded from a file, as those within a
    `Bidirectional`: it is put before them, so that they are what the builder's network has.
    """
    owners = {id(variable): f"{layer.name}/" for layer in network.layers for variable in layer.weights}
    paths = []
    for variable in network.weights:
        owner = owners.get(id(variable), "")
        paths.append(variable.path if variable.path.startswith(owner) else owner + variable.path)
    variables = dict(zip(paths, network.weights, strict=True))
    if len(variables) < len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise ValueError(f"two layers of {network.name!r} share a name; give each its own: {', '.join(twice)}")
    return variables


# ---------------------------------------------------------------- files


def cache() -> Path:
    """The folder for what is made or fetched once: of OCRZOO_CACHE, or ~/.cache/ocrzoo."""
    return Path(os.environ.get("OCRZOO_CACHE") or "~/.cache/ocrzoo").expanduser()


def find(card: Card) -> Path | None:
    """The file of a card's weights, not verified; None when it is not on this machine, or the card names none."""
    if "file" in card.weights:
        places = [card.folder / card.weights["file"]]
    elif "url" in card.weights:
        places = _places(card.weights["url"], card.weights["sha256"])
    elif card.published:
        places = _conversions(card, next(iter(card.published)))
    else:
        places = []
    return next((place for place in places if place.is_file()), None)


def identity(card: Card) -> str:
    """The checksum of a card's default weights, as its card has it or as the file has; "none" where there are none."""
    if "sha256" in card.weights:
        return card.weights["sha256"]
    if not card.weights and card.published:
        return next(iter(card.published.values()))["sha256"]
    file = find(card)
    return sha256(file) if file else "none"


def obtain(card: Card) -> Path:
    """The verified file of a card's weights, else of those another project published; fetched if not on this machine.

    Raises:
        WeightsError: the card names none, or they cannot be had, or are not what it says.
    """
    weights = card.weights
    if not weights and card.published:
        return converted(card, next(iter(card.published)))
    if not weights:
        raise WeightsError(f"no weights were released for {card.name}. " + _remedies(card))
    if "url" in weights:
        return fetch(weights["url"], weights["sha256"], weights.get("size"))
    path = card.folder / weights["file"]
    if not path.is_file():
        raise WeightsError(f"{card.name}: the card names the weights {path}, which are not there")
    if "sha256" in weights:
        verified(path, weights["sha256"])
    return path


def _remedies(card: Card, file: str = "") -> str:
    mirror = f"; a copy of {file} may lie in a folder that OCRZOO_MIRROR names" if file else ", also of a mirror folder"
    return (
        f"What would do: zoo.load({card.name!r}, weights=None) gives the network with random ones; "
        f"zoo.load({card.name!r}, weights=PATH) takes a file or a run's folder{mirror}; "
        f"zoo train {card.recipe} --run DIR trains them by their recipe, if zoo recipes lists one"
    )


def converted(card: Card, project: str) -> Path:
    """The verified file of the weights that another project published for a card's network, as ours.

    Converting needs a framework, as building does; the published file is not kept once that is done.

    Raises:
        WeightsError: the project published none, or they cannot be had.
        zoo.checkpoint.ConversionError: the file is not one of this network.
    """
    if project not in card.published:
        raise WeightsError(f"{project} published no weights for {card.name}. " + _remedies(card))
    facts = card.published[project]
    if kept := _whole(card, project):  # also in a cache that can only be read
        return kept
    try:
        with locked(cache() / "weights" / f".{card.name}.{project}.lock"):
            if kept := _whole(card, project):  # of another process meanwhile
                return kept
            for path in _conversions(card, project):
                path.unlink()  # damaged
            try:
                source = fetch(facts["url"], facts["sha256"], name=facts["file"])
            except WeightsError as error:
                raise WeightsError(f"{error}. " + _remedies(card, facts["file"])) from error
            result = _convert(card, project, source)
            if source.parent == result.parent:
                source.unlink()
    except OSError as error:
        raise WeightsError(_unwritable(cache() / "weights", error)) from error
    return result


def _whole(card: Card, project: str) -> Path | None:
    """The converted file in the cache, if it is there and whole."""
    found = _conversions(card, project)
    return next((path for path in found if has_digest(path, path.stem.rpartition("-")[2])), None)


def _conversions(card: Card, project: str) -> list[Path]:
    """The converted files in the cache, each named after the first digits of the published file and its own."""
    digest = card.published[project]["sha256"]
    return sorted((cache() / "weights").glob(f"{card.name}.{project}-{digest}-*.safetensors"))


def _convert(card: Card, project: str, source: Path) -> Path:
    draft = cache() / "weights" / f".{card.name}.{project}.safetensors"
    clear(draft)
    importlib.import_module(CONVERSION).write(card.name, source, draft)
    name = f"{card.name}.{project}-{card.published[project]['sha256']}-{sha256(draft)[:16]}.safetensors"
    return draft.rename(draft.with_name(name))


def fetch(url: str, digest: str, size: int | None = None, *, name: str = "", progress: bool = True) -> Path:
    """The verified file of a URL: from the mirror folder, the cache, or the network, then in the cache.

    A download that breaks off is taken up where it stopped, in this call or in a later one. One process at a time
    downloads a file.

    Args:
        url: http or https.
        digest: SHA-256, 64 hexadecimal digits or the first of them.
        size: bytes, where known: a file of another size is refused before it is downloaded.
        name: of the file; by default the last part of the URL's path.
        progress: whether to report to standard error.

    Raises:
        WeightsError: it cannot be had, or is not what it should be. Then no file of this name is in the cache.
    """
    from zoo.download import DownloadError, download  # the network's modules: most calls do without

    *mirrored, cached = _places(url, digest, name)
    for place in mirrored:
        if place.is_file():
            return verified(place, digest)
    if cached.is_file() and has_digest(cached, digest):  # also in a cache that can only be read
        return cached
    _allow_network(url, [*mirrored, cached])
    try:
        with locked(cached.with_name(f".{cached.name}.lock")):
            if not (cached.is_file() and has_digest(cached, digest)):  # of another process meanwhile
                download(url, cached, digest, size, progress=progress)
    except DownloadError as error:
        hint = "a copy of the file may be put into a folder that OCRZOO_MIRROR names"
        raise WeightsError(f"{error}; {hint}") from error
    except OSError as error:
        raise WeightsError(_unwritable(cached, error)) from error
    return cached


def _unwritable(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written: {error}; OCRZOO_CACHE names another folder"


def _places(url: str, digest: str, name: str = "") -> list[Path]:
    """Where the file of a URL may lie on this machine: in the mirror folder, if there is one, then in the cache."""
    name = name or Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if not name or not url.startswith(("http://", "https://")):
        raise WeightsError(f"{url!r} is not the http or https address of a file")
    mirror = os.environ.get("OCRZOO_MIRROR")
    stem, dot, suffix = name.rpartition(".")
    # Releases of one name have different content, hence the digits.
    cached = cache() / "weights" / f"{stem or name}-{digest[:8]}{dot}{suffix if stem else ''}"
    return [Path(mirror).expanduser() / name, cached] if mirror else [cached]


def _allow_network(url: str, places: list[Path]) -> None:
    if os.environ.get("OCRZOO_OFFLINE", "") not in ("", "0"):
        looked = " nor ".join(map(str, places))
        raise WeightsError(
            f"OCRZOO_OFFLINE is set, so {url} was not fetched, and neither {looked} is there; "
            "put the file into a folder and name that by OCRZOO_MIRROR"
        )


def verified(path: Path, digest: str) -> Path:
    """The path of a file with this SHA-256, all or the first of its hexadecimal digits.

    Raises:
        WeightsError: it has another, or is not there.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not there, which a card names with its SHA-256")
    if not has_digest(path, digest):
        actual = sha256(path)[: len(digest)]
        raise WeightsError(f"{path}: SHA-256 is {actual}, not {digest} as in the card: another or a damaged file")
    return path
