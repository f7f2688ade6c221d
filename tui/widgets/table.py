"""A table of keyed rows on Textual's Line API.

Textual's own DataTable measures every cell of every new row and repaints itself whole for one
changed cell: 10 000 rows take it 1.3 s to open, this one a frame. Only lines on the screen are
ever drawn; the header is line 0 and stays. Cursor and marks are row keys, so they outlive every
refresh; a snapshot equal to the last one paints nothing.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.actions import bindings
from tui.format import fit
from tui.rows import GAP, MARGIN, Column, Placed, Row, place
from tui.theme import tone_style
from tui.widgets.paint import paint

HEADER_LINES = 1
SCROLLBAR = 1
"""The last cell of each line is kept for it, so that nothing moves when it appears."""
FOCUS_GLYPH, CURSOR_GLYPH, MARK_GLYPH = "▌", "►", "*"
ASCENDING, DESCENDING = "▲", "▼"


class KeyedTable(ScrollView, can_focus=True):
    """Rows by key under a fixed header; the first column's title names the table."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("table")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor"}
    DEFAULT_CSS = """
    KeyedTable {
        height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1;
        & > .table--header { background: $surface; color: $foreground; }
        & > .table--cursor { background: $cursor; }
        &.-stale { text-opacity: 55%; }
    }
    """

    class Opened(Message):
        """Enter or a double click on a row."""

        def __init__(self, table: "KeyedTable", key: Any) -> None:
            self.table, self.key = table, key
            super().__init__()

    class SortAsked(Message):
        """A click on a column's title."""

        def __init__(self, column: int) -> None:
            self.column = column
            super().__init__()

    class RowLeft(Message):
        """The row under the cursor is no longer there; the cursor went to its neighbour."""

        def __init__(self, row: Row, table: "KeyedTable") -> None:
            self.row, self.table = row, table
            super().__init__()

    def __init__(self, columns: Sequence[Column], *, ident: str = "", empty: str = "") -> None:
        super().__init__(id=ident or None)
        self.columns = tuple(columns)
        self.rows: tuple[Row, ...] = ()
        self.marks: frozenset[Any] = frozenset()
        self.cursor_key: Any = None
        self.held = False
        self.sorted_by: tuple[int, bool] | None = None
        self.empty = empty
        self.note = ""
        self._index: dict[Any, int] = {}
        self.placed: tuple[Placed, ...] = ()

    # ── rows ────────────────────────────────────────────────────────────────────────────────

    @property
    def cursor(self) -> int:
        """Return the place of the cursor, -1 where there are no rows."""
        return self._index.get(self.cursor_key, -1)

    @property
    def cursor_row(self) -> Row | None:
        return self.rows[self.cursor] if self.rows else None

    def replace(self, rows: Sequence[Row], *, quiet: bool = False) -> None:
        """Show these rows: a held cursor stays on its key, only changed lines are painted.

        A cursor that nobody moved stays on the first row: it would drag the view along with
        whatever row happened to be first. `quiet` where rows leave because the person asked for it (a filter): no RowLeft then.
        """
        if (rows := tuple(rows)) == self.rows:
            return
        old, cursor, top = self.rows, self.cursor, self._top
        self.rows = rows
        self._index = {row.key: number for number, row in enumerate(rows)}
        self.marks &= self._index.keys()
        left = self.cursor_key not in self._index
        if left and old and not quiet:
            self.post_message(self.RowLeft(old[cursor], self))
        if left or not self.held:
            self.cursor_key = self._neighbour(old, cursor)
        self._resize_virtual()
        self._keep_in_place(cursor, top)
        self._paint_changes(old, top)

    def _neighbour(self, old: tuple[Row, ...], cursor: int) -> Any:
        if not self.rows or not self.held:
            return self.rows[0].key if self.rows else None
        for row in (*old[cursor + 1 :], *reversed(old[: max(cursor, 0)])):
            if row.key in self._index:
                return row.key
        return self.rows[min(max(cursor, 0), len(self.rows) - 1)].key

    def _keep_in_place(self, cursor: int, top: int) -> None:
        """Scroll with the held row, unless the top is shown and the row stays in sight."""
        if not self.held:
            self._scroll_top(top)
            return
        moved = self.cursor - cursor if cursor >= 0 else 0
        if moved and not (top == 0 and self.cursor < self.page_lines):
            self._scroll_top(top + moved)
        self._show_cursor()

    def _paint_changes(self, old: tuple[Row, ...], top: int) -> None:
        if self._top != top or not old or not self.rows:
            self.refresh()
            return
        for line in range(top, top + self.page_lines):
            if old[line : line + 1] != self.rows[line : line + 1]:
                self._paint_row(line)

    def _paint_row(self, number: int) -> None:
        if number >= 0:
            self.refresh_line(number + HEADER_LINES)

    def mark_sorted(self, column: int, *, descending: bool) -> None:
        """Show the arrow in a column's title; the rows come sorted from the view."""
        self.sorted_by = (column, descending)
        self.refresh_line(self._top)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Take other titles or widths, such as a heat map whose hours moved on."""
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self.placed = place(self.columns, self.size.width - SCROLLBAR)
            self.refresh()

    # ── lines ───────────────────────────────────────────────────────────────────────────────

    @property
    def page_lines(self) -> int:
        return max(1, self.size.height - HEADER_LINES)

    @property
    def _top(self) -> int:
        return self.scroll_offset.y

    def _resize_virtual(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + HEADER_LINES)

    def on_resize(self, _event: events.Resize) -> None:
        self.placed = place(self.columns, self.size.width - SCROLLBAR)
        self._resize_virtual()
        self._show_cursor()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.refresh_line(self._top)
        self._paint_row(self.cursor)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y < HEADER_LINES:
            segments, base = self._header(), self.get_component_rich_style("table--header")
        elif not self.rows:
            segments, base = self._empty_line(y - HEADER_LINES), self.rich_style
        else:
            segments, base = self._row_line(self._top + y - HEADER_LINES)
        return Strip(segments).adjust_cell_length(width, base)

    def _header(self) -> list[Segment]:
        base = self.get_component_rich_style("table--header")
        theme = self.app.theme
        title = tone_style(theme, "accent" if self.has_focus else "strong")
        focus = FOCUS_GLYPH if self.has_focus else " "
        segments = [Segment(focus.ljust(MARGIN), base + title)]
        for number, placed in enumerate(self.placed):
            column = self.columns[placed.at]
            text = column.title + self._arrow(placed.at)
            if number == 0 and self.note:
                text = f"{text} {self.note}"
            style = base + (tone_style(theme, "muted") if number else title)
            segments.append(Segment(fit(text, placed.width, column.align) + " " * GAP, style))
        return segments

    def _arrow(self, index: int) -> str:
        if self.sorted_by is None or self.sorted_by[0] != index:
            return ""
        return DESCENDING if self.sorted_by[1] else ASCENDING

    def _row_line(self, number: int) -> tuple[list[Segment], Style]:
        base = self.rich_style
        if number >= len(self.rows):
            return [], base
        row, theme = self.rows[number], self.app.theme
        chosen = self.has_focus and row.key == self.cursor_key
        if chosen:
            base = self.get_component_rich_style("table--cursor")
        glyphs = (CURSOR_GLYPH if chosen else " ") + (MARK_GLYPH if row.key in self.marks else " ")
        segments = [Segment(glyphs, base + tone_style(theme, "accent"))]
        for placed in self.placed:
            column, cell = self.columns[placed.at], row.cells[placed.at]
            *head, last = paint(cell, placed.width, column.align, base, theme, tone=column.tone)
            # The gap goes with what stands before it: half the colour codes, half the bytes.
            segments += [*head, Segment(last.text + " " * GAP, last.style)]
        return segments, base

    def _empty_line(self, line: int) -> list[Segment]:
        lines = self.empty.splitlines()
        text = " " * MARGIN + fit("".join(lines[line : line + 1]), self.size.width - MARGIN)
        return [Segment(text, self.rich_style + tone_style(self.app.theme, "muted"))]

    def say_empty(self, text: str) -> None:
        """Say why there are no rows, and what to do."""
        if text != self.empty:
            self.empty = text
            if not self.rows:
                self.refresh()

    # ── cursor ──────────────────────────────────────────────────────────────────────────────

    def move_to(self, number: int) -> None:
        """Put the cursor on the row at this number, or on the nearest there is, and hold it."""
        if not self.rows:
            return
        self.held = True
        number = min(max(number, 0), len(self.rows) - 1)
        if number != (before := self.cursor):
            self.cursor_key = self.rows[number].key
            self._paint_row(before)
            self._paint_row(number)
        self._show_cursor()

    def _show_cursor(self) -> None:
        number = self.cursor
        if number < 0:
            return
        if number < self._top:
            self._scroll_top(number)
        elif number >= self._top + self.page_lines:
            self._scroll_top(number - self.page_lines + 1)

    def _scroll_top(self, top: int) -> None:
        self.scroll_to(y=min(max(top, 0), self.max_scroll_y), animate=False, force=True)

    def action_move(self, lines: int) -> None:
        self.move_to(self.cursor + lines)

    def action_page(self, pages: int) -> None:
        self.move_to(self.cursor + pages * self.page_lines)

    def action_edge(self, end: int) -> None:
        """Go to the last row, or to the first: to the top, whichever row will be there."""
        self.move_to(len(self.rows) - 1 if end > 0 else 0)
        self.held = end > 0

    def action_open(self) -> None:
        if self.cursor_row is not None:
            self.held = True
            self.post_message(self.Opened(self, self.cursor_row.key))

    def action_mark(self) -> None:
        if self.cursor_row is not None:
            self.marks ^= {self.cursor_row.key}
            self._paint_row(self.cursor)
            self.move_to(self.cursor + 1)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < HEADER_LINES:
            hit = [at for at in self.placed if at.x <= offset.x < at.x + at.width]
            if hit and self.columns[hit[0].at].sorts:
                self.post_message(self.SortAsked(hit[0].at))
            return
        number = self._top + offset.y - HEADER_LINES
        if number < len(self.rows):
            self.move_to(number)
            if event.chain > 1:
                self.action_open()
