"""What most tests sell: metered usage at a micro-dollar a unit, by the month."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from stripe import Invoice, StripeClient, Subscription

EVENT = "hopsmeter_usage"
DAY_S = 86_400


@dataclass
class Shop:
    client: StripeClient
    now: Callable[[], datetime]
    window: str | None = "day"
    unit_amount_decimal: Decimal = Decimal("0.0001")
    event_name: str = EVENT
    sent: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        v1 = self.client.v1
        meter: Any = {
            "display_name": "Usage",
            "event_name": self.event_name,
            "default_aggregation": {"formula": "sum"},
        }
        if self.window:
            meter["event_time_window"] = self.window
        self.meter = v1.billing.meters.create(meter).id
        self.price = v1.prices.create(
            {
                "currency": "usd",
                "product": v1.products.create({"name": "Usage"}).id,
                "unit_amount_decimal": self.unit_amount_decimal,
                "recurring": {"interval": "month", "usage_type": "metered", "meter": self.meter},
            }
        ).id

    def customer(self) -> str:
        return self.client.v1.customers.create({"name": "Ada", "email": "ada@example.org"}).id

    def subscribe(self, customer: str) -> Subscription:
        """Subscribe by calendar months (UTC)."""
        return self.client.v1.subscriptions.create(
            {
                "customer": customer,
                "items": [{"price": self.price}],
                "billing_cycle_anchor_config": {
                    "day_of_month": 1,
                    "hour": 0,
                    "minute": 0,
                    "second": 0,
                },
            }
        )

    def use(self, customer: str, value: int, at: datetime | None = None, name: str = "") -> str:
        """Send a meter event; return its identifier."""
        self.sent += 1
        identifier = name or f"event-{self.sent}"
        self.client.v1.billing.meter_events.create(
            {
                "event_name": self.event_name,
                "payload": {"stripe_customer_id": customer, "value": str(value)},
                "identifier": identifier,
                "timestamp": int((at or self.now()).timestamp()),
            }
        )
        return identifier

    def total(self, customer: str, day: datetime) -> float:
        """Return what the summaries say of a UTC day."""
        start = int(day.replace(tzinfo=UTC).timestamp()) // DAY_S * DAY_S
        found = self.client.v1.billing.meters.event_summaries.list(
            self.meter, {"customer": customer, "start_time": start, "end_time": start + DAY_S}
        )
        return found.data[0].aggregated_value

    def invoices(self, subscription: str) -> list[Invoice]:
        """The invoices of cycles, the newest first."""
        found = self.client.v1.invoices.list({"subscription": subscription, "limit": 100})
        return [one for one in found.data if one.billing_reason == "subscription_cycle"]
