"""Answers that are none of Stripe's: a proxy, a login page, a cut line. Nobody is parked for them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from core.billing.stripe.gateway import Ask, Door, Gateway
from core.billing.stripe.reporting.run import report
from core.errors import StripeAway
from core.secret import Secret
from tests.core.billing.stripe.reporting.conftest import product_till as linked
from tests.core.billing.stripe.reporting.conftest import till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import Till

__all__ = ["linked", "till"]

HTML, JSON = "text/html", "application/json"
OBJECTS = (
    b"{}",
    b'{"status": "ok"}',
    b'{"object": "list"}',
    b'{"object": "list", "data": [{}]}',
    b'{"data": {}}',
)
QUESTIONS: tuple[Ask[Any], ...] = (
    lambda it: it.v1.accounts.retrieve_current_async(),
    lambda it: it.v1.customers.retrieve_async("cus_1"),
    lambda it: it.v1.events.list_async({"limit": 1}),
    lambda it: it.v2.core.events.list_async({"limit": 1}),
    lambda it: it.v1.products.create_async({"name": "usage"}),
)


def json_body(error: dict[str, str]) -> bytes:
    """An error as Stripe writes it."""
    return json.dumps({"error": error}).encode()


@contextmanager
def answering(status: int, body: bytes, kind: str) -> Iterator[str]:
    """Answer everything in one way; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>log in</html>", HTML),
        (200, b"", JSON),
        (200, b'{"id": "x", "obj', JSON),
        (200, b"null", JSON),
        (200, b"[]", JSON),
        (200, b"{}", JSON),
        (200, b'{"status": "ok"}', JSON),
        (200, b'{"object": "billing.meter_event", "identifier": "another"}', JSON),
        (200, b"\xff\xfe\xfa", JSON),
        (302, b"", HTML),
        (400, b"<html>bad</html>", HTML),
        (400, b'{"x": 1}', JSON),
        (403, b"<html>forbidden</html>", HTML),
        (404, b"<html>not found</html>", HTML),
        (407, b"who are you?", HTML),
        (413, b"too large", HTML),
        (502, b"<html>bad gateway</html>", HTML),
    ],
)
def test_whoever_is_not_stripe_parks_nobody(
    till: Till, status: int, body: bytes, kind: str
) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    with answering(status, body, kind) as url:
        sent = asyncio.run(
            report(till.connection, Door(url, Secret(till.stripe.api_key)), till.clock)
        ).sent
    assert (sent.accepted, sent.refused, sent.stopped) == (0, 0, None)
    assert till.value("SELECT parked_at FROM stripe_accounts") is None
    error = till.value("SELECT error FROM stripe_reports")
    assert error
    assert "<html>" not in error
    assert till.stripe.api_key not in error
    till.later(hours=2)
    till.run()
    assert (till.told(anna, 0), till.states(anna)) == (5, [(0, 5, "accepted")])


@pytest.mark.parametrize(
    "body", [*OBJECTS, b'{"object": "list", "data": []}', b'{"object": "x", "id": "acct_1"}']
)
def test_whoever_answers_with_an_object_of_his_own_holds_up_nothing(
    linked: ProductTill, body: bytes
) -> None:
    """The first question too, whose account the key opens."""
    anna = linked.account()
    linked.charge(anna, linked.day(0), 5_000)
    linked.at(1)
    with answering(200, body, JSON) as url:
        door = Door(url, Secret(linked.stripe.api_key))
        sent = asyncio.run(report(linked.connection, door, linked.clock)).sent
    assert isinstance(sent.stopped, StripeAway)
    linked.run()
    assert linked.states(anna)[0] == (0, 5, "accepted")
    assert linked.told(anna, 0) == 5


@pytest.mark.parametrize("body", OBJECTS)
def test_no_question_takes_an_object_that_is_none_of_stripe_s(body: bytes) -> None:
    async def ask_all(url: str) -> None:
        async with Gateway(Door(url, Secret(b"sk_test_1")), tries_max=1) as gateway:
            for ask in QUESTIONS:
                with pytest.raises(StripeAway, match="not Stripe"):
                    await gateway.ask(ask)

    with answering(200, body, JSON) as url:
        asyncio.run(ask_all(url))


def test_a_clock_that_is_ahead_parks_nobody(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(0, 12)
    door = Door(till.stripe.url, Secret(till.stripe.api_key))
    sent = asyncio.run(
        report(till.connection, door, lambda: till.clock() + timedelta(minutes=20))
    ).sent
    assert (sent.accepted, sent.refused) == (0, 0)
    assert "clock" in till.value("SELECT error FROM stripe_reports")
    till.later(hours=1)
    till.run()
    assert (till.told(anna, 0), till.states(anna)) == (5, [(0, 5, "accepted")])


def test_a_key_that_stripe_does_not_take_is_told_apart(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    body = b'{"error": {"message": "Invalid API Key provided", "type": "invalid_request_error"}}'
    with answering(401, body, JSON) as url:
        door = Door(url, Secret(till.stripe.api_key))
        sent = asyncio.run(report(till.connection, door, till.clock)).sent
    assert "does not let us in" in str(sent.stopped)
