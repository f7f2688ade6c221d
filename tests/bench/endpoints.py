"""An endpoint in a process of its own: ours, or a bare route with the same insert.

    python -m tests.bench.endpoints ours|bare DATABASE_URL SECRETS_FILE

Prints its address as soon as it listens, and serves until it is ended.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from core.billing.stripe.reading import read_event
from core.billing.stripe.signature import SigningSecrets
from core.clock import utc_now
from core.db.connect import connect
from core.webhooks.store import store
from daemon.tally import Tally
from daemon.web.hooks import Hooks, listening
from daemon.web.keeper import Keeper
from daemon.web.server import Listener
from tests.core.webhooks.sender import snapshot

WHERE = ("127.0.0.1", 0)
CONNECTIONS_MAX = 256


def bare(url: str) -> Callable[..., Any]:
    """Return a route that verifies nothing: each request is an insert and a commit of its own."""
    lines: list[psycopg.Connection[Any]] = []
    counter = iter(range(10**9))
    lock = threading.Lock()

    def insert() -> None:
        with lock:
            line = lines.pop() if lines else connect(url, name="bare")
            number = next(counter)
        store(line, [read_event(snapshot(f"evt_bare{number}"), live=False)])
        with lock:
            lines.append(line)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.to_thread(insert)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def serve(kind: str, url: str, secrets: Path) -> None:
    if kind == "ours":
        keeper = Keeper(lambda: connect(url, name="kept"), lambda: None)
        signing = SigningSecrets(secrets, private=True)
        hooks = Hooks(signing, keeper, utc_now, Tally(), live=False)
        async with listening(hooks, keeper, WHERE) as where:
            await _until_ended(where)
        return
    async with Listener(bare(url), WHERE, "HOPSMETER_HOOKS_LISTEN", CONNECTIONS_MAX) as listener:
        await _until_ended(listener.address)


async def _until_ended(where: str) -> None:
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
