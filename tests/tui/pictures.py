"""Turn the committed snapshots into PNGs under docs/pictures: `python -m tests.tui.pictures [FOLDER]`.

The pictures are the tests' own baselines, so that what the documents show is what the tests hold.
"""

import re
import sys
from pathlib import Path

import cairosvg

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOTS = Path(__file__).with_name("__snapshots__") / "test_looks"
FOLDER = ROOT / "docs" / "pictures"
CELL_WIDTH, FONT_SIZE = 12.2, 20
SCALE = 15 / CELL_WIDTH
"""A cell is a whole number of pixels: cairo rounds each sign's width, and columns would drift."""
ADVANCE = 0.60205
"""What DejaVu Sans Mono moves on by for each sign, in parts of its size."""

SHOWN = {
    "overview": "test_the_first_screen_looks_so[120x36]",
    "overview-80x24": "test_the_first_screen_looks_so[80x24]",
    "cluster": "test_a_cluster_in_trouble_looks_so[120x36]",
    "proof": "test_one_hour_and_its_proof_look_so[120x36]",
    "light": "test_each_theme_looks_so[hopsmeter-light]",
}


def drawable(svg: str) -> str:
    """Replace the web font by one that is there, at the size at which its signs fill their cells.

    As it comes, cairosvg falls back to a proportional font, and the columns drift.
    """
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = re.sub(r'font-family:[^;"]*', "font-family: DejaVu Sans Mono", svg)
    return svg.replace(f"font-size: {FONT_SIZE}px", f"font-size: {CELL_WIDTH / ADVANCE:.3f}px")


def draw(svg: Path, png: Path) -> None:
    cairosvg.svg2png(
        bytestring=drawable(svg.read_text(encoding="utf-8")).encode(),
        write_to=str(png),
        scale=SCALE,
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, snapshot in SHOWN.items():
        draw(SNAPSHOTS / f"{snapshot}.svg", folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
