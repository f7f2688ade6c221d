"""What is due later by the world's clock: month ends, finalisations, retries, expiries."""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from core.clock import Clock

STEPS_MAX = 200_000
"""One leap of the clock may owe years of month ends; a loop that feeds itself is a bug."""

Action = Callable[[], None]


class Agenda:
    """`catch_up` does what is due, oldest first, each at its own instant: `at` says which."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._due: list[tuple[datetime, int, Action]] = []
        self._order = itertools.count()
        self._instant: datetime | None = None

    @property
    def at(self) -> datetime:
        """The instant for which things happen: the due one during catching up, else now."""
        return self._instant or self._now()

    @property
    def stamp(self) -> int:
        return int(self.at.timestamp())

    def plan(self, due_at: datetime, action: Action) -> None:
        heapq.heappush(self._due, (due_at, next(self._order), action))

    def catch_up(self) -> int:
        """Do everything that is due by now; return how much it was."""
        if self._instant is not None:
            return 0
        now, done = self._now(), 0
        try:
            while self._due and self._due[0][0] <= now:
                assert done < STEPS_MAX, "the agenda feeds itself"
                self._instant, _, action = heapq.heappop(self._due)
                action()
                done += 1
        finally:
            self._instant = None
        return done
