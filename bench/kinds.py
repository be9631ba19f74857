"""Pages of many kinds, to read beside others: newspapers, menus, tickets, screens, maps, labels, signs, forms.

    python bench/kinds.py FOLDER [--scale 1] [--browser chromium]
    python bench/peers.py FOLDER [--readers ocrzoo tesseract rapidocr]

A browser draws the pages of bench/kinds/ in the fonts of README's "Fonts"; what is written on them is what the browser
says it shows. Nothing of this zoo has learnt from them.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import subprocess
import tempfile
from pathlib import Path

KINDS = Path(__file__).with_name("kinds")
ASK = """<script>document.fonts.ready.then(() => {
    document.body.dataset.said = document.body.innerText;
    document.body.dataset.height = document.documentElement.scrollHeight;
})</script></html>"""


def browse(browser: str, *options: str) -> str:
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def draw(source: Path, path: Path, scale: float, browser: str) -> str:
    """Draws a page; all that is written on it."""
    text = source.read_text("utf-8")
    found = re.search(r'data-width="(\d+)"', text)
    assert found, f"{source} has no data-width"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / source.name
        text = text.replace("<!doctype html>", '<!doctype html><meta charset="utf-8">').replace("</html>", ASK)
        page.write_text(text, "utf-8")
        window = f"--window-size={found[1]},"
        shown = browse(browser, f"{window}100", "--virtual-time-budget=2000", "--dump-dom", page.as_uri())
        said, height = (re.search(rf'data-{name}="([^"]*)"', shown) for name in ("said", "height"))
        assert said and height, f"{browser} has not told what {source} shows"
        scaled = f"--force-device-scale-factor={scale}"
        browse(browser, f"{window}{height[1]}", scaled, f"--screenshot={path}", page.as_uri())
    return html.unescape(said[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the picture for one of the page")
    parser.add_argument("--browser", default="chromium")
    args = parser.parse_args()
    images = args.folder.resolve() / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (args.folder / "labels.jsonl").open("w", encoding="utf-8") as labels:
        for source in sorted(KINDS.glob("*.html")):
            said = draw(source, images / f"{source.stem}.png", args.scale, args.browser)
            label = {"image": f"images/{source.stem}.png", "split": "test", "page_text": said}
            print(json.dumps(label, ensure_ascii=False), file=labels)


if __name__ == "__main__":
    main()
