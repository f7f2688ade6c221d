"""Screens above a screen: one row in full, the help page, and a terminal that is too small."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import ModalScreen

from tui.actions import Scope
from tui.format import clean
from tui.present import chrome
from tui.rows import Column, Row, Span, cell_text
from tui.widgets.line import Line
from tui.widgets.listing import Listing

TOO_SMALL = "hopsmeter needs at least 60x15; q leaves."
WRAP_AT = 56
FRAME_LINES = 6
"""What a sheet needs besides its rows: padding, the closing line, air above and below."""

_CLOSE: list[BindingType] = [
    Binding("escape,q,question_mark,i", "dismiss", "close", show=False),
]


class Detail(ModalScreen[None]):
    """Every column of one row, its value whole and wrapped."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def __init__(self, columns: Sequence[Column], row: Row) -> None:
        super().__init__()
        self._columns, self._row = columns, row

    def compose(self) -> ComposeResult:
        with Container(classes="sheet"):
            yield Listing(
                (Column("ROW", 14, sorts=False, tone="muted"), Column("", WRAP_AT, sorts=False)),
                ident="detail",
            )
            yield Line("close")

    def on_mount(self) -> None:
        listing = self.query_one(Listing)
        listing.take(self._rows())
        listing.styles.height = min(len(listing.rows) + 1, self.size.height - FRAME_LINES)
        self.query_one("#close", Line).show((Span("  Esc", "accent"), Span(" close", "muted")))

    def _rows(self) -> tuple[Row, ...]:
        """Return a line for each piece of each value; a column without a title joins the one before."""
        values: dict[str, str] = {}
        for column, cell in zip(self._columns, self._row.cells, strict=True):
            title = column.title or next(reversed(values), "")
            values[title] = f"{values.get(title, '')} {clean(cell_text(cell))}".strip()
        rows: list[Row] = []
        for title, value in values.items():
            rows += [
                Row((title, at), ("" if at else title.capitalize(), value[at : at + WRAP_AT]))
                for at in range(0, len(value), WRAP_AT)
            ]
        return tuple(rows)


class Help(ModalScreen[None]):
    """What every key does and what every sign means, made from the registry."""

    BINDINGS: ClassVar[list[BindingType]] = _CLOSE

    def __init__(self, scopes: Sequence[Scope]) -> None:
        super().__init__()
        self._scopes = scopes

    def compose(self) -> ComposeResult:
        with Container(classes="sheet -tall"):
            yield Listing(chrome.HELP_COLUMNS, ident="help")
            yield Line("close")

    def on_mount(self) -> None:
        self.query_one(Listing).take(chrome.help_rows(self._scopes))
        self.query_one("#close", Line).show((Span("  Esc", "accent"), Span(" close", "muted")))


class TooSmall(ModalScreen[None]):
    """One sentence; nothing but leaving works, so that no key does what cannot be seen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", "leave", show=False)]

    def compose(self) -> ComposeResult:
        yield Line("small")

    def on_mount(self) -> None:
        self.query_one(Line).show((Span(TOO_SMALL, "warn"),))
