"""What can go wrong with Stripe, on demand, by method and path."""

import fnmatch
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from core.clock import Clock
from sandbox.book import Book

KINDS: dict[str, str] = {
    "error_500_before": "500, nothing done",
    "error_500_after": "500, but done",
    "hang_before": "nothing done, no answer for `seconds`, then the connection is cut",
    "hang_after": "done, but no answer for `seconds`, then the connection is cut",
    "cut_before": "the connection is cut at once, nothing done",
    "cut_after": "done, then the connection is cut without an answer",
    "slow": "done after `seconds`, and answered",
    "rate_limited": "429 without advice to try again",
    "lock_timeout": "429 lock_timeout, with advice to try again",
    "conflict": "409 lock_timeout, with advice to try again",
    "declined": "402 card_declined",
    "outage": "503, nothing done",
}
HANG_S = 30.0


@dataclass(frozen=True)
class StripeFault:
    kind: str
    method: str = "*"
    path: str = "*"
    """A pattern as of the shell: `/v1/billing/*`."""
    holding: str = ""
    """Only calls whose body or query holds this text, a customer's id for one."""
    times: int | None = None
    """How often; None is for ever."""
    from_at: datetime | None = None
    """Only in [from_at, to_at) of the world's clock."""
    to_at: datetime | None = None
    seconds: float = HANG_S

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")

    def as_json(self) -> dict[str, Any]:
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value not in (None, "")
        }


def fault_from_json(data: dict[str, Any]) -> StripeFault:
    """Read a fault as the control endpoint takes it; instants are RFC 3339."""
    values = dict(data)
    for name in ("from_at", "to_at"):
        if values.get(name):
            values[name] = datetime.fromisoformat(values[name]).astimezone(UTC)
    try:
        return StripeFault(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


class StripeFaults(Book[StripeFault]):
    """The faults that are set; safe to change from another thread."""

    def __init__(self, now: Clock) -> None:
        super().__init__()
        self.now = now

    def add(self, kind: str | StripeFault, **settings: Any) -> int:
        """Set a fault and return its number: `add("hang_after", path="/v1/billing/*", times=1)`."""
        return self._put(kind if isinstance(kind, StripeFault) else StripeFault(kind, **settings))

    def take(self, method: str, path: str, text: str) -> StripeFault | None:
        """Return the first fault that strikes this call, and count it."""
        now, struck = self.now(), False

        def strikes(fault: StripeFault) -> bool:
            nonlocal struck
            first = not struck and _strikes(fault, method, path, text, now)
            struck = struck or first
            return first

        return next(iter(self._strike(strikes)), None)


def _strikes(fault: StripeFault, method: str, path: str, text: str, now: datetime) -> bool:
    if (fault.from_at and now < fault.from_at) or (fault.to_at and now >= fault.to_at):
        return False
    return (
        fault.method in {"*", method}
        and fnmatch.fnmatch(path, fault.path)
        and fault.holding in text
    )
