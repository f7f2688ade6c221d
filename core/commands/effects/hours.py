"""Hours: decided by a person, or asked for again."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from core.clock import HOUR, hour_text, parse_hour
from core.commands.arguments import Collect, HourDecide
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.metering.decisions import ask_again, decide
from core.money import text_from_nano

Word = Literal["accept", "keep", "gap"]

CUT_TOLD_MAX = 5
"""Clusters named, of those that are metered only since later."""


def deciding(word: Word) -> Callable[[Task[HourDecide]], Result]:
    """Return the effect of one of the three decisions."""

    def effect(task: Task[HourDecide]) -> Result:
        hour = parse_hour(task.arguments.hour)
        made = decide(
            task.connection,
            task.principal,
            task.arguments.cluster,
            hour,
            word,
            task.why,
            task.now,
        )
        moved_nano = made.cost_nano - made.cost_before_nano
        money = (
            f"the books change by {text_from_nano(moved_nano)} {made.currency}"
            if moved_nano
            else "the books do not change"
        )
        # A cheaper answer later would change nothing by itself, which who decides must know.
        settled = (
            " The hour is settled: it is not read again by itself."
            if made.state == "settled"
            else ""
        )
        return Result(
            f"{made.cluster} {hour_text(hour)}: {made.state_before} → {made.state}; {money}."
            f"{settled}",
            {
                "state": [made.state_before, made.state],
                "cost_nano": [made.cost_before_nano, made.cost_nano],
            },
            {"currency": made.currency},
        )

    return effect


accept, keep, gap = deciding("accept"), deciding("keep"), deciding("gap")


def collect(task: Task[Collect]) -> Result:
    """Have hours asked for at once; the daemon looks as soon as this is committed.

    The details say which, as spans of hours by cluster, so that whoever waits can follow them.
    """
    given = task.arguments
    if given.hour and given.since:
        raise InputFault("Name one hour, or all since one; not both. Nothing was changed.")
    asked = ask_again(
        task.connection,
        task.principal,
        given.cluster,
        hour=parse_hour(given.hour) if given.hour else None,
        since=parse_hour(given.since) if given.since else None,
        now=task.now,
    )
    where = given.cluster or "all clusters"
    if not asked:
        return Result(f"No hour is missing ({where}): nothing to ask for.", details={"hours": 0})
    word = "hour is" if len(asked) == 1 else "hours are"
    return Result(
        f"{len(asked)} {word} asked for now ({where}).{_cut(asked, given.since)}",
        details={
            "hours": len(asked),
            "asked_at": task.now.isoformat(),
            "spans": [
                [cluster, hour_text(first), hour_text(last)]
                for cluster, first, last in _spans(asked)
            ],
        },
    )


def _cut(asked: list[tuple[str, datetime]], since: str | None) -> str:
    """Say where less is asked for than was wished, since metering began later."""
    if since is None:
        return ""
    wished = parse_hour(since)
    first = dict(reversed(asked))
    later = [f"{name} from {hour_text(hour)}" for name, hour in first.items() if hour > wished]
    if not later:
        return ""
    told = sorted(later)[:CUT_TOLD_MAX]
    more = len(later) - len(told)
    return (
        f" No hour from before metering began is asked for: {', '.join(told)} on"
        f"{f', and {more} more' if more else ''}."
    )


def _spans(asked: list[tuple[str, datetime]]) -> list[tuple[str, datetime, datetime]]:
    """Join hours that follow each other; thousands of hours are a line."""
    spans: list[tuple[str, datetime, datetime]] = []
    for cluster, hour in asked:
        if spans and spans[-1][0] == cluster and spans[-1][2] + HOUR == hour:
            spans[-1] = (cluster, spans[-1][1], hour)
        else:
            spans.append((cluster, hour, hour))
    return spans
