"""Bringing the books to what Stripe has of a payment: credited once, taken back and given back once."""

from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.billing.credits import Lot, give_back_refund, purchase, refund
from core.billing.stripe.payments import Claim, Payment
from core.billing.stripe.units import nano_of_minor
from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.principal import DAEMON
from core.money import text_from_nano

_SQL = queries_beside(__file__)
Connection = psycopg.Connection[Any]


def settle_payment(connection: Connection, payment: Payment | None, at: datetime) -> str:
    """Credit what is paid, take back what was refunded or disputed, give back what was won.

    Inside the caller's transaction; `at` is the moment before the payment was fetched. What was
    fetched earlier than what is known changes nothing. Returns what it came to, in a sentence.
    """
    if payment is None:
        return "there is no such session"
    if payment.purchase_id is None:
        return "no purchase of credits"
    row = _row(connection, payment, at)
    if row["fetched_at"] is not None and row["fetched_at"] > at:
        return f"purchase {row['id']} is known of a later moment"
    said = [f"purchase {row['id']} of {row['account_id']}: {payment.state}"]
    if payment.state == "paid" and row["entry_id"] is None:
        said.append(_credit(connection, row, payment, at))
    if row["entry_id"] is None:
        connection.execute(
            _SQL["keep_purchase"], {**_kept(row, payment, at), "state": payment.state}
        )
        return "; ".join(said)
    # What came back first: a payment that was won back may have been refunded since, which Stripe
    # does not do while a dispute holds it.
    for claim in sorted(payment.claims, key=lambda each: each.holds):
        said += _claim(connection, row, payment, claim, at)
    connection.execute(_SQL["keep_purchase"], {**_kept(row, payment, at), "state": "paid"})
    return "; ".join(said)


def _kept(row: dict[str, Any], payment: Payment, at: datetime) -> dict[str, Any]:
    return {
        "id": row["id"],
        "session": payment.session_id,
        "intent": payment.payment_intent_id,
        "until": payment.expires_at,
        "amount_nano": row["amount_nano"],
        "entry": row["entry_id"],
        "refunded": row["refunded_nano"],
        "at": at,
    }


def _row(connection: Connection, payment: Payment, at: datetime) -> dict[str, Any]:
    """Return the purchase of a session, ours alone until this ends.

    A second session of a purchase, made after the first one's answer was lost, is a purchase of its
    own: whoever pays both gets both.
    """
    values = {
        "session": payment.session_id,
        "purchase": payment.purchase_id,
        "customer": payment.customer_id,
        "currency": payment.currency,
        "minor": payment.minor,
        "at": at,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        for query in ("purchase_of_session", "purchase_without_session"):
            row = cursor.execute(_SQL[query], values).fetchone()
            if row is not None:
                return row
        cursor.execute(_SQL["another_session"], values)
        row = cursor.execute(_SQL["purchase_of_session"], values).fetchone()
    if row is None:
        raise Conflict(
            f"The session {payment.session_id} sells credits, and its customer"
            f" {payment.customer_id} is no account of this installation: refund it at Stripe, or link"
            f" the account (`hopsmeter stripe link … --customer {payment.customer_id}`)."
        )
    return row


def _credit(connection: Connection, row: dict[str, Any], payment: Payment, at: datetime) -> str:
    amount_nano = nano_of_minor(payment.minor, payment.currency)
    expires_on: date | None = row["lot_expires_on"]
    late = expires_on is not None and expires_on <= day_of(at)
    done = purchase(
        connection,
        DAEMON,
        account=row["account_id"],
        # Paid days later than asked for, its date may be past: whoever paid gets what he paid for.
        lot=Lot(amount_nano, None if late else expires_on),
        currency=payment.currency,
        key=payment.session_id,
        why="bought at Stripe",
        now=at,
    )
    entry = connection.execute(
        _SQL["entry_of_ref"], {"account": row["account_no"], "ref": payment.session_id}
    ).fetchone()
    assert entry is not None
    row["entry_id"], row["amount_nano"] = entry[0], amount_nano
    said = f"{text_from_nano(amount_nano)} {payment.currency} credited"
    if done.repaid_nano:
        said += f", {text_from_nano(done.repaid_nano)} of them repay arrears"
    return f"{said}, without a date: the one asked for is past" if late else said


def _claim(
    connection: Connection, row: dict[str, Any], payment: Payment, claim: Claim, at: datetime
) -> list[str]:
    """Bring one refund or dispute to the books; each once, and together no more than was paid."""
    known = connection.execute(
        _SQL["posted_of_claim"], {"account": row["account_no"], "ref": claim.id}
    ).fetchone()
    assert known is not None
    posted_nano, returned = known
    word = f"{claim.kind} {claim.id} ({claim.word})"
    if claim.holds and not posted_nano:
        wanted_nano = nano_of_minor(claim.minor, payment.currency)
        amount_nano = min(wanted_nano, row["amount_nano"] - row["refunded_nano"])
        if amount_nano <= 0:
            return [f"{word}: all of it was taken back before"]
        return [f"{word}: {_take(connection, row, payment, claim, amount_nano, at)}"]
    if not claim.holds and posted_nano and not returned:
        give_back_refund(
            connection,
            DAEMON,
            account=row["account_id"],
            refund_key=claim.id,
            expires_on=row["lot_expires_on"],
            why=f"{claim.kind} {claim.word}",
            now=at,
        )
        row["refunded_nano"] -= posted_nano
        return [f"{word}: {text_from_nano(posted_nano)} {payment.currency} given back"]
    return []


def _take(
    connection: Connection,
    row: dict[str, Any],
    payment: Payment,
    claim: Claim,
    amount_nano: int,
    at: datetime,
) -> str:
    lot = connection.execute(_SQL["lot_of_entry"], {"entry": row["entry_id"]}).fetchone()
    assert lot is not None, "a purchase that is credited has a lot"
    done = refund(
        connection,
        DAEMON,
        account=row["account_id"],
        amount_nano=amount_nano,
        lot=lot[0],
        key=claim.id,
        why=f"{claim.kind} at Stripe",
        now=at,
    )
    row["refunded_nano"] += amount_nano
    said = f"{text_from_nano(amount_nano)} {payment.currency} taken back"
    if done.owed_nano:
        said += f", {text_from_nano(done.owed_nano)} of it is owed as arrears"
    return said
