"""The world's clock: real, shifted, or stopped."""

from datetime import datetime, timedelta

from core.clock import utc_now


class WorldClock:
    """Call it for the time. Real until `freeze`; `advance` moves it, stopped or not."""

    def __init__(self, at: datetime | None = None) -> None:
        self._frozen_at = at
        self._shift = timedelta(0)

    def __call__(self) -> datetime:
        return (self._frozen_at or utc_now()) + self._shift

    def freeze(self, at: datetime) -> None:
        self._frozen_at, self._shift = at, timedelta(0)

    def advance(self, by: timedelta) -> None:
        self._shift += by
