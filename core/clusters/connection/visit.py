"""A visit to one cluster, in a process of its own.

Only a kill from outside is a deadline that holds: the client library waits without limit while it
connects, shakes hands and reads half a frame. And clusters asked side by side must not share a
client, which the library swaps parts of while it works. So each visit is a forked process that
asks on our behalf; one visit may ask many times (a catch-up), and keeps its connection and the
pod it found.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from core.clock import monotonic_s
from core.clusters.connection import wire
from core.clusters.connection.access import CheckStep, ClusterAccess, Outcome, VisitLimits
from core.clusters.connection.launcher import Child, Launcher, LaunchFault, launcher
from core.errors import ClusterFault, ClusterTimeout

_WAY_IN = ("kubeconfig", "connect", "tls", "credentials", "version", "clock", "permission")
CHECK_NAMES = {"exec": (*_WAY_IN, "pod", "container", "exec"), "proxy": (*_WAY_IN, "proxy")}
"""The steps of a check, in order."""

SEND_S = 5.0
_AT_OPENCOST = ("exec", "proxy", "opencost")
_CURE_SLOW = "OpenCost or its Prometheus is slow, or the API server froze; see the pod's logs."
_CURE_SILENT = "Check that the API server runs and that this host may reach it (firewall, VPN)."
_OUTCOMES: dict[str, Outcome] = {"ok": "ok", "warn": "warn", "fail": "fail"}


class Reach:
    """The asking side of a visit; for one thread at a time."""

    def __init__(self, access: ClusterAccess, limits: VisitLimits, source: Launcher) -> None:
        self.access, self.limits = access, limits
        self._source = source
        self._child: Child | None = None

    def get(self, path: str) -> bytes:
        """Return the body of OpenCost's 200 for `path` (with its query), as bytes.

        Raises ClusterTimeout at the deadline at the latest, ClusterFault for all else; the visit
        can be used again after either.
        """
        assert path.startswith("/"), "a path, not an address"
        deadline_s = monotonic_s() + self.limits.answer_s
        try:
            report = self._exchange(wire.Ask(path, self.limits.answer_s), deadline_s)
            if isinstance(report, wire.Answer):
                return self._body(report.size, deadline_s)
        except BaseException:
            # Whatever came in between, the rest of the answer must not be read as the next one.
            self.close()
            raise
        assert isinstance(report, wire.Fault), "an ask ends with an answer or a fault"
        kind = ClusterTimeout if report.timeout else ClusterFault
        raise kind(self.access.cluster, report.step, report.message, self._named(report.cure))

    def check(self) -> list[CheckStep]:
        """Walk the way to OpenCost step by step; what it meets is in the steps, never raised."""
        deadline_s = monotonic_s() + self.limits.answer_s
        found: list[CheckStep] = []
        try:
            report = self._exchange(wire.Check(self.limits.answer_s), deadline_s)
            while isinstance(report, wire.Found):
                outcome = _OUTCOMES[report.outcome]
                found.append(CheckStep(report.name, outcome, report.saw, self._named(report.cure)))
                report = self._next(deadline_s)
        except BaseException:
            self.close()
            raise
        names = CHECK_NAMES[self.access.transport]
        if isinstance(report, wire.Fault):
            cure = self._named(report.cure)
            found.append(CheckStep(names[len(found)], "fail", report.message, cure))
        return found + [CheckStep(name, "not reached", "") for name in names[len(found) :]]

    def close(self) -> None:
        """End the visit's process; the next ask would start another."""
        if self._child:
            self._child.end()
            self._child = None

    def _named(self, cure: str) -> str:
        """Put the cluster's name into the command: who writes a cure knows only the way there."""
        return cure.replace("cluster edit NAME", f"cluster edit {self.access.cluster}")

    def _exchange(self, order: wire.Ask | wire.Check, deadline_s: float) -> wire.ToParent:
        try:
            if self._child is None:
                self._child = self._source.launch()
                self._tell(self._opening())
            self._tell(order)
        except LaunchFault as fault:
            return wire.Fault("start", f"{fault}.", "See the host's memory and processes.", False)
        except OSError:
            return self._lost()
        return self._next(deadline_s)

    def _tell(self, message: wire.ToChild) -> None:
        assert self._child
        self._child.line.settimeout(SEND_S)
        wire.send(self._child.line, message)

    def _next(self, deadline_s: float) -> wire.ToParent:
        """Return the child's next report that is no mere Step; kill it at the deadline."""
        step = "start"
        assert self._child
        try:
            while True:
                report = wire.receive_report(self._child.line, deadline_s)
                if not isinstance(report, wire.Step):
                    return report
                step = report.name
        except TimeoutError:
            self.close()
            return self._too_late(step)
        except (EOFError, OSError):
            return self._lost()

    def _body(self, size: int, deadline_s: float) -> bytes:
        assert self._child
        assert size <= self.limits.size_max_bytes, "the child keeps the limit"
        cluster, step = self.access.cluster, self.access.transport
        try:
            return wire.receive_body(self._child.line, size, deadline_s)
        except TimeoutError:
            late = self._too_late(step)
            raise ClusterTimeout(cluster, step, late.message, late.cure) from None
        except (EOFError, OSError):
            lost = self._lost()
            raise ClusterFault(cluster, lost.step, lost.message, lost.cure) from None

    def _too_late(self, step: str) -> wire.Fault:
        cure = _CURE_SLOW if step in _AT_OPENCOST else _CURE_SILENT
        return wire.Fault(step, f"no answer within {self.limits.answer_s:g} s.", cure, True)

    def _lost(self) -> wire.Fault:
        self.close()
        message = "the process of this visit ended unexpectedly."
        return wire.Fault("visit", message, "Out of memory? See the host's log.", False)

    def _opening(self) -> wire.Open:
        access, limits = self.access, self.limits
        return wire.Open(
            cluster=access.cluster,
            kubeconfig=access.kubeconfig.reveal(),
            transport=access.transport,
            namespace=access.opencost_namespace,
            selector=access.selector,
            container=access.container,
            port=access.port,
            service=access.service,
            connect_s=limits.connect_s,
            size_max_bytes=limits.size_max_bytes,
            retries_max=limits.retries_max,
        )


@contextmanager
def visit(
    access: ClusterAccess, limits: VisitLimits | None = None, source: Launcher = launcher
) -> Iterator[Reach]:
    """Visit one cluster; its process starts with the first ask and is gone at the end."""
    reach = Reach(access, limits or VisitLimits(), source)
    try:
        yield reach
    finally:
        reach.close()
