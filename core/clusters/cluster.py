"""A registered cluster as the rest of the program sees it: never a secret, never a sealed one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from core.clusters.connection.access import Transport
from core.clusters.selector import selector_fault
from core.errors import Unknown
from core.money import NANO

SYSTEM_NAMESPACES: Final = (
    # Kubernetes' own.
    "kube-system", "kube-public", "kube-node-lease",
    # What measures: its cost is part of running the cluster.
    "opencost", "prometheus", "monitoring",
    # What Hopsworks is, and what it serves models with.
    "hopsworks", "hops-system", "istio-system", "knative-serving", "kserve",
    # Doors, certificates, drivers.
    "ingress-nginx", "cert-manager", "gpu-operator",
)  # fmt: skip
"""Absorbed by the house, so the list is short and names only what no project is called. `default`
is left out on purpose: what runs there shows up as unmapped money, and a person decides."""

COST_MAX_NANO: Final = 10_000 * NANO
"""A hundred nodes of eight GPUs cost about that much in an hour."""
CORES_MAX: Final = 100_000
GPUS_MAX: Final = 10_000
RAM_MAX_BYTES: Final = 1 << 50

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_CLUSTER_ID_CHARS_MAX = 253
_CURRENCY = re.compile(r"[A-Z]{3}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_URL_CHARS_MAX = 512
INT_MAX = 2**31 - 1
NAMESPACES_MAX = 500

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class ClusterSettings:
    """What a person may set and change; the names are the table's columns."""

    api_url: str
    opencost_namespace: str = "opencost"
    opencost_selector: str = ""
    opencost_container: str = ""
    opencost_service: str = "opencost"
    opencost_port: int = 9003
    opencost_cluster_id: str | None = None
    transport: Transport = "exec"
    currency: str = "USD"
    max_users: int | None = None
    system_namespaces: tuple[str, ...] = SYSTEM_NAMESPACES
    sentinel_namespace: str = "kube-system"
    cost_max_nano: int = COST_MAX_NANO
    cores_max: int = CORES_MAX
    gpus_max: int = GPUS_MAX
    ram_max_bytes: int = RAM_MAX_BYTES

    def faults(self, *, allow_loopback: bool = False) -> Iterator[str]:
        """Yield a sentence for each setting that cannot be used."""
        yield from _url_faults(self.api_url, allow_loopback=allow_loopback)
        for what, value in (
            ("OpenCost namespace", self.opencost_namespace),
            ("service", self.opencost_service),
            ("sentinel namespace", self.sentinel_namespace),
            *((("container", self.opencost_container),) if self.opencost_container else ()),
            *(("system namespace", namespace) for namespace in self.system_namespaces),
        ):
            if not _LABEL.fullmatch(value):
                yield f"The {what} {value!r} is no Kubernetes name."
        if fault := selector_fault(self.opencost_selector):
            yield fault
        if len(self.system_namespaces) > NAMESPACES_MAX:
            yield f"There are more than {NAMESPACES_MAX} system namespaces."
        # It may be any words: what an answer calls its cluster is kept here, and edited with the rest.
        cluster_id = self.opencost_cluster_id or ""
        if not cluster_id.isprintable() or len(cluster_id) > _CLUSTER_ID_CHARS_MAX:
            yield "The OpenCost cluster id holds what cannot be printed, or is too long."
        if not _CURRENCY.fullmatch(self.currency):
            yield f"{self.currency!r} is no currency; write it like USD."
        yield from self._number_faults()

    def _number_faults(self) -> Iterator[str]:
        if not 1 <= self.opencost_port <= 65535:
            yield f"{self.opencost_port} is no port."
        if self.max_users is not None and not 0 <= self.max_users <= INT_MAX:
            yield f"{self.max_users} is no number of seats."
        for what, value, most in (
            ("cost", self.cost_max_nano, 2**63 - 1),
            ("number of cores", self.cores_max, INT_MAX),
            ("number of GPUs", self.gpus_max, INT_MAX),
            ("amount of RAM", self.ram_max_bytes, 2**62),
        ):
            if not 0 < value <= most:
                yield f"The largest plausible {what} must be above zero, and possible."


SETTING_COLUMNS: Final = tuple(field.name for field in fields(ClusterSettings))


@dataclass(frozen=True, kw_only=True)
class Cluster(ClusterSettings):
    """One row of hopsworks_clusters."""

    id: int
    uid: UUID
    name: str
    server_url: str
    credentials_expire_at: datetime | None
    status: str
    status_why: str
    paused_since: datetime | None
    metering_since: datetime
    last_asked_at: datetime | None
    last_answered_at: datetime | None
    last_outcome: str
    failures: int
    created_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "system_namespaces", tuple(self.system_namespaces))

    @property
    def settings(self) -> ClusterSettings:
        return ClusterSettings(**{name: getattr(self, name) for name in SETTING_COLUMNS})


_COLUMNS = ", ".join(field.name for field in fields(Cluster))


def every_cluster(connection: Connection, *, removed: bool = False) -> list[Cluster]:
    """Return the clusters by name, the removed ones only where asked for."""
    return _select(connection, "%s OR status <> 'removed' ORDER BY name", [removed])


def find_cluster(connection: Connection, name: str, *, lock: bool = False) -> Cluster:
    """Return the cluster of that name that is not removed; Unknown where there is none."""
    found = _select(
        connection,
        "name = %s AND status <> 'removed'" + (" FOR NO KEY UPDATE" if lock else ""),
        [name],
    )
    if not found:
        raise Unknown(_why_unknown(connection, name))
    return found[0]


def _why_unknown(connection: Connection, name: str) -> str:
    removed = _select(connection, "name = %s", [name])
    if not removed:
        return f"There is no cluster {name!r}; `hopsmeter cluster list` shows all."
    return (
        f"The cluster {name} was removed ({removed[0].status_why}). Its hours stay in the books:"
        f" `hopsmeter hours {name}`."
    )


def _select(connection: Connection, condition: str, values: list[Any]) -> list[Cluster]:
    with connection.cursor(row_factory=class_row(Cluster)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM hopsmeter.hopsworks_clusters WHERE {condition}", values
        ).fetchall()


def _url_faults(text: str, *, allow_loopback: bool) -> Iterator[str]:
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        host, url = "", urlsplit("")
    if not host or len(text) > _URL_CHARS_MAX or re.search(r"[^\x21-\x7e]", text):
        yield f"{text[:80]!r} is no address; write it like https://hopsworks.example.com."
    elif url.username is not None or url.password is not None or url.query or url.fragment:
        yield "The API URL must be an address alone, without user, password, query or fragment."
    elif url.scheme != "https" and not (allow_loopback and host in _LOOPBACK):
        yield "The API URL must begin with https://, or the API key would travel in clear."
