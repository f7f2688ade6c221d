"""Weeks of random life with Stripe: what it has, what its invoices bill, what is owed; in plain sums."""

import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stripe import RequestsClient, StripeClient

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests import factories
from tests.core.billing.stripe.reporting.till import START, UNIT, Till
from tests.core.books.stripe_story import fetched, proved
from tests.database import Connection, Server, administer, cloned

EVENTS = "/v1/billing/meter_events"
TROUBLE = (
    *("outage", "cut_before", "cut_after", "error_500_before", "error_500_after"),
    *("rate_limited", "lock_timeout", "conflict"),
)
DAYS = 40
"""A month, its invoice's grace, and some days of the next."""
_OF_PROFILE = settings().max_examples
Tills = Callable[[str], contextlib.AbstractContextManager[Till]]


@pytest.fixture(scope="module")
def admin(postgres: Server) -> Iterator[Connection]:
    with administer(postgres) as connection:
        yield connection


@pytest.fixture(scope="module")
def tills(admin: Connection, postgres: Server) -> Iterator[Tills]:
    http = RequestsClient(timeout=10.0)

    @contextlib.contextmanager
    def make(meter: str) -> Iterator[Till]:
        clock = WorldClock(START)
        with (
            cloned(admin, postgres) as database,
            StripeWorld(now=clock, seed=7) as world,
        ):
            addresses = world.base_addresses
            client = StripeClient(world.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
            yield Till(database.connect(), world, clock, client, meter)

    yield make
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


class Life:
    """What happens to two accounts, and what plain sums say of it."""

    def __init__(self, till: Till, seed: int) -> None:
        self.till, self.random = till, random.Random(seed)
        self.users = [till.account(name) for name in ("anna", "bert")]
        self.owed: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        till.stripe.settings.invoice_grace = timedelta(hours=self.random.choice([1, 24, 72]))

    def live(self) -> None:
        for number in range(DAYS):
            for _ in range(self.random.randint(1, 3)):
                self._something(number)
            self._on(number)
            self.must_prove()

    def end(self) -> None:
        """Let trouble end, and the job run until it has nothing more to say."""
        self.till.stripe.faults.clear()
        for _ in range(8):
            self.till.later(hours=25)
            self.till.run()

    def _on(self, number: int) -> None:
        """A day goes by, told of at some hours, in order or not."""
        self.till.at(number + 1, self.random.choice([0.2, 1, 5]))
        if self.random.random() < 0.7:
            if self.random.random() < 0.3:
                kind = self.random.choice(TROUBLE)
                self.till.stripe.faults.add(kind, path=EVENTS, times=self.random.randint(1, 12))
            self.till.run() if self.random.random() < 0.8 else self.till.tell()
            if self.random.random() < 0.5:
                self.till.stripe.faults.clear()

    def _something(self, number: int) -> None:
        """Charge the day that runs, or correct one of the last two weeks, never below nothing."""
        user = self.random.choice(self.users)
        day = number if self.random.random() < 0.7 else max(0, number - self.random.randint(1, 14))
        nano = self.random.choice([1, 400, 999, 1_000, 1_001, 123_456_789, 10**12])
        held = self.owed[user.no][day]
        if self.random.random() < 0.3 and held:
            nano = -min(held, self.random.choice([1, 500, 10**6, held]))
        self.owed[user.no][day] += nano
        self.till.charge(user, self.till.day(day), nano)

    def must_prove(self) -> None:
        """`books check` finds nothing wrong at any time, whatever is under way."""
        lines = proved(self.till.connection, self.till.now)
        assert all(line.ok for line in lines.values()), lines

    # ── what must be so ─────────────────────────────────────────────────────────────────────

    def check(self, user: factories.User) -> None:
        """Each nano is told, or waits for its reason; what Stripe has and bills is what is counted."""
        till = self.till
        owed = sum(self.owed[user.no].values())
        till.must_add_up(user)
        due = till.due(user)
        assert {reason for _, reason in due.values()} <= {"below zero", "to report"}
        waits = sum(nano for nano, reason in due.values())
        counted = dict(
            till.connection.execute(
                "SELECT day, units FROM hopsmeter.stripe_days WHERE account_no = %s", [user.no]
            ).fetchall()
        )
        rest = till.receivable(user) - waits
        assert 0 <= rest < UNIT
        assert owed == UNIT * sum(counted.values()) + waits + rest
        told = dict(
            till.connection.execute(
                "SELECT DISTINCT ON (day) day, units FROM hopsmeter.stripe_reports"
                " WHERE account_no = %s AND state IN ('accepted', 'superseded')"
                " ORDER BY day, seq DESC",
                [user.no],
            ).fetchall()
        )
        for day, units in told.items():
            assert till.told(user, (day - till.day(0)).days) == units
        for since, until, units, minor in till.connection.execute(
            "SELECT usage_start::date, usage_end::date, units, line_minor"
            " FROM hopsmeter.stripe_invoices WHERE account_no = %s AND finalized_at IS NOT NULL",
            [user.no],
        ).fetchall():
            mine = sum(units for day, units in counted.items() if since <= day < until)
            assert units == mine
            assert minor == (units + 5_000) // 10_000  # to the cent


@settings(
    max_examples=max(_OF_PROFILE // 8, 2),
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
)
@given(st.sampled_from(["daily", "sum"]), st.integers(0, 2**48))
def test_whatever_happens_what_is_owed_is_told_billed_or_named(
    tills: Tills, meter: str, seed: int
) -> None:
    with tills(meter) as till:
        life = Life(till, seed)
        life.live()
        life.end()
        for user in life.users:
            life.check(user)
        fetched(till, life.users)
        life.must_prove()
