"""Folders of models for the tests of serving."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import publish, write_toy


@pytest.fixture(scope="session")
def toys(tmp_path_factory) -> Path:
    """A folder with the versions 1 (offset 2) and 2 (offset 3) of a toy; tests copy from it."""
    folder = tmp_path_factory.mktemp("toys")
    write_toy(folder / "1", 2.0)
    write_toy(folder / "2", 3.0)
    return folder


@pytest.fixture
def models(toys, tmp_path) -> Path:
    """A folder of models: version 1 of "toy"."""
    publish(toys / "1", tmp_path / "models" / "toy" / "1")
    return tmp_path / "models"
