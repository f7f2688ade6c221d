"""That the sandbox speaks as Stripe describes itself, and as the SDK reads it."""

from stripe import StripeClient

from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.description import held_to_description
from tests.sandbox.stripe.differences import DIFFERENCES
from tests.sandbox.stripe.sdk_shape import faults_of_shape
from tests.sandbox.stripe.tour import Tour


def test_all_that_is_imitated_is_as_described_but_for_the_listed_differences(
    stripe: StripeWorld, client: StripeClient
) -> None:
    with held_to_description(stripe) as held:
        Tour(stripe, client).walk()
    assert held.needed == set(DIFFERENCES), "what is no longer needed is to be struck off the list"


def test_objects_have_the_fields_that_the_sdk_counts_on_and_no_others(
    stripe: StripeWorld, client: StripeClient
) -> None:
    Tour(stripe, client).walk()
    things = [thing for table in stripe.account.tables.values() for thing in table.values()]
    assert {thing["object"] for thing in things} >= {"invoice", "charge", "v2.core.event"}
    assert sorted({fault for thing in things for fault in faults_of_shape(thing)}) == []


def test_each_route_is_walked_by_the_tour(stripe: StripeWorld, client: StripeClient) -> None:
    Tour(stripe, client).walk()
    walked = {
        (route.method, route.path)
        for route in stripe.api.routes
        for exchange in stripe.api.exchanges
        if exchange.status == 200 and route.match(exchange.method, exchange.path) is not None
    }
    known = {(route.method, route.path) for route in stripe.api.routes}
    assert sorted(known - walked) == []
