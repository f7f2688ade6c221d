"""Billing meters: what is counted, of whom, and how; fixed once made, but for their names."""

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import hash_of, one_of, required
from sandbox.stripe.page import page
from sandbox.stripe.route import PAGING, Call, Route, owned

EVENT_NAME_LETTERS_MAX = 100
NAME_LETTERS_MAX = 250


class Meters:
    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        path = "/v1/billing/meters"
        return [
            Route(
                "POST",
                path,
                self._create,
                "display_name event_name default_aggregation customer_mapping value_settings"
                " event_time_window",
            ),
            Route("GET", path, self._list, f"{PAGING} status"),
            Route("GET", path + "/{id}", self._retrieve),
            Route("POST", path + "/{id}", self._update, "display_name"),
            Route("POST", path + "/{id}/deactivate", self._deactivate),
            Route("POST", path + "/{id}/reactivate", self._reactivate),
        ]

    def of_event(self, event_name: str) -> Thing | None:
        """Return the active meter that takes events of this name, else an inactive one."""
        found = [m for m in self._account.all("billing.meter") if m["event_name"] == event_name]
        active = [meter for meter in found if meter["status"] == "active"]
        return next(iter(active or found), None)

    def _create(self, call: Call) -> Thing:
        account, form = self._account, call.form
        event_name = _at_most(required(form, "event_name"), "event_name", EVENT_NAME_LETTERS_MAX)
        display_name = _at_most(required(form, "display_name"), "display_name", NAME_LETTERS_MAX)
        aggregation = hash_of(form, "default_aggregation")
        formula = one_of(aggregation, "formula", ("count", "last", "sum"))
        known = self.of_event(event_name)
        if known and known["status"] == "active":
            raise StripeError(
                f"An active meter with event name '{event_name}' already exists: {known['id']}.",
                code="resource_already_exists",
                param="event_name",
            )
        mapping, values = hash_of(form, "customer_mapping"), hash_of(form, "value_settings")
        window = form.get("event_time_window") or None
        meter: Thing = {
            "id": account.new_id("mtr_test"),
            "object": "billing.meter",
            "created": account.stamp,
            "customer_mapping": {
                "event_payload_key": mapping.get("event_payload_key", "stripe_customer_id"),
                "type": one_of(mapping, "type", ("by_id",), "by_id"),
            },
            "default_aggregation": {
                "formula": required({"default_aggregation[formula]": formula}, _FORMULA)
            },
            "display_name": display_name,
            "event_name": event_name,
            "event_time_window": one_of({"event_time_window": window}, _WINDOW, ("day", "hour")),
            "livemode": False,
            "status": "active",
            "status_transitions": {"deactivated_at": None},
            "updated": account.stamp,
            "value_settings": {"event_payload_key": values.get("event_payload_key", "value")},
        }
        account.add("billing.meter", meter)
        account.emit("billing.meter.created", meter, None)
        return meter

    def _list(self, call: Call) -> Thing:
        wanted = owned(status=call.form.get("status"))
        return page(
            self._account, call, [m for m in self._account.all("billing.meter") if wanted(m)]
        )

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("billing.meter", call.id)

    def _update(self, call: Call) -> Thing:
        meter = self._retrieve(call)
        name = _at_most(required(call.form, "display_name"), "display_name", NAME_LETTERS_MAX)
        return self._account.change(
            meter, "billing.meter.updated", display_name=name, updated=self._account.stamp
        )

    def _deactivate(self, call: Call) -> Thing:
        return self._turn(call, "inactive", "billing.meter.deactivated")

    def _reactivate(self, call: Call) -> Thing:
        return self._turn(call, "active", "billing.meter.reactivated")

    def _turn(self, call: Call, status: str, event: str) -> Thing:
        meter, at = self._retrieve(call), self._account.stamp
        if meter["status"] == status:
            raise StripeError(f"The meter is already {status}.")
        return self._account.change(
            meter,
            event,
            status=status,
            updated=at,
            status_transitions={"deactivated_at": at if status == "inactive" else None},
        )


_FORMULA, _WINDOW = "default_aggregation[formula]", "event_time_window"


def _at_most(text: str, name: str, letters: int) -> str:
    if len(text) > letters:
        raise StripeError(
            f"Invalid string: {text[:20]}...; must be at most {letters} characters", param=name
        )
    return text
