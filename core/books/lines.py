"""What a check of the books says, and the span of hours that it is about."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from core.clock import day_of

NAMED_MAX = 20
"""Rows that a failed line names; the first of them are enough to find the cause."""


def pending_text(hours: int, since: datetime | None) -> str:
    """Say how many hours are stored and not posted yet, and since when the oldest of them waits."""
    if not hours:
        return "all posted"
    oldest = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
    return f"{'1 hour waits' if hours == 1 else f'{hours} hours wait'} to be posted{oldest}"


def fetched_text(oldest_at: datetime, newest_at: datetime, now: datetime) -> str:
    """Say how old figures are that were fetched from others between two moments."""
    hours = max(int((now - newest_at).total_seconds()), 0) // 3600
    newest = "less than an hour" if not hours else f"{hours} hour{'' if hours == 1 else 's'}"
    return f"fetched from {oldest_at:%Y-%m-%d %H:%M} UTC on, last {newest} ago"


@dataclass(frozen=True)
class CheckLine:
    """One invariant: `detail` says what was proved, `rows` name what is wrong."""

    number: int
    title: str
    ok: bool
    detail: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Span:
    """Hours in [since, until); `newest` is the last that should be in the books, `now` the time."""

    since: datetime
    until: datetime
    newest: datetime
    now: datetime

    @property
    def today(self) -> date:
        return day_of(self.now)

    @property
    def values(self) -> dict[str, Any]:
        return {
            "since": self.since,
            "until": self.until,
            "newest": self.newest,
            "today": self.today,
            "limit": NAMED_MAX,
        }
