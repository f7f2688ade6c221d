"""Commands about Stripe: what they say, what they need, and that a dry run makes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.billing.stripe.gateway import API_VERSION, Door, door_of
from core.billing.stripe.shop import Shop
from core.clusters.vault import Keyring
from core.secret import Secret
from core.settings import load
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.core.commands.carrier import asked, carrying, publish, with_admin
from tests.database import Connection, Database
from tests.factories import NOW, add_user


@dataclass(frozen=True)
class Office:
    database: Database
    person: Connection
    keyring: Keyring
    world: StripeWorld

    @property
    def shop(self) -> Shop:
        return Shop(lambda: Door(self.world.url, Secret(self.world.api_key)))


@pytest.fixture
def office(database: Database) -> Iterator[Office]:
    with StripeWorld(now=WorldClock(NOW), seed=5) as world:
        yield Office(database, with_admin(database), publish(database), world)


def test_an_account_is_set_up_and_linked_by_commands(office: Office) -> None:
    anna = add_user(office.person, currency="EUR")
    with carrying(office.database, office.keyring, shop=office.shop):
        tried = asked(office.person, "stripe.setup", dry_run=True)
        setup = asked(office.person, "stripe.setup")
        again = asked(office.person, "stripe.setup")
        planned = asked(office.person, "stripe.link", account=anna.id, why="x", dry_run=True)
        linked = asked(office.person, "stripe.link", account=anna.id, why="signed up")
        shown = asked(office.person, "stripe.show")
    assert "would be made: product hopsmeter_usage" in tried.summary
    assert "made: product hopsmeter_usage" in setup.summary
    assert again.summary.endswith("Nothing had to be changed.")
    assert "would get a customer and a subscription in EUR" in planned.summary
    assert linked.result is not None, linked.error
    assert linked.result["url"] in linked.summary
    assert linked.result["url"].startswith("https://checkout.stripe.com/")
    assert shown.result is not None, shown.error
    assert any(API_VERSION in remark for remark in shown.result["remarks"])
    assert any("72 hours" in remark for remark in shown.result["remarks"])
    rows = office.person.execute(
        "SELECT action, why FROM audit_log WHERE action IN ('stripe.customer', 'stripe.subscription')"
    ).fetchall()
    assert sorted(rows) == [("stripe.customer", "signed up"), ("stripe.subscription", "signed up")]


def test_without_a_key_of_stripe_a_command_says_where_it_goes(office: Office) -> None:
    with carrying(office.database, office.keyring):
        ended = asked(office.person, "stripe.show")
    assert ended.state == "failed"
    assert "HOPSMETER_STRIPE_KEY_FILE" in ended.error


def test_a_key_file_that_is_wrong_is_a_sentence_and_no_bug(office: Office, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("pk_test_abc\n")
    file.chmod(0o400)
    door = load({"HOPSMETER_STRIPE_KEY_FILE": str(file)})
    with carrying(office.database, office.keyring, shop=Shop(lambda: door_of(door))) as carried:
        ended = asked(office.person, "stripe.show")
    assert ended.state == "failed"
    assert "Stripe's key is none: the file holds one line" in ended.error
    assert [(each.end, each.bug) for each in carried] == [("failed", "")]


def test_what_is_archived_is_not_shown_as_set_up(office: Office) -> None:
    add_user(office.person, currency="EUR")
    with carrying(office.database, office.keyring, shop=office.shop):
        made = asked(office.person, "stripe.setup")
        right = asked(office.person, "stripe.show")
        assert made.result is not None
        assert right.result is not None
        price = made.result["prices"]["daily EUR"]
        meter = right.result["meters"]["sum"]
        with office.world.account.lock:
            office.world.account.get("price", price)["active"] = False
            office.world.account.get("billing.meter", meter)["status"] = "inactive"
        shown = asked(office.person, "stripe.show")
    assert shown.result is not None, shown.error
    assert right.summary.endswith(" is set up.")
    assert right.result["faults"] == []
    assert shown.summary.endswith(" was set up, and something of it is archived.")
    assert len(shown.result["faults"]) == 2
    for name in (f"The meter {meter} (hopsmeter_sum)", f"The price {price}"):
        (said,) = [each for each in shown.result["remarks"] if each.startswith(name)]
        assert "is archived at Stripe" in said


def test_a_key_that_may_not_read_meters_hides_nothing_else(office: Office) -> None:
    add_user(office.person, currency="EUR")
    with carrying(office.database, office.keyring, shop=office.shop):
        asked(office.person, "stripe.setup")
        for path in ("/v1/products/*", "/v1/billing/meters/*", "/v1/prices/*"):
            office.world.faults.add("declined", method="GET", path=path)
        shown = asked(office.person, "stripe.show")
    assert shown.result is not None, shown.error
    assert any("archived cannot be read" in each for each in shown.result["remarks"])
    assert any("72 hours" in each for each in shown.result["remarks"])


def test_an_account_that_is_not_parked_is_not_unparked(office: Office) -> None:
    anna = add_user(office.person)
    with carrying(office.database, office.keyring, shop=office.shop):
        ended = asked(office.person, "stripe.unpark", account=anna.id, why="mended")
        everybody = asked(office.person, "stripe.unpark", why="mended")
    assert (ended.error or "").endswith("is not parked. Nothing was changed.")
    assert everybody.error == "Nobody is parked. Nothing was changed."
