"""Invoices about which a person decides: listed everywhere alike, settled each way, and listed no more."""

from collections.abc import Iterator

import pytest
from stripe import RequestsClient, StripeClient

from core.billing.stripe.bills.settle import HowBill, SettledBill, settle_bill
from core.books.reconcile.differences import differences
from core.errors import Conflict, Unknown
from core.reports.stripe.due import Due
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import METERS, START, UNIT
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.database import Database
from tests.factories import User

pytestmark = pytest.mark.long

CENT = 10_000
"""Units of one: what is charged is in whole cents, so that no invoice rounds."""
EURO = 100 * CENT


@pytest.fixture(params=METERS)
def till(database: Database, request: pytest.FixtureRequest) -> Iterator[ProductTill]:
    clock = WorldClock(START)
    http = RequestsClient(timeout=10.0)
    with StripeWorld(now=clock, seed=7) as stripe:
        addresses = stripe.base_addresses
        client = StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
        yield ProductTill(database.connect(), stripe, clock, client, request.param)
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


def use(till: ProductTill, user: User, day: int, units: int) -> None:
    till.charge(user, till.day(day), units * UNIT)
    till.at(day + 1)
    till.run()


def settle(till: ProductTill, user: User, invoice: str, how: HowBill) -> SettledBill:
    with till.connection.transaction():
        return settle_bill(
            till.connection,
            ADMIN,
            account=user.id,
            invoice=invoice,
            how=how,
            why="agreed",
            now=till.now,
        )


def runs(till: ProductTill, count: int = 3) -> None:
    for _ in range(count):
        till.later(hours=2)
        till.run()


def april_ends(till: ProductTill) -> None:
    """Its days are told while it runs, and its invoice is final and compared."""
    till.at(45)
    till.run()
    till.at(62)
    runs(till, 4)


def invoices(till: ProductTill, user: User) -> dict[str, int]:
    """The invoices over usage of an account, and what each comes to in cents, as Stripe has them."""
    found = [
        each
        for each in till.stripe.all("invoice")
        if each["customer"] == till.customer(user) and each["total"]
    ]
    return {
        each["id"]: each["total"] for each in sorted(found, key=lambda each: int(each["created"]))
    }


def listed(till: ProductTill, user: User) -> list[Due]:
    """What is listed of invoices: by `due`, and by `reconcile`, and where it is a fault by line 8."""
    found = till.listed(user)
    assert all(each.invoice_id for each in found)
    since = till.day(0)
    assert sorted(each.why for each in found) == sorted(
        each.cause for each in differences(till.connection, since)
    )
    eight = proved(till.connection, till.now)[8]
    assert eight.rows == tuple(
        f"{user.id}: {each.why}"
        for each in sorted(found, key=lambda each: each.reason == "twice")
        if each.reason != "void"
    )
    return found


def detail(till: ProductTill) -> str:
    """What line 8 says, with nothing wrong in it."""
    lines = proved(till.connection, till.now)
    assert all(line.ok for line in lines.values()), lines
    return lines[8].detail


def voided(till: ProductTill) -> tuple[User, str]:
    """A month of 2 euros on an invoice that is void."""
    anna = till.account()
    till.stripe.people.decline_cards(till.customer(anna))
    use(till, anna, 11, EURO)
    use(till, anna, 21, EURO)
    till.at(31, 5)
    till.run()
    ((made, cents),) = invoices(till, anna).items()
    assert cents == 200
    runs(till)
    till.stripe.people.void_invoice(made)
    till.stripe.people.decline_cards(till.customer(anna), declines=False)
    runs(till, 1)
    return anna, made


# ── void ────────────────────────────────────────────────────────────────────────────────────


def test_a_void_invoice_is_listed_with_what_nobody_owes_any_more(till: ProductTill) -> None:
    anna, made = voided(till)
    (line,) = listed(till, anna)
    assert (line.reason, line.invoice_id, line.amount_nano) == ("void", made, 2 * EURO * UNIT)
    assert (line.first_day, line.last_day, line.days) == (till.day(11), till.day(21), 2)
    assert line.why == f"invoice {made} is void: nobody owes its 2000000 units (2.00 USD) any more"
    assert line.next_step.startswith(f"stripe settle --invoice {made}: --on-open-day ")
    assert detail(till).endswith("1 invoice void, which bills nobody")


def test_a_void_invoice_is_billed_with_the_open_day(till: ProductTill) -> None:
    anna, made = voided(till)
    done = settle(till, anna, made, "open-day")
    assert (done.amount_nano, done.currency) == (2 * EURO * UNIT, "USD")
    assert listed(till, anna) == []
    april_ends(till)
    assert [*invoices(till, anna).values()] == [200, 200]
    assert listed(till, anna) == []
    till.must_add_up(anna)
    assert "1 invoice void" in detail(till)


def test_a_void_invoice_is_billed_elsewhere(till: ProductTill) -> None:
    anna, made = voided(till)
    settle(till, anna, made, "outside")
    assert till.receivable(anna) == 0
    assert listed(till, anna) == []
    april_ends(till)
    assert [*invoices(till, anna).values()] == [200]
    assert till.receivable(anna) == 0
    till.must_add_up(anna)
    assert "1 invoice void" in detail(till)
    entry = till.connection.execute(
        "SELECT invoice_id, kind FROM hopsmeter.stripe_moves WHERE account_no = %s", [anna.no]
    ).fetchall()
    assert entry == [(made, "settled"), (made, "settled")]


def test_what_changes_of_a_day_of_a_void_invoice_goes_its_own_way(till: ProductTill) -> None:
    anna, made = voided(till)
    till.charge(anna, till.day(21), 30 * CENT * UNIT)
    settle(till, anna, made, "outside")
    runs(till)
    april_ends(till)
    assert [*invoices(till, anna).values()] == [200, 30]
    assert listed(till, anna) == []
    assert till.receivable(anna) == 0
    till.must_add_up(anna)


def test_an_invoice_is_settled_once(till: ProductTill) -> None:
    anna, made = voided(till)
    settle(till, anna, made, "outside")
    for how in ("outside", "open-day", "put-right"):
        with pytest.raises(Conflict, match=f"Nobody has to decide about invoice {made}"):
            settle(till, anna, made, how)
    assert till.receivable(anna) == 0


def test_an_invoice_that_nobody_decides_about_is_refused(till: ProductTill) -> None:
    anna, bert = till.account(), till.account("bert")
    use(till, anna, 11, EURO)
    till.at(31, 0.5)
    till.run()
    (made,) = invoices(till, anna)
    with pytest.raises(Conflict, match="is a draft, and what it bills may change: void it as soon"):
        settle(till, anna, made, "put-right")
    till.at(31, 5)
    till.fetch_invoices()
    with pytest.raises(Conflict, match="`hopsmeter stripe report` compares it with its days"):
        settle(till, anna, made, "outside")
    runs(till)
    with pytest.raises(Conflict, match="`hopsmeter stripe due` names those that wait"):
        settle(till, anna, made, "outside")
    with pytest.raises(Unknown, match="`hopsmeter stripe due` names those that wait"):
        settle(till, bert, made, "outside")
    with pytest.raises(Unknown, match=r"No invoice .in_none. over usage of auth0.bert"):
        settle(till, bert, "in_none", "outside")


def test_a_void_invoice_has_nothing_to_be_put_right(till: ProductTill) -> None:
    anna, made = voided(till)
    with pytest.raises(
        Conflict, match="is void, and nothing of it can be put right in Stripe: say"
    ):
        settle(till, anna, made, "put-right")
    assert len(listed(till, anna)) == 1


def test_a_void_last_invoice_of_the_day_that_runs_waits_for_its_end(till: ProductTill) -> None:
    anna = till.account()
    till.stripe.people.decline_cards(till.customer(anna))
    use(till, anna, 3, EURO)
    till.charge(anna, till.day(4), EURO * UNIT)
    till.at(4, 6)
    till.run()
    till.later(hours=1)
    found = till.living(anna)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=True)
    runs(till)
    (made,) = invoices(till, anna)
    till.stripe.people.void_invoice(made)
    runs(till, 1)
    if till.meter == "daily":  # the sum meter tells of closed days alone
        with pytest.raises(
            Conflict, match="bills of the day that runs: settle it tomorrow, or say"
        ):
            settle(till, anna, made, "open-day")
    till.link(anna, till.meter)
    till.at(5)
    till.run()
    settle(till, anna, made, "open-day")
    till.stripe.people.decline_cards(till.customer(anna), declines=False)
    till.at(12)
    till.run()
    till.at(31)
    runs(till, 4)
    assert till.listed(anna, everything=True) == []
    (_, cents) = invoices(till, anna).values()
    assert cents == 200
    assert till.receivable(anna) == 0
    till.must_add_up(anna)


# ── days that two invoices bill ─────────────────────────────────────────────────────────────


def doubled(till: ProductTill) -> tuple[User, str]:
    """From the 10th on two subscriptions live, and bill March; the second's invoice is paid."""
    anna = till.account()
    till.at(9, 5)
    second = till.subscribe(anna)
    use(till, anna, 11, EURO)
    use(till, anna, 21, EURO)
    till.at(31, 5)
    till.run()
    runs(till)
    till.stripe.people.cancel_subscription(second)
    made = till.value(
        "SELECT id FROM hopsmeter.stripe_invoices WHERE subscription_id = %s AND units > 0", second
    )
    return anna, str(made)


def test_days_on_two_invoices_are_listed_until_a_person_gave_one_back(till: ProductTill) -> None:
    anna, theirs = doubled(till)
    (line,) = listed(till, anna)
    assert (line.reason, line.invoice_id, line.amount_nano) == ("twice", theirs, None)
    assert (line.first_day, line.last_day, line.days) == (till.day(9), till.day(30), 22)
    assert f"refund {theirs}, or give a credit note for these days" in line.next_step
    assert f"then stripe settle --invoice {theirs} --put-right" in line.next_step
    for how in ("outside", "open-day"):
        with pytest.raises(Conflict, match="bills days that another one bills: give that back in"):
            settle(till, anna, theirs, how)
    assert settle(till, anna, theirs, "put-right").amount_nano is None
    assert listed(till, anna) == []
    assert detail(till).endswith("1 final invoice equal, 1 final invoice put right by hand")
    with pytest.raises(Conflict, match="Nobody has to decide about invoice"):
        settle(till, anna, theirs, "put-right")
    runs(till)
    assert listed(till, anna) == []
    assert till.receivable(anna) == 0


def test_what_was_put_right_is_listed_again_where_it_changes(till: ProductTill) -> None:
    anna, theirs = doubled(till)
    settle(till, anna, theirs, "put-right")
    own = next(each for each in invoices(till, anna) if each != theirs)
    for change in ("status = 'open'", "units = units + 1", "line_minor = line_minor + 1"):
        with till.connection.transaction(force_rollback=True):
            till.connection.execute(
                f"UPDATE hopsmeter.stripe_invoices SET {change} WHERE id = %s".encode(), [theirs]
            )
            assert "twice" in till.reasons(anna), change
    assert till.reasons(anna) == []
    # Who voids the other one as well leaves these days to nobody.
    till.connection.execute(
        "UPDATE hopsmeter.stripe_invoices SET status = 'void' WHERE id = %s", [own]
    )
    assert till.reasons(anna) == ["void"]


# ── more or less than its days count ────────────────────────────────────────────────────────


def differing(till: ProductTill, units: int) -> tuple[User, str]:
    """An invoice of 2 euros that bills otherwise than its days count, which nothing explains."""
    anna = till.account()
    use(till, anna, 11, EURO)
    use(till, anna, 21, EURO)
    till.at(31, 5)
    till.run()
    runs(till)
    (made,) = invoices(till, anna)
    use(till, anna, 34, EURO)
    account = till.stripe.account
    with account.lock:
        (line,) = account.get("invoice", made)["lines"]["data"]
        line["quantity"] += units
        line["amount"] += units // CENT
    runs(till)
    return anna, made


@pytest.mark.parametrize("cents", [7, -7])
@pytest.mark.parametrize("how", ["outside", "open-day"])
def test_an_invoice_that_bills_otherwise_is_taken_up_by_the_books(
    till: ProductTill, cents: int, how: HowBill
) -> None:
    anna, made = differing(till, cents * CENT)
    (line,) = listed(till, anna)
    apart = -cents * CENT * UNIT
    assert (line.reason, line.invoice_id, line.amount_nano) == ("differs", made, apart)
    assert line.why.endswith(f"bills {2 * EURO + cents * CENT} units, its days have {2 * EURO}")
    assert settle(till, anna, made, how).amount_nano == apart
    assert listed(till, anna) == []
    april_ends(till)
    assert till.receivable(anna) == 0
    _, second = invoices(till, anna).values()
    assert second == 100 - (cents if how == "open-day" else 0)
    assert listed(till, anna) == []
    till.must_add_up(anna)
    assert "2 final invoices equal" in detail(till)


def test_an_invoice_that_bills_otherwise_is_put_right_in_stripe(till: ProductTill) -> None:
    anna, made = differing(till, 7 * CENT)
    settle(till, anna, made, "put-right")
    assert listed(till, anna) == []
    assert detail(till).endswith("1 final invoice put right by hand")
    till.connection.execute(
        "UPDATE hopsmeter.stripe_invoices SET units = units + 1 WHERE id = %s", [made]
    )
    assert till.reasons(anna) == ["differs"]


def test_the_open_month_is_not_taken_below_nothing(till: ProductTill) -> None:
    anna, made = differing(till, 101 * CENT)
    with pytest.raises(Conflict, match=r"The open month has 1\.00, and Stripe bills nothing below"):
        settle(till, anna, made, "open-day")
    settle(till, anna, made, "outside")
    assert listed(till, anna) == []


def test_an_invoice_at_another_price_is_put_right_in_stripe_alone(till: ProductTill) -> None:
    anna, made = differing(till, 0)
    till.connection.execute(
        "UPDATE hopsmeter.stripe_invoices SET line_minor = 205 WHERE id = %s", [made]
    )
    (line,) = listed(till, anna)
    assert line.why == f"invoice {made} bills 2.05 USD for 2000000 units, which are 2.00"
    assert line.amount_nano == -5 * CENT * UNIT
    with pytest.raises(Conflict, match="bills the units of its days, at another price"):
        settle(till, anna, made, "open-day")
    settle(till, anna, made, "put-right")
    assert listed(till, anna) == []


def test_an_invoice_over_what_nobody_told_is_put_right_in_stripe_alone(till: ProductTill) -> None:
    anna = till.account()
    till.at(31, 5)
    till.run()
    runs(till)
    till.connection.execute(
        "UPDATE hopsmeter.stripe_invoices SET units = 70000, line_minor = 7"
        " WHERE usage_start < usage_end"
    )
    (line,) = [each for each in till.listed(anna) if each.invoice_id]
    assert line.reason == "differs"
    with pytest.raises(Conflict, match="it bills what somebody else sent"):
        settle(till, anna, str(line.invoice_id), "outside")
