"""What is kept of an event of Stripe's: its ids. All else is fetched, and a body may hold secrets."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

import msgspec
from msgspec import Struct

from core.billing.stripe.event_types import KNOWN
from core.errors import InputFault
from core.webhooks.event import Came, Delivery

SOURCE: Final = "stripe"
SNAPSHOT_KIND, THIN_KIND = "event", "v2.core.event"
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
_SUBJECTS: Final = ("customer", "customer_before", "payment_intent", "charge", "object")


class Thing(Struct, frozen=True):
    """Of an object its ids, whatever they turn out to be; the rest of it is not even built."""

    id: Any = None
    object: Any = None
    type: Any = None
    customer: Any = None
    subscription: Any = None
    invoice: Any = None
    charge: Any = None
    payment_intent: Any = None
    payment_method: Any = None
    setup_intent: Any = None
    parent: Any = None


class Data(Struct, frozen=True):
    object: Thing | None = None
    previous_attributes: Any = None


class Letter(Struct, frozen=True):
    """An event, snapshot (`data`) or thin (`related_object`)."""

    id: Any = None
    object: Any = None
    type: Any = None
    created: Any = None
    livemode: Any = None
    api_version: Any = None
    account: Any = None
    context: Any = None
    data: Data | None = None
    related_object: Thing | None = None


_LETTERS: Final = msgspec.json.Decoder(Letter)


def read_body(body: bytes, *, live: bool, digest: bytes, our_version: str) -> Delivery:
    """Return what is kept of a delivery; InputFault says what it is not, and shows nothing of it.

    `live` is whether our key is: events of the other mode are kept and left alone.
    """
    try:
        # The decoder skips what it does not build, and would let bytes pass there that are no text.
        letter = _LETTERS.decode(body.decode())
    except UnicodeDecodeError:
        raise InputFault("The body is not UTF-8.") from None
    except msgspec.ValidationError:
        raise InputFault(
            "The body is no event of Stripe's (its parts are of other kinds)."
        ) from None
    except (msgspec.DecodeError, RecursionError):
        raise InputFault("The body is no JSON.") from None
    return _delivery(letter, live=live, came="delivered", digest=digest, our_version=our_version)


def read_event(document: Mapping[str, Any], *, live: bool) -> Delivery:
    """Return what is kept of an event out of Stripe's list; InputFault where it is none."""
    try:
        letter = msgspec.convert(document, Letter)
    except msgspec.ValidationError:
        raise InputFault("What Stripe lists is no event.") from None
    return _delivery(letter, live=live, came="fetched")


def _delivery(
    letter: Letter,
    *,
    live: bool,
    came: Came,
    digest: bytes | None = None,
    our_version: str | None = None,
) -> Delivery:
    event_id, type_, version = letter.id, letter.type, letter.api_version
    if letter.object not in (SNAPSHOT_KIND, THIN_KIND):
        raise InputFault("The body is no event of Stripe's (its `object` says something else).")
    if not _fits(event_id, _EVENT_ID) or not _fits(type_, _TYPE):
        raise InputFault("The body is no event of Stripe's (its `id` or `type` is none).")
    about = _about(letter)
    strange = _stranger(letter, live=live)
    version = version if _fits(version, _VERSION) else None
    return Delivery(
        source=SOURCE,
        event_id=event_id,
        type=type_,
        subject=next((about[name] for name in _SUBJECTS if name in about), event_id),
        created_at=_instant(letter.created),
        about=about,
        livemode=letter.livemode if isinstance(letter.livemode, bool) else None,
        api_version=version,
        body_sha256=digest,
        note=strange or _note(type_, version, our_version),
        known=type_ in KNOWN and not strange,
        came=came,
    )


def _stranger(letter: Letter, *, live: bool) -> str:
    """Say why an event is not about what our key can see; empty where it is."""
    if isinstance(letter.livemode, bool) and letter.livemode != live:
        ours, its = ("live", "test") if live else ("test", "live")
        return f"it is of {its} mode, and our key of {ours} mode"
    if letter.account or letter.context:
        return "it is about another account, connected to ours"
    return ""


def _note(type_: str, version: str | None, our_version: str | None) -> str | None:
    """Say what else is odd of it; a thin event has no version."""
    if type_ not in KNOWN:
        return f"nothing is done for {type_}"
    if version is None or our_version is None or version == our_version:
        return None
    return (
        f"its API version is {version}, and hopsmeter speaks {our_version}: make the endpoint anew"
        " with that version (docs/stripe.md)"
    )


def _about(letter: Letter) -> dict[str, str]:
    if letter.object == THIN_KIND:
        return _ids(letter.related_object, letter) if letter.related_object else {}
    if letter.data is None or letter.data.object is None:
        raise InputFault("The body is no event of Stripe's (it has no `data.object`).")
    return _ids(letter.data.object, letter)


def _ids(thing: Thing, letter: Letter) -> dict[str, str]:
    # A related object of a thin event says its kind by `type`.
    said = thing.object or thing.type
    kind = said if _fits(said, _TYPE) else ""
    found = {
        "object": thing.id,
        "customer": thing.customer,
        "subscription": thing.subscription or _subscription_of(thing),
        "invoice": thing.invoice,
        "charge": thing.charge,
        "payment_intent": thing.payment_intent,
        "payment_method": thing.payment_method,
        "setup_intent": thing.setup_intent,
        # Of a card that was detached the object names no customer any more.
        "customer_before": letter.data and _of(letter.data.previous_attributes, "customer"),
    }
    if kind in _KINDS:
        found[_KINDS[kind]] = thing.id
    about = {}
    for name, value in found.items():
        # A field that names another object may also hold all of it.
        bare = value if isinstance(value, str) else _of(value, "id")
        if _fits(bare, _ID):
            about[name] = bare
    if kind:
        about["object_type"] = kind
    return about


def _subscription_of(invoice: Thing) -> Any:
    return _of(_of(invoice.parent, "subscription_details"), "subscription")


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


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
