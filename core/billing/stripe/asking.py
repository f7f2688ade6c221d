"""What each question to Stripe needs: keys by which it knows ours again, lists read to their end."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar, cast

from stripe import ListObject, RequestOptions, StripeClient, StripeObject

from core.billing.stripe.gateway import Gateway
from core.errors import Conflict, StripeAway, StripeRefused

PAGE: Final = 100
PAGES_MAX: Final = 100
"""Ten thousand of anything; who has more is asked to name the one that is meant."""
MARK: Final = "hopsmeter"
"""Under this name stands in the metadata of what we make whose it is, or what for."""
TURNS_MAX: Final = 5
"""Of making one thing: each with a key of its own, after Stripe said that it failed."""
KEYS_S: Final = 600
_DIGEST_CHARS: Final = 32


One = TypeVar("One", bound=StripeObject)
Thing = TypeVar("Thing")


Params = TypeVar("Params")


def idempotency_key(*parts: object) -> str:
    """Return the key of a write, made from our own ids: the same parts, the same write."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{MARK}:{parts[0]}:{digest}"


async def find_or_make(
    gateway: Gateway,
    look: Callable[[], Awaitable[Thing | None]],
    make: Callable[[StripeClient, RequestOptions], Awaitable[Thing]],
    *key: object,
    now: datetime,
) -> tuple[Thing, bool]:
    """Return what `look` finds, else what `make` makes under a key of ours, and whether it was made.

    Stripe keeps to a key for a day what it answered first, a failure of its own as well: after one
    it is looked again, and made under the next key. No answer is no failure: the key stays. Later keys
    are those of their ten minutes, since a long failure of Stripe's uses up many.
    """
    at = int(now.timestamp()) // KEYS_S
    for turn in range(TURNS_MAX):
        found = await look()
        if found is not None:
            return found, False
        options: RequestOptions = {
            "idempotency_key": idempotency_key(*key, (at, turn) if turn else 0)
        }
        try:
            return await gateway.ask(partial(_made, make, options)), True
        except StripeAway as fault:
            if not fault.answered or turn == TURNS_MAX - 1:
                raise
    raise AssertionError("the last turn returns or raises")


def _made(
    make: Callable[[StripeClient, RequestOptions], Awaitable[Thing]],
    options: RequestOptions,
    client: StripeClient,
) -> Awaitable[Thing]:
    return make(client, options)


async def every(
    gateway: Gateway,
    page: Callable[[StripeClient, Params], Awaitable[ListObject[One]]],
    params: Params,
    what: str,
    *,
    pages_max: int = PAGES_MAX,
) -> list[One]:
    """Read a list to its end; `page` asks for one page, with `params` and which page it is.

    Conflict where it does not end within `pages_max`.
    """
    found: list[One] = []
    for _ in range(pages_max):
        which: dict[str, Any] = {**cast("dict[str, Any]", params), "limit": PAGE}
        if found:
            which["starting_after"] = cast("Any", found[-1]).id
        answer = await gateway.ask(partial(_turn, page, cast("Params", which)))
        found += answer.data
        if not answer.has_more:
            return found
    raise Conflict(
        f"Stripe lists more than {pages_max * PAGE} {what}; name the one that is meant by its id."
    )


def _turn(
    page: Callable[[StripeClient, Params], Awaitable[ListObject[One]]],
    params: Params,
    client: StripeClient,
) -> Awaitable[ListObject[One]]:
    return page(client, params)


def marked(thing: Any) -> str:
    """Return whose a thing of Stripe is by its metadata, else an empty text."""
    metadata = thing.metadata
    return str(metadata.to_dict().get(MARK, "")) if metadata else ""


def is_gone(fault: StripeRefused) -> bool:
    """Say whether Stripe refused because there is no such thing."""
    return fault.code == "resource_missing"


def id_of(thing: Any) -> str | None:
    """Return the id of what Stripe names by id, or shows in full where it was expanded."""
    if thing is None or isinstance(thing, str):
        return thing
    return str(thing.id)


def instant(stamp: int | None) -> datetime | None:
    """Return the aware instant of one of Stripe's Unix times."""
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC)
