"""Events that a person wants handled again: what is done twice changes nothing, so that is always safe."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.db.queries import queries_beside
from core.errors import Conflict, InputFault, Unknown
from core.identity.principal import Principal
from core.webhooks.event import Connection
from core.webhooks.handle import LEASE_S

_SQL = queries_beside(__file__)
REPLAY_MAX: Final = 10_000
"""At once; the rest by another command, once these are done."""
STATES: Final = ("done", "unknown", "given up", "due")


@dataclass(frozen=True)
class Chosen:
    """Which events: one by its id, or all that fit the rest. `type` may end with `*`."""

    event_id: str | None = None
    state: str | None = None
    type: str | None = None
    since: datetime | None = None


def replay(connection: Connection, principal: Principal, chosen: Chosen) -> Counter[str]:
    """Make events due again, their tries counted from none; return how many were in which state.

    One that is in work at this moment is left to whoever works. Unknown or Conflict where nothing fits.
    """
    principal.require_admin("have events handled again")
    _require_clear(chosen)
    values = {
        "event_id": chosen.event_id,
        "state": chosen.state,
        "type": _pattern(chosen.type),
        "since": chosen.since,
        "lease_max_s": 2 * LEASE_S,
        "limit": REPLAY_MAX + 1,
    }
    found = connection.execute(_SQL["replay_events"], values).fetchall()
    if len(found) > REPLAY_MAX:
        raise InputFault(
            f"More than {REPLAY_MAX} events fit; choose fewer, by --type or --since. Nothing was"
            " changed."
        )
    if not found:
        raise _nothing(connection, chosen)
    return Counter(str(state) for (state,) in found)


def _require_clear(chosen: Chosen) -> None:
    others = (chosen.state, chosen.type, chosen.since)
    if chosen.event_id is not None and any(each is not None for each in others):
        raise InputFault(
            "Name one event, or say which by state, type and time. Nothing was changed."
        )
    if chosen.event_id is None and all(each is None for each in others):
        raise InputFault(
            "Say which events: one by its id, or by state, type, time. Nothing was changed."
        )
    if chosen.state is not None and chosen.state not in STATES:
        raise InputFault(
            f"{chosen.state!r} is no state; events are {', '.join(STATES)}. Nothing was changed."
        )


def _nothing(connection: Connection, chosen: Chosen) -> Unknown | Conflict:
    if chosen.event_id is None:
        return Unknown("No such event is there. Nothing was changed.")
    there = connection.execute(_SQL["event_there"], {"event_id": chosen.event_id}).fetchone()
    if there is None:
        return Unknown(f"There is no event {chosen.event_id!r}. Nothing was changed.")
    return Conflict(f"The event {chosen.event_id} is in work at this moment. Nothing was changed.")


def _pattern(type_: str | None) -> str | None:
    """Turn `invoice.*` into a pattern of LIKE in which nothing else is special."""
    if type_ is None:
        return None
    escaped = type_.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return escaped.replace("*", "%")
