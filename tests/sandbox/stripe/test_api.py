"""Keys, idempotency, limits, pages, and what goes wrong on demand."""

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from stripe import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    CardError,
    HTTPXClient,
    IdempotencyError,
    InvalidRequestError,
    RateLimitError,
    StripeClient,
    StripeError,
)

from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.conftest import CLIENT_S
from tests.sandbox.stripe.shop import Shop

CUSTOMERS = "/v1/customers"
KEY: Any = {"idempotency_key": "ours-1"}


@pytest.fixture
async def quick(stripe: StripeWorld) -> AsyncIterator[StripeClient]:
    """The SDK as we use it: asynchronous, with two more tries and a short patience."""
    http = HTTPXClient(timeout=1.0)
    yield StripeClient(
        stripe.api_key,
        base_addresses=stripe.base_addresses,  # type: ignore[arg-type]  # a TypedDict of these names
        http_client=http,
        max_network_retries=2,
    )
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


def names(stripe: StripeWorld) -> list[str]:
    return [customer["name"] for customer in stripe.all("customer")]


def test_wrong_key_is_refused_whatever_is_asked(stripe: StripeWorld, client: StripeClient) -> None:
    for key in ("sk_test_wrong", "rk_live_x"):
        with pytest.raises(AuthenticationError, match="Invalid API Key"):
            client.v1.customers.list(options={"api_key": key})
    answer = httpx.get(f"{stripe.url}{CUSTOMERS}", auth=(stripe.api_key, ""))
    assert answer.status_code == 200
    assert httpx.get(f"{stripe.url}{CUSTOMERS}").status_code == 401
    stripe.api.keys.clear()
    with pytest.raises(AuthenticationError):
        client.v1.customers.list()


def test_answers_name_their_request_and_the_version_asked_for(
    stripe: StripeWorld, client: StripeClient
) -> None:
    response: Any = client.v1.customers.list().last_response
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["stripe-version"] == stripe.settings.api_version


def test_what_is_unknown_is_refused_by_name(client: StripeClient) -> None:
    with pytest.raises(InvalidRequestError) as missing:
        client.v1.customers.retrieve("cus_nobody")
    assert (missing.value.code, missing.value.http_status) == ("resource_missing", 404)
    with pytest.raises(InvalidRequestError) as parameter:
        client.v1.customers.create({"nmae": "Ada"})  # type: ignore[arg-type]  # on purpose
    assert (parameter.value.code, parameter.value.param) == ("parameter_unknown", "nmae")
    with pytest.raises(InvalidRequestError, match="does not imitate"):
        client.v1.coupons.list()


def test_lists_come_newest_first_and_in_pages_both_ways(client: StripeClient) -> None:
    made = [client.v1.customers.create({"name": str(n)}).id for n in range(7)]
    first = client.v1.customers.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more) == (made[:3:-1], True)
    assert [one.id for one in first.auto_paging_iter()] == made[::-1]
    back = client.v1.customers.list({"limit": 2, "ending_before": made[0]})
    assert [one.id for one in back.data] == [made[2], made[1]]
    assert back.has_more


def test_created_filters_and_expansions_are_understood(
    shop: Shop, client: StripeClient, clock: WorldClock
) -> None:
    start = int(clock().timestamp())
    shop.customer()
    clock.advance(timedelta(hours=1))
    late = shop.subscribe(shop.customer())
    found = client.v1.customers.list({"created": {"gt": start}})
    assert [one.id for one in found.data] == [late.customer]
    full: Any = client.v1.subscriptions.list({"expand": ["data.customer", "data.latest_invoice"]})
    assert full.data[0].customer.name == "Ada"
    assert full.data[0].latest_invoice.total == 0
    with pytest.raises(InvalidRequestError, match="cannot be expanded"):
        client.v1.customers.list({"expand": ["data.cart"]})


def test_idempotency_key_says_the_first_answer_again_until_it_is_a_day_old(
    stripe: StripeWorld, client: StripeClient, clock: WorldClock
) -> None:
    first = client.v1.customers.create({"name": "Ada"}, KEY)
    again: Any = client.v1.customers.create({"name": "Ada"}, KEY)
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(IdempotencyError):
        client.v1.customers.create({"name": "Bob"}, KEY)
    clock.advance(timedelta(hours=24))
    assert client.v1.customers.create({"name": "Ada"}, KEY).id != first.id
    assert names(stripe) == ["Ada", "Ada"]


def test_idempotency_key_keeps_a_500_but_no_refusal(
    stripe: StripeWorld, client: StripeClient
) -> None:
    with pytest.raises(InvalidRequestError):
        client.v1.customers.create({"email": "no address"}, KEY)
    stripe.faults.add("error_500_after", times=1)
    for _ in range(2):
        with pytest.raises(APIError):
            client.v1.customers.create({"name": "Ada"}, KEY)
    assert names(stripe) == ["Ada"]


def test_two_calls_at_once_under_one_key_conflict(
    stripe: StripeWorld, client: StripeClient
) -> None:
    stripe.settings.latency_s = 0.3
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.v1.customers.create, {"name": "Ada"}, KEY) for _ in range(2)]
        errors = [error for call in calls if (error := call.exception())]
    (error,) = errors
    assert isinstance(error, StripeError)
    assert error.http_status == 409
    assert names(stripe) == ["Ada"]


def test_rate_limits_hold_for_all_and_for_each_endpoint(
    stripe: StripeWorld, client: StripeClient
) -> None:
    stripe.settings.requests_per_s_endpoint = 3
    stripe.settings.requests_per_s = 5
    reasons = []
    for ask in [client.v1.customers.list] * 4 + [client.v1.products.list] * 3:
        try:
            ask()
        except RateLimitError as error:
            reasons.append(error.headers["stripe-rate-limited-reason"])  # type: ignore[index]  # it has
    assert reasons == ["endpoint-rate", "global-rate"]
    time.sleep(1)
    client.v1.customers.list()


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        ("error_500_before", APIError, False),
        ("error_500_after", APIError, True),
        ("cut_before", APIConnectionError, False),
        ("cut_after", APIConnectionError, True),
        ("hang_before", APIConnectionError, False),
        ("hang_after", APIConnectionError, True),
        ("outage", APIError, False),
        ("rate_limited", RateLimitError, False),
        ("lock_timeout", RateLimitError, False),
        ("conflict", StripeError, False),
        ("declined", CardError, False),
    ],
)
def test_faults_strike_before_or_after_the_effect(
    stripe: StripeWorld, client: StripeClient, kind: str, error: type[Exception], done: bool
) -> None:
    number = stripe.faults.add(kind, method="POST", path=CUSTOMERS, times=1, seconds=0.1)
    client.v1.customers.list()
    with pytest.raises(error):
        client.v1.customers.create({"name": "Ada"})
    assert names(stripe) == (["Ada"] if done else [])
    assert stripe.faults.taken(number) == 1
    client.v1.customers.create({"name": "Bob"})


def test_outage_lasts_from_one_instant_to_another_by_the_worlds_clock(
    stripe: StripeWorld, client: StripeClient, clock: WorldClock
) -> None:
    begin = clock() + timedelta(hours=1)
    stripe.faults.add("outage", from_at=begin, to_at=begin + timedelta(days=3))
    statuses = []
    for _ in range(3):
        try:
            client.v1.customers.list()
            statuses.append(200)
        except APIError as error:
            statuses.append(error.http_status or 0)
        clock.advance(timedelta(days=2))
    assert statuses == [200, 503, 200]


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the SDK's own call
async def test_sdk_tries_again_under_one_key_after_a_lost_answer(
    stripe: StripeWorld, quick: StripeClient
) -> None:
    stripe.faults.add("hang_after", path=CUSTOMERS, times=1, seconds=CLIENT_S)
    stripe.faults.add("lock_timeout", path=CUSTOMERS, times=1)
    made = await quick.v1.customers.create_async({"name": "Ada"})
    assert [customer["id"] for customer in stripe.all("customer")] == [made.id]
    tries = [one for one in stripe.api.exchanges if one.method == "POST"]
    assert [(one.status, one.replayed) for one in tries] == [
        (200, False),
        (429, False),
        (200, True),
    ]


def test_faults_may_be_meant_for_one_customer_alone(
    shop: Shop, stripe: StripeWorld, client: StripeClient
) -> None:
    ada, bob = shop.customer(), shop.customer()
    stripe.faults.add("error_500_before", path="/v1/billing/*", holding=ada)
    shop.use(bob, 1)
    with pytest.raises(APIError):
        shop.use(ada, 1)
