"""Which pod is OpenCost, and which of its containers.

Found by label and port, never by a fixed name: the container is called after the Helm release,
and while a roll-out is under way two pods match.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from core.clusters.connection import clocks, rules, trouble
from core.clusters.connection.access import SELECTORS
from core.clusters.connection.client import KubeClient
from core.clusters.connection.trouble import Trouble, short

PODS_MAX = 100


@dataclass(frozen=True)
class Place:
    """Where to exec."""

    namespace: str
    pod: str
    container: str
    image: str


def find_pod(client: KubeClient, namespace: str, selector: str, deadline_s: float) -> Any:
    """Return the newest pod of OpenCost that is ready and not on its way out, as JSON."""
    tried = (selector,) if selector else SELECTORS
    seen: list[Any] = []
    for labels in tried:
        query = urlencode({"labelSelector": labels, "limit": PODS_MAX})
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods?{query}"
        reply = client.call(path, "pod", deadline_s)
        if reply.status // 100 != 2:
            raise trouble.of_status(reply.status, reply.body, rules.list_pods(namespace), "pod")
        clocks.require_not_ahead(reply)
        pods = reply.json("pod").get("items") or []
        able = [pod for pod in pods if _ready(pod)]
        if able:
            return max(able, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        seen += pods
    raise _no_pod(namespace, tried, seen)


def choose_container(pod: Any, port: int, wished: str | None, namespace: str) -> Place:
    """Return the container that was asked for, else the one that exposes OpenCost's port."""
    containers = pod["spec"]["containers"]
    name = pod["metadata"]["name"]
    if wished:
        able = [c for c in containers if c["name"] == wished]
    else:
        able = [
            c for c in containers if any(p["containerPort"] == port for p in c.get("ports") or [])
        ]
        if not able and len(containers) == 1:
            able = containers
    if able:
        return Place(namespace, name, able[0]["name"], str(able[0].get("image", "")))
    there = ", ".join(c["name"] for c in containers)
    wanted = f"is called {wished}" if wished else f"exposes port {port}"
    raise Trouble(
        "container",
        f"no container of pod {name} {wanted}; there are: {short(there)}.",
        "Name the right one: `hopsmeter cluster edit NAME --container` (or --port).",
    )


def _ready(pod: Any) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _no_pod(namespace: str, selectors: tuple[str, ...], seen: list[Any]) -> Trouble:
    if seen:
        states = ", ".join(f"{pod['metadata']['name']} ({_state(pod)})" for pod in seen[:5])
        return Trouble(
            "pod",
            f"no pod of OpenCost is ready in namespace {namespace}: {short(states)}.",
            f"Look at it: `kubectl -n {namespace} describe pod {seen[0]['metadata']['name']}`.",
        )
    return Trouble(
        "pod",
        f"no pod in namespace {namespace} has the label {' or '.join(selectors)}.",
        "Is OpenCost installed there? Name its place with --opencost-namespace and --selector.",
    )


def _state(pod: Any) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    return str(status.get("phase", "unknown"))
