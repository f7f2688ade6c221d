"""Invoices about which a person decides, and days on none: what is wrong with each, what it comes to, and the next step."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import psycopg

from core.billing.stripe.bills.final import FinalInvoice, final_invoices
from core.billing.stripe.bills.span import Asked
from core.billing.stripe.bills.twice import BilledTwice, billed_twice
from core.billing.stripe.bills.unbilled import Unbilled, unbilled
from core.billing.stripe.bills.void import VoidInvoice, void_invoices
from core.billing.stripe.bills.within import BegunWithin, begun_within
from core.billing.stripe.units import UNIT_NANO

What = Literal["twice", "differs", "void", "draft", "unbilled", "within"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Bill:
    """An invoice over [day, last_day] about which a person decides; or days that are on none.

    `due_nano`: what is owed of these days and on no invoice; less than nothing where Stripe bills too
    much; None where that is not known.
    """

    what: What
    invoice_id: str | None
    account_id: str
    email: str
    currency: str
    day: date
    last_day: date
    days: int
    due_nano: int | None
    cause: str
    next_step: str
    units_apart: int = 0
    """How many units its days count, and it does not bill; of one that differs."""
    by_day: tuple[tuple[date, int], ...] = ()
    """Of days that are on no invoice: each with its units."""


def bills_astray(connection: Connection, asked: Asked) -> list[Bill]:
    """Return what Stripe bills twice, otherwise than it was told, no more or not at all, and nobody settled."""
    final = final_invoices(connection, asked)
    return [
        *map(_of_twice, billed_twice(connection, asked)),
        *(_of_final(each) for each in final if each.fault and not each.is_put_right),
        *map(_of_void, void_invoices(connection, asked)),
        *map(_of_unbilled, unbilled(connection, asked)),
        *map(_of_within, begun_within(connection, asked)),
    ]


def _of_twice(found: BilledTwice) -> Bill:
    return Bill(
        "twice",
        found.other_id,
        found.account_id,
        found.email,
        found.currency,
        found.day,
        found.last_day,
        (found.last_day - found.day).days + 1,
        # What each bills of the days alone is on neither.
        None,
        found.cause,
        found.next_step,
    )


def _of_final(found: FinalInvoice) -> Bill:
    settle = f"stripe settle --invoice {found.invoice_id}"
    step = f"hopsmeter explain --invoice {found.invoice_id}; "
    if found.units != found.counted:
        step += f"{settle} --on-open-day bills the difference with the day that runs; or "
    step += f"a credit note or an item in Stripe, then {settle} --put-right"
    return Bill(
        "differs",
        found.invoice_id,
        found.account_id,
        found.email,
        found.currency,
        found.day,
        found.last_day,
        (found.last_day - found.day).days + 1,
        found.due_nano,
        found.fault,
        step,
        found.counted - found.units,
    )


def _of_void(found: VoidInvoice) -> Bill:
    return Bill(
        "void",
        found.invoice_id,
        found.account_id,
        found.email,
        found.currency,
        found.days[0].day,
        found.days[-1].day,
        len(found.days),
        found.units * UNIT_NANO,
        found.cause,
        found.next_step,
    )


def _of_unbilled(found: Unbilled) -> Bill:
    return Bill(
        "draft" if found.invoice_id else "unbilled",
        found.invoice_id,
        found.account_id,
        found.email,
        found.currency,
        found.days[0][0],
        found.days[-1][0],
        len(found.days),
        found.units * UNIT_NANO,
        found.cause,
        found.next_step,
        by_day=() if found.invoice_id else found.days,
    )


def _of_within(found: BegunWithin) -> Bill:
    return Bill(
        "within",
        None,
        found.account_id,
        found.email,
        found.currency,
        found.day,
        found.day,
        1,
        None,
        found.cause,
        found.next_step,
    )
