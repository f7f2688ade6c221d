"""Where events come in from outside: verified, stored, then answered. All else is refused.

It listens on loopback; the proxy in front has the certificate. What is verified is durable before its
answer, and what is not verified is neither stored nor told of by more than its reason.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

from core.billing.stripe.gateway import door_of
from core.billing.stripe.signature import (
    BODY_BYTES_MAX,
    Refusal,
    SigningSecrets,
    signing_of,
    verify,
)
from core.clock import Clock, monotonic_s
from core.webhooks.event import Delivery
from daemon import log
from daemon.deps import Deps
from daemon.tally import Tally
from daemon.web.keeper import Keeper
from daemon.web.server import Listener

PATH: Final = "/webhooks/stripe"
BODY_MAX_S: Final = 10.0
"""For a body to come whole: who dribbles holds a place no longer."""
RETRY_AFTER_S: Final = 30
CONNECTIONS_MAX: Final = 256
TOLD_MAX, TOLD_WITHIN_S = 20, 60.0
"""Refusals that the log tells of, one by one, in a minute; anybody can send what is refused."""

Message = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
_PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")


@contextlib.asynccontextmanager
async def receiving(deps: Deps) -> AsyncIterator[str]:
    """Take events for as long as the block runs; it gets the address, empty where none are to come."""
    secrets, door = signing_of(deps.settings, tell=_tell_file), door_of(deps.settings)
    if secrets is None or door is None:
        yield ""
        return
    keeper = Keeper(lambda: deps.connect("webhooks kept"), deps.arrived.set)
    app = Hooks(secrets, keeper, deps.clock, deps.tally, live=door.is_live)
    where = deps.settings.hooks_listen
    async with Listener(app, where, "HOPSMETER_HOOKS_LISTEN", CONNECTIONS_MAX) as listener:
        keeper.begin()
        try:
            yield listener.address
        finally:
            keeper.end()


def _tell_file(why: str) -> None:
    log.get("webhooks").error("the signing secrets stay as they were", why=why)


class Hooks:
    """The application, in plain ASGI: one route, no framework between the socket and the commit."""

    def __init__(
        self, secrets: SigningSecrets, keeper: Keeper, clock: Clock, tally: Tally, *, live: bool
    ) -> None:
        self._secrets, self._keeper, self._clock, self._live = secrets, keeper, clock, live
        self._tally = tally
        self._told = _Told()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; uvicorn, without lifespan and websockets, brings no other scope."""
        if scope["path"] != PATH:
            await _answer(send, 404, "There is nothing here but /webhooks/stripe.")
        elif scope["method"] != "POST":
            await _answer(send, 405, "Only POST is answered here.", [(b"allow", b"POST")])
        else:
            await self._take(scope["headers"], receive, send)

    async def _take(
        self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send
    ) -> None:
        found = await self._read(headers, receive)
        if isinstance(found, Refusal):
            self._count("refused")
            self._told.refusal(found)
            await _answer(send, found.status, found.why)
            return
        if not await self._keeper.keep(found):
            self._count("away")
            again = [(b"retry-after", str(RETRY_AFTER_S).encode())]
            await _answer(send, 503, "It could not be stored now; send it again.", again)
            return
        self._count("stored")
        if found.note is None:
            await _answer(send, 204, "")
            return
        self._told.odd(found)
        await _answer(send, 200, f"Stored, but {found.note}.")

    async def _read(
        self, headers: Iterable[tuple[bytes, bytes]], receive: Receive
    ) -> Delivery | Refusal:
        named = dict(headers)
        size = named.get(b"content-length", b"")
        if size.isdigit() and len(size) < 20 and int(size) > BODY_BYTES_MAX:
            return Refusal(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
        body = await _body(receive)
        if isinstance(body, Refusal):
            return body
        header = named.get(b"stripe-signature")
        text = header.decode("latin-1") if header is not None else None
        return verify(body, text, self._secrets.current(), self._clock(), live=self._live)

    def _count(self, answer: str) -> None:
        self._tally.deliveries.labels("stripe", answer).inc()


async def _body(receive: Receive) -> bytes | Refusal:
    """Return the body; no more of it is read than may be taken."""
    message = await _next(receive)
    if not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        return whole
    parts, size = [message.get("body", b"")], len(message.get("body", b""))
    try:
        async with asyncio.timeout(BODY_MAX_S):
            while message.get("more_body"):
                message = await _next(receive)
                size += len(message.get("body", b""))
                if size > BODY_BYTES_MAX:
                    return Refusal(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
                parts.append(message.get("body", b""))
    except TimeoutError:
        return Refusal(408, f"The body did not come within {BODY_MAX_S:g} s.")
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    message: Message = await receive()
    return message if message["type"] == "http.request" else {"body": b""}


async def _answer(
    send: Send, status: int, said: str, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [*more, _PLAIN] if said else [*more]
    body = f"{said}\n".encode() if said else b""
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Told:
    """Tells the log, and no oftener than it can be read."""

    def __init__(self) -> None:
        self._since_s = float("-inf")
        self._count = 0

    def refusal(self, refusal: Refusal) -> None:
        self._tell("a delivery was refused", status=refusal.status, why=refusal.why)

    def odd(self, delivery: Delivery) -> None:
        event = {"event_id": delivery.event_id, "type": delivery.type}
        self._tell("a delivery is odd", **event, why=delivery.note)

    def _tell(self, what: str, **facts: object) -> None:
        now_s = monotonic_s()
        if now_s - self._since_s > TOLD_WITHIN_S:
            if self._count > TOLD_MAX:
                more = self._count - TOLD_MAX
                log.get("webhooks").warning("more of such deliveries came", deliveries=more)
            self._since_s, self._count = now_s, 0
        self._count += 1
        if self._count <= TOLD_MAX:
            log.get("webhooks").warning(what, **facts)
