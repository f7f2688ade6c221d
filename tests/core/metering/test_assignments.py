"""Who pays by which plan, from which hour on; dated back, what was charged is charged anew."""

import threading
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest

from core.books.explain import explain
from core.db.connect import connect
from core.db.locks import Lock, take
from core.errors import Conflict, Forbidden, InputFault, Unknown
from core.identity.principal import Principal
from core.metering.assignments import Repriced, assign_plan
from core.reports.rates import plan_story, plans, quote
from tests import factories
from tests.core.metering.site import ADMIN, Site, hour
from tests.core.metering.test_pricing import COST, charges, collect, settle

DAY_1 = "2026-03-01"


@pytest.fixture
def anna(site: Site) -> factories.User:
    """Her namespace a has six stored hours, charged by the default plan; b is ben's."""
    site.cluster()
    site.plan("free", "0")
    site.plan("team", "1.5")
    anna = site.user()
    site.map("a", anna, 0)
    site.map("b", site.user("ben"), 0)
    collect(site, 0, 5)
    settle(site)
    return anna


def factors(site: Site, namespace: str = "a") -> str:
    return " ".join(factor for _, factor, _ in charges(site, namespace))


def charged(site: Site, user: factories.User) -> int:
    return sum(charge for (who, _, _), charge in site.usage().items() if who == user.id)


def test_an_assignment_prices_the_hours_to_come(site: Site, anna: factories.User) -> None:
    change = site.assign(anna, "team")
    assert (change.from_hour, change.until_hour, change.moved) == (hour(6), None, ())
    assert (change.plan_before, change.plan) == ("default", "team")
    collect(site, 6, 7)
    assert factors(site) == "1 1 1 1 1 1 1.5 1.5"
    assert factors(site, "b") == "1 1 1 1 1 1 1 1"
    settle(site)


def test_an_assignment_of_a_coming_hour_waits_for_it(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 7)
    for number in (6, 7, 8):
        collect(site, number, number)
    assert factors(site) == "1 1 1 1 1 1 1 1.5 1.5"
    settle(site)


def test_dated_back_it_revises_and_posts_the_difference(site: Site, anna: factories.User) -> None:
    change = site.assign(anna, "team", 4)
    assert change.moved == (Repriced("USD", 2, 2 * COST, 2 * COST, 3 * COST),)
    assert factors(site) == "1 1 1 1 1.5 1.5"
    assert [site.rows(number)["a"].revision for number in (3, 4)] == [1, 2]
    assert charged(site, anna) == 6 * COST
    settle(site)
    assert charged(site, anna) == 7 * COST


def test_a_closed_day_is_written_anew_by_what_is_dated_back(
    site: Site, anna: factories.User
) -> None:
    collect(site, 6, 25)
    site.post()
    site.assign(anna, "team", 20)
    settle(site)
    assert site.usage()[anna.id, "eu-1", DAY_1] == 24 * COST + 2 * COST
    assert site.value(
        "SELECT project_breakdown -> 'a' ->> 'charge_nano' FROM usage_daily d"
        " JOIN users u ON u.no = d.user_no WHERE u.id = %s AND date = %s",
        anna.id,
        DAY_1,
    ) == str(26 * COST)


def test_an_odd_factor_is_charged_to_the_last_nano(site: Site, anna: factories.User) -> None:
    """Half-even, once per allocation, below zero as above it."""
    site.plan("odd", "1.000001")
    for number, cost in ((6, 0.0005), (7, 0.0015), (8, -0.0005), (9, -0.0015)):
        site.say({"a": cost - 0.01833, "b": 1}, number)
    site.until(9)
    site.collect()
    assert [site.rows(number)["a"].total_nano for number in range(6, 10)] == [
        500_000,
        1_500_000,
        -500_000,
        -1_500_000,
    ]
    site.post()
    change = site.assign(anna, "odd", 6)
    assert [charge for _, _, charge in charges(site)][6:] == [
        500_000,
        1_500_002,
        -500_000,
        -1_500_002,
    ]
    assert change.moved == (Repriced("USD", 4, 0, 0, 0),)
    settle(site)
    site.unassign(anna, 8)
    settle(site)
    assert charged(site, anna) == 6 * COST + 2


def test_unassigning_gives_the_default_plan_back(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 1)
    change = site.unassign(anna, 4)
    assert (change.plan_before, change.plan, change.dropped) == ("team", "default", ("team",))
    assert factors(site) == "1 1.5 1.5 1.5 1 1"
    settle(site)
    site.unassign(anna, 1)
    assert factors(site) == "1 1 1 1 1 1"
    assert site.versions("plan_assignments") == []
    settle(site)


def test_unassigning_takes_what_was_to_come_back_too(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 1)
    site.assign(anna, "free", 8)
    assert site.unassign(anna, 3).dropped == ("team", "free")
    collect(site, 6, 8)
    assert factors(site) == "1 1.5 1.5 1 1 1 1 1 1"
    settle(site)


def test_a_free_plan_charges_nothing(site: Site, anna: factories.User) -> None:
    site.assign(anna, "free", 0)
    assert factors(site) == "0 0 0 0 0 0"
    settle(site)
    assert charged(site, anna) == 0
    assert site.value("SELECT sum(opencost_total_nano) FROM usage_daily WHERE charge_nano = 0") == (
        6 * COST
    )


def test_a_new_plan_ends_the_one_before(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 1)
    change = site.assign(anna, "free", 3)
    assert (change.plan_before, change.dropped) == ("team", ("team",))
    assert factors(site) == "1 1.5 1.5 0 0 0"
    settle(site)


def test_a_plan_that_begins_later_stays(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 3)
    change = site.assign(anna, "free", 1)
    assert change.until_hour == hour(3)
    assert factors(site) == "1 0 0 1.5 1.5 1.5"
    settle(site)


def test_a_plan_over_the_whole_period_of_another_replaces_it(
    site: Site, anna: factories.User
) -> None:
    site.assign(anna, "team", 2)
    site.assign(anna, "free", 2)
    assert factors(site) == "1 1 0 0 0 0"
    assert site.value("SELECT count(*) FROM plan_assignments") == 1
    settle(site)


def test_versions_of_an_assigned_plan_price_each_hour_by_its_own(
    site: Site, anna: factories.User
) -> None:
    site.plan("team", "2", 3)
    site.assign(anna, "team", 2)
    assert factors(site) == "1 1 1.5 2 2 2"
    settle(site)


def test_a_namespace_that_comes_later_pays_by_the_plan_of_its_owner(
    site: Site, anna: factories.User
) -> None:
    site.assign(anna, "team", 2)
    site.map("b", anna, 1)
    assert factors(site, "b") == "1 1 1.5 1.5 1.5 1.5"
    settle(site)
    site.unmap("b", 4)
    settle(site)


def test_a_restated_hour_keeps_its_plan(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 2)
    site.say({"a": 2, "b": 2}, 3)
    site.again(3)
    site.collect()
    assert factors(site) == "1 1 1.5 1.5 1.5 1.5"
    settle(site)
    assert charged(site, anna) == 8 * COST + 3 * 10**9 // 2


def test_an_account_on_two_clusters_is_repriced_on_both(site: Site) -> None:
    site.cluster()
    site.cluster("eu-2")
    anna = site.user()
    for name in ("eu-1", "eu-2"):
        site.map("a", anna, 0, name)
        for number in (0, 1):
            site.say({"a": 1}, number, name)
    site.until(1)
    site.collect()
    site.plan("team", "2")
    change = site.assign(anna, "team", 1)
    assert change.moved == (Repriced("USD", 2, 2 * COST, 2 * COST, 4 * COST),)
    assert change.hours == 2
    settle(site)


def test_assigning_touches_nobody_elses_hours(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 0)
    assert site.rows(2)["b"].revision == 1
    assert site.rows(2)["kube-system"].revision == 1
    settle(site)


def test_an_hour_is_never_stored_by_the_plan_before(site: Site, anna: factories.User) -> None:
    """A store waits for the assignment that is under way, and freezes in what it says."""
    site.say({"a": 1, "b": 2}, 6)
    site.until(6)
    with connect(site.database.url, name="assigner") as other, other.transaction():
        assign_plan(
            other,
            ADMIN,
            account=anna.id,
            plan="team",
            from_hour=hour(6),
            why="",
            now=site.now,
        )
        collecting = threading.Thread(target=site.collect)
        collecting.start()
        collecting.join(0.3)
        assert collecting.is_alive()
    collecting.join(20)
    assert factors(site) == "1 1 1 1 1 1 1.5"
    settle(site)


def test_a_wrong_plan_is_found_by_the_books(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 4)
    site.post()
    site.connection.execute(
        "UPDATE allocations SET plan_version_id = 1 WHERE user_no = %s AND hour = %s",
        [anna.no, hour(5)],
    )
    failed = [line for line in site.books() if not line.ok]
    assert [line.number for line in failed] == [2, 3]
    assert failed[0].rows == ("eu-1 a 2026-03-01T05Z: not what its period says",)


def test_explain_shows_the_plan_and_version_that_priced_it(
    site: Site, anna: factories.User
) -> None:
    site.plan("team", "2", 3)
    site.assign(anna, "team", 2)
    found = explain(site.connection, ADMIN, "eu-1", "a", hour(3))
    assert (found.plan, found.charges, found.plan_since) == ("team", "cost × 2", hour(3))
    assert found.charge_nano == 2 * COST
    (before,) = found.history
    assert (before.plan, before.charges, before.charge_nano) == ("default", "cost × 1", COST)
    assert before.why == "plan: team"


def test_a_quote_says_what_a_store_freezes_in(site: Site, anna: factories.User) -> None:
    site.plan("team", "2", 3)
    site.assign(anna, "team", 2)
    site.assign(anna, "free", 5)
    site.plan("default", "1.1", 7)
    quoted = [quote(site.connection, "anna@example.test", hour(number)) for number in range(6)]
    assert [each.charges.removeprefix("cost × ") for each in quoted] == factors(site).split()
    assert (quoted[3].version_since, quoted[3].assigned_since) == (hour(3), hour(2))
    assert (quoted[3].assigned_until, quoted[3].charge_of_one_nano) == (hour(5), 2 * 10**9)
    assert (quoted[0].is_default, quoted[0].version_until) == (True, hour(7))
    with pytest.raises(Unknown, match="no user 'nobody'"):
        quote(site.connection, "nobody", hour(0))


def test_lists_show_plans_versions_and_accounts(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 2)
    site.plan("team", "2", 9)
    told = {each.plan: each for each in plans(site.connection, site.now)}
    assert list(told) == ["default", "free", "team"]
    assert (told["team"].charges, told["team"].next_charges, told["team"].accounts) == (
        "cost × 1.5",
        "cost × 2",
        1,
    )
    story = plan_story(site.connection, "team", site.now)
    assert [(each.terms.factor, each.until) for each in story.versions] == [
        (Decimal(2), None),
        (Decimal("1.5"), hour(9)),
    ]
    assert [(each.account_id, each.since) for each in story.accounts] == [(anna.id, hour(2))]
    with pytest.raises(Unknown, match="no plan 'dear'"):
        plan_story(site.connection, "dear", site.now)


def test_an_assignment_leaves_a_row_in_the_trail(site: Site, anna: factories.User) -> None:
    site.assign(anna, "team", 4)
    (row,) = site.all("SELECT * FROM audit_log WHERE action = 'rates.assign'")
    assert (row["subject"], row["why"]) == ("account auth0|anna", "agreed")
    assert row["before"] == {"plan": "default", "ended": []}
    assert row["after"]["moved"] == [
        {
            "currency": "USD",
            "hours_revised": 2,
            "charge_before_nano": 2 * COST,
            "charge_after_nano": 3 * COST,
        }
    ]


# ── what cannot be meant ────────────────────────────────────────────────────────────────────


def test_what_cannot_be_meant_is_told_and_changes_nothing(site: Site, anna: factories.User) -> None:
    site.plan("late", "2", 4)
    member = site.user("mia", account_owner_id=anna.id)
    gone = site.user("gone", status="deleted")
    site.assign(anna, "team", 2)
    tables = ("plan_assignments", "allocations", "audit_log", "ownership_epoch")
    before = {table: site.versions(table) for table in tables}
    for user, plan, number, fault, said in (
        (factories.User(0, "auth0|nobody", ""), "team", 0, Unknown, "no user 'auth0|nobody'"),
        (anna, "dear", 0, Unknown, "no plan 'dear'"),
        (anna, "late", 3, Conflict, "no price before 2026-03-01T04Z"),
        (anna, "team", 3, Conflict, "pays by the plan team at 2026-03-01T03Z already"),
        (member, "team", 3, Conflict, "team member, whose account is auth0|anna"),
        (gone, "team", 3, Unknown, "is deleted"),
    ):
        with pytest.raises(fault, match=said.replace("|", r"\|")):
            site.assign(user, plan, number)
    with pytest.raises(Unknown, match="pays by the default plan from"):
        site.unassign(factories.User(0, "ben@example.test", ""), 0)
    assert {table: site.versions(table) for table in tables} == before


def test_plans_go_by_whole_hours(site: Site, anna: factories.User) -> None:
    with pytest.raises(InputFault, match="whole hours"), site.connection.transaction():
        assign_plan(
            site.connection,
            ADMIN,
            account=anna.id,
            plan="team",
            from_hour=hour(1) + timedelta(minutes=1),
            why="",
            now=site.now,
        )
    for span in ("[2026-03-01 00:30Z,)", "[2026-03-01 00:00Z, 2026-03-01 01:30Z)", "(,)"):
        with pytest.raises(psycopg.errors.CheckViolation):
            site.connection.execute(
                "INSERT INTO plan_assignments (account_no, plan_id, valid, created_by)"
                " VALUES (%s, 1, %s, 'x')",
                [anna.no, span],
            )


def test_only_an_admin_assigns_plans(site: Site, anna: factories.User) -> None:
    with pytest.raises(Forbidden, match="Only an admin may assign plans"):
        assign_plan(
            site.connection,
            Principal("owner", anna.id),
            account=anna.id,
            plan="free",
            from_hour=None,
            why="",
            now=site.now,
        )


def test_two_assignments_at_once_take_turns(site: Site, anna: factories.User) -> None:
    ends: list[str] = []

    def run(plan: str) -> None:
        with connect(site.database.url, name="assigner") as other, other.transaction():
            assign_plan(
                other,
                ADMIN,
                account=anna.id,
                plan=plan,
                from_hour=hour(3),
                why="",
                now=site.now,
            )
        ends.append(plan)

    threads = [threading.Thread(target=run, args=[plan]) for plan in ("team", "free")]
    with site.connection.transaction():
        take(site.connection, Lock.ATTRIBUTION)
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(ends) == ["free", "team"]
    assert site.value("SELECT count(*) FROM plan_assignments") == 1
    settle(site)
