"""What a person decides about an invoice: billed elsewhere, on the open day, or put right in Stripe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from core.audit.trail import record
from core.billing.stripe.bills.astray import Bill, bills_astray
from core.billing.stripe.bills.span import Asked
from core.billing.stripe.bills.unbilled import unbilled
from core.billing.stripe.bills.void import void_invoices
from core.billing.stripe.reporting.compare import count_beside
from core.billing.stripe.reporting.settle import Amount, How, require_open_day, settle_amount
from core.billing.stripe.reporting.taking_back import take_back
from core.billing.stripe.units import UNIT_NANO
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict, Unknown
from core.identity.accounts import Account, find_account
from core.identity.principal import Principal
from core.money import exact_from_nano

_SQL = queries_beside(__file__)

HowBill = Literal["outside", "open-day", "put-right"]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class SettledBill:
    """How an invoice was settled, with what amount in nano-units: None where only Stripe's side moved."""

    account: str
    currency: str
    invoice_id: str
    how: HowBill
    amount_nano: int | None


@dataclass(frozen=True)
class _Held:
    id: str
    status: str
    is_final: bool
    is_pending: bool
    under_way: bool
    first: date
    newest_day: date | None
    """Of those that it bills, and of which Stripe was told; before `first` another invoice has it."""
    open_nano: int


@dataclass(frozen=True)
class _Act:
    """Who settles what, and when."""

    payer: Account
    invoice_id: str
    by: str
    why: str
    now: datetime


def settle_bill(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    invoice: str,
    how: HowBill,
    why: str,
    now: datetime,
) -> SettledBill:
    """Settle an invoice that `stripe due` lists; it is listed no more, unless it changes.

    Outside and on the open day: what it bills otherwise than its days count, or bills no more, is
    counted as not told, and settled as a day is. Put right: Stripe gave it back, and the books stay.
    """
    principal.require_admin("settle an invoice")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    with connection.cursor(row_factory=class_row(_Held)) as cursor:
        values = {"invoice": invoice, "account_no": payer.no}
        held = cursor.execute(_SQL["invoice_held"], values).fetchone()
    if held is None:
        raise Unknown(
            f"No invoice {invoice!r} over usage of {payer.label} was fetched from Stripe:"
            " `hopsmeter stripe due` names those that wait. Nothing was changed."
        )
    found = bills_astray(connection, Asked(account_no=payer.no, invoice=invoice))
    _require_ripe(held, found, payer.label)
    act = _Act(payer, invoice, principal.actor, why, now)
    amount_nano = None
    if how == "put-right":
        _put_right(connection, act, found)
    else:
        amount_nano = _take_up(connection, act, held, found, how)
    settled = SettledBill(payer.id, payer.currency or "", invoice, how, amount_nano)
    amount = None if amount_nano is None else exact_from_nano(amount_nano)
    record(
        connection,
        principal,
        "stripe.settle",
        f"account {payer.id}",
        before={"invoice": invoice, "status": held.status, "found": [each.cause for each in found]},
        after={"invoice": invoice, "how": how, "currency": settled.currency, "amount": amount},
        why=why,
    )
    return settled


def _require_ripe(held: _Held, found: Sequence[Bill], label: str) -> None:
    """Refuse what nobody can decide yet, or needs to."""
    is_left = any(each.what == "draft" for each in found)
    if not held.is_final and not is_left:
        raise Conflict(
            f"Invoice {held.id} is a draft, and what it bills may change: void it as soon as it is"
            " final, or settle it then. Nothing was changed."
        )
    if held.under_way or (held.is_pending and not is_left):
        raise Conflict(
            f"What invoice {held.id} did not hear of is not known yet: `hopsmeter stripe report`"
            " compares it with its days, once the outcome of each report is known. Nothing was"
            " changed."
        )
    if not found:
        raise Conflict(
            f"Nobody has to decide about invoice {held.id} of {label}: `hopsmeter stripe due` names"
            " those that wait. Nothing was changed."
        )


def _put_right(connection: Connection, act: _Act, found: Sequence[Bill]) -> None:
    """Keep that a person gave back in Stripe what was billed too much, as the invoice is now."""
    whats = {each.what for each in found} - {"void", "draft"}
    if not whats and any(each.what == "draft" for each in found):
        raise Conflict(
            f"Invoice {act.invoice_id} is a draft: it bills nobody, and nothing of it can be put"
            " right. Make it final in Stripe, or say --outside if it is billed otherwise or given"
            " up, else --on-open-day. Nothing was changed."
        )
    if not whats:
        raise Conflict(
            f"Invoice {act.invoice_id} is void, and nothing of it can be put right in Stripe: say"
            " --outside if it is billed otherwise or given up, else --on-open-day. Nothing was"
            " changed."
        )
    for what in sorted(whats):
        values = {"invoice": act.invoice_id, "what": what, "by": act.by, "why": act.why}
        connection.execute(_SQL["put_right"], values)


def _take_up(
    connection: Connection, act: _Act, held: _Held, found: Sequence[Bill], how: How
) -> int:
    """Count as not told what the invoice does not bill, or as told what it bills too much; settle that."""
    whats = {each.what for each in found}
    if "void" in whats:
        units, beside = _of_void(connection, act)
    elif "draft" in whats and "twice" not in whats:
        units, beside = _of_draft(connection, act), set()
    elif "differs" in whats and "twice" not in whats:
        units = _of_difference(held, found)
        beside = {day for day in units if day < held.first}
    else:
        raise Conflict(
            f"Invoice {act.invoice_id} bills days that another one bills: give that back in Stripe,"
            " by a refund or a credit note, then say --put-right. Nothing was changed."
        )
    amount_nano = sum(units.values()) * UNIT_NANO
    if how == "open-day":
        _require_room(act, held, units, amount_nano)
        require_open_day(connection, act.payer)
    memo = f"invoice {act.invoice_id} does not bill it"
    take_back(connection, act.payer.no, units, f"late {act.invoice_id}", memo, act.now)
    for day, count in units.items():
        if day in beside:
            count_beside(connection, act.invoice_id, day, -count)
        ref = f"settled {day} {act.invoice_id} {act.now.isoformat()}"
        amount = Amount(act.payer.no, day, count * UNIT_NANO, ref, act.invoice_id)
        settle_amount(connection, amount, how, act.by, act.why, act.now)
    return amount_nano


def _of_void(connection: Connection, act: _Act) -> tuple[dict[date, int], set[date]]:
    """Return by day the units that a void invoice leaves to nobody, and which days another one has."""
    asked = Asked(account_no=act.payer.no, invoice=act.invoice_id)
    (void,) = void_invoices(connection, asked)
    units = {each.day: each.units for each in void.days}
    return units, {each.day for each in void.days if each.is_beside}


def _of_draft(connection: Connection, act: _Act) -> dict[date, int]:
    """Return by day the units on a draft that Stripe does not make final.

    One that is made final after all is compared as any other: what it bills is taken off the open day.
    """
    asked = Asked(account_no=act.payer.no, invoice=act.invoice_id)
    (left,) = unbilled(connection, asked)
    return dict(left.days)


def _of_difference(held: _Held, found: Sequence[Bill]) -> dict[date, int]:
    """Return the units that an invoice bills too few, of its newest day that was told."""
    (bill,) = found
    if bill.units_apart == 0:
        raise Conflict(
            f"Invoice {held.id} bills the units of its days, at another price: give a credit note or"
            " add an item in Stripe, then say --put-right. Nothing was changed."
        )
    if held.newest_day is None:
        raise Conflict(
            f"Of no day of invoice {held.id} Stripe was told anything, so it bills what somebody else"
            " sent: give a credit note in Stripe, then say --put-right. Nothing was changed."
        )
    return {held.newest_day: bill.units_apart}


def _require_room(act: _Act, held: _Held, units: Mapping[date, int], amount_nano: int) -> None:
    """Refuse what the open day cannot bear: Stripe bills nothing of a month below zero."""
    if day_of(act.now) in units:
        raise Conflict(
            f"Invoice {act.invoice_id} bills of the day that runs: settle it tomorrow, or say"
            " --outside. Nothing was changed."
        )
    if amount_nano < 0 and held.open_nano + amount_nano < 0:
        raise Conflict(
            f"The open month has {exact_from_nano(held.open_nano)}, and Stripe bills nothing below"
            f" zero: {exact_from_nano(-amount_nano)} cannot be taken off it yet. Wait for usage, or"
            " give a credit note in Stripe, then say --put-right. Nothing was changed."
        )
