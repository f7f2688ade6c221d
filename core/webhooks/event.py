"""What comes from outside, and what is done about it: the frame that handlers are written against."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import psycopg
from msgspec import Struct

Connection = psycopg.Connection[Any]
Outside = TypeVar("Outside")
Fetched = TypeVar("Fetched")
Came = Literal["delivered", "fetched"]


class Delivery(Struct, frozen=True):
    """A verified delivery, as it is kept: ids alone, since a body holds secrets of clients.

    Events of one `subject` are handled one after the other. `note` says to people what is odd of it;
    what is not `known` is kept and counted, and nothing follows.
    """

    source: str
    event_id: str
    type: str
    subject: str
    created_at: datetime | None = None
    about: Mapping[str, str] = {}
    livemode: bool | None = None
    api_version: str | None = None
    body_sha256: bytes | None = None
    note: str | None = None
    known: bool = True
    came: Came = "delivered"


@dataclass(frozen=True)
class Event:
    """A kept event that is ours to handle while `token` stands in its row."""

    id: int
    source: str
    event_id: str
    type: str
    subject: str
    about: Mapping[str, str]
    created_at: datetime | None
    received_at: datetime
    livemode: bool | None
    tries: int
    """This one included."""
    token: UUID


@dataclass(frozen=True)
class Handler(Generic[Outside, Fetched]):
    """What is done about a type of events: the state is fetched, not believed, and then applied.

    `fetch` asks outside, with no transaction open; it may be cut off, and is repeated. `apply` runs
    inside the transaction that marks the event done, so that its effects happen once or not at all;
    it returns what it came to, a short sentence without secrets, or raises a HopsmeterError, whose
    sentence is kept while the event waits for its next try. Its last argument is the moment before
    the fetch began: the `fetched_at` of what it stores, and the now of its rules. Of one subject
    nothing else is fetched or applied meanwhile.
    """

    fetch: Callable[[Outside, Event], Awaitable[Fetched]]
    apply: Callable[[Connection, Fetched, Event, datetime], str]
