"""An endpoint that takes webhooks and keeps them, or answers what a test tells it to."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core.clock import utc_now
from sandbox.loop import LoopThread
from sandbox.wire import Request, Response, plain_server

START_S = 5.0


@dataclass
class Inbox:
    url: str = ""
    letters: list[tuple[bytes, str]] = field(default_factory=list)
    """Bodies with their signatures, as they came."""
    answer: Callable[[int], int] = lambda _number: 204
    """The status for the n-th letter, counted from 1."""

    async def take(self, request: Request) -> Response:
        self.letters.append((request.body, request.headers["stripe-signature"]))
        return Response(self.answer(len(self.letters)), b"")

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body, _ in self.letters]


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    inbox, thread = Inbox(), LoopThread("inbox")
    server = plain_server(inbox.take, utc_now)

    async def begin() -> None:
        server.start()

    thread.start()
    thread.call(begin(), START_S)
    inbox.url = f"http://127.0.0.1:{server.port}/webhooks/stripe"
    try:
        yield inbox
    finally:
        thread.call(server.stop(), START_S)
        thread.stop()
