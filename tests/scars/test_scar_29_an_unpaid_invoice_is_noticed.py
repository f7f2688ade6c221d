"""Unpaid invoices were noticed by nobody: the subscription was dead, the user kept running."""

from datetime import UTC, datetime

from tests.core.billing.stripe.till import GRACE, Till


def test_an_account_with_an_unpaid_invoice_is_warned_and_then_to_be_suspended(till: Till) -> None:
    anna = till.customer()
    till.set_up()
    done = till.link(anna)
    till.world.people.add_card(done.customer_id or "")
    till.world.people.decline_cards(done.customer_id or "")
    till.deliver()
    till.use(done, 12_000_000)
    till.pass_time(datetime(2026, 4, 1, 3, tzinfo=UTC) - till.clock())
    till.deliver()
    assert till.standing(anna)[0] == "warned"
    till.pass_time(GRACE)
    till.refresh()
    assert till.standing(anna)[0] == "suspend"
    assert "an invoice is unpaid since 2026-04-01" in till.standing(anna)[1]
    assert till.told() == ["account.payment_due", "account.to_suspend"]


def test_a_subscription_that_stripe_ended_for_want_of_payment_is_noticed(till: Till) -> None:
    till.world.settings.after_retries = "canceled"
    anna = till.customer()
    till.set_up()
    done = till.link(anna)
    till.world.people.add_card(done.customer_id or "", declines=True)
    till.use(done, 12_000_000)
    till.pass_time(datetime(2026, 5, 1, tzinfo=UTC) - till.clock())
    till.deliver()
    assert till.site.value("SELECT ended_since IS NOT NULL FROM stripe_accounts") is True
    assert till.standing(anna)[0] == "suspend"
