"""What becomes of hours that were asked for, told while they arrive."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import click

from core.clock import hour_text, monotonic_s, parse_hour
from core.commands.submit import daemon_seen
from core.reports.hours import AskedHours, Span, asked_hours
from tui.cli.failing import Told, Waits
from tui.cli.session import Connection, Session
from tui.format import clean

WAIT_S: Final = 600.0
POLL_S: Final = 0.5
TELL_S: Final = 3.0
_WORDS: Final = {
    "kept": "in the books",
    "held": "held: a person decides",
    "refused": "refused: a person decides",
    "failed": "failed: asked again later",
    "left alone": "not asked: the cluster is left alone for a while",
    "gap": "lost: OpenCost no longer has them",
    "waived": "waived",
}


def follow(session: Session, details: Mapping[str, Any]) -> None:
    """Wait until each hour was answered; Told where some are not in the books, Waits where it
    takes too long. `details` are those of the command `collect`.
    """
    spans = [
        Span(cluster, parse_hour(first), parse_hour(last))
        for cluster, first, last in details.get("spans", ())
    ]
    if not spans:
        return
    asked_at = datetime.fromisoformat(details["asked_at"])
    with session.connection(read_only=True) as connection:
        try:
            found = _until_answered(connection, spans, asked_at)
        except KeyboardInterrupt:
            raise Waits("The hours are read without you; `hopsmeter hours` shows them.") from None
    _conclude(found)


def _until_answered(
    connection: Connection, spans: list[Span], asked_at: datetime
) -> tuple[AskedHours, ...]:
    begun_s = told_s = monotonic_s()
    told = ""
    while True:
        found = asked_hours(connection, spans, asked_at)
        still = _count(found, "open")
        if not still:
            return found
        now_s = monotonic_s()
        if now_s - begun_s > WAIT_S:
            raise Waits(f"{_hours(still)} not answered after {WAIT_S:g} s; it goes on.")
        if not daemon_seen(connection):
            raise Waits(f"{_hours(still)} not answered, and no daemon runs; start hopsmeterd.")
        progress = _progress(found)
        if now_s - told_s >= TELL_S and progress != told:
            click.echo(progress)
            told, told_s = progress, now_s
        time.sleep(POLL_S)


def _progress(found: tuple[AskedHours, ...]) -> str:
    every = sum(each.hours for each in found)
    counts = {word: _count(found, word) for word in _WORDS}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"  {every - _count(found, 'open')} of {every} answered{': ' if told else ''}{told}"


def _conclude(found: tuple[AskedHours, ...]) -> None:
    for each in found:
        such = "" if each.word == "kept" else f" (from {hour_text(each.oldest)})"
        click.echo(clean(f"{each.cluster}: {each.hours} {_WORDS[each.word]}{such}"))
        if each.why and each.word != "kept":
            click.echo(clean(f"  {each.why}"))
    lacking = sorted({each.cluster for each in found if each.word != "kept"})
    if lacking:
        ways = " and ".join(f"`hopsmeter hours {cluster}`" for cluster in lacking)
        raise Told(
            f"Not all could be read; what the books had of them stays, and {ways} tells more."
        )


def _count(found: tuple[AskedHours, ...], word: str) -> int:
    return sum(each.hours for each in found if each.word == word)


def _hours(count: int) -> str:
    return f"{count} hour is" if count == 1 else f"{count} hours are"
