"""Events from outside: handled again."""

from core.clock import parse_instant
from core.commands.arguments import WebhooksReplay
from core.commands.kinds import Result, Task
from core.webhooks.replay import Chosen, replay


def again(task: Task[WebhooksReplay]) -> Result:
    """Make events due; the daemon handles them as soon as this is committed."""
    given = task.arguments
    chosen = Chosen(
        event_id=given.event,
        state=given.state,
        type=given.type,
        since=parse_instant(given.since) if given.since else None,
    )
    counts = replay(task.connection, task.principal, chosen)
    were = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if given.event is not None:
        state = next(iter(counts))
        said = f"The event {given.event} ({state}) is handled again."
        return Result(said, {"state": [state, "due"]})
    number = counts.total()
    said = f"{number} event{'' if number == 1 else 's'} ({were}) {'is' if number == 1 else 'are'}"
    return Result(
        f"{said} handled again.", details={"events": number, "states": dict(sorted(counts.items()))}
    )
