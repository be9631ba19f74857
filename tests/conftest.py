"""What all tests share: no network but the loopback, no cache but a temporary one, small networks built once."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


STATES: dict[str, dict] = {}  # of the modules' generators, as they were before any test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test draws the same numbers and weights, whatever ran before it and on whichever worker."""
    module = getattr(item, "module", None)
    for name, value in vars(module).items() if module else ():
        if isinstance(value, np.random.Generator):
            state = STATES.setdefault(f"{module.__name__}.{name}", deepcopy(value.bit_generator.state))
            value.bit_generator.state = deepcopy(state)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory) -> Iterator[None]:
    """No test reads or fills the user's cache, mirror or offline setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCRZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("OCRZOO_MIRROR", raising=False)
        patch.delenv("OCRZOO_OFFLINE", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """A test that would ask the network fails, and says whom it asked."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test connects to {address}; tests run offline")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def small() -> Callable:
    """A function from a card's name to its network at the test options, built once, with the same weights in every run.

    Do not change them.
    """
    import keras

    import zoo

    def build(name: str) -> keras.Model:
        keras.utils.set_random_seed(0)
        return zoo.build(name, **zoo.card(name).test_options)

    return cache(build)
