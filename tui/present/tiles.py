"""The four figures on top of the first screen."""

from collections.abc import Sequence
from datetime import datetime

from core.reports.costs import Totals
from core.reports.session import Life
from tui import format as fmt
from tui.rows import Span
from tui.signs import DAEMONS, Sign


def tiles(
    totals: Sequence[Totals],
    newest_hour: datetime | None,
    life: Life,
    width: int,
    lost_at: datetime | None = None,
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Return the four figures of the house: a line of labels, a line of values."""
    room = (width - 2) // 4
    daemon, alive = _daemon(DAEMONS[life], lost_at)
    hour = newest_hour.strftime("%HZ") if newest_hour else ""
    namespaces = sum(each.unmapped_namespaces for each in totals)
    today = _sum([(each.today_nano, each.currency) for each in totals], room)
    newest = _sum([(each.newest_nano, each.currency) for each in totals], room)
    lost = _sum([(each.unmapped_nano, each.currency) for each in totals], room)
    values = (
        Span(today, "strong"),
        Span(newest, "strong"),
        Span(lost, "warn") if namespaces else Span("none", "ok"),
        alive,
    )
    long = f"Unmapped namespaces: {namespaces}"
    unmapped = long if len(long) < room else f"Unmapped: {namespaces}"
    labels = (
        "Today",
        f"Newest {hour}" if room <= len("Newest hour 13Z") else f"Newest hour {hour}".strip(),
        unmapped if namespaces else "Unmapped",
        daemon,
    )
    return (
        (Span("  "), *(Span(fmt.fit(text, room), "muted") for text in labels)),
        (Span("  "), *(Span(fmt.fit(span.text, room), span.tone) for span in values)),
    )


def _daemon(sign: Sign, lost_at: datetime | None) -> tuple[str, Span]:
    """Return label and value; nobody knows whether it still lives while the database is away."""
    if lost_at is None:
        return "Daemon", Span(f"{sign.glyph} {sign.word}", sign.tone)
    return f"Daemon {fmt.minute_time(lost_at)}", Span(f"○ was {sign.word}", "muted")


def _sum(amounts: Sequence[tuple[int, str]], room: int) -> str:
    """Return sums of different currencies side by side: to the cent, to the unit, or some of them."""
    held = [(nano, currency) for nano, currency in amounts if nano]
    if not held:
        return fmt.NOTHING
    nano, currency = held[0]
    more = len(held) - 1
    texts = [
        " + ".join(f"{fmt.money(nano, decimals)} {currency}" for nano, currency in held)
        for decimals in (2, 0)
    ]
    texts += [f"{fmt.money(nano, decimals)} {currency} +{more}" for decimals in (2, 0) if more]
    least = f"{fmt.money(nano, 0)} {currency}{'+' if more else ''}"
    return next((text for text in texts if len(text) < room), least)
