"""Links: one customer and one subscription per account, whatever is cut off, doubled or deleted."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import Conflict, InputFault, StripeFault, Unknown
from tests.core.billing.stripe.till import Till
from tests.factories import User


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def ids(till: Till) -> tuple[str, str]:
    (row,) = till.site.all(
        "SELECT stripe_customer_id AS c, stripe_subscription_id AS s FROM users"
        " WHERE stripe_customer_id IS NOT NULL"
    )
    return row["c"], row["s"]


def test_a_link_makes_a_customer_a_subscription_and_a_page_for_the_card(
    till: Till, anna: User
) -> None:
    done = till.link(anna)
    (customer,), (subscription,) = till.world.all("customer"), till.world.all("subscription")
    assert ids(till) == (customer["id"], subscription["id"])
    assert customer["metadata"] == {"hopsmeter": anna.id}
    assert customer["email"] == anna.email
    assert done.card_url is not None
    assert done.card_url.startswith("https://checkout.stripe.com/")
    item = subscription["items"]["data"][0]
    assert datetime.fromtimestamp(item["current_period_end"], UTC) == datetime(
        2026, 4, 1, tzinfo=UTC
    )


def test_a_second_link_makes_nothing_but_another_page(till: Till, anna: User) -> None:
    first = till.link(anna)
    again = till.link(anna)
    assert (again.customer_id, again.made) == (first.customer_id, {})
    assert (till.count("customer"), till.count("subscription")) == (1, 1)
    assert again.card_url != first.card_url


@pytest.mark.parametrize(
    ("kind", "later"),
    [("error_500_before", timedelta(minutes=10)), ("cut_after", timedelta(days=3))],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/customers"),
        ("POST", "/v1/customers/*"),
        ("GET", "/v1/subscriptions"),
        ("POST", "/v1/subscriptions"),
        ("POST", "/v1/checkout/sessions"),
    ],
)
def test_a_link_cut_off_anywhere_goes_on_with_one_customer_and_one_subscription(
    till: Till, anna: User, method: str, path: str, kind: str, later: timedelta
) -> None:
    """Also after Stripe forgot the keys of the first try."""
    number = till.world.faults.add(kind, method=method, path=path, seconds=0.05)
    with pytest.raises(StripeFault, match="goes on from there"):
        till.link(anna)
    till.world.faults.remove(number)
    till.pass_time(later)
    done = till.link(anna)
    assert (till.count("customer"), till.count("subscription")) == (1, 1)
    assert ids(till) == (done.customer_id, done.subscription and done.subscription.id)


@pytest.mark.parametrize("lost", ["", ", stripe_customer_id = NULL"])
def test_a_crash_before_an_id_was_written_down_makes_no_second_one(
    till: Till, anna: User, lost: str
) -> None:
    first = till.link(anna)
    till.site.connection.execute(f"UPDATE users SET stripe_subscription_id = NULL{lost}")
    till.pass_time(timedelta(days=40))
    again = till.link(anna)
    assert again.customer_id == first.customer_id
    assert (till.count("customer"), till.count("subscription")) == (1, 1)


def test_a_dry_run_makes_nothing(till: Till, anna: User) -> None:
    done = till.link(anna, dry_run=True)
    assert (done.customer_id, done.subscription) == (None, None)
    assert (till.count("customer"), till.site.value("SELECT count(*) FROM stripe_accounts")) == (
        0,
        0,
    )


def test_an_account_without_a_currency_or_a_price_is_refused(till: Till) -> None:
    nobody = till.site.user("ben")
    till.set_up("USD")
    with pytest.raises(InputFault, match="has no currency yet"):
        till.link(nobody)
    with pytest.raises(Conflict, match="stripe setup --currency EUR"):
        till.link(till.customer("eva", "EUR"))


def test_who_has_no_currency_yet_is_given_one_for_good(till: Till) -> None:
    nobody = till.site.user("ben")
    till.set_up("USD", "EUR")
    assert till.link(nobody, currency="EUR", dry_run=True).currency == "EUR"
    with pytest.raises(InputFault, match="has no currency yet"):
        till.link(nobody)
    assert till.link(nobody, currency="EUR").currency == "EUR"
    assert till.link(nobody).currency == "EUR"
    with pytest.raises(Conflict, match="is in EUR, not in USD"):
        till.link(nobody, currency="USD")
    with pytest.raises(InputFault, match="is no currency"):
        till.link(till.site.user("eva"), currency="eur")


def test_a_subscription_is_taken_over_with_its_customer_only(till: Till, anna: User) -> None:
    with pytest.raises(InputFault, match="name whose sub_there is as well"):
        till.link(anna, subscription="sub_there")
    assert till.count("customer") == 0


def test_no_link_before_the_setup(till: Till) -> None:
    with pytest.raises(Conflict, match="run `hopsmeter stripe setup`"):
        till.link(till.customer())


def test_an_existing_customer_and_subscription_are_taken_over(till: Till, anna: User) -> None:
    ben = till.customer("ben")
    first = till.link(ben)
    assert first.customer_id is not None
    till.site.connection.execute(
        "UPDATE users SET stripe_customer_id = NULL, stripe_subscription_id = NULL"
    )
    till.run(
        lambda it: it.ask(
            lambda client: client.v1.customers.update_async(
                first.customer_id or "", {"metadata": {"hopsmeter": ""}}
            )
        )
    )
    assert first.subscription is not None
    done = till.link(anna, customer=first.customer_id, subscription=first.subscription.id)
    assert ids(till) == (first.customer_id, first.subscription.id)
    assert done.subscription == first.subscription
    assert (till.count("customer"), till.count("subscription")) == (1, 1)


def test_a_customer_of_another_account_is_refused(till: Till, anna: User) -> None:
    first = till.link(till.customer("ben"))
    with pytest.raises(Conflict, match=r"belongs to auth0\|ben"):
        till.link(anna, customer=first.customer_id)
    with pytest.raises(Unknown, match="no customer cus_none"):
        till.link(anna, customer="cus_none")


def unmarked(till: Till, customer: str | None) -> None:
    """Somebody takes our mark off its metadata."""
    till.run(
        lambda it: it.ask(
            lambda client: client.v1.customers.update_async(
                customer or "", {"metadata": {"hopsmeter": ""}}
            )
        )
    )


def test_a_link_that_is_refused_leaves_nothing(till: Till, anna: User) -> None:
    first = till.link(anna)
    assert first.subscription is not None
    ben = till.site.user("ben")
    free = till.run(
        lambda it: it.ask(lambda client: client.v1.customers.create_async({"name": "free"}))
    ).id
    wishes: list[dict[str, str | None]] = [
        {"customer": "cus_none"},
        {"customer": first.customer_id},
        {"customer": free, "subscription": "sub_nope"},
        {"customer": free, "subscription": first.subscription.id},
    ]
    for is_marked in (True, False):
        if not is_marked:
            unmarked(till, first.customer_id)
        for dry_run in (True, False):
            for wish in wishes:
                with pytest.raises(InputFault, match=r"Nothing was changed\.$"):
                    till.link(ben, currency="USD", dry_run=dry_run, **wish)
    assert till.site.value("SELECT currency FROM users WHERE no = %s", ben.no) is None
    assert till.site.value("SELECT count(*) FROM stripe_accounts") == 1
    marks = {each["id"]: each["metadata"].get("hopsmeter") for each in till.world.all("customer")}
    assert marks[first.customer_id] in (None, "")
    assert marks[free] is None
    till.set_up("EUR")
    assert till.link(ben, currency="EUR").currency == "EUR"


def test_a_link_that_reaches_nobody_says_that_nothing_was_changed(till: Till, anna: User) -> None:
    ben = till.site.user("ben")
    till.world.faults.add("outage")
    for dry_run in (True, False):
        with pytest.raises(StripeFault, match=r"Nothing was changed\.$"):
            till.link(ben, currency="USD", dry_run=dry_run)
    assert till.site.value("SELECT currency FROM users WHERE no = %s", ben.no) is None
    assert till.site.value("SELECT count(*) FROM stripe_accounts") == 0


def test_a_customer_that_was_deleted_is_not_replaced_unseen(till: Till, anna: User) -> None:
    first = till.link(anna)
    till.run(
        lambda it: it.ask(lambda client: client.v1.customers.delete_async(first.customer_id or ""))
    )
    with pytest.raises(Conflict, match="was deleted at Stripe"):
        till.link(anna)
    other = till.run(
        lambda it: it.ask(lambda client: client.v1.customers.create_async({"name": "anew"}))
    )
    done = till.link(anna, customer=other.id)
    assert done.customer_id == other.id
    assert done.subscription is not None
    assert done.subscription.customer_id == other.id


def test_a_subscription_that_ended_is_followed_by_another_one(till: Till, anna: User) -> None:
    first = till.link(anna)
    assert first.subscription is not None
    till.world.people.cancel_subscription(first.subscription.id)
    again = till.link(anna)
    assert again.subscription is not None
    assert again.subscription.id != first.subscription.id
    assert again.subscription.is_live
    assert till.count("subscription") == 2
    assert till.link(anna).made == {}


def test_a_subscription_whose_cycles_begin_within_a_day_is_not_taken_over(
    till: Till, anna: User
) -> None:
    """The day between two of its invoices would be on both."""
    till.pass_time(timedelta(hours=12, minutes=7))
    made = till.run(
        lambda it: it.ask(lambda client: client.v1.customers.create_async({"name": "anew"}))
    )
    price = till.site.value("SELECT price_id FROM stripe_prices WHERE kind = 'daily'")
    subscription = till.run(
        lambda it: it.ask(
            lambda client: client.v1.subscriptions.create_async(
                {"customer": made.id, "items": [{"price": str(price)}]}
            )
        )
    )
    begins = datetime.fromtimestamp(subscription.billing_cycle_anchor, UTC)
    for named in (subscription.id, None):
        with pytest.raises(Conflict, match=f"cycles of {subscription.id} begin at {begins:%H:%M}"):
            till.link(anna, customer=made.id, subscription=named)
    till.world.people.cancel_subscription(subscription.id, invoice_now=True)
    done = till.link(anna, customer=made.id)
    assert done.subscription is not None
    assert done.subscription.id != subscription.id
