"""Requests of the tour with one value spoiled: each is answered, none is a bug of the sandbox."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from stripe import StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from sandbox.wire import Request
from tests.sandbox.stripe.tour import Tour

REQUESTS = 4_000
ODD_VALUES = ("", "x", "true", "-5", "0", "9" * 20, "1.5", "é\0")
ODD_KEYS = ("", "", "", "[x]", "[0]", "[]")


def flat(form: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Return a form as pairs of bracketed names and values."""
    entries = form.items() if isinstance(form, dict) else enumerate(form)
    for name, value in entries:
        path = f"{above}[{name}]" if above else str(name)
        if isinstance(value, dict | list):
            yield from flat(value, path)
        else:
            yield path, value


def spoiled(pairs: list[tuple[str, str]], dice: random.Random) -> list[tuple[str, str]]:
    at = dice.randrange(len(pairs))
    name, value = pairs[at]
    odd = (name + dice.choice(ODD_KEYS), dice.choice([*ODD_VALUES, value]))
    return [*pairs[:at], *([odd] if dice.random() < 0.9 else []), *pairs[at + 1 :]]


@pytest.fixture
def stripe(clock: WorldClock) -> Iterator[StripeWorld]:
    """A Stripe that nobody holds against the description: what is asked of it is not as described."""
    with StripeWorld(now=clock, seed=7) as stripe:
        yield stripe


async def test_spoiled_requests_are_refused_and_break_nothing(
    stripe: StripeWorld, client: StripeClient, clock: WorldClock
) -> None:
    dice, statuses = random.Random(7), Counter[int]()
    tour = Tour(stripe, client)
    tour.set_up()
    tour.use()
    tour.leave_a_card()
    asked = [
        (one.method, one.path, list(flat(one.form)))
        for one in stripe.api.exchanges
        if one.form and one.path.startswith("/v1/")
    ]
    for number in range(REQUESTS):
        method, path, pairs = dice.choice(asked)
        text = urlencode(spoiled(pairs, dice))
        target, body = (path, text) if method == "POST" else (f"{path}?{text}", "")
        headers = {"authorization": f"Bearer {stripe.api_key}"}
        answer = await stripe.api.handle(Request(method, target, headers, b"", body.encode()))
        statuses[answer.status] += 1
        if number % 1_000 == 0:
            clock.advance(timedelta(days=20))
    assert stripe.api.bugs == []
    assert set(statuses) <= {200, 400, 402, 404}
    assert statuses[400] > REQUESTS / 4
