"""Where the SDK (2026-10-28.endive) has moved on from the description (2026-05-27.dahlia).

The SDK wins. Each row is a fault that the description finds, and why it is none.
"""

DIFFERENCES: dict[str, str] = {
    "POST /v1/subscriptions/{id}/pause: no such path": "pausing by API came with endive",
    "POST /v1/subscriptions/{subscription}/resume.billing_cycle_anchor: dict is no string": (
        "endive takes an object, {type: now}, where dahlia took the word"
    ),
    "POST /v1/subscriptions/{subscription}/resume.billing_cycle_anchor:"
    " {'type': 'unchanged'} is not on the list": "the same, seen by the list of words",
    "POST /v1/webhook_endpoints.api_version: '2026-10-28.endive' is not on the list": (
        "dahlia cannot know its successor"
    ),
    "dispute.evidence_details.submission_method: not described": "came with endive",
    "dispute.payment_method_details.card.network: not described": "came with endive",
    "price.recurring.trial_period_days: not described": "the SDK still reads it",
    "product.type: not described": "the SDK still counts on it",
    "subscription.status_details: not described": "came with endive, with pausing",
    "subscription_item.plan: not described": "the SDK still counts on it",
}
