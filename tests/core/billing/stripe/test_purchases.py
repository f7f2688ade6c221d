"""Credits bought at Stripe: credited once when paid, whatever is doubled, shuffled, late or lost."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest

from core.billing.stripe.purchases import Wish, buy
from core.errors import Conflict, InputFault, StripeFault, Unknown
from core.identity.principal import DAEMON, Principal
from core.money import NANO
from core.reports.stripe.accounts import stripe_purchases
from tests.core.billing.ledger_site import bill, books, lots, pays
from tests.core.billing.stripe.till import Till
from tests.factories import User

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Order = Callable[[list[Any]], list[Any]]


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def purchase(till: Till) -> dict[str, Any]:
    (row,) = till.site.all("SELECT * FROM stripe_purchases")
    return row


def state(till: Till) -> str:
    return str(purchase(till)["state"])


def taken_back(till: Till) -> int:
    return int(purchase(till)["refunded_nano"] // 10**9)


def balanced(till: Till, who: User) -> dict[str, float]:
    till.site.open_windows()
    till.site.must_balance()
    return books(till.site, who)


def test_a_purchase_is_credited_when_it_is_paid_and_not_before(till: Till, anna: User) -> None:
    sale = till.buy(anna)
    assert sale.url is not None
    till.deliver()
    assert (state(till), balanced(till, anna)) == ("open", {})
    till.world.people.pay(till.session())
    till.deliver()
    assert (state(till), balanced(till, anna)) == ("paid", {"credits": 100})
    assert purchase(till)["amount_nano"] == 100 * 10**9


def doubled(events: list[Any]) -> list[Any]:
    return [*events, *events]


def backwards(events: list[Any]) -> list[Any]:
    return events[::-1]


def shuffled(events: list[Any]) -> list[Any]:
    return random.Random(3).sample(doubled(events), 2 * len(events))


@pytest.mark.parametrize("order", [doubled, backwards, shuffled])
def test_doubled_and_shuffled_webhooks_change_nothing(till: Till, anna: User, order: Order) -> None:
    till.buy(anna)
    till.world.people.pay(till.session())
    till.world.people.refund(till.charge(), 3000)
    till.world.people.refund(till.charge(), 1500)
    till.deliver(order)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 55}, 45)
    till.site.connection.execute(
        "UPDATE webhook_events SET state = 'due', next_try_at = now() WHERE state = 'done'"
    )
    till.handle()
    assert balanced(till, anna) == {"credits": 55}


def test_a_debit_is_credited_days_later_or_not_at_all(till: Till, anna: User) -> None:
    till.buy(anna, key="one")
    first = till.session()
    till.buy(anna, 50, key="two")
    second = till.session()
    for session in (first, second):
        till.world.people.pay(session, "sepa_debit")
    till.deliver()
    rows = till.site.all("SELECT state FROM stripe_purchases ORDER BY id")
    assert [row["state"] for row in rows] == ["processing", "processing"]
    assert balanced(till, anna) == {}
    till.pass_time(DAY)
    till.world.people.settle(first)
    till.world.people.settle(second, succeeds=False)
    till.deliver()
    rows = till.site.all("SELECT state FROM stripe_purchases ORDER BY id")
    assert [row["state"] for row in rows] == ["paid", "failed"]
    assert balanced(till, anna) == {"credits": 100}


def test_a_voucher_is_processing_until_it_is_paid_at_the_counter(till: Till, anna: User) -> None:
    till.buy(anna)
    till.world.people.pay(till.session(), "sepa_debit")
    with till.world.account.lock:
        (intent,) = till.world.account.all("payment_intent")
        intent["status"] = "requires_action"
    till.deliver()
    assert state(till) == "processing"
    with till.world.account.lock:
        intent["status"] = "processing"
    till.pass_time(7 * DAY)
    till.look()
    assert (state(till), balanced(till, anna)) == ("paid", {"credits": 100})


def test_who_is_deleted_and_pays_has_it_in_his_books_and_a_refund_takes_it_out(
    till: Till, anna: User
) -> None:
    till.buy(anna)
    till.site.connection.execute(
        "UPDATE hopsmeter.users SET status = 'deleted' WHERE no = %s", [anna.no]
    )
    till.world.people.pay(till.session())
    till.deliver()
    assert (state(till), balanced(till, anna)) == ("paid", {"credits": 100})
    (line,) = stripe_purchases(till.site.connection, DAEMON)
    assert line.to_refund
    dispute = till.world.people.open_dispute(till.charge(), 4_000)
    till.deliver()
    assert balanced(till, anna) == {"credits": 60}
    till.world.people.close_dispute(dispute["id"], "won")
    till.deliver()
    assert balanced(till, anna) == {"credits": 100}
    till.world.people.refund(till.charge(), 10_000)
    till.deliver()
    assert balanced(till, anna).get("credits", 0) == 0
    (line,) = stripe_purchases(till.site.connection, DAEMON)
    assert not line.to_refund
    with pytest.raises(Unknown, match="is deleted, and pays for nothing"):
        till.buy(anna, key="order-2")


def test_a_page_that_nobody_paid_on_expires(till: Till, anna: User) -> None:
    till.buy(anna)
    till.pass_time(2 * DAY)
    till.deliver()
    assert (state(till), balanced(till, anna)) == ("expired", {})
    again = till.buy(anna)
    assert (again.state, again.url) == ("expired", None)


def test_a_lost_webhook_is_made_up_for_by_the_hourly_look(till: Till, anna: User) -> None:
    till.buy(anna)
    till.world.people.pay(till.session())
    assert till.look().looked_at == 0  # a webhook has ten minutes
    till.pass_time(HOUR)
    assert till.look().settled == 1
    assert balanced(till, anna) == {"credits": 100}
    till.deliver()
    assert balanced(till, anna) == {"credits": 100}


@pytest.mark.parametrize("kind", ["error_500_before", "cut_after"])
@pytest.mark.parametrize("later", [10 * timedelta(minutes=1), 30 * HOUR])
def test_a_purchase_cut_off_before_its_page_was_known_has_one_page(
    till: Till, anna: User, kind: str, later: timedelta
) -> None:
    number = till.world.faults.add(kind, method="POST", path="/v1/checkout/sessions")
    with pytest.raises(StripeFault):
        till.buy(anna)
    till.world.faults.remove(number)
    till.pass_time(later)
    till.buy(anna)
    assert till.count("checkout.session") == 1
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 1


def test_a_page_whose_address_was_lost_and_is_paid_all_the_same_is_credited(
    till: Till, anna: User
) -> None:
    number = till.world.faults.add("cut_after", method="POST", path="/v1/checkout/sessions")
    with pytest.raises(StripeFault):
        till.buy(anna)
    till.world.faults.remove(number)
    till.world.people.pay(till.session())
    till.deliver()
    assert (state(till), balanced(till, anna)) == ("paid", {"credits": 100})


def test_a_purchase_that_never_got_a_page_is_given_up(till: Till, anna: User) -> None:
    number = till.world.faults.add("error_500_before", method="POST", path="/v1/checkout/sessions")
    with pytest.raises(StripeFault):
        till.buy(anna)
    till.world.faults.remove(number)
    till.pass_time(26 * HOUR)
    till.look()
    assert state(till) == "expired"


def test_the_same_key_is_the_same_purchase(till: Till, anna: User) -> None:
    first = till.buy(anna)
    assert till.buy(anna).url == first.url
    assert till.count("checkout.session") == 1
    with pytest.raises(Conflict, match="another purchase"):
        till.buy(anna, 50)
    till.world.people.pay(till.session())
    till.deliver()
    again = till.buy(anna)
    assert (again.state, again.url) == ("paid", None)


def test_a_purchase_that_is_refused_leaves_nothing(till: Till, anna: User) -> None:
    till.buy(anna)
    ben = till.site.user("ben")
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=r"stands for another purchase.* Nothing was changed\.$"):
            till.buy(ben, currency="USD", dry_run=dry_run)
    till.world.faults.add("outage")
    with pytest.raises(StripeFault, match="No purchase was begun"):
        till.buy(ben, key="order-2", currency="USD")
    assert till.site.value("SELECT currency FROM users WHERE no = %s", ben.no) is None
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 1
    assert till.site.value("SELECT count(*) FROM stripe_accounts") == 1


def test_nothing_is_sold_to_a_customer_that_was_deleted(till: Till, anna: User) -> None:
    done = till.link(anna)
    till.run(
        lambda it: it.ask(lambda client: client.v1.customers.delete_async(done.customer_id or ""))
    )
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=r"was deleted at Stripe.* Nothing was changed\.$"):
            till.buy(anna, dry_run=dry_run)
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 0


def test_asking_again_without_a_key_is_the_same_purchase_until_it_is_paid(
    till: Till, anna: User
) -> None:
    first = till.buy(anna, key=None)
    assert first.url is not None
    assert till.buy(anna, key=None).url == first.url
    planned = till.buy(anna, key=None, dry_run=True)
    assert (planned.purchase_id, planned.state) == (first.purchase_id, "open")
    others = [
        till.buy(anna, 50, key=None),
        till.buy(anna, key=None, expires_on=date(2027, 1, 1)),
        till.buy(anna, key="order-2"),
    ]
    assert len({each.purchase_id for each in (first, *others)}) == 4
    till.world.people.pay(till.world.all("checkout.session")[0]["id"])
    till.deliver()
    joined = till.buy(anna, key=None)
    assert joined.purchase_id == others[-1].purchase_id  # whoever began it, it is unpaid
    till.world.people.pay(till.session())
    till.deliver()
    new = till.buy(anna, key=None)
    assert new.purchase_id not in {each.purchase_id for each in (first, *others)}
    assert new.url is not None
    assert balanced(till, anna) == {"credits": 200}


@pytest.mark.parametrize("how", ["pay", "abandon"])
def test_asking_again_sees_what_no_webhook_has_told_yet(till: Till, anna: User, how: str) -> None:
    first = till.buy(anna, key=None)
    getattr(till.world.people, how)(till.session())
    second = till.buy(anna, key=None)
    assert second.url is not None
    assert second.purchase_id != first.purchase_id
    assert balanced(till, anna) == ({"credits": 100} if how == "pay" else {})
    till.deliver(doubled)
    assert balanced(till, anna) == ({"credits": 100} if how == "pay" else {})


def test_a_page_that_is_over_is_followed_by_a_new_purchase(till: Till, anna: User) -> None:
    first = till.buy(anna, key=None)
    till.pass_time(25 * HOUR)
    second = till.buy(anna, key=None)
    assert second.url is not None
    assert second.purchase_id != first.purchase_id
    rows = till.site.all("SELECT state FROM stripe_purchases ORDER BY id")
    assert [row["state"] for row in rows] == ["expired", "open"]


def test_a_debit_under_way_is_not_asked_for_again(till: Till, anna: User) -> None:
    first = till.buy(anna, key=None)
    till.world.people.pay(till.session(), "sepa_debit")
    again = till.buy(anna, key=None)
    assert (again.purchase_id, again.state, again.url) == (first.purchase_id, "processing", None)
    till.world.people.settle(till.session(), succeeds=False)
    till.deliver()
    assert till.buy(anna, key=None).purchase_id != first.purchase_id


@pytest.mark.parametrize("kind", ["error_500_before", "cut_before", "cut_after"])
def test_asking_again_completes_what_was_begun_when_stripe_was_away(
    till: Till, anna: User, kind: str
) -> None:
    number = till.world.faults.add(kind, method="POST", path="/v1/checkout/sessions")
    with pytest.raises(StripeFault):
        till.buy(anna, key=None)
    till.world.faults.remove(number)
    till.pass_time(HOUR)
    sale = till.buy(anna, key=None)
    assert sale.url is not None
    assert till.count("checkout.session") == 1
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 1


def test_two_who_ask_at_once_get_one_purchase(till: Till, anna: User) -> None:
    till.buy(anna, 7, key="first")  # the customer is there

    def ask(number: int) -> int | None:
        asker = Principal("admin", "auth0|admin", command_id=100 + number)
        with till.site.open() as connection:
            wish = Wish(anna.id, 100 * NANO)
            sale = till.run(
                lambda it: buy(
                    *(it, connection, asker, wish),
                    return_url="https://example.test",
                    why="asked for",
                    now=till.clock(),
                    dry_run=False,
                )
            )
        return sale.purchase_id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert till.count("checkout.session") == 2


def test_a_receipt_is_made_for_whoever_pays_and_never_taken_for_usage(
    till: Till, anna: User
) -> None:
    linked = till.link(anna)
    till.world.people.add_card(linked.customer_id or "")
    till.use(linked, 5_000_000)
    for key, by in (("one", "card"), ("two", "sepa_debit")):
        till.buy(anna, key=key)
        till.world.people.pay(till.session(), by)
    till.world.people.settle(till.session())
    till.deliver()
    receipts = [each for each in till.world.all("invoice") if each["parent"] is None]
    assert [each["amount_paid"] for each in receipts] == [10_000, 10_000]
    assert [each["metadata"] for each in receipts] == [
        each["metadata"] for each in till.world.all("checkout.session")[-2:]
    ]
    till.pass_time(32 * DAY)
    till.deliver()
    till.refresh()
    kept = till.site.all(
        "SELECT id, units, usage_start, compared_at, subscription_id FROM stripe_invoices"
        " WHERE id = ANY (%s)",
        [each["id"] for each in receipts],
    )
    nothing = dict.fromkeys(("units", "usage_start", "compared_at", "subscription_id"))
    assert [{name: row[name] for name in nothing} for row in kept] == [nothing, nothing]
    assert [row["units"] for row in till.site.all("SELECT units FROM stripe_invoices")].count(
        5_000_000
    ) == 1
    assert till.standing(anna) == ("good", "")
    assert till.site.value(
        "SELECT hopsmeter.stripe_final_invoice(%s, '2026-03-01')", anna.no
    ) not in {each["id"] for each in receipts}
    assert balanced(till, anna) == {"credits": 200}


def test_an_amount_that_stripe_refuses_leaves_a_purchase_and_says_so(
    till: Till, anna: User
) -> None:
    with pytest.raises(StripeFault) as refused:
        till.run(
            lambda it: buy(
                it,
                till.site.connection,
                till.asker(),
                Wish(anna.id, NANO // 10, None, "small-1"),
                return_url="https://example.test",
                why="asked for",
                now=till.clock(),
                dry_run=False,
            )
        )
    number = purchase(till)["id"]
    assert refused.value.message.startswith("Stripe refuses: ")
    assert f"The purchase {number} of 0.10 USD stands open: " in refused.value.message
    assert "repeat the same command, with the same --key small-1, or" in refused.value.message
    assert "expires by itself" in refused.value.message
    till.pass_time(30 * HOUR)
    till.look()
    assert state(till) == "expired"


def test_a_purchase_says_how_it_goes_on_when_stripe_is_away(till: Till, anna: User) -> None:
    number = till.world.faults.add("outage", path="/v1/account")
    with pytest.raises(StripeFault, match=r"No purchase was begun; .* repeat the same command"):
        till.buy(anna)
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 0
    till.world.faults.remove(number)
    number = till.world.faults.add("outage", path="/v1/checkout/sessions")
    with pytest.raises(StripeFault, match=r"stands open: .*, with the same --key order-1, and it"):
        till.buy(anna)
    with pytest.raises(StripeFault, match=r"stands open: .* the same command and it goes on"):
        till.buy(anna, 7, key=None)
    till.world.faults.remove(number)
    assert till.buy(anna).url
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 2


def test_what_cannot_be_bought_is_refused_and_nothing_is_written(till: Till, anna: User) -> None:
    with pytest.raises(InputFault, match=r"at most 999.999\.99 USD in one payment"):
        till.buy(anna, 9_000_000)
    with pytest.raises(InputFault, match="more than zero"):
        till.buy(anna, 0)
    with pytest.raises(InputFault, match="is no day to come"):
        till.buy(anna, expires_on=date(2026, 3, 1))
    with pytest.raises(InputFault, match="has no currency yet"):
        till.buy(till.site.user("ben"))
    assert till.buy(anna, dry_run=True).url is None
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 0
    assert till.count("customer") == 0


def test_credits_paid_for_after_the_date_they_were_to_expire_on_are_kept(
    till: Till, anna: User
) -> None:
    till.buy(anna, expires_on=date(2026, 3, 3))
    till.world.people.pay(till.session(), "sepa_debit")
    till.pass_time(3 * DAY)
    till.world.people.settle(till.session())
    till.deliver()
    assert balanced(till, anna) == {"credits": 100}
    assert till.site.value("SELECT expires_on FROM credit_lots") is None


def test_a_refund_of_what_is_spent_is_owed_and_repaid_by_the_next_purchase(
    till: Till, anna: User
) -> None:
    till.site.cluster()
    pays(till.site, anna, "prepaid", 0)
    till.site.map("a", anna, 0)
    till.buy(anna)
    till.world.people.pay(till.session())
    till.deliver()
    bill(till.site, {"a": 70}, 0)
    assert balanced(till, anna) == {"credits": 30}
    till.world.people.refund(till.charge())
    till.deliver()
    assert balanced(till, anna) == {"arrears": -70}
    assert "credits.beyond_limit" in till.told()
    till.buy(anna, key="order-2")
    till.world.people.pay(till.session())
    till.deliver()
    assert balanced(till, anna) == {"credits": 30}


def test_a_dispute_takes_the_amount_and_winning_it_gives_it_back(till: Till, anna: User) -> None:
    till.buy(anna)
    till.world.people.pay(till.session())
    dispute = till.world.people.open_dispute(till.charge(), 4000)
    till.deliver()
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 60}, 40)
    till.world.people.close_dispute(dispute["id"], "won")
    till.deliver(doubled)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)
    assert lots(till.site, anna) == [60, 40]
    (back,) = till.site.all(
        "SELECT * FROM ledger_entries WHERE ref = %s", f"{dispute['id']}:returned"
    )
    (taken,) = till.site.all("SELECT * FROM ledger_entries WHERE ref = %s", dispute["id"])
    (bought,) = till.site.all("SELECT * FROM ledger_entries WHERE contra = 12")
    assert (back["reverses"], taken["reverses"]) == (taken["id"], bought["id"])


def test_a_dispute_that_is_lost_keeps_what_it_took(till: Till, anna: User) -> None:
    till.buy(anna)
    till.world.people.pay(till.session())
    dispute = till.world.people.open_dispute(till.charge())
    till.deliver(backwards)
    till.world.people.close_dispute(dispute["id"], "lost")
    till.deliver()
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)


def test_winning_a_dispute_over_spent_credits_repays_what_it_left_as_arrears(
    till: Till, anna: User
) -> None:
    till.site.cluster()
    pays(till.site, anna, "prepaid", 0)
    till.site.map("a", anna, 0)
    till.buy(anna)
    till.world.people.pay(till.session())
    till.deliver()
    bill(till.site, {"a": 70}, 0)
    dispute = till.world.people.open_dispute(till.charge())
    till.deliver()
    assert balanced(till, anna) == {"arrears": -70}
    till.world.people.close_dispute(dispute["id"], "won")
    till.deliver()
    assert balanced(till, anna) == {"credits": 30}


def test_a_refund_and_a_dispute_take_no_more_than_was_paid(till: Till, anna: User) -> None:
    till.buy(anna)
    till.world.people.pay(till.session())
    till.world.people.refund(till.charge(), 8000)
    till.world.people.open_dispute(till.charge())
    till.deliver(shuffled)
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)


def test_a_refund_of_something_else_is_none_of_ours(till: Till, anna: User) -> None:
    done = till.link(anna)
    till.world.people.add_card(done.customer_id or "")
    till.use(done, 5_000_000)
    till.pass_time(32 * DAY)
    till.world.people.refund(till.charge())
    till.deliver()
    said = till.site.value("SELECT said FROM webhook_events WHERE type = 'charge.refunded'")
    assert said == "about nothing of ours"
    assert balanced(till, anna) == {}


def test_yen_are_counted_as_they_are(till: Till) -> None:
    who = till.customer("yuki", "JPY")
    till.set_up()
    till.buy(who, 3000)
    assert till.world.all("checkout.session")[-1]["amount_total"] == 3000
    till.world.people.pay(till.session())
    till.deliver()
    assert balanced(till, who) == {"credits": 3000}
