"""Webhook endpoints (v1) and event destinations (v2): where events are sent, under which secrets."""

from datetime import datetime, timedelta
from typing import Any, Literal

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.form import boolean, list_of, merge_metadata, required
from sandbox.stripe.page import page
from sandbox.stripe.route import PAGING, Call, Route

ROLL_KEPT = timedelta(hours=24)
SECRET_LETTERS = 32

Payload = Literal["snapshot", "thin"]


class Endpoints:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._secrets: dict[str, list[tuple[str, datetime | None]]] = {}

    def routes(self) -> list[Route]:
        v1, v2 = "/v1/webhook_endpoints", "/v2/core/event_destinations"
        return [
            Route("POST", v1, self._create, "url enabled_events api_version description metadata"),
            Route("GET", v1, self._list, PAGING),
            Route("GET", v1 + "/{id}", self._retrieve),
            Route(
                "POST",
                v1 + "/{id}",
                self._update,
                "url enabled_events disabled description metadata",
            ),
            Route("DELETE", v1 + "/{id}", self._delete),
            Route(
                "POST",
                v2,
                self._create_destination,
                "name type event_payload enabled_events webhook_endpoint include description"
                " events_from metadata snapshot_api_version",
            ),
            Route("GET", v2, self._list_destinations, "limit page include"),
            Route("GET", v2 + "/{id}", self._retrieve_destination, "include"),
            Route("DELETE", v2 + "/{id}", self._delete_destination),
        ]

    def wanting(self, payload: Payload, event_type: str) -> list[Thing]:
        """Return the enabled endpoints and destinations that asked for events of this type."""
        found = [*self._account.all("webhook_endpoint")] if payload == "snapshot" else []
        found += [
            one
            for one in self._account.all("v2.core.event_destination")
            if one["event_payload"] == payload
        ]
        return [
            one
            for one in found
            if one["status"] == "enabled"
            and ("*" in one["enabled_events"] or event_type in one["enabled_events"])
        ]

    def address(self, name: str) -> str | None:
        """Return the URL of an endpoint, None once it is disabled or deleted."""
        tables = self._account.tables
        one = tables["webhook_endpoint"].get(name) or tables["v2.core.event_destination"].get(name)
        if one is None or one["status"] != "enabled":
            return None
        return str(one["url"] if "url" in one else one["webhook_endpoint"]["url"])

    def secrets(self, name: str) -> list[str]:
        """Return the secrets that sign now, the newest first; several while one is rolled."""
        now = self._account.at
        return [
            secret
            for secret, until_at in self._secrets.get(name, [])
            if until_at is None or now < until_at
        ]

    def roll(self, name: str, kept: timedelta = ROLL_KEPT) -> str:
        """Make a new secret; the old ones sign beside it for as long as they are kept."""
        until_at = self._account.at + kept
        old = [(secret, until or until_at) for secret, until in self._secrets[name]]
        fresh = self._new_secret()
        self._secrets[name] = [(fresh, None), *old]
        return fresh

    def _new_secret(self) -> str:
        return f"whsec_{self._account.secret(SECRET_LETTERS)}"

    def _create(self, call: Call) -> Thing:
        form, account = call.form, self._account
        url, events = required(form, "url"), list_of(form, "enabled_events")
        _check_url(url)
        if not events:
            raise missing_param("enabled_events")
        endpoint = account.add(
            "webhook_endpoint",
            {
                "id": account.new_id("we"),
                "object": "webhook_endpoint",
                "api_version": form.get("api_version"),
                "application": None,
                "created": account.stamp,
                "description": form.get("description"),
                "enabled_events": events,
                "livemode": False,
                "metadata": merge_metadata({}, form),
                "status": "enabled",
                "url": url,
            },
        )
        secret = self._new_secret()
        self._secrets[endpoint["id"]] = [(secret, None)]
        return endpoint | {"secret": secret}

    def _list(self, call: Call) -> Thing:
        return page(self._account, call, self._account.all("webhook_endpoint"))

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("webhook_endpoint", call.id)

    def _update(self, call: Call) -> Thing:
        form, endpoint = call.form, self._retrieve(call)
        disabled = boolean(form, "disabled", endpoint["status"] == "disabled")
        endpoint |= {
            "url": form.get("url") or endpoint["url"],
            "enabled_events": list_of(form, "enabled_events") or endpoint["enabled_events"],
            "status": "disabled" if disabled else "enabled",
            "description": form.get("description", endpoint["description"]),
            "metadata": merge_metadata(endpoint["metadata"], form),
        }
        return endpoint

    def _delete(self, call: Call) -> Thing:
        self._retrieve(call)
        del self._account.tables["webhook_endpoint"][call.id]
        return {"id": call.id, "object": "webhook_endpoint", "deleted": True}

    def _create_destination(self, call: Call) -> Thing:
        form, account = call.form, self._account
        for name in ("name", "type", "event_payload", "enabled_events"):
            required(form, name)
        if form["type"] != "webhook_endpoint":
            raise StripeError("The sandbox delivers to webhook endpoints only.", param="type")
        url = (form.get("webhook_endpoint") or {}).get("url") or ""
        _check_url(url)
        at = instant_text(account.at)
        destination = account.add(
            "v2.core.event_destination",
            {
                "id": account.new_id("ed"),
                "object": "v2.core.event_destination",
                "created": at,
                "description": form.get("description") or "",
                "enabled_events": list(form["enabled_events"]),
                "event_payload": form["event_payload"],
                "events_from": ["@self"],
                "livemode": False,
                "metadata": form.get("metadata") or {},
                "name": form["name"],
                "status": "enabled",
                "type": "webhook_endpoint",
                "updated": at,
                "webhook_endpoint": {"url": url},
            },
        )
        if form["event_payload"] == "snapshot":
            version = form.get("snapshot_api_version") or account.settings.api_version
            destination["snapshot_api_version"] = destination["api_version"] = version
        secret = self._new_secret()
        self._secrets[destination["id"]] = [(secret, None)]
        return _shown(destination, form, secret)

    def _list_destinations(self, call: Call) -> Thing:
        found = self._account.all("v2.core.event_destination")[::-1]
        return {
            "data": [_shown(one, call.form) for one in found],
            "next_page_url": None,
            "previous_page_url": None,
        }

    def _retrieve_destination(self, call: Call) -> Thing:
        return _shown(self._account.get("v2.core.event_destination", call.id), call.form)

    def _delete_destination(self, call: Call) -> Thing:
        self._account.get("v2.core.event_destination", call.id)
        del self._account.tables["v2.core.event_destination"][call.id]
        return {"id": call.id, "object": "v2.core.event_destination"}


def _check_url(url: Any) -> None:
    if not str(url).startswith(("http://127.0.0.1", "http://localhost")):
        raise StripeError("Invalid URL: the sandbox delivers to loopback only.", param="url")


def _shown(destination: Thing, form: Thing, secret: str | None = None) -> Thing:
    """Leave out what v2 shows only on `include`, and the secret after its first showing."""
    include = form.get("include") or []
    hook: Thing = {}
    if "webhook_endpoint.url" in include:
        hook["url"] = destination["webhook_endpoint"]["url"]
    if "webhook_endpoint.signing_secret" in include and secret:
        hook["signing_secret"] = secret
    shown = {name: value for name, value in destination.items() if name != "api_version"}
    return shown | {"webhook_endpoint": hook or None} if hook else _without_hook(shown)


def _without_hook(shown: Thing) -> Thing:
    return {name: value for name, value in shown.items() if name != "webhook_endpoint"}


def instant_text(at: datetime) -> str:
    """Return an instant as v2 writes it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
