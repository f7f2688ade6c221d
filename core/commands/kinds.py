"""The shape of a command: what it needs, who may ask for it, what it does, what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

import psycopg

from core.billing.stripe.shop import Shop
from core.clock import Clock, utc_now
from core.clusters.connection.access import CheckStep, ClusterAccess
from core.clusters.vault.keyring import Keyring
from core.commands.arguments import Arguments
from core.identity.principal import Principal
from core.metering.checkup import Patient
from core.secret import Secret

Lane = Literal["quick", "slow"]
"""Slow commands wait for a cluster, or for Stripe; apart from the others, they make nobody else wait."""

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True)
class Works:
    """What the daemon lends to those who carry commands out."""

    keyring: Keyring
    check_cluster: Callable[[ClusterAccess, Patient], list[CheckStep]]
    clock: Clock = utc_now
    allow_loopback: bool = False
    """Only the sandbox, whose clusters live on this host."""
    stripe: Shop = field(default_factory=Shop)


@dataclass(frozen=True)
class Result:
    """What a command did, or with a dry run would do.

    `summary` is one sentence for people. `difference` is {what: [before, after]}, `details` what
    else a program may want: both plain JSON, money as `…_nano` beside its `currency`.
    """

    summary: str
    difference: dict[str, list[Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {"summary": self.summary, "difference": self.difference, **self.details}


@dataclass(frozen=True)
class Task(Generic[A]):
    """One command in work: `connection` is inside the transaction that all of it is."""

    connection: psycopg.Connection[Any]
    principal: Principal
    arguments: A
    secrets: Mapping[str, Secret]
    works: Works
    why: str
    now: datetime
    dry_run: bool = False
    """It is rolled back; numbers that a sequence gave are given to nobody, so none is told."""
    gathered: Any = None
    """What `Kind.gather` brought."""


@dataclass(frozen=True)
class Kind(Generic[A]):
    """One thing that a person may ask for.

    `may` completes "Only an admin may …". `gather` runs before the transaction, for what waits on
    the outside: a transaction that waits for a cluster would be ended by the server.
    """

    may: str
    effect: Callable[[Task[A]], Result]
    gather: Callable[[Task[A]], Any] | None = None
    lane: Lane = "quick"
    why_needed: bool = False
