"""Disputes: a customer's bank takes a payment back, until it is won or lost."""

from datetime import timedelta
from typing import Literal

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.page import page, within
from sandbox.stripe.route import PAGING, Call, Route, owned

ANSWER_WITHIN = timedelta(days=9)
OPEN = ("needs_response", "under_review")
EVIDENCE = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
]


class Disputes:
    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/disputes", self._list, f"{PAGING} charge payment_intent created"),
            Route("GET", "/v1/disputes/{id}", self._retrieve),
            Route("POST", "/v1/disputes/{id}/close", self._close),
        ]

    def open(self, charge: Thing, amount: int | None = None, reason: str = "fraudulent") -> Thing:
        """Dispute a charge, the whole of it unless `amount` (cents) is given."""
        account = self._account
        if charge["disputed"] or charge["status"] != "succeeded":
            raise StripeError(f"Charge {charge['id']} cannot be disputed (again).")
        dispute = account.add(
            "dispute", _new_dispute(account, charge, amount or charge["amount"], reason)
        )
        account.change(charge, "charge.updated", disputed=True)
        account.emit("charge.dispute.created", dispute, None)
        account.emit("charge.dispute.funds_withdrawn", dispute, None)
        return dispute

    def close(self, dispute: Thing, outcome: Literal["won", "lost"]) -> Thing:
        account = self._account
        if dispute["status"] not in OPEN:
            raise StripeError(f"This dispute is already closed: {dispute['status']}.")
        account.change(dispute, "charge.dispute.closed", status=outcome)
        if outcome == "won":
            account.emit("charge.dispute.funds_reinstated", dispute, None)
        return dispute

    def _list(self, call: Call) -> Thing:
        form = call.form
        wanted = owned(charge=form.get("charge"), payment_intent=form.get("payment_intent"))
        found = [
            dispute
            for dispute in self._account.all("dispute")
            if wanted(dispute) and within(form, "created", dispute["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("dispute", call.id)

    def _close(self, call: Call) -> Thing:
        return self.close(self._retrieve(call), "lost")


def _new_dispute(account: Account, charge: Thing, amount: int, reason: str) -> Thing:
    return {
        "id": account.new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": account.stamp,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": int((account.at + ANSWER_WITHIN).timestamp()),
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "case_type": "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }
