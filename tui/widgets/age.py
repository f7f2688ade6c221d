"""The age of what is shown: a line of its own, so that its tick repaints nothing else."""

from datetime import datetime

from core.clock import Clock
from tui.present import chrome
from tui.widgets.line import Line

TICK_S = 1.0
FRESH_WIDTH, LATE_WIDTH = 32, 44


class Age(Line):
    """Counts the seconds since the view was read; late and stale are said in words."""

    DEFAULT_CSS = "Age { width: 32; }"

    def __init__(self, ident: str, now: Clock, interval_s: float) -> None:
        super().__init__(ident)
        self._now, self._interval_s = now, interval_s
        self._as_of: datetime | None = None
        self._width = FRESH_WIDTH

    def on_mount(self) -> None:
        self.set_interval(TICK_S, self.tick)
        self.tick()

    def set_as_of(self, as_of: datetime) -> None:
        self._as_of = as_of
        self.tick()

    def tick(self) -> None:
        self.show((), chrome.age(self._as_of, self._now(), self._interval_s))
        if self._width != self.wanted:
            self._width = self.styles.width = self.wanted

    @property
    def wanted(self) -> int:
        """Return how wide it is: in two steps, so that a second more moves nothing."""
        return FRESH_WIDTH if len(self.text) <= FRESH_WIDTH else LATE_WIDTH
