"""What machines ask of us: alive, ready, figures. No log-in, so loopback only and no content."""

import asyncio

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


def make_app(deps: Deps, contact: Contact, runner: Runner) -> Starlette:
    metrics = Metrics(deps)
    one_at_a_time = asyncio.Lock()

    async def healthz(_: Request) -> Response:
        """Say whether the process turns; it may well be waiting for its database."""
        if contact.alive:
            return JSONResponse({"alive": True, "version": deps.version})
        return JSONResponse({"alive": False, "why": "No beat has ended for too long."}, 503)

    async def readyz(_: Request) -> Response:
        """Say whether work is done now, and if not, why."""
        if deps.stopping.is_set():
            return JSONResponse({"ready": False, "why": "The daemon is stopping."}, 503)
        if not contact.ready or not contact.alive:
            return JSONResponse({"ready": False, "why": contact.why or "It hangs."}, 503)
        return JSONResponse({"ready": True, "running": list(runner.running)})

    async def figures(_: Request) -> Response:
        async with one_at_a_time:
            page = await asyncio.wait_for(
                in_thread(lambda: metrics.page(database=contact.ready), "metrics"), SCRAPE_LIMIT_S
            )
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", figures),
        ]
    )
