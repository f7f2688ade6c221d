"""Meter events: taken in one by one, and added up as each meter says."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import hash_of, integer, required
from sandbox.stripe.meters import Meters
from sandbox.stripe.route import Call, Route
from sandbox.stripe.thin import ThinEvents

IDENTIFIER_LETTERS_MAX = 100
IDENTIFIER_KEPT = timedelta(hours=24)
PAST_DAYS_MAX = 35
FUTURE_MAX = timedelta(minutes=5)
DIGITS_MAX = 15
_WHOLE = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Reading:
    """A value as a meter took it: for which instant, and when it came."""

    at: int
    value: int
    identifier: str
    received_at: datetime


class Usage:
    """`total` is what an invoice bills; `readings` is everything that was accepted."""

    def __init__(self, account: Account, meters: Meters, thin: ThinEvents) -> None:
        self._account, self._meters, self._thin = account, meters, thin
        self._readings: dict[tuple[str, str], list[Reading]] = defaultdict(list)
        self._identifiers: dict[str, datetime] = {}

    def routes(self) -> list[Route]:
        takes = "event_name payload identifier timestamp"
        return [Route("POST", "/v1/billing/meter_events", self._take, takes)]

    def readings(self, meter_id: str, customer_id: str) -> list[Reading]:
        """Return what was accepted for a customer, in the order in which it came."""
        return list(self._readings[meter_id, customer_id])

    def forget(self, meter_id: str, identifier: str) -> None:
        """Drop what was accepted and then could not be counted."""
        for (meter, _), readings in self._readings.items():
            if meter == meter_id:
                readings[:] = [each for each in readings if each.identifier != identifier]

    def recall(self, meter_id: str, customer_id: str, readings: list[Reading]) -> None:
        """Have accepted these for a customer and nothing else: what was dropped turns up again."""
        self._readings[meter_id, customer_id] = list(readings)

    def seen(self, meter_id: str, customer_id: str) -> list[Reading]:
        """Return what is aggregated by now, as summaries show it."""
        shown_until = self._account.at - self._account.settings.aggregation_lag
        return [
            reading
            for reading in self._readings[meter_id, customer_id]
            if reading.received_at <= shown_until
        ]

    def total(self, meter_id: str, customer_id: str, start: int, end: int) -> int:
        """Return the meter's total over [start, end), of everything received so far."""
        meter = self._account.get("billing.meter", meter_id)
        return aggregate(meter, self._readings[meter_id, customer_id], start, end)

    def lock_of(self, call: Call) -> str:
        """Return what a call holds while it is carried out: one customer of one meter."""
        name = str(call.form.get("event_name"))
        meter = self._meters.of_event(name)
        key = meter["customer_mapping"]["event_payload_key"] if meter else ""
        payload = call.form.get("payload")
        customer = payload.get(key) if isinstance(payload, dict) else None
        return f"meter_event {name} {customer}"

    def _take(self, call: Call) -> Thing:
        account, form = self._account, call.form
        meter = self._meter(required(form, "event_name"))
        payload = hash_of(form, "payload")
        customer = _customer(meter, payload)
        value = _value(meter, payload)
        stamp = integer(form, "timestamp", account.stamp) or 0
        _check_time(account.at, stamp)
        identifier = self._identifier(form.get("identifier"))
        self._store(meter, customer, Reading(stamp, value, identifier, account.at))
        return {
            "object": "billing.meter_event",
            "created": account.stamp,
            "event_name": meter["event_name"],
            "identifier": identifier,
            "livemode": False,
            "payload": payload,
            "timestamp": stamp,
        }

    def _meter(self, event_name: str) -> Thing:
        meter = self._meters.of_event(event_name)
        if meter is None:
            raise StripeError(
                f"No active meter found for event name '{event_name}'.",
                code="no_meter",
                param="event_name",
            )
        if meter["status"] != "active":
            raise StripeError(
                f"The meter {meter['id']} is archived.", code="archived_meter", param="event_name"
            )
        return meter

    def _identifier(self, asked: str | None) -> str:
        """Return an identifier that was not seen in the last day, and keep it."""
        at = self._account.at
        self._prune(at)
        identifier = asked or self._account.secret(32)
        if len(identifier) > IDENTIFIER_LETTERS_MAX:
            raise StripeError(
                f"Invalid string: must be at most {IDENTIFIER_LETTERS_MAX} characters",
                param="identifier",
            )
        if identifier in self._identifiers:
            raise StripeError(
                f"An event already exists with identifier {identifier}.", should_retry=False
            )
        self._identifiers[identifier] = at
        return identifier

    def _prune(self, at: datetime) -> None:
        """Forget identifiers that are a day old; the oldest stand first."""
        while self._identifiers:
            identifier, seen_at = next(iter(self._identifiers.items()))
            if at < seen_at + IDENTIFIER_KEPT:
                break
            del self._identifiers[identifier]

    def _store(self, meter: Thing, customer: str, reading: Reading) -> None:
        known = self._account.tables["customer"].get(customer)
        if known is None or known.get("deleted"):
            self._thin.meter_error(
                meter,
                "meter_event_customer_not_found",
                f"Customer mapping key {customer} does not match an existing customer.",
                reading.identifier,
            )
            return
        self._readings[meter["id"], customer].append(reading)


def aggregate(meter: Thing, readings: list[Reading], start: int, end: int) -> int:
    """Add up a meter's readings over [start, end) of the instants that they are for."""
    if meter["event_time_window"]:
        readings = _last_received(meter["event_time_window"], readings)
    within = [reading for reading in readings if start <= reading.at < end]
    formula = meter["default_aggregation"]["formula"]
    if formula == "count":
        return len(within)
    if formula == "last":
        latest = max(within, key=lambda reading: reading.at, default=None)
        return latest.value if latest else 0
    return sum(reading.value for reading in within)


def _last_received(window: str, readings: list[Reading]) -> list[Reading]:
    """Keep the reading that was received last for each window, whatever its instant within it."""
    window_s = 86_400 if window == "day" else 3_600
    return list({reading.at // window_s: reading for reading in readings}.values())


def _customer(meter: Thing, payload: Thing) -> str:
    key = meter["customer_mapping"]["event_payload_key"]
    if not payload.get(key):
        raise StripeError(
            f"Missing required payload key '{key}'.",
            code="meter_event_no_customer_defined",
            param="payload",
        )
    return str(payload[key])


def _value(meter: Thing, payload: Thing) -> int:
    if meter["default_aggregation"]["formula"] == "count":
        return 1
    key = meter["value_settings"]["event_payload_key"]
    text = str(payload.get(key, ""))
    if not _WHOLE.fullmatch(text):
        raise StripeError(
            f"Invalid value '{text}' for payload key '{key}': only whole numbers are accepted.",
            code="meter_event_invalid_value",
            param="payload",
        )
    if len(text.lstrip("-").lstrip("0")) > DIGITS_MAX:
        raise StripeError(
            f"The value of payload key '{key}' has more than {DIGITS_MAX} digits.",
            code="meter_event_value_too_many_digits",
            param="payload",
        )
    return int(text)


def _check_time(now: datetime, stamp: int) -> None:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if stamp < (today - timedelta(days=PAST_DAYS_MAX)).timestamp():
        raise StripeError(
            f"The timestamp must be within the past {PAST_DAYS_MAX} calendar days.",
            code="timestamp_too_far_in_past",
            param="timestamp",
        )
    if stamp > (now + FUTURE_MAX).timestamp():
        raise StripeError(
            "The timestamp must not be more than 5 minutes in the future.",
            code="timestamp_in_future",
            param="timestamp",
        )
