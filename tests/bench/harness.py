"""Ways of doing the same thing, timed side by side in one run.

Milliseconds belong to a machine and its mood; a ratio to a floor that ran in the same minute does
not. So every round runs each way once, in an order that turns, and a ratio is the median of the
rounds' own ratios: what slows a whole round falls out of it.
"""

import gc
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TextIO

ROUNDS_MIN = 5
ROUNDS = 7
WARM_UPS = 1


def _nothing() -> None: ...


@dataclass(frozen=True)
class Way:
    """One way of doing it: `run` is timed; `before` and `after`, around each run, are not."""

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing


@dataclass(frozen=True)
class Race:
    """What was measured: seconds by way, a figure per round. The first way is the floor."""

    title: str
    seconds: Mapping[str, tuple[float, ...]]

    @property
    def floor(self) -> str:
        return next(iter(self.seconds))

    def median_s(self, name: str) -> float:
        return median(self.seconds[name])

    def ratios(self, name: str, *, to: str | None = None) -> list[float]:
        """Return each round's own ratio of `name` to the floor, or to the way named `to`."""
        base = self.seconds[to or self.floor]
        return [taken / least for taken, least in zip(self.seconds[name], base, strict=True)]

    def ratio(self, name: str, *, to: str | None = None) -> float:
        return median(self.ratios(name, to=to))

    def beyond(self, bounds: Mapping[str, float]) -> list[str]:
        """Say which ways are above their bound, each in a sentence; empty is good."""
        return [
            f"{self.title}: {name} takes {self.ratio(name):.2f} × the floor, more than {bound} ×"
            for name, bound in bounds.items()
            if self.ratio(name) > bound
        ]

    def table(self, bounds: Mapping[str, float] | None = None) -> str:
        """Draw the figures as docs/performance.md keeps them."""
        rounds = len(self.seconds[self.floor])
        lines = [
            f"{self.title} (medians of {rounds} rounds)",
            "",
            "| way | ms | ratio | lowest … highest | bound |",
            "|---|---:|---:|---:|---:|",
        ]
        for name in self.seconds:
            ratios = self.ratios(name)
            bound = (bounds or {}).get(name)
            lines.append(
                f"| {name} | {self.median_s(name) * 1000:.2f} | {median(ratios):.2f}"
                f" | {min(ratios):.2f} … {max(ratios):.2f} | {f'{bound:g}' if bound else ''} |"
            )
        return "\n".join(lines)

    def show(self, bounds: Mapping[str, float] | None = None, out: TextIO | None = None) -> None:
        (out or sys.stdout).write(f"\n{self.table(bounds)}\n")


def race(
    title: str,
    *ways: Way,
    rounds: int = ROUNDS,
    warm_ups: int = WARM_UPS,
    timer: Callable[[], float] = perf_counter,
) -> Race:
    """Run every way once a round, the first of `ways` being the floor; warm-ups do not count."""
    assert rounds >= ROUNDS_MIN, f"a median of {rounds} says little"
    assert len({way.name for way in ways}) == len(ways), "two ways of one name"
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(warm_ups + rounds):
        for place in range(len(ways)):
            way = ways[(turn + place) % len(ways)]
            seconds = _timed(way, timer)
            if turn >= warm_ups:
                taken[way.name].append(seconds)
    return Race(title, {name: tuple(figures) for name, figures in taken.items()})


def _timed(way: Way, timer: Callable[[], float]) -> float:
    """Time one run; another way's rubbish is swept before it, not during it."""
    way.before()
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        began = timer()
        way.run()
        return timer() - began
    finally:
        if was_on:
            gc.enable()
        way.after()
