"""uvicorn on loopback ports, inside our own loop and under our own signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import uvicorn

from core.errors import SettingsFault
from core.settings.checks import address
from daemon.contact import Contact
from daemon.deps import Deps
from daemon.runner import Runner
from daemon.web.app import Pages, make_app
from daemon.web.metrics import Metrics

STARTED_POLL_S = 0.01
CLOSE_LIMIT_S = 2
CONNECTIONS_MAX = 32


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise SIGTERM again after its own end, and the
    process would die of it before ours.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """An application on an address of ours, for as long as the block runs."""

    def __init__(
        self, app: Any, where: tuple[str, int], setting: str, connections_max: int
    ) -> None:
        self._socket = bind(*where, setting)
        self.address = address(*self._socket.getsockname()[:2])
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                limit_concurrency=connections_max,
                timeout_graceful_shutdown=CLOSE_LIMIT_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not (self._server.started or self._task.done()):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(STARTED_POLL_S)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._server.should_exit = True
        await self._task


def pages(deps: Deps, contact: Contact, runner: Runner) -> Listener:
    """Return the pages for machines."""
    app = make_app(Pages(deps, contact, runner, Metrics(deps)))
    return Listener(app, deps.settings.listen, "HOPSMETER_LISTEN", CONNECTIONS_MAX)


def bind(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket that has the address; SettingsFault where somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as fault:
        listener.close()
        raise SettingsFault(
            f"{address(host, port)} cannot be listened on: {fault.strerror}. Stop what uses it, or"
            f" name another port in {setting}."
        ) from None
    return listener
