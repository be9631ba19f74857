"""Fonts for the tests of recipes: those that matplotlib brings along, so that every machine draws the same pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from recipes.data import fonts


@pytest.fixture(scope="session", autouse=True)
def _own_fonts():
    caches = (fonts.families, fonts.everyday, fonts.written)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCRZOO_FONTS", str(Path(matplotlib.get_data_path()) / "fonts/ttf"))  # child processes, too
        patch.setattr(fonts, "FOLDERS", ())
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()
