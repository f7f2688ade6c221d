"""Snapshot events: what happened, kept thirty days, and who has been told of it."""

import fnmatch
import json
from typing import Literal

from sandbox.stripe.account import Account, Thing, copied
from sandbox.stripe.deliveries import Deliveries
from sandbox.stripe.endpoints import Endpoints
from sandbox.stripe.errors import missing_object
from sandbox.stripe.form import boolean, list_of
from sandbox.stripe.page import page, within
from sandbox.stripe.route import PAGING, Call, Route

TYPES_MAX = 20

Told = Literal["pending", "delivered", "failed"]


class Events:
    """Each change of an object becomes an event, listed and sent to the endpoints that want it."""

    def __init__(self, account: Account, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self._account, self._endpoints, self._deliveries = account, endpoints, deliveries
        self._told: dict[str, dict[str, Told]] = {}
        account.emit = self.emit
        deliveries.on_outcome = self._record

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/events", self._list, f"{PAGING} type types created delivery_success"),
            Route("GET", "/v1/events/{id}", self._retrieve),
        ]

    def emit(self, kind: str, thing: Thing, previous: Thing | None = None) -> Thing:
        account = self._account
        data: Thing = {"object": copied(thing)}
        if previous:
            data["previous_attributes"] = previous
        event: Thing = {
            "id": account.new_id("evt"),
            "object": "event",
            "api_version": account.settings.api_version,
            "created": account.stamp,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {
                "id": account.cause.request_id,
                "idempotency_key": account.cause.idempotency_key,
            },
            "type": kind,
        }
        account.add("event", event)
        self._send(event)
        return event

    def send_again(self, event_id: str) -> None:
        """Deliver an event once more to everybody who wants it, as the dashboard's button does."""
        self._send(self._account.get("event", event_id))

    def _send(self, event: Thing) -> None:
        wanting = self._endpoints.wanting("snapshot", event["type"])
        told = self._told.setdefault(event["id"], {})
        told |= {endpoint["id"]: "pending" for endpoint in wanting}
        self._count(event)
        for endpoint in wanting:
            version = endpoint.get("api_version") or event["api_version"]
            body = json.dumps(event | {"api_version": version}, indent=2).encode()
            self._deliveries.send(endpoint["id"], event["id"], event["type"], body)

    def _record(self, endpoint_id: str, event_id: str, delivered: bool) -> None:
        event = self._account.tables["event"].get(event_id)
        if event is None:
            return
        told = self._told[event_id]
        if told.get(endpoint_id) != "delivered":
            told[endpoint_id] = "delivered" if delivered else "failed"
        self._count(event)

    def _count(self, event: Thing) -> None:
        told = self._told[event["id"]]
        event["pending_webhooks"] = sum(state != "delivered" for state in told.values())

    def _kept(self, event: Thing) -> bool:
        oldest = self._account.at - self._account.settings.events_kept
        return bool(event["created"] >= oldest.timestamp())

    def _list(self, call: Call) -> Thing:
        types = [str(one) for one in list_of(call.form, "types")[:TYPES_MAX]]
        types = types or [call.form.get("type", "*")]
        asked = call.form.get("delivery_success")
        success = boolean(call.form, "delivery_success")
        found = [
            event
            for event in self._account.all("event")
            if self._kept(event)
            and any(fnmatch.fnmatch(event["type"], kind) for kind in types)
            and within(call.form, "created", event["created"])
            and (asked is None or (event["pending_webhooks"] == 0) == success)
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        event = self._account.get("event", call.id)
        if not self._kept(event):
            raise missing_object("event", call.id)
        return event
