"""Thin events (v2): the two by which a meter tells of what it could not count."""

import json

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.deliveries import Deliveries
from sandbox.stripe.endpoints import Endpoints, instant_text
from sandbox.stripe.errors import missing_object
from sandbox.stripe.route import Call, Route

ERROR_REPORT = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"
LISTED_MAX = 100
SAMPLES_MAX = 5
NOTIFIED = ("id", "object", "type", "created", "livemode", "related_object", "reason")


class ThinEvents:
    """Errors gather, and are told of together at the agenda's next turn, after the lag."""

    def __init__(self, account: Account, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self._account, self._endpoints, self._deliveries = account, endpoints, deliveries
        self._errors: dict[str, list[tuple[str, str, str]]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/core/events", self._list, "limit page object_id types created"),
            Route("GET", "/v2/core/events/{id}", self._retrieve),
        ]

    def meter_error(self, meter: Thing, code: str, message: str, identifier: str) -> None:
        """Note that a meter could not count an event that was accepted before."""
        account = self._account
        waiting = self._errors.setdefault(meter["id"], [])
        if not waiting:
            due_at = account.at + account.settings.aggregation_lag
            account.agenda.plan(due_at, lambda: self._report(meter))
        waiting.append((code, message, identifier))

    def no_meter_found(self, event_name: str, identifier: str) -> Thing:
        """Tell that events came for which there is no meter."""
        sample = (("no_meter", f"No meter found for event name {event_name}.", identifier),)
        return self._emit(NO_METER, list(sample), None)

    def _report(self, meter: Thing) -> None:
        self._emit(ERROR_REPORT, self._errors.pop(meter["id"]), meter)

    def _emit(self, kind: str, errors: list[tuple[str, str, str]], meter: Thing | None) -> Thing:
        account = self._account
        at = instant_text(account.at)
        codes = sorted({code for code, _, _ in errors})
        event: Thing = {
            "id": account.new_id("evt_test"),
            "object": "v2.core.event",
            "type": kind,
            "created": at,
            "livemode": False,
            "data": {
                "developer_message_summary": f"There is {len(errors)} invalid event",
                "reason": {
                    "error_count": len(errors),
                    "error_types": [_error_type(code, errors) for code in codes],
                },
                "validation_start": at,
                "validation_end": at,
            },
        }
        if meter:
            event["related_object"] = {
                "id": meter["id"],
                "type": "billing.meter",
                "url": f"/v1/billing/meters/{meter['id']}",
            }
        account.add("v2.core.event", event)
        self._send(event)
        return event

    def _send(self, event: Thing) -> None:
        told = {name: event[name] for name in NOTIFIED if name in event}
        body = json.dumps(told).encode()
        for destination in self._endpoints.wanting("thin", event["type"]):
            self._deliveries.send(destination["id"], event["id"], event["type"], body)

    def _retrieve(self, call: Call) -> Thing:
        event = self._account.tables["v2.core.event"].get(call.id)
        if event is None:
            raise missing_object("event", call.id)
        return event

    def _list(self, call: Call) -> Thing:
        types, about = call.form.get("types") or [], call.form.get("object_id")
        found = [
            event
            for event in self._account.all("v2.core.event")[::-1]
            if (not types or event["type"] in types)
            and (not about or event.get("related_object", {}).get("id") == about)
        ]
        return {
            "data": found[:LISTED_MAX],
            "next_page_url": None,
            "previous_page_url": None,
        }


def _error_type(code: str, errors: list[tuple[str, str, str]]) -> Thing:
    of_code = [(message, identifier) for found, message, identifier in errors if found == code]
    return {
        "code": code,
        "error_count": len(of_code),
        "sample_errors": [
            {"error_message": message, "request": {"identifier": identifier}}
            for message, identifier in of_code[:SAMPLES_MAX]
        ],
    }
