"""The harness measures what it says; these run with the suite, the figures with `make bench`."""

import gc
import io
from collections.abc import Iterator
from functools import partial

import pytest

from tests.bench.harness import Race, Way, race


@pytest.fixture(scope="module", autouse=True)
def _little_rubbish() -> Iterator[None]:
    """Each round sweeps all that the whole suite has in memory, unless that is put aside."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Stopwatch:
    """Time that passes only when a way spends it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def spending(self, seconds: float) -> Way:
        def run() -> None:
            self.now_s += seconds

        return Way(f"{seconds:g} s", run)


def test_a_ratio_is_to_the_first_way_named() -> None:
    watch = Stopwatch()
    done = race("waits", watch.spending(2), watch.spending(3), watch.spending(1), timer=watch)
    assert [done.ratio(name) for name in done.seconds] == [1, 1.5, 0.5]
    assert done.ratio("3 s", to="1 s") == 3


def test_a_round_that_was_slow_for_all_changes_no_ratio() -> None:
    slow_once = Race("waits", {"floor": (1, 1, 9, 1, 1), "ours": (2, 2, 18, 2, 2)})
    assert slow_once.ratios("ours") == [2, 2, 2, 2, 2]


def test_each_way_begins_rounds_in_turn() -> None:
    order: list[str] = []
    ways = [Way(name, partial(order.append, name)) for name in "abc"]
    race("turns", *ways, rounds=5, warm_ups=1)
    assert order[::3] == ["a", "b", "c", "a", "b", "c"]


def test_preparation_and_clearing_up_are_not_timed() -> None:
    watch = Stopwatch()

    def wait() -> None:
        watch.now_s += 100

    done = race("waits", Way("ours", watch.spending(1).run, before=wait, after=wait), timer=watch)
    assert done.median_s("ours") == 1


def test_a_way_that_failed_is_cleared_up_and_fails_the_race() -> None:
    cleared: list[bool] = []

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        race("faults", Way("ours", fail, after=lambda: cleared.append(True)))
    assert cleared == [True]


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(AssertionError, match="says little"):
        race("once", Way("ours", int), rounds=1)


def test_what_is_beyond_its_bound_is_named_with_both_figures() -> None:
    done = Race("store", {"floor": (1.0,) * 5, "ours": (1.6,) * 5})
    assert done.beyond({"ours": 1.5}) == ["store: ours takes 1.60 × the floor, more than 1.5 ×"]
    assert done.beyond({"ours": 1.7}) == []


def test_the_table_can_be_pasted_into_the_docs() -> None:
    shown = io.StringIO()
    Race("store", {"floor": (0.001,) * 5, "ours": (0.0015,) * 5}).show({"ours": 2}, shown)
    assert "| ours | 1.50 | 1.50 | 1.50 … 1.50 | 2 |" in shown.getvalue()
