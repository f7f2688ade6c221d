"""Form bodies with brackets (`items[0][price]=…`), and the values that stand in them as text."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe.errors import StripeError, missing_param

Form = dict[str, Any]

INTEGER_MAX = 10**11
"""More than any amount in cents, and any instant, that Stripe takes."""
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_KEYS = re.compile(r"\[([^\]]*)\]")


def decode(text: str) -> Form:
    """Return nested dicts and lists of text: `a[b]=1&c[0]=2&d[]=3` → a.b, c and d."""
    nested: Form = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head = name.partition("[")[0]
        _place(nested, [head, *_KEYS.findall(name[len(head) :])], value)
    return {key: _lists(value) for key, value in nested.items()}


def _place(within: Form, keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        inner = within.setdefault(key or str(len(within)), {})
        if not isinstance(inner, dict):
            raise StripeError(f"Invalid parameter: {keys[0]} is both a value and a hash.")
        within = inner
    within[keys[-1] or str(len(within))] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(entry) for key, entry in value.items()}
    if all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def required(form: Form, name: str) -> Any:
    if form.get(name) in (None, ""):
        raise missing_param(name)
    return form[name]


def word(form: Form, name: str) -> str:
    """Return a text that must be there."""
    value = required(form, name)
    if not isinstance(value, str):
        raise StripeError(f"Invalid string: {value}", code="parameter_invalid_string", param=name)
    return value


def integer(form: Form, name: str, default: int | None = None, *, within: str = "") -> int | None:
    text = form.get(name)
    if text in (None, ""):
        return default
    number = int(text) if _WHOLE.fullmatch(str(text)) else None
    if number is None or abs(number) > INTEGER_MAX:
        param = f"{within}[{name}]" if within else name
        raise StripeError(f"Invalid integer: {text}", code="parameter_invalid_integer", param=param)
    return number


def boolean(form: Form, name: str, default: bool = False) -> bool:
    text = form.get(name)
    if text in (None, ""):
        return default
    if text not in ("true", "false"):  # what stands there may be no text at all
        raise StripeError(f"Invalid boolean: {text}", param=name)
    return bool(text == "true")


def decimal(form: Form, name: str) -> Decimal | None:
    text = form.get(name)
    if text in (None, ""):
        return None
    try:
        return Decimal(text)
    except (InvalidOperation, TypeError):
        raise StripeError(f"Invalid decimal: {text}", param=name) from None


def one_of(form: Form, name: str, allowed: tuple[str, ...], default: str | None = None) -> Any:
    text = form.get(name, default)
    if text is not None and text not in allowed:
        raise StripeError(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
    return text


def hash_of(form: Form, name: str) -> Form:
    """Return what stands under a name, where it is a hash; nothing where it is left out."""
    value = form.get(name) or {}
    if not isinstance(value, dict):
        raise StripeError("Invalid hash", code="parameter_invalid_hash", param=name)
    return value


def list_of(form: Form, name: str) -> list[Any]:
    value = form.get(name) or []
    if not isinstance(value, list):
        raise StripeError("Invalid array", code="parameter_invalid_array", param=name)
    return value


def hashes_of(form: Form, name: str) -> list[Form]:
    entries = list_of(form, name)
    if not all(isinstance(entry, dict) for entry in entries):
        raise StripeError("Invalid array", code="parameter_invalid_array", param=name)
    return entries


def merge_metadata(old: dict[str, str], form: Form) -> dict[str, str]:
    """Merge as Stripe does: an empty value removes its key, an empty `metadata` all of them."""
    if "metadata" not in form:
        return dict(old)
    if form["metadata"] == "":
        return {}
    merged = old | hash_of(form, "metadata")
    return {key: value for key, value in merged.items() if value != ""}
