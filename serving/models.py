"""The models that are served: which versions lie on the disk, which of them are loaded, and which one a request means.

    NAME/VERSION/ on disk ─► policy ─► load what is wanted and new, then drop what is wanted no longer     (each poll)

A new version is loaded before the old one goes, and if it does not load the old one stays. A version that was dropped
ends when the last request in it has been answered.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import wire
from serving.servable import Code, Servable, StatusError, status_of

log = logging.getLogger(__name__)

RETRIES, RETRY_SECONDS = 5, 60.0  # of a version that did not load
VERSIONS = 2**63  # below it are the numbers of versions, as far as messages can tell them

Load = Callable[[str, Path], tuple[Servable, int]]  # a model's name and a version's folder to it, and its warm-ups


def load(name: str, folder: Path) -> tuple[Servable, int]:
    """A version of a model, and the number of its warm-up requests that were run."""
    servable = Servable(folder, name=name)
    return servable, servable.warm_up()


@dataclass
class _Version:
    """What is known of one version; its numbers of states are those of `wire.STATES`."""

    state: int
    servable: Servable | None = None
    code: int = 0
    message: str = ""
    failures: int = 0
    retry_at: float = 0.0


@dataclass
class _Model:
    config: Any  # wire.ModelConfig
    versions: dict[int, _Version] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    barred: str = ""  # why its folder cannot be read, as was said

    @property
    def available(self) -> dict[int, Servable]:
        return {n: v.servable for n, v in list(self.versions.items()) if v.servable}

    def wanted(self) -> set[int] | None:
        """The versions on disk that the policy asks for; None if the folder cannot be read."""
        try:
            found = version_numbers(self.config.base_path)
        except OSError as error:
            if self.barred != str(error):
                log.warning("cannot look for versions of %s: %s; what is loaded stays", self.config.name, error)
            self.barred = str(error)
            return None
        self.barred = ""
        policy = self.config.model_version_policy
        if policy.HasField("all"):
            return set(found)
        if policy.HasField("specific"):
            return set(found) & set(policy.specific.versions)
        return set(sorted(found)[-(policy.latest.num_versions or 1) :])


class Models:
    """The models that are served, each with its versions.

    Args:
        source: what to serve, asked at each poll; `configure` replaces it by a fixed list.
        retry_seconds: between attempts to load a version that failed.
        retries: how often it is attempted again.
        load: how a version is loaded.
        early_labels: a model may get a label for a version before that has been loaded.

    Attributes:
        changed: called whenever a model may have got or lost a version.
    """

    def __init__(
        self,
        source: Callable[[], list[Any]],
        retry_seconds: float = RETRY_SECONDS,
        *,
        retries: int = RETRIES,
        load: Load = load,
        early_labels: bool = False,
    ):
        self._source = source
        self._models: dict[str, _Model] = {}
        self._retry_seconds, self._retries = retry_seconds, retries
        self._load_version, self._early_labels = load, early_labels
        self.changed: Callable[[], object] = lambda: None
        self._changing = threading.Lock()  # one change at a time; looking up takes no lock

    def poll(self) -> None:
        """Loads versions that have come, drops those that have gone."""
        with self._changing:
            self._apply(self._source())

    def configure(self, configs: list[Any]) -> None:
        """Serves these models from now on, once they are loaded.

        Raises:
            StatusError: the list is not valid, a new model has no version that loads, or a label has no version.
        """
        check(configs)
        with self._changing:
            self._source = lambda: configs
            self._apply(configs)
            for config in configs:
                self._require(self._models[config.name])
                self._set_labels(self._models[config.name])

    def lookup(self, spec: Any) -> tuple[Servable, int]:
        """The servable that a ModelSpec means, and its version.

        Raises:
            StatusError: there is none.
        """
        if not spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        available = model.available if model else {}
        if spec.version_label:
            number = model.labels.get(spec.version_label) if model else None
            if number is None:
                raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
            wanted = f"Specific({spec.name}, {number})"
        elif spec.HasField("version"):
            number, wanted = spec.version.value, f"Specific({spec.name}, {spec.version.value})"
        else:
            number, wanted = max(available, default=None), f"Latest({spec.name})"
        if number not in available:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return available[number], number

    def status(self, spec: Any) -> list[tuple[int, _Version]]:
        """The versions of a model, the newest first.

        Raises:
            StatusError: there is none.
        """
        model = self._models.get(spec.name)
        known = sorted(model.versions.items(), reverse=True) if model else []
        if not known:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        if spec.HasField("version"):
            known = [(number, version) for number, version in known if number == spec.version.value]
            if not known:
                text = f"Could not find version {spec.version.value} of model {spec.name}"
                raise StatusError(Code.NOT_FOUND, text)
        return known

    def available(self) -> dict[str, list[int]]:
        """The versions of each model that answer requests."""
        return {name: sorted(model.available) for name, model in list(self._models.items())}

    def require_all(self) -> None:
        """Passes if each model has a version that answers.

        Raises:
            StatusError: one has none.
        """
        for model in list(self._models.values()):
            self._require(model)
            self._set_labels(model)

    def _apply(self, configs: list[Any]) -> None:
        names = {config.name for config in configs}
        for config in configs:
            known = self._models.get(config.name)
            if config.HasField("logging_config") and (known is None or known.config != config):
                log.warning("%s: its logging_config has no effect here: no requests are logged", config.name)
            model = self._models.setdefault(config.name, _Model(config))
            model.config = config
            self._refresh(model)
            self.changed()
        for name in set(self._models) - names:
            log.info("%s is no longer served", name)
            del self._models[name]
            self.changed()
            gc.collect()  # a session hangs in cycles; requests that still run in it hold it

    def _refresh(self, model: _Model) -> None:
        wanted = model.wanted()
        if wanted is None:
            return
        for number in sorted(wanted):
            version = model.versions.get(number)
            if version is None or (version.servable is None and self._due(version)):
                self._load(model, number, version.failures if version else 0)
        if not wanted or wanted & set(model.available):  # never drop the last one that works
            for number in set(model.available) - wanted:
                model.versions[number] = _Version(state=50)
                log.info("%s version %d is dropped", model.config.name, number)
                gc.collect()
        for number in [n for n, v in model.versions.items() if n not in wanted and v.servable is None and v.code]:
            del model.versions[number]  # a failed version that was taken away may come again

    def _due(self, version: _Version) -> bool:
        dropped = version.code == 0
        return dropped or (version.failures <= self._retries and time.monotonic() >= version.retry_at)

    def _load(self, model: _Model, number: int, failures: int) -> None:
        name = model.config.name
        model.versions[number] = _Version(state=20, failures=failures)
        started = time.monotonic()
        try:
            servable, warmed = self._load_version(name, version_numbers(model.config.base_path)[number])
        except Exception as error:  # whatever is wrong with a folder must not end the server
            code, text = status_of(error)
            log.error("%s version %d does not load: %s", name, number, text)
            retry_at = time.monotonic() + self._retry_seconds
            model.versions[number] = _Version(50, None, code.value[0], text, failures + 1, retry_at)
        else:
            model.versions[number] = _Version(30, servable)
            seconds = time.monotonic() - started
            log.info("%s version %d is served (%.1f s, %d warm-up requests)", name, number, seconds, warmed)

    @staticmethod
    def _require(model: _Model) -> None:
        if model.available:
            return
        name, folder = model.config.name, model.config.base_path
        errors = [f"version {number}: {v.message}" for number, v in model.versions.items() if v.message]
        text = "; ".join(errors) or f"{folder} has no folder named by a number with a SavedModel in it"
        raise StatusError(Code.NOT_FOUND, f"model {name} cannot be served: {text}")

    def _set_labels(self, model: _Model) -> None:
        labels = dict(model.config.version_labels)
        for label, number in labels.items():
            known = model.labels.get(label) is not None  # a label in use moves only to what answers
            if number not in model.available and (known or not self._early_labels):
                text = f"Request to assign label to version {number} of model {model.config.name}, which is not "
                raise StatusError(Code.FAILED_PRECONDITION, text + "currently available for inference")
        model.labels = labels


def version_numbers(folder: str | os.PathLike) -> dict[int, Path]:
    """The versions in a model's folder: its children that are named by a number below `VERSIONS`.

    Raises:
        OSError: there is no such folder.
    """
    named = [path for path in Path(folder).iterdir() if re.fullmatch(r"[0-9]{1,999}", path.name)]
    return {number: path for path in named if (number := int(path.name)) < VERSIONS}


def model_config(name: str, base_path: str | os.PathLike) -> Any:
    """The configuration of a model of which the latest version is served."""
    return wire.ModelConfig(name=name, base_path=str(base_path), model_platform="tensorflow")


class Folder:
    """What is served of a folder of models, told at each call: its children in which a version lies.

    A child that this user may not look into is passed over, which is said: at the top of a disk lies lost+found. So is
    one whose name is no UTF-8, as of another system. A model that may not be looked into any more is served on.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path).absolute()
        self._models: set[Path] = set()
        self._barred: set[Path] = set()
        self._unnamed: set[Path] = set()

    def __call__(self) -> list[Any]:
        """The configurations of the models.

        Raises:
            OSError: there is no such folder, or it is that of one model.
        """
        children = {path for path in self._path.iterdir() if path.is_dir()}
        if any((path / "saved_model.pb").is_file() for path in children):
            raise NotADirectoryError(f"{self._path} holds versions of a model; models lie in {self._path.parent}")
        unnamed = {path for path in children if not _is_utf_8(path)}
        barred = {path for path in children if not os.access(path, os.R_OK | os.X_OK)} - unnamed
        children -= unnamed
        readable = {path for path in children - barred if version_numbers(path)}
        self._models = readable | self._models & barred
        barred -= self._models  # of these `Models` says so
        for path in sorted(barred - self._barred):
            log.warning("%s is passed over: this user may not look into it", path)
        for path in sorted(unnamed - self._unnamed):
            name = os.fsencode(path).decode(errors="backslashreplace")  # which every log can hold
            log.warning("%s is passed over: its name is no UTF-8, as requests have it", name)
        self._barred, self._unnamed = barred, unnamed
        return [model_config(path.name, path) for path in sorted(self._models)]


def _is_utf_8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check(configs: list[Any]) -> None:
    """Passes if the configurations can be served together.

    Raises:
        StatusError: they cannot.
    """
    names = [config.name for config in configs]
    for config in configs:
        name = config.name
        if names.count(name) > 1:
            text = f"Illegal to list model {name} multiple times in config list"
        elif "://" in config.base_path:
            text = f"model {name} lies at {config.base_path}; only folders of this machine are served"
        elif not os.path.isabs(config.base_path):
            text = f"Expected model {name} to have an absolute path or URI; got base_path()={config.base_path}"
        elif config.model_type and config.model_platform:
            text = "Illegal setting both ModelServerConfig::model_type (deprecated) "
            text += "and ModelServerConfig::model_platform."
        elif config.model_type > 1:  # TENSORFLOW, the older way to say it
            text = f"ModelServerConfig::model_type choice {config.model_type} not supported."
        elif not config.model_type and not config.model_platform:
            text = "Illegal setting neither ModelServerConfig::model_type nor ModelServerConfig::model_platform."
        elif config.model_platform not in ("", "tensorflow"):
            text = f"model {name} has platform {config.model_platform}; only tensorflow is served"
        else:
            continue
        raise StatusError(Code.INVALID_ARGUMENT, text)
