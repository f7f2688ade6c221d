"""A table that keeps all its rows, and shows those that pass the filter, in the chosen order."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.rows import Column, Row, cell_text, keep, order
from tui.widgets.table import KeyedTable


class Listing(KeyedTable):
    """Filter and order belong to the list, and outlive every refresh and every walk elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list")]

    class Changed(Message):
        """The filter, the order or the number of rows changed: the crumbs say so."""

    class Copied(Message):
        """Rows went to the clipboard."""

        def __init__(self, rows: int) -> None:
            self.rows = rows
            super().__init__()

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        ident: str,
        empty: str = "",
        sort: tuple[int, bool] | None = None,
    ) -> None:
        """`sort` is a column and whether it descends; without it rows stay as they come."""
        super().__init__(columns, ident=ident, empty=empty)
        self.all_rows: tuple[Row, ...] = ()
        self.needle = ""
        self.sorted_by = sort
        self._empty_unfiltered = empty

    def take(self, rows: Sequence[Row]) -> None:
        """Take a new snapshot of all rows."""
        if (rows := tuple(rows)) != self.all_rows:
            counted = len(rows) != len(self.all_rows)
            self.all_rows = rows
            self._arrange(quiet=False)
            if counted:
                self.post_message(self.Changed())

    def say_empty(self, text: str) -> None:
        self._empty_unfiltered = text
        super().say_empty(self._filtered_out() if self.needle else text)

    def filter_by(self, needle: str) -> None:
        """Show only rows that hold the text; an empty one shows all."""
        if needle != self.needle:
            self.needle = needle
            self.note = f"/{needle}" if needle else ""
            self.refresh_line(self._top)
            super().say_empty(self._filtered_out() if needle else self._empty_unfiltered)
            self._arrange(quiet=True)
            self.post_message(self.Changed())

    def sort_by(self, column: int, *, descending: bool) -> None:
        self.mark_sorted(column, descending=descending)
        self._arrange(quiet=True)

    def _filtered_out(self) -> str:
        every = f"Esc shows all {len(self.all_rows)} rows again."
        return f"Nothing in {self.title} holds {self.needle!r}.\n{every}"

    @property
    def title(self) -> str:
        """Return what the list is called on the screen, where several may be filtered."""
        return self.columns[0].title if self.columns else ""

    def _arrange(self, *, quiet: bool) -> None:
        rows = keep(self.all_rows, self.needle)
        if self.sorted_by is not None:
            rows = order(rows, self.sorted_by[0], reverse=self.sorted_by[1])
        gone = self.cursor_key is not None and all(
            row.key != self.cursor_key for row in self.all_rows
        )
        self.replace(rows, quiet=quiet or not gone)

    # ── what a person does ──────────────────────────────────────────────────────────────────

    def action_sort(self) -> None:
        """Sort by the next column on the screen that can be sorted by."""
        shown = [at.at for at in self.placed if self.columns[at.at].sorts]
        if not shown:
            return
        now = self.sorted_by[0] if self.sorted_by else -1
        self._sort_first(next((column for column in shown if column > now), shown[0]))

    def action_reverse(self) -> None:
        if self.sorted_by is not None:
            self.sort_by(self.sorted_by[0], descending=not self.sorted_by[1])

    def on_keyed_table_sort_asked(self, event: KeyedTable.SortAsked) -> None:
        event.stop()
        if self.sorted_by and self.sorted_by[0] == event.column:
            self.action_reverse()
        else:
            self._sort_first(event.column)

    def _sort_first(self, column: int) -> None:
        """Figures begin with the greatest, words with the first."""
        self.sort_by(column, descending=self.columns[column].align == "right")

    def action_copy(self) -> None:
        """Copy whole values, never what a narrow column shows of them."""
        chosen = [row for row in self.rows if row.key in self.marks]
        if not chosen and self.cursor_row is not None:
            chosen = [self.cursor_row]
        if chosen:
            lines = ("\t".join(cell_text(cell) for cell in row.cells) for row in chosen)
            self.app.copy_to_clipboard("\n".join(lines))
            self.post_message(self.Copied(len(chosen)))
