"""What is included is free of what is posted: each late change moves it, and the ledger follows."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from core.books.explain import explain
from tests import factories
from tests.answers import allocation, body_of
from tests.core.billing.ledger_site import books, granted, pays
from tests.core.metering.site import ADMIN, Begun, Site, hour

CORE_HOUR = 10**9
"""What one costs on the card of these tests, whose other resources are free."""


@dataclass
class Plant:
    """Clusters whose namespaces use as many core-hours as a test says; anna pays by a card."""

    site: Site
    anna: factories.User

    def use(self, cores: dict[str, float], number: int, cluster: str = "eu-1") -> None:
        rows = {
            name: allocation(hour(number), cpuCoreHours=used, cpuCost=1)
            for name, used in cores.items()
        }
        rows["kube-system"] = allocation(hour(number))
        self.site.say(body_of(rows), number, cluster)

    def collect(self, number: int) -> None:
        self.site.until(number)
        self.site.collect()

    def again(self, number: int, cluster: str = "eu-1") -> None:
        self.site.again(number, cluster)
        self.site.collect()

    def settle(self, charged: float) -> None:
        """Post, prove the books, and see what anna owes: in daily rows, ledger and explanations."""
        self.site.post()
        self.site.must_balance()
        assert charge(self.site, self.anna) == charged
        assert -books(self.site, self.anna).get("receivable", 0) == charged
        costs = self.site.value(
            "SELECT coalesce(sum(charge_nano), 0)::bigint FROM cost_by_day WHERE account_no = %s",
            self.anna.no,
        )
        assert costs == charged * CORE_HOUR


def charge(site: Site, user: factories.User) -> float:
    return sum(each for (who, _, _), each in site.usage().items() if who == user.id) / CORE_HOUR


@pytest.fixture
def plant(begun: Begun) -> Iterator[Plant]:
    with begun.after(ten_core_hours) as (site, anna):
        yield Plant(site, anna)


def ten_core_hours(site: Site) -> factories.User:
    """Two clusters; anna has ten core-hours a month included, and owns a, b and c on both."""
    anna = site.user()
    for cluster in ("eu-1", "eu-2"):
        site.cluster(cluster)
        for namespace in "abc":
            site.map(namespace, anna, 0, cluster)
    site.card("card", {"cpu": "1"}, included={"cpu": "10"})
    site.assign(anna, "card", 0)
    return anna


@pytest.fixture
def used_up(begun: Begun) -> Iterator[Plant]:
    with begun.after(two_beyond) as (site, anna):
        yield Plant(site, anna)


def two_beyond(site: Site) -> factories.User:
    """The same after three days with four core-hours each."""
    anna = ten_core_hours(site)
    days_of(Plant(site, anna), 1, 3, step=12)
    return anna


def days_of(plant: Plant, cores: float, days: int, step: int = 6) -> None:
    """Let both clusters be used every few hours of some days, and be empty between."""
    for number in range(days * 24):
        used = {"a": cores} if number % step == 0 else {}
        for cluster in ("eu-1", "eu-2"):
            plant.use(used, number, cluster)
    plant.collect(days * 24 - 1)


def test_hours_are_free_until_it_is_used_up(plant: Plant) -> None:
    for number, owed in enumerate((0, 0, 2, 6)):
        plant.use({"a": 3, "b": 1}, number)
        plant.collect(number)
        plant.settle(owed)
    shown = [explain(plant.site.connection, ADMIN, "eu-1", "a", hour(n)) for n in range(4)]
    assert [each.charge_nano / CORE_HOUR for each in shown] == [0, 0, 1, 3]
    assert [str(each.charge_lines[0].free.normalize()) for each in shown] == ["3", "3", "2", "0"]


def test_an_earlier_hour_that_comes_late_moves_what_was_free(plant: Plant) -> None:
    """On the same day: the hour that was free is charged now, in its own namespace."""
    plant.use({"a": 8}, 0, "eu-2")
    plant.use({"b": 6}, 1)
    plant.collect(1)
    plant.settle(4)
    plant.use({"c": 3}, 0)
    plant.again(0)
    plant.settle(7)
    assert explain(plant.site.connection, ADMIN, "eu-1", "c", hour(0)).charge_nano == 0
    found = explain(plant.site.connection, ADMIN, "eu-2", "a", hour(0))
    assert found.charge_nano == CORE_HOUR


def test_use_that_was_kept_wrong_is_named_before_it_moves_a_charge(plant: Plant) -> None:
    plant.use({"a": 8}, 0)
    plant.collect(0)
    plant.settle(0)
    plant.site.connection.execute("UPDATE included_used_daily SET cpu_core_hours_micro = 9000000")
    assert [(each.number, each.rows) for each in plant.site.books() if not each.ok] == [
        (3, ("auth0|anna 2026-03-01T00Z: included_used_daily differs",))
    ]


def test_a_restated_day_is_entered_on_all_later_days(plant: Plant) -> None:
    days_of(plant, 2, 3)
    plant.settle(3 * 16 - 10)
    postings = plant.site.value("SELECT max(no) FROM postings WHERE day = '2026-03-02'")
    plant.use({"a": 1}, 0)
    plant.again(0)
    plant.settle(3 * 16 - 10 - 1)
    plant.use({"a": 20}, 0, "eu-2")
    plant.again(0, "eu-2")
    plant.settle(3 * 16 - 10 - 1 + 18)
    assert plant.site.value("SELECT max(no) FROM postings WHERE day = '2026-03-02'") == postings
    plant.use({"a": 0.5}, 0, "eu-2")
    plant.again(0, "eu-2")
    plant.settle(3 * 16 - 10 - 1 - 1.5)


def test_a_correction_reaches_the_day_on_which_it_was_used_up(used_up: Plant) -> None:
    used_up.settle(2)
    assert [
        used_up.site.usage()[used_up.anna.id, "eu-1", f"2026-03-0{day}"] for day in (1, 2, 3)
    ] == [
        0,
        0,
        CORE_HOUR,
    ]
    used_up.use({"a": 4.5}, 12)
    used_up.again(12)
    used_up.settle(2 + 3.5)
    by_day = used_up.site.all(
        "SELECT usage_day, sum(-amount_nano)::bigint AS owed FROM ledger_entries"
        " WHERE account_no = %s GROUP BY 1 ORDER BY 1",
        used_up.anna.no,
    )
    assert [row["owed"] / CORE_HOUR for row in by_day] == [1.5, 4]


def test_a_namespace_that_is_given_away_gives_its_free_part_back(used_up: Plant) -> None:
    ben = used_up.site.user("ben")
    used_up.site.map("a", ben, 0, "eu-2")
    used_up.settle(0)
    used_up.site.map("a", used_up.anna, 12, "eu-2")
    used_up.settle(1)


def test_a_month_that_begins_hands_out_anew(plant: Plant) -> None:
    plant.site.cluster("eu-3", metering_since=hour(30 * 24))
    plant.site.map("a", plant.anna, 0, "eu-3")
    for number in range(30 * 24, 32 * 24):
        plant.use({"a": 6} if number % 12 == 0 else {}, number, "eu-3")
    plant.site.connection.execute(
        "UPDATE hopsworks_clusters SET status = 'paused' WHERE name <> 'eu-3'"
    )
    plant.collect(32 * 24 - 1)
    plant.site.post()
    usage = plant.site.usage()
    assert [
        usage[plant.anna.id, "eu-3", day] / CORE_HOUR for day in ("2026-03-31", "2026-04-01")
    ] == [
        2,
        2,
    ]


def test_a_plan_that_begins_within_the_month_ends_what_is_free(used_up: Plant) -> None:
    used_up.settle(2)
    used_up.site.card("bare", {"cpu": "1"})
    change = used_up.site.assign(used_up.anna, "bare", 24)
    assert [(each.charge_before_nano, each.charge_after_nano) for each in change.moved] == [
        (2 * CORE_HOUR, 8 * CORE_HOUR)
    ]
    used_up.settle(8)
    back = used_up.site.unassign(used_up.anna, 0)
    (moved,) = back.moved
    assert moved.charge_before_nano == 8 * CORE_HOUR
    used_up.site.assign(used_up.anna, "card", 0)
    used_up.settle(2)


def test_what_was_used_under_a_plan_that_never_was_is_forgotten(used_up: Plant) -> None:
    """Unassigned from the first hour on, given away in part, and assigned again."""
    used_up.settle(2)
    used_up.site.unassign(used_up.anna, 0)
    used_up.site.post()
    assert used_up.site.value("SELECT count(*) FROM included_used_daily") == 0
    used_up.site.map("a", used_up.site.user("ben"), 0, "eu-2")
    used_up.site.post()
    used_up.site.assign(used_up.anna, "card", 0)
    used_up.settle(0)


def test_assigning_tells_what_is_charged_with_the_free_part(used_up: Plant) -> None:
    cost = 12 * 1_065_760_000 - 12 * 47_430_000
    (undone,) = used_up.site.unassign(used_up.anna, 0).moved
    assert (undone.charge_before_nano, undone.charge_after_nano) == (
        2 * CORE_HOUR,
        undone.cost_nano,
    )
    assert undone.cost_nano == cost
    (done,) = used_up.site.assign(used_up.anna, "card", 0).moved
    assert (done.charge_before_nano, done.charge_after_nano) == (cost, 2 * CORE_HOUR)
    used_up.settle(2)


def test_credits_pay_what_is_left_and_get_back_what_becomes_free(plant: Plant) -> None:
    pays(plant.site, plant.anna, "prepaid", 0)
    granted(plant.site, plant.anna, 30)
    days_of(plant, 2, 3)
    plant.site.post()
    assert books(plant.site, plant.anna) == {"arrears": -8}
    plant.use({"a": 0.5}, 0)
    plant.again(0)
    plant.site.post()
    assert books(plant.site, plant.anna) == {"arrears": -6.5}
    plant.site.map("a", plant.site.user("ben"), 24, "eu-1")
    plant.site.post()
    assert books(plant.site, plant.anna) == {"credits": 9.5}
    plant.site.must_balance()


def test_posting_again_changes_nothing(plant: Plant) -> None:
    days_of(plant, 2, 3)
    plant.settle(38)
    tables = ("usage_daily", "cost_daily", "ledger_entries", "ledger_balances")
    before = {table: plant.site.versions(table) for table in tables}
    plant.site.post()
    plant.site.connection.execute(
        "UPDATE collection_windows SET posted_no = posted_no + 1000 WHERE revision > 0"
    )
    plant.site.post()
    assert plant.site.versions("ledger_entries") == before["ledger_entries"]
    plant.settle(38)


def test_whoever_has_nothing_included_is_posted_as_before(plant: Plant) -> None:
    ben = plant.site.user("ben")
    plant.site.map("d", ben, 0)
    plant.use({"a": 30, "d": 1}, 0)
    plant.collect(0)
    plant.settle(20)
    assert charge(plant.site, ben) == pytest.approx(1.01833)


def test_the_books_see_a_free_part_that_was_charged(plant: Plant) -> None:
    days_of(plant, 1, 2, step=12)
    plant.settle(0)
    plant.site.connection.execute(
        "UPDATE usage_daily SET charge_nano = 1 WHERE date = '2026-03-02' AND cluster_id = 1"
    )
    failed = {line.number for line in plant.site.books() if not line.ok}
    assert 3 in failed
