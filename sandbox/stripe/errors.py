"""What Stripe answers when it will not: the status, and the body of its error."""

from typing import Any


class StripeError(Exception):
    """A refusal as Stripe words it; `should_retry` is what it advises in its header."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        should_retry: bool | None = None,
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.kind = message, status, kind
        self.code, self.param, self.more = code, param, more or {}
        self.headers = dict(headers or {})
        if should_retry is not None:
            self.headers["Stripe-Should-Retry"] = "true" if should_retry else "false"

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        error["message"] = self.message
        if self.param:
            error["param"] = self.param
        error["type"] = self.kind
        return {"error": error | self.more}


def missing_object(noun: str, name: str, param: str = "id", status: int = 404) -> StripeError:
    """Refuse a name that stands for nothing; 404 in a path, 400 in a parameter."""
    return StripeError(
        f"No such {noun}: '{name}'", status=status, code="resource_missing", param=param
    )


def missing_param(name: str) -> StripeError:
    return StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)


def declined(code: str = "generic_decline") -> StripeError:
    return StripeError(
        "Your card was declined.",
        status=402,
        kind="card_error",
        code="card_declined",
        more={"decline_code": code},
    )


def lock_timeout(status: int = 429) -> StripeError:
    return StripeError(
        "This object cannot be accessed right now because another API request or Stripe process is "
        "currently accessing it. If you see this error intermittently, retry the request.",
        status=status,
        code="lock_timeout",
        should_retry=True,
        headers={"Stripe-Rate-Limited-Reason": "resource-specific"} if status == 429 else None,
    )


def rate_limited(reason: str) -> StripeError:
    """Stripe sends no advice with it, and so the SDK does not try again by itself."""
    return StripeError(
        "Request rate limit exceeded. Learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        status=429,
        code="rate_limit",
        headers={"Stripe-Rate-Limited-Reason": reason},
    )


def broken(status: int = 500) -> StripeError:
    return StripeError(
        "An unknown error occurred", status=status, kind="api_error", code="api_error"
    )
