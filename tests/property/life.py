"""A life of an installation, seen by the program and by plain Python side by side.

Few hours of many weeks are ever answered, so that a life passes in a second; those between are gaps.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest

from core.billing.credits import Lot as Asked
from core.billing.credits import adjust, grant, purchase, refund
from core.billing.expiry import expire_due
from core.billing.modes import set_mode
from core.books.months.close import close_month
from core.clock import HOUR
from core.errors import Conflict, Unknown
from tests import factories
from tests.answers import allocation, body_of
from tests.core.billing.ledger_site import day
from tests.core.metering.site import ADMIN, Site, hour
from tests.property.ledger_oracle import BOOKS, GRANT_PRIORITY, Account, Mode, replay
from tests.property.ledger_rows import lot_ids, read_ledger
from tests.property.oracle import DAY_HOURS, Figures, Hour, Oracle, Place, Said

LIFE_DAYS = 130
BEGINS_AT = 30
"""The newest closed hour when a life begins: there is a yesterday."""
OPENED_AFTER = timedelta(minutes=15)
LOOK_BACK_DAYS = 45
"""An hour that is missing for longer holds up no expiry."""

Step = tuple[Any, ...]
Style = Literal["each", "daily", "late"]


@dataclass
class Life:
    site: Site
    style: Style
    users: dict[str, factories.User]
    facts: Oracle
    accounts: dict[str, Account]
    said: dict[Place, Said] = field(default_factory=dict)
    answered: list[Place] = field(default_factory=list)
    """The last one last."""
    touched: set[int] = field(default_factory=set)
    """Hours that wait to be posted."""
    missing: set[Place] = field(default_factory=set)
    asked: list[Step] = field(default_factory=list)
    """What was done to credits, to be done again."""
    posted_on: int = 0
    last_posted: int = -1
    latest: int = 0
    """The newest hour that the clock ever called closed."""

    @property
    def now(self) -> int:
        """The newest hour that is closed."""
        return int((self.site.now - hour(0)) / HOUR) - 1

    @property
    def today(self) -> int:
        return (self.site.now.date() - day(0)).days

    def take(self, step: Step) -> None:
        with self._touching():
            getattr(self, f"_{step[0]}")(*step[1:])
        for account in self.accounts.values():
            account.today = self.today
        if self.style == "each" or (self.style == "daily" and self.today != self.posted_on):
            self._post()

    def take_all_again(self) -> None:
        """Post, expire, answer and ask for credits once more, under the keys of the first time."""
        for which, (_, key, user, *_) in enumerate(self.asked):
            if key in self.accounts[user].keys:
                self.take(("again", which, 0))
        for place, said in sorted(self.said.items()):
            self._answer(place, {name: row.total for name, row in said.rows})
        self.take(("post",))
        self.take(("expire",))

    # ── time and facts ──────────────────────────────────────────────────────────────────────

    def _wait(self, hours: int) -> None:
        """Let time go on, or set the clock back."""
        newest = self.now + hours
        self.site.until(max(min(newest, LIFE_DAYS * DAY_HOURS - 1), BEGINS_AT))
        self.latest = max(self.latest, self.now)
        give_up_hours(self.site)

    def _mend(self) -> None:
        """Set a clock right that is behind: what was past its date may not be judged as to come."""
        self._wait(max(self.latest - self.now, 0))

    def _close(self) -> None:
        """Close the month before this one, unless an hour still stands in its way."""
        first = day(self.today).replace(day=1)
        opened = (first - day(0)).days
        if opened <= self._opened:
            return
        self.site.collect()
        self._post()
        month = f"{first - timedelta(days=1):%Y-%m}"
        with contextlib.suppress(Conflict), self._own() as own:
            close_month(**own, month=month)
            for account in self.accounts.values():
                account.opened = opened

    @property
    def _opened(self) -> int:
        return next(iter(self.accounts.values())).opened

    def _hour(self, cluster: str, back: int, costs: dict[str, int]) -> None:
        place = (cluster, max(self.now - back, 0))
        self._answer(place, {**self._costs_of(place), **costs})

    def _restate(self, which: int, namespace: str, cost: int | None) -> None:
        """Let one of the last hours that were answered cost something else."""
        if self.answered:
            place = self.answered[-1 - which % len(self.answered)]
            costs = {**self._costs_of(place), namespace: cost}
            self._answer(place, {name: each for name, each in costs.items() if each is not None})

    def _costs_of(self, place: Place) -> dict[str, int]:
        rows = self.said[place].rows if place in self.said else ()
        return {name: figures.total for name, figures in rows}

    def _answer(self, place: Place, costs: dict[str, int]) -> None:
        cluster, number = place
        costs = {"kube-system": 1, **costs}
        rows = tuple((name, Figures(cost, 0, cost)) for name, cost in sorted(costs.items()))
        self.facts.hours.setdefault(place, Hour())
        self.said[place] = Said("good", rows)
        self.answered = [*(each for each in self.answered if each != place), place]
        self.missing.discard(place)
        self.site.say(self._written(place), number, cluster)
        self.site.again(number, cluster)
        self.site.collect()
        self.facts.answered(place, self.said[place])
        if self.facts.hours[place].state == "held":
            self.facts.decided(place, "accept")
            self.site.decide("accept", number, cluster)

    def _written(self, place: Place) -> bytes:
        nothing: dict[str, Any] = {"ramCost": 0, "pvCost": 0}
        rows = {}
        for name, row in self.said[place].rows:
            cost = float(Decimal(row.total).scaleb(-5))
            rows[name] = allocation(hour(place[1]), **nothing, cpuCost=cost, totalCost=cost)
        return body_of(rows)

    def _miss(self, cluster: str, back: int) -> None:
        """An hour that nobody has answered for yet."""
        place = (cluster, max(self.now - back, 0))
        if place not in self.said:
            self.missing.add(place)
            self.site.connection.execute(
                "UPDATE collection_windows w SET state = 'due' FROM hopsworks_clusters c"
                " WHERE c.id = w.cluster_id AND c.name = %s AND w.hour = %s",
                [cluster, hour(place[1])],
            )

    # ── whose it is, and what it costs ──────────────────────────────────────────────────────

    def _map(self, cluster: str, namespace: str, user: str, back: int) -> None:
        since = max(self.now - back, 0)
        with self._expecting(self.facts.mapped(cluster, namespace, user, since)):
            self.site.map(namespace, self.users[user], since, cluster)

    def _unmap(self, cluster: str, namespace: str, back: int) -> None:
        since = max(self.now - back, 0)
        with self._expecting(self.facts.unmapped(cluster, namespace, since)):
            self.site.unmap(namespace, since, cluster)

    def _assign(self, user: str, plan: str, back: int) -> None:
        since = max(self.now - back, 0)
        with self._expecting(self.facts.assigned(user, plan, since)):
            self.site.assign(self.users[user], plan, since)

    def _mode(self, user: str, mode: Mode, ahead: int) -> None:
        since = self.today + ahead
        allowed = since > self.last_posted and self.accounts[user].pays_in(mode, since)
        with self._expecting(allowed), self._own() as own:
            account, since_on = self.users[user].id, day(since)
            set_mode(**own, account=account, mode=mode, since=since_on)

    # ── credits ─────────────────────────────────────────────────────────────────────────────

    def _grant(self, user: str, amount: int, days: int | None, priority: int, bought: bool) -> None:
        expires = None if days is None else self.today + days
        self._once("added", user, amount, expires, priority, bought)

    def _adjust(self, user: str, amount: int) -> None:
        self._once("adjusted", user, amount)

    def _refund(self, user: str, amount: int, lot: int | None) -> None:
        lots = len(self.accounts[user].lots)
        self._once("refunded", user, amount, lot if lot is None or lot < lots else None)

    def _once(self, what: str, *arguments: Any) -> None:
        step = (what, f"key {len(self.asked)}", *arguments)
        self.asked.append(step)
        getattr(self, f"_{what}")(*step[1:])

    def _again(self, which: int, more: int) -> None:
        """The same key for the same, or for another amount."""
        if self.asked:
            what, key, user, amount, *rest = self.asked[which % len(self.asked)]
            if key in self.accounts[user].keys and amount + more:
                getattr(self, f"_{what}")(key, user, amount + more, *rest)

    def _added(
        self, key: str, user: str, amount: int, expires: int | None, priority: int, bought: bool
    ) -> None:
        lot = Asked(amount, None if expires is None else day(expires), priority)
        kind: Any = "purchase" if bought else "grant"
        done = self.accounts[user].granted(key, kind, amount, expires, priority)
        with self._expecting(done is not None), self._own() as own:
            post = purchase if bought else grant
            account = self.users[user].id
            found = post(**own, account=account, lot=lot, currency="USD", key=key)
            assert found.is_new == done

    def _adjusted(self, key: str, user: str, amount: int) -> None:
        account = self.accounts[user]
        if amount > 0:
            done = account.granted(key, "grant", amount, None, GRANT_PRIORITY)
        else:
            done = account.taken(key, "promotions", -amount, None)
        with self._expecting(done is not None), self._own() as own:
            who = self.users[user].id
            found = adjust(**own, account=who, amount_nano=amount, currency="USD", key=key)
            assert found.is_new == done

    def _refunded(self, key: str, user: str, amount: int, lot: int | None) -> None:
        done = self.accounts[user].taken(key, "refunds", amount, lot)
        number = None if lot is None else lot_ids(self.site, self.users[user])[lot]
        with self._expecting(done is not None), self._own() as own:
            who = self.users[user].id
            found = refund(**own, account=who, amount_nano=amount, lot=number, key=key)
            assert found.is_new == done

    def _move(self, user: str, tenths: int) -> None:
        """An admin lets some of the arrears be billed."""
        amount = -self.accounts[user].books["arrears"] * tenths // 10
        if amount > 0:
            self.accounts[user].move_to_receivable(amount)
            self.site.connection.execute(
                "SELECT write_entry(%s, 3::smallint, 2::smallint, %s, %s, NULL, NULL,"
                " 'moved ' || (SELECT count(*) FROM ledger_entries), NULL, NULL)",
                [self.users[user].no, amount, day(self.today)],
            )

    # ── what runs by itself ─────────────────────────────────────────────────────────────────

    def _post(self) -> None:
        self.site.post()
        posted = {number // DAY_HOURS for number in self.touched}
        self.last_posted = max({self.last_posted, *posted})
        self.touched, self.posted_on = set(), self.today
        charged: Counter[tuple[int, str]] = Counter()
        for (user, _, on), sums in self.facts.usage().items():
            charged[on, user] += sums[-1]
        days = {on for on, _ in charged} | {
            on for each in self.accounts.values() for on in each.days
        }
        for on in sorted(days):
            for user, account in self.accounts.items():
                account.charged(on, charged[on, user])
        self.must_agree()

    def _expire(self) -> None:
        expire_due(self.site.connection, self.site.now)
        late = self.touched | {number for _, number in self.missing}
        settled = {on for on in range(LIFE_DAYS) if not any(_waits(n, on) for n in late)}
        for account in self.accounts.values():
            account.expire(settled)

    @contextlib.contextmanager
    def _touching(self) -> Iterator[None]:
        before = self.facts.allocations()
        yield
        after = self.facts.allocations()
        changed = {key for key in before | after if before.get(key) != after.get(key)}
        self.touched |= {number for _, number, _ in changed}

    @contextlib.contextmanager
    def _own(self) -> Iterator[dict[str, Any]]:
        """What every post by a person is asked with, in a transaction of its own."""
        with self.site.connection.transaction():
            yield {
                "connection": self.site.connection,
                "principal": ADMIN,
                "why": "test",
                "now": self.site.now,
            }

    @contextlib.contextmanager
    def _expecting(self, allowed: bool) -> Iterator[None]:
        if allowed:
            yield
        else:
            with pytest.raises((Conflict, Unknown)):
                yield

    # ── side by side ────────────────────────────────────────────────────────────────────────

    def must_agree(self) -> None:
        found = read_ledger(self.site, self.users)
        for user, account in self.accounts.items():
            assert Counter(found[user].entries) == Counter(account.entries), user
            assert found[user].lots == account.lots, user
            wanted = {book: account.books[book] for book in BOOKS}
            assert replay(found[user].entries) == found[user].balances == wanted, user


def give_up_hours(site: Site) -> None:
    """Let all that is closed be gaps: few hours of a life are ever answered."""
    site.connection.execute(
        "INSERT INTO collection_windows (cluster_id, hour, state, why)"
        " SELECT c.id, hour, 'gap', 'test' FROM hopsworks_clusters c,"
        " generate_series(c.metering_since, %s, interval '1 hour') hour ON CONFLICT DO NOTHING",
        [site.now - HOUR - OPENED_AFTER],
    )


def _waits(number: int, on: int) -> bool:
    """Whether what a lot pays until a day may still change for an hour that is not in."""
    return (on - LOOK_BACK_DAYS) * DAY_HOURS <= number < on * DAY_HOURS
