"""Plans on the command line: made, assigned, quoted."""

import csv
import io
import json

from core.billing.posting.post import post_due
from core.clock import hour_text
from tests.core.commands.carrier import carrying, publish, with_admin
from tests.database import Database
from tests.factories import NOW, add_allocation, add_cluster, add_user, add_window
from tests.tui.cli.conftest import NEWEST, Run, thin


def test_a_plan_is_made_assigned_and_told(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster, anna = add_cluster(connection), "anna@example.test"
    add_user(connection)
    add_window(connection, cluster, NEWEST)
    add_allocation(connection, cluster, NEWEST, cost_nano=2_500_000_000)
    with carrying(database, publish(database)):
        run("namespace", "map", "eu-1", "ml-train", anna)
        made = run("rates", "new", "team", "--factor", "1.2", "--reason", "agreed")
        later = run("rates", "new", "team", "--factor", "1.5", "--from", "2026-04-01")
        words = ("rates", "assign", anna, "team", "--from", hour_text(NEWEST))
        tried, assigned = run(*words, "--dry-run"), run(*words)
        refused = run("rates", "new", "team", "--factor", "-1", exit_code=1)
        told = thin(run("explain", "eu-1", "ml-train", hour_text(NEWEST)).stdout)
    assert made.stdout == "The new plan team charges cost × 1.2 for any hour.\n"
    assert "from 2026-04-01T00Z on, instead of cost × 1.2." in later.stdout
    assert "  charges: cost × 1.2 → cost × 1.5" in later.stdout
    assert assigned.stdout.splitlines()[0] in tried.stdout
    assert "  plan: default → team" in assigned.stdout
    assert "  charge_USD: 2.50 → 3.00" in assigned.stdout
    assert "0 (free) or more" in refused.stderr
    assert "team: cost × 1.2, its version from 2000-01-01T00Z on" in told
    assert "\nbefore     revision 2: " in told
    assert "nobody; replaced" in told
    assert "default: cost × 1; replaced" in told
    assert json.loads(run("usage", anna, "--month", "2026-03", "--json").stdout) == []


def test_plans_are_listed_shown_and_quoted_in_each_form(run: Run, database: Database) -> None:
    connection, anna = with_admin(database), "anna@example.test"
    add_user(connection)
    with carrying(database, publish(database)):
        run("rates", "new", "team", "--factor", "1.25")
        run("rates", "assign", anna, "team", "--from", "2026-03-01")
        run("rates", "unassign", anna, "--from", "2026-04-01")
    listed = json.loads(run("rates", "list", "--json").stdout)
    assert [(each["plan"], each["charges"], each["accounts"]) for each in listed] == [
        ("default", "cost × 1", 0),
        ("team", "cost × 1.25", 1),
    ]
    assert len(list(csv.reader(io.StringIO(run("rates", "list", "--csv").stdout)))) == 3
    assert "1.25" in run("rates", "list").stdout
    shown = json.loads(run("rates", "show", "team", "--json").stdout)
    assert [each["since"] for each in shown["versions"]] == ["2000-01-01T00Z"]
    assert [(each["email"], each["until"]) for each in shown["assigned"]] == [
        (anna, "2026-04-01T00Z")
    ]
    rows = list(csv.DictReader(io.StringIO(run("rates", "show", "team", "--csv").stdout)))
    assert [(row["what"], row["since"]) for row in rows] == [
        ("version", "2000-01-01T00Z"),
        ("account", "2026-03-01T00Z"),
    ]
    for part in ("cost-plus", "1.25", anna, "2026-04-01T00Z"):
        assert part in run("rates", "show", "team").stdout
    quoted = run("rates", "quote", anna).stdout
    assert "team, assigned from 2026-03-01T00Z until 2026-04-01T00Z" in quoted
    assert "1.00 of cost is charged as 1.250000" in quoted
    later = json.loads(run("rates", "quote", anna, "--at", "2026-04-01", "--json").stdout)
    assert [(each["plan"], each["charge_of_one_nano"]) for each in later] == [("default", 10**9)]
    assert "assigned to none" in run("rates", "quote", anna, "--at", "2026-04-01").stdout
    assert "no plan 'dear'" in run("rates", "show", "dear", exit_code=1).stderr
    assert "no user 'nobody'" in run("rates", "quote", "nobody", exit_code=1).stderr


def test_a_card_is_made_shown_and_explained(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster, anna = add_cluster(connection), "anna@example.com"
    add_user(connection, anna)
    add_window(connection, cluster, NEWEST)
    add_allocation(connection, cluster, NEWEST, cost_nano=10**9)
    with carrying(database, publish(database)):
        run("namespace", "map", "eu-1", "ml-train", anna)
        words = ("--price", "cpu=0.03", "--price", "ram=0.005", "--included", "cpu=0.5")
        missing = run("rates", "new", "card", *words, exit_code=1)
        made = run("rates", "new", "card", *words, "--currency", "USD")
        run("rates", "new", "gpus", "--factor", "1.2", "--kind", "gpu=1.5")
        run("rates", "assign", anna, "card", "--from", "2026-03-01")
        both = run("rates", "new", "other", "--factor", "1", "--price", "cpu=1", exit_code=1)
    post_due(connection, NOW)
    charges = "0.03 USD a core-hour, 0.005 USD a GiB-hour of RAM (0.5 core-hours free each month)"
    assert "Prices are in a currency: say which (--currency EUR)." in missing.stderr
    assert made.stdout.startswith(f"The new plan card charges {charges} for any hour.")
    assert "not both" in both.stderr
    told = thin(run("explain", "eu-1", "ml-train", hour_text(NEWEST)).stdout)
    for part in (
        " 0.08500 USD",
        "cpu: (2 core-hours less 0.5 free) × 0.03 = 0.045 USD",
        "ram: 8 GiB-hours of RAM × 0.005 = 0.04 USD",
        "-0.91500 USD",
    ):
        assert part in told, told
    shown = json.loads(run("rates", "show", "card", "--json").stdout)
    assert (shown["kind"], shown["currency"], shown["charges"]) == ("rate_card", "USD", charges)
    assert shown["versions"][0]["terms"]["prices"] == {"cpu": "0.030000000", "ram": "0.005000000"}
    (row, _) = csv.DictReader(io.StringIO(run("rates", "show", "card", "--csv").stdout))
    assert (row["cpu_price"], row["cpu_included"], row["gpu_price"]) == (
        "0.030000000",
        "0.500000",
        "",
    )
    assert "cost × 1.2 (gpu × 1.5)" in run("rates", "list").stdout
    assert charges in thin(run("rates", "quote", anna).stdout)
    used = json.loads(run("usage", anna, "--month", "2026-03", "--json").stdout)
    assert [each["margin_nano"] for each in used] == [85_000_000 - 10**9]
    assert "margin" in run("usage", anna, "--month", "2026-03").stdout


def test_a_month_is_previewed_in_each_form(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster, anna = add_cluster(connection), add_user(connection)
    add_window(connection, cluster, NEWEST)
    add_allocation(connection, cluster, NEWEST, user=anna, cost_nano=2 * 10**9)
    with carrying(database, publish(database)):
        run("rates", "new", "team", "--factor", "1.5")
        run("rates", "new", "euro", "--currency", "EUR", "--price", "cpu=1")
    words = ("rates", "preview", "team", "--month", "2026-03")
    told = thin(run(*words).stdout)
    assert "Together 2.00 USD now, 3.00 USD then: 1.00 USD difference. Nothing was changed." in told
    found = json.loads(run(*words, "--json").stdout)
    assert [each["difference_nano"] for each in found["accounts"]] == [10**9]
    (row,) = csv.DictReader(io.StringIO(run(*words, "--account", anna.email, "--csv").stdout))
    assert (row["charge_now"], row["charge_then"]) == ("2.000000000", "3.000000000")
    left = run("rates", "preview", "euro", "--month", "2026-03")
    assert left.stderr == "Left out, since euro charges in EUR: auth0|anna.\n"
    assert "Nothing is charged in 2026-03." in left.stdout
    assert (
        "no plan 'dear'"
        in run("rates", "preview", "dear", "--month", "2026-03", exit_code=1).stderr
    )


def test_a_pair_that_is_none_is_a_misuse(run: Run, database: Database) -> None:
    with_admin(database)
    odd = run("rates", "new", "team", "--factor", "1", "--kind", "gpu", exit_code=2)
    assert "'gpu' is no pair; write it like gpu=1.5." in odd.stderr
    twice = run("rates", "new", "x", "--price", "cpu=1", "--price", "cpu=2", exit_code=2)
    assert "--price cpu was given twice." in twice.stderr
