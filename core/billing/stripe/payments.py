"""A payment for credits as Stripe has it: its session, whether it is paid, what was taken back of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from stripe.params import DisputeListParams, RefundListParams
from stripe.params.checkout import SessionListParams

from core.billing.stripe.asking import MARK, every, id_of, instant, is_gone
from core.billing.stripe.gateway import Gateway
from core.errors import StripeRefused

if TYPE_CHECKING:
    from stripe import Dispute, Refund
    from stripe.checkout import Session

CREDITS: Final = "credits"
"""Under MARK in the metadata of a session that sells credits; PURCHASE has the number of our row."""
PURCHASE: Final = "purchase"
RETURNED: Final = frozenset({"failed", "canceled"})
"""A refund that did not arrive: the money is ours again."""
TAKEN: Final = frozenset(
    {"needs_response", "under_review", "lost", "appeal_needs_response", "appeal_under_review"}
)
"""A dispute in these states has taken the money; an inquiry has not, and one that is won gave it back."""
DECIDED: Final = ("won", "lost", "warning_closed", "prevented")
"""A dispute in these states changes no more; any other is looked at again."""

State = Literal["open", "processing", "paid", "failed", "expired"]


@dataclass(frozen=True)
class Claim:
    """A refund or a dispute; `holds` while the money is gone."""

    id: str
    kind: Literal["refund", "dispute"]
    minor: int
    holds: bool
    created_at: datetime
    word: str


@dataclass(frozen=True)
class Payment:
    """A session of Checkout in payment mode; `purchase_id` is None for one that is not ours."""

    session_id: str
    purchase_id: int | None
    customer_id: str | None
    state: State
    minor: int
    currency: str
    payment_intent_id: str | None
    url: str | None
    expires_at: datetime | None
    claims: tuple[Claim, ...] = ()


async def find_session(gateway: Gateway, session_id: str) -> Session | None:
    """Return a session with its payment intent, None where there is none."""
    try:
        return await gateway.ask(
            lambda client: client.v1.checkout.sessions.retrieve_async(
                session_id, {"expand": ["payment_intent"]}
            )
        )
    except StripeRefused as fault:
        if is_gone(fault):
            return None
        raise


async def fetch_payment(gateway: Gateway, session_id: str) -> Payment | None:
    """Fetch a session with all that was taken back of it; None where there is none."""
    found = await find_session(gateway, session_id)
    if found is None:
        return None
    intent = id_of(found.payment_intent)
    claims = await _claims(gateway, intent) if intent and ours(found) is not None else ()
    return _seen(found, claims)


async def session_of(gateway: Gateway, payment_intent_id: str) -> str | None:
    """Return the session that a payment was made in, None for one of an invoice, or by hand."""
    answer = await gateway.ask(
        lambda client: client.v1.checkout.sessions.list_async(
            {"payment_intent": payment_intent_id, "limit": 1}
        )
    )
    return answer.data[0].id if answer.data else None


async def sessions_since(gateway: Gateway, customer_id: str, since: datetime) -> list[Session]:
    """Return a customer's sessions since a moment, the newest first."""
    made_since = int(since.timestamp())
    return await every(
        gateway,
        lambda client, params: client.v1.checkout.sessions.list_async(params),
        SessionListParams(customer=customer_id, created={"gte": made_since}),
        "sessions of a customer",
    )


def ours(session: Session) -> int | None:
    """Return the number of our row by a session's metadata, None where it sells something else."""
    metadata: dict[str, Any] = session.metadata.to_dict() if session.metadata else {}
    number = str(metadata.get(PURCHASE, ""))
    is_ours = metadata.get(MARK) == CREDITS and number.isascii() and number.isdigit()
    return int(number) if is_ours else None


def _seen(found: Session, claims: tuple[Claim, ...]) -> Payment:
    return Payment(
        session_id=found.id,
        purchase_id=ours(found),
        customer_id=id_of(found.customer),
        state=_state(found),
        minor=found.amount_total or 0,
        currency=(found.currency or "").upper(),
        payment_intent_id=id_of(found.payment_intent),
        url=found.url,
        expires_at=instant(found.expires_at),
        claims=claims,
    )


def _state(found: Session) -> State:
    """Paid is what Stripe says is paid; a complete session alone may wait for days, and then fail."""
    if found.payment_status != "unpaid":
        return "paid" if found.amount_total and found.status == "complete" else _unpaid(found)
    return _unpaid(found)


def _unpaid(found: Session) -> State:
    if found.status == "expired":
        return "expired"
    if found.status != "complete":
        return "open"
    intent = found.payment_intent
    status = None if intent is None or isinstance(intent, str) else intent.status
    # A voucher is printed, and not paid at the counter yet: that is an action of its buyer.
    return "processing" if status in ("processing", "requires_action") else "failed"


async def _claims(gateway: Gateway, payment_intent_id: str) -> tuple[Claim, ...]:
    refunds = await every(
        gateway,
        lambda client, params: client.v1.refunds.list_async(params),
        RefundListParams(payment_intent=payment_intent_id),
        "refunds of a payment",
    )
    disputes = await every(
        gateway,
        lambda client, params: client.v1.disputes.list_async(params),
        DisputeListParams(payment_intent=payment_intent_id),
        "disputes of a payment",
    )
    found = [*map(_of_refund, refunds), *map(_of_dispute, disputes)]
    return tuple(sorted(found, key=lambda each: (each.created_at, each.id)))


def _of_refund(found: Refund) -> Claim:
    status = found.status or "succeeded"
    at = instant(found.created)
    assert at is not None
    return Claim(found.id, "refund", found.amount, status not in RETURNED, at, status)


def _of_dispute(found: Dispute) -> Claim:
    at = instant(found.created)
    assert at is not None
    return Claim(found.id, "dispute", found.amount, found.status in TAKEN, at, found.status)
