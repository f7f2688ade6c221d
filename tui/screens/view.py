"""What every screen shares: header, crumbs, banner, body, a line to type on, status, keys."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.timer import Timer

from tui.actions import Scope, bindings
from tui.feeds import Answer, Question
from tui.present import chrome
from tui.rows import Span
from tui.screens.detail import Detail
from tui.widgets.age import Age
from tui.widgets.line import Line
from tui.widgets.listing import Listing
from tui.widgets.prompt import Prompt
from tui.widgets.table import KeyedTable

if TYPE_CHECKING:
    from tui.app import Dashboard


SAID_S = 8.0
"""How long a message stays where no key is pressed."""
WIDE_FROM = 110
"""From this width on, lists may stand side by side."""
_BREAKPOINTS = [(0, "-narrow"), (WIDE_FROM, "-wide")]


class View(Screen[None]):
    """One question, and how its answer looks. Widgets never query: the app hands answers in."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("everywhere")]
    SCOPES: ClassVar[Sequence[Scope]] = ("table", "list", "everywhere")
    HORIZONTAL_BREAKPOINTS = _BREAKPOINTS

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.question = question
        self._answer: Answer | None = None
        self._as_of: datetime | None = None
        self._shown_at: datetime | None = None
        self._filtered: Listing | None = None
        self._framed = False
        self._fading: Timer | None = None

    # ── what a screen says of itself ────────────────────────────────────────────────────────

    @property
    @abstractmethod
    def crumb(self) -> str:
        """Its name in the way here."""

    @abstractmethod
    def compose_body(self) -> ComposeResult:
        """Its lists."""

    @abstractmethod
    def present(self, answer: Answer, now: datetime, /) -> None:
        """Hand the answer's rows to the lists."""

    # ── frame ───────────────────────────────────────────────────────────────────────────────

    @property
    def dashboard(self) -> "Dashboard":
        return cast("Dashboard", self.app)

    def compose(self) -> ComposeResult:
        yield Line("header")
        yield Line("crumbs")
        yield Line("banner")
        yield Line("why")
        with Container(id="body"):
            yield from self.compose_body()
        with Horizontal(id="status"):
            yield Prompt()
            yield Line("said")
            yield Age("age", self.dashboard.now, self.dashboard.interval_s)
        yield Line("keys")

    def on_mount(self) -> None:
        self._framed = True
        self.query_one("#keys", Line).show(chrome.footer(frozenset()))
        self.show_crumbs()
        self.main.focus()
        self.on_screen_resume()

    def on_screen_resume(self) -> None:
        """Ask anew; not before the frame stands, since the feed may be faster than it."""
        if self.stands:
            self.show_link()
            self.dashboard.ask(self.question)

    @property
    def stands(self) -> bool:
        """Whether the frame is there: news may come before it is, and while it is taken down."""
        return self._framed and self.display

    @property
    def main(self) -> Listing:
        """The list that the screen opens with."""
        return self.query(Listing).first()

    @property
    def listing(self) -> Listing:
        """The list that keys mean now, also while something is typed for it."""
        if self.query_one(Prompt).is_open:
            return self.filtered
        return self.focused if isinstance(self.focused, Listing) else self.main

    @property
    def filtered(self) -> Listing:
        """The list that had the focus before something was typed."""
        return self._filtered or self.main

    def show_link(self) -> None:
        """Show who and where one is, and whether the database is there."""
        if not self.stands:
            return
        board = self.dashboard
        left, right = chrome.header(
            board.environment, board.database, board.who, read_only=board.read_only
        )
        self.query_one("#header", Line).show(left, right)
        lost = board.trouble
        if self.has_class("-lost") is not (lost is not None):
            self.set_class(lost is not None, "-lost")
            self.present_again()
        if lost is not None:
            ever = board.who is not None
            what, why = chrome.banner(lost.why, lost.retry_at, board.now(), ever=ever)
            self.query_one("#banner", Line).show(what)
            self.query_one("#why", Line).show(why)

    def show_crumbs(self) -> None:
        if not self.stands:
            return
        listing = self.listing
        names = [view.crumb for view in self.dashboard.views]
        shown, total = len(listing.rows), len(listing.all_rows)
        left, right = chrome.crumbs(names, listing.title, listing.needle, shown, total)
        self.query_one("#crumbs", Line).show(left, right)

    def say(self, text: str, tone: str = "") -> None:
        """Say something on the status line for a while, or until the next key.

        What is longer than the room beside the age hides that for so long.
        """
        if not self.stands:
            return
        self.query_one("#said", Line).show((Span(f"  {text}", tone),) if text else ())
        age = self.query_one(Age)
        age.display = cell_len(text) + len("   ") <= self.size.width - age.wanted
        if self._fading is not None:
            self._fading.stop()
        self._fading = self.set_timer(SAID_S, lambda: self.say("")) if text else None

    # ── answers ─────────────────────────────────────────────────────────────────────────────

    def receive(self, answer: Answer, as_of: datetime) -> None:
        """Show an answer; an equal one within the same minute changes no cell."""
        if not self.stands:
            return
        self._as_of = as_of
        self.query_one("#age", Age).set_as_of(as_of)
        minute = as_of.replace(second=0, microsecond=0)
        if answer != self._answer or minute != self._shown_at:
            self._answer, self._shown_at = answer, minute
            self.present(answer, as_of)

    @property
    def lost_at(self) -> datetime | None:
        """When what is shown was read, while nothing fresher can be had; else None."""
        return None if self.dashboard.trouble is None else self._as_of

    def present_again(self) -> None:
        """Lay the last answer out anew: for another size, or as an old one."""
        if self._answer is not None:
            self.present(self._answer, self.lost_at or self.dashboard.now())

    # ── keys ────────────────────────────────────────────────────────────────────────────────

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing works before the frame stands; while something is typed, `/` and `:` are text."""
        if not self.stands:
            return False
        if action in ("filter", "command"):
            return not self.query_one(Prompt).is_open
        return super().check_action(action, parameters)

    def action_filter(self) -> None:
        self._filtered = self.listing
        self.query_one(Prompt).open("/", self._filtered.needle)

    def action_command(self) -> None:
        self._filtered = self.listing
        self.query_one(Prompt).open(":", known=self.dashboard.completions())

    def on_prompt_typed(self, event: Prompt.Typed) -> None:
        self.filtered.filter_by(event.text)

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        self._close_prompt()
        if event.purpose == ":" and event.text:
            self.dashboard.obey(event.text)

    def _close_prompt(self) -> None:
        prompt = self.query_one(Prompt)
        prompt.close()
        self.filtered.focus()

    def action_back(self) -> None:
        """Leave what is typed, then the filter, then the screen; never the program."""
        prompt = self.query_one(Prompt)
        if prompt.is_open:
            if prompt.purpose == "/":
                self.filtered.filter_by("")
            self._close_prompt()
        elif self.listing.needle:
            self.listing.filter_by("")
        elif not self.dashboard.leave_view():
            self.say("This is the first screen; q leaves hopsmeter.", "muted")

    def on_descendant_focus(self) -> None:
        self.show_crumbs()

    def on_listing_changed(self) -> None:
        self.show_crumbs()

    def on_listing_copied(self, event: Listing.Copied) -> None:
        self.say(f"{event.rows} {'row' if event.rows == 1 else 'rows'} copied.", "ok")

    def on_keyed_table_row_left(self, event: KeyedTable.RowLeft) -> None:
        """Name the row that hands were on; a list beside it may lose one by the same change."""
        if event.table is self.listing:
            self.say(f"{event.row.name or event.row.key} is no longer in the list.", "warn")

    def action_look(self) -> None:
        """Show the row in full, whatever its columns had to cut."""
        listing = self.listing
        if listing.cursor_row is not None:
            self.app.push_screen(Detail(listing.columns, listing.cursor_row))
