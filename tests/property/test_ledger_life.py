"""Months of random life: what the ledger holds is what plain Python says, entry by entry."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.core.metering.site import opened
from tests.database import Connection, Server, administer, cloned
from tests.property.begin import CLUSTERS, MODES, OWNERS, begun
from tests.property.life import Life, Step, Style

LEDGER = ("ledger_entries", "ledger_balances", "credit_lots", "credit_draws", "usage_daily")
STEPS_MIN, STEPS_MAX = 25, 60
_OF_PROFILE = settings().max_examples
Lives = Callable[[Style], contextlib.AbstractContextManager[Life]]


def slow(share: int) -> settings:
    """Run a share of the profile's examples; shrinking one that fails would take minutes."""
    return settings(
        max_examples=_OF_PROFILE // share,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=[Phase.explicit, Phase.generate],
    )


@pytest.fixture(scope="module")
def admin(postgres: Server) -> Iterator[Connection]:
    with administer(postgres) as connection:
        yield connection


@pytest.fixture(scope="module")
def lives(admin: Connection, postgres: Server) -> Lives:
    @contextlib.contextmanager
    def make(style: Style) -> Iterator[Life]:
        with cloned(admin, postgres) as database, opened(database) as site:
            yield begun(site, style)

    return make


# ── what can happen ─────────────────────────────────────────────────────────────────────────

UNIT = 100_000
clusters = st.sampled_from(CLUSTERS)
namespaces = st.sampled_from([*OWNERS, "a", "a", "a", "b"])
users = st.sampled_from([*MODES, "anna", "anna", "ben"])
costs = st.sampled_from([UNIT, UNIT, 2 * UNIT, 3 * UNIT, 5 * UNIT, 50_000, 1, 0, -UNIT, -30_000])
rows = st.dictionaries(namespaces, costs, min_size=1, max_size=3)
amounts = st.sampled_from([5 * 10**8, 10**9, 10**9 + 1, 2 * 10**9, 5 * 10**9, 1, 20 * 10**9])
back = st.sampled_from([0, 0, 1, 2, 5, 12, 24, 25, 30, 49, 80, 200])
lasting = st.sampled_from([None, None, 1, 1, 2, 3, 7, 30])
priorities = st.sampled_from([50, 50, 100, 10])
STEPS: dict[str, st.SearchStrategy[Step]] = {
    "wait": st.tuples(
        st.just("wait"), st.sampled_from([1, 1, 5, 13, 24, 24, 48, 72, 100, 240, 700, -3, -30])
    ),
    "hour": st.tuples(st.just("hour"), clusters, back, rows),
    "restate": st.tuples(st.just("restate"), st.integers(0, 30), namespaces, costs | st.none()),
    "miss": st.tuples(st.just("miss"), clusters, back),
    "map": st.tuples(st.just("map"), clusters, namespaces, users, back),
    "unmap": st.tuples(st.just("unmap"), clusters, namespaces, back),
    "assign": st.tuples(
        st.just("assign"), users, st.sampled_from(["odd", "odd", "free", "default"]), back
    ),
    "mode": st.tuples(
        st.just("mode"), users, st.sampled_from([*MODES.values()]), st.integers(1, 3)
    ),
    "grant": st.tuples(st.just("grant"), users, amounts, lasting, priorities, st.booleans()),
    "adjust": st.tuples(
        st.just("adjust"), users, st.sampled_from([10**9, -(10**9), -1, -3 * 10**9, 1])
    ),
    "refund": st.tuples(st.just("refund"), users, amounts, st.none() | st.integers(0, 5)),
    "again": st.tuples(st.just("again"), st.integers(0, 20), st.sampled_from([0, 0, 1])),
    "move": st.tuples(st.just("move"), users, st.sampled_from([1, 5, 10])),
    "expire": st.tuples(st.just("expire")),
    "close": st.tuples(st.just("close")),
    "post": st.tuples(st.just("post")),
}
OFTEN = {"wait": 4, "hour": 8, "restate": 12, "grant": 8, "post": 4, "expire": 3, "refund": 2}
steps = st.sampled_from([name for name in STEPS for _ in range(OFTEN.get(name, 1))]).flatmap(
    lambda name: STEPS[name]
)
few = st.sampled_from([5 * 10**8, 10**9, 10**9 + 1])
lots = st.tuples(
    st.just("grant"), st.sampled_from(["anna", "ben"]), few, lasting, priorities, st.booleans()
)
# A few small lots to begin with, so that a day is paid by several.
stories = st.builds(
    list.__add__,
    st.lists(lots, min_size=3, max_size=6),
    st.lists(steps, min_size=STEPS_MIN, max_size=STEPS_MAX),
)
styles: st.SearchStrategy[Style] = st.sampled_from(["each", "daily", "late"])


# ── the truths ──────────────────────────────────────────────────────────────────────────────


@slow(6)
@given(styles, stories)
def test_whatever_happens_the_ledger_is_what_plain_python_says(
    lives: Lives, style: Style, story: list[Step]
) -> None:
    with lives(style) as life:
        for step in story:
            life.take(step)
        life.take(("mend",))
        life.take(("post",))
        life.site.must_balance()
        life.take(("expire",))
        life.must_agree()
        life.site.must_balance()
        before = {table: life.site.versions(table) for table in LEDGER}
        life.take_all_again()
        assert {table: life.site.versions(table) for table in LEDGER} == before
