"""Commands about rates: told before they are done, refused in a sentence where they make no sense."""

import json
from typing import Any
from uuid import uuid4

import pytest

from core.clock import HOUR, floor_hour, hour_text
from tests.core.commands.carrier import ask, publish, with_admin
from tests.core.commands.test_commands import carry, one
from tests.database import Database
from tests.factories import NOW, add_allocation, add_cluster, add_user, add_window


def test_a_dry_run_shows_the_money_that_a_plan_would_move(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    cluster, hour = add_cluster(person), floor_hour(NOW) - 2 * HOUR
    add_user(person)
    add_window(person, cluster, hour)
    add_allocation(person, cluster, hour, cost_nano=2_500_000_000)
    from_hour = hour_text(hour)
    ask(person, "namespace.map", cluster="eu-1", namespace="ml-train", user="auth0|anna")
    ask(person, "rates.new", plan="team", factor="1.2")
    assigning: dict[str, Any] = {
        "account": "anna@example.test",
        "plan": "team",
        "from_hour": from_hour,
    }
    for dry_run in (True, False):
        ask(person, "rates.assign", **assigning, dry_run=dry_run)
    ask(person, "rates.unassign", account="anna@example.test", from_hour=from_hour)
    _, made, tried, done, undone = carry(database, keyring)
    assert made == ("done", "The new plan team charges cost × 1.2 for any hour.")
    assert tried == done
    assert done[1] == (
        f"auth0|anna pays by the plan team, which is cost × 1.2, from {from_hour} on:"
        " 1 stored hour is charged anew, 2.50000 → 3.00000 USD."
    )
    assert undone[1].endswith("1 stored hour is charged anew, 3.00000 → 2.50000 USD.")
    results = person.execute("SELECT result FROM commands WHERE name = 'rates.assign'").fetchall()
    for (result,) in results:
        assert result["difference"] == {
            "plan": ["default", "team"],
            "charge_USD_nano": [2_500_000_000, 3_000_000_000],
        }
    trail = person.execute("SELECT action FROM audit_log ORDER BY id").fetchall()
    assert [row[0] for row in trail][1:] == ["rates.new", "rates.assign", "rates.unassign"]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("rates.new", {"plan": "team", "factor": "-1"}, "A factor is 0 (free) or more."),
        ("rates.new", {"plan": "team", "factor": "1.0000001"}, "at most 6 decimals"),
        ("rates.new", {"plan": "team", "factor": 1.5}, "factor: expected str | null, got float."),
        ("rates.new", {"plan": "a b", "factor": "1"}, "'a b' is no name for a plan"),
        (
            "rates.new",
            {"plan": "team", "factor": "1", "from_hour": "2026-03-01T14:30"},
            "is no hour",
        ),
        ("rates.assign", {"account": "auth0|x", "plan": "default"}, "There is no user 'auth0|x'"),
        ("rates.assign", {"account": "auth0|boss", "plan": "x"}, "There is no plan 'x'"),
        ("rates.unassign", {"account": "auth0|boss"}, "pays by the default plan from"),
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused_with_a_sentence(
    database: Database, name: str, given: dict[str, object], said: str
) -> None:
    person, keyring = with_admin(database), publish(database)
    person.execute(
        "INSERT INTO commands (key, name, arguments) VALUES (%s, %s, %s)",
        [uuid4(), name, json.dumps(given)],
    )
    ((end, sentence),) = carry(database, keyring)
    assert (end, said in sentence) == ("refused", True), sentence
    assert one(person, "SELECT count(*) FROM rate_plans") == 1
    assert one(person, "SELECT count(*) FROM plan_assignments") == 0
    assert one(person, "SELECT count(*) FROM audit_log") == 0
