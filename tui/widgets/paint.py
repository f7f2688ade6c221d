"""From cells to the segments of a line."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from tui.format import Align, clean, cut, fit
from tui.rows import Cell, Span, spans
from tui.theme import tone_style


def paint(
    cell: Cell, width: int, align: Align, base: Style, theme: str, *, tone: str = ""
) -> Iterator[Segment]:
    """Yield segments of exactly `width` cells; spans without a tone take the column's."""
    pieces = spans(cell)
    if len(pieces) == 1:
        style = base + tone_style(theme, pieces[0].tone or tone)
        yield Segment(fit(pieces[0].text, width, align), style)
        return
    pieces = tuple(clipped(pieces, width))
    padding = Segment(" " * (width - sum(cell_len(piece.text) for piece in pieces)), base)
    if align == "right":
        yield padding
    for piece in pieces:
        yield Segment(piece.text, base + tone_style(theme, piece.tone or tone))
    if align == "left":
        yield padding


def clipped(pieces: tuple[Span, ...], width: int) -> Iterator[Span]:
    """Yield the spans, cleaned, until `width` cells are full."""
    for piece in pieces:
        text = cut(clean(piece.text), width)
        if not text:
            return
        yield piece._replace(text=text)
        width -= cell_len(text)
