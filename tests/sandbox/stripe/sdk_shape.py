"""Holds the sandbox's objects against the classes of the SDK, as which they are read."""

import typing
from collections.abc import Iterator
from typing import Any

from stripe._object_classes import get_object_class
from stripe.events._event_classes import get_v2_event_class


def faults_of_shape(thing: dict[str, Any]) -> Iterator[str]:
    """Tell which fields of an object the SDK does not know, and which it counts on in vain."""
    if thing.get("deleted"):
        return
    version: Any = "V2" if thing["object"].startswith("v2.") else "V1"
    cls: Any = get_object_class(version, thing["object"])
    if thing["object"] == "v2.core.event":
        cls = get_v2_event_class(thing["type"])
    yield from _faults(thing, cls, thing["object"])


def _faults(thing: dict[str, Any], cls: Any, where: str) -> Iterator[str]:
    known = _fields(cls)
    inner: dict[str, Any] = getattr(cls, "_inner_class_types", {})
    for name in thing:
        if name not in known:
            yield f"{where}.{name}: the SDK knows no such field"
    for name, kind in known.items():
        if name not in thing and not _optional(kind):
            yield f"{where}.{name}: the SDK counts on it"
    for name, value in thing.items():
        values = value if isinstance(value, list) else [value]
        for entry in values:
            if isinstance(entry, dict) and name in inner:
                yield from _faults(entry, inner[name], f"{where}.{name}")


def _fields(cls: Any) -> dict[str, Any]:
    return {
        name: kind
        for one in cls.__mro__
        for name, kind in getattr(one, "__annotations__", {}).items()
        if typing.get_origin(kind) is not typing.ClassVar and name[0] != "_"
    }


def _optional(kind: Any) -> bool:
    return type(None) in typing.get_args(kind)
