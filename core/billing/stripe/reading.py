"""What is kept of an event of Stripe's: its ids. All else is fetched, and a body may hold secrets."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from core.billing.stripe.event_types import KNOWN
from core.errors import InputFault
from core.webhooks.event import Came, Delivery

SOURCE: Final = "stripe"
_EVENT_ID: Final = re.compile(r"evt_[A-Za-z0-9_]{1,200}")
_TYPE: Final = re.compile(r"[a-z0-9_.]{1,120}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VERSION: Final = re.compile(r"[A-Za-z0-9._-]{1,60}")
_KINDS: Final = {
    "customer": "customer",
    "subscription": "subscription",
    "invoice": "invoice",
    "charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "setup_intent": "setup_intent",
    "checkout.session": "session",
}
"""By which name an object's own id is kept; the same names hold the ids of others in it."""
_NAMED: Final = tuple(name for name in _KINDS.values() if name != "session")
_SUBJECTS: Final = ("customer", "customer_before", "payment_intent", "charge", "object")

Thing = Mapping[str, Any]


def read_event(document: Any, *, live: bool, came: Came = "delivered") -> Delivery:
    """Return what is kept of an event, snapshot or thin; InputFault where it is none.

    `live` is whether our key is: events of the other mode are kept and left alone.
    """
    if not isinstance(document, Mapping):
        raise InputFault("The body is no JSON object.")
    kind = document.get("object")
    if kind not in ("event", "v2.core.event"):
        raise InputFault("The body is no event of Stripe's (its `object` says something else).")
    event_id, type_ = document.get("id"), document.get("type")
    if not _fits(event_id, _EVENT_ID) or not _fits(type_, _TYPE):
        raise InputFault("The body is no event of Stripe's (its `id` or `type` is none).")
    about = _about_thin(document) if kind == "v2.core.event" else _about_snapshot(document)
    mode, version = document.get("livemode"), document.get("api_version")
    note = _stranger(document, live=live)
    return Delivery(
        source=SOURCE,
        event_id=event_id,
        type=type_,
        subject=next((about[name] for name in _SUBJECTS if name in about), event_id),
        created_at=_instant(document.get("created")),
        about=about,
        livemode=mode if isinstance(mode, bool) else None,
        api_version=version if _fits(version, _VERSION) else None,
        note=note or (None if type_ in KNOWN else f"nothing is done for {type_}"),
        known=type_ in KNOWN and not note,
        came=came,
    )


def _stranger(document: Thing, *, live: bool) -> str:
    """Say why an event is not about what our key can see; empty where it is."""
    mode = document.get("livemode")
    if isinstance(mode, bool) and mode != live:
        ours, its = ("live", "test") if live else ("test", "live")
        return f"it is of {its} mode, and our key of {ours} mode"
    if document.get("account") or document.get("context"):
        return "it is about another account, connected to ours"
    return ""


def _about_thin(document: Thing) -> dict[str, str]:
    related = document.get("related_object")
    found = related if isinstance(related, Mapping) else {}
    return _ids({"object": found.get("id"), "object_type": _word(found.get("type"))})


def _about_snapshot(document: Thing) -> dict[str, str]:
    data = document.get("data")
    thing = data.get("object") if isinstance(data, Mapping) else None
    if not isinstance(thing, Mapping):
        raise InputFault("The body is no event of Stripe's (it has no `data.object`).")
    assert isinstance(data, Mapping)
    before = data.get("previous_attributes")
    found: dict[str, Any] = {name: thing.get(name) for name in _NAMED}
    found["subscription"] = found["subscription"] or _subscription_of(thing)
    kind = _word(thing.get("object"))
    if kind in _KINDS:
        found[_KINDS[kind]] = thing.get("id")
    found |= {"object": thing.get("id"), "object_type": kind}
    # Of a card that was detached the object names no customer any more.
    found["customer_before"] = before.get("customer") if isinstance(before, Mapping) else None
    return _ids(found)


def _subscription_of(invoice: Thing) -> Any:
    parent = invoice.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, Mapping) else None
    return details.get("subscription") if isinstance(details, Mapping) else None


def _ids(found: Mapping[str, Any]) -> dict[str, str]:
    """Keep what is an id, of what may also be the whole object that it names."""
    bare = {
        name: value.get("id") if isinstance(value, Mapping) else value
        for name, value in found.items()
    }
    return {
        name: value
        for name, value in bare.items()
        if value and (name == "object_type" or _fits(value, _ID))
    }


def _word(value: Any) -> str:
    return value if _fits(value, _TYPE) else ""


def _fits(value: Any, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _instant(value: Any) -> datetime | None:
    """Read seconds (snapshot) or RFC 3339 (thin); None for what is neither."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None
    return None
