"""The sandbox Stripe's part of the world's control endpoint: /sandbox/stripe/…."""

import dataclasses
import inspect
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sandbox.stripe.errors import StripeError
from sandbox.stripe.faults import fault_from_json
from sandbox.stripe.people import People
from sandbox.wire import Request

if TYPE_CHECKING:
    from sandbox.stripe.world import StripeWorld

SWITCHES = ("doubled", "shuffled", "delay_s", "paused")
EXCHANGES_SHOWN = 1_000

Handlers = dict[tuple[str, str], Callable[[Request], Any]]


class StripeControl:
    """What `POST /sandbox/stripe/do` takes is a method of People, and its arguments by name."""

    def __init__(self, stripe: "StripeWorld") -> None:
        self._stripe = stripe

    def handlers(self) -> Handlers:
        path = "/sandbox/stripe"
        return {
            ("GET", path): lambda _: self.describe(),
            ("POST", f"{path}/do"): self._do,
            ("GET", f"{path}/objects"): self._objects,
            ("GET", f"{path}/requests"): self._requests,
            ("GET", f"{path}/faults"): self._faults,
            ("POST", f"{path}/faults"): self._add_fault,
            ("DELETE", f"{path}/faults"): self._remove_faults,
            ("GET", f"{path}/settings"): lambda _: self._settings(),
            ("POST", f"{path}/settings"): self._set,
            ("GET", f"{path}/deliveries"): self._deliveries,
            ("POST", f"{path}/deliveries"): self._deliver,
            ("POST", f"{path}/catch_up"): lambda _: {"done": self._stripe.catch_up()},
        }

    def describe(self) -> dict[str, Any]:
        return {
            "url": self._stripe.url,
            "api_key": self._stripe.api_key,
            "api_version": self._stripe.settings.api_version,
            "actions": actions(),
        }

    def _do(self, request: Request) -> Any:
        data = json.loads(request.body)
        name = data.pop("action", "")
        if name not in actions():
            raise ValueError(f"nobody does {name!r}; people do {', '.join(actions())}")
        try:
            return getattr(self._stripe.people, name)(**data)
        except StripeError as error:
            raise ValueError(error.message) from None

    def _objects(self, request: Request) -> list[dict[str, Any]]:
        return self._stripe.all(request.first("kind"))

    def _requests(self, request: Request) -> list[dict[str, Any]]:
        path = request.first("path")
        found = [one for one in self._stripe.api.exchanges if one.path.startswith(path)]
        return [
            {
                "at": one.at.isoformat(),
                "method": one.method,
                "path": one.path,
                "form": one.form,
                "status": one.status,
                "replayed": one.replayed,
                "fault": one.fault,
            }
            for one in found[-EXCHANGES_SHOWN:]
        ]

    def _faults(self, _request: Request) -> list[dict[str, Any]]:
        return [
            {"id": number, "taken": taken, **fault.as_json()}
            for number, fault, taken in self._stripe.faults.all()
        ]

    def _add_fault(self, request: Request) -> dict[str, int]:
        return {"id": self._stripe.faults.add(fault_from_json(json.loads(request.body)))}

    def _remove_faults(self, request: Request) -> dict[str, str]:
        number = request.first("id")
        if number:
            self._stripe.faults.remove(int(number))
        else:
            self._stripe.faults.clear()
        return {"removed": number or "all"}

    def _settings(self) -> dict[str, Any]:
        return {
            name: _plain(value) for name, value in dataclasses.asdict(self._stripe.settings).items()
        }

    def _set(self, request: Request) -> dict[str, Any]:
        """Set what is named; durations in seconds (`invoice_grace`, `retry_after`, …)."""
        settings = self._stripe.settings
        for name, value in json.loads(request.body).items():
            if not hasattr(settings, name):
                raise ValueError(f"there is no setting {name!r}")
            setattr(settings, name, _like(getattr(settings, name), value))
        return self._settings()

    def _deliveries(self, _request: Request) -> dict[str, Any]:
        deliveries = self._stripe.deliveries
        switches = {name: getattr(deliveries, name) for name in SWITCHES}
        attempts = list(deliveries.log)[-EXCHANGES_SHOWN:]
        return switches | {
            "outstanding": deliveries.outstanding,
            "attempts": [dataclasses.asdict(one) | {"at": one.at.isoformat()} for one in attempts],
        }

    def _deliver(self, request: Request) -> dict[str, Any]:
        """Take switches, `drop` ({"times", "kind", "believed"}), and true for `flush`, `reset`."""
        data, deliveries = json.loads(request.body), self._stripe.deliveries
        if data.pop("reset", False):
            deliveries.reset()
        for name in SWITCHES:
            if name in data:
                setattr(deliveries, name, data.pop(name))
        if "drop" in data:
            deliveries.drop(**data.pop("drop"))
        if data.pop("flush", False):
            deliveries.flush()
        if data:
            raise ValueError(f"deliveries know no {', '.join(data)}")
        return {"outstanding": deliveries.outstanding}


def actions() -> list[str]:
    """Return what people do: the public methods of People."""
    return [name for name, _ in inspect.getmembers(People, inspect.isfunction) if name[0] != "_"]


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _like(known: Any, value: Any) -> Any:
    if isinstance(known, timedelta):
        return timedelta(seconds=value)
    if isinstance(known, tuple):
        return tuple(_like(known[0], entry) if known else entry for entry in value)
    return value
