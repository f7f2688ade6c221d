"""Pods and services of a cluster, as objects and as the table that `kubectl get` prints."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sandbox.opencost.shape import go_time
from sandbox.story import mix

API_PORT = 9003
UI_PORT = 9090


@dataclass(frozen=True)
class Container:
    name: str
    ports: tuple[int, ...] = ()
    image: str = "registry.example.com/sandbox:1"
    tools: frozenset[str] = frozenset({"wget", "echo", "sleep", "date", "true", "false", "cat"})
    """Programs that exec finds in it."""


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    containers: tuple[Container, ...]
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict)
    ready: bool = True
    phase: str = "Running"
    deleted_at: datetime | None = None
    """Set while it is terminating."""
    ip: str = "10.1.0.7"
    node: str = "node-1"

    def with_(self, **changes: Any) -> "Pod":
        return replace(self, **changes)

    @property
    def serves(self) -> bool:
        return self.ready and self.phase == "Running" and self.deleted_at is None

    def as_json(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "uid": f"00000000-0000-4000-8000-{mix(self.name) >> 16:012x}",
            "resourceVersion": "1",
            "creationTimestamp": go_time(self.created_at),
            "labels": self.labels,
        }
        if self.deleted_at:
            metadata["deletionTimestamp"] = go_time(self.deleted_at)
            metadata["deletionGracePeriodSeconds"] = 30
        return {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": metadata,
            "spec": {
                "containers": [_container_spec(container) for container in self.containers],
                "restartPolicy": "Always",
                "nodeName": self.node,
                "serviceAccountName": "default",
            },
            "status": self._status(),
        }

    def _status(self) -> dict[str, Any]:
        truth = "True" if self.ready else "False"
        started = go_time(self.created_at)
        return {
            "phase": self.phase,
            "conditions": [
                {"type": kind, "status": truth, "lastTransitionTime": started}
                for kind in ("Ready", "ContainersReady")
            ],
            "hostIP": "10.0.0.1",
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": started,
            "containerStatuses": [
                {
                    "name": container.name,
                    "state": {"running": {"startedAt": started}},
                    "lastState": {},
                    "ready": self.ready,
                    "restartCount": 0,
                    "image": container.image,
                    "imageID": container.image,
                    "started": True,
                }
                for container in self.containers
            ],
            "qosClass": "Burstable",
        }


def _container_spec(container: Container) -> dict[str, Any]:
    return {
        "name": container.name,
        "image": container.image,
        "ports": [{"containerPort": port, "protocol": "TCP"} for port in container.ports],
        "resources": {"requests": {"cpu": "10m", "memory": "55Mi"}},
        "imagePullPolicy": "IfNotPresent",
    }


@dataclass(frozen=True)
class Service:
    namespace: str
    name: str
    ports: dict[str, int]
    """Port name → number."""
    selector: dict[str, str]
    created_at: datetime

    def port(self, text: str) -> int | None:
        """Return the port that a proxy path names, by number or by name; the first by default."""
        if not text:
            return next(iter(self.ports.values()))
        if text.isdigit():
            return int(text) if int(text) in self.ports.values() else None
        return self.ports.get(text)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "resourceVersion": "1",
                "creationTimestamp": go_time(self.created_at),
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "10.96.0.10",
                "selector": self.selector,
                "ports": [
                    {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                    for name, port in self.ports.items()
                ],
            },
            "status": {"loadBalancer": {}},
        }


def as_list(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    return {
        "kind": f"{kind}List",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": bare,
    }


_TERM = re.compile(r"\s*(!?)([\w./-]+)\s*(?:(==|=|!=|\bin\b|\bnotin\b)\s*(\([^)]*\)|[\w.-]*))?\s*")


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Tell whether labels meet a selector; raises ValueError where it is no selector."""
    position = 0
    while position < len(selector):
        match = _TERM.match(selector, position)
        if not match:
            raise ValueError(f"unable to parse requirement: {selector[position:]!r}")
        if not _meets(match, labels):
            return False
        position = match.end()
        if position < len(selector) and selector[position] != ",":
            raise ValueError(f"unable to parse requirement: {selector[position:]!r}")
        position += 1
    return True


def _meets(match: "re.Match[str]", labels: dict[str, str]) -> bool:
    negated, key, operator, value = match.groups()
    if operator is None:
        return (key in labels) != bool(negated)
    if operator in ("in", "notin"):
        values = {part.strip() for part in value.strip("()").split(",")}
        return (labels.get(key) in values) == (operator == "in")
    return (labels.get(key) == value) == (operator != "!=")


def _columns(*names: str, wide: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": name,
            "priority": 1 if name in wide else 0,
        }
        for name in (*names, *wide)
    ]


def table(kind: str, items: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """Return the meta.k8s.io/v1 Table that kubectl asks for."""
    columns, cells = _TABLES[kind]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "columnDefinitions": columns,
        "rows": [
            {
                "cells": cells(item, now),
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": item["metadata"],
                },
            }
            for item in items
        ],
    }


def _pod_cells(pod: dict[str, Any], now: datetime) -> list[Any]:
    containers = pod["status"]["containerStatuses"]
    ready = sum(container["ready"] for container in containers)
    terminating = "deletionTimestamp" in pod["metadata"]
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(containers)}",
        "Terminating" if terminating else pod["status"]["phase"],
        "0",
        _age(pod, now),
        pod["status"]["podIP"],
        pod["spec"]["nodeName"],
        "<none>",
        "<none>",
    ]


def _service_cells(service: dict[str, Any], now: datetime) -> list[Any]:
    ports = ",".join(f"{port['port']}/TCP" for port in service["spec"]["ports"])
    return [
        service["metadata"]["name"],
        "ClusterIP",
        service["spec"]["clusterIP"],
        "<none>",
        ports,
        _age(service, now),
    ]


def _namespace_cells(namespace: dict[str, Any], now: datetime) -> list[Any]:
    return [namespace["metadata"]["name"], "Active", _age(namespace, now)]


def _age(item: dict[str, Any], now: datetime) -> str:
    age = now - datetime.fromisoformat(item["metadata"]["creationTimestamp"])
    return f"{age.days}d" if age >= timedelta(days=2) else f"{int(age.total_seconds() // 60)}m"


_TABLES = {
    "Pod": (
        _columns(
            *("Name", "Ready", "Status", "Restarts", "Age"),
            wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
        ),
        _pod_cells,
    ),
    "Service": (
        _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"),
        _service_cells,
    ),
    "Namespace": (_columns("Name", "Status", "Age"), _namespace_cells),
}
