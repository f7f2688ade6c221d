"""What machines ask of us: alive, ready, figures. No log-in, so loopback only, and GET only."""

import asyncio
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemon.contact import Contact
from daemon.deps import Deps
from daemon.runner import Runner
from daemon.threads import in_thread
from daemon.web.metrics import Metrics

SCRAPE_LIMIT_S = 10.0


@dataclass(frozen=True)
class Pages:
    """All that is answered, in the loop that `contact` and `runner` belong to."""

    deps: Deps
    contact: Contact
    runner: Runner
    metrics: Metrics
    one_scrape: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def healthz(self, _: Request) -> Response:
        """Say whether the process turns; it may well be waiting for its database."""
        if self.contact.alive:
            return JSONResponse({"alive": True, "version": self.deps.version})
        return JSONResponse({"alive": False, "why": "No beat has ended for too long."}, 503)

    async def readyz(self, _: Request) -> Response:
        """Say whether work is done now, and if not, why."""
        why = ""
        if self.deps.stopping.is_set():
            why = "The daemon is stopping."
        elif not self.contact.ready:
            why = self.contact.why
        elif not self.contact.alive:
            why = "No beat has ended for too long."
        if why:
            return JSONResponse({"ready": False, "why": why}, 503)
        return JSONResponse({"ready": True, "running": list(self.runner.running)})

    async def figures(self, _: Request) -> Response:
        async with self.one_scrape:
            reading = in_thread(lambda: self.metrics.page(database=self.contact.ready), "metrics")
            page = await asyncio.wait_for(reading, SCRAPE_LIMIT_S)
        return Response(page, media_type=CONTENT_TYPE_LATEST)


def make_app(pages: Pages) -> Starlette:
    return Starlette(
        routes=[
            Route("/healthz", pages.healthz),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.figures),
        ]
    )
