"""Refunds: money given back, whole or in parts, by API or in the dashboard; some fail days later."""

from datetime import timedelta

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.form import integer, merge_metadata, one_of
from sandbox.stripe.page import page, within
from sandbox.stripe.payment_methods import DELAYED
from sandbox.stripe.route import PAGING, Call, Route, owned

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
ARRIVES_AFTER = timedelta(days=5)
"""When a refund that is pending has arrived, unless somebody decides it before."""


class Refunds:
    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST", "/v1/refunds", self._create, "charge payment_intent amount reason metadata"
            ),
            Route("GET", "/v1/refunds", self._list, f"{PAGING} charge payment_intent created"),
            Route("GET", "/v1/refunds/{id}", self._retrieve),
        ]

    def give_back(
        self,
        charge: Thing,
        amount: int | None = None,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
        *,
        pending: bool = False,
    ) -> Thing:
        """Refund a charge, the whole rest unless `amount` (cents) is given.

        To a bank account, or where it is to be `pending`, it is so until it arrives or fails.
        """
        account = self._account
        left = charge["amount_captured"] - charge["amount_refunded"]
        if charge["status"] != "succeeded" or not left:
            raise StripeError(
                f"Charge {charge['id']} has already been refunded.",
                code="charge_already_refunded",
            )
        cents = left if amount is None else amount
        if not 0 < cents <= left:
            raise StripeError(
                f"Refund amount ({cents}) is greater than unrefunded amount on charge ({left})",
                param="amount",
            )
        refund = account.add("refund", _new_refund(account, charge, cents, reason, metadata or {}))
        if pending or charge["payment_method_details"]["type"] == DELAYED:
            refund |= {"status": "pending", "pending_reason": "processing"}
            account.agenda.plan(account.at + ARRIVES_AFTER, lambda: self._arrive_if_pending(refund))
        refunded = charge["amount_refunded"] + cents
        account.emit("refund.created", refund, None)
        account.change(
            charge,
            "charge.refunded",
            amount_refunded=refunded,
            refunded=refunded == charge["amount"],
        )
        return refund

    def arrive(self, refund: Thing) -> Thing:
        """Let a pending refund reach the payer's bank, which may still send it back."""
        self._require(refund, "pending")
        self._tell(refund, status="succeeded")
        return refund

    def fail(self, refund: Thing, reason: str = "unknown") -> Thing:
        """Let the payer's bank send the money back: it is the account's again, for good."""
        self._require(refund, "pending", "succeeded")
        self._end(refund, "failed", reason)
        self._account.emit("refund.failed", refund, None)
        return refund

    def cancel(self, refund: Thing) -> Thing:
        """Cancel a refund that is still pending."""
        self._require(refund, "pending")
        self._end(refund, "canceled", "merchant_request")
        return refund

    def _end(self, refund: Thing, status: str, reason: str) -> None:
        charge = self._account.get("charge", refund["charge"])
        charge |= {
            "amount_refunded": charge["amount_refunded"] - refund["amount"],
            "refunded": False,
        }
        self._tell(
            refund,
            status=status,
            failure_reason=reason,
            failure_balance_transaction=self._account.new_id("txn"),
        )

    def _tell(self, refund: Thing, **values: str) -> None:
        """Change a refund, and tell of it under both names that Stripe has for that."""
        previous = {name: refund.get(name) for name in (*values, "pending_reason")}
        refund.pop("pending_reason", None)
        refund |= values
        for kind in ("refund.updated", "charge.refund.updated"):
            self._account.emit(kind, refund, previous)

    def _arrive_if_pending(self, refund: Thing) -> None:
        if refund["status"] == "pending":
            self.arrive(refund)

    def _require(self, refund: Thing, *statuses: str) -> None:
        if refund["status"] not in statuses:
            raise StripeError(
                f"The refund is {refund['status']}; it must be {' or '.join(statuses)}."
            )

    def _create(self, call: Call) -> Thing:
        form, account = call.form, self._account
        name = form.get("charge")
        if not name:
            if not form.get("payment_intent"):
                raise missing_param("charge")
            intent = account.named("payment_intent", form["payment_intent"], "payment_intent")
            name = intent["latest_charge"] or ""
        charge = account.named("charge", name, "charge")
        reason = one_of(form, "reason", REASONS)
        return self.give_back(charge, integer(form, "amount"), reason, merge_metadata({}, form))

    def _list(self, call: Call) -> Thing:
        form = call.form
        wanted = owned(charge=form.get("charge"), payment_intent=form.get("payment_intent"))
        found = [
            refund
            for refund in self._account.all("refund")
            if wanted(refund) and within(form, "created", refund["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("refund", call.id)


def _new_refund(
    account: Account, charge: Thing, cents: int, reason: str | None, metadata: dict[str, str]
) -> Thing:
    return {
        "id": account.new_id("re"),
        "object": "refund",
        "amount": cents,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.stamp,
        "currency": charge["currency"],
        "destination_details": _destination(charge),
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _destination(charge: Thing) -> Thing:
    if charge["payment_method_details"]["type"] == DELAYED:
        return {"type": DELAYED}
    return {
        "card": {
            "reference_status": "pending",
            "reference_type": "acquirer_reference_number",
            "type": "refund",
        },
        "type": "card",
    }
