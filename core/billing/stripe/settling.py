"""Bringing the books to what Stripe has of a payment: credited once, taken back and given back once."""

from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.billing.credits import Lot, give_back_refund, purchase, refund
from core.billing.stripe.moments import ahead_of
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
    """Credit what is paid, take back what was refunded or disputed, give back what was won or failed.

    Inside the caller's transaction; `at` is the moment before the payment was fetched. What was
    fetched shortly before what is known is a Conflict, and has to be fetched again. Returns what it came
    to, in a sentence.
    """
    if payment is None:
        return "there is no such session"
    if payment.purchase_id is None:
        return "no purchase of credits"
    row = _row(connection, payment, at)
    if row["fetched_at"] is not None and at < row["fetched_at"] <= ahead_of(at):
        raise Conflict(
            f"Purchase {row['id']} was fetched by somebody else at the same time; it has to be"
            " fetched again. Nothing was changed."
        )
    said = [f"purchase {row['id']} of {row['account_id']}: {payment.state}"]
    if payment.state == "paid" and row["entry_id"] is None:
        said.append(_credit(connection, row, payment, at))
    if row["entry_id"] is None:
        connection.execute(
            _SQL["keep_purchase"], {**_kept(row, payment, at), "state": payment.state}
        )
        return "; ".join(said)
    # What came back first: it leaves room for what holds, which together is no more than was paid.
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
    """Bring one refund or dispute to the books: while it holds, all of it is taken, as far as there is room.

    It is taken in one post, but for one that had to wait for room: a dispute of a payment whose refund
    failed later. A post is given back once; what holds again afterwards is a post of its own.
    """
    _keep_claim(connection, row, claim, at)
    known = connection.execute(
        _SQL["posted_of_claim"], {"account": row["account_no"], "claim": claim.id}
    ).fetchone()
    assert known is not None
    taken_nano, posts = known
    word = f"{claim.kind} {claim.id} ({claim.word})"
    if not claim.holds:
        if not taken_nano:
            return []
        back_nano = _give_back(connection, row, claim, posts, at)
        return [f"{word}: {text_from_nano(back_nano)} {payment.currency} given back"]
    lacking_nano = nano_of_minor(claim.minor, payment.currency) - taken_nano
    amount_nano = min(lacking_nano, row["amount_nano"] - row["refunded_nano"])
    if amount_nano > 0:
        key = _key_of(claim, posts + 1)
        return [f"{word}: {_take(connection, row, payment, claim, key, amount_nano, at)}"]
    return [] if taken_nano else [f"{word}: all of it was taken back before"]


def _key_of(claim: Claim, post: int) -> str:
    return claim.id if post == 1 else f"{claim.id}:{post}"


def _keep_claim(connection: Connection, row: dict[str, Any], claim: Claim, at: datetime) -> None:
    values = {
        "id": claim.id,
        "purchase": row["id"],
        "kind": claim.kind,
        "minor": claim.minor,
        "status": claim.word,
        "holds": claim.holds,
        "created_at": claim.created_at,
        "at": at,
    }
    connection.execute(_SQL["keep_claim"], values)


def _give_back(
    connection: Connection, row: dict[str, Any], claim: Claim, posts: int, at: datetime
) -> int:
    """Give back each post of a claim that was not given back yet; how much that was."""
    back_nano = 0
    for post in range(1, posts + 1):
        done = give_back_refund(
            connection,
            DAEMON,
            account=row["account_id"],
            refund_key=_key_of(claim, post),
            expires_on=row["lot_expires_on"],
            why=f"{claim.kind} {claim.word}",
            now=at,
        )
        back_nano += done.amount_nano if done else 0
    row["refunded_nano"] -= back_nano
    return back_nano


def _take(
    connection: Connection,
    row: dict[str, Any],
    payment: Payment,
    claim: Claim,
    key: str,
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
        key=key,
        why=f"{claim.kind} at Stripe",
        now=at,
    )
    row["refunded_nano"] += amount_nano
    said = f"{text_from_nano(amount_nano)} {payment.currency} taken back"
    if done.owed_nano:
        said += f", {text_from_nano(done.owed_nano)} of it is owed as arrears"
    return said
