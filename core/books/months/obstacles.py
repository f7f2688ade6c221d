"""What stands in the way of closing a month, each with the cure: all of it at once."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg

from core.books.months.untold import untold
from core.clock import HOUR, day_start, hour_text
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
LOTS_NAMED_MAX: Final = 5
_CURES: Final = {
    "missing": "a running daemon opens and reads them by itself",
    "due": "a running daemon reads them by itself; `hopsmeter collect {cluster} --hour {hour}` at once",
    "failed": "`hopsmeter hours {cluster}` has the reason; have them read with `hopsmeter collect"
    " {cluster}`, or give them up with `hopsmeter hours gap {cluster} {hour}`",
    "refused": "take them with `hopsmeter hours accept {cluster} {hour}`, or give them up with"
    " `hopsmeter hours gap {cluster} {hour}`",
    "held": "decide with `hopsmeter hours accept {cluster} {hour}` or `hopsmeter hours keep {cluster}"
    " {hour}`",
    "collected": "each is read once more, a day after it was over, and settled then",
}
"""By the state of hours that are not in the books for good."""
_BY_HAND: Final = "decide with `hopsmeter stripe settle`; `hopsmeter stripe due` lists them"
_MEND: Final = "mend what Stripe refused, then `hopsmeter stripe unpark`; or settle it"
_UNTOLD: Final = {
    "unread": ("waits to be read for Stripe", "the daemon reads them within an hour"),
    "to report": ("was not told to Stripe", "the daemon tells it within an hour"),
    "to move": ("is on an invoice that is final", "the daemon takes it to the open day"),
    "under way": (
        "was told to Stripe, and nobody knows whether it arrived",
        "the daemon asks again; where `hopsmeter stripe due` says so, `hopsmeter stripe decide`",
    ),
    "refused": ("was refused by Stripe", _MEND),
    "parked": ("is of an account that Stripe refused", _MEND),
    "ended": ("is of an account whose subscription ended", _BY_HAND),
    "before": ("is from before its account's subscription", _BY_HAND),
    "below zero": ("would bring the open cycle below zero", _BY_HAND),
    "too old": ("is older than what Stripe takes", _BY_HAND),
}
"""By the reason why Stripe was not told of an account's day."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Obstacle:
    """One thing that stands in the way, and what is to be done about it."""

    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what}: {self.cure}."


def obstacles(
    connection: Connection, first: date, after: date, now: datetime
) -> tuple[Obstacle, ...]:
    """Return all that stands in the way of closing [first, after), which is not closed."""
    row = connection.execute("SELECT hopsmeter.open_from()").fetchone()
    assert row is not None
    newest = now - HOUR
    values = {"first": first, "after": after, "open_from": row[0], "newest": newest}
    found = []
    if now < day_start(after):
        cure = f"it is over at {hour_text(day_start(after))}"
        found.append(Obstacle("the month is not over", cure))
    found += _earlier(connection, values)
    found += _hours(connection, values)
    found += _unposted(connection, values)
    found += _lots(connection, values)
    found += _untold(connection, first, after, now)
    return tuple(found)


def _earlier(connection: Connection, values: dict[str, Any]) -> list[Obstacle]:
    return [
        Obstacle(f"{month:%Y-%m} has entries and is open", "close it first")
        for (month,) in connection.execute(_SQL["open_before"], values).fetchall()
    ]


def _hours(connection: Connection, values: dict[str, Any]) -> list[Obstacle]:
    found = []
    for cluster, state, count, first, last in connection.execute(
        _SQL["hours_in_the_way"], values
    ).fetchall():
        span = hour_text(first) if count == 1 else f"{hour_text(first)} to {hour_text(last)}"
        word = "hour is" if count == 1 else "hours are"
        what = f"{count} {word} {'not settled' if state == 'collected' else state} on {cluster} ({span})"
        found.append(Obstacle(what, _CURES[state].format(cluster=cluster, hour=hour_text(first))))
    return found


def _unposted(connection: Connection, values: dict[str, Any]) -> list[Obstacle]:
    row = connection.execute(_SQL["unposted_hours"], values).fetchone()
    assert row is not None
    if not row[0]:
        return []
    what = f"a stored hour ({hour_text(row[1])}) waits to be posted"
    if row[0] > 1:
        what = f"{row[0]} stored hours from {hour_text(row[1])} on wait to be posted"
    return [Obstacle(what, "a running daemon posts them within a minute; `hopsmeterd tick post`")]


def _lots(connection: Connection, values: dict[str, Any]) -> list[Obstacle]:
    rows = connection.execute(_SQL["lots_unexpired"], values).fetchall()
    if not rows:
        return []
    named = ", ".join(f"{lot} of {account} ({day})" for lot, account, day in rows[:LOTS_NAMED_MAX])
    more = f" and {len(rows) - LOTS_NAMED_MAX} more" if len(rows) > LOTS_NAMED_MAX else ""
    cure = "it is posted once the hours before are in the books, at the latest 72 hours after"
    return [Obstacle(f"the expiry of lots is not posted: {named}{more}", cure)]


def _untold(connection: Connection, first: date, after: date, now: datetime) -> list[Obstacle]:
    found = []
    for each in untold(connection, first, after, now):
        what, cure = _UNTOLD.get(each.reason, (each.reason, _BY_HAND))
        days = "1 day" if each.days == 1 else f"{each.days} days, each of which"
        more = f" and {each.days - len(each.named)} more" if each.days > len(each.named) else ""
        found.append(Obstacle(f"{days} {what} ({', '.join(each.named)}{more})", cure))
    return found
