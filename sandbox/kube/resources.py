"""What the API server answers to a request that is neither refused at the door nor an exec."""

import re
from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from sandbox.faults import FaultBook, Moment
from sandbox.kube import discovery, status
from sandbox.kube.identity import Attributes, User, allows
from sandbox.kube.objects import Pod, Service, as_list, selects, table
from sandbox.kube.process import Fetch
from sandbox.kube.reviews import WHO_AM_I, review, who_am_i
from sandbox.kube.route import Route
from sandbox.opencost.api import Reply
from sandbox.wire import Request, Response

PUBLIC_PATHS = ("/version", "/healthz", "/livez", "/readyz")
"""Anybody may read these, as the role system:public-info-viewer has it."""


@dataclass
class State:
    """What exists in a cluster; tests change it while the server runs."""

    version: str
    pods: list[Pod]
    services: list[Service]
    namespaces: list[str]
    opencost_namespace: str = "opencost"


@dataclass
class Resources:
    state: State
    faults: FaultBook
    fetch: Fetch
    now: Clock

    async def answer(
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
        if path == WHO_AM_I and request.method == "POST":
            return who_am_i(user, self.state.version)
        if route is None:
            return status.refusal(404, "the server could not find the requested resource", {})
        verb = _verb(request, route)
        asked = attributes_of(route, verb)
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
        target = self._behind(route, moment)
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

    def _behind(self, route: Route, moment: Moment) -> int | Response:
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
            if unserved or self.faults.take(["no_endpoints"], moment):
                message = f'no endpoints available for service "{service.name}"'
                return status.refusal(503, message)
            return port
        return status.not_found("services", route.name)


def _verb(request: Request, route: Route) -> str:
    if request.method != "GET":
        return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "delete")
    return "get" if route.name else "list"


def attributes_of(route: Route, verb: str) -> Attributes:
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
