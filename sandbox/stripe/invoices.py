"""Invoices: drafted when a period ends, finalised after the grace, voided, written off."""

from collections import defaultdict
from datetime import timedelta

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.collection import Collection
from sandbox.stripe.errors import StripeError
from sandbox.stripe.invoice_shape import (
    Billed,
    new_invoice,
    sale_line,
    stamp,
    subscription_parent,
    usage_line,
)
from sandbox.stripe.page import list_object
from sandbox.stripe.payments import MINIMUM_CENTS
from sandbox.stripe.usage import Usage

OTHER_GRACE = timedelta(hours=1)
"""Of invoices that are no cycle's; the account's setting is for those of cycles."""
LINES_SHOWN = 10


class Invoices:
    """From draft to open; what becomes of open ones is in `collection`."""

    def __init__(self, account: Account, usage: Usage, collection: Collection) -> None:
        self._account, self._usage, self._collection = account, usage, collection
        self._billed: dict[str, Billed] = {}
        self._lines: dict[str, list[Thing]] = {}
        self.stuck: set[str] = set()
        """Invoices whose finalisation fails, by the next try alone."""
        self._by_subscription: dict[str, list[Thing]] = defaultdict(list)

    def draft(
        self, billed: Billed, reason: str, *, auto_advance: bool = True, at_once: bool = False
    ) -> Thing:
        """Make a subscription's invoice for usage in [start, end); `at_once` skips the grace."""
        account, subscription = self._account, billed.subscription
        invoice = self._bare(billed, reason)
        invoice["auto_advance"] = auto_advance
        account.add("invoice", invoice)
        self._billed[invoice["id"]] = billed
        self._by_subscription[subscription["id"]].append(invoice)
        self.refresh(invoice)
        grace = account.settings.invoice_grace if reason == "subscription_cycle" else OTHER_GRACE
        if auto_advance and not at_once:
            due_at = account.at + grace
            invoice["automatically_finalizes_at"] = int(due_at.timestamp())
            account.agenda.plan(due_at, lambda: self._finalize_if_due(invoice))
        account.emit("invoice.created", invoice, None)
        account.change(subscription, latest_invoice=invoice["id"])
        if at_once:
            self.finalize(invoice)
        return invoice

    def preview(self, billed: Billed) -> Thing:
        """Return what the invoice would be now; nothing is kept of it."""
        invoice = self._bare(billed, "upcoming")
        invoice["id"] = invoice["id"].replace("in_", "upcoming_in_")
        self._fill(invoice, self._usage_lines(invoice, billed))
        return invoice

    def receipt(
        self,
        customer: Thing,
        sold: list[tuple[Thing, int, str]],
        intent: Thing,
        metadata: dict[str, str],
    ) -> Thing:
        """Make the paid invoice of a checkout: (price, quantity, description) a line."""
        account = self._account
        invoice = new_invoice(account, customer, "manual", account.stamp, account.stamp)
        invoice |= {
            "auto_advance": False,
            "currency": intent["currency"],
            "metadata": dict(metadata),
        }
        account.add("invoice", invoice)
        lines = [
            sale_line(account.new_id("il"), invoice, price, quantity, description)
            for price, quantity, description in sold
        ]
        self._fill(invoice, lines)
        account.emit("invoice.created", invoice, None)
        self._open(invoice)
        self._collection.add_payment(invoice, intent)
        self._collection.mark_paid(invoice)
        return invoice

    def lines(self, invoice: Thing) -> list[Thing]:
        self.refresh(invoice)
        return self._lines[invoice["id"]]

    def refresh(self, invoice: Thing) -> Thing:
        """Bring a draft up to what its meters say; a finalised invoice stays as it is."""
        billed = self._billed.get(invoice["id"])
        if billed and invoice["status"] == "draft" and self._takes(invoice, billed):
            self._fill(invoice, self._usage_lines(invoice, billed))
        return invoice

    def _takes(self, invoice: Thing, billed: Billed) -> bool:
        """Say whether a draft still hears of usage: always while it is made, or its subscription lives."""
        ended = billed.subscription["status"] == "canceled"
        is_new = invoice["id"] not in self._lines
        return is_new or not ended or self._account.settings.ended_drafts_take

    def finalize(self, invoice: Thing) -> Thing:
        if invoice["status"] != "draft":
            raise StripeError(
                "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
                code="invoice_not_editable",
            )
        self.refresh(invoice)
        if invoice["id"] in self.stuck:
            return self._fail_to_finalize(invoice)
        self._open(invoice)
        if invoice["amount_due"] == 0:
            self._collection.mark_paid(invoice)
        elif invoice["collection_method"] == "send_invoice":
            self._account.emit("invoice.sent", invoice, None)
            self._plan_overdue(invoice)
        elif invoice["auto_advance"]:
            self._collection.attempt(invoice)
        return invoice

    def void(self, invoice: Thing) -> Thing:
        self._require(invoice, "open", "uncollectible")
        return self._end(invoice, "void", "voided_at", "invoice.voided")

    def mark_uncollectible(self, invoice: Thing) -> Thing:
        self._require(invoice, "open")
        return self._end(
            invoice,
            "uncollectible",
            "marked_uncollectible_at",
            "invoice.marked_uncollectible",
        )

    def of_subscription(self, subscription_id: str) -> list[Thing]:
        return list(self._by_subscription[subscription_id])

    def _bare(self, billed: Billed, reason: str) -> Thing:
        account, subscription = self._account, billed.subscription
        customer = account.tables["customer"][subscription["customer"]]
        invoice = new_invoice(account, customer, reason, billed.start, billed.end)
        return invoice | {
            "collection_method": subscription["collection_method"],
            "currency": subscription["currency"],
            "parent": subscription_parent(subscription),
        }

    def _usage_lines(self, invoice: Thing, billed: Billed) -> list[Thing]:
        old = self._lines.get(invoice["id"], [])
        lines = []
        for at, item in enumerate(billed.subscription["items"]["data"]):
            name = old[at]["id"] if at < len(old) else self._account.new_id("il")
            lines.append(
                usage_line(name, invoice["id"], item, billed, self._quantity(item, billed))
            )
        return lines

    def _quantity(self, item: Thing, billed: Billed) -> int:
        meter = item["price"]["recurring"]["meter"]
        if meter is None:
            return int(item["quantity"]) if billed.start < billed.end else 0
        customer = billed.subscription["customer"]
        # A cycle whose total is negative bills nothing, and carries nothing over.
        return max(0, self._usage.total(meter, customer, billed.start, billed.end))

    def _fill(self, invoice: Thing, lines: list[Thing]) -> None:
        total = sum(line["amount"] for line in lines)
        self._lines[invoice["id"]] = lines
        path = f"/v1/invoices/{invoice['id']}/lines"
        more = len(lines) > LINES_SHOWN
        invoice["lines"] = list_object(path, lines[:LINES_SHOWN], has_more=more)
        names = ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax")
        invoice |= dict.fromkeys(names, total)
        invoice |= {"amount_due": total, "amount_remaining": total}

    def _finalize_if_due(self, invoice: Thing) -> None:
        if invoice["status"] == "draft" and invoice["auto_advance"]:
            self.finalize(invoice)

    def _fail_to_finalize(self, invoice: Thing) -> Thing:
        self.stuck.discard(invoice["id"])
        invoice["last_finalization_error"] = {
            "code": "customer_tax_location_invalid",
            "message": "The customer's location isn't recognized.",
            "type": "invalid_request_error",
        }
        self._account.emit("invoice.finalization_failed", invoice, None)
        return invoice

    def _open(self, invoice: Thing) -> None:
        """Give a draft its number, and the balance that the customer brought along."""
        account = self._account
        customer = account.tables["customer"].get(invoice["customer"], {})
        number = customer.get("next_invoice_sequence", 1)
        # A receipt is for what was paid; balances are a matter of invoices that ask for something.
        asks = invoice["id"] in self._billed
        balance = customer.get("balance", 0) if asks else 0
        due = max(0, invoice["total"] + balance)
        # What is too small to charge is owed with the next invoice.
        left = due if due < MINIMUM_CENTS and asks else 0
        if customer and not customer.get("deleted"):
            customer["next_invoice_sequence"] = number + 1
            customer["balance"] += left - balance
        invoice |= {
            "amount_due": due - left,
            "amount_remaining": due - left,
            "automatically_finalizes_at": None,
            "effective_at": account.stamp,
            "ending_balance": left,
            "starting_balance": balance,
            "hosted_invoice_url": f"https://invoice.stripe.com/i/{invoice['id']}",
            "invoice_pdf": f"https://pay.stripe.com/invoice/{invoice['id']}/pdf",
            "number": f"{customer.get('invoice_prefix', 'GONE')}-{number:04d}",
            "status": "open",
        }
        stamp(invoice, "finalized_at", account.stamp)
        account.emit("invoice.finalized", invoice, None)

    def _plan_overdue(self, invoice: Thing) -> None:
        days = self._billed[invoice["id"]].subscription["days_until_due"] or 30
        due_at = self._account.at + timedelta(days=days)
        invoice["due_date"] = int(due_at.timestamp())

        def overdue() -> None:
            if invoice["status"] == "open":
                self._account.emit("invoice.overdue", invoice, None)
                self._collection.on_failed(invoice)

        self._account.agenda.plan(due_at, overdue)

    def _end(self, invoice: Thing, status: str, instant: str, event: str) -> Thing:
        invoice |= {"status": status, "next_payment_attempt": None}
        stamp(invoice, instant, self._account.stamp)
        self._account.emit(event, invoice, None)
        return invoice

    def _require(self, invoice: Thing, *statuses: str) -> None:
        if invoice["status"] not in statuses:
            raise StripeError(
                f"The invoice is {invoice['status']}; it must be {' or '.join(statuses)}.",
                code="invoice_not_editable",
            )
