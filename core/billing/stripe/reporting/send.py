"""Tell Stripe: many accounts side by side, each one thing at a time; what came of it is written down.

Stripe takes an event once under its identifier, for a day at least; sent again, it says that there is
one. So an unknown outcome is asked about by sending the same again. The identifier holds the
customer, the day, the number and the value: that there is one means that exactly this arrived.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row
from stripe import StripeClient

from core.billing.stripe.gateway import ANSWER_S, IN_FLIGHT_MAX, Gateway, no_meter
from core.billing.stripe.kept import is_archived
from core.billing.stripe.reporting.limits import FORGOTTEN, REPORTABLE
from core.billing.stripe.reporting.make import make_reports
from core.billing.stripe.reporting.taking_back import posting_date
from core.clock import Clock, day_of, monotonic_s
from core.db.queries import queries_beside
from core.errors import StripeAway, StripeFault, StripeRefused, StripeStopped

_SQL = queries_beside(__file__)
BATCH_MAX = 200
LEASE_S = 30 * ANSWER_S
"""Above what a batch takes at the slowest rate, with all its tries."""
LEASE_MARGIN_S = 4 * ANSWER_S
TRIES_MAX = 3
"""Of one report in one run."""
PAUSES_S = (30, 120, 600, 1_800, 3_600)
"""After each run in which a report came to nothing; the last one from then on."""
ROUNDS_MAX = 20_000
AWAY_IN_A_ROW_MAX = 20
"""Reports of a batch; then the others of it are not tried: each would wait for nothing."""
FAILED_IN_A_ROW_MAX = 3
"""Batches in which nothing arrived; then Stripe is left alone until the next run."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Claimed:
    """A report that is ours to send: `value` whole units, at `event_at` of a customer."""

    id: int
    account_no: int
    customer: str
    event_name: str
    identifier: str
    event_at: datetime
    value: int
    tries: int
    meter: str
    token: UUID
    """Of this claim."""


@dataclass
class Sent:
    """What a run did: reports accepted, to be tried again, refused; `stopped` says why it ended, or never began."""

    made: int = 0
    accepted: int = 0
    again: int = 0
    refused: int = 0
    stopped: StripeFault | None = None


@dataclass
class _Ends:
    """What came of a batch."""

    accepted: list[int] = field(default_factory=list)
    again: list[tuple[Claimed, StripeFault]] = field(default_factory=list)
    refused: list[tuple[Claimed, StripeRefused]] = field(default_factory=list)
    unheard: set[int] = field(default_factory=set)
    """Reports of which more than one try went out: what came of one says nothing of those before it."""
    stopped: StripeStopped | None = None
    away_in_a_row: int = 0

    @property
    def over(self) -> bool:
        """Whether there is nobody to be told anything more now."""
        return self.stopped is not None or self.away_in_a_row >= AWAY_IN_A_ROW_MAX


async def report_due(
    connection: Connection,
    gateway: Gateway,
    clock: Clock,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Sent:
    """Tell Stripe all that is owed and may be told, oldest day of each account first.

    A run goes in rounds: each account has one report under way. Raises nothing of Stripe's.
    """
    sent = Sent()
    failed = 0
    for _ in range(ROUNDS_MAX):
        if stopping() or sent.stopped or failed >= FAILED_IN_A_ROW_MAX:
            break
        made = make_reports(connection, clock())
        token = uuid4()
        batch = claim(connection, token, clock())
        sent.made += made
        if not batch:
            if made:
                continue  # they said less than a unit; the account's next day may say more
            break
        ends = await _send(gateway, batch, monotonic_s() + LEASE_S - LEASE_MARGIN_S)
        keep(connection, token, ends, clock())
        sent.accepted += len(ends.accepted)
        sent.again += len(ends.again)
        sent.refused += len(ends.refused)
        sent.stopped = ends.stopped
        failed = 0 if ends.accepted or ends.refused else failed + 1
    return sent


def claim(connection: Connection, token: UUID, now: datetime) -> list[Claimed]:
    """Take the next reports to be sent; from the commit on they count as maybe sent."""
    values = {
        "token": token,
        "now": now,
        "forgotten": now - FORGOTTEN,
        "oldest": day_of(now) - REPORTABLE,
        "limit": BATCH_MAX,
        "lease_s": LEASE_S,
    }
    with connection.transaction(), connection.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(_SQL["claim_reports"], values).fetchall()


async def _send(gateway: Gateway, batch: list[Claimed], until_s: float) -> _Ends:
    """Send a batch while it is ours, by the monotonic clock.

    A process that was frozen meanwhile must not send what another has sent since: weeks later, when
    Stripe forgot the identifier, an old total would replace the newer one.
    """
    ends = _Ends()
    room = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def one(report: Claimed) -> None:
        async with room:
            await one_of_few(report)

    async def one_of_few(report: Claimed) -> None:
        if ends.over or monotonic_s() > until_s:
            ends.again.append((report, StripeAway("Not sent.", maybe_done=False)))
            return
        try:
            await _tell(gateway, report, ends.unheard)
        except StripeStopped as fault:
            ends.stopped = fault
            ends.again.append((report, fault))
        except StripeRefused as fault:
            ends.refused.append((report, fault))
        except StripeAway as fault:
            ends.again.append((report, fault))
            ends.away_in_a_row += 1
            return
        else:
            ends.accepted.append(report.id)
        ends.away_in_a_row = 0

    await asyncio.gather(*(one(report) for report in batch))
    return ends


async def _tell(gateway: Gateway, report: Claimed, unheard: set[int]) -> None:
    """Send one event until it is known to have arrived.

    Each try has a key of its own: under one key Stripe would repeat a failure for a day. The
    identifier is what makes it the same event.
    """
    number = 0

    def create(client: StripeClient) -> Any:
        nonlocal number
        number += 1
        if number > 1:
            unheard.add(report.id)
        return client.v1.billing.meter_events.create_async(
            {
                "event_name": report.event_name,
                "identifier": report.identifier,
                "timestamp": int(report.event_at.timestamp()),
                "payload": {"stripe_customer_id": report.customer, "value": str(report.value)},
            },
            {"idempotency_key": f"{report.identifier}:{report.token}:{number}"},
        )

    try:
        event = await gateway.ask(create, tries_max=TRIES_MAX)
    except StripeRefused as fault:
        wrong = _by_a_wrong_clock(fault)
        if wrong:
            # It says nothing of a try before it, which was perhaps in time.
            raise StripeAway(
                f"By Stripe's clock this is {wrong}: set the clock of this machine right.",
                maybe_done=report.id in unheard,
            ) from None
        if not is_there(fault):
            if await is_archived(gateway, report.event_name):
                said = fault.message.removeprefix("Stripe refuses: ")
                raise no_meter(said, code=fault.code, request=fault.request) from None
            raise
        return
    if event.to_dict().get("identifier") != report.identifier:
        raise StripeAway("What answered is not Stripe: it names another event than the one sent.")


def _by_a_wrong_clock(fault: StripeRefused) -> str:
    """Say what is wrong with the moment of an event, or nothing: by the right time it would not be sent."""
    if fault.code == "timestamp_in_future" or "in the future" in fault.message:
        return "more than 5 minutes in the future"
    if fault.code == "timestamp_too_far_in_past":
        return "more than 35 days ago"
    return ""


def is_there(fault: StripeRefused) -> bool:
    """Say whether Stripe refuses an event because it has it; there is no code for that."""
    return "already exists with identifier" in fault.message


def keep(connection: Connection, token: UUID, ends: _Ends, now: datetime) -> None:
    """Write down what came of a batch, in one transaction."""
    with connection.transaction():
        if ends.accepted:
            values = {
                "ids": sorted(ends.accepted),
                "token": token,
                "now": now,
                "posted_on": posting_date(connection, day_of(now)),
            }
            connection.execute(_SQL["accept_reports"], values)
        if ends.again:
            _keep_again(connection, token, ends.again, now)
        for report, fault in ends.refused:
            values = {
                "id": report.id,
                "token": token,
                "error": fault.message,
                "unheard": report.id in ends.unheard,
                "now": now,
            }
            connection.execute(_SQL["refuse_report"], values)


def _keep_again(
    connection: Connection,
    token: UUID,
    again: list[tuple[Claimed, StripeFault]],
    now: datetime,
) -> None:
    connection.execute(
        _SQL["again_reports"],
        {
            "ids": [report.id for report, _ in again],
            "states": [
                "unknown" if isinstance(fault, StripeAway) and fault.maybe_done else "due"
                for _, fault in again
            ],
            "errors": [fault.message for _, fault in again],
            "pauses": [PAUSES_S[min(report.tries, len(PAUSES_S)) - 1] for report, _ in again],
            "token": token,
            "now": now,
        },
    )
