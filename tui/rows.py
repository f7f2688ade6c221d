"""What `present` makes and the table draws: cells, keyed rows, columns. Plain values, no screen.

All are tuples, so that ten thousand rows compare with the last ten thousand in C.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tui.format import Align

GAP = 2
"""Blank cells between two columns."""

MARGIN = 2
"""Cells before the first column, for the cursor and the marks."""


class Span(NamedTuple):
    """A piece of text in one tone (a name of `theme.TONES`); `click` names an action, if any."""

    text: str
    tone: str = ""
    click: str = ""


Cell = str | Span | tuple[Span, ...]


class Row(NamedTuple):
    """One line: its identity (hashable), what is shown, what it sorts by (a value per column)."""

    key: Any
    cells: tuple[Cell, ...]
    order: tuple[Any, ...] = ()
    name: str = ""

    @property
    def text(self) -> str:
        """Return all that is shown, for the filter and the clipboard."""
        return "\t".join(cell_text(cell) for cell in self.cells)


class Column(NamedTuple):
    """A column of fixed width: values never move it, only the width of the screen does.

    `drop` is its turn to leave on a narrow screen (the highest goes first, 0 never); `grow` is its
    share of what is left over, up to `widest`.
    """

    title: str
    width: int
    align: Align = "left"
    drop: int = 0
    grow: int = 0
    widest: int = 40
    sorts: bool = True
    tone: str = ""


class Placed(NamedTuple):
    """A column on this screen: which one it is, where it starts, how wide it is."""

    at: int
    x: int
    width: int


def spans(cell: Cell) -> tuple[Span, ...]:
    if isinstance(cell, str):
        return (Span(cell),)
    return (cell,) if isinstance(cell, Span) else cell


def cell_text(cell: Cell) -> str:
    return "".join(span.text for span in spans(cell)).strip()


def place(columns: Sequence[Column], width: int) -> tuple[Placed, ...]:
    """Choose the columns that fit in `width` cells and share out what is left."""
    shown = list(range(len(columns)))
    while _needed(columns, shown) > width:
        leaving = max(shown, key=lambda index: (columns[index].drop, index))
        if columns[leaving].drop == 0:
            break
        shown.remove(leaving)
    widths = {index: columns[index].width for index in shown}
    _grow(columns, widths, width - _needed(columns, shown))
    placed, x = [], MARGIN
    for index in shown:
        placed.append(Placed(index, x, widths[index]))
        x += widths[index] + GAP
    return tuple(placed)


def _needed(columns: Sequence[Column], shown: Sequence[int]) -> int:
    return MARGIN + sum(columns[index].width for index in shown) + GAP * (len(shown) - 1)


def _grow(columns: Sequence[Column], widths: dict[int, int], spare: int) -> None:
    growing = [index for index in widths if columns[index].grow]
    while spare > 0 and growing:
        for index in tuple(growing):
            step = min(columns[index].grow, spare, columns[index].widest - widths[index])
            if step <= 0:
                growing.remove(index)
                continue
            widths[index] += step
            spare -= step


def keep(rows: Iterable[Row], needle: str) -> tuple[Row, ...]:
    """Return the rows that hold the text, in any case; `!text` returns those that do not."""
    inverse = needle.startswith("!")
    wanted = needle.removeprefix("!").strip().casefold()
    if not wanted:
        return tuple(rows)
    return tuple(row for row in rows if (wanted in row.text.casefold()) is not inverse)


def order(rows: Iterable[Row], column: int, *, reverse: bool) -> tuple[Row, ...]:
    """Sort by a column's value; equal rows keep their order, rows without a value come last."""
    valued: list[Row] = []
    empty: list[Row] = []
    for row in rows:
        (empty if row.order[column] is None else valued).append(row)
    valued.sort(key=lambda row: row.order[column], reverse=reverse)
    return (*valued, *empty)
