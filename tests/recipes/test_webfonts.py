"""Fonts fetched by npm: a stand-in for npm that packs what a test made, and fonts made of Matplotlib's own."""

import io
import json
import os
import stat
import sys
import tarfile
from pathlib import Path

import matplotlib
import pytest
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from recipes.data import fonts, webfonts
from zoo import cli

SANS = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
LATIN, FURTHER = "".join(map(chr, range(32, 256))), "őłžš"

NPM = """#!{python}
import json, shutil, sys
from pathlib import Path
folder = next(a.partition("=")[2] for a in sys.argv if a.startswith("--pack-destination="))
wanted = [a for a in sys.argv[2:] if not a.startswith("--")]
with open({log!r}, "a") as log:
    print(*wanted, file=log)
packages = {{name: Path({store!r}, name.lstrip("@").replace("/", "-") + "-5.3.0.tgz") for name in wanted}}
for name, path in packages.items():
    if not path.exists():
        sys.exit(f"npm error 404 {{name}} is not there")
for path in packages.values():
    shutil.copy(path, folder)
print(json.dumps([{{"filename": path.name}} for path in packages.values()]))
"""


def woff(text: str, capitals: bool = False) -> bytes:
    """DejaVu Sans with the letters of a text, the small ones drawn as capitals if so asked."""
    font = TTFont(SANS)
    subsetter = Subsetter(Options(layout_features=[]))
    subsetter.populate(text=text)
    subsetter.subset(font)
    if capitals:
        for table in font["cmap"].tables:
            table.cmap |= {code: table.cmap[code - 32] for code in range(97, 123) if code - 32 in table.cmap}
    font.flavor, file = "woff", io.BytesIO()
    font.save(file)
    return file.getvalue()


def package(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


LICENCE = {"license": {"attribution": "Copyright of somebody", "type": "OFL-1.1", "url": "https://openfontlicense.org"}}


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """What npm has, as a folder of packages, and the file that says what it was asked for."""
    store, log = tmp_path / "store", tmp_path / "asked.txt"
    (tmp_path / "bin").mkdir()
    store.mkdir()
    program = tmp_path / "bin" / "npm"
    program.write_text(NPM.format(python=sys.executable, log=str(log), store=str(store)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    families = [
        {"family": "Plain Hand", "subsets": ["latin", "latin-ext"], "category": "handwriting"},
        {"family": "Loud", "subsets": ["latin"], "category": "display"},
        {"family": "Nameless", "subsets": ["latin"], "category": "display"},
        {"family": "Gone", "subsets": ["latin"], "category": "display"},
        {"family": "Libre Barcode 39", "subsets": ["latin"], "category": "display"},
        {"family": "Mincho", "subsets": ["latin", "japanese"], "category": "serif"},
        {"family": "Abjad", "subsets": ["arabic"], "category": "serif"},
    ]
    package(store / "google-font-metadata-5.3.0.tgz", {"data/api-response.json": json.dumps(families).encode()})
    told = {"metadata.json": json.dumps(LICENCE).encode()}
    hand = {f"files/plain-hand-latin-{weight}-normal.woff": woff(LATIN) for weight in (300, 400, 700)}
    hand["files/plain-hand-latin-ext-400-normal.woff"] = woff(FURTHER)
    package(store / "fontsource-plain-hand-5.3.0.tgz", told | hand)
    package(store / "fontsource-loud-5.3.0.tgz", told | {"files/loud-latin-400-normal.woff": woff(LATIN, True)})
    package(store / "fontsource-nameless-5.3.0.tgz", {"files/nameless-latin-400-normal.woff": woff(LATIN)})
    return store, log


def test_fonts_are_fetched_once_joined_and_found_by_synthetic_text(npm, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "fonts"
    assert cli.main(["data", "fonts", str(folder)]) == 1  # since one is missing
    out, err = capsys.readouterr()
    assert {line.split()[0]: line.split()[1] for line in out.splitlines()} == {
        "families": "2",
        "files": "2",
        "missing": "1",
    }
    assert "could not fetch @fontsource/gone" in err and "nameless is left out" in err
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert found == ["display/loud.txt"] + [
        f"handwriting/plain{x}" for x in ("-hand.txt", "hand-400n.ttf", "hand-700n.ttf")
    ]
    assert (folder / "handwriting/plain-hand.txt").read_text().startswith("Copyright of somebody")
    regular, bold = folder / "handwriting/plainhand-400n.ttf", folder / "handwriting/plainhand-700n.ttf"
    assert fonts.draws(regular, "őł") and fonts.draws(bold, "é") and not fonts.draws(bold, "ő")

    asked = npm[1].read_text()
    assert "barcode" not in asked and "mincho" not in asked and "abjad" not in asked
    assert webfonts.fetch(folder)["families"] == 2  # and again: those that are there are not asked for
    assert "plain-hand" not in npm[1].read_text()[len(asked) :]

    monkeypatch.setenv("OCRZOO_FONTS", str(folder))
    fonts.families.cache_clear(), fonts.written.cache_clear()
    try:
        assert any(regular in family for family in fonts.written())
    finally:
        fonts.families.cache_clear(), fonts.written.cache_clear()


def test_of_a_category_alone(npm, tmp_path):
    assert webfonts.fetch(tmp_path / "fonts", ["handwriting"]) == {"families": 1, "files": 2, "missing": 0}
    with pytest.raises(ValueError, match="no category 'cursive'; there are: display"):
        webfonts.fetch(tmp_path / "fonts", ["cursive"])


def test_without_npm_it_is_said_what_would_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["data", "fonts", str(tmp_path / "fonts")]) == 1
    assert "npm, which is not installed" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "fonts").iterdir() if path.name.startswith("tmp")] == []


def test_the_regular_the_bold_the_heaviest_and_an_italic():
    names = [f"package/files/x-latin-{weight}-normal.woff" for weight in (100, 300, 500, 600, 800, 900)]
    names += ["package/files/x-latin-300-italic.woff", "package/files/x-latin-700-italic.woff2"]
    names += ["package/files/x-latin-ext-300-normal.woff", "package/files/x-cyrillic-300-normal.woff"]
    assert webfonts.styles(names) == {
        (300, "italic"): [names[6]],
        (300, "normal"): [names[1], names[8]],
        (600, "normal"): [names[3]],
        (900, "normal"): [names[5]],
    }
    assert webfonts.styles(["package/files/x-thai-400-normal.woff"]) == {}
