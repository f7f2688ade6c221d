"""The one way to Stripe: a limit in time, a limit in tries, a limit in requests a second; errors sorted.

The SDK itself tries nothing again here: its own tries know no rate limit and no clock of ours. Each
write carries an idempotency key made from our own ids, so that trying it again is asking about it.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec
import stripe
from stripe import StripeClient

from core.billing.stripe.moments import date_of
from core.billing.stripe.pace import Pace, pace_of
from core.clock import monotonic_s
from core.errors import SettingsFault, StripeAway, StripeFault, StripeRefused, StripeStopped
from core.secret import Secret, bare_refusals
from core.settings import FROM_CREDENTIAL, Settings
from core.settings.checks import plain_on_loopback
from core.settings.private import read_private_file

API_VERSION: Final = stripe.api_version
"""What the SDK that is pinned speaks; an endpoint of webhooks is made with it as well."""
ANSWER_S: Final = 20.0
CONNECT_S: Final = 5.0
TRIES_MAX: Final = 4
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 8.0
RATE_LIVE: Final = 80
RATE_TEST: Final = 20
RATE_ENDPOINT: Final = 20
"""At one endpoint, with a live key too; meter events apart."""
RATE_SANDBOX, RATE_SANDBOX_ENDPOINT, PAUSE_SANDBOX_S = 5_000, 5_000, 0.01
"""On this host there is nobody to be spared."""
IN_FLIGHT_MAX: Final = 16
"""Requests at once; more would wait at Stripe instead of here."""
_KEY: Final = re.compile(rb"(sk|rk)_[A-Za-z0-9_]{4,500}")
"""What was pasted with blanks or an end of line of another system would be no header of HTTP: every
question would fail as if Stripe were away."""
STOPPING_CODES: Final = frozenset(
    {"api_key_expired", "platform_api_key_expired", "account_invalid", "testmode_charges_only"}
)
METER_CODES: Final = frozenset({"archived_meter", "no_meter"})
"""Said of a meter, which many accounts share, in answer to the event of one."""

_NOT_STRIPE: Final = (
    "What answered is not Stripe, or its answer was cut: see to the proxy or the login page between"
    " this machine and Stripe, or try again later."
)

Result = TypeVar("Result")
Ask = Callable[[StripeClient], Awaitable[Result]]
Told = tuple[datetime, float]
"""The Date of an answer, and when it came by the clock that nobody sets."""

stripe.enable_telemetry = False


@dataclass(frozen=True)
class Door:
    """Where Stripe is and what lets us in; `key` is shown to nobody."""

    url: str
    key: Secret

    @property
    def is_live(self) -> bool:
        return self.key.reveal().split(b"_")[1:2] == [b"live"]

    @property
    def is_sandbox(self) -> bool:
        return plain_on_loopback(self.url)

    @property
    def rate(self) -> int:
        """Requests a second at most: four fifths of what Stripe allows, the rest is for people."""
        if self.is_sandbox:
            return RATE_SANDBOX
        return RATE_LIVE if self.is_live else RATE_TEST

    @property
    def endpoint_rate(self) -> int:
        """The same of one endpoint."""
        return RATE_SANDBOX_ENDPOINT if self.is_sandbox else RATE_ENDPOINT


def door_of(settings: Settings) -> Door | None:
    """Return what the settings say of Stripe, None where they name no key; SettingsFault tells why."""
    path = settings.stripe_key_file
    if path is None:
        return None
    private = settings.sources["stripe_key_file"] != FROM_CREDENTIAL
    return Door(settings.stripe_url, _key(read_private_file(path, "Stripe's key", private=private)))


@bare_refusals
def _key(content: Secret) -> Secret:
    key = Secret(content.reveal().rstrip())
    if _KEY.fullmatch(key.reveal()) is None:
        raise SettingsFault(
            "Stripe's key is none: the file holds one line that begins with sk_ or rk_, and nothing"
            " else (a publishable key, pk_, will not do)."
        )
    return key


class Gateway:
    """Stripe, for as long as the block runs, in the loop that it was entered in.

    `ask` takes a function of the client, because each try has to make its request anew:
    `await gateway.ask(lambda it: it.v1.customers.retrieve_async("cus_1"))`.
    """

    def __init__(
        self,
        door: Door,
        *,
        tries_max: int = TRIES_MAX,
        first: Callable[[], Awaitable[Told | None]] | None = None,
    ) -> None:
        """`first` is awaited before the first question, once, and returns what time it was told; what it
        raises, each question raises.
        """
        self._door = door
        self._first = first
        self._told_first: Told | None = None
        self._looking = asyncio.Lock()
        self._tries_max = tries_max
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._http: _Http | None = None
        self._client: StripeClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            # The SDK left it without types.
            await self._http.close_async()  # type: ignore[no-untyped-call]
        self._client = self._http = None

    @property
    def is_live(self) -> bool:
        return self._door.is_live

    @property
    def told(self) -> Told | None:
        """What time the newest answer told, None before the first one."""
        return (self._http.told if self._http else None) or self._told_first

    @property
    def time(self) -> datetime | None:
        """The time by Stripe's clock, carried on from then."""
        if self.told is None:
            return None
        at, at_s = self.told
        return at + timedelta(seconds=int(monotonic_s() - at_s))

    async def look_first(self) -> None:
        """Do what is to be done before the first question, unless it was done; raises what that raises."""
        async with self._looking:
            if self._first is not None:
                self._told_first = await self._first()
                self._first = None

    async def ask(self, ask: Ask[Result], *, tries_max: int | None = None) -> Result:
        """Ask, again where that may help; StripeAway, StripeRefused or StripeStopped if all fails.

        `tries_max` of 1 is for who keeps account of the tries himself.
        """
        if self._first is not None:
            await self.look_first()
        client = self._client or self._open()
        last = self._tries_max if tries_max is None else tries_max
        for number in range(1, last + 1):
            async with self._room:
                try:
                    return await asyncio.wait_for(ask(client), ANSWER_S + CONNECT_S)
                except (stripe.StripeError, TimeoutError, UnicodeDecodeError) as fault:
                    sorted_fault = sort_fault(fault)
            if number == last or not isinstance(sorted_fault, StripeAway):
                raise sorted_fault
            await asyncio.sleep(self._pause_s(number))
        raise AssertionError("the last try returns or raises")

    def _open(self) -> StripeClient:
        """Make the client at the first question: most looks at what is due have none."""
        pace = pace_of(self._door.url, self._door.rate, self._door.endpoint_rate)
        self._http = _Http(
            pace,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            # What is trusted takes 10 ms to read, and over plain loopback nobody is asked for it.
            verify_ssl_certs=not self._door.is_sandbox,
        )
        self._client = StripeClient(
            self._door.key.reveal_text(),
            http_client=self._http,
            max_network_retries=0,
            base_addresses={"api": self._door.url, "meter_events": self._door.url},
        )
        return self._client

    def _pause_s(self, number: int) -> float:
        """Between half and the whole of a pause that doubles: many who failed together come back apart."""
        if self._door.is_sandbox:
            return PAUSE_SANDBOX_S
        whole = min(PAUSE_MIN_S * 2 ** (number - 1), PAUSE_MAX_S)
        return random.uniform(whole / 2, whole)  # noqa: S311 - spreads load, keeps no secret


class _Http(stripe.HTTPXClient):
    """Waits for its turn, and takes no answer that is none of Stripe's: a proxy may say 200 to anything."""

    def __init__(self, pace: Pace, *, timeout: httpx.Timeout, verify_ssl_certs: bool) -> None:
        super().__init__(timeout=timeout, verify_ssl_certs=verify_ssl_certs)
        self._pace = pace
        self.told: Told | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        await self._pace.wait(method, url)
        content, status, said = await super().request_async(method, url, headers, post_data)
        if status < 300 and not _is_stripe_s(content):
            raise stripe.APIError("no object of Stripe's", http_status=status)
        # Stripe gives each answer an id; what has none may be a proxy's, and so its Date.
        at = date_of(said) if said.get("request-id") else None
        if status < 300 and at is not None:
            self.told = at, monotonic_s()
        return content, status, said


def _is_stripe_s(content: bytes) -> bool:
    """Say whether what was answered is an object as Stripe writes them, or a list of such.

    Each has an id, but for a meter event; of an object without one nobody could say what is missing.
    """
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    if not isinstance(said, dict):
        return False
    if isinstance(said.get("data"), list):
        return all(isinstance(each, dict) and "id" in each for each in said["data"])
    return "object" in said and ("id" in said or "identifier" in said)


def sort_fault(
    fault: "stripe.StripeError | TimeoutError | UnicodeDecodeError",
) -> StripeFault:
    """Say of an error of the SDK what is to be done about it.

    Stripe's own words are kept: they name fields and ids, never the key but by its last letters.
    """
    if isinstance(fault, TimeoutError):
        return StripeAway("Stripe gave no answer in time; try again later.")
    if isinstance(fault, UnicodeDecodeError):
        return StripeAway(_NOT_STRIPE)
    status: int = fault.http_status or 0
    by_stripe = _is_said_by_stripe(fault)
    if not by_stripe and status < 500 and status not in (0, 409, 429):
        return StripeAway(f"{_NOT_STRIPE} ({status})")
    # What a proxy says instead may be a page.
    said = (fault.user_message or str(fault)).strip() if by_stripe else "without a word"
    said = said or type(fault).__name__
    code = _code(fault)
    request = fault.request_id or ""
    if isinstance(fault, (stripe.AuthenticationError, stripe.PermissionError)) or (
        code in STOPPING_CODES
    ):
        why = (
            f"Stripe does not let us in: {said.rstrip('.')}. Put a key that it takes into the file"
        )
        return StripeStopped(f"{why} of stripe_key_file.", code=code, request=request)
    if isinstance(fault, stripe.APIConnectionError):
        return StripeAway(
            "Stripe cannot be reached: see to this machine's way out, or try again later.",
            code=code,
        )
    if isinstance(fault, stripe.RateLimitError) or status == 429:
        return StripeAway(
            f"Stripe asks for patience: {said}", code=code, request=request, maybe_done=False
        )
    if status in (409, 0) or status >= 500:
        return StripeAway(
            f"Stripe failed ({status}): {said}",
            code=code,
            request=request,
            answered=status >= 500,
        )
    if code in METER_CODES or _is_of_event_name(fault):
        return no_meter(said, code=code, request=request)
    return StripeRefused(f"Stripe refuses: {said}", code=code, request=request)


def no_meter(said: str, *, code: str, request: str) -> StripeStopped:
    """Return the fault of a meter that takes nothing: whoever's event it was, the next one's fares no better."""
    return StripeStopped(
        f"Stripe counts nothing: {said.rstrip('.')}. Reactivate the meter in Stripe's dashboard (Billing,"
        " Meters); `hopsmeter stripe show` names it.",
        code=code,
        request=request,
    )


def _is_of_event_name(fault: stripe.StripeError) -> bool:
    """The name of an event is its meter's, whatever code comes with it; that one is taken is no fault of it."""
    return (
        isinstance(fault, stripe.InvalidRequestError)
        and fault.param == "event_name"
        and fault.code != "resource_already_exists"
    )


def _is_said_by_stripe(fault: stripe.StripeError) -> bool:
    """Say whether the body is an error as Stripe writes it, not the page of a proxy."""
    body = fault.json_body
    return isinstance(body, dict) and isinstance(body.get("error"), (dict, str))


def _code(fault: stripe.StripeError) -> str:
    """RateLimitError and others leave `code` empty though the body has one."""
    if fault.code:
        return str(fault.code)
    body = fault.json_body
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "") if isinstance(error, dict) else ""
