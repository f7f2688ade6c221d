"""Whether the database can be used now, and why not: what /readyz tells and jobs wait for."""

from dataclasses import dataclass, field

from core.clock import monotonic_s

PAUSE_MIN_S = 1.0
PAUSE_MAX_S = 30.0
BEAT_AGE_MAX_S = 60.0
"""With no beat for so long something hangs that should not, whatever the last one said."""


@dataclass
class Contact:
    """Written by the service's loop, read by the web pages in the same loop."""

    ready: bool = False
    why: str = "The database has not been asked yet."
    beat_at_s: float = field(default_factory=monotonic_s)
    _pause_s: float = PAUSE_MIN_S

    def made(self) -> bool:
        """Note that the database answered; tell whether that is news."""
        news = not self.ready
        self.ready, self.why, self._pause_s = True, "", PAUSE_MIN_S
        self.beat_at_s = monotonic_s()
        return news

    def lost(self, why: str) -> bool:
        """Note that it did not; tell whether that is news."""
        news = self.ready or why != self.why
        self.ready, self.why = False, why
        self.beat_at_s = monotonic_s()
        return news

    def pause_s(self) -> float:
        """Return how long to wait before the next try: longer each time, to a limit."""
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return pause_s

    @property
    def alive(self) -> bool:
        """Whether tries still end, well or not: what the watchdog and /healthz stand on."""
        return monotonic_s() - self.beat_at_s < BEAT_AGE_MAX_S
