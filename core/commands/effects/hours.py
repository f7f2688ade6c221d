"""Hours: decided by a person, or asked for again."""

from collections.abc import Callable
from typing import Literal

from core.clock import hour_text, parse_hour
from core.commands.arguments import Collect, HourDecide
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.metering.decisions import ask_again, decide
from core.money import text_from_nano

Word = Literal["accept", "keep", "gap"]


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
        return Result(
            f"{made.cluster} {hour_text(hour)}: {made.state_before} → {made.state}; {money}.",
            {
                "state": [made.state_before, made.state],
                "cost_nano": [made.cost_before_nano, made.cost_nano],
            },
            {"currency": made.currency},
        )

    return effect


def collect(task: Task[Collect]) -> Result:
    """Have hours asked for at once; the daemon looks as soon as this is committed."""
    given = task.arguments
    if given.hour and given.since:
        raise InputFault("Name one hour, or all since one; not both. Nothing was changed.")
    hours = ask_again(
        task.connection,
        task.principal,
        given.cluster,
        hour=parse_hour(given.hour) if given.hour else None,
        since=parse_hour(given.since) if given.since else None,
        now=task.now,
    )
    word = "hour is" if hours == 1 else "hours are"
    where = given.cluster or "all clusters"
    return Result(f"{hours} {word} asked for now ({where}).", details={"hours": hours})
