"""One line of text in tones, left and right: header, crumbs, tiles, banner, footer."""

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from tui.rows import Span
from tui.theme import tone_style
from tui.widgets.paint import clipped

Spans = tuple[Span, ...]


class Line(Widget):
    """Shows spans; painted only when they differ from the last ones. A span may be clicked."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Line { height: 1; }"

    def __init__(self, ident: str) -> None:
        super().__init__(id=ident)
        self._left: Spans = ()
        self._right: Spans = ()

    def show(self, left: Spans, right: Spans = ()) -> None:
        """Show these; where both do not fit, the left side is cut."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    @property
    def text(self) -> str:
        return "".join(span.text for span in (*self._left, *self._right))

    def _fitted(self) -> tuple[Spans, int, Spans]:
        width = self.size.width
        right = tuple(clipped(self._right, width))
        room = width - sum(cell_len(span.text) for span in right)
        left = tuple(clipped(self._left, room))
        return left, room - sum(cell_len(span.text) for span in left), right

    def render_line(self, y: int) -> Strip:
        if y:
            return Strip.blank(self.size.width, self.rich_style)
        base, theme = self.rich_style, self.app.theme
        left, blank, right = self._fitted()
        return Strip(
            [
                Segment(span.text, base + tone_style(theme, span.tone))
                for span in (*left, Span(" " * blank), *right)
            ]
        )

    async def on_click(self, event: events.Click) -> None:
        left, blank, right = self._fitted()
        x = 0
        for span in (*left, Span(" " * blank), *right):
            x += cell_len(span.text)
            if event.x < x:
                if span.click:
                    await self.app.run_action(span.click, self.screen)
                return
