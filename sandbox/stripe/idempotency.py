"""Idempotency keys of v1: the first answer is kept and said again, whatever it was."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sandbox.stripe.account import Account
from sandbox.stripe.errors import StripeError
from sandbox.wire import Request

KEY_LETTERS_MAX = 255


@dataclass
class _Kept:
    asked: str
    """What was asked under the key, as a digest."""
    at: datetime
    status: int | None = None
    """None while the first call is still under way."""
    body: bytes = b""


class IdempotencyKeys:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._kept: dict[str, _Kept] = {}

    def claim(self, key: str, request: Request) -> tuple[int, bytes] | None:
        """Return the answer that is kept for a key; None once the caller is to make it."""
        if len(key) > KEY_LETTERS_MAX:
            raise StripeError(f"Idempotency keys have at most {KEY_LETTERS_MAX} characters.")
        now, mine = self._account.now(), _digest(request)
        self._prune(now)
        kept = self._kept.get(key)
        if kept is None:
            self._kept[key] = _Kept(mine, now)
            return None
        if kept.asked != mine:
            raise StripeError(
                "Keys for idempotent requests can only be used with the same parameters they were"
                " first used with. Try using a key other than"
                f" '{key}' if you meant to execute a different request.",
                kind="idempotency_error",
            )
        if kept.status is None:
            raise StripeError(
                "There is currently another in-progress request using this Idempotent Key"
                f" ({key}). Please try again later.",
                status=409,
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        return kept.status, kept.body

    def _prune(self, now: datetime) -> None:
        """Let go what is old enough; the oldest stand first."""
        oldest_at = now - self._account.settings.idempotency_kept
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            if kept.at > oldest_at:
                break
            del self._kept[key]

    def keep(self, key: str, status: int, body: bytes) -> None:
        kept = self._kept.get(key)
        if kept:  # it may have been pruned while a long call was under way
            kept.status, kept.body = status, body

    def forget(self, key: str) -> None:
        """Let a key go that led to nothing: validation failed, or another call was in the way."""
        self._kept.pop(key, None)


def _digest(request: Request) -> str:
    digest = hashlib.sha256(request.body).hexdigest()
    return f"{request.method} {request.target} {digest}"
