"""Tables of a narrow terminal: what has no room beside the rest stands indented below its record.

A line that is longer than the terminal is wrapped by it in the middle of a word, and then no column
stands below its title any more.
"""

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from tui.format import Align, fit

INDENT: Final = 4
GAP: Final = 2
WORD_CELLS_MIN: Final = 24
"""To so few cells the widest text of a first line is folded, so that its amounts stay whole."""
BETWEEN: Final = " · "

Facts = Sequence[tuple[str, str]]


def narrow_table(
    titles: Sequence[tuple[str, Align]],
    rows: Sequence[tuple[Sequence[str], Facts]],
    room: int,
) -> tuple[Text, int]:
    """Return a table of at most `room` cells if its words allow, and how wide it is.

    A row has a cell per title, and the facts (title, value) that stand below it; the empty ones do
    not. All texts are clean.
    """
    widths = _widths(titles, [cells for cells, _ in rows], room)
    aligns = [align for _, align in titles]
    needed = sum(widths) + GAP * (len(widths) - 1)
    drawn = Text(no_wrap=True, overflow="ignore")
    for line in _lines([title for title, _ in titles], aligns, widths):
        drawn.append(f"{line}\n", "table.header")
    drawn.append("─" * needed)
    console = Console(width=max(room, needed))
    for cells, facts in rows:
        for line in _lines(cells, aligns, widths):
            drawn.append(f"\n{line}")
        for line in _below(facts, console):
            drawn.append(f"\n{' ' * INDENT}{line}")
    return drawn, console.width


def _widths(
    titles: Sequence[tuple[str, Align]], rows: Sequence[Sequence[str]], room: int
) -> list[int]:
    widths = [
        max(cell_len(text) for text in (title, *(cells[index] for cells in rows)))
        for index, (title, _) in enumerate(titles)
    ]
    texts = [index for index, (_, align) in enumerate(titles) if align == "left"]
    widest = max(texts, key=lambda index: widths[index])
    over = sum(widths) + GAP * (len(widths) - 1) - room
    if over > 0:
        widths[widest] = max(widths[widest] - over, min(widths[widest], WORD_CELLS_MIN))
    return widths


def _lines(cells: Sequence[str], aligns: Sequence[Align], widths: Sequence[int]) -> list[str]:
    """Return a row, its cells folded where they are wider than their column."""
    folded = [
        chop_cells(text, width) if text else [""] for text, width in zip(cells, widths, strict=True)
    ]
    return [
        (" " * GAP).join(
            fit(pieces[index] if index < len(pieces) else "", width, align)
            for pieces, width, align in zip(folded, widths, aligns, strict=True)
        )
        for index in range(max(map(len, folded)))
    ]


def _below(facts: Facts, console: Console) -> list[str]:
    """Return the facts in lines; one that fits a line is not broken."""
    room = console.width - INDENT
    lines: list[str] = []
    for title, value in facts:
        if not value:
            continue
        fact = f"{title}: {value}"
        if lines and cell_len(lines[-1] + BETWEEN + fact) <= room:
            lines[-1] += BETWEEN + fact
        else:
            wrapped = Text(fact).wrap(console, room, overflow="fold")
            lines += [line.plain.rstrip() for line in wrapped]
    return lines
