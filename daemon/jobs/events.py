"""Tells of what became so of accounts: once in the log, and to the outgoing webhook where one is set."""

from typing import Any

from core.billing.deliver import TRIES_MAX, End, Message, Tells, deliver_due, keep_unsent
from core.billing.webhook import open_webhook
from daemon import log
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    """Deliver what is due; without a webhook put it aside."""
    webhook = open_webhook(deps.settings)
    tells = Tells(_new, _ended)
    with deps.connect("events") as connection:
        if webhook is None:
            unsent = keep_unsent(connection, tells)
            return Report({"unsent": unsent} if unsent else {})
        ends = deliver_due(connection, webhook, deps.clock, tells, stopping=deps.stopping.is_set)
    return Report({end.replace(" ", "_"): count for end, count in ends.items()})


def _new(message: Message) -> None:
    data: dict[str, Any] = message.payload.get("data", {})
    event = message.type.replace(".", " ").replace("_", " ")
    log.get("accounts").warning(event, **{"account": message.account, **data})


def _ended(message: Message, end: End, why: str) -> None:
    if end == "delivered":
        return
    tell = log.get("events").error if end == "given up" else log.get("events").warning
    tell(
        f"event {end}",
        type=message.type,
        account=message.account,
        message=str(message.message_id),
        tries=message.tries,
        of=TRIES_MAX,
        why=why,
    )
