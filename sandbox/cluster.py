"""One cluster of the world: API server, OpenCost, story, faults, and ways in."""

import base64
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import yaml

from core.clock import Clock, floor_hour
from sandbox.faults import FaultBook
from sandbox.kube.authority import Authority
from sandbox.kube.identity import TOKEN_LIFE, Identities, Rule, User, role
from sandbox.kube.objects import API_PORT, UI_PORT, Container, Pod, Service
from sandbox.kube.resources import State
from sandbox.kube.server import ApiServer
from sandbox.opencost.api import Ask, Opencost, Reply, moment_in
from sandbox.story import Ownership, Story

UI_TOOLS = frozenset({"wget", "curl", "echo", "sleep", "date", "true", "false"})
POD_AGE = timedelta(days=20)

Install = Literal["helm", "subchart", "manifest"]
"""How OpenCost was installed; labels and names differ (facts/opencost.md)."""


@dataclass(frozen=True)
class ClusterSpec:
    name: str
    cluster_id: str = "default-cluster"
    """OpenCost's CLUSTER_ID; the chart's default is no more unique than this one."""
    namespaces: int = 40
    version: str = "1.36"
    """Of Kubernetes: from 1.35 exec needs `create`, up to 1.29 it speaks only v4."""
    install: Install = "helm"
    currency: str = "USD"
    retention_days: int = 15
    shift_h: int = 0
    """The time zone people there work in."""
    gpu_heavy: bool = False
    """A third of its projects train on GPUs."""


@dataclass(frozen=True)
class Place:
    """Where OpenCost is in its cluster: what a person registers."""

    namespace: str
    selector: str
    container: str
    service: str
    port: int
    pod: str


class Cluster:
    """Attributes may be changed while it runs: `state.pods`, `state.version`, `faults`."""

    def __init__(self, spec: ClusterSpec, seed: int, now: Clock) -> None:
        self.spec, self.name, self.now = spec, spec.name, now
        # Once: ownership must not wander with the clock.
        self.data_since = floor_hour(now()) - timedelta(days=spec.retention_days)
        self.story = Story(seed, spec.name, spec.namespaces, spec.shift_h, gpu_heavy=spec.gpu_heavy)
        self.faults = FaultBook(now)
        self.authority = Authority(spec.name)
        self.identities = Identities(now)
        self.opencost = Opencost(
            self.story, spec.cluster_id, now, self.faults, timedelta(days=spec.retention_days)
        )
        self.place, pods, services = _installed(spec, now)
        self.state = State(
            spec.version, pods, services, self.story.namespaces, self.place.namespace
        )
        self.server = ApiServer(
            state=self.state,
            faults=self.faults,
            identities=self.identities,
            authority=self.authority,
            fetch=self._fetch,
            moment=lambda text: moment_in(text, now()),
            now=now,
        )

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    @property
    def ca_pem(self) -> str:
        return self.authority.pem.decode()

    @property
    def asks(self) -> list[Ask]:
        """What OpenCost was asked so far, oldest first."""
        return list(self.opencost.asks)

    def kubeconfig(
        self,
        role_name: str = "exec",
        credential: Literal["token", "certificate"] = "token",
        expires_in: timedelta = TOKEN_LIFE,
        rules: tuple[Rule, ...] | None = None,
    ) -> str:
        """Return a kubeconfig (YAML, everything embedded) for a role of `identity.ROLES`.

        `rules` overrides what the role may do. Each call makes a credential of its own; a
        negative `expires_in` gives one that has expired.
        """
        place = self.place
        if rules is None:
            rules = role(role_name, place.namespace, place.service, place.port)
        account = f"system:serviceaccount:{place.namespace}:hopsmeter-{role_name}"
        user = User(account, rules)
        expires_at = self.now() + expires_in
        if credential == "token":
            secret = {"token": self.identities.token(user, place.namespace, expires_at)}
        else:
            self.identities.add(user)
            certificate, key = self.authority.client(account, ("hopsmeter",), expires_at)
            secret = {
                "client-certificate-data": base64.b64encode(certificate).decode(),
                "client-key-data": base64.b64encode(key).decode(),
            }
        return _kubeconfig(self.name, self.api_url, self.ca_pem, secret)

    def ownership(self) -> list[Ownership]:
        """Return who owns what since the oldest hour that OpenCost had when the world began."""
        return self.story.ownership(self.data_since)

    async def _fetch(self, port: int, target: str) -> Reply:
        if port != self.place.port:
            raise ConnectionRefusedError(port)
        return await self.opencost.get(target)


def _installed(spec: ClusterSpec, now: Clock) -> tuple[Place, list[Pod], list[Service]]:
    release = "hopsworks-release-opencost" if spec.install == "subchart" else "opencost"
    if spec.install == "manifest":
        labels, selector = {"app": "opencost"}, "app=opencost"
    else:
        instance = "hopsworks-release" if spec.install == "subchart" else "opencost"
        labels = {
            "app.kubernetes.io/name": "opencost",
            "app.kubernetes.io/instance": instance,
            "pod-template-hash": "6d8f7c9b54",
        }
        selector = "app.kubernetes.io/name=opencost"
    created = now() - POD_AGE
    opencost = Pod(
        namespace="opencost",
        name=f"{release}-6d8f7c9b54-x2kqp",
        labels=labels,
        created_at=created,
        containers=(
            Container(release, (API_PORT,), "ghcr.io/opencost/opencost:1.120.1"),
            Container("opencost-ui", (UI_PORT,), "ghcr.io/opencost/opencost-ui:1.120.1", UI_TOOLS),
        ),
    )
    others = [
        Pod(
            namespace=namespace,
            name=name,
            labels={"app": namespace},
            created_at=created,
            containers=(Container("main"),),
        )
        for namespace, name in (
            ("kube-system", "coredns-5d78c9869d-8hx2m"),
            ("hopsworks", "hopsworks-admin-0"),
            ("monitoring", "prometheus-server-0"),
        )
    ]
    service = Service(
        namespace="opencost",
        name=release,
        ports={"http": API_PORT, "http-ui": UI_PORT},
        selector=dict([next(iter(labels.items()))]),
        created_at=created,
    )
    place = Place("opencost", selector, release, release, API_PORT, opencost.name)
    return place, [opencost, *others], [service]


def _kubeconfig(name: str, api_url: str, ca_pem: str, secret: dict[str, Any]) -> str:
    ca = base64.b64encode(ca_pem.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": api_url, "certificate-authority-data": ca}}
        ],
        "users": [{"name": "hopsmeter", "user": secret}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "hopsmeter"}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)
