"""What a person says about a day of which Stripe says something else: told again, or found to be there."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from core.audit.trail import record
from core.billing.stripe.reporting.decide import COUNTED_AFTER, arrived, lost
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.reporting.taking_back import take_back
from core.billing.stripe.summaries import LAG
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.accounts import find_account
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Again:
    """A day that is told again: how many units it accepted, and how many Stripe says it has."""

    account: str
    day: date
    accepted: int
    said: int


def tell_again(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date,
    why: str,
    now: datetime,
) -> Again:
    """Count as reported of a day what Stripe says it has; the next run tells it the rest.

    Of a daily meter that is the day's total anew, of a sum the difference, which may be negative.
    """
    principal.require_admin("have a day told to Stripe again")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    values = {"account_no": payer.no, "day": day}
    row = connection.execute(_SQL["said_of_day"], values).fetchone()
    if row is None or row[0] is None:
        raise Conflict(
            f"It is not known what Stripe has of {day} for {payer.label}: have it fetched first with"
            " `hopsmeter stripe reconcile --fetch`. Nothing was changed."
        )
    said, fetched_at, accepted, under_way, invoice_id, accepted_at = row
    if said == accepted:
        raise Conflict(f"Of {day} Stripe has what it accepted, {said} units. Nothing was changed.")
    if accepted_at is not None and fetched_at < accepted_at + LAG:
        raise Conflict(
            f"What Stripe has of {day} was fetched before it can have counted the report that it"
            f" accepted at {accepted_at.astimezone(UTC):%Y-%m-%d %H:%MZ}: from"
            f" {(accepted_at + LAG).astimezone(UTC):%H:%MZ} on, have it fetched by `hopsmeter stripe"
            " reconcile --fetch`, then say it again. Nothing was changed."
        )
    if under_way:
        raise Conflict(
            f"A report of {payer.label} is under way or refused; wait for its outcome, or unpark the"
            " account. Nothing was changed."
        )
    if invoice_id:
        raise Conflict(
            f"{day} is on invoice {invoice_id}, which is final: what is told of it now bills nobody."
            " Compare the invoice instead. Nothing was changed."
        )
    memo = f"Stripe had {said} of {accepted} units"
    take_back(connection, payer.no, {day: accepted - said}, f"again {now.isoformat()}", memo, now)
    record(
        connection,
        principal,
        "stripe.again",
        f"account {payer.id}",
        before={"day": str(day), "units": accepted},
        after={"day": str(day), "units": said},
        why=why,
    )
    return Again(payer.id, day, accepted, said)


def decide(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date,
    has_arrived: bool,
    why: str,
    now: datetime,
) -> str:
    """Say of a report whose outcome nobody knows whether it arrived; return the account's id.

    One that did not is told anew, or where Stripe refuses it, or takes nothing of its day any more,
    given up: its day is due again. That it did not nobody can see before Stripe's sums have its last try.
    """
    principal.require_admin("say what became of a report")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    values = {
        "account_no": payer.no,
        "day": day,
        "oldest": day_of(now) - REPORTABLE,
        "counted_after": COUNTED_AFTER,
    }
    row = connection.execute(_SQL["undecided_report"], values).fetchone()
    if row is None or not _is_decided(connection, row, has_arrived, now):
        raise Conflict(
            f"No report of {payer.label} for {day} waits for a word, or it is being sent right now:"
            " see `hopsmeter stripe due --all`. Nothing was changed."
        )
    record(
        connection,
        principal,
        "stripe.decide",
        f"account {payer.id}",
        after={"day": str(day), "arrived": has_arrived},
        why=why,
    )
    return payer.id


def _is_decided(
    connection: Connection, found: tuple[Any, ...], has_arrived: bool, now: datetime
) -> bool:
    report_id, tries, is_over, counted_at = found
    if has_arrived:
        return arrived(connection, report_id, tries, now)
    if counted_at is not None and now < counted_at:
        raise Conflict(
            "What Stripe shows of this day may not show the last try of its report yet: look again,"
            f" and say it, from {counted_at.astimezone(UTC):%Y-%m-%d %H:%MZ} on. Nothing was changed."
        )
    return lost(connection, report_id, tries, now, is_over=is_over)
