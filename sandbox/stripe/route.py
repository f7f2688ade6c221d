"""Which noun answers a method and path, and what it takes."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe.account import Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import Form

_PLACE = re.compile(r"\{(\w+)\}")
EITHER = frozenset({"created"})
"""An instant, or a hash of bounds."""
HASHES = frozenset(
    [
        "address",
        "bill_for",
        "billing_cycle_anchor",
        "billing_cycle_anchor_config",
        "billing_details",
        "billing_mode",
        "cancellation_details",
        "card",
        "customer_mapping",
        "default_aggregation",
        "invoice_creation",
        "invoice_settings",
        "metadata",
        "pause_collection",
        "payload",
        "payment_intent_data",
        "payment_settings",
        "recurring",
        "sepa_debit",
        "setup_intent_data",
        "value_settings",
        "webhook_endpoint",
    ]
)
LISTS = frozenset(
    [
        "enabled_events",
        "events_from",
        "expand",
        "ids",
        "include",
        "items",
        "line_items",
        "lookup_keys",
        "payment_method_types",
        "types",
    ]
)
"""What no parameter of these names is otherwise; all others are plain values."""
PAGING = "limit starting_after ending_before"


@dataclass(frozen=True)
class Call:
    """A request, read: its form (query or body), and the names in its path."""

    method: str
    path: str
    form: Form
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.names["id"]


Answer = Callable[[Call], Thing]


class Route:
    """`Route("POST", "/v1/things/{id}", answer, "name metadata")`: the words are what it takes."""

    def __init__(self, method: str, path: str, answer: Answer, takes: str = "") -> None:
        self.method, self.path, self.answer = method, path, answer
        self.takes = frozenset(takes.split()) | {"expand"}
        self._pattern = re.compile(_PLACE.sub(r"(?P<\1>[^/]+)", path))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        found = self._pattern.fullmatch(path) if method == self.method else None
        return found.groupdict() if found else None

    def check(self, form: Form) -> None:
        unknown = sorted(set(form) - self.takes)
        if unknown:
            raise StripeError(
                f"Received unknown parameter: {unknown[0]}"
                " (or one that the sandbox does not imitate)",
                code="parameter_unknown",
                param=unknown[0],
            )
        for name, value in form.items():
            _check_shape(name, value)


def _check_shape(name: str, value: Any) -> None:
    """Refuse a hash where a word is meant, and the other way round; nothing at all passes."""
    if value == "" or name in EITHER:
        return
    meant: type = str
    word = "string"
    if name in HASHES:
        meant, word = dict, "hash"
    elif name in LISTS:
        meant, word = list, "array"
    if not isinstance(value, meant):
        raise StripeError(f"Invalid {word}: {value}", code=f"parameter_invalid_{word}", param=name)


def find_route(routes: Iterable[Route], method: str, path: str, form: Form) -> tuple[Route, Call]:
    """Return the route of a request and the call to hand to it."""
    for route in routes:
        names = route.match(method, path)
        if names is not None:
            return route, Call(method, path, form, names)
    raise StripeError(
        f"Unrecognized request URL ({method}: {path}). The sandbox does not imitate it.",
        status=404,
    )


def owned(**fixed: Any) -> Callable[[Thing], bool]:
    """Return a filter: the fields given must be equal; those that are None or "" are no matter."""
    wanted = {name: value for name, value in fixed.items() if value not in (None, "")}
    return lambda thing: all(thing.get(name) == value for name, value in wanted.items())
