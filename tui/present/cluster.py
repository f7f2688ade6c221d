"""The screen of one cluster: how it is and why, and its hours."""

from collections.abc import Sequence
from datetime import datetime

from core.clock import hour_text
from core.reports.clusters import ClusterLine
from core.reports.hours import HourLine
from tui import format as fmt
from tui.present.cells import CURRENCY, amount, hour_state, money_column, state
from tui.rows import Column, Row, Span
from tui.signs import CLUSTERS

NO_HOURS = "No hours yet: the daemon opens them as they close."

HOUR_COLUMNS = (
    Column("HOURS", 9),
    Column("STATE", 12),
    money_column("COST"),
    CURRENCY,
    Column("NS", 6, "right", drop=2),
    Column("REV", 3, "right", drop=3, tone="muted"),
    Column("WHY", 12, grow=1, widest=100, sorts=False),
)


def trouble_text(line: ClusterLine) -> str:
    """Say why it is as it is and, where it fails, when it is tried again; a plain ok says nothing."""
    said = "" if line.said == "ok" else line.said
    if line.health not in ("retrying", "failing") or line.next_visit_at is None:
        return said
    again = f"next try {fmt.minute_time(line.next_visit_at)}"
    return f"{again} · {said}" if said else again


def cluster_facts(
    line: ClusterLine, now: datetime, lost_at: datetime | None = None
) -> tuple[tuple[Span, ...], ...]:
    """Return two lines: how it is and why, and what is known of it."""
    counts = line.hours
    trouble = (
        (counts.due, "due", ""), (counts.collecting, "being read", "accent"),
        (counts.failed, "failed", "warn"), (counts.refused, "refused", "bad"),
        (counts.held, "held", "bad"), (counts.gap, "lost", "bad"),
    )  # fmt: skip
    first = (
        Span(f"  as of {fmt.minute_time(lost_at)}: " if lost_at else "  ", "muted"),
        *state(CLUSTERS[line.health], lost=lost_at is not None),
        Span(f"  answered {fmt.ago(line.last_answered_at, now)}", "muted"),
        Span(f"  {trouble_text(line)}"),
    )
    second = [
        Span("  "),
        Span(f"{fmt.count(counts.kept)} of {fmt.count(counts.asked_for)} hours kept", "muted"),
        *(Span(f"  {number} {word}", tone) for number, word, tone in trouble if number),
        Span(f"  since {hour_text(line.metering_since)}, by {line.transport}", "muted"),
    ]
    return first, tuple(second)


def hour_rows(lines: Sequence[HourLine], now: datetime) -> tuple[Row, ...]:
    return tuple(
        Row(
            line.hour,
            (
                fmt.hour_name(line.hour),
                hour_state(line.state),
                amount(line.total_nano) if _known(line) else "",
                line.currency,
                Span(fmt.count(line.namespaces) if _known(line) else "", "muted"),
                str(line.revision) if line.revision > 1 else "",
                Span(_why(line, now), "" if line.fault else "muted"),
            ),
            (
                line.hour,
                line.state,
                line.total_nano,
                line.currency,
                line.namespaces,
                line.revision,
                None,
            ),
            fmt.hour_name(line.hour),
        )
        for line in lines
    )


def _known(line: HourLine) -> bool:
    """Tell whether the books hold the hour: what was never read costs nobody knows what, not 0."""
    return line.state in ("settled", "collected", "held") or line.namespaces > 0


def _why(line: HourLine, now: datetime) -> str:
    parts = [line.why or line.fault]
    if line.decided_by:
        parts.append(f"{_decision(line)} by {line.decided_by}")
    if line.state == "held":
        parts.append("`hopsmeter hours accept|keep` decides")
    if line.fault and line.next_try_at is not None:
        wait = line.next_try_at - now
        parts.append(f"try {line.tries + 1} in {fmt.age(wait)}" if wait.total_seconds() > 0 else "")
    return " · ".join(part for part in parts if part)


def _decision(line: HourLine) -> str:
    """Name what a person decided: to lose the hour, to take the later answer, or to keep the first."""
    if line.state == "gap":
        return "given up"
    return "accepted" if line.accepted else "kept"
