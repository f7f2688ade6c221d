"""What Stripe bills twice, and what it billed by an invoice that is void: cause and next step of each."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.units import UNIT_NANO
from core.books.stripe.invoices import BilledTwice, billed_twice
from core.clock import day_start
from core.db.queries import queries_beside
from core.money import exact_from_nano

_SQL = queries_beside(__file__)
EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Bill:
    """An invoice that a person has to do something about; `day` is the first that it is about."""

    account_id: str
    email: str
    day: date
    cause: str
    next_step: str


@dataclass(frozen=True)
class _Void:
    account_id: str
    email: str
    currency: str
    day: date
    invoice_id: str
    units: int


def twice(connection: Connection, since: date, limit: int) -> list[Bill]:
    """Return the days since one that two invoices bill, final or to be final."""
    return [
        Bill(each.account_id, each.email, each.day, _cause(each), _next_step(each))
        for each in billed_twice(connection, day_start(since), EVER, limit)
    ]


def void(connection: Connection, since: date, limit: int) -> list[Bill]:
    """Return the void invoices over usage since a day that no other one stands for.

    What Stripe was told of their days counts as told, and nobody is asked to pay it any more.
    """
    values = {"since": day_start(since), "limit": limit}
    with connection.cursor(row_factory=class_row(_Void)) as cursor:
        found = cursor.execute(_SQL["void_invoices"], values).fetchall()
    return [
        Bill(
            each.account_id,
            each.email,
            each.day,
            f"invoice {each.invoice_id} is void: nobody owes its {each.units} units"
            f" ({exact_from_nano(each.units * UNIT_NANO)} {each.currency}) any more",
            "bill them otherwise (an invoice by hand in Stripe), or let it be, and write why into its"
            " memo there; nothing bills them again by itself",
        )
        for each in found
    ]


def _cause(found: BilledTwice) -> str:
    said = f"invoices {found.invoice_id} and {found.other_id} both bill {found.span}"
    if found.subscription_id == found.other_subscription_id:
        return said
    return (
        f"{said}: two subscriptions with our price, {found.subscription_id or 'none'} and"
        f" {found.other_subscription_id or 'none'}"
    )


def _next_step(found: BilledTwice) -> str:
    if found.subscription_id == found.other_subscription_id:
        return _give_back(found)
    which = found.other_subscription_id
    if not found.is_own:
        which = "the one that `hopsmeter stripe accounts --json` does not name"
    return f"cancel {which} in Stripe if it lives; {_give_back(found)}"


def _give_back(found: BilledTwice) -> str:
    if not found.is_own:
        return "void the invoice that is one too many, refund it, or give a credit note"
    if found.other_status == "draft":
        return f"{found.other_id} is a draft: void it as soon as it is final"
    if found.other_status == "paid":
        return f"refund {found.other_id}, or give a credit note for these days"
    return f"void {found.other_id}, or give a credit note for these days"
