"""Which figures of an answer are no numbers, where the fast decoder only says that one is not.

Only for the sentence of a refusal, so it may be slow: the standard library reads what no JSON
should hold (NaN, Infinity, 1e999) and what is too large for any float.
"""

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any


def unreadable_figures(body: bytes, fields: frozenset[str]) -> list[str]:
    """Return `namespace.field` for each of `fields` that holds anything but a finite number."""
    try:
        sets = json.loads(body, parse_int=float)["data"]
        return [
            each for rows in sets for key, row in rows.items() for each in _of(key, row, fields)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _of(key: str, row: dict[str, Any], fields: frozenset[str]) -> Iterator[str]:
    for field, value in row.items():
        if field in fields and value is not None and not _is_number(value):
            yield f"{key.rpartition('/')[2]}.{field}"


def _is_number(value: object) -> bool:
    return isinstance(value, float) and isfinite(value)
