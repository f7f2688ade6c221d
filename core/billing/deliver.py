"""Events on their way out: claimed by lease, tried with growing pauses, given up after the last try.

At least once: who is killed between the delivery and its mark leaves it to the next, who sends it again
under the same webhook-id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row

from core.billing.webhook import ANSWER_MAX_S, Webhook, body_of, send, signed
from core.clock import Clock, monotonic_s
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
PAUSES_S = (10, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""After each try that failed; three days from the first to the last."""
TRIES_MAX = len(PAUSES_S) + 1
LEASE_S = 6 * ANSWER_MAX_S
RUN_MAX_S = 60.0
FAILURES_MAX = 3
"""In a row; then whoever listens is left alone until the next run."""
UNSENT_MAX = 1_000

End = Literal["delivered", "failed", "given up", "lost"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Message:
    """An event that is ours to deliver while `token` stands in its row."""

    id: int
    message_id: UUID
    type: str
    account: str
    payload: Any
    tries: int
    """This one included."""
    token: UUID | None = None


@dataclass(frozen=True)
class Tells:
    """Who hears of it: `new` once for each event, `ended` of each try and what came of it."""

    new: Callable[[Message], None]
    ended: Callable[[Message, End, str], None]


def keep_unsent(connection: Connection, tells: Tells) -> int:
    """Put events aside that nobody is there to be sent to; the log and the trail have told of them."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Message)) as cursor:
        found = cursor.execute(_SQL["keep_unsent"], {"limit": UNSENT_MAX}).fetchall()
        for message in found:
            if message.tries == 0:
                tells.new(message)
    return len(found)


def deliver_due(
    connection: Connection,
    webhook: Webhook,
    clock: Clock,
    tells: Tells,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[End, int]:
    """Deliver what is due, one after the other, for a minute at most; return how many ended how."""
    ends: dict[End, int] = {}
    failures = 0
    begun_s = monotonic_s()
    while failures < FAILURES_MAX and monotonic_s() - begun_s < RUN_MAX_S and not stopping():
        message = _claim(connection, tells)
        if message is None:
            break
        end, why = _try(connection, webhook, clock, message)
        tells.ended(message, end, why)
        ends[end] = ends.get(end, 0) + 1
        failures = 0 if end == "delivered" else failures + 1
    return ends


def _claim(connection: Connection, tells: Tells) -> Message | None:
    """Take the next that is due. It is told of before the commit: rather twice than never."""
    values = {"token": uuid4(), "lease_s": LEASE_S}
    with connection.transaction(), connection.cursor(row_factory=class_row(Message)) as cursor:
        message = cursor.execute(_SQL["claim_event"], values).fetchone()
        if message is not None and message.tries == 1:
            tells.new(message)
    return message


def _try(
    connection: Connection, webhook: Webhook, clock: Clock, message: Message
) -> tuple[End, str]:
    body = body_of(message.payload)
    why = send(webhook, signed(webhook.key, str(message.message_id), clock(), body), body)
    values: dict[str, Any] = {"id": message.id, "token": message.token, "why": why}
    if not why:
        return _marked(connection, "event_delivered", values, "delivered"), ""
    if message.tries >= TRIES_MAX:
        return _marked(connection, "event_given_up", values, "given up"), why
    values["pause_s"] = PAUSES_S[message.tries - 1]
    return _marked(connection, "event_failed", values, "failed"), why


def _marked(connection: Connection, name: str, values: dict[str, Any], end: End) -> End:
    """Write the end down; another one's token means that our lease ended, and it is theirs now."""
    return end if connection.execute(_SQL[name], values).rowcount else "lost"
