"""Versions of plans: each hour is charged by its own, and what was charged is never changed."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest

from core.db.connect import connect
from core.db.roles import DAEMON, ensure_roles
from core.errors import Conflict, Forbidden, InputFault
from core.identity.principal import Principal
from core.metering.pricing import new_version
from core.rates.plans import BEGINNING
from core.rates.terms import Terms
from tests.core.metering.site import Begun, Site, hour

COST = 1_018_330_000
"""Of one hour of a namespace whose CPU costs 1."""
COST_ITSELF = Terms(Decimal(1))


def charges(site: Site, namespace: str = "a") -> list[tuple[str, str, int]]:
    """Each hour's plan, factor and charge of a namespace."""
    rows = site.all(
        "SELECT p.name, v.factor, charge_nano(a, v, NULL) AS charge FROM allocations a"
        " JOIN namespaces n ON n.id = a.namespace_id"
        " JOIN rate_plan_versions v ON v.id = a.plan_version_id"
        " JOIN rate_plans p ON p.id = v.plan_id WHERE n.name = %s ORDER BY a.hour",
        namespace,
    )
    return [(row["name"], f"{row['factor'].normalize():f}", row["charge"]) for row in rows]


def settle(site: Site) -> None:
    """Post, and prove that the day's rows, its view and the books agree."""
    site.post()
    site.must_balance()
    usage = site.value("SELECT coalesce(sum(charge_nano), 0)::bigint FROM usage_daily")
    costs = site.value("SELECT coalesce(sum(charge_nano), 0)::bigint FROM cost_by_day")
    facts = site.value(
        "SELECT coalesce(sum(charge_nano(a, v, NULL)), 0)::bigint FROM allocations a"
        " JOIN rate_plan_versions v ON v.id = a.plan_version_id"
    )
    assert usage == costs == facts


def collect(site: Site, first: int, last: int) -> None:
    for number in range(first, last + 1):
        site.say({"a": 1, "b": 2}, number)
    site.until(last)
    site.collect()


@pytest.fixture
def annas(begun: Begun) -> Iterator[Site]:
    with begun.after(two_hours) as (site, _):
        yield site


def two_hours(site: Site) -> None:
    """Two stored hours of anna's namespace a, charged by the default plan."""
    site.cluster()
    site.map("a", site.user(), 0)
    collect(site, 0, 1)
    settle(site)


def test_a_version_that_begins_between_two_hours_prices_each_by_its_own(annas: Site) -> None:
    made = annas.plan("default", "1.25", 3)
    assert (made.since, made.terms_before, made.is_new) == (hour(3), COST_ITSELF, False)
    collect(annas, 2, 4)
    assert charges(annas) == [
        *[("default", "1", COST)] * 3,
        *[("default", "1.25", 1_272_912_500)] * 2,
    ]
    settle(annas)


def test_a_version_begins_with_no_hour_that_is_stored(annas: Site) -> None:
    """The clock of who sets it may be behind that of who collects."""
    collect(annas, 2, 4)
    annas.now -= timedelta(hours=3)
    with pytest.raises(Conflict, match="2026-03-01T04Z is charged by the plan default already"):
        annas.plan("default", "2")
    assert annas.plan("default", "2", 5).since == hour(5)
    annas.now += timedelta(hours=3)
    settle(annas)


def test_a_version_without_an_hour_begins_with_the_coming_one(annas: Site) -> None:
    made = annas.plan("default", "2")
    assert made.since == hour(3)
    annas.now = hour(3) - timedelta(microseconds=1)
    assert annas.plan("other", "2").since == BEGINNING
    assert annas.plan("other", "3").since == hour(3)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_plan_that_is_charged_gets_no_version_in_the_past(annas: Site, number: int) -> None:
    before = annas.versions("rate_plan_versions")
    with pytest.raises(Conflict, match="begins with 2026-03-01T03Z at the earliest"):
        annas.plan("default", "2", number)
    assert annas.versions("rate_plan_versions") == before


def test_an_assigned_plan_is_charged_once_an_hour_of_it_is_stored(annas: Site) -> None:
    annas.plan("team", "2")
    annas.assign(annas.user("ben"), "team", 0)
    annas.plan("team", "3", 1)
    anna = annas.user("carl")
    annas.map("b", anna, 2)
    annas.assign(anna, "team", 2)
    annas.plan("team", "4", 2)
    collect(annas, 2, 2)
    with pytest.raises(Conflict, match="charged by the plan team already"):
        annas.plan("team", "5", 0)
    assert charges(annas, "b") == [("team", "4", 4 * (COST + 10**9))]
    settle(annas)


def test_a_plan_that_nobody_is_charged_by_gets_versions_of_any_hour(site: Site) -> None:
    site.cluster()
    site.plan("default", "1.5", 0)
    site.plan("default", "1.75", 1)
    site.map("a", site.user(), 0)
    collect(site, 0, 1)
    assert [factor for _, factor, _ in charges(site)] == ["1.5", "1.75"]
    settle(site)


def test_a_version_between_two_others_holds_until_the_later_one(annas: Site) -> None:
    annas.plan("default", "3", 5)
    made = annas.plan("default", "2", 4)
    assert (made.since, made.until, made.terms_before) == (hour(4), hour(5), COST_ITSELF)
    collect(annas, 2, 5)
    assert [factor for _, factor, _ in charges(annas)] == ["1", "1", "1", "1", "2", "3"]
    settle(annas)


def test_no_version_takes_the_place_of_another(annas: Site) -> None:
    annas.plan("default", "3", 5)
    with pytest.raises(Conflict, match=r"has a version from 2026-03-01T05Z on \(cost × 3\)"):
        annas.plan("default", "2", 5)


def test_a_version_that_changes_nothing_is_not_made(annas: Site) -> None:
    for number in (None, 4):
        with pytest.raises(
            Conflict, match=r"default charges cost × 1 from 2026-03-01T.* on already"
        ):
            annas.plan("default", "1", number)
    annas.plan("default", "2", 5)
    annas.plan("default", "2", 4)
    annas.plan("default", "1", 6)
    assert annas.value("SELECT count(*) FROM rate_plan_versions") == 4


@pytest.mark.parametrize("name", ["", "Team", "a b", "-a", "a" * 64, "ä", "a\n"])
def test_a_plan_has_a_name_that_can_be_typed(site: Site, name: str) -> None:
    with pytest.raises(InputFault, match="is no name for a plan"):
        site.plan(name, "1")
    assert site.value("SELECT count(*) FROM rate_plans") == 1


def test_a_version_begins_with_a_whole_hour(site: Site) -> None:
    with pytest.raises(InputFault, match="whole hour"), site.connection.transaction():
        new_version(
            site.connection,
            Principal("admin", "auth0|admin"),
            plan="team",
            terms=COST_ITSELF,
            from_hour=hour(0) + timedelta(minutes=30),
            why="",
            now=site.now,
        )
    assert site.value("SELECT count(*) FROM rate_plans") == 1


def test_only_an_admin_changes_rates(site: Site) -> None:
    with pytest.raises(Forbidden, match="Only an admin may change rates"):
        new_version(
            site.connection,
            Principal("owner", "auth0|anna"),
            plan="team",
            terms=COST_ITSELF,
            from_hour=None,
            why="",
            now=site.now,
        )


def test_a_version_leaves_a_row_in_the_trail(annas: Site) -> None:
    annas.plan("default", "1.5", 3)
    (row,) = annas.all("SELECT * FROM audit_log WHERE action = 'rates.new'")
    assert (row["subject"], row["why"]) == ("plan default", "agreed")
    assert row["before"] == {"terms": "cost × 1"}
    assert row["after"] == {"terms": "cost × 1.5", "from": "2026-03-01T03Z"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rate_plan_versions SET factor = 2",
        "DELETE FROM rate_plan_versions",
        "TRUNCATE rate_plan_versions CASCADE",
    ],
)
@pytest.mark.parametrize("role", ["", DAEMON])
def test_a_version_is_never_changed_by_anybody(site: Site, statement: str, role: str) -> None:
    ensure_roles(site.connection)
    site.plan("team", "1.5")
    url = site.database.url_for(role) if role else site.database.url
    with connect(url, name="somebody") as connection:
        connection.execute("SET search_path = hopsmeter")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    assert site.value("SELECT count(*) FROM rate_plan_versions") == 2
