"""Webhooks on their way: signed, tried again, in no order; and doubled, shuffled, lost on demand."""

import asyncio
import contextlib
import fnmatch
import hashlib
import hmac
import itertools
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from core.clock import utc_now
from sandbox.stripe.account import Account
from sandbox.stripe.endpoints import Endpoints

PUMP_S = 0.01
SHUFFLE_S = 0.3
"""Shuffled deliveries leave at any time within it."""
LOG_MAX = 20_000
AT_ONCE_MAX = 16
IDLE_POLL_S = 0.005


@dataclass(frozen=True)
class Attempt:
    """One try: `status` is what the endpoint answered, None where nobody did."""

    endpoint_id: str
    event_id: str
    type: str
    number: int
    status: int | None
    at: datetime


@dataclass
class _Parcel:
    number: int
    endpoint_id: str
    event_id: str
    type: str
    body: bytes
    due_s: float
    tries: int = 0


@dataclass
class _Drop:
    pattern: str
    left: int
    believed: bool
    """Whether Stripe takes it for delivered; if not, the list of undelivered events has it."""


@dataclass
class Deliveries:
    """`doubled`, `shuffled`, `delay_s` and `paused` may be set while it runs."""

    account: Account
    endpoints: Endpoints
    doubled: bool = False
    shuffled: bool = False
    delay_s: float = 0.0
    paused: bool = False
    log: deque[Attempt] = field(default_factory=lambda: deque(maxlen=LOG_MAX))
    on_outcome: Callable[[str, str, bool], None] = lambda _endpoint, _event, _delivered: None

    def __post_init__(self) -> None:
        self._waiting: list[_Parcel] = []
        self._drops: list[_Drop] = []
        self._flying = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def send(self, endpoint_id: str, event_id: str, kind: str, body: bytes) -> None:
        """Put a delivery on its way; from any thread that holds the account's lock."""
        drop = next((d for d in self._drops if d.left and fnmatch.fnmatch(kind, d.pattern)), None)
        if drop:
            drop.left -= 1
            self.on_outcome(endpoint_id, event_id, drop.believed)
            return
        for _ in range(2 if self.doubled else 1):
            due_s = time.monotonic() + self.delay_s
            if self.shuffled:
                due_s += SHUFFLE_S * self.account.number(1_000) / 1_000
            self._waiting.append(
                _Parcel(next(self._numbers), endpoint_id, event_id, kind, body, due_s)
            )

    def drop(self, times: int = 1, kind: str = "*", *, believed: bool = False) -> None:
        """Lose the next events of a type for good; they stand in the event list all the same."""
        with self.account.lock:
            self._drops.append(_Drop(kind, times, believed))

    def pause(self) -> None:
        self.paused = True

    def flush(self) -> None:
        """Send everything that waits, now, and hold nothing back any more."""
        with self.account.lock:
            self.paused = False
            for parcel in self._waiting:
                parcel.due_s = 0

    def collect(self) -> list[tuple[bytes, str]]:
        """Take what waits instead of sending it: bodies with their signatures, as delivered."""
        with self.account.lock:
            parcels, self._waiting = self._waiting, []
            for parcel in parcels:
                self.on_outcome(parcel.endpoint_id, parcel.event_id, True)
        return [(one.body, self.signature(one.endpoint_id, one.body)) for one in parcels]

    def reset(self) -> None:
        """Deliver as Stripe does on a good day."""
        with self.account.lock:
            self.doubled = self.shuffled = self.paused = False
            self.delay_s = 0.0
            self._drops.clear()

    @property
    def outstanding(self) -> int:
        with self.account.lock:
            return len(self._waiting) + self._flying

    def await_idle(self, timeout_s: float = 10.0) -> None:
        """Wait until nothing is on its way; not from the sandbox's own loop."""
        deadline_s = time.monotonic() + timeout_s
        while self.outstanding:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.outstanding} webhooks are still on their way")
            time.sleep(IDLE_POLL_S)

    async def pump(self) -> None:
        """Send what is due, until cancelled; the task of the server's loop."""
        # No certificates are read: what is delivered stays on loopback, without TLS.
        transport = httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
            try:
                while True:
                    for parcel in self._take_due():
                        task = asyncio.create_task(self._deliver(client, parcel))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                    await asyncio.sleep(PUMP_S)
            finally:
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take_due(self) -> list[_Parcel]:
        now_s = time.monotonic()
        with self.account.lock:
            if self.paused:
                return []
            due = [parcel for parcel in self._waiting if parcel.due_s <= now_s]
            due = due[: AT_ONCE_MAX - self._flying]
            taken = {parcel.number for parcel in due}
            self._waiting = [p for p in self._waiting if p.number not in taken]
            self._flying += len(due)
        return due

    async def _deliver(self, client: httpx.AsyncClient, parcel: _Parcel) -> None:
        try:
            url = self.endpoints.address(parcel.endpoint_id)
            status = await self._post(client, url, parcel) if url else None
            self._settle(parcel, url, status)
        finally:
            with self.account.lock:
                self._flying -= 1

    async def _post(self, client: httpx.AsyncClient, url: str, parcel: _Parcel) -> int | None:
        signed = self.signature(parcel.endpoint_id, parcel.body)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signed,
        }
        timeout_s = self.account.settings.delivery_timeout_s
        with contextlib.suppress(httpx.HTTPError):
            answer = await client.post(url, content=parcel.body, headers=headers, timeout=timeout_s)
            return answer.status_code
        return None

    def _settle(self, parcel: _Parcel, url: str | None, status: int | None) -> None:
        pauses_s = self.account.settings.delivery_pauses_s
        with self.account.lock:
            parcel.tries += 1
            self.log.append(
                Attempt(
                    parcel.endpoint_id,
                    parcel.event_id,
                    parcel.type,
                    parcel.tries,
                    status,
                    self.account.now(),
                )
            )
            if status is not None and 200 <= status < 300:
                self.on_outcome(parcel.endpoint_id, parcel.event_id, True)
            elif url is None or parcel.tries > len(pauses_s):
                self.on_outcome(parcel.endpoint_id, parcel.event_id, False)
            else:
                parcel.due_s = time.monotonic() + pauses_s[parcel.tries - 1]
                self._waiting.append(parcel)

    def signature(self, endpoint_id: str, body: bytes, at: datetime | None = None) -> str:
        """Return the Stripe-Signature of a body: one v1 for each secret that is alive."""
        by_host = self.account.settings.signed_by == "host"
        instant = at or (utc_now() if by_host else self.account.now())
        stamp = int(instant.timestamp())
        with self.account.lock:
            secrets = self.endpoints.secrets(endpoint_id)
        signed = f"{stamp}.".encode() + body
        codes = [hmac.new(s.encode(), signed, hashlib.sha256).hexdigest() for s in secrets]
        return ",".join([f"t={stamp}", *(f"v1={code}" for code in codes)])
