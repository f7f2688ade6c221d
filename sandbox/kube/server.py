"""The API server: TLS, who asks, what they may, and where their request goes."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from core.clock import Clock
from sandbox.faults import FaultBook, Moment
from sandbox.kube import discovery, status
from sandbox.kube.authority import Authority
from sandbox.kube.exec import Exec
from sandbox.kube.identity import Attributes, Identities, User, allows
from sandbox.kube.objects import Pod, Service, as_list, selects, table
from sandbox.kube.process import Fetch
from sandbox.kube.reviews import review
from sandbox.kube.route import Route, find_route
from sandbox.opencost.api import Reply
from sandbox.wire import (
    HEAD_BYTES_MAX,
    Broken,
    Request,
    Response,
    read_request,
    write_response,
)

HANDSHAKE_S = 20.0
BACKLOG = 512
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PUBLIC_PATHS = ("/version", "/healthz", "/livez", "/readyz")


@dataclass
class State:
    """What exists in a cluster; tests change it while the server runs."""

    version: str
    pods: list[Pod]
    services: list[Service]
    namespaces: list[str]
    opencost_namespace: str = "opencost"


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
        except (Broken, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client left, or speaks something else; a server shrugs
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), HANDSHAKE_S)

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
                    response = await self._answer(request, route, user, moment)
            if not await write_response(writer, response, self.now()):
                return

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
                return status.forbidden(user, _attributes(route, "get"))
        return None

    async def _answer(
        self, request: Request, route: Route | None, user: User, moment: Moment
    ) -> Response:
        path = request.path.rstrip("/")
        if path == "/version":
            return status.as_json(discovery.version(self.state.version))
        if path in PUBLIC_PATHS:
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path in discovery.DOCUMENTS:
            return status.as_json(discovery.DOCUMENTS[path])
        if path.startswith("/apis/authorization.k8s.io/v1/") and request.method == "POST":
            return review(request.body, user)
        if route is None:
            return status.refusal(404, "the server could not find the requested resource", {})
        verb = _verb(request, route)
        asked = _attributes(route, verb)
        if not allows(user, asked):
            return status.forbidden(user, asked)
        if route.subresource == "proxy":
            return await self._proxy(request, route, moment)
        if request.method != "GET":
            return status.refusal(405, "the server does not allow this method on the resource", {})
        return self._read(request, route)

    def _read(self, request: Request, route: Route) -> Response:
        kind, items = self._objects(route.resource, route.namespace)
        if route.name:
            found = [item for item in items if item["metadata"]["name"] == route.name]
            if not found:
                return status.not_found(route.resource, route.name)
            items = found
        else:
            try:
                items = _filtered(items, request)
            except ValueError as error:
                return status.refusal(400, str(error), {})
        if "as=Table" in request.headers.get("accept", ""):
            return status.as_json(table(kind, items, self.now()))
        return status.as_json(items[0] if route.name else as_list(kind, items))

    def _objects(self, resource: str, namespace: str) -> tuple[str, list[dict[str, Any]]]:
        if resource == "pods":
            return "Pod", [p.as_json() for p in self.state.pods if namespace in ("", p.namespace)]
        if resource == "services":
            services = [s for s in self.state.services if namespace in ("", s.namespace)]
            return "Service", [service.as_json() for service in services]
        return "Namespace", [_namespace_json(name) for name in self.state.namespaces]

    async def _proxy(self, request: Request, route: Route, moment: Moment) -> Response:
        target = self._behind(route)
        if isinstance(target, Response):
            return target
        query = request.target.partition("?")[2]
        try:
            reply = await self.fetch(target, route.rest + (f"?{query}" if query else ""))
        except ConnectionRefusedError:
            text = f"dial tcp 10.1.0.7:{target}: connect: connection refused"
            message = f"error trying to reach service: {text}"
            return status.refusal(503, message)
        return self._relayed(reply, moment)

    def _relayed(self, reply: Reply, moment: Moment) -> Response:
        cut = self.faults.take(["cut"], moment).get("cut")
        after = None if cut is None else cut.bytes or len(reply.body) // 2
        return Response(reply.status, reply.body, reply.content_type, cut_after_bytes=after)

    def _behind(self, route: Route) -> int | Response:
        """Return the port in the pod that a proxy path leads to, or why it leads nowhere."""
        pods = [pod for pod in self.state.pods if pod.namespace == route.namespace]
        if route.resource == "pods":
            if not any(pod.name == route.name for pod in pods):
                return status.not_found("pods", route.name)
            return int(route.port) if route.port.isdigit() else 80
        for service in self.state.services:
            if (service.namespace, service.name) != (route.namespace, route.name):
                continue
            port = service.port(route.port)
            if port is None:
                message = f'no service port "{route.port}" found for service "{service.name}"'
                return status.refusal(503, message)
            selected = [p for p in pods if service.selector.items() <= p.labels.items()]
            unserved = not any(pod.serves for pod in selected)
            if unserved or self.faults.take(["no_endpoints"]):
                message = f'no endpoints available for service "{service.name}"'
                return status.refusal(503, message)
            return port
        return status.not_found("services", route.name)

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


def _verb(request: Request, route: Route) -> str:
    if request.method != "GET":
        return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "delete")
    return "get" if route.name else "list"


def _attributes(route: Route, verb: str) -> Attributes:
    resource = f"{route.resource}/{route.subresource}" if route.subresource else route.resource
    return Attributes(verb, resource, route.namespace, route.named)


def _namespace_json(name: str) -> dict[str, Any]:
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-01-05T08:00:00Z",
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


_FIELD = re.compile(r"(metadata\.name|metadata\.namespace|status\.phase)(==|=|!=)([\w.-]+)")


def _filtered(items: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    labels, fields = request.first("labelSelector"), request.first("fieldSelector")
    kept = items
    if labels:
        kept = [item for item in kept if selects(labels, item["metadata"].get("labels", {}))]
    for term in filter(None, fields.split(",")):
        match = _FIELD.fullmatch(term)
        if not match:
            raise ValueError(f'field label not supported: "{term}"')
        part, name = match[1].split(".")
        kept = [item for item in kept if (item[part].get(name) == match[3]) == (match[2] != "!=")]
    return kept
