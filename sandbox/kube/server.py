"""The API server: TLS, who asks, what they may, and where their request goes."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
BACKLOG = 512
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
    port: int = 0
    requests: int = 0
    _listener: socket.socket | None = None
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _frozen: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = self.authority.server_context()
        self._resources = Resources(self.state, self.faults, self.fetch, self.now)
        self._exec = Exec(self.faults, self.fetch, self.now)

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept(self._listener))

    async def stop(self) -> None:
        if self._listener:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exec.stop()
        for frozen in self._frozen:
            frozen.close()

    @property
    def processes_running(self) -> int:
        """How many commands still run in the containers; a client that left ends none."""
        return self._exec.running

    def _spawn(self, work: "Awaitable[None]") -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            # asyncio does it only for sockets it made; without, each answer waits 40 ms for an ACK.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.faults.take(["frozen_handshake"]):
                self._frozen.append(connection)
            else:
                self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError, TimeoutError):
            connection.close()
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
