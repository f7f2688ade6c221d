"""An installation beside a Stripe of the sandbox, both by one clock that a test moves."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from core.billing.stripe import catalogue
from core.billing.stripe.catalogue import SetUp
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.linking import Linked, Wish, link
from core.billing.stripe.site import MeterKind
from core.identity.principal import Principal
from core.secret import Secret
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests import factories
from tests.core.metering.site import Site

TRIES = 2
RETURN_URL = "https://example.test/thanks"
T = TypeVar("T")


@dataclass
class Till:
    """`run` asks Stripe as the daemon does; `world` is what stands at Stripe."""

    site: Site
    world: StripeWorld
    clock: WorldClock
    commands: int = field(default=0, init=False)

    @property
    def door(self) -> Door:
        return Door(self.world.url, Secret(self.world.api_key))

    def run(self, ask: Callable[[Gateway], Awaitable[T]]) -> T:
        async def go() -> T:
            async with Gateway(self.door, tries_max=TRIES) as gateway:
                return await ask(gateway)

        return asyncio.run(go())

    def asker(self) -> Principal:
        """An admin with the next command."""
        self.commands += 1
        return Principal("admin", "auth0|admin", command_id=self.commands)

    def pass_time(self, by: timedelta) -> None:
        self.clock.advance(by)
        self.site.now = self.clock()
        self.world.catch_up()

    def customer(self, name: str = "anna", currency: str = "USD") -> factories.User:
        return self.site.user(name, currency=currency)

    def set_up(self, *currencies: str, meter: MeterKind | None = None) -> SetUp:
        connection = self.site.connection
        needed = catalogue.currencies_in_use(connection, currencies)
        found = self.run(lambda it: catalogue.build(it, connection, needed, dry_run=False))
        with connection.transaction():
            return catalogue.write_down(connection, self.asker(), found, meter=meter, why="begin")

    def link(self, who: factories.User, *, dry_run: bool = False, **wish: Any) -> Linked:
        asker = self.asker()
        return self.run(
            lambda it: link(
                it,
                self.site.connection,
                asker,
                Wish(who.id, **wish),
                return_url=RETURN_URL,
                why="signed up",
                now=self.clock(),
                dry_run=dry_run,
            )
        )

    def count(self, kind: str) -> int:
        return len(self.world.all(kind))


@contextlib.contextmanager
def opened_till(site: Site) -> Iterator[Till]:
    clock = WorldClock(site.now)
    with StripeWorld(now=clock, seed=11) as world:
        yield Till(site, world, clock)


@pytest.fixture
def till(site: Site) -> Iterator[Till]:
    """An installation and an empty Stripe."""
    with opened_till(site) as made:
        yield made
