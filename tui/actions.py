"""Everything a person can do here: one table that makes keys, footer, `:` words and help."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Scope = Literal["everywhere", "table", "list", "overview"]
Takes = Literal["", "cluster", "user", "theme"]


@dataclass(frozen=True)
class Action:
    """One thing to do. `run` is what the screen is asked for; `shown` is how its keys read.

    `label` is its word in the footer (none: not there), `word` its `:` command, and `takes` what
    that command wants after it. `first` keys are taken before the list sees anything: what follows
    them in the same breath is meant for the line that they open, not for the list.
    """

    name: str
    scope: Scope
    run: str
    sentence: str
    keys: str = ""
    shown: str = ""
    label: str = ""
    word: str = ""
    takes: Takes = ""
    first: bool = False


ACTIONS = (
    Action("table.down", "table", "move(1)", "one row down", "down,j", "↓ j"),
    Action("table.up", "table", "move(-1)", "one row up", "up,k", "↑ k"),
    Action("table.page_down", "table", "page(1)", "one page down", "pagedown", "PgDn"),
    Action("table.page_up", "table", "page(-1)", "one page up", "pageup", "PgUp"),
    Action("table.first", "table", "edge(-1)", "the first row", "home,g", "Home g"),
    Action("table.last", "table", "edge(1)", "the last row", "end,G", "End G"),
    Action(
        "table.open", "table", "open", "look into the row: a cluster, a user, a namespace, an hour",
        "enter", "Enter", "open",
    ),
    Action("list.sort", "list", "sort", "sort by the next column (or click its title)", "s", "s", "sort"),
    Action("list.reverse", "list", "reverse", "turn the order round", "o", "o"),
    Action("table.mark", "table", "mark", "mark the row, or take its mark away", "space", "Space"),
    Action("list.look", "list", "screen.look", "the whole row, nothing cut", "i", "i"),
    Action(
        "list.copy", "list", "copy",
        "copy the marked rows (or this one) to the clipboard, tab-separated, in full", "y", "y",
    ),
    Action("back", "everywhere", "back", "back: out of a filter, else to the screen before", "escape", "Esc", "back"),
    Action("filter", "everywhere", "filter", "keep the rows that hold a text; `!text` those that do not", "slash", "/", "filter", first=True),
    Action("command", "everywhere", "command", "type a command; Tab completes it", "colon", ":", "command", first=True),
    Action("panel.next", "everywhere", "app.focus_next", "the next list of this screen", "tab", "Tab", "next"),
    Action("panel.before", "everywhere", "app.focus_previous", "the list before", "shift+tab", "Shift+Tab"),
    Action("theme.next", "everywhere", "app.next_theme", "dark, light, blue and orange", "t", "t"),
    Action("help", "everywhere", "app.help", "this page", "question_mark", "?", "help", "help"),
    Action("quit", "everywhere", "app.quit", "leave", "q", "q", "quit", "quit"),
    Action("overview", "everywhere", "app.visit_overview", "the first screen", word="overview"),
    Action("cluster", "everywhere", "app.visit_cluster", "one cluster: its hours and namespaces", word="cluster", takes="cluster"),
    Action("user", "everywhere", "app.visit_user", "one user: what his namespaces cost", word="user", takes="user"),
    Action("theme", "everywhere", "app.use_theme", "one of the colour themes", word="theme", takes="theme"),
    Action("panel.1", "overview", "panel(1)", "the clusters", "1", "1"),
    Action("panel.2", "overview", "panel(2)", "their last 48 hours", "2", "2"),
    Action("panel.3", "overview", "panel(3)", "cost by user", "3", "3"),
    Action("panel.4", "overview", "panel(4)", "unmapped namespaces", "4", "4"),
)  # fmt: skip


def bindings(scope: Scope) -> Iterator[Binding]:
    """Yield the keys of a scope in Textual's form."""
    for action in ACTIONS:
        if action.scope == scope and action.keys:
            yield Binding(
                action.keys,
                action.run,
                action.sentence,
                show=False,
                id=action.name,
                priority=action.first,
            )


def in_footer() -> tuple[Action, ...]:
    return tuple(action for action in ACTIONS if action.label)


def of_scope(scope: Scope) -> tuple[Action, ...]:
    return tuple(action for action in ACTIONS if action.scope == scope)


def commands() -> tuple[Action, ...]:
    return tuple(action for action in ACTIONS if action.word)
