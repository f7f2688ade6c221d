"""What is needed to reach one OpenCost, how long that may take, and what a check saw."""

from dataclasses import dataclass
from typing import Literal

from core.secret import Secret

Transport = Literal["exec", "proxy"]
Outcome = Literal["ok", "warn", "fail", "not reached"]

CONNECT_S = 15.0
ANSWER_S = 120.0
SIZE_MAX_BYTES = 256 * 1024 * 1024
RETRIES_MAX = 2

OPENCOST_NAMESPACE = "opencost"
OPENCOST_PORT = 9003
SELECTORS = ("app.kubernetes.io/name=opencost", "app=opencost")
"""The Helm chart's label, then the plain manifest's; tried in order where no selector is given."""


@dataclass(frozen=True)
class ClusterAccess:
    """One cluster's OpenCost. `kubeconfig` is the minimal document that the registry keeps
    (`Kubeconfig.minimal_document`).
    """

    cluster: str
    kubeconfig: Secret
    transport: Transport = "exec"
    opencost_namespace: str = OPENCOST_NAMESPACE
    selector: str = ""
    """Empty means `SELECTORS`, in order."""
    container: str | None = None
    """None means the container that exposes `port`."""
    port: int = OPENCOST_PORT
    service: str = "opencost"
    """Only for the transport `proxy`."""


@dataclass(frozen=True)
class VisitLimits:
    connect_s: float = CONNECT_S
    """How long TCP, TLS and the handshake may take together."""
    answer_s: float = ANSWER_S
    """The hard deadline of one ask, everything included; held from outside, by SIGKILL."""
    size_max_bytes: int = SIZE_MAX_BYTES
    retries_max: int = RETRIES_MAX
    """How often a transient fault is tried again within one ask, inside its deadline."""


@dataclass(frozen=True)
class CheckStep:
    name: str
    outcome: Outcome
    saw: str
    cure: str = ""
