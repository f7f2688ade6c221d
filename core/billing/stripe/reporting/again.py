"""What a person says about a day of which Stripe says something else: told again, or found to be there."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from core.audit.trail import record
from core.billing.stripe.fetch import LOOK_BACK
from core.billing.stripe.reporting.decide import COUNTED_AFTER, arrived, lost
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.reporting.missing import Heard, missing
from core.billing.stripe.reporting.taking_back import Has, take_back
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
    """A day that is told again: how many units it accepted, how many Stripe says it has, and `due` it makes."""

    account: str
    day: date
    accepted: int
    said: int
    due: int


@dataclass(frozen=True)
class _Day:
    """What is known of a day, and what forbids to tell it again."""

    said: int | None
    fetched_at: datetime | None
    counted: int
    meter: str
    billed_from: datetime | None
    is_past: bool
    elsewhere: bool
    shared_id: str | None
    accepted: int
    under_way: bool
    final_id: str | None
    accepted_at: datetime | None


Outcome = Literal["arrived", "told anew", "given up"]


@dataclass(frozen=True)
class Decided:
    """Whose report it was, and what became of it."""

    account: str
    outcome: Outcome


def tell_again(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date,
    why: str,
    now: datetime,
) -> Again:
    """Write down what Stripe says it has of a day; what it lacks of it counts as told no more.

    The next run tells it: of a daily meter the day's total anew, of a sum the difference, which may be
    negative. What had been taken back already, since a subscription ended uninvoiced, is due no more.
    """
    principal.require_admin("have a day told to Stripe again")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    values = {"account_no": payer.no, "day": day}
    with connection.cursor(row_factory=class_row(_Day)) as cursor:
        found = cursor.execute(_SQL["said_of_day"], values).fetchone()
    # Of a customer that was deleted nothing can be fetched any more.
    if found is None or (found.said is None and not found.elsewhere):
        raise Conflict(f"{_unknown(found, day, payer.label, day_of(now))} Nothing was changed.")
    refusal = _refusal(found, day, payer.label)
    if refusal:
        raise Conflict(f"{refusal} Nothing was changed.")
    assert found.said is not None
    due = _write_down(connection, payer.no, day, found, now)
    record(
        connection,
        principal,
        "stripe.again",
        f"account {payer.id}",
        before={"day": str(day), "units": found.accepted},
        after={"day": str(day), "units": found.said},
        why=why,
    )
    return Again(payer.id, day, found.accepted, found.said, due)


def _unknown(found: _Day | None, day: date, label: str, today: date) -> str:
    """Say why it is not known what Stripe has of a day; fetching helps with few of them."""
    if day > today:
        return f"{day} is still to come."
    if found is None or found.accepted_at is None:
        return (
            f"Stripe took no report of {day} for {label}: what is due of it is in `hopsmeter stripe due"
            " --all`."
        )
    if day < today - LOOK_BACK:
        return f"Stripe is asked about the last {LOOK_BACK.days} days, and {day} is before them."
    return (
        f"It is not known what Stripe has of {day} for {label}: have it fetched first with `hopsmeter stripe"
        " reconcile --fetch`."
    )


def _refusal(found: _Day, day: date, label: str) -> str:
    """Say why a day is not told again, or nothing."""
    if found.elsewhere:
        return (
            f"{day} was told to a customer that was deleted, and no invoice takes any more of it. What is"
            " billed to nobody comes into `hopsmeter stripe due` by itself, within three hours: settle it with"
            " `hopsmeter stripe settle`."
        )
    if found.said == found.accepted:
        return f"Of {day} Stripe has what it accepted, {found.said} units."
    at = found.accepted_at
    if at is not None and found.fetched_at is not None and found.fetched_at < at + LAG:
        return (
            f"What Stripe has of {day} was fetched before it can have counted the report that it"
            f" accepted at {at.astimezone(UTC):%Y-%m-%d %H:%MZ}: from {(at + LAG).astimezone(UTC):%H:%MZ}"
            " on, have it fetched by `hopsmeter stripe reconcile --fetch`, then say it again."
        )
    if found.under_way:
        return f"A report of {label} is under way or refused; wait for its outcome, or unpark the account."
    if found.final_id:
        return (
            f"{day} is on invoice {found.final_id}, which is final: what is told of it now bills nobody."
            " Compare the invoice instead."
        )
    if found.shared_id:
        return (
            f"{day} is on invoice {found.shared_id}, the last of a subscription that ended within it, and"
            " no other is to bill it. What it does not bill is due by itself once it is final, or it is"
            " listed by `hopsmeter stripe due`."
        )
    return ""


def _write_down(
    connection: Connection, account_no: int, day: date, found: _Day, now: datetime
) -> int:
    """Write down what Stripe has, for the instant of what it lacks; return how many units are due of it."""
    values = {
        "account_no": account_no,
        "day": day,
        "since": None if found.is_past else found.billed_from,
    }
    rows = connection.execute(_SQL["heard_of_day"], values).fetchall()
    heard = [Heard(value, own) for value, own, _ in rows]
    assert found.said is not None
    lacks = missing(heard, found.meter, said=found.said, counted=found.counted)
    if not rows or lacks is None:
        raise Conflict(
            f"It cannot be seen what of {day} Stripe has otherwise: look at the customer's events there."
            " What its invoice bills otherwise than it was told is listed by `hopsmeter stripe due` once"
            " that is final. Nothing was changed."
        )
    event_at = max(at for _, own, at in rows if own == lacks.own)
    has = Has(found.said if found.meter == "daily" else -lacks.units, event_at)
    memo = f"Stripe had {found.said} of {found.accepted} units"
    ref = f"again {now.isoformat()}"
    take_back(connection, account_no, {day: lacks.due}, ref, memo, now, has=has)
    return lacks.due


def decide(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date,
    has_arrived: bool,
    why: str,
    now: datetime,
) -> Decided:
    """Say of a report whose outcome nobody knows whether it arrived.

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
    outcome = None if row is None else _outcome(connection, row, has_arrived, now)
    if outcome is None:
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
    return Decided(payer.id, outcome)


def _outcome(
    connection: Connection, found: tuple[Any, ...], has_arrived: bool, now: datetime
) -> Outcome | None:
    """Decide it; None where another has it in hand."""
    report_id, tries, is_over, counted_at = found
    if has_arrived:
        return "arrived" if arrived(connection, report_id, tries, now) else None
    if counted_at is not None and now < counted_at:
        raise Conflict(
            "What Stripe shows of this day may not show the last try of its report yet: look again,"
            f" and say it, from {counted_at.astimezone(UTC):%Y-%m-%d %H:%MZ} on. Nothing was changed."
        )
    if not lost(connection, report_id, tries, now, is_over=is_over):
        return None
    return "given up" if is_over else "told anew"
