"""The numbers that steer collection, in one place, with their units."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import HOUR

PAUSE_FIRST = timedelta(minutes=1)
PAUSE_MAX = timedelta(hours=6)
DOUBLINGS_MAX = 10


@dataclass(frozen=True)
class Policy:
    """When hours are asked for and again, and when we stop; defaults are the product's."""

    delay: timedelta = timedelta(minutes=10)
    """After an hour's end, until it is first asked for: the last samples come late."""
    settle: timedelta = timedelta(hours=24)
    """After an hour's end, until it is read once more and then settled."""
    lease_s: float = 600.0
    """How long a claimed hour is ours; by default above every timeout of one ask and one store."""
    gap_tries: int = 3
    gap_after: timedelta = timedelta(hours=24)
    """An hour that is older and was answered with nothing so often is a gap, where …"""
    gap_evidence: timedelta = timedelta(hours=6)
    """… a newer hour was answered with data within this time: the source works, and forgot."""
    gap_pause: timedelta = timedelta(minutes=30)
    """Between two such tries: an OpenCost that is back before its Prometheus gets time."""
    shrink_max_percent: int = 5
    """A re-read that falls by more is held for an admin."""
    raw_max_bytes: int = 64 * 2**20
    """Compressed; a larger answer is kept as hash and sums only."""

    def settles_at(self, hour: datetime) -> datetime:
        return hour + HOUR + self.settle


def pause(tries: int) -> timedelta:
    """Return how long to leave alone what failed `tries` times: 1, 2, 4 … minutes, 6 h at most."""
    doublings = min(max(tries - 1, 0), DOUBLINGS_MAX)
    return min(PAUSE_FIRST * (1 << doublings), PAUSE_MAX)
