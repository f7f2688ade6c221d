"""The types of events that an endpoint asks Stripe for; any other is kept, counted and left alone."""

from typing import Final

SNAPSHOT: Final = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
    "payment_method.attached",
    "payment_method.detached",
    "payment_method.automatically_updated",
    "customer.updated",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.created",
    "invoice.finalized",
    "invoice.finalization_failed",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.marked_uncollectible",
    "invoice.voided",
    "invoice.overdue",
    "charge.refunded",
    "charge.refund.updated",
    "refund.failed",
    "refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
)
"""They bring the object, as it was; an endpoint of webhooks is made with them."""
THIN: Final = (
    "v1.billing.meter.error_report_triggered",
    "v1.billing.meter.no_meter_found",
)
"""They bring ids alone; an event destination of its own is made with them."""
KNOWN: Final = frozenset((*SNAPSHOT, *THIN))
