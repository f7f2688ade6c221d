"""What can go wrong in the world, on demand.

A fault is set on one cluster while the world runs. It may hold for ever, for a number of times,
for some hours of usage, from an instant of the world's clock on, or only for hours of some age
(that is how a settled hour is restated: whoever asks early gets the first figures).
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from core.clock import HOUR
from sandbox.book import Book

KINDS: dict[str, str] = {
    # the API server
    "frozen_handshake": "accepts TCP and never answers TLS",
    "frozen_request": "finishes TLS and never answers the request",
    "unauthorized": "401 on every call",
    "forbidden": "403 on every call",
    "cut": "breaks the connection in the middle of the answer (after `bytes`, or half)",
    "wrong_date": "the Date of its answers is `seconds` ahead of the world's clock, or behind (-)",
    "host_date": "dates its answers by this host's clock, wherever the world's stands",
    "no_endpoints": "the service proxy finds no pod behind the service (503)",
    # exec
    "wget_missing": "the OpenCost container has curl, and no wget",
    "tools_missing": "the OpenCost container has neither wget nor curl",
    "http_proxy": "http_proxy is set in the container: only `wget -Y off`, `curl --noproxy` pass",
    "no_status": "the error channel stays silent: no Success, no Failure",
    "exit_code": "the command ends with `code` (137 by default: killed) after half its output",
    # OpenCost
    "slow": "answers after `seconds`",
    "error_500": "500 with a JSON body (`body` is its message)",
    "html_502": "502 with a page of HTML",
    "empty_200": "200 with nothing at all",
    "truncated": "200 with half of the JSON",
    "empty_set": "200 with a set without rows",
    "huge": "200 with an answer of `bytes` (64 MiB by default)",
    # what the answer says
    "restated": "costs and quantities times `factor`, in `namespaces` or all",
    "shrunken": "`namespaces` are lost, or every second project",
    "negative_idle": "__idle__ costs less than nothing",
    "negative_minutes": "one namespace with minutes -2.45, end before start, all costs 0",
    "absurd": "one namespace with cpuCost -1.97e25 and minutes -4435032",
    "null_total": "totalCost of one namespace is null (NaN in OpenCost)",
    "wrong_window": "the answer is for the hour before the one asked for",
    "two_sets": "two sets in `data`",
    "two_clusters": "a second cluster's rows stand among ours",
    "no_sentinel": "kube-system is missing",
    "double_name": "one namespace stands twice in the set",
    "long_minutes": "one namespace ran 75 minutes of its hour",
}
CONNECTION_KINDS = frozenset({"frozen_handshake"})
"""Decided before any request is read, so they cannot depend on the hour asked for."""


@dataclass(frozen=True)
class Fault:
    kind: str
    times: int | None = None
    """How often; None is for ever."""
    from_hour: datetime | None = None
    """Only for usage hours in [from_hour, to_hour)."""
    to_hour: datetime | None = None
    after: datetime | None = None
    """Only from this instant of the world's clock on."""
    age_s_min: float = 0
    """Only when the asked window ended at least so long ago."""
    seconds: float = 0
    factor: float = 1.1
    namespaces: tuple[str, ...] = ()
    bytes: int | None = None
    code: int = 137
    body: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")
        bound = self.from_hour or self.to_hour or self.age_s_min
        if self.kind in CONNECTION_KINDS and bound:
            raise ValueError(f"{self.kind} happens before the hour is known")

    def as_json(self) -> dict[str, Any]:
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value not in (None, ())
        }


def fault_from_json(data: dict[str, Any]) -> Fault:
    """Read a fault as the control endpoint takes it; instants are RFC 3339."""
    values = dict(data)
    for name in ("from_hour", "to_hour", "after"):
        if values.get(name):
            values[name] = datetime.fromisoformat(values[name]).astimezone(UTC)
    values["namespaces"] = tuple(values.get("namespaces", ()))
    try:
        return Fault(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


@dataclass(frozen=True)
class Moment:
    """What is being asked, as far as faults care: window [start, end) of usage, if any."""

    start: datetime | None = None
    end: datetime | None = None


class FaultBook(Book[Fault]):
    """The faults of one cluster; safe to change from another thread."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self.now = now

    def add(self, kind: str | Fault, **settings: Any) -> int:
        """Set a fault and return its number; `add("slow", seconds=5, times=2)`."""
        return self._put(kind if isinstance(kind, Fault) else Fault(kind, **settings))

    def take(self, kinds: Iterable[str], moment: Moment = Moment()) -> dict[str, Fault]:
        """Return the faults of these kinds that strike now, one of each kind, and count them."""
        left, now = set(kinds), self.now()

        def strikes(fault: Fault) -> bool:
            if fault.kind not in left or not _applies(fault, moment, now):
                return False
            left.discard(fault.kind)
            return True

        return {fault.kind: fault for fault in self._strike(strikes)}


def _applies(fault: Fault, moment: Moment, now: datetime) -> bool:
    if fault.after and now < fault.after:
        return False
    if not (fault.from_hour or fault.to_hour or fault.age_s_min):
        return True
    if moment.start is None or moment.end is None:
        return False
    if fault.from_hour and moment.end <= fault.from_hour:
        return False
    if fault.to_hour and moment.start >= fault.to_hour:
        return False
    return now - moment.end >= timedelta(seconds=fault.age_s_min)


def for_hour(hour: datetime) -> dict[str, datetime]:
    """Return the settings that bind a fault to one hour: `add("restated", **for_hour(h))`."""
    return {"from_hour": hour, "to_hour": hour + HOUR}
