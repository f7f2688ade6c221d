"""Where events come in from outside: verified, stored, then answered. All else is refused.

It listens on loopback; the proxy in front has the certificate. What is verified is durable before its
answer, and what is not verified is neither stored nor told of by more than its reason.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from core.billing.stripe.gateway import door_of
from core.billing.stripe.reading import SOURCE
from core.billing.stripe.signature import (
    BODY_BYTES_MAX,
    Refusal,
    SigningSecrets,
    signing_of,
    verify,
)
from core.clock import Clock, monotonic_s
from core.settings.checks import address
from core.webhooks.event import Delivery
from daemon import log
from daemon.deps import Deps
from daemon.tally import Tally
from daemon.web.keeper import Keeper
from daemon.web.line import Answer, Lines, Request
from daemon.web.server import bind

PATH: Final = b"/webhooks/stripe"
RETRY_AFTER_S: Final = 30
LINES_MAX: Final = 256
TOLD_MAX, TOLD_WITHIN_S = 20, 60.0
"""Refusals that the log tells of, one by one, in a minute; anybody can send what is refused."""
_STORED: Final = Answer(204)
_AGAIN: Final = Answer(
    503,
    "It could not be stored now; send it again.",
    ((b"retry-after", b"%d" % RETRY_AFTER_S),),
)


@contextlib.asynccontextmanager
async def receiving(deps: Deps) -> AsyncIterator[str]:
    """Take events for as long as the block runs; it gets the address, empty where none are to come."""
    secrets, door = signing_of(deps.settings, tell=_tell_file), door_of(deps.settings)
    if secrets is None or door is None:
        yield ""
        return
    keeper = Keeper(lambda: deps.connect("webhooks kept"), deps.arrived.set)
    hooks = Hooks(secrets, keeper, deps.clock, deps.tally, live=door.is_live)
    async with listening(hooks, keeper, deps.settings.hooks_listen) as where:
        yield where


@contextlib.asynccontextmanager
async def listening(hooks: "Hooks", keeper: Keeper, where: tuple[str, int]) -> AsyncIterator[str]:
    """Serve for as long as the block runs; what was taken before its end is answered."""
    lines = Lines(hooks.take, hooks.refused, body_max=BODY_BYTES_MAX, lines_max=LINES_MAX)
    listener = bind(*where, "HOPSMETER_HOOKS_LISTEN")
    listener.setblocking(False)
    server = await asyncio.get_running_loop().create_server(lines.make, sock=listener)
    keeper.begin()
    try:
        yield address(*listener.getsockname()[:2])
    finally:
        server.close()
        await keeper.drain()
        lines.close()


def _tell_file(why: str) -> None:
    log.get("webhooks").error("the signing secrets stay as they were", why=why)


class Hooks:
    """What is done with a request: it is taken, or told why not."""

    def __init__(
        self, secrets: SigningSecrets, keeper: Keeper, clock: Clock, tally: Tally, *, live: bool
    ) -> None:
        self._secrets, self._keeper, self._clock, self._live = secrets, keeper, clock, live
        self._counts = {
            answer: tally.deliveries.labels(SOURCE, answer)
            for answer in ("stored", "refused", "away")
        }
        self._told = _Told()

    def take(self, request: Request, answer: Callable[[Answer], None]) -> None:
        """Answer a request: at once where it is refused, else when what it brought is durable."""
        if request.path != PATH:
            answer(Answer(404, "There is nothing here but /webhooks/stripe."))
        elif request.method != b"POST":
            answer(Answer(405, "Only POST is answered here.", ((b"allow", b"POST"),)))
        else:
            self._take(request, answer)

    def refused(self, answer: Answer) -> None:
        """Count a refusal, and tell the log of it."""
        self._counts["refused"].inc()
        self._told.refusal(answer)

    def _take(self, request: Request, answer: Callable[[Answer], None]) -> None:
        given = request.headers.get(b"stripe-signature")
        header = given.decode("latin-1") if given is not None else None
        secrets, now = self._secrets.current(), self._clock()
        found = verify(request.body, header, secrets, now, live=self._live)
        if isinstance(found, Refusal):
            refusal = Answer(found.status, found.why)
            self.refused(refusal)
            answer(refusal)
            return
        self._keeper.keep(found, lambda durable: answer(self._answer(found, durable=durable)))

    def _answer(self, delivery: Delivery, *, durable: bool) -> Answer:
        if not durable:
            self._counts["away"].inc()
            return _AGAIN
        self._counts["stored"].inc()
        if delivery.note is None:
            return _STORED
        self._told.odd(delivery)
        return Answer(200, f"Stored, but {delivery.note}.")


class _Told:
    """Tells the log, and no oftener than it can be read."""

    def __init__(self) -> None:
        self._since_s = float("-inf")
        self._count = 0

    def refusal(self, refusal: Answer) -> None:
        self._tell("a delivery was refused", status=refusal.status, why=refusal.said)

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
