"""The hourly looks at Stripe: how accounts stand, what is paid for, by a daemon's own jobs."""

import json

import pytest

from sandbox.stripe.world import StripeWorld
from tests.core.commands.carrier import with_admin
from tests.daemon.process import Daemon, once
from tests.database import Connection, Database
from tests.factories import add_user


@pytest.fixture
def person(database: Database) -> Connection:
    person = with_admin(database)
    add_user(person, currency="EUR")
    return person


def asked(daemon: Daemon, person: Connection, name: str, **given: str) -> None:
    """Have a command carried out; slow ones take no turns, so each is waited for."""
    row = person.execute(
        "INSERT INTO commands (key, name, arguments, dry_run, why)"
        " VALUES (gen_random_uuid(), %s, %s, false, 'agreed') RETURNING id",
        [name, json.dumps(given)],
    ).fetchone()
    assert row is not None
    question = "SELECT state FROM commands WHERE id = %s AND state NOT IN ('submitted', 'working')"
    ended = daemon.until(lambda: person.execute(question, row).fetchone())
    assert ended == ("done",), person.execute("SELECT error FROM commands").fetchall()


def linked_and_bought(person: Connection, around: dict[str, str]) -> None:
    with Daemon(around) as daemon:
        asked(daemon, person, "stripe.setup")
        asked(daemon, person, "stripe.link", account="auth0|anna")
        asked(daemon, person, "credits.buy", account="auth0|anna", amount="25")


def test_the_hourly_looks_find_what_no_webhook_told(
    person: Connection, around: dict[str, str], stripe: StripeWorld
) -> None:
    linked_and_bought(person, around)
    (customer,) = stripe.all("customer")
    stripe.people.add_card(customer["id"])
    stripe.people.pay(stripe.all("checkout.session")[-1]["id"])
    person.execute(
        "UPDATE stripe_accounts SET fetched_at = fetched_at - interval '1 hour';"
        "UPDATE stripe_purchases SET created_at = created_at - interval '1 hour'"
    )
    for job in ("stripe-state", "stripe-purchases"):
        ended = once("tick", job, around=around)
        assert ended.returncode == 0, ended.stderr
    row = person.execute(
        "SELECT a.has_card, p.state, b.balance_nano FROM stripe_accounts a, stripe_purchases p,"
        " ledger_balances b WHERE b.account_no = a.account_no AND b.book = 1"
    ).fetchone()
    assert row == (True, "paid", 25 * 10**9)


def test_an_account_that_two_subscriptions_bill_is_warned_of(
    person: Connection, around: dict[str, str], stripe: StripeWorld
) -> None:
    linked_and_bought(person, around)
    (own,) = stripe.all("subscription")
    second = stripe.people.duplicate_subscription(own["id"])
    person.execute("UPDATE stripe_accounts SET fetched_at = fetched_at - interval '1 hour'")
    ended = once("tick", "stripe-state", around=around)
    assert ended.returncode == 0, ended.stderr
    assert "an account is billed twice" in ended.stderr
    assert second["id"] in ended.stderr
    assert person.execute("SELECT standing FROM stripe_accounts").fetchone() == ("good",)


def test_the_looks_do_nothing_before_the_setup(person: Connection, around: dict[str, str]) -> None:
    del person
    for job in ("stripe-state", "stripe-purchases"):
        ended = once("tick", job, around=around)
        assert ended.returncode == 0, ended.stderr
