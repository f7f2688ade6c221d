"""Set-up at Stripe: complete, once, of one account, and found again whatever cut it off."""

import contextlib
from dataclasses import replace

import pytest

from core.billing.stripe import catalogue, units
from core.errors import Conflict, InputFault, StripeFault
from tests.core.billing.stripe.till import Till


def at_stripe(till: Till) -> tuple[int, int, int]:
    return till.count("product"), till.count("billing.meter"), till.count("price")


def test_a_setup_makes_a_product_both_meters_and_a_price_of_each_currency(till: Till) -> None:
    done = till.set_up("USD", "JPY")
    assert at_stripe(till) == (1, 2, 4)
    assert done.default_meter == "daily"
    prices = {each["lookup_key"]: each["unit_amount_decimal"] for each in till.world.all("price")}
    assert prices == {
        "hopsmeter_daily_jpy": "0.000001",
        "hopsmeter_daily_usd": "0.0001",
        "hopsmeter_sum_jpy": "0.000001",
        "hopsmeter_sum_usd": "0.0001",
    }
    windows = {
        each["event_name"]: each["event_time_window"] for each in till.world.all("billing.meter")
    }
    assert windows == {"hopsmeter_daily": "day", "hopsmeter_sum": None}
    assert till.site.value("SELECT count(*) FROM stripe_prices") == 4


def test_a_second_setup_changes_nothing(till: Till) -> None:
    first = till.set_up("USD")
    again = till.set_up("USD")
    assert at_stripe(till) == (1, 2, 2)
    assert (again.written, again.found.made) == (0, [])
    assert again.found.prices == first.found.prices
    assert till.site.value("SELECT count(*) FROM audit_log WHERE action = 'stripe.setup'") == 1


@pytest.mark.parametrize("kind", ["error_500_before", "cut_after"])
@pytest.mark.parametrize("path", ["/v1/products", "/v1/billing/meters", "/v1/prices"])
def test_a_setup_that_was_cut_off_is_completed_by_the_next(
    till: Till, kind: str, path: str
) -> None:
    number = till.world.faults.add(kind, method="POST", path=path)
    with contextlib.suppress(StripeFault):  # done all the same, it may be found at once
        till.set_up("USD")
    till.world.faults.remove(number)
    till.set_up("USD")
    assert at_stripe(till) == (1, 2, 2)
    assert till.site.value("SELECT count(*) FROM stripe_prices") == 2


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(till: Till) -> None:
    connection = till.site.connection
    found = till.run(lambda it: catalogue.build(it, connection, ["USD"], dry_run=True))
    assert at_stripe(till) == (0, 0, 0)
    assert "would be made: product hopsmeter_usage, meter" in catalogue.told(found, dry_run=True)


def test_a_key_of_another_stripe_account_is_refused(till: Till) -> None:
    till.set_up("USD")
    till.site.connection.execute("UPDATE stripe_site SET stripe_account = 'acct_other'")
    with pytest.raises(Conflict, match="belongs to the Stripe account acct_other"):
        till.set_up("USD")


def test_a_price_that_was_archived_is_not_replaced_unseen(till: Till) -> None:
    first = till.set_up("USD")
    price = first.found.prices["daily", "USD"]
    till.run(
        lambda it: it.ask(
            lambda client: client.v1.prices.update_async(price, {"active": False, "lookup_key": ""})
        )
    )
    till.clock.advance(till.world.settings.idempotency_kept * 2)
    with pytest.raises(Conflict, match=f"The price {price}, by which .* is archived at Stripe"):
        till.set_up("USD")
    assert till.count("price") == 2


def deactivate(till: Till, meter: str) -> None:
    till.run(lambda it: it.ask(lambda client: client.v1.billing.meters.deactivate_async(meter)))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_meter_that_was_archived_is_named_and_gets_no_twin(till: Till, dry_run: bool) -> None:
    meter = till.set_up("USD").found.meters["sum"]
    deactivate(till, meter)
    connection = till.site.connection
    with pytest.raises(Conflict, match=f"The meter {meter} .* archived at Stripe") as refused:
        till.run(lambda it: catalogue.build(it, connection, ["USD", "EUR"], dry_run=dry_run))
    assert "Reactivate it in Stripe's dashboard" in refused.value.message
    assert refused.value.message.endswith("Nothing was changed.")
    assert at_stripe(till) == (1, 2, 2)
    till.run(lambda it: it.ask(lambda client: client.v1.billing.meters.reactivate_async(meter)))
    assert till.set_up("USD").found.made == []


def test_a_twin_of_an_archived_meter_is_named(till: Till) -> None:
    meter = till.set_up("USD").found.meters["daily"]
    deactivate(till, meter)
    twin = till.run(
        lambda it: it.ask(
            lambda client: client.v1.billing.meters.create_async(
                {
                    "display_name": "a twin",
                    "event_name": "hopsmeter_daily",
                    "default_aggregation": {"formula": "sum"},
                    "event_time_window": "day",
                }
            )
        )
    )
    with pytest.raises(Conflict, match=f"The meter {meter} .* {twin.id} takes its events"):
        till.set_up("USD")
    assert till.site.value("SELECT meter_id FROM stripe_meters WHERE kind = 'daily'") == meter


def test_a_price_that_is_another_one_is_archived_and_its_lookup_key_taken(till: Till) -> None:
    """As the refusal says."""
    till.run(
        lambda it: it.ask(
            lambda client: client.v1.products.create_async({"id": "another", "name": "another"})
        )
    )
    other = till.run(
        lambda it: it.ask(
            lambda client: client.v1.prices.create_async(
                {
                    "product": "another",
                    "currency": "usd",
                    "unit_amount": 5,
                    "lookup_key": "hopsmeter_daily_usd",
                }
            )
        )
    )
    with pytest.raises(Conflict, match=f"price {other.id} bears the lookup key") as refused:
        till.set_up("USD")
    assert "Made until then: product hopsmeter_usage, meter" in refused.value.message
    assert "Nothing was changed" not in refused.value.message
    till.run(
        lambda it: it.ask(lambda client: client.v1.prices.update_async(other.id, {"active": False}))
    )
    done = till.set_up("USD")
    assert done.found.prices["daily", "USD"] != other.id
    assert till.set_up("USD").found == replace(done.found, made=[])


def test_a_meter_of_our_name_that_counts_otherwise_is_refused(till: Till) -> None:
    till.run(
        lambda it: it.ask(
            lambda client: client.v1.billing.meters.create_async(
                {
                    "display_name": "another",
                    "event_name": "hopsmeter_daily",
                    "default_aggregation": {"formula": "count"},
                }
            )
        )
    )
    with pytest.raises(Conflict, match="counts otherwise than hopsmeter needs"):
        till.set_up("USD")


def test_a_currency_that_stripe_charges_in_steps_is_refused(till: Till) -> None:
    with pytest.raises(InputFault, match="KWD cannot be billed through Stripe"):
        till.set_up("KWD")
    with pytest.raises(InputFault, match="Nothing here has a currency yet"):
        till.set_up()


@pytest.mark.parametrize("code", ["ZZQ", "EURO", "eur", "ZZZ", ""])
def test_a_currency_that_is_none_is_refused_before_stripe_is_asked(till: Till, code: str) -> None:
    with pytest.raises(InputFault, match=f"'{code}' is no currency that Stripe takes"):
        till.set_up("EUR", code)
    assert not till.world.api.exchanges


def test_every_currency_without_decimals_is_one_that_is_taken() -> None:
    assert units.WITHOUT_DECIMALS <= units.TAKEN
    assert not units.TAKEN & units.NOT_TAKEN


def test_the_default_meter_can_be_changed_later(till: Till) -> None:
    till.set_up("USD")
    done = till.set_up("USD", meter="sum")
    assert (done.default_before, done.default_meter) == ("daily", "sum")
    assert till.site.value("SELECT default_meter FROM stripe_site") == "sum"
