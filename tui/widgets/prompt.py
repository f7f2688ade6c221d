"""The line that is typed on: `/` filters, `:` commands. Hidden while nobody types."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from tui.rows import Span
from tui.widgets.line import Line

Purpose = Literal["/", ":"]


class _Completions(Suggester):
    """The first known command that begins with what is typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=False)
        self.known: Sequence[str] = ()

    async def get_suggestion(self, value: str) -> str | None:
        found = (each for each in self.known if each.casefold().startswith(value) and value)
        return next(found, None)


class _Field(Input):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "cursor_right", "complete", show=False),
    ]
    DEFAULT_CSS = """
    _Field { border: none; padding: 0; height: 1; background: $panel; width: 1fr; }
    _Field:focus { border: none; background: $panel; }
    """


class Prompt(Horizontal):
    """Opens with a purpose, says what is typed, and closes when it is entered."""

    DEFAULT_CSS = """
    Prompt { height: 1; width: 1fr; display: none; background: $panel; }
    Prompt.-open { display: block; }
    Prompt Line { width: 4; background: $panel; }
    """

    class Typed(Message):
        """What the filter holds now."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Entered(Message):
        """The line was entered."""

        def __init__(self, purpose: Purpose, text: str) -> None:
            self.purpose, self.text = purpose, text
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self.purpose: Purpose = "/"
        self._completions = _Completions()

    def compose(self) -> ComposeResult:
        yield Line("purpose")
        field = _Field(suggester=self._completions, select_on_focus=False, compact=True)
        field.cursor_blink = False
        yield field

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def open(self, purpose: Purpose, text: str = "", known: Sequence[str] = ()) -> None:
        """Begin to type, with completions for a command."""
        self.purpose = purpose
        self._completions.known = known
        self.query_one(Line).show((Span(f"  {purpose}", "accent"),))
        field = self.query_one(_Field)
        with self.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        self.add_class("-open")
        self.screen.add_class("-typing")
        # Not field.focus(), which comes a moment later: keys that follow at once would miss it.
        self.screen.set_focus(field)

    def close(self) -> None:
        self.remove_class("-open")
        self.screen.remove_class("-typing")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_open and self.purpose == "/":
            self.post_message(self.Typed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Entered(self.purpose, event.value.strip()))
