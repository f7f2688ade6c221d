"""Many at once: posters, grants, refunds, expiries, on one account and on many."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import pytest

from core.billing.credits import Lot, adjust, grant, refund
from core.billing.expiry import expire_due
from core.billing.posting.post import post_due
from core.errors import Conflict
from core.money import NANO
from tests import factories
from tests.core.billing.ledger_site import day, expire, granted, lots, pays, refunded
from tests.core.metering.site import ADMIN, Site, hour

HOURS = 8
SPREAD_H = 7
"""Between the hours that are stored, so that they lie on several days."""
CREDITS = 60
CREDITORS, POSTERS = 4, 2
UNITS = (1, 2, 3, 5)
HOURS_ALL_THERE = 7
"""The invariant."""


class Crowd:
    """Accounts of mixed modes, each with a namespace; everybody has a connection of his own."""

    def __init__(self, site: Site, accounts: int, seed: int) -> None:
        self.site, self.dice = site, random.Random(seed)
        self.cluster = site.cluster()
        self.users = [site.user(f"u{number}", currency="USD") for number in range(accounts)]
        self.cost: Counter[int] = Counter()
        for number, user in enumerate(self.users):
            factories.add_namespace(site.connection, self.cluster, f"n{number}")
            site.connection.execute(
                "INSERT INTO user_projects (cluster_id, namespace, user_no, valid, created_by)"
                " VALUES (%s, %s, %s, tstzrange(%s, NULL), 'test')",
                [self.cluster.id, f"n{number}", user.no, hour(0)],
            )
            mode = ("prepaid", "hybrid", "prepaid", "postpaid")[number % 4]
            if mode != "postpaid":
                pays(site, user, mode, 0)
        site.until(HOURS * SPREAD_H)
        self.keys = [(f"key {number}", *self._credit()) for number in range(CREDITS)]

    def _credit(self) -> tuple[str, factories.User, int, int | None]:
        what = self.dice.choice(("grant", "grant", "adjust", "refund"))
        expires = self.dice.choice((None, 1, 2, 30))
        return what, self.dice.choice(self.users), self.dice.choice(UNITS) * NANO, expires

    def store(self) -> None:
        """Store every hour, and read each again with other figures, in commits of their own."""
        with self.site.open() as connection:
            for number in range(HOURS):
                at = hour(number * SPREAD_H)
                costs = [self.dice.choice(UNITS) * NANO for _ in self.users]
                with connection.transaction():
                    factories.add_window(connection, self.cluster, at, stored_no=1)
                    for each, (user, cost) in enumerate(zip(self.users, costs, strict=True)):
                        factories.add_allocation(
                            connection, self.cluster, at, f"n{each}", user=user, cost_nano=cost
                        )
                with connection.transaction():
                    self._restate(connection, number)

    def _restate(self, connection: factories.Connection, number: int) -> None:
        at = hour(number * SPREAD_H)
        connection.execute(
            "UPDATE hopsmeter.collection_windows SET stored_no = 2, revision = 2 WHERE hour = %s",
            [at],
        )
        rows = connection.execute(
            "UPDATE hopsmeter.allocations SET cpu_nano = cpu_nano - 1000000000, total_nano ="
            " total_nano - 1000000000, revision = 2 WHERE hour = %s RETURNING account_no, total_nano",
            [at],
        ).fetchall()
        total = sum(cost for _, cost in rows)
        connection.execute(
            "UPDATE hopsmeter.collection_windows SET total_nano = %s WHERE hour = %s", [total, at]
        )
        for account, cost in rows:
            self.cost[account] += cost

    def credit(self) -> Counter[str]:
        """Post every credit once, in an order of one's own; return what was posted by this one."""
        mine: Counter[str] = Counter()
        order = random.sample(self.keys, len(self.keys))
        with self.site.open() as connection:
            for key, what, user, amount, expires in order:
                said = {"account": user.id, "key": key, "why": "test", "now": hour(0)}
                try:
                    with connection.transaction():
                        if what == "grant":
                            lot = Lot(amount, None if expires is None else day(expires))
                            done = grant(connection, ADMIN, lot=lot, currency="USD", **said)  # type: ignore[arg-type]  # as above
                        elif what == "adjust":
                            down = {"amount_nano": -amount, "currency": "USD"}
                            done = adjust(connection, ADMIN, **down, **said)  # type: ignore[arg-type]  # as above
                        else:
                            done = refund(connection, ADMIN, amount_nano=amount, lot=None, **said)  # type: ignore[arg-type]  # as above
                except Conflict:
                    continue
                mine[key] += done.is_new
        return mine

    def post(self) -> int:
        with self.site.open() as connection:
            return sum(post_due(connection, self.site.now).entries for _ in range(3 * HOURS))

    def expire(self) -> int:
        with self.site.open() as connection:
            found = [expire_due(connection, self.site.now).lots for _ in range(HOURS)]
        return sum(found)


def wrong(site: Site) -> list[tuple[str, ...]]:
    """What the books say is wrong, but for the hours between those that these tests store."""
    return [line.rows for line in site.books() if not line.ok and line.number != HOURS_ALL_THERE]


@pytest.mark.parametrize("accounts", [1, 2, 24])
def test_whoever_posts_at_once_the_books_balance(site: Site, accounts: int) -> None:
    crowd = Crowd(site, accounts, seed=accounts)
    with ThreadPoolExecutor(CREDITORS + POSTERS + 3) as pool:
        credited = [pool.submit(crowd.credit) for _ in range(CREDITORS)]
        alone = [crowd.store, crowd.expire, crowd.expire, *[crowd.post] * POSTERS]
        others = [pool.submit(each) for each in alone]
        mine = sum((each.result() for each in credited), Counter[str]())
        for each in others:
            each.result()
    site.post()
    assert set(mine.values()) <= {1}
    rows = site.all(
        "SELECT account_no, -sum(amount_nano)::bigint AS nano FROM ledger_entries"
        " WHERE contra = 11 GROUP BY 1"
    )
    assert {row["account_no"]: row["nano"] for row in rows if row["nano"]} == +crowd.cost
    posted = site.value(
        "SELECT count(DISTINCT regexp_replace(ref, ':.*', '')) FROM ledger_entries"
        " WHERE ref LIKE 'key %%'"
    )
    assert posted == len(mine)
    site.now += timedelta(days=9)
    expire(site)
    assert wrong(site) == []


def test_a_refund_takes_the_books_before_its_lot(site: Site) -> None:
    """Else it holds what a poster, who has the books, is about to draw from."""
    anna = site.user(currency="USD")
    lot = granted(site, anna, 5, bought=True, key="pi_1").lot
    with site.open() as poster, ThreadPoolExecutor(1) as pool:
        poster.execute("SET lock_timeout = '2s'")
        with poster.transaction():
            poster.execute("SELECT FROM hopsmeter.lock_books(%s)", [anna.no])
            done = pool.submit(refunded, site, anna, 2, "re_1", lot)
            site.until_somebody_waits()
            poster.execute("SELECT FROM hopsmeter.credit_lots WHERE id = %s FOR UPDATE", [lot])
        assert done.result().is_new
    assert lots(site, anna) == [3]


def test_two_posters_of_the_same_day_enter_it_once(site: Site) -> None:
    crowd = Crowd(site, 12, seed=5)
    crowd.store()
    with ThreadPoolExecutor(POSTERS) as pool:
        entries = [pool.submit(crowd.post) for _ in range(POSTERS)]
        assert sum(each.result() for each in entries) == site.value(
            "SELECT count(*) FROM ledger_entries WHERE posting_no IS NOT NULL"
        )
    numbers = site.all("SELECT day, no FROM postings ORDER BY day, no")
    assert all(a["no"] < b["no"] for a, b in pairwise(numbers) if a["day"] == b["day"])
    assert site.post().entries == 0
    assert wrong(site) == []
