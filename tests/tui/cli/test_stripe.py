"""Stripe on the command line: set up, linked, sold, shown."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from stripe import StripeClient

from core.billing.stripe.event_types import SNAPSHOT
from core.billing.stripe.gateway import API_VERSION, Door, Gateway
from core.billing.stripe.shop import Shop
from core.billing.stripe.state import refresh
from core.secret import Secret
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.core.billing.stripe.reporting.till import charge
from tests.core.commands.carrier import carrying, publish, with_admin
from tests.database import Connection, Database
from tests.factories import NOW, User, add_user
from tests.tui.cli.conftest import Run

ANNA = "anna@example.test"
WHY = ("--reason", "agreed")


@pytest.fixture
def clock() -> WorldClock:
    """Stripe's."""
    return WorldClock(NOW)


@pytest.fixture
def world(clock: WorldClock) -> Iterator[StripeWorld]:
    with StripeWorld(now=clock, seed=5) as world:
        yield world


@pytest.fixture
def office(database: Database, world: StripeWorld) -> Iterator[Connection]:
    """An admin who asks, and a daemon's side with a key of that Stripe."""
    connection = with_admin(database)
    add_user(connection, currency="EUR")
    shop = Shop(lambda: Door(world.url, Secret(world.api_key)))
    with carrying(database, publish(database), shop=shop):
        yield connection


def test_an_account_is_set_up_linked_and_shown(run: Run, office: Connection) -> None:
    del office
    for dry_run in ((), ("--dry-run",)):
        none = run("stripe", "setup", "--currency", "ZZQ", *dry_run, exit_code=1).output
        assert "'ZZQ' is no currency that Stripe takes" in none
    assert "would be made" in run("stripe", "setup", "--dry-run").stdout
    assert "made: product hopsmeter_usage" in run("stripe", "setup").stdout
    overview = run("stripe", "show").stdout
    assert "price daily EUR" in overview
    assert "- No webhook endpoint ends in /webhooks/stripe" in overview
    assert "set it to 72 hours by hand" in overview
    linked = run("stripe", "link", ANNA, *WHY).stdout
    assert "https://checkout.stripe.com/" in linked
    assert "is the customer cus_" in linked
    (line,) = json.loads(run("stripe", "accounts", "--json").stdout)
    assert (line["standing"], line["subscription_status"], line["has_card"]) == (
        "good",
        "active",
        False,
    )
    assert ANNA in run("stripe", "accounts").stdout
    shown = run("account", "show", ANNA).stdout
    assert "active, without a payment method" in shown
    refused = run("stripe", "unpark", ANNA, *WHY, exit_code=1)
    assert "is not parked" in refused.output
    assert "Nobody is parked" in run("stripe", "unpark", "--all", *WHY, exit_code=1).output
    for words in ((), (ANNA, "--all")):
        run("stripe", "unpark", *words, *WHY, exit_code=2)


@pytest.mark.parametrize("words", [(), ("--lost", "--arrived"), ("--arrived", "--lost")])
def test_a_report_has_arrived_or_is_lost_and_never_both(
    run: Run, office: Connection, words: tuple[str, ...]
) -> None:
    del office
    asked = ("stripe", "decide", ANNA, "--day", "2026-03-02", *words, *WHY)
    assert "--arrived or --lost" in run(*asked, exit_code=2).output


def test_a_currency_that_stripe_cannot_bill_holds_up_no_other(
    run: Run, office: Connection, world: StripeWorld
) -> None:
    for number in range(7):
        add_user(office, f"kuwait{number}@example.test", currency="KWD")
    add_user(office, "ida@example.test", currency="ISK")
    left_out = (
        (
            "Left out is ISK: Stripe charges it in steps that usage does not keep to. It is the currency"
            " of the account ida@example.test: bill it another way."
        ),
        "kuwait4@example.test and 2 more: bill them another way.",
    )
    for dry_run in (("--dry-run",), ()):
        said = run("stripe", "setup", *dry_run).stdout
        assert "price hopsmeter_daily_eur" in said
        assert all(each in said for each in left_out)
    assert {each["currency"] for each in world.all("price")} == {"eur"}
    shown = run("stripe", "show").stdout
    assert all(each in shown for each in left_out)
    asked = run("stripe", "setup", "--currency", "KWD", exit_code=1).output
    assert "KWD cannot be billed through Stripe" in asked


def test_where_no_currency_can_be_billed_nothing_is_set_up(run: Run, office: Connection) -> None:
    office.execute("UPDATE hopsmeter.users SET currency = 'KWD' WHERE currency IS NOT NULL")
    said = run("stripe", "setup", exit_code=1).output
    assert "It is the currency of the account anna@example.test" in said
    assert "Say which are to be billed (--currency EUR" in said
    assert "made" in run("stripe", "setup", "--currency", "EUR").stdout


def test_an_endpoint_that_is_not_told_of_failed_refunds_is_shown(
    run: Run, office: Connection, world: StripeWorld
) -> None:
    del office
    run("stripe", "setup")
    told = sorted(set(SNAPSHOT) - {"refund.failed", "refund.updated"})
    bases: Any = world.base_addresses
    client = StripeClient(world.api_key, base_addresses=bases)
    asked: Any = {
        "url": "http://127.0.0.1:9/webhooks/stripe",
        "enabled_events": told,
        "api_version": API_VERSION,
    }
    client.v1.webhook_endpoints.create(asked)
    shown = run("stripe", "show").stdout
    assert "/webhooks/stripe is not told of: refund.failed, refund.updated." in shown


def refreshed(office: Connection, world: StripeWorld, *, hours: int) -> None:
    """As the hourly job does, some hours later."""
    at = NOW + timedelta(hours=hours)

    async def go() -> None:
        async with Gateway(Door(world.url, Secret(world.api_key))) as gateway:
            assert (await refresh(office, gateway, at, timedelta(days=7))).fetched == 1

    asyncio.run(go())


def test_a_second_subscription_that_bills_the_same_usage_is_named(
    run: Run, office: Connection, world: StripeWorld
) -> None:
    run("stripe", "setup")
    run("stripe", "link", ANNA, *WHY)
    (own,) = world.all("subscription")
    refreshed(office, world, hours=1)
    quiet = [run("stripe", "accounts"), run("account", "show", ANNA), run("stripe", "show")]
    assert not [each for each in quiet if "beside its own" in each.stdout]
    second = world.people.duplicate_subscription(own["id"])["id"]
    refreshed(office, world, hours=2)
    named = f"beside its own subscription {own['id']} there is {second}"
    assert named in run("stripe", "accounts").stdout
    (line,) = json.loads(run("stripe", "accounts", "--json").stdout)
    assert (line["beside"], line["standing"]) == (second, "good")
    assert named in run("account", "show", ANNA).stdout
    assert f"- {ANNA}: {named}" in run("stripe", "show").stdout


def test_a_subscription_that_was_replaced_is_none_beside(
    run: Run, office: Connection, world: StripeWorld, clock: WorldClock
) -> None:
    run("stripe", "setup")
    run("stripe", "link", ANNA, *WHY)
    (first,) = world.all("subscription")
    clock.advance(timedelta(minutes=30))
    world.people.cancel_subscription(first["id"], invoice_now=True)
    refreshed(office, world, hours=1)
    run("stripe", "link", ANNA, *WHY)
    refreshed(office, world, hours=2)
    (line,) = json.loads(run("stripe", "accounts", "--json").stdout)
    assert line["subscription_id"] != first["id"]
    assert line["beside"] == ""


def test_what_is_not_read_yet_is_said_where_days_are_listed(run: Run, office: Connection) -> None:
    (no,) = (
        office.execute("SELECT no FROM hopsmeter.users WHERE email = %s", [ANNA]).fetchone() or ()
    )
    anna = User(no, "auth0|anna", ANNA)
    days = [NOW.date() - timedelta(days=number) for number in (2, 3, 0)]
    for day in days:
        charge(office, NOW, anna, day, 1_000_000)
    read = (
        "Postings of 2 days are not read yet; the next run (`hopsmeter stripe report`) reads them."
    )
    assert "not read" not in run("stripe", "due", "--all").stdout, "nothing reads before the set-up"
    run("stripe", "setup")
    assert run("stripe", "due", "--all").stdout == f"Nothing that is read waits.\n{read}\n"
    assert read in run("stripe", "due", ANNA).stdout
    assert read in run("stripe", "reconcile", ANNA).stdout
    everybody = run(
        "stripe", "reconcile", exit_code=1
    ).stdout  # what is entered straight has no hours
    assert read in everybody
    as_json = run("stripe", "due", "--all", "--json")
    assert json.loads(as_json.stdout) == []
    assert read in as_json.stderr
    ben = add_user(office, "ben@example.test")
    assert "not read" not in run("stripe", "due", ben.email, "--all").stdout
    one = "Postings of 1 day are not read yet"
    assert one in run("stripe", "reconcile", ANNA, "--days", "2").stdout
    would = run("stripe", "report", "--dry-run").stdout
    assert f"Nothing that is read is due that Stripe would be told now. {read}" in would
    run("stripe", "report")
    assert "not read" not in run("stripe", "report", "--dry-run").output
    assert "not read" not in run("stripe", "due", "--all").output
    assert "not read" not in run("stripe", "reconcile", ANNA).output


def test_credits_are_sold_by_a_page(run: Run, office: Connection, world: StripeWorld) -> None:
    del office
    run("stripe", "setup")
    words = ("credits", "buy", ANNA, "25", "--key", "order-1", *WHY)
    assert "would get a page to pay 25.00 EUR" in run(*words, "--dry-run").stdout
    sold = run(*words).stdout
    assert "auth0|anna (anna@example.test) pays 25.00 EUR of credits here, until" in sold
    assert run(*words).stdout == sold
    assert sold.startswith("An account that pays postpaid, as this one today, does not use")
    assert len(world.all("checkout.session")) == 1
    (line,) = json.loads(run("stripe", "purchases", ANNA, "--json").stdout)
    assert (line["state"], line["asked_minor"], line["key"]) == ("open", 2500, "order-1")
    assert "order-1" in run("stripe", "purchases").stdout
    keyless = ("credits", "buy", ANNA, "30", *WHY)
    page = run(*keyless).stdout
    assert run(*keyless).stdout == page
    assert "would get the page of the purchase 2 of 30.00 EUR" in run(*keyless, "--dry-run").stdout
    assert len(world.all("checkout.session")) == 2
    fine = run("credits", "buy", ANNA, "1.005", *WHY, exit_code=1)
    assert "finer than the smallest coin of EUR" in fine.output
