"""The API server: TLS, who asks, what they may, and where their request goes."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock, utc_now
from sandbox.faults import FaultBook, Moment
from sandbox.kube import discovery, status
from sandbox.kube.authority import Authority
from sandbox.kube.exec import Exec
from sandbox.kube.identity import Attributes, Identities, User, allows
from sandbox.kube.process import Fetch
from sandbox.kube.resources import PUBLIC_PATHS, Resources, State, attributes_of
from sandbox.kube.route import Route, find_route
from sandbox.listener import Listener
from sandbox.wire import (
    HEAD_BYTES_MAX,
    Broken,
    Request,
    Response,
    read_request,
    write_response,
)

HANDSHAKE_S = 20.0
GOODBYE_S = 1.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class ApiServer:
    state: State
    faults: FaultBook
    identities: Identities
    authority: Authority
    fetch: Fetch
    """What answers inside the OpenCost pod, by port."""
    moment: Callable[[str], Moment]
    """Which window of usage a URL asks for, for faults bound to hours."""
    now: Clock
    requests: int = 0

    def __post_init__(self) -> None:
        self._listener = Listener(self._serve)
        self._context = self.authority.server_context()
        self._resources = Resources(self.state, self.faults, self.fetch, self.now)
        self._exec = Exec(self.faults, self.fetch, self.now)

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._listener.start()

    async def stop(self) -> None:
        await self._listener.stop()
        await self._exec.stop()

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def processes_running(self) -> int:
        """How many commands still run in the containers; a client that left ends none."""
        return self._exec.running

    async def _serve(self, connection: socket.socket) -> None:
        if self.faults.take(["frozen_handshake"]):
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError, TimeoutError):
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await self._converse(reader, writer)
            writer.close()
            # The client owes us its half of TLS's goodbye; it need not give it.
            async with asyncio.timeout(GOODBYE_S):
                await writer.wait_closed()
        except (Broken, OSError, asyncio.IncompleteReadError):
            pass  # the client left, or speaks something else; a server shrugs
        finally:
            transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        while request := await read_request(reader):
            self.requests += 1
            moment = self.moment(request.target)
            if self.faults.take(["frozen_request"], moment):
                # Says nothing until the client leaves.
                await reader.read()
                return
            user = self.identities.of(request.headers.get("authorization", ""), tls)
            response = self._gate(request, user, moment)
            if response is None:
                assert user is not None
                route = find_route(request.path)
                if route and route.subresource == "exec":
                    response = await self._upgrade(request, route, user, moment, (reader, writer))
                    if response is None:
                        return
                else:
                    response = await self._resources.answer(request, route, user, moment)
            if not await write_response(writer, response, self._date(moment)):
                return

    def _date(self, moment: Moment) -> datetime:
        """Return what the clock of this server says."""
        if self.faults.take(["host_date"], moment):
            return utc_now()
        lie = self.faults.take(["wrong_date"], moment).get("wrong_date")
        return self.now() + timedelta(seconds=lie.seconds if lie else 0)

    def _gate(self, request: Request, user: User | None, moment: Moment) -> Response | None:
        """Return the refusal that needs no look at what is asked for, if there is one."""
        if user is None:
            return status.unauthorized()
        path = request.path.rstrip("/")
        if path in PUBLIC_PATHS:
            return None
        if user.is_anonymous and path in discovery.DOCUMENTS:
            return status.forbidden_path(user, path)
        if "/namespaces/" in path:
            struck = self.faults.take(["unauthorized", "forbidden"], moment)
            if "unauthorized" in struck:
                return status.unauthorized()
            route = find_route(path)
            if "forbidden" in struck and route:
                return status.forbidden(user, attributes_of(route, "get"))
        return None

    async def _upgrade(
        self,
        request: Request,
        route: Route,
        user: User,
        moment: Moment,
        streams: Streams,
    ) -> Response | None:
        """Check an exec and run it; None when the connection was used up by it."""
        verb = "create" if request.method == "POST" else "get"
        asked = Attributes(verb, "pods/exec", route.namespace, route.name)
        if not allows(user, asked):
            return status.forbidden(user, asked)
        needs_create = verb == "get" and _minor(self.state.version) >= 35
        create = Attributes("create", "pods/exec", route.namespace, route.name)
        if needs_create and not allows(user, create):
            return status.forbidden_without_reason(route.name)
        for pod in self.state.pods:
            if (pod.namespace, pod.name) == (route.namespace, route.name):
                v5 = _minor(self.state.version) >= 30
                return await self._exec.serve(request, pod, moment, *streams, v5=v5)
        return status.not_found("pods", route.name)


def _minor(version: str) -> int:
    return int(version.split(".")[1])
