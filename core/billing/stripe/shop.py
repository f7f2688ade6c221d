"""What a daemon lends to whoever deals with Stripe: the way in, and what its settings say."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from core.billing.stripe.gateway import Door, Gateway, door_of
from core.billing.stripe.site import require_door
from core.settings import Settings

Answer = TypeVar("Answer")


def _no_door() -> Door | None:
    return None


@dataclass(frozen=True)
class Shop:
    """`open_door` reads the key anew, so that one that was changed is used at once."""

    open_door: Callable[[], Door | None] = _no_door
    return_url: str = "https://stripe.com"
    """Where a person's browser goes after Stripe's own page."""
    grace: timedelta = timedelta(days=7)

    def ask(self, ask: Callable[[Gateway], Awaitable[Answer]]) -> Answer:
        """Ask by a gateway of its own, for who is in no loop; SettingsFault where there is no key."""

        async def run() -> Answer:
            async with Gateway(require_door(self.open_door())) as gateway:
                return await ask(gateway)

        return asyncio.run(run())


def shop_of(settings: Settings) -> Shop:
    """Return what the settings say of Stripe; the key is read only when it is needed."""
    return Shop(
        lambda: door_of(settings),
        settings.stripe_return_url,
        timedelta(days=settings.stripe_grace_days),
    )
