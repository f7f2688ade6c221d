"""All that asks Stripe at the same time keeps within what Stripe allows, in all and at one endpoint."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from stripe import StripeClient

from core.billing.stripe import gateway
from core.billing.stripe.gateway import Door, Gateway
from core.secret import Secret
from sandbox.stripe.world import StripeWorld

ALLOWED, ALLOWED_ENDPOINT = 100, 50
"""A second; the sandbox counts by the host's clock."""


def asked_by_jobs(door: Door, count: int, *questions: Callable[[StripeClient], Any]) -> int:
    """Ask each question so many times, by a gateway and in a thread of its own; how many answers."""

    def job(question: Callable[[StripeClient], Any]) -> int:
        async def go() -> int:
            async with Gateway(door, tries_max=1) as opened:
                asked = (opened.ask(question) for _ in range(count))
                return len(await asyncio.gather(*asked))

        return asyncio.run(go())

    with ThreadPoolExecutor(len(questions)) as pool:
        return sum(pool.map(job, questions))


@pytest.mark.parametrize(
    ("count", "questions"),
    [
        (
            40,
            (
                lambda it: it.v1.invoices.list_async({"customer": "cus_1a"}),
                lambda it: it.v1.invoices.list_async({"customer": "cus_2b"}),
            ),
        ),
        (
            45,
            (
                lambda it: it.v1.invoices.list_async(),
                lambda it: it.v1.subscriptions.list_async(),
                lambda it: it.v1.products.list_async(),
                lambda it: it.v1.prices.list_async(),
            ),
        ),
    ],
    ids=["one endpoint", "several"],
)
def test_jobs_side_by_side_keep_within_what_stripe_allows(
    count: int,
    questions: tuple[Callable[[StripeClient], Any], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "RATE_SANDBOX", ALLOWED * 4 // 5)
    monkeypatch.setattr(gateway, "RATE_SANDBOX_ENDPOINT", ALLOWED_ENDPOINT * 4 // 5)
    with StripeWorld(seed=3) as world:
        world.settings.requests_per_s = ALLOWED
        world.settings.requests_per_s_endpoint = ALLOWED_ENDPOINT
        door = Door(world.url, Secret(world.api_key))
        assert asked_by_jobs(door, count, *questions) == count * len(questions)
