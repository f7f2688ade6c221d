"""Weeks of random life with Stripe: what it has, what its invoices bill, what is owed; in plain sums."""

import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.billing.stripe.bills.settle import HowBill
from core.errors import Conflict
from tests import factories
from tests.core.billing.stripe.reporting.product_till import DAY_S, ProductTill
from tests.core.billing.stripe.reporting.till import UNIT, opened
from tests.core.books.stripe_story import proved
from tests.database import Connection, Server, administer, cloned

EVENTS = "/v1/billing/meter_events"
TROUBLE = (
    *("outage", "cut_before", "cut_after", "error_500_before", "error_500_after"),
    *("rate_limited", "lock_timeout", "conflict"),
)
DAYS = 40
"""A month, its invoice's grace, and some days of the next."""
LAST = 30
"""Of the month, on which customers leave; in the four days after it much of it changes."""
QUICK = (("daily", 1),)
MORE = tuple((meter, seed) for meter in ("daily", "sum") for seed in range(2, 6))
_OF_PROFILE = settings().max_examples
Tills = Callable[[str], contextlib.AbstractContextManager[ProductTill]]


@pytest.fixture(scope="module")
def admin(postgres: Server) -> Iterator[Connection]:
    with administer(postgres) as connection:
        yield connection


@pytest.fixture(scope="module")
def tills(admin: Connection, postgres: Server) -> Tills:
    @contextlib.contextmanager
    def make(meter: str) -> Iterator[ProductTill]:
        with cloned(admin, postgres) as database, opened(ProductTill, database, meter) as till:
            yield till

    return make


class Life:
    """What happens to two accounts, and what plain sums say of it."""

    def __init__(self, till: ProductTill, seed: int) -> None:
        self.till, self.random = till, random.Random(seed)
        self.users = [till.account(name) for name in ("anna", "bert")]
        self.owed: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.gone: dict[int, list[str]] = defaultdict(list)
        """The customers of each that were deleted; at times the last of them is still his."""
        self.taken: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        """What a person settled of a day outside, or brought to another."""
        for user in self.users:
            if self.random.random() < 0.4:
                till.stripe.people.decline_cards(till.customer(user))
        till.stripe.settings.invoice_grace = timedelta(hours=self.random.choice([1, 24, 72, 72]))
        till.stripe.settings.aggregation_lag = timedelta(minutes=self.random.choice([0, 10, 30]))
        # Nobody has verified that real Stripe's drafts do.
        till.stripe.settings.ended_drafts_take = self.random.random() < 0.8

    def live(self) -> None:
        for number in range(DAYS):
            if self.random.random() < 0.3:
                self._happens(number)
            for _ in range(self.random.randint(1, 3)):
                self._something(number)
            if self.random.random() < 0.15:
                self._replace(self.random.choice(self.users), number)
            if number == LAST:
                self._leave()
            self._on(number)
            self.must_prove()
            for user in self.users:
                self._must_leave_to_drafts(user)

    def end(self) -> None:
        """Let trouble end, and the job run until it has nothing more to say; what is unpaid may be voided."""
        self.till.stripe.faults.clear()
        for run in range(8):
            for user in self.users:
                if run in (0, 1) and self.random.random() < 0.5:
                    self._void(user, DAYS)
                if run == 3 and self.random.random() < 0.6:
                    self._settle_invoice(user, (self.till.now.date() - self.till.day(0)).days)
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

    def _happens(self, number: int) -> None:
        """Something that is no usage: a card goes or comes, a subscription, an event; a person settles."""
        user = self.random.choice(self.users)
        what = [self._card, self._subscription, self._subscription, self._lose, self._settle]
        what += [self._void, self._settle_invoice, self._give_notice, self._delete]
        self.random.choice(what)(user, number)

    def _card(self, user: factories.User, _: int) -> None:
        customer = self.till.customer(user)
        if self._is_gone(user):
            return
        people = self.till.stripe.people
        there = any(each["customer"] == customer for each in self.till.stripe.all("payment_method"))
        people.remove_card(customer) if there else people.add_card(customer)
        self.till.hear(user)

    def _subscription(self, user: factories.User, number: int) -> None:
        """One that ended is followed by another; one that lives is cancelled, its usage invoiced or not."""
        del number
        if self.till.living(user) is None:
            self._link(user)
            return
        self._cancel(user)
        if self.random.random() < 0.5:
            self.till.hear(user)

    def _delete(self, user: factories.User, _: int) -> None:
        """The customer is deleted, heard of or not, and another takes its place at once, later or never."""
        if not self._is_gone(user):
            self.gone[user.no].append(self.till.customer(user))
            self.till.client.v1.customers.delete(self.till.customer(user))
        if self.random.random() < 0.5:
            self.till.hear(user)
        if self.random.random() < 0.5:
            self._link(user)

    def _is_gone(self, user: factories.User) -> bool:
        return self.till.customer(user) in self.gone[user.no]

    def _customers(self, user: factories.User) -> set[str]:
        return {*self.gone[user.no], self.till.customer(user)}

    def _link(self, user: factories.User) -> None:
        other = None
        if self._is_gone(user):
            other = self.till.client.v1.customers.create({"name": "another"}).id
        self.till.link(user, self.till.meter, customer=other)

    def _cancel(self, user: factories.User) -> None:
        found = self.till.living(user)
        assert found is not None
        invoice_now = self.random.random() < 0.5
        self.till.stripe.people.cancel_subscription(found["id"], invoice_now=invoice_now)

    def _leave(self) -> None:
        for user in self.users:
            found = self.till.living(user)
            if found and not found["cancel_at_period_end"] and self.random.random() < 0.7:
                self._give_notice(user, LAST)

    def _give_notice(self, user: factories.User, _: int) -> None:
        """The subscription is to end with its cycle, or is not any more."""
        found = self.till.living(user)
        if found is None:
            return
        ends = not found["cancel_at_period_end"]
        self.till.client.v1.subscriptions.update(found["id"], {"cancel_at_period_end": ends})

    def _replace(self, user: factories.User, number: int) -> None:
        """Within a day one ends and another begins, once or twice, told or not of what it is in between."""
        for _ in range(self.random.choice([1, 1, 2])):
            if self.till.living(user) is None:
                break
            self._within_the_day(user, number)
            self._cancel(user)
            if self.random.random() < 0.3:
                # Made by hand, and nobody knows until it is linked: Stripe counts for it what it is told.
                self._within_the_day(user, number, known=False)
                self.till.subscribe(user)
            else:
                if self.random.random() < 0.5:
                    self.till.hear(user)
                self._within_the_day(user, number)
            self._within_the_day(user, number)
            self._link(user)
        self._within_the_day(user, number)

    def _within_the_day(self, user: factories.User, number: int, *, known: bool = True) -> None:
        """Some minutes or hours of it, not past its end, with usage or without, told or not."""
        for _ in range(self.random.randint(0, 2)):
            self._something(number)
        end = datetime.combine(self.till.day(number), datetime.min.time(), UTC) + timedelta(days=1)
        left = (end - self.till.now) / timedelta(hours=1)
        self.till.later(hours=min(self.random.choice([0, 0.1, 0.5, 1.1, 3]), max(left - 0.1, 0)))
        if self.random.random() < 0.6:
            self.till.run() if known and self.random.random() < 0.7 else self.till.tell()

    def _under_way(self, user: factories.User) -> bool:
        lines = self.till.listed(user, everything=True)
        return any(line.reason in ("under way", "unknown") for line in lines)

    def _lose(self, user: factories.User, number: int) -> None:
        """Stripe took an event and did not count it; a person sees the difference, and has it told again."""
        newest = self.till.connection.execute(
            "SELECT identifier, day FROM hopsmeter.stripe_reports r WHERE account_no = %s"
            " AND state = 'accepted' AND units <> units_before AND day < %s"
            " AND hopsmeter.stripe_final_invoice(account_no, day) IS NULL"
            " AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports n"
            "   WHERE n.account_no = r.account_no AND (n.day, n.seq) > (r.day, r.seq) AND n.day = r.day)"
            " ORDER BY id DESC LIMIT 1",
            [user.no, self.till.day(number)],
        ).fetchone()
        if newest is None or self.till.living(user) is None or self._under_way(user):
            return
        identifier, day = newest
        meter, customer = self.till.meter_of(user), self.till.customer(user)
        had = self.till.stripe.usage.readings(meter, customer)
        self.till.stripe.people.fail_meter(meter, identifier)
        self.till.later(hours=1.6)  # a sum that is younger than the report is not believed
        self.till.fetch_summaries()
        try:
            self.till.tell_again(user, day)
        except Conflict:  # it cannot be seen whose the event was: it turns up again
            self.till.stripe.usage.recall(meter, customer, had)
            self.till.fetch_summaries()

    def _settle(self, user: factories.User, number: int) -> None:
        """A person settles all that waits for one: outside, or where there is an open day, on that."""
        if not any(
            line.reason in ("ended", "before", "below zero") for line in self.till.listed(user)
        ):
            return
        outside = self.till.living(user) is None or self.random.random() < 0.5
        for day, nano in self.till.settle(user, "outside" if outside else "open-day").days:
            self.taken[user.no][(day - self.till.day(0)).days] += nano
            if not outside:
                self.taken[user.no][number] -= nano

    def _void(self, user: factories.User, _: int) -> None:
        """A person voids an invoice that nobody pays; where there is none, the cards decline from now on."""
        customer, people = self.till.customer(user), self.till.stripe.people
        unpaid = [
            each["id"]
            for each in self.till.stripe.all("invoice")
            if each["customer"] in self._customers(user) and each["status"] == "open"
        ]
        people.void_invoice(unpaid[0]) if unpaid else people.decline_cards(customer)

    def _settle_invoice(self, user: factories.User, number: int) -> None:
        """A person settles a void invoice, once it is compared; not yet what bills of the day that runs."""
        void = [line.invoice_id for line in self.till.listed(user) if line.reason == "void"]
        if not void:
            return
        how: HowBill = self.random.choice(["outside", "open-day"])
        with contextlib.suppress(Conflict):
            for day, nano in self.till.settle_bill(user, str(void[0]), how):
                self.taken[user.no][(day - self.till.day(0)).days] += nano
                if how == "open-day":
                    self.taken[user.no][number] -= nano

    def _something(self, number: int) -> None:
        """Charge the day that runs, or correct one of the last two weeks, never below nothing."""
        user = self.random.choice(self.users)
        late = LAST < number < LAST + 5 and self.random.random() < 0.5
        back = self.random.randint(1, 4 if late else 14)
        day = number if not late and self.random.random() < 0.7 else max(0, number - back)
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

    def _must_leave_to_drafts(self, user: factories.User) -> None:
        """Nobody is to decide about a day that a draft over a whole cycle still takes, its subscription ended or not."""
        till, drafted = self.till, set()
        for invoice in till.stripe.all("invoice"):
            if self._is_gone(user) or invoice["status"] != "draft":
                continue
            if invoice["customer"] != till.customer(user):
                continue
            (line,) = invoice["lines"]["data"]
            start, end = line["period"]["start"], line["period"]["end"]
            if end % DAY_S == 0:
                drafted |= {each // DAY_S for each in range(start + DAY_S - 1, end, DAY_S)}
        epoch = date(1970, 1, 1)
        days = {epoch + timedelta(days=each) for each in drafted} - self._final_days(user)
        for line in till.listed(user):
            if line.reason in ("ended", "before"):
                assert line.first_day not in days, line

    def check(self, user: factories.User) -> None:
        """Each nano is told, or waits for its reason; what Stripe has and bills is what is counted."""
        till = self.till
        owed = sum(self.owed[user.no].values()) - sum(self.taken[user.no].values())
        till.must_add_up(user)
        waits = sum(line.amount_nano or 0 for line in till.listed(user) if not line.invoice_id)
        counted = dict(
            till.connection.execute(
                "SELECT day, units FROM hopsmeter.stripe_days WHERE account_no = %s", [user.no]
            ).fetchall()
        )
        rest = till.receivable(user) - waits
        assert 0 <= rest < UNIT
        assert owed == UNIT * sum(counted.values()) + waits + rest
        self._must_bill(user, counted)
        self._must_list(user)

    def _must_bill(self, user: factories.User, counted: dict[date, int]) -> None:
        """Together invoices bill what is counted for their days; each its own, and what it bills beside another."""
        found = self.till.connection.execute(
            "SELECT d.first, d.after, units, line_minor, beside_day, beside_units, status, id"
            " FROM hopsmeter.stripe_invoices JOIN hopsmeter.stripe_invoice_days d USING (id, units)"
            " WHERE d.account_no = %s AND d.finalized_at IS NOT NULL",
            [user.no],
        ).fetchall()
        own, void, total = dict(counted), {}, 0
        for *_, day, beside, _, _ in found:
            if beside:
                own[day] -= beside
        for since, until, units, minor, _, beside, status, name in found:
            mine = sum(units for day, units in own.items() if since <= day < until) + beside
            assert minor == (units + 5_000) // 10_000  # to the cent
            if status == "void":
                assert mine in (units, 0)  # as it was told, or settled
                if mine:
                    void[name] = mine * UNIT
            else:
                assert units == mine
            total += mine
        billed = {day for since, until, *_ in found for day in counted if since <= day < until}
        assert total == sum(counted[day] for day in billed)
        named = {
            line.invoice_id: line.amount_nano for line in self.till.listed(user) if line.invoice_id
        }
        assert named == void

    def _must_list(self, user: factories.User) -> None:
        """What a person must decide is listed, by what plain sums say, and nothing else."""
        till = self.till
        assert till.listed(user) == till.listed(user, everything=True)
        listed = [line for line in till.listed(user) if not line.invoice_id]
        lives, final = till.living(user), self._final_days(user)
        begun = datetime.fromtimestamp(lives["start_date"], UTC).date() if lives else date.max
        for line in listed:
            day = line.first_day
            if lives is None:
                assert line.reason == "ended", line
            elif day < begun:
                assert line.reason == "before", line
            else:
                assert line.reason == "below zero", line
                assert (line.amount_nano or 0) < 0
                assert day in final
        named = {line.first_day: line.amount_nano or 0 for line in listed}
        # Brought there from days whose invoice was final.
        brought = dict(
            till.connection.execute(
                "SELECT to_day, sum(amount_nano)::bigint FROM hopsmeter.stripe_moves"
                " WHERE account_no = %s AND kind = 'final' GROUP BY to_day",
                [user.no],
            ).fetchall()
        )
        for number, nano in self.owed[user.no].items():
            day = till.day(number)
            if day not in final:
                mine = nano - self.taken[user.no][number] + brought.get(day, 0)
                # What Stripe was told before a subscription began, and no other invoiced, nobody bills.
                told = till.billable(user, number, int(lives["start_date"])) if lives else 0
                untold = mine - UNIT * told
                # Each report of a day takes up the account's fraction, and leaves another.
                off = UNIT * max(1, self._reports(user, day))
                assert abs(untold - named.get(day, 0)) < off, (day, untold, named)

    def _reports(self, user: factories.User, day: date) -> int:
        query = "SELECT seq FROM stripe_days WHERE account_no = %s AND day = %s"
        return int(self.till.value(query, user.no, day) or 0)

    def _final_days(self, user: factories.User) -> set[date]:
        """The days whose usage is on an invoice that Stripe will not change any more."""
        found = set()
        for invoice in self.till.stripe.all("invoice"):
            if invoice["customer"] not in self._customers(user) or invoice["status"] == "draft":
                continue
            for line in invoice["lines"]["data"]:
                if line["period"]["start"] == line["period"]["end"]:
                    continue
                start, end = (
                    datetime.fromtimestamp(line["period"][word] - off, UTC).date()
                    for word, off in (("start", 0), ("end", 1))
                )
                found |= {start + timedelta(days=each) for each in range((end - start).days + 1)}
        return found

    def settle_all(self, user: factories.User) -> None:
        """A person's last word; then nothing is listed any more."""
        for line in self.till.listed(user):
            if line.invoice_id:
                self.till.settle_bill(user, line.invoice_id, "outside")
        if self.till.listed(user):
            self.till.settle(user, "outside")
        assert self.till.listed(user) == []
        assert 0 <= self.till.receivable(user) < UNIT


def live(tills: Tills, meter: str, seed: int) -> None:
    """Let 40 days go by; then what is owed is told, billed or named, and a person's word ends it."""
    with tills(meter) as till:
        life = Life(till, seed)
        life.live()
        life.end()
        for user in life.users:
            life.check(user)
        till.fetch_summaries()
        till.later(hours=2)
        life.must_prove()
        for user in life.users:
            life.settle_all(user)
        life.must_prove()


@pytest.mark.parametrize(
    ("meter", "seed"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE)]
)
def test_whatever_happens_what_is_owed_is_told_billed_or_named(
    tills: Tills, meter: str, seed: int
) -> None:
    live(tills, meter, seed)


@pytest.mark.chaos
@settings(
    max_examples=_OF_PROFILE,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
)
@given(st.sampled_from(["daily", "sum"]), st.integers(0, 2**48))
def test_whatever_happens_in_many_lives_what_is_owed_is_told_billed_or_named(
    tills: Tills, meter: str, seed: int
) -> None:
    live(tills, meter, seed)
