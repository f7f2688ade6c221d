"""The dashboard: screens over one feed."""

import asyncio
import difflib
import signal
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from psycopg.conninfo import conninfo_to_dict
from textual import events
from textual.app import App
from textual.binding import BindingType
from textual.screen import Screen

from core.clock import Clock, utc_now
from core.reports.session import Session
from tui import theme
from tui.actions import Action, commands
from tui.feeds import (
    INTERVAL_S,
    Answered,
    Broken,
    ClusterPage,
    Feed,
    Linked,
    Lost,
    Overview,
    Question,
    Unanswered,
    UserPage,
)
from tui.screens.detail import Help, TooSmall
from tui.screens.overview import OverviewScreen
from tui.screens.pages import screen_for
from tui.screens.view import View

WIDTH_MIN, HEIGHT_MIN = 60, 15
TICK_S = 1.0
ENDED = 128 + signal.SIGTERM
NO_SUCH_KEY = "Nothing is on this key; ? lists the keys."


class Trouble(NamedTuple):
    """Why there are no fresh figures; `retry_at` is None where the question itself is at fault."""

    why: str
    retry_at: datetime | None


class Dashboard(App[None]):
    """Keeps the connection's state and the way here; screens show, the feed asks."""

    TITLE = "hopsmeter"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        dsn: str,
        *,
        environment: str = "",
        read_only: bool = False,
        now: Clock = utc_now,
        interval_s: float = INTERVAL_S,
        theme_name: str = theme.DARK,
    ) -> None:
        super().__init__()
        theme.register(self, theme_name)
        self.environment, self.read_only = environment, read_only
        self.now, self.interval_s = now, interval_s
        self.database = str(conninfo_to_dict(dsn).get("dbname", ""))
        self.who: Session | None = None
        self.trouble: Trouble | None = None
        self.answered = 0
        self._known = Overview((), (), now(), (), (), (), None, "none")
        self._feed = Feed(
            dsn, self.post_message, read_only=read_only, now=now, interval_s=interval_s
        )

    def get_default_screen(self) -> Screen[Any]:
        return OverviewScreen()

    def on_mount(self) -> None:
        self._feed.start()
        self.set_interval(TICK_S, self._count_down)
        # Ended from outside it would leave the terminal in a mode in which nobody sees what he types.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, ENDED)

    def on_unmount(self) -> None:
        self._feed.stop()

    # ── the way here ────────────────────────────────────────────────────────────────────────

    @property
    def views(self) -> Sequence[View]:
        """Return the screens from the first to this one, without those that lie above."""
        return [screen for screen in self.screen_stack if isinstance(screen, View)]

    def ask(self, question: Question) -> None:
        self._feed.ask(question)

    def visit(self, question: Question) -> None:
        """Go down to the screen that answers this."""
        self.push_screen(screen_for(question))

    def leave_view(self) -> bool:
        """Go back to the screen before; False on the first one."""
        if len(self.views) < 2:
            return False
        self.pop_screen()
        return True

    def action_back_to(self, number: int) -> None:
        while len(self.views) > number + 1:
            self.pop_screen()

    # ── the feed ────────────────────────────────────────────────────────────────────────────

    def on_answered(self, event: Answered) -> None:
        self.answered += 1
        if isinstance(event.answer, Overview):
            self._known = event.answer
        self._set_trouble(None)
        for view in self.views:
            if view.question == event.question:
                view.receive(event.answer, event.as_of)
        self.call_after_refresh(self._feed.taken)

    def on_unanswered(self, event: Unanswered) -> None:
        self._set_trouble(Trouble(event.why, None))

    def on_linked(self, event: Linked) -> None:
        self.who = event.who
        self._set_trouble(None)

    def on_lost(self, event: Lost) -> None:
        self._set_trouble(Trouble(event.why, event.retry_at))

    def on_broken(self, event: Broken) -> None:
        raise event.error

    def _set_trouble(self, trouble: Trouble | None) -> None:
        self.trouble = trouble
        self._show_link()

    def _show_link(self) -> None:
        if self.views:
            self.views[-1].show_link()

    def _count_down(self) -> None:
        if self.trouble is not None:
            self._show_link()

    # ── size ────────────────────────────────────────────────────────────────────────────────

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < WIDTH_MIN or event.size.height < HEIGHT_MIN
        shown = isinstance(self.screen, TooSmall)
        if small and not shown:
            self.push_screen(TooSmall())
        elif shown and not small:
            self.pop_screen()

    # ── keys ────────────────────────────────────────────────────────────────────────────────

    def on_key(self, event: events.Key) -> None:
        """Take back what was said; this comes before bindings, and not while somebody types."""
        if not isinstance(self.screen, View):
            return
        self.screen.say("")
        if event.key not in self.screen.active_bindings:
            self.screen.say(NO_SUCH_KEY, "muted")

    # ── what a person asks for ──────────────────────────────────────────────────────────────

    def action_help(self) -> None:
        view = self.views[-1]
        self.push_screen(Help(view.SCOPES))

    def action_next_theme(self) -> None:
        names = [known.name for known in theme.THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def completions(self) -> Sequence[str]:
        """Return every command that can be typed now, those with arguments with each of them."""
        return [
            f"{action.word} {value}".rstrip()
            for action in commands()
            for value in ("", *self._values(action))
        ]

    def _values(self, action: Action) -> Sequence[str]:
        return list(self._choices(action))

    def _choices(self, action: Action) -> dict[str, Any]:
        """Return what the command's argument may be, and what each stands for."""
        if action.takes == "cluster":
            return {line.name: ClusterPage(line.name) for line in self._known.clusters}
        if action.takes == "user":
            return {each.email: UserPage(each.user_id, each.email) for each in self._known.users}
        if action.takes == "theme":
            return {known.name.removeprefix("hopsmeter-"): known.name for known in theme.THEMES}
        return {}

    def obey(self, text: str) -> None:
        """Do what was typed after `:`, or say what is wrong with it."""
        word, _, value = text.partition(" ")
        words = {action.word: action for action in commands()}
        view = self.views[-1]
        if word not in words:
            view.say(_no_command(word, list(words)), "warn")
            return
        action = words[word]
        choices = self._choices(action)
        if action.takes and value not in choices:
            wanted = f"no {action.takes} {value!r}" if value else f"a {action.takes} to be named"
            view.say(f":{word} knows {wanted}.{_nearest(value, list(choices))}", "warn")
            return
        self._do(action, choices.get(value))

    def _do(self, action: Action, chosen: Any) -> None:
        match action.name:
            case "cluster" | "user":
                self.action_back_to(0)
                self.visit(chosen)
            case "theme":
                self.theme = chosen
            case "overview":
                self.action_back_to(0)
            case "help":
                self.action_help()
            case _:
                self.exit()


def _no_command(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    others = " ".join(f":{each}" for each in known if each not in found)
    meant = f"Did you mean :{found[0]}? Or" if found else "There are"
    return f"No :{word}. {meant} {others}"


def _nearest(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def run(dsn: str, *, environment: str = "", read_only: bool = False, now: Clock = utc_now) -> int:
    """Show the dashboard until the person leaves; return the exit status."""
    app = Dashboard(dsn, environment=environment, read_only=read_only, now=now)
    app.run()
    return app.return_code or 0
