"""The lines around every screen: header, crumbs, banner, age, keys; and the help page."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from core.reports.session import Session
from tui import format as fmt
from tui.actions import ACTIONS, Action, Scope, in_footer
from tui.present.cells import legend
from tui.rows import Column, Row, Span
from tui.signs import CLUSTERS, HOURS

PROGRAM = "hopsmeter"
LATE_FROM, STALE_FROM = 2, 5
"""How many refresh intervals old a view is when it is said to be late, and stale."""

HELP_COLUMNS = (
    Column("KEY OR SIGN", 20, sorts=False, tone="accent"),
    Column("MEANING", 30, grow=1, widest=110, sorts=False),
)
TITLES: dict[Scope, str] = {
    "overview": "This screen",
    "table": "Lists",
    "list": "Lists",
    "everywhere": "Everywhere",
}


def header(
    environment: str, database: str, who: Session | None, *, read_only: bool
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Say where one is, as whom, and where one may only read; production stands out by word and tone.

    What only repeats says nothing: a database of the program's name, or that one may write.
    """
    left = [Span(f"  {PROGRAM} ", "accent")]
    if environment:
        left.append(Span(f" {environment} ", "bad" if "prod" in environment.lower() else "strong"))
    here = who.database if who else database
    known = [f"db {here}"] if here not in ("", PROGRAM) else []
    if who is not None:
        known.append(who.email or f"role {who.role}")
    if known:
        left.append(Span(f" {' · '.join(known)} ", "muted"))
    only = read_only or (who is not None and who.read_only)
    return tuple(left), (Span(" RO ", "info"),) if only else ()


def crumbs(
    names: Sequence[str], title: str, needle: str, shown: int, total: int
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return the way here, each step but the last to be clicked, and which list is filtered."""
    spans = [Span("  ")]
    for number, name in enumerate(names):
        last = number == len(names) - 1
        spans.append(
            Span(
                fmt.cut(name, 30),
                "strong" if last else "muted",
                "" if last else f"app.back_to({number})",
            )
        )
        if not last:
            spans.append(Span(" › ", "faint"))
    if not needle:
        return tuple(spans), ()
    found = f"{fmt.count(shown)} / {fmt.count(total)}"
    return tuple(spans), (
        Span(f"{title} ", "muted"),
        Span(f"/{needle} ", "accent"),
        Span(f"{found} ", "strong"),
    )


def banner(
    why: str, retry_at: datetime | None, now: datetime, *, ever: bool
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Say on two lines that there is no connection and when it is tried again, and why."""
    if retry_at is None:
        return (Span("  × No answer", "bad"), Span("  Older figures stay.", "muted")), (
            Span(f"    {why}"),
        )
    what = "Connection lost; these are the last figures." if ever else "No connection yet."
    wait = retry_at - now
    again = f"in {fmt.age(wait)}" if wait > timedelta(seconds=1) else "now"
    return (
        (Span(f"  × {what}", "bad"), Span(f"  Next try {again}.", "muted")),
        (Span(f"    {why}"),),
    )


def age(as_of: datetime | None, now: datetime, interval_s: float) -> tuple[Span, ...]:
    """Return when what is shown was read, how long ago, and a word where that is too long."""
    if as_of is None:
        return (Span("○ waiting for the database ", "muted"),)
    span = now - as_of
    text = f"as of {fmt.clock_time(as_of)} UTC · {fmt.age(span)} ago "
    if span > timedelta(seconds=interval_s * STALE_FROM):
        return (Span(f"× stale · {text}", "bad"),)
    if span > timedelta(seconds=interval_s * LATE_FROM):
        return (Span(f"▲ late · {text}", "warn"),)
    return (Span(text, "muted"),)


def footer(hidden: frozenset[str]) -> tuple[Span, ...]:
    """Return the keys that do something now."""
    spans = [Span("  ")]
    for action in in_footer():
        if action.name not in hidden:
            spans += [Span(action.shown, "accent"), Span(f" {action.label}  ", "muted")]
    return tuple(spans)


def help_rows(scopes: Sequence[Scope]) -> tuple[Row, ...]:
    """Return what the signs mean that have no word beside them, then keys and commands."""
    rows = _section("Hours", legend(HOURS))
    for title in dict.fromkeys(TITLES[scope] for scope in scopes):
        here = [scope for scope in scopes if TITLES[scope] == title]
        keys = [action for action in ACTIONS if action.scope in here and action.keys]
        rows += _section(title, [(Span(action.shown), action.sentence) for action in keys])
    words = [(Span(_usage(action)), action.sentence) for action in ACTIONS if action.word]
    rows += _section("Commands", words)
    rows += _section("Clusters", legend(CLUSTERS))
    return tuple(rows)


def _usage(action: Action) -> str:
    return f":{action.word} {action.takes.upper()}".rstrip()


def _section(title: str, lines: Sequence[tuple[Span, str]]) -> list[Row]:
    rows = [Row((title, ""), (Span(title, "strong"), ""))]
    rows += [Row((title, sign.text), (sign, meaning)) for sign, meaning in lines]
    return [*rows, Row((title, None), ("", ""))]
