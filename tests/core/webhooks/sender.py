"""What Stripe sends: bodies and signatures, as a test wants them."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from core.billing.stripe.gateway import API_VERSION
from core.clock import utc_now

SECRET = "whsec_thirty_two_letters_of_a_test_secret"
LIMIT_S = 20.0


def snapshot(
    event_id: str = "evt_1",
    kind: str = "invoice.paid",
    *,
    thing: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a snapshot event, by default of an invoice of customer cus_1."""
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_1",
        "parent": {"subscription_details": {"subscription": "sub_1"}},
        "confirmation_secret": {"client_secret": "in_1_secret_hush"},
    }
    data: dict[str, Any] = {"object": thing or invoice}
    if before is not None:
        data["previous_attributes"] = before
    return {
        "id": event_id,
        "object": "event",
        "api_version": API_VERSION,
        "created": int(utc_now().timestamp()),
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "type": kind,
        **changes,
    }


def thin(event_id: str = "evt_test_1", **changes: Any) -> dict[str, Any]:
    """Return the notification of a thin event: a meter could not count."""
    return {
        "id": event_id,
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-03-01T12:00:00.000Z",
        "livemode": False,
        "related_object": {
            "id": "mtr_1",
            "type": "billing.meter",
            "url": "/v1/billing/meters/mtr_1",
        },
        **changes,
    }


def bytes_of(event: Any) -> bytes:
    return json.dumps(event).encode()


def signature(body: bytes, *, secret: str = SECRET, at: datetime | None = None) -> str:
    stamp = int((at or utc_now()).timestamp())
    code = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={code}"


@dataclass(frozen=True)
class Sender:
    """Sends to one endpoint, signed rightly unless it is told otherwise."""

    url: str

    def send(self, event: Any, *, header: str | None = None) -> httpx.Response:
        """Post an event, or bytes as they are."""
        body = event if isinstance(event, bytes) else bytes_of(event)
        return self.post(body, {"Stripe-Signature": header or signature(body)})

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.post(self.url, content=body, headers=headers or {}, timeout=LIMIT_S)
