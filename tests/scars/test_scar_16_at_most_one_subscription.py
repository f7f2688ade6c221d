"""Two handlers both created a subscription: customers paid twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.linking import Linked, Wish, link
from core.errors import Conflict
from core.identity.principal import Principal
from tests.core.billing.stripe.till import GRACE, RETURN_URL, Till
from tests.factories import User


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def test_two_links_at_once_make_one_customer_and_one_subscription(till: Till, anna: User) -> None:
    till.world.settings.latency_s = 0.05

    def one(number: int) -> Linked:
        asker = Principal("admin", "auth0|admin", command_id=number)
        with till.site.open() as connection:
            connection.autocommit = True

            async def go(gateway: Gateway) -> Linked:
                return await link(
                    gateway,
                    connection,
                    asker,
                    Wish(anna.id),
                    return_url=RETURN_URL,
                    why="signed up",
                    now=till.clock(),
                    dry_run=False,
                )

            return till.run(go, tries_max=6)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, (91, 92))
    assert (till.count("customer"), till.count("subscription")) == (1, 1)
    assert first.subscription is not None
    assert second.subscription is not None
    assert first.subscription.id == second.subscription.id


def test_the_database_gives_a_subscription_to_one_account(till: Till, anna: User) -> None:
    first = till.link(anna)
    assert first.subscription is not None
    ben = till.customer("ben")
    with pytest.raises(psycopg.errors.UniqueViolation):
        till.site.connection.execute(
            "UPDATE users SET stripe_subscription_id = %s WHERE no = %s",
            [first.subscription.id, ben.no],
        )


def test_a_duplicates_end_is_none_of_the_accounts(till: Till, anna: User) -> None:
    first = till.link(anna)
    assert first.subscription is not None
    till.world.people.add_card(first.customer_id or "")
    double = till.world.people.duplicate_subscription(first.subscription.id)
    till.deliver()
    till.site.connection.execute("UPDATE users SET stripe_subscription_id = NULL")
    with pytest.raises(Conflict, match="2 live subscriptions"):
        till.link(anna)
    till.site.connection.execute(
        "UPDATE users SET stripe_subscription_id = %s WHERE no = %s",
        [first.subscription.id, anna.no],
    )
    till.world.people.cancel_subscription(double["id"])
    till.deliver()
    assert till.standing(anna) == ("good", "")
    till.pass_time(GRACE + timedelta(days=1))
    till.refresh()
    assert till.standing(anna) == ("good", "")
