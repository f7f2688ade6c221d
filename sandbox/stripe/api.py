"""The way of a request: fault, key, limit, idempotency, lock, effect, answer."""

import asyncio
import base64
import binascii
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from sandbox.stripe.account import Account, Cause, Thing
from sandbox.stripe.errors import StripeError, broken, declined, lock_timeout, rate_limited
from sandbox.stripe.faults import StripeFault, StripeFaults
from sandbox.stripe.form import Form, decode
from sandbox.stripe.idempotency import IdempotencyKeys
from sandbox.stripe.limits import METER_EVENTS, RateLimits
from sandbox.stripe.page import expanded
from sandbox.stripe.route import Call, Route, find_route
from sandbox.wire import Request, Response

KEPT_EXCHANGES_MAX = 20_000
KEPT_STATUSES = frozenset({200, 402, 500})
"""What an idempotency key keeps: refusals of what was asked, and of collisions, are not kept."""
SILENCE = Response(500, b"", silent=True)


@dataclass(frozen=True)
class Exchange:
    """A request and what was decided on it; a fault may have kept the answer from the client."""

    at: datetime
    method: str
    path: str
    form: Form
    headers: dict[str, str] = field(repr=False)
    status: int
    """0 where a fault cut it off before anything was decided."""
    body: bytes = field(repr=False)
    replayed: bool
    fault: str | None

    @property
    def answer(self) -> Thing:
        return dict(json.loads(self.body))


@dataclass
class Api:
    account: Account
    faults: StripeFaults
    routes: list[Route]
    lock_of_meter_event: Callable[[Call], str]
    keys: set[str] = field(default_factory=set)
    """The API keys that are good."""
    exchanges: deque[Exchange] = field(default_factory=lambda: deque(maxlen=KEPT_EXCHANGES_MAX))
    hears: list[Callable[[Exchange], None]] = field(default_factory=list)
    """Called with every exchange; the tests hold each one against Stripe's description."""
    bugs: list[Exception] = field(default_factory=list)
    """What went wrong in the sandbox itself."""

    def __post_init__(self) -> None:
        self._idempotency = IdempotencyKeys(self.account)
        self._limits = RateLimits(self.account)
        self._held: set[str] = set()

    async def handle(self, request: Request) -> Response:
        """Answer a request, or leave it unanswered where a fault has it so."""
        path, fault = request.path, self._fault(request)
        if fault and fault.kind.endswith("_before") and fault.kind != "error_500_before":
            self._note(request, {}, 0, b"{}", {}, fault)
            if fault.kind == "hang_before":
                await asyncio.sleep(fault.seconds)
            return SILENCE
        headers = {"Request-Id": f"req_{self.account.secret(14)}"}
        version = request.headers.get("stripe-version", self.account.settings.api_version)
        headers["Stripe-Version"] = version
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        if key:
            headers["Idempotency-Key"] = key
        form: Form = {}
        try:
            form = _form(request)
            self._admit(request, path, fault)
            status, body = await self._once(request, form, key, headers, fault)
        except StripeError as error:
            status, body = error.status, _encode(error.body())
            headers |= error.headers
        except Exception as bug:  # noqa: BLE001  # ours, not the client's: it is told, and stop() raises it
            self.bugs.append(bug)
            status, body = 500, _encode(broken().body())
        self._note(request, form, status, body, headers, fault)
        if fault and fault.kind in {"hang_after", "cut_after"}:
            if fault.kind == "hang_after":
                await asyncio.sleep(fault.seconds)
            return SILENCE
        return Response(status, body, headers=headers)

    def _fault(self, request: Request) -> StripeFault | None:
        text = request.body.decode("utf-8", "replace") or urlsplit(request.target).query
        return self.faults.take(request.method, request.path, text)

    def _admit(self, request: Request, path: str, fault: StripeFault | None) -> None:
        kind = fault.kind if fault else ""
        if kind == "outage":
            raise broken(503)
        self._authenticate(request.headers.get("authorization", ""))
        if kind == "rate_limited":
            raise rate_limited("global-rate")
        if kind in {"lock_timeout", "conflict"}:
            raise lock_timeout(409 if kind == "conflict" else 429)
        self._limits.check(request.method, path)

    def _authenticate(self, header: str) -> None:
        key = _key(header)
        if not key:
            raise StripeError(
                "You did not provide an API key. You need to provide your API key in the"
                " Authorization header, using Bearer auth.",
                status=401,
            )
        if key not in self.keys:
            raise StripeError(f"Invalid API Key provided: {key[:8]}***{key[-4:]}", status=401)

    async def _once(
        self,
        request: Request,
        form: Form,
        key: str,
        headers: dict[str, str],
        fault: StripeFault | None,
    ) -> tuple[int, bytes]:
        """Carry a request out, or say again what its idempotency key keeps."""
        kept = self._idempotency.claim(key, request) if key else None
        if kept:
            headers["Idempotent-Replayed"] = "true"
            return kept
        try:
            status, body = await self._locked(request, form, key, headers, fault)
        except BaseException:
            self._idempotency.forget(key)
            raise
        # v2 carries a failed request out again.
        kept_statuses = {200} if request.path.startswith("/v2/") else KEPT_STATUSES
        if key and status in kept_statuses:
            self._idempotency.keep(key, status, body)
        elif key:
            self._idempotency.forget(key)
        return status, body

    async def _locked(
        self,
        request: Request,
        form: Form,
        key: str,
        headers: dict[str, str],
        fault: StripeFault | None,
    ) -> tuple[int, bytes]:
        call = Call(request.method, request.path, form)
        lock = self.lock_of_meter_event(call) if call.path == METER_EVENTS else ""
        if lock and lock in self._held:
            raise lock_timeout()
        self._held.add(lock)
        try:
            slow_s = fault.seconds if fault and fault.kind == "slow" else 0.0
            wait_s = self.account.settings.latency_s + slow_s
            if wait_s:
                await asyncio.sleep(wait_s)
            cause = Cause(headers["Request-Id"], key or None)
            return self._carry_out(call, cause, headers, fault.kind if fault else "")
        finally:
            self._held.discard(lock)

    def _carry_out(
        self, call: Call, cause: Cause, headers: dict[str, str], fault: str
    ) -> tuple[int, bytes]:
        account = self.account
        try:
            if fault == "error_500_before":
                raise broken()
            if fault == "declined":
                raise declined()
            with account.lock:
                account.agenda.catch_up()
                account.cause = cause
                try:
                    body = self._effect(call)
                finally:
                    account.cause = Cause()
            if fault == "error_500_after":
                raise broken()
        except StripeError as error:
            headers |= error.headers
            return error.status, _encode(error.body())
        return 200, body

    def _effect(self, call: Call) -> bytes:
        route, found = find_route(self.routes, call.method, call.path, call.form)
        route.check(call.form)
        return _encode(expanded(self.account, route.answer(found), call.form))

    def _note(
        self,
        request: Request,
        form: Form,
        status: int,
        body: bytes,
        headers: dict[str, str],
        fault: StripeFault | None,
    ) -> None:
        exchange = Exchange(
            self.account.now(),
            request.method,
            request.path,
            form,
            dict(request.headers),
            status,
            body,
            "Idempotent-Replayed" in headers,
            fault.kind if fault else None,
        )
        self.exchanges.append(exchange)
        for hear in self.hears:
            hear(exchange)


def _form(request: Request) -> Form:
    if request.method != "POST":
        return decode(urlsplit(request.target).query)
    if not request.path.startswith("/v2/"):
        return decode(request.body.decode("utf-8", "replace"))
    try:
        return dict(json.loads(request.body or b"{}"))
    except ValueError:
        raise StripeError("The body is no JSON object.", code="invalid_json") from None


def _key(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme == "Bearer":
        return value.strip()
    if scheme == "Basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _encode(answer: Thing) -> bytes:
    return json.dumps(answer).encode()
