"""Commands about what Stripe was told: settled, told again, decided, fetched; and what lists say."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting import limits
from core.billing.stripe.reporting.make import prepare
from core.billing.stripe.shop import Shop
from core.clusters.vault import Keyring
from core.commands.submit import Outcome
from core.identity.principal import DAEMON
from core.reports.stripe import due as due_report
from core.reports.stripe.due import due
from core.secret import Secret
from tests.core.billing.stripe.reporting.conftest import till as _till
from tests.core.billing.stripe.reporting.till import Till
from tests.core.commands.carrier import asked, carrying, publish, with_admin
from tests.database import Connection, Database

till = _till


@dataclass
class Office:
    """`ask` submits a command and has it carried out, by the clock of the till."""

    till: Till
    database: Database
    person: Connection
    keyring: Keyring
    ahead: timedelta = timedelta(0)
    """By how much the clock of whoever carries it out is."""

    def ask(self, name: str, *, dry_run: bool = False, **given: object) -> Outcome:
        shop = Shop(lambda: Door(self.till.stripe.url, Secret(self.till.stripe.api_key)))
        clock = lambda: self.till.clock() + self.ahead  # noqa: E731 - a clock is a function
        with carrying(self.database, self.keyring, shop=shop, clock=clock):
            return asked(self.person, name, dry_run=dry_run, why="agreed", **given)

    def due(self, **how: object) -> dict[str, int | None]:
        found = due(self.till.connection, DAEMON, self.till.now, **how)  # type: ignore[arg-type]  # the test gives what belongs there
        return {f"{each.first_day.day} {each.reason}": each.amount_nano for each in found}


@pytest.fixture
def office(database: Database, till: Till) -> Office:
    office = Office(till, database, with_admin(database), publish(database))
    till.connection.execute(
        "INSERT INTO hopsmeter.stripe_site (stripe_account, livemode, default_meter)"
        " VALUES (%s, false, 'daily')",
        [till.client.v1.accounts.retrieve_current().id],
    )
    return office


def test_the_lists_know_the_limits_that_reports_keep() -> None:
    assert limits.REPORTABLE == due_report.REPORTABLE
    assert limits.FORGOTTEN == due_report.FORGOTTEN


def test_what_waits_for_a_person_is_listed_with_its_reason_and_settled(office: Office) -> None:
    till = office.till
    till.at(3, 12)
    anna = till.account()
    for number in range(4):
        till.charge(anna, till.day(number), 1_000_000 + number)
    till.at(4)
    till.tell()
    assert office.due() == {"1 before": 3_000_003}
    assert office.due(each_day=True) == {
        "1 before": 1_000_000,
        "2 before": 1_000_001,
        "3 before": 1_000_002,
    }
    tried = office.ask("stripe.settle", account=anna.id, how="open-day", dry_run=True)
    assert "0.003000003 USD of 3 days" in tried.summary
    assert office.due() == {"1 before": 3_000_003}
    one = office.ask("stripe.settle", account=anna.id, how="outside", day=str(till.day(0)))
    assert "of 1 day of auth0|anna are settled outside of Stripe" in one.summary
    assert "settled with the open day" in (
        office.ask("stripe.settle", account=anna.id, how="open-day").summary
    )
    assert office.due() == {}
    again = office.ask("stripe.settle", account=anna.id, how="open-day")
    assert again.error == "Nothing is due of auth0|anna (anna@example.test). Nothing was changed."
    tried = office.ask("stripe.report", dry_run=True)
    assert tried.summary == "Stripe would be told 0.002000003 USD, of 1 account."
    till.charge(anna, till.day(1), 1)
    tried = office.ask("stripe.report", dry_run=True)
    assert tried.summary.startswith(
        "Stripe would be told 0.002000003 USD, of 1 account. Postings of 1 day are not read yet"
    )
    till.charge(anna, till.day(1), -1)
    done = office.ask("stripe.report")
    assert done.summary == "Stripe took 1 report."
    assert "Nothing is due" in office.ask("stripe.report", dry_run=True).summary
    till.at(5)
    assert till.told(anna, 4) == 2_000
    till.must_add_up(anna)


def test_a_day_that_stripe_lost_is_told_again(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)
    till.tell()
    unknown = office.ask("stripe.again", account=anna.id, day=str(till.day(0)))
    assert "have it fetched first" in (unknown.error or "")
    till.shops["daily"].use(till.customer(anna), 1_234, till.now - timedelta(hours=2))
    till.later(hours=2)
    assert office.ask("stripe.fetch").summary == "Fetched what Stripe has of 1 account."
    said = office.ask("stripe.again", account=anna.id, day=str(till.day(0)))
    assert "Stripe has 1234 of 5000 units of auth0|anna" in said.summary
    assert till.receivable(anna) == (5_000 - 1_234) * 1_000
    till.tell()
    assert till.told(anna, 0) == 5_000
    assert till.receivable(anna) == 0
    till.must_add_up(anna)
    office.ask("stripe.fetch")
    same = office.ask("stripe.again", account=anna.id, day=str(till.day(0)))
    assert "Stripe has what it accepted" in (same.error or "")


def test_what_no_fetching_will_bring_is_not_to_be_fetched(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)

    def said(number: int) -> str:
        ended = office.ask("stripe.again", account=anna.id, day=str(till.day(number)))
        return ended.error or ""

    assert "Stripe took no report of 2026-03-01" in said(0)
    till.tell()
    assert "have it fetched first with `hopsmeter stripe reconcile --fetch`" in said(0)
    assert said(2) == "2026-03-03 is still to come. Nothing was changed."
    assert "Stripe took no report of 2025-03-02" in said(-364)
    till.at(75)
    assert said(0) == (
        "Stripe is asked about the last 70 days, and 2026-03-01 is before them. Nothing was changed."
    )


def test_days_of_who_is_not_linked_wait_for_a_link_or_are_settled_outside(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.connection.execute(
        "UPDATE hopsmeter.users SET stripe_customer_id = NULL, stripe_subscription_id = NULL"
    )
    till.charge(anna, till.day(0), 1_000_000)
    till.at(1)
    till.tell()
    refused = office.ask("stripe.settle", account=anna.id, how="open-day")
    assert "make one with `hopsmeter stripe link`" in (refused.error or "")
    done = office.ask("stripe.settle", account=anna.id, how="outside")
    assert done.summary == "0.001 USD of 1 day of auth0|anna are settled outside of Stripe."
    assert till.receivable(anna) == 0


def test_to_the_open_day_nothing_of_itself_is_brought(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.connection.execute(
        "UPDATE hopsmeter.stripe_accounts SET parked_at = now(), parked_why = 'a test'"
    )
    till.charge(anna, till.day(0), 1_000_000)
    till.at(1)
    till.charge(anna, till.day(1), 2_000_000)
    till.tell()
    one = office.ask("stripe.settle", account=anna.id, how="open-day", day=str(till.day(1)))
    assert "is the open day: what is due of it is there already" in (one.error or "")
    done = office.ask("stripe.settle", account=anna.id, how="open-day")
    assert done.summary == "0.001 USD of 1 day of auth0|anna are settled with the open day."
    assert till.receivable(anna) == 3_000_000


@pytest.mark.parametrize("meter", ["daily", "sum"])
def test_a_day_is_not_told_again_by_what_was_fetched_before_its_report(
    office: Office, meter: str
) -> None:
    till = office.till
    anna = till.account(meter=meter)
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.tell()
    till.later(hours=2)
    office.ask("stripe.fetch")
    till.charge(anna, till.day(0), 2_000)
    till.tell()
    till.later(minutes=30)
    for _ in ("as fetched before it", "as fetched while Stripe may not have counted it"):
        refused = office.ask("stripe.again", account=anna.id, day=str(till.day(0)))
        assert "fetched before it can have counted" in (refused.error or "") or (
            "Stripe has what it accepted" in (refused.error or "")
        )
        till.tell()
        assert till.told(anna, 0) == 7
        office.ask("stripe.fetch")


@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_person_says_what_became_of_a_report(office: Office, has_arrived: bool) -> None:
    till = office.till
    till.meter = "sum"
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    number = till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    till.tell()
    till.stripe.faults.remove(number)
    till.shops["sum"].use(till.customer(anna), 77, datetime.combine(till.day(0), till.now.timetz()))
    till.at(3)
    till.tell()
    assert office.due() == {"1 unknown": 5_000}
    said = office.ask("stripe.decide", account=anna.id, day=str(till.day(0)), arrived=has_arrived)
    assert ("counts as arrived" if has_arrived else "is sent anew") in said.summary
    till.tell()
    assert till.told(anna, 0) == (77 if has_arrived else 82)
    assert till.receivable(anna) == 0
    assert office.due() == {}


def test_of_a_lost_report_of_a_day_that_stripe_takes_no_more_it_is_said_that_it_is_given_up(
    office: Office,
) -> None:
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    till.tell()
    till.at(36)
    said = office.ask("stripe.decide", account=anna.id, day=str(till.day(0)), arrived=False)
    assert "is given up, since Stripe takes it no more" in said.summary
    assert list(office.due().values()) == [5_000]


def test_by_a_clock_that_is_ahead_nobody_says_that_a_report_was_lost(office: Office) -> None:
    """By it Stripe's sums would have the last try, and the day would be too old to be told again."""
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.stripe.faults.add("cut_after", path="/v1/billing/meter_events", times=3)
    till.tell()
    office.ahead = timedelta(days=36)
    said = office.ask("stripe.decide", account=anna.id, day=str(till.day(0)), arrived=False)
    assert "may not show the last try" in (said.error or "")
    assert till.states(anna) == [(0, 5, "unknown")]
    till.stripe.faults.add("outage")
    away = office.ask("stripe.decide", account=anna.id, day=str(till.day(0)), arrived=False)
    assert "Stripe failed" in (away.error or "")


def test_by_a_clock_that_is_ahead_nobody_settles_what_would_be_told(office: Office) -> None:
    """By it the day would be too old to be told, and what is settled outside nobody takes back."""
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    prepare(till.connection, till.now)
    office.ahead = timedelta(days=40)
    asked_for: dict[str, Any] = {"account": anna.id, "how": "outside"}
    one = office.ask("stripe.settle", day=str(till.day(0)), **asked_for)
    assert "told by itself" in (one.error or "")
    every = office.ask("stripe.settle", **asked_for)
    assert "Nothing is due" in (every.error or "")
    till.stripe.faults.add("outage")
    away = office.ask("stripe.settle", **asked_for)
    assert "Stripe failed" in (away.error or "")
    assert office.due(everything=True) == {"1 to report": 5_000}


def test_nothing_is_told_without_a_key_or_before_set_up(office: Office) -> None:
    with carrying(office.database, office.keyring):
        without = asked(office.person, "stripe.report")
    assert "has no key of Stripe's" in (without.error or "")
    office.till.connection.execute("DELETE FROM hopsmeter.stripe_site")
    assert "is not set up" in (office.ask("stripe.report").error or "")


def test_a_key_that_is_refused_is_told_of_where_nothing_is_due(office: Office) -> None:
    shop = Shop(lambda: Door(office.till.stripe.url, Secret(b"sk_test_another")))
    with carrying(office.database, office.keyring, shop=shop, clock=office.till.clock):
        refused = asked(office.person, "stripe.report")
    assert refused.state == "refused"
    assert (refused.error or "").startswith("Stripe does not let us in: ")
    assert (refused.error or "").endswith("Nothing was sent.")
    assert office.ask("stripe.report").summary == "Stripe took 0 reports."


def test_a_report_on_demand_takes_what_is_in_its_pause(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(0), 5_000_000)
    till.at(1)
    number = till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    away = office.ask("stripe.report")
    assert away.summary.startswith("Stripe took 0 reports; 1 report waits for the next try, until ")
    assert "Stripe failed" in away.summary or "reached" in away.summary
    tries = till.connection.execute("SELECT tries FROM hopsmeter.stripe_reports").fetchone()
    assert tries == (1,)
    tried = office.ask("stripe.report", dry_run=True)
    assert tried.summary.startswith("1 report waits for the next try and would be sent now: ")
    office.ask("stripe.report")
    tries = till.connection.execute("SELECT tries FROM hopsmeter.stripe_reports").fetchone()
    assert tries == (2,), "once a run"
    till.stripe.faults.remove(number)
    assert office.ask("stripe.report").summary == "Stripe took 1 report."
    assert "Nothing is due" in office.ask("stripe.report", dry_run=True).summary
    till.at(2)
    assert till.told(anna, 0) == 5_000
    till.must_add_up(anna)


def test_what_stripe_refused_is_listed_in_its_words_and_all_are_unparked(office: Office) -> None:
    till = office.till
    anna, bert = till.account(), till.account("bert")
    for user in (anna, bert):
        till.charge(user, till.day(0), 10**18)  # too many digits
    till.at(1)
    assert "2 were refused" in office.ask("stripe.report").summary
    listed = due(till.connection, DAEMON, till.now)
    assert {each.reason for each in listed} == {"refused"}
    for each in listed:
        assert each.why.startswith("refused by Stripe: ")
        assert "digits" in each.why
        assert "Stripe refuses" not in each.why
    tried = office.ask("stripe.unpark", dry_run=True)
    assert tried.summary == "2 accounts are reported again."
    assert len(due(till.connection, DAEMON, till.now)) == 2
    done = office.ask("stripe.unpark")
    assert done.result is not None
    assert sorted(done.result["accounts"]) == [anna.id, bert.id]
    assert office.due() == {}
    trail = till.connection.execute(
        "SELECT subject, why FROM hopsmeter.audit_log WHERE action = 'stripe.unpark' ORDER BY 1"
    ).fetchall()
    assert trail == [(f"account {anna.id}", "agreed"), (f"account {bert.id}", "agreed")]


def test_an_invoice_is_settled_by_its_id(office: Office) -> None:
    till = office.till
    anna = till.account()
    till.charge(anna, till.day(3), 5_000_000)
    till.at(4)
    till.run()
    till.at(31, 5)
    till.run()
    till.later(hours=3)
    till.run()
    made = till.connection.execute("SELECT id FROM hopsmeter.stripe_invoices").fetchone()
    assert made is not None
    healthy = office.ask("stripe.settle", account=anna.id, how="outside", invoice=made[0])
    assert "Nobody has to decide about invoice" in (healthy.error or "")
    till.connection.execute("UPDATE hopsmeter.stripe_invoices SET status = 'void'")
    listed = {"4 void": 5_000_000}
    assert office.due() == office.due(account=anna.id) == listed
    given = {"account": anna.id, "how": "open-day", "invoice": made[0]}
    tried = office.ask("stripe.settle", dry_run=True, **given)
    assert tried.summary == (
        f"0.005 USD of invoice {made[0]} of auth0|anna are settled with the open day."
    )
    assert office.due() == listed
    office.ask("stripe.settle", **given)
    assert office.due() == {}
    assert office.due(everything=True) == {"1 to report": 5_000_000}
    again = office.ask("stripe.settle", **given)
    assert "`hopsmeter stripe due` names those that wait" in (again.error or "")
    trail = till.connection.execute(
        "SELECT why, after->>'invoice', after->>'amount' FROM hopsmeter.audit_log"
        " WHERE action = 'stripe.settle'"
    ).fetchall()
    assert trail == [("agreed", made[0], "0.005")]


def test_what_is_put_right_is_an_invoice_and_no_day(office: Office) -> None:
    anna = office.till.account()
    day = str(office.till.day(0))
    alone = office.ask("stripe.settle", account=anna.id, how="put-right", day=day)
    assert "Only an invoice is put right in Stripe: name it with --invoice." in (alone.error or "")
    both = office.ask("stripe.settle", account=anna.id, how="outside", day=day, invoice="in_1")
    assert "Name a day or an invoice, not both." in (both.error or "")
