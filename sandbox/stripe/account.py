"""The Stripe account that everything stands in: objects by kind, ids, settings, its clock."""

import random
import string
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec

from core.clock import Clock
from sandbox.stripe.agenda import Agenda
from sandbox.stripe.errors import StripeError, missing_object

API_VERSION = "2026-10-28.endive"
ID_LETTERS = 24
_ALPHABET = string.ascii_letters + string.digits

Plain = TypeVar("Plain")
Thing = dict[str, Any]
"""An object of Stripe, in the shape in which it goes over the wire."""


def copied(value: Plain) -> Plain:
    """Copy what JSON can say; several times quicker than deepcopy, and month ends copy a lot."""
    copy: Plain = msgspec.json.decode(msgspec.json.encode(value))
    return copy


@dataclass
class Settings:
    """What differs between accounts, and what the tests turn; each may be set while it runs."""

    api_version: str = API_VERSION
    """The account's default; snapshot events of the event list bear it."""
    invoice_grace: timedelta = timedelta(hours=1)
    """How long a cycle's invoice stays draft; a real account sets it, up to 72 h."""
    ended_drafts_take: bool = True
    """Whether late usage reaches a draft whose subscription has ended; no description says that it does not."""
    aggregation_lag: timedelta = timedelta(0)
    """How much later (world's clock) a meter event shows in summaries."""
    retry_after: tuple[timedelta, ...] = (
        timedelta(days=3),
        timedelta(days=5),
        timedelta(days=7),
    )
    """Pauses between attempts to charge an invoice; then `after_retries`."""
    after_retries: Literal["unpaid", "canceled", "past_due"] = "unpaid"
    latency_s: float = 0.0
    """Real time that each call takes; only what takes time can collide with another."""
    requests_per_s: int | None = None
    requests_per_s_endpoint: int | None = None
    meter_events_per_s: int | None = None
    idempotency_kept: timedelta = timedelta(hours=24)
    events_kept: timedelta = timedelta(days=30)
    delivery_pauses_s: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
    """Real time between tries of a webhook; after the last one it is given up."""
    delivery_timeout_s: float = 5.0
    signed_by: Literal["world", "host"] = "world"
    """Whose clock stands in the signature (stripe's own check asks the host's)."""


@dataclass
class Cause:
    """The request that is being carried out, as its events name it."""

    request_id: str | None = None
    idempotency_key: str | None = None


Emit = Callable[[str, Thing, Thing | None], Thing]


@dataclass
class Account:
    now: Clock
    settings: Settings = field(default_factory=Settings)
    seed: int | None = None
    """None: ids never meet those of an earlier world in somebody's database."""

    def __post_init__(self) -> None:
        self.agenda = Agenda(self.now)
        self.lock = threading.RLock()
        self.cause = Cause()
        self.tables: dict[str, dict[str, Thing]] = defaultdict(dict)
        self.born: dict[str, int] = {}
        """In which order things were made, whatever became of them; lists go by it."""
        self.includable: dict[tuple[str, str], Callable[[Thing], Any]] = {}
        """Fields that are there only when expanded: (object, field) → what makes them."""
        self.emit: Emit = lambda _kind, _thing, _previous: {}
        self._random = random.Random(self.seed)

    @property
    def at(self) -> datetime:
        return self.agenda.at

    @property
    def stamp(self) -> int:
        return self.agenda.stamp

    def new_id(self, prefix: str, letters: int = ID_LETTERS) -> str:
        return f"{prefix}_{self.secret(letters)}"

    def secret(self, letters: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=letters))

    def number(self, below: int) -> int:
        return self._random.randrange(below)

    def add(self, kind: str, thing: Thing) -> Thing:
        self.tables[kind][thing["id"]] = thing
        self.born.setdefault(thing["id"], len(self.born))
        return thing

    def get(self, kind: str, name: str) -> Thing:
        """Return the object that a path names, or refuse with 404."""
        thing = self.tables[kind].get(name)
        if thing is None:
            raise missing_object(_noun(kind), name)
        return thing

    def named(self, kind: str, name: object, param: str) -> Thing:
        """Return the object that a parameter names, or refuse with 400."""
        if not isinstance(name, str):
            raise StripeError(f"Invalid string: {name}", param=param)
        thing = self.tables[kind].get(name)
        if thing is None or thing.get("deleted"):
            raise missing_object(_noun(kind), name, param, 400)
        return thing

    def all(self, kind: str) -> list[Thing]:
        """Every object of a kind, oldest first."""
        return list(self.tables[kind].values())

    def find(self, name: str) -> Thing | None:
        """Look an id up among all kinds, as expanding does."""
        return next((t[name] for t in self.tables.values() if name in t), None)

    def change(self, thing: Thing, event: str | None = None, **values: Any) -> Thing:
        """Change fields, and tell of it with what they were, unless nothing changed."""
        previous = {
            name: copied(thing.get(name))
            for name, value in values.items()
            if name not in thing or thing[name] != value
        }
        thing.update(values)
        if previous and event:
            self.emit(event, thing, previous)
        return thing


def _noun(kind: str) -> str:
    return {"checkout.session": "checkout.session", "billing.meter": "meter"}.get(kind, kind)
