"""The loopback endpoint by which tests in other processes move the world."""

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.clock import hour_text
from sandbox.clock import WorldClock
from sandbox.faults import fault_from_json
from sandbox.stripe.control import StripeControl
from sandbox.wire import Request, Response, plain_server

if TYPE_CHECKING:
    from sandbox.cluster import Cluster
    from sandbox.world import World


class Control:
    """GET /sandbox/world, /sandbox/asks; GET, POST, DELETE /sandbox/faults; POST /sandbox/clock; /sandbox/stripe/…."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stripe = StripeControl(world.stripe) if world.has_stripe else None
        self._server = plain_server(self._handle, world.now)

    @property
    def url(self) -> str:
        assert self._server.port, "the world has not started"
        return f"http://127.0.0.1:{self._server.port}"

    async def start(self) -> None:
        self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def describe(self) -> dict[str, Any]:
        world = self._world
        return {
            "seed": world.seed,
            "control_url": self.url,
            "now": world.now().isoformat(),
            "clusters": [_cluster(cluster) for cluster in world],
            "stripe": self._stripe.describe() if self._stripe else None,
            "users": [dataclasses.asdict(user) for user in world.users],
            "ownership": [
                dataclasses.asdict(entry) | {"from_hour": hour_text(entry.from_hour)}
                for entry in world.ownership
            ],
        }

    async def _handle(self, request: Request) -> Response:
        handler = self._handlers().get((request.method, request.path))
        if handler is None:
            return _json({"error": f"no {request.method} {request.path} here"}, 404)
        try:
            return _json(handler(request))
        except (ValueError, TypeError, KeyError) as error:
            return _json({"error": str(error)}, 400)

    def _handlers(self) -> dict[tuple[str, str], Callable[[Request], Any]]:
        return {
            ("GET", "/sandbox/world"): lambda _: self.describe(),
            ("GET", "/sandbox/asks"): self._asks,
            ("GET", "/sandbox/faults"): self._faults,
            ("POST", "/sandbox/faults"): self._add_fault,
            ("DELETE", "/sandbox/faults"): self._remove_faults,
            ("POST", "/sandbox/clock"): self._clock,
        } | (self._stripe.handlers() if self._stripe else {})

    def _asks(self, _request: Request) -> dict[str, list[dict[str, Any]]]:
        return {
            cluster.name: [
                {
                    "at": ask.at.isoformat(),
                    "target": ask.target,
                    "start": ask.start.isoformat() if ask.start else None,
                    "end": ask.end.isoformat() if ask.end else None,
                }
                for ask in cluster.asks
            ]
            for cluster in self._world
        }

    def _faults(self, _request: Request) -> dict[str, list[dict[str, Any]]]:
        return {
            cluster.name: [
                {"id": number, "taken": taken, **fault.as_json()}
                for number, fault, taken in cluster.faults.all()
            ]
            for cluster in self._world
        }

    def _add_fault(self, request: Request) -> dict[str, int]:
        data = json.loads(request.body)
        cluster = self._world[data.pop("cluster")]
        return {"id": cluster.faults.add(fault_from_json(data))}

    def _remove_faults(self, request: Request) -> dict[str, str]:
        name, number = request.first("cluster"), request.first("id")
        for cluster in self._world:
            if name in ("", cluster.name):
                if number:
                    cluster.faults.remove(int(number))
                else:
                    cluster.faults.clear()
        return {"removed": number or "all"}

    def _clock(self, request: Request) -> dict[str, str]:
        """Stop the clock at `now`, or move it by `advance_s`."""
        data, clock = json.loads(request.body), self._world.now
        if not isinstance(clock, WorldClock):
            raise TypeError("this world was given a clock of its own")
        if "now" in data:
            clock.freeze(datetime.fromisoformat(data["now"]))
        clock.advance(timedelta(seconds=data.get("advance_s", 0)))
        if self._world.has_stripe:
            self._world.stripe.catch_up()
        return {"now": clock().isoformat()}


def _cluster(cluster: "Cluster") -> dict[str, Any]:
    return {
        **dataclasses.asdict(cluster.spec),
        "api_url": cluster.api_url,
        "ca_pem": cluster.ca_pem,
        "kubeconfig": cluster.kubeconfig("exec"),
        "kubeconfig_certificate": cluster.kubeconfig("exec", "certificate"),
        "kubeconfig_proxy": cluster.kubeconfig("proxy"),
        "kubeconfig_admin": cluster.kubeconfig("admin"),
        "opencost": dataclasses.asdict(cluster.place),
        "system_namespaces": [
            project.namespace for project in cluster.story.projects if project.kind == "system"
        ],
        "unmapped": cluster.story.unmapped(),
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode())
